"""The arguments that every training script takes, with the same words for the same mistakes."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from workshop.errors import Parser, WorkshopError
from workshop.runs import data, device

LARGEST = 2**31 - 1  # seeds: what every generator in use takes


def whole_number(option: str, smallest: int) -> Callable[[str], int]:
    """A reader of whole numbers for argparse that explains itself: at least `smallest`, at most LARGEST."""

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


def training(description: str) -> argparse.ArgumentParser:
    """--data, --epochs, --seed (None where not given), --device, --output and --resume."""
    parser = Parser(description=description.splitlines()[0], allow_abbrev=False)
    parser.add_argument(
        "--data", type=data.known_name, metavar="NAME", help=f"one of {', '.join(data.NAMES)} (default digits-60k)"
    )
    parser.add_argument(
        "--epochs", type=whole_number("--epochs", 1), metavar="N", help="passes over the training images"
    )
    parser.add_argument("--seed", type=whole_number("--seed", 0), metavar="N", help="of weights and order (default 0)")
    parser.add_argument("--device", type=device.known_name, default="auto", metavar="NAME", help="auto, cpu or cuda")
    parser.add_argument(
        "--output", metavar="DIR", help="the folder of this run (default results/<exercise>/<time>-seed<N>)"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint of an interrupted run")
    return parser


def settle(args: argparse.Namespace, checkpoint: dict[str, object] | None, epochs: dict[str, int]) -> None:
    """Fill in what was not given: from the checkpoint when resuming, else the defaults (`epochs` by data set)."""
    known = checkpoint or {}
    args.data = args.data or known.get("data", "digits-60k")
    args.seed = known.get("seed", 0) if args.seed is None else args.seed
    args.epochs = args.epochs or known.get("epochs", epochs[args.data])


def must_match(path: object, found: dict[str, object], wanted: dict[str, object], next_step: str) -> None:
    """Raise WorkshopError where a weights file or checkpoint says something else than this run needs.

    found: what the file says of itself (`workshop.runs.weights.load`); wanted: what it has to say, by the same keys.
    """
    for key, value in wanted.items():
        if found.get(key) != value:
            raise WorkshopError(
                looked_at=path,
                expected=f"{key}: {value}",
                found=f"{key}: {found.get(key, 'not said')}",
                next_step=next_step,
            )
