"""The command `workshop scan`: CLs of every signal hypothesis of a search, and the exclusion contour.

command.py      the command: input, run record, output
options.py      its options
distribute.py   `fit_all`: the fits, in this process or through any executor of concurrent.futures
worker.py       what runs in a worker
parts.py        what a worker needs: the background once, and its hypotheses
engines.py      processes of this machine, Parsl, Globus Compute; configs/ has their configurations
interchange.py  Parsl's process between driver and workers, ended with the driver
journal.py      the finished fits of an interrupted scan
job_logs.py     why a job failed, from its log
progress.py     progress bar, live figure, and the line of `workshop runs`
published.py    likelihoods that the command can download
"""

import os

# One thread per process: the matrices are small, and processes share the work. To be set before NumPy is imported.
THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
for variable in THREAD_VARIABLES:
    os.environ.setdefault(variable, "1")
