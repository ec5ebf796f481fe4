"""What a step of an exercise edits, and what the edited lines do.

requirements.py  what checks of several exercises require of features, tasks, packages, the script and the lock
lines.py         the line of a manifest in which a table or a key is
blame.py         the step to which a faulty line of a manifest or of a script belongs
tasks.py         what a task of a manifest would start, in which folder and in which environments
constraints.py   which versions and builds a constraint admits
copied_lock.py   how a lock that was copied from a solution differs from the learner's manifest
"""
