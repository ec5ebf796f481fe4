"""Parsl on this machine: a worker for each processor core that this process may use. This is the default.

Parsl reads the variable `config`. Copy this file to change it: workshop scan --executor parsl --config my-machine.py
"""

from parsl import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider

from workshop.support.hardware import cores

config = Config(
    executors=[
        HighThroughputExecutor(
            label="this_machine",
            address="127.0.0.1",  # where workers find this process
            max_workers_per_node=cores(),
            heartbeat_period=2,  # seconds; workers of this machine soon notice that this process was killed
            heartbeat_threshold=10,
            # init_blocks: how many groups of workers to start. On one machine, one group is enough.
            provider=LocalProvider(init_blocks=1, max_blocks=1),
        )
    ],
    # If a worker is lost, `workshop scan` itself sends its hypotheses to another one, so Parsl need not.
    retries=0,
)
