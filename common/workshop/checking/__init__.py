"""Checks: one number, one sentence that must be true, three hints.

checks.py       Check, Result, Workspace; ok, fail, skip; the loop that goes through them
check.py        `workshop check`; progress.py: `progress` and `hint`; starter.py: `reset` and `diff`; watch.py
check_all.py    the instructor's proof; trainings.py: what checks require of a training script
scripts.py      a copy of a learner's script, run with limits; fork_server.py and preload.py: interpreters that start at once
inside/         what runs in the interpreter of such a script before the script does
"""
