"""Jobs of Slurm and HTCondor.

batch_files.py   parsers: batch scripts and submit files, read more strictly than sbatch and condor_submit read them
rehearsal.py     a job script run by bash, with stand-ins (stand_in.py) for srun, podman, the training and others
job.py           the jobs of a learner: their files and their rehearsals
slurm_rules.py, htcondor_rules.py, training_rules.py    what checks 5.6 to 5.9 require of them
submit.py        the commands: `slurm-train` and `htcondor-train`

A check asks the rules of a job in order, with `workshop.support.rules.findings_of`, and stops at the first finding.
"""

from workshop.jobs.htcondor_rules import SCRIPT_RULES, SUBMIT_RULES
from workshop.jobs.job import ArrayJob, BatchJob, CondorJob
from workshop.jobs.rehearsal import bash
from workshop.jobs.slurm_rules import ARRAY_RULES, END_RULES, REQUEST_RULES, SIGNAL_RULES, TASK_RULES, TRAINING_RULES

__all__ = [
    "ARRAY_RULES",
    "END_RULES",
    "REQUEST_RULES",
    "SCRIPT_RULES",
    "SIGNAL_RULES",
    "SUBMIT_RULES",
    "TASK_RULES",
    "TRAINING_RULES",
    "ArrayJob",
    "BatchJob",
    "CondorJob",
    "bash",
]
