"""Exercise 5: the mistakes by part. Each mistake in BROKEN has the name of its finding.

image.py, apptainer.py, workflow.py          container files and the workflow (5a to 5c)
slurm.py, htcondor.py, several_gpus.py       the files of jobs (5d to 5f)
"""

from mutations import merged

from . import apptainer, htcondor, image, several_gpus, slurm, workflow

ITS_CHECKS = ("5.10", "5.11", "5.12", "5.13", "5.14", "5.15", "5.16")  # they try a script out

# (file, find, replace, name of the finding, number of the check)
BROKEN = [*image.BROKEN, *apptainer.BROKEN, *workflow.BROKEN]
MISTAKES = {
    f"{place} {name}": (number, f"({name})", [(file, find, replace)])
    for place, (file, find, replace, name, number) in enumerate(BROKEN)
} | merged(image, apptainer, workflow, slurm, htcondor, several_gpus)
# Other correct files replace the solution's as a whole: tests/containers/test_container_check.py and tests/jobs/test_jobs.py.
ALTERNATIVES = {}
