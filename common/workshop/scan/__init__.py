"""The command `workshop scan`: CLs of every signal hypothesis of a search, and the exclusion contour.

command.py      the command: options, input, run record, output
fitting.py      the fits, in one or several processes
journal.py      the finished fits of an interrupted scan
published.py    likelihoods that the command can download
"""

import os

# One thread per process: the matrices are small, and processes share the work. To be set before NumPy is imported.
for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
