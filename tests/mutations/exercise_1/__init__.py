"""Exercise 1: the mistakes by subject, and other correct answers.

manifest.py    the platforms, the packages and the environments (1.1 to 1.3)
tasks.py       the tasks (1.4)
repository.py  the lock, the run and the repository (1.5, 1.7, 1.8)
script.py      the seed and the formula of CLs (1.6, 1.9)
"""

from mutations import merged

from . import manifest, repository, script, tasks
from .alternatives import ALTERNATIVES as ALTERNATIVES

SCRIPT, ITS_CHECKS = "exclusion.py", ("1.6", "1.7", "1.8", "1.9")
MISTAKES = merged(manifest, tasks, repository, script)
