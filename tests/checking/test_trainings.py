"""The reason for a failure, read from the last lines that a script printed."""

import subprocess

import pytest

from workshop.checking import trainings

OURS = (
    "looked at: the Python environment in /env\nexpected:  the package that contains the module 'MODULE'\n"
    "found:     no such module: this environment was made without it\nnext:      name an environment that has it\n"
)
PYTHONS = (
    'Traceback (most recent call last):\n  File "/starter/train.py", line 3, in <module>\n    import MODULE\n'
    "ModuleNotFoundError: No module named 'MODULE'\n"
)


def ended(stderr, code=1):
    return subprocess.CompletedProcess(["train.py"], code, "", stderr)


@pytest.mark.parametrize("form", [OURS, PYTHONS], ids=["a message of ours", "a traceback"])
def test_a_module_that_is_missing(form):
    run = ended("a warning\n" + form.replace("MODULE", "jax"))
    assert trainings.missing_framework(run) == "jax"
    assert trainings.failure_reason(run) == "there is no module jax"
    misspelt = ended(form.replace("MODULE", "tohrch"))
    assert trainings.missing_framework(misspelt) is None
    assert trainings.failure_reason(misspelt) == "there is no module tohrch"
    part = ended(form.replace("MODULE", "flax.lynen"))  # Flax is there, so the script is wrong
    assert trainings.missing_framework(part) is None


def test_a_missing_module_that_did_not_cause_the_failure():
    caught = (
        PYTHONS.replace("MODULE", "jax") + "\nDuring handling of the above exception, another exception occurred:\n"
    )
    for run in (ended(caught + "ValueError: no\n"), ended(PYTHONS.replace("MODULE", "jax"), code=0), ended("")):
        assert trainings.missing_framework(run) is None
    assert trainings.failure_reason(ended(caught + "ValueError: no\n")) == "ValueError: no"
    assert trainings.failure_reason(ended("")) == "exit code 1, and no message"
    assert trainings.failure_reason(ended("looked at: x\nexpected:  y\nfound:     z\nnext:      w\n")) == "z"
