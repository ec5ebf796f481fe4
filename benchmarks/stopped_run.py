"""The loss of a training that is stopped and resumed, beside one that nobody stopped (the figure stopped-run of the book).

    python benchmarks/stopped_run.py --output benchmarks/stopped_run.json    # a minute

The signal SIGTERM, which a batch system sends at the end of the time limit, stops exercise 2 in the middle of its epochs.
The same command with --resume finishes it. Compared are the losses and the sha256 of the weights.
"""

import argparse
import json
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "common")]

from workshop.support.files import sha256_of  # noqa: E402
from workshop.support.hardware import cpu_name  # noqa: E402

EPOCHS = 12
STOP_AFTER = 5  # epochs; the signal arrives while the next one runs
SCRIPT = "exercise-2-pytorch-cu12/solution/train.py"
ARGUMENTS = ["--data", "digits", "--epochs", str(EPOCHS), "--seed", "1", "--device", "cpu"]


def train(output: Path, *more: str, stop: bool = False) -> tuple[dict[int, float], int]:
    """Train. Returns the mean loss of each epoch, by its number from 1, and the exit code."""
    line = [sys.executable, "-u", SCRIPT, *ARGUMENTS, "--output", str(output), *more]
    process = subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    losses = {}
    for text in process.stdout or ():
        if found := re.match(r"epoch (\d+)/\d+: loss ([\d.]+)", text):
            losses[int(found[1])] = float(found[2])
            if stop and int(found[1]) == STOP_AFTER:
                process.send_signal(signal.SIGTERM)
    return losses, process.wait()


def measure() -> dict:
    with tempfile.TemporaryDirectory() as folder:
        stopped, whole = Path(folder) / "stopped", Path(folder) / "whole"
        before, code = train(stopped, stop=True)
        after, _ = train(stopped, "--resume")
        uninterrupted, _ = train(whole)
        checksums = [sha256_of(run / "weights.safetensors") for run in (stopped, whole)]
        packages = json.loads((whole / "run.json").read_text(encoding="utf-8"))["packages"]
    return {
        "what": "mean training loss of each epoch of exercise 2, stopped by SIGTERM and resumed, and not stopped",
        "command": f"python {SCRIPT} {' '.join(ARGUMENTS)}",
        "machine": {"cpu": cpu_name(), "torch": packages["torch"]},
        "exit_code_after_signal": code,
        "before": list(before.values()),
        "after": list(after.values()),
        "uninterrupted": list(uninterrupted.values()),
        "same_losses": before | after == uninterrupted,
        "same_weights": checksums[0] == checksums[1],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="write the numbers into this file")
    args = parser.parse_args()
    text = json.dumps(measure(), indent=1) + "\n"
    print(text, end="")
    if args.output:
        args.output.write_text(text, encoding="utf-8")
