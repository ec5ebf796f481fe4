"""Parsl on a Slurm cluster. Copy this file, and change the lines marked CHANGE:

    cp common/workshop/scan/configs/slurm.py my-slurm.py
    workshop scan --executor parsl --config my-slurm.py

Type the second command on a login node. Parsl submits jobs with sbatch. Each job is a *block*: it starts workers, which
connect to the login node and fit hypotheses until the scan is finished; then Parsl cancels the jobs. The clone and the
environment must lie in a folder that all nodes share (usually your home folder), because a worker imports their code.
"""

import os
import sys

from parsl import Config
from parsl.executors import HighThroughputExecutor
from parsl.launchers import SrunLauncher
from parsl.providers import SlurmProvider

config = Config(
    executors=[
        HighThroughputExecutor(
            label="slurm",
            # CHANGE: the login node's address as the nodes see it (`hostname -f`). Without this line Parsl offers every
            # address of the machine, and each worker takes the first that answers.
            # address="login1.example.org",
            max_workers_per_node=2,  # CHANGE: processor cores in each job
            cores_per_worker=1,
            heartbeat_period=10,  # seconds; a job that is silent for heartbeat_threshold counts as lost
            heartbeat_threshold=60,
            provider=SlurmProvider(
                partition="debug",  # CHANGE: `sinfo` lists the partitions
                # account="my-group",  # CHANGE: if your cluster charges an account
                nodes_per_block=1,
                cores_per_node=2,  # CHANGE: the same number as max_workers_per_node
                init_blocks=1,  # jobs that are submitted at the start
                max_blocks=4,  # CHANGE: the most jobs at a time; Parsl submits more while hypotheses wait
                walltime="00:30:00",  # CHANGE: time limit of a job; hypotheses of a job that ends are sent to another
                exclusive=False,  # a job need not have its node for itself
                # The lines that every job types first. They activate the environment that runs this file.
                worker_init=f"export PATH={os.path.dirname(sys.executable)}:$PATH PYTHONPATH={os.environ.get('PYTHONPATH', '')}",
                launcher=SrunLauncher(),  # starts the workers on every node of the job
            ),
        )
    ],
    retries=0,  # `workshop scan` itself sends the hypotheses of a lost worker to another one
)
