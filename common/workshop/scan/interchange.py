"""Parsl's interchange, the process between the driver and the workers, which ends with the driver, however that ends.

Without this, it would run on after a driver that was killed, and the jobs on the cluster would wait for it until their
time limit. `engines` starts it by `python -m workshop.scan.interchange`, so it need not be on the PATH either.
"""

import os
import runpy
import threading
import time

INTERVAL = 1.0  # seconds between two looks at the driver


def end_after(parent: int) -> None:
    """End this process when its parent has ended. Its workers notice within their heartbeat threshold, and end too."""
    while os.getppid() == parent:
        time.sleep(INTERVAL)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=end_after, args=(os.getppid(),), daemon=True).start()
    runpy.run_module("parsl.executors.high_throughput.interchange", run_name="__main__", alter_sys=True)
