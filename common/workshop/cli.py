"""The command `workshop`. It parses, calls one room, and turns the answer into an exit code.

Exit codes: 0 yes, 1 no (or a problem that the message explains), 130 interrupted; 85 of a training in a container that
was told to stop.
Nothing heavy is imported here: `workshop --help` answers at once.
"""

from __future__ import annotations

import argparse
import os
import sys

from workshop import __version__
from workshop.errors import Parser, explained


def _typed_in(path: str) -> str:
    """The path as the person meant it: Pixi runs a task in the workspace's root, whatever folder it was called from."""
    called_from, root = os.environ.get("INIT_CWD"), os.environ.get("PIXI_PROJECT_ROOT")
    if path != "." and called_from and root and os.path.realpath(root) == os.getcwd():
        return os.path.join(called_from, path)
    return path


def _lock_check(args: argparse.Namespace) -> int:
    from workshop.workspaces import lock_check

    return lock_check(_typed_in(args.path), as_json=args.json)


def _check(args: argparse.Namespace) -> int:
    from workshop.checking.check import main

    path = args.path and _typed_in(args.path)
    return main(args.exercise, path, go_on=args.all, as_json=args.json, hints=args.hint)


def _check_all(args: argparse.Namespace) -> int:
    from workshop.checking.check_all import main

    return main(args.exercise, as_json=args.json)


def _number(word: str) -> int:
    """The number of an exercise: `2`, or the name of its folder, which the shell completes."""
    import re

    from workshop.errors import WorkshopError

    if found := re.fullmatch(r"(?:\./)?(?:exercise-)?(\d{1,4})(?:-[^/]*)?/?", word):
        return int(found[1])
    digits = re.match(r"\d+", word)
    raise WorkshopError(
        looked_at="the number of the exercise",
        expected="a number, as in 2",
        found=repr(word),
        next_step=f"workshop check {digits[0] if digits else 2}",
    )


def _hint(args: argparse.Namespace) -> int:
    from workshop.checking.progress import hint
    from workshop.errors import WorkshopError

    number, _, check = args.which.partition(".")
    if not number.isdecimal() or (check and not check.isdecimal()):
        raise WorkshopError(
            looked_at="the number of the exercise",
            expected="2, or 2.4 for one check",
            found=repr(args.which),
            next_step="workshop hint 2",
        )
    return hint(int(number), check or None, args.level)


def _progress(args: argparse.Namespace) -> int:
    from workshop.checking.progress import show

    return show(args.json)


def _watch(args: argparse.Namespace) -> int:
    from workshop.checking.watch import main

    return main(args.exercise)


def _reset(args: argparse.Namespace) -> int:
    from workshop.checking.starter import reset

    return reset(args.exercise, args.yes)


def _diff(args: argparse.Namespace) -> int:
    from workshop.checking.starter import diff

    return diff(args.exercise, args.spoil)


def _doctor(args: argparse.Namespace) -> int:
    from workshop.doctor.doctor import main

    return main(as_json=args.json, offline=args.offline)


def _environments(args: argparse.Namespace) -> int:
    from workshop.workspaces import environments

    return environments(_typed_in(args.path), as_json=args.json)


def _lock_slice(args: argparse.Namespace) -> int:
    from workshop.workspaces import slice_lock

    return slice_lock(_typed_in(args.folder))


def _container_check(args: argparse.Namespace) -> int:
    from workshop.containers.check import main

    return main(args.path and _typed_in(args.path), args.environment, as_json=args.json)


def _container_build(args: argparse.Namespace) -> int:
    from workshop.containers.engine import build

    return build(args.environment, args.tag, args.file and _typed_in(args.file), args.engine, args.build_arg)


def _container_run(args: argparse.Namespace) -> int:
    from workshop.containers.engine import run

    return run(args.environment, args.tag, args.output and _typed_in(args.output), args.engine, args.more)


def _container_test(args: argparse.Namespace) -> int:
    from workshop.containers.trials import trial

    return trial(args.environment, args.tag, args.engine, args.file and _typed_in(args.file))


def _add_container_commands(commands: argparse._SubParsersAction) -> None:
    look = commands.add_parser(
        "container-check", help="what is wrong with a Dockerfile or Apptainer definition, without an engine"
    )
    look.add_argument(
        "path",
        nargs="?",
        metavar="PATH",
        help="a file, or a folder with some (default: here, else exercise 5's starter)",
    )
    look.add_argument(
        "--environment", metavar="NAME", help="as if the build argument were this one (default: the file's own)"
    )
    look.add_argument("--json", action="store_true", help="the findings for machines")
    look.set_defaults(run=_container_check)

    build = commands.add_parser("container-build", help="the image of an environment: workshop container-build cpu")
    build.add_argument(
        "--build-arg", action="append", default=[], metavar="NAME=VALUE", help="a further build argument"
    )
    build.set_defaults(run=_container_build)

    run = commands.add_parser("container-run", help="train in the image: workshop container-run cpu -- --data digits")
    run.add_argument("--output", metavar="DIR", help="the folder that is mounted for the results (default: results/)")
    run.set_defaults(run=_container_run, more=[])

    trial = commands.add_parser(
        "container-test", help="try the image: user, content, health, a training without network"
    )
    trial.set_defaults(run=_container_test)

    for parser in (build, run, trial):
        parser.add_argument(
            "environment", nargs="?", default="cpu", metavar="ENVIRONMENT", help="cpu (default) or cuda12"
        )
        parser.add_argument("--tag", metavar="TAG", help="the image's name (default reproducible-ml:ENVIRONMENT)")
        parser.add_argument("--engine", choices=("docker", "podman", "buildah"), help="default: the first that answers")
    for parser in (build, trial):
        parser.add_argument("--file", metavar="FILE", help="the Dockerfile (default: the solution of exercise 5)")


