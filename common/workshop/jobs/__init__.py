"""Jobs of Slurm and HTCondor.

batch_files.py   batch scripts and submit files, read more strictly than their own readers do
rehearsal.py     a job script run by bash, with stand-ins for srun, podman and the training
rules.py         what the checks of exercise 5 require of them
submit.py        `slurm-train` and `htcondor-train`
"""
