"""Globus Compute: the fits run as a service on somebody else's machine. Copy this file, and change the line CHANGE:

    cp common/workshop/scan/configs/globus.py my-globus.py
    workshop scan --executor globus --config my-globus.py

Globus Compute (formerly funcX) needs an account and its cloud. The machine that fits runs an *endpoint*, a daemon that
takes functions from the cloud and runs them with Parsl. Its environment must contain this clone in its PYTHONPATH.
"""

from globus_compute_sdk import Executor

# CHANGE: the endpoint's number, which `globus-compute-endpoint list` prints on its machine.
executor = Executor(endpoint_id="00000000-0000-0000-0000-000000000000")
workers = 4  # CHANGE: how many workers the endpoint has; more are used as they come
