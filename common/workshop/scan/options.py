"""The options of `workshop scan`, by subject: what is fitted, how it is fitted, and the run and its output."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

from histfactory import on_jax
from workshop.errors import Parser, WorkshopError
from workshop.runs.options import whole_number
from workshop.scan import engines, published

SEED = 20  # of the generated search
WITH_CONFIGURATION = ("parsl", "globus")  # executors


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """The options in `argv` (default: this process's command line). Raises WorkshopError for options that conflict."""
    parser = Parser(
        prog="workshop scan",
        description="CLs of every signal hypothesis, and the exclusion contour.",
        allow_abbrev=False,
    )
    _add_search(parser)
    _add_engine(parser)
    _add_run(parser)
    args = parser.parse_args(argv)
    _check_search(args)
    _check_engine(args)
    return args


def _add_search(parser: argparse.ArgumentParser) -> None:
    """What is fitted."""
    parser.add_argument("--workspace", metavar="FILE", help="pyhf workspace, plain or .gz (default: a generated one)")
    parser.add_argument("--patchset", metavar="FILE", help="pyhf patch set: each patch is a hypothesis")
    parser.add_argument(
        "--patch",
        metavar="FILE",
        action="append",
        default=[],
        help="plain JSON patch (RFC 6902) of the workspace; several are applied one after the other",
    )
    parser.add_argument("--likelihood", choices=sorted(published.LIKELIHOODS), help="download a published likelihood")
    parser.add_argument("--measurement", metavar="NAME", help="measurement of the workspace (default: its first)")
    parser.add_argument(
        "--mu",
        type=positive_number("--mu", "a signal strength above zero", "1"),
        default=1.0,
        metavar="X",
        help="signal strength to test (default: 1)",
    )
    parser.add_argument(
        "--upper-limit",
        action="store_true",
        help="also find the upper limits on the signal strength, observed and expected, at 95 %% confidence level",
    )
    parser.add_argument("--only", metavar="PATTERN", help="only hypotheses whose name matches, as in 'C1N2_Wh_hbb_9*'")


def _add_engine(parser: argparse.ArgumentParser) -> None:
    """How it is fitted."""
    parser.add_argument(
        "--executor",
        choices=engines.KINDS,
        help="what distributes the fits: threads or processes of this machine, Parsl, or Globus Compute (default: this "
        "process; with --workers the faster of the first two)",
    )
    parser.add_argument(
        "--config", metavar="FILE", help="configuration of the executor (default: Parsl on this machine)"
    )
    parser.add_argument(
        "--workers",
        type=whole_number("--workers", 1),
        metavar="N",
        help="threads or processes; also without --executor (with it, the default is one for each core)",
    )
    parser.add_argument(
        "--backend",
        choices=("numpy", "jax"),
        default="numpy",
        help="what computes the fits: NumPy on one core, or JAX on a GPU, for large likelihoods (default: numpy)",
    )
    parser.add_argument(
        "--time-limit",
        type=positive_number("--time-limit", "a number of seconds", "600"),
        metavar="SECONDS",
        help="give up a hypothesis whose fit takes longer (default: never)",
    )


def _add_run(parser: argparse.ArgumentParser) -> None:
    """The run, and what it writes."""
    parser.add_argument("--live", metavar="FIGURE", help="redraw the contour into this PNG as results come")
    parser.add_argument(
        "--seed",
        type=whole_number("--seed", 0),
        default=SEED,
        metavar="N",
        help=f"of the generated search (default: {SEED})",
    )
    parser.add_argument("--output", metavar="DIR", help="folder of the run (default: a new one in results/)")


def _check_search(args: argparse.Namespace) -> None:
    """Raise WorkshopError if the options name no search, or two."""
    if args.likelihood and (args.workspace or args.patchset or args.patch):
        raise WorkshopError(
            looked_at="--likelihood",
            expected="either --likelihood or --workspace",
            found="both",
            next_step=f"--likelihood {args.likelihood}",
        )
    for option, value in (("--patchset", args.patchset), ("--patch", args.patch)):
        if value and not args.workspace:
            raise WorkshopError(
                looked_at=option,
                expected="the workspace that it patches",
                found="no --workspace",
                next_step=f"--workspace FILE {option} FILE",
            )
    if args.patchset and args.patch:
        raise WorkshopError(
            looked_at="--patch",
            expected="either --patch or --patchset",
            found="both",
            next_step=f"--workspace FILE --patchset {args.patchset}",
        )


def _check_engine(args: argparse.Namespace) -> None:
    """Raise WorkshopError if the executor or the backend cannot do what the other options request."""
    if args.workers and args.executor in WITH_CONFIGURATION:
        raise WorkshopError(
            looked_at="--workers",
            expected=f"the number of workers in the configuration of {args.executor}",
            found=f"--workers {args.workers}",
            next_step=f"--executor {args.executor} --config FILE, a copy of one of the files in {engines.CONFIGS}",
        )
    if args.config and args.executor not in WITH_CONFIGURATION:
        raise WorkshopError(
            looked_at="--config",
            expected="an executor that reads a configuration",
            found=f"--executor {args.executor}" if args.executor else "no --executor",
            next_step=f"--executor parsl --config {args.config}",
        )
    if args.executor == "threads" and args.time_limit:
        raise WorkshopError(
            looked_at="--time-limit",
            expected="workers that can be interrupted",
            found="--executor threads",
            next_step=f"--executor processes --time-limit {args.time_limit:g}",
        )
    if args.backend == "jax":
        if args.executor or args.workers:
            option = f"--executor {args.executor}" if args.executor else f"--workers {args.workers}"
            raise WorkshopError(
                looked_at="--backend jax",
                expected="one process, which uses the whole GPU, or all cores of a CPU",
                found=option,
                next_step=f"either --backend jax or {option}",
            )
        on_jax.require_jax()


def positive_number(option: str, expected: str, example: str) -> Callable[[str], float]:
    """A parser of the option's value for argparse. It raises WorkshopError if the value is not a positive number."""

    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not (math.isfinite(number) and number > 0):
            raise WorkshopError(looked_at=option, expected=expected, found=repr(text), next_step=f"{option} {example}")
        return number

    return read