def _slurm_train(args: argparse.Namespace) -> int:
    from workshop.jobs.submit import slurm_train

    run = args.folder and _typed_in(args.folder)
    chosen = {"data": args.data, "seed": args.seed, "epochs": args.epochs, "device": args.device}
    if args.seeds and args.seed is not None:
        from workshop.errors import WorkshopError

        raise WorkshopError(
            looked_at="--seeds --seed",
            expected="one of the two",
            found="both",
            next_step=f"workshop slurm-train --seed {args.seed}",
        )
    script = "array" if args.seeds else "train"
    return slurm_train(args.environment, args.version, script, run, args.more, args.json, **chosen)


def _htcondor_train(args: argparse.Namespace) -> int:
    from workshop.jobs.submit import htcondor_train

    return htcondor_train(args.version, args.seed, args.folder and _typed_in(args.folder), args.more)


def _scan(args: argparse.Namespace) -> int:
    from workshop.scan.command import main

    return main(args.more)


def _completion(args: argparse.Namespace) -> int:
    import shtab

    parser = build_parser()
    for command in parser._subparsers._group_actions[0].choices.values():
        for action in command._actions:
            if action.metavar in ("PATH", "FILE", "DIR"):
                action.complete = shtab.DIRECTORY if action.metavar == "DIR" else shtab.FILE
    print(shtab.complete(parser, shell=args.shell))
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    about = "Reproducible machine-learning environments: run, check, prove."
    parser = Parser(prog="workshop", description=about)
    parser.add_argument("--version", action="version", version=f"workshop {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    doctor = commands.add_parser(
        "doctor", help="is this machine ready for the tutorial? A report to paste into an e-mail"
    )
    doctor.add_argument("--offline", action="store_true", help="ask no server")
    doctor.add_argument("--json", action="store_true", help="the report for machines")
    doctor.set_defaults(run=_doctor)

    check = commands.add_parser("check", help="the checks of one exercise on your starter: workshop check 2")
    check.add_argument("exercise", type=_number, metavar="N", help="number of the exercise")
    check.add_argument("path", nargs="?", metavar="PATH", help="a workspace of your own (default: the starter)")
    check.add_argument("--all", action="store_true", help="go on after the first failure")
    check.add_argument("--hint", type=int, choices=(1, 2, 3), default=1, help="how many hints to print (default 1)")
    check.add_argument("--json", action="store_true", help="the answers for machines")
    check.set_defaults(run=_check)

    hint = commands.add_parser("hint", help="a hint for the first check that does not pass: workshop hint 2, or 2.4")
    hint.add_argument("which", metavar="N[.k]", help="number of the exercise, or of one of its checks")
    hint.add_argument(
        "--level", type=int, choices=(1, 2, 3), help="up to this hint (default: one more after each check)"
    )
    hint.set_defaults(run=_hint)

    progress = commands.add_parser("progress", help="what passes in every exercise, with your files as they are now")
    progress.add_argument("--json", action="store_true", help="the same for machines")
    progress.set_defaults(run=_progress)

    watch = commands.add_parser("watch", help="the checks of one exercise again after every save, until Ctrl-C")
    watch.add_argument("exercise", type=_number, metavar="N", help="number of the exercise")
    watch.set_defaults(run=_watch)

    reset = commands.add_parser("reset", help="put a starter back as it was shipped, after a copy of yours")
    reset.add_argument("exercise", type=_number, metavar="N", help="number of the exercise")
    reset.add_argument("--yes", action="store_true", help="do not ask")
    reset.set_defaults(run=_reset)

    diff = commands.add_parser("diff", help="your starter against the solution, once all checks pass")
    diff.add_argument("exercise", type=_number, metavar="N", help="number of the exercise")
    diff.add_argument("--spoil", action="store_true", help="before that, too")
    diff.set_defaults(run=_diff)

    check_all = commands.add_parser("check-all", help="instructor: every solution runs, every starter fails in place")
    check_all.add_argument("--exercise", type=_number, metavar="N", help="only this one")
    check_all.add_argument("--json", action="store_true", help="the table for machines")
    check_all.set_defaults(run=_check_all)

    lock = commands.add_parser("lock-check", help="does pixi.lock still satisfy the manifest? No Pixi, no network")
    where = "a workspace folder, pixi.toml or pyproject.toml (default: here)"
    lock.add_argument("path", nargs="?", default=".", metavar="PATH", help=where)
    lock.add_argument("--json", action="store_true", help="the verdict and its reasons for machines")
    lock.set_defaults(run=_lock_check)

    gpu = commands.add_parser("environments", help="which builds, drivers and downloads each environment needs; no GPU")
    gpu.add_argument("path", nargs="?", default=".", metavar="PATH", help=where)
    gpu.add_argument("--json", action="store_true", help="the same for machines")
    gpu.set_defaults(run=_environments)

    _add_container_commands(commands)

    cut = commands.add_parser("lock-slice", help="write an exercise's lock with just the packages that the root has")
    cut.add_argument("folder", metavar="DIR", help="the folder of the exercise's manifest")
    cut.set_defaults(run=_lock_slice)

    scan = commands.add_parser(
        "scan", help="exercise 1: CLs of every hypothesis of a pyhf workspace: workshop scan --help", add_help=False
    )
    scan.set_defaults(run=_scan, more=[])  # its options are read by the command itself, which imports NumPy

    # Whatever they do not know is for sbatch and condor_submit, so their own options have other names than theirs.
    slurm = commands.add_parser(
        "slurm-train", help="exercise 5: train as a job of Slurm; options of sbatch may follow", allow_abbrev=False
    )
    within = "what it trains in: an image (default), what pixi-pack has packed, or an interpreter"
    slurm.add_argument("environment", nargs="?", choices=("image", "packed", "python"), default="image", help=within)
    slurm.add_argument("--seeds", action="store_true", help="array.sbatch: a task for each seed")
    slurm.add_argument("--data", choices=("digits", "digits-60k", "mnist", "fashion-mnist"), help="data set")
    slurm.add_argument("--epochs", type=int, metavar="N", help="passes over the training images")
    slurm.add_argument("--device", choices=("auto", "cpu", "cuda"), help="default cuda: it insists on a GPU")
    slurm.add_argument("--json", action="store_true", help="job and log for machines")
    slurm.set_defaults(run=_slurm_train)
    condor = commands.add_parser("htcondor-train", help="exercise 5: train as a job of HTCondor", allow_abbrev=False)
    condor.set_defaults(run=_htcondor_train)
    _both_jobs(slurm, condor)

    complete = commands.add_parser(
        "completion", help='your shell completes `workshop`: eval "$(workshop completion bash)"'
    )
    complete.add_argument("shell", choices=("bash", "zsh"))
    complete.set_defaults(run=_completion)
    return parser


