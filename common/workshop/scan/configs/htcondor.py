"""Parsl on an HTCondor pool. Copy this file, and change the lines marked CHANGE:

    cp common/workshop/scan/configs/htcondor.py my-htcondor.py
    workshop scan --executor parsl --config my-htcondor.py

Type the second command on the submit node. Parsl submits jobs with condor_submit. Each job is a *block*: it starts
workers, which connect to the submit node and fit hypotheses until the scan is finished; then Parsl removes the jobs. The
clone and the environment must lie in a folder that the execute nodes share (often AFS, CephFS or /home).
"""

import os
import sys

from parsl import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import CondorProvider

config = Config(
    executors=[
        HighThroughputExecutor(
            label="htcondor",
            # CHANGE: the submit node's address as the execute nodes see it (`hostname -f`).
            # address="submit1.example.org",
            max_workers_per_node=2,  # CHANGE: processor cores in each job
            cores_per_worker=1,
            heartbeat_period=10,  # seconds; a job that is silent for heartbeat_threshold counts as lost
            heartbeat_threshold=60,
            provider=CondorProvider(
                cores_per_slot=2,  # CHANGE: the same number as max_workers_per_node
                mem_per_slot=4,  # CHANGE: GiB of memory for a job
                init_blocks=1,  # jobs that are submitted at the start
                max_blocks=4,  # CHANGE: the most jobs at a time; Parsl submits more while hypotheses wait
                walltime="00:30:00",  # CHANGE: time limit of a job
                # requirements='(OpSysAndVer == "Debian12")',  # CHANGE: which machines may run the job
                # The lines that every job types first. They activate the environment that runs this file.
                worker_init=f"export PATH={os.path.dirname(sys.executable)}:$PATH PYTHONPATH={os.environ.get('PYTHONPATH', '')}",
            ),
        )
    ],
    retries=0,  # `workshop scan` itself sends the hypotheses of a lost worker to another one
)
