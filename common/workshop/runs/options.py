"""The command line of a script."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

from workshop.errors import Parser, WorkshopError
from workshop.runs import data
from workshop.runs.frameworks import device, threads

LARGEST = 2**31 - 1  # the largest seed that all generators accept


def whole_number(option: str, smallest: int) -> Callable[[str], int]:
    """A parser of whole numbers for argparse, from `smallest` to LARGEST, with a message of four parts."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = None
        if number is None or not smallest <= number <= LARGEST:
            expected = f"a whole number, {smallest} or more" + (f", at most {LARGEST}" if number else "")
            raise WorkshopError(
                looked_at=option, expected=expected, found=repr(text), next_step=f"{option} {max(smallest, 1)}"
            )
        return number

    return read


def read(
    description: str | None,
    training: bool,
    parents: tuple[str, ...] = (),
    add_options: Callable[[argparse.ArgumentParser], None] | None = None,
    seed: int = 0,
) -> argparse.Namespace:
    """The arguments of a script; None for those that were not given.

    training: the script has data, epochs, a device and checkpoints. parents: it continues a run of these exercises, and
    uses that run's data and (without training) its seed. add_options: adds the script's own options. seed: the default
    seed, for the help.
    """
    parser = Parser(description=(description or "").partition("\n")[0], allow_abbrev=False)
    if parents:
        kinds = " or ".join(name.split("-")[1] for name in parents)
        parser.add_argument("run", nargs="?", metavar="RUN", help=f"a run of exercise {kinds} (default: the newest)")
    elif training:
        names = ", ".join(data.NAMES)
        parser.add_argument("--data", type=data.validate_name, metavar="NAME", help=f"{names} (default digits-60k)")
        parser.add_argument("--epochs", type=whole_number("--epochs", 1), metavar="N", help="passes over the images")
    if training or not parents:
        parser.add_argument(
            "--seed", type=whole_number("--seed", 0), metavar="N", help=f"seed of all random numbers (default {seed})"
        )
    if training or parents:
        names = ", ".join(device.CHOICES)
        parser.add_argument("--device", type=device.validate_name, default="auto", metavar="NAME", help=names)
        parser.add_argument(
            "--threads",
            type=whole_number("--threads", 1),
            metavar="N",
            help=f"to compute with on the CPU (default {threads.DEFAULT}: the same bits whatever the number of cores)",
        )
    default_folder = "results/<exercise>/<time>-seed<N>"
    parser.add_argument("--output", metavar="DIR", help=f"the folder of this run (default {default_folder})")
    if training:
        parser.add_argument("--resume", action="store_true", help="continue an interrupted run from its checkpoint")
    if add_options:
        add_options(parser)
    return parser.parse_args()


def fill_in(
    arguments: argparse.Namespace, checkpoint: Mapping[str, Any] | None, epochs: int | dict[str, int], seed: int = 0
) -> None:
    """Fill in missing arguments: from the checkpoint when resuming, otherwise with defaults.

    epochs: their number, or the number for each data set.
    """
    known = checkpoint or {}
    arguments.threads = arguments.threads or known.get("threads", threads.DEFAULT)
    arguments.seed = known.get("seed", seed) if arguments.seed is None else arguments.seed
    if isinstance(epochs, int):
        arguments.epochs = epochs
        return
    arguments.data = arguments.data or known.get("data", "digits-60k")
    arguments.epochs = arguments.epochs or known.get("epochs", epochs[arguments.data])


def require_match(path: object, found: dict[str, object], required: dict[str, object], next_step: str) -> None:
    """Raise WorkshopError if the metadata of a weights file or checkpoint differ from what this run needs.

    found: the metadata (`weights.load`); required: the values that they must have.
    """
    for key, value in required.items():
        if found.get(key) != value:
            raise WorkshopError(
                looked_at=path,
                expected=f"{key}: {value}",
                found=f"{key}: {found.get(key, 'missing')}",
                next_step=next_step,
            )
