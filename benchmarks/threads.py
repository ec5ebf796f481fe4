"""When do more threads help? Seconds of an epoch of exercises 2 and 3 with 1, 2, 4, ... threads, as ratios in one run.

    python benchmarks/threads.py              # up to as many threads as there are cores, n = 3 of each
    python benchmarks/threads.py --busy 1     # beside one other process that keeps a core busy
    python benchmarks/threads.py --short      # one epoch of the small data set, to see that it runs

Each figure is the median over n trainings, in a fresh process each, of the second epoch of digits-60k: the first one of
JAX contains the compilation.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "common"))

from workshop import errors
from workshop.runs import options
from workshop.support import files
from workshop.support.hardware import cpu_name

SCRIPTS = {"PyTorch": "exercise-2-pytorch-cu12/solution/train.py", "JAX": "exercise-3-jax-cu118/solution/train.py"}


def seconds_of_last_epoch(script: str, threads: int, data: str) -> float:
    """As the script itself prints them."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["--data", data, "--epochs", "2", "--device", "cpu", "--threads", str(threads)]
        line = [sys.executable, ROOT / script, *arguments, "--output", Path(folder, "run")]
        variables = os.environ | {"PYTHONPATH": str(ROOT / "common")}
        done = subprocess.run(line, env=variables, capture_output=True, text=True)
    found = re.findall(r"accuracy .*?, ([\d.]+) s$", done.stdout, re.MULTILINE)
    if done.returncode or len(found) != 2:
        raise errors.WorkshopError(
            looked_at=script,
            expected="a training of two epochs",
            found=(done.stderr or done.stdout)[-500:],
            next_step=f"python {script} {' '.join(arguments)}",
        )
    return float(found[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    number = options.whole_number
    parser.add_argument("--n", type=number("--n", 1), default=3, metavar="N", help="trainings of each (default 3)")
    parser.add_argument("--busy", type=number("--busy", 0), default=0, metavar="N", help="other busy processes")
    parser.add_argument("--short", action="store_true", help="the small data set, n = 1")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the figures as JSON")
    arguments = parser.parse_args()
    n, data = (1, "digits") if arguments.short else (arguments.n, "digits-60k")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    counts = [2**power for power in range(cores.bit_length()) if 2**power <= cores]
    rows = []
    with ExitStack() as stack:
        for _ in range(arguments.busy):
            other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
            stack.callback(other.wait)
            stack.callback(other.kill)
        for framework, script in SCRIPTS.items():
            taken = {count: [] for count in counts}
            for _ in range(n):  # in turns, so that a change of the machine's load meets all of them
                for count in counts:
                    taken[count].append(seconds_of_last_epoch(script, count, data))
            one = statistics.median(taken[1])
            for count, seconds in taken.items():
                ratio = statistics.median(seconds) / one
                rows.append({"framework": framework, "threads": count, "seconds": seconds, "ratio_to_one": ratio})
                print(f"{framework:8} {count:3} thread(s): {ratio:5.2f} of the time with one", flush=True)
    print(f"{data}, n = {n}, {cores} core(s), {arguments.busy} other busy process(es), {cpu_name()}")
    if arguments.output:
        machine = {"cpu": cpu_name(), "cores": cores, "other_busy_processes": arguments.busy}
        content = json.dumps({"machine": machine, "data": data, "rows": rows}, indent=2) + "\n"
        files.write_atomic(arguments.output, content.encode())


if __name__ == "__main__":
    with errors.errors_as_messages():
        main()
