"""Jobs for Slurm and HTCondor: checks for their files, and the commands that submit them.

batch_files.py   parsers for batch scripts and submit files, stricter than sbatch and condor_submit
rehearsal.py     runs a job script in bash, with stand-ins (stand_in.py) for srun, podman, the training and others
job.py           a learner's jobs: their files and their rehearsals
slurm_rules.py, htcondor_rules.py, training_rules.py    the rules of checks 5.10 to 5.14
distributed_rules.py    the rules of check 5.16
submit.py        the commands `slurm-train` and `htcondor-train`

A check applies the rules to a job in order (`workshop.support.rules.findings_of`) and stops at the first finding.
"""

from workshop.jobs.distributed_rules import GROUP_RULES, NODES_RULES
from workshop.jobs.htcondor_rules import QUEUE_RULES, SCRIPT_RULES, SEED_RULES, SUBMIT_RULES
from workshop.jobs.job import ArrayJob, BatchJob, CondorJob, MultiJob, SeedsJob
from workshop.jobs.rehearsal import bash
from workshop.jobs.slurm_rules import ARRAY_RULES, END_RULES, REQUEST_RULES, SIGNAL_RULES, TASK_RULES, TRAINING_RULES

__all__ = [
    "ARRAY_RULES",
    "END_RULES",
    "GROUP_RULES",
    "NODES_RULES",
    "QUEUE_RULES",
    "REQUEST_RULES",
    "SCRIPT_RULES",
    "SEED_RULES",
    "SIGNAL_RULES",
    "SUBMIT_RULES",
    "TASK_RULES",
    "TRAINING_RULES",
    "ArrayJob",
    "BatchJob",
    "CondorJob",
    "MultiJob",
    "SeedsJob",
    "bash",
]