def _both_jobs(*commands: argparse.ArgumentParser) -> None:
    for command in commands:
        command.add_argument("--seed", type=int, metavar="N", help="of weights and order (default 0)")
        command.add_argument(
            "--run", dest="folder", metavar="DIR", help="the folder of the run (default: named after the job)"
        )
        command.add_argument(
            "--version", choices=("starter", "solution"), default="solution", help="whose job (default solution)"
        )
        command.set_defaults(more=[])


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code; problems are messages on stderr, never tracebacks."""
    with explained():
        args = _parsed(build_parser(), argv)
        return args.run(args)


def _of_container_run(parser: Parser, words: list[str]) -> int:
    """How many words are container-run's own: the environment and its options. The first other one begins the script's.

    argparse would pick its own words out from among those of the script, as `digits` in `container-run --data digits`.
    """
    options = parser._subparsers._group_actions[0].choices["container-run"]._option_string_actions
    place = 2 if len(words) > 1 and not words[1].startswith("-") else 1
    while place < len(words) and (option := options.get(words[place].partition("=")[0])):
        place += 1 if option.nargs == 0 or "=" in words[place] else 2
    return place


def _parsed(parser: Parser, argv: list[str] | None) -> argparse.Namespace:
    """`check 2 --all PATH` too: argparse gives up an optional PATH when it meets the first option."""
    words = sys.argv[1:] if argv is None else argv
    own, more = words, []
    if words[:1] == ["container-run"]:
        place = _of_container_run(parser, words)
        own, more = words[:place], words[place:]
        more = more[1:] if more[:1] == ["--"] else more
    elif words[:1] in (["slurm-train"], ["htcondor-train"]) and "--" in words:
        own, more = words[: words.index("--")], words[words.index("--") + 1 :]
    args, rest = parser.parse_known_args(own)
    if hasattr(args, "more"):  # for what is called: the script in the image, sbatch; Pixi may have taken the -- away
        args.more, rest = [*rest, *more], []
    if len(rest) == 1 and not rest[0].startswith("-") and getattr(args, "path", "taken") is None:
        args.path, rest = rest[0], []
    if rest:
        parser.error(f"what is {' '.join(rest)}?")
    return args
