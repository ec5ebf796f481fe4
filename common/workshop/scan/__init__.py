"""The command `workshop scan`: CLs of every signal hypothesis of a search, and the exclusion contour.

command.py      options, the run, what it prints
fitting.py      the fits in chunks, in this process or in others; what an interrupted scan keeps
published.py    likelihoods that the command can download
"""

import os

# One thread per process, before NumPy is imported: the matrices are small, and processes share the work.
for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
