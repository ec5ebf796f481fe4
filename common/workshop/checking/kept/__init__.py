"""Results of checks that `workshop watch` keeps between two runs, because a save does not affect them.

opened.py    records which files a check opens, also those that a learner's script opens
results.py   keeps a result, and returns it as long as these files have not changed
"""
