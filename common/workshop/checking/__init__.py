"""Checks: a number, a requirement in one sentence, three hints.

checks.py       Check, Result, Workspace; ok, fail, skip; the loop that runs them
check.py        `workshop check`; progress.py: `progress` and `hint`; starter.py: `reset` and `diff`; watch.py
check_all.py    tests all exercises, for instructors; trainings.py: what checks require of a training script
scripts.py      runs a copy of a learner's script, with limits; fork_server.py and preload.py make it start fast
patches/        what runs in the interpreter of such a script before the script does
steps/          what a step of an exercise edits, and which step a faulty line belongs to
"""
