"""The command `workshop`: a table of commands, each with its arguments and the function that does the work.

Exit codes: 0 yes, 1 no (or a problem that the message explains), 2 if `verify` or `audit` cannot decide, 130 after
Ctrl-C, 85 after a signal that stopped a training in a container. A function is imported when its command runs, so that `workshop --help` is fast.
"""

from __future__ import annotations

import os
import re
import sys
from importlib import import_module
from typing import Any, NamedTuple

from workshop import __version__, route
from workshop.errors import Parser, WorkshopError, errors_as_messages


def path_from_caller(path: str) -> str:
    """The path relative to the folder in which you called Pixi, which runs a task in the workspace's root."""
    called_from, root = os.environ.get("INIT_CWD"), os.environ.get("PIXI_PROJECT_ROOT")
    if path not in ("", ".") and called_from and root and os.path.realpath(root) == os.getcwd():
        return os.path.join(called_from, path)
    return path


def exercise_number(word: str) -> int:
    """The number of an exercise, from `2` or from the name of its folder (which the shell can complete)."""
    if found := re.fullmatch(r"(?:\./)?(?:exercise-)?(\d{1,4})(?:-[^/]*)?/?", word):
        return int(found[1])
    digits = re.match(r"\d+", word)
    raise WorkshopError(
        looked_at="the number of the exercise",
        expected="a number, such as 2",
        found=repr(word),
        next_step=f"workshop check {digits[0] if digits else 2}",
    )


def exercise_or_check(word: str) -> str:
    """The number of an exercise, as `exercise_number`, of one of its checks (`2.7`), or of a part (`5b`)."""
    return word if re.fullmatch(r"\d{1,4}(\.\d{1,4}|[a-z])", word) else str(exercise_number(word))


def package_or_path(word: str) -> str:
    """The name of a package, or the path of one, as `path_from_caller`."""
    return path_from_caller(word) if word.endswith((".conda", ".tar.bz2")) or "/" in word else word


Argument = tuple[tuple[str, ...], dict[str, Any]]  # what argparse's `add_argument` takes: names and settings


def argument(*names: str, **settings: Any) -> Argument:
    """An argument of a command, passed to its function as the parameter `dest` (default: its first long name)."""
    return names, settings


def flag(name: str, help: str, **settings: Any) -> Argument:
    """An option without a value; False by default."""
    return (name,), {"action": "store_true", "help": help, **settings}


def path(*names: str, metavar: str, help: str, **settings: Any) -> Argument:
    """An argument whose value is a PATH, a FILE or a DIR."""
    return names, {"type": path_from_caller, "metavar": metavar, "help": help, **settings}


class Command(NamedTuple):
    """A command of `workshop`.

    function: `module:name`. It receives the arguments as keywords and returns the exit code.
    passthrough: the parameter for all arguments that belong to the program that the command calls.
    own_options_first: whether the command's own arguments must come before those of the other program.
    """

    help: str
    function: str
    arguments: tuple[Argument, ...] = ()
    passthrough: str | None = None
    own_options_first: bool = False


NUMBER = argument("number", type=exercise_number, metavar="N", help="number of the exercise")
JSON = flag("--json", "print the result as JSON", dest="as_json")
WORKSPACE = path(
    "path",
    nargs="?",
    default=".",
    metavar="PATH",
    help="a folder, pixi.toml or pyproject.toml (default: the current folder)",
)
RECORD = path("run", metavar="PATH", help="the folder of a run, or a zip that `workshop pack` made")
ENVIRONMENT = argument("environment", nargs="?", default="cpu", metavar="ENVIRONMENT", help="cpu (default) or cuda12")
TAG = argument("--tag", metavar="TAG", help="name of the image (default reproducible-ml:ENVIRONMENT)")
ENGINE = argument(
    "--engine", dest="engine_name", choices=("docker", "podman", "buildah"), help="default: the first one that works"
)
DOCKERFILE = path("--file", metavar="FILE", help="the Dockerfile (default: exercise 5's solution)")
# slurm-train and htcondor-train must not use option names of sbatch and condor_submit.
SEED = argument(
    "--seed", type=int, metavar="N", help="seed of the initial weights and of the order of the images (default 0)"
)
RUN = path("--run", metavar="DIR", help="the folder of the run (default: named after the job)")
VERSION = argument(
    "--version", choices=("starter", "solution"), default="solution", help="which job files (default solution)"
)

COMMANDS = {
    "doctor": Command(
        "report whether this machine is ready for the tutorial; you can paste the report into an e-mail",
        "workshop.doctor:main",
        (flag("--offline", "contact no server"), JSON),
    ),
    "check": Command(
        "check your starter of an exercise (workshop check 2), one check (2.7) or a part (5b); runs its script",
        "workshop.checking.check:main",
        (
            argument(
                "which",
                type=exercise_or_check,
                metavar="N[.k]",
                help="an exercise (2), one of its checks (2.7) or a part (5b)",
            ),
            path("path", nargs="?", metavar="PATH", help="a workspace of your own (default: the starter)"),
            flag("--all", "continue after the first failure", dest="go_on"),
            argument("--hint", dest="hints", type=int, choices=(1, 2, 3), default=1, help="how many hints (default 1)"),
            JSON,
        ),
    ),
    "hint": Command(
        "print a hint for the first check that does not pass: workshop hint 2, or 2.4",
        "workshop.checking.progress:hint",
        (
            argument("which", metavar="N[.k]", help="an exercise (2), one of its checks (2.7) or a part (5b)"),
            argument(
                "--level", type=int, choices=(1, 2, 3), help="up to this hint (default: one more after each check)"
            ),
        ),
    ),
    "progress": Command(
        "list what passes in every exercise, with your files as they are now",
        "workshop.checking.progress:show",
        (JSON,),
    ),
    "watch": Command(
        "check an exercise after every save, with keys for hints and more; continues with the next exercise",
        "workshop.checking.watch:main",
        (
            argument(
                "which",
                nargs="?",
                type=exercise_or_check,
                metavar="N[.k]",
                help="an exercise (2), one of its checks (2.7) or a part (5b); default: the first unfinished exercise",
            ),
        ),
    ),
    "reset": Command(
        "restore a starter as it was shipped, after making a copy of yours",
        "workshop.checking.starter:reset",
        (
            NUMBER,
            flag("--yes", "do not ask for confirmation"),
            path(
                "--from",
                dest="source",
                metavar="PATH",
                help="exercise 3: continue from your exercise 2 (a folder, or 2)",
            ),
        ),
    ),
    "diff": Command(
        "compare your starter with the solution, once all checks pass",
        "workshop.checking.starter:diff",
        (NUMBER, flag("--spoil", "even if some checks do not pass yet")),
    ),
    "check-all": Command(
        "for instructors: test that every solution passes and every starter fails where it should",
        "workshop.checking.check_all:main",
        (argument("--exercise", dest="only", type=exercise_number, metavar="N", help="check only this exercise"), JSON),
    ),
    "lock-check": Command(
        "report whether pixi.lock still satisfies the manifest; needs neither Pixi nor a network",
        "workshop.workspaces:lock_check",
        (WORKSPACE, JSON),
    ),
    "environments": Command(
        "list the builds, drivers and downloads that each environment needs; needs no GPU",
        "workshop.workspaces:environments",
        (WORKSPACE, JSON),
    ),
    "drivers": Command(
        "list the oldest driver and the GPUs of each CUDA version; needs no GPU", "workshop.workspaces:drivers", (JSON,)
    ),
    "package": Command(
        "print what is in a conda package: workshop package numpy, or a .conda or .tar.bz2 file",
        "workshop.packages.command:main",
        (
            argument(
                "package",
                type=package_or_path,
                metavar="NAME",
                help="a package in Pixi's cache (its name, or NAME-VERSION-BUILD), or a file",
            ),
            flag("--locked", "print what the lock of this workspace states about NAME"),
            JSON,
        ),
    ),
    "audit": Command(
        "report where a Pixi workspace is reproducible, and why not elsewhere; needs neither Pixi nor a network",
        "workshop.audit.report:main",
        (
            WORKSPACE,
            JSON,
            flag("--sarif", "print the findings in SARIF 2.1.0", dest="as_sarif"),
            argument("--ignore", action="append", default=[], metavar="RULE", help="leave out the findings of a rule"),
        ),
    ),
    "container-check": Command(
        "find what is wrong with a Dockerfile or an Apptainer definition; needs no container engine",
        "workshop.containers.check:main",
        (
            path(
                "path",
                nargs="?",
                metavar="PATH",
                help="a file or a folder (default: the current folder, else exercise 5's starter)",
            ),
            argument("--environment", metavar="NAME", help="value of the build argument (default: the file's own)"),
            JSON,
        ),
    ),
    "container-build": Command(
        "build the image of an environment: workshop container-build cpu",
        "workshop.containers.engine:build",
        (
            ENVIRONMENT,
            TAG,
            ENGINE,
            DOCKERFILE,
            argument(
                "--build-arg",
                dest="extra",
                action="append",
                default=[],
                metavar="NAME=VALUE",
                help="another build argument",
            ),
            flag(
                "--apptainer", "build a file for Apptainer instead, train-ENVIRONMENT.sif, from a definition (--file)"
            ),
        ),
    ),
    "container-run": Command(
        "train in the image: workshop container-run cpu -- --data digits",
        "workshop.containers.engine:run",
        (
            ENVIRONMENT,
            TAG,
            ENGINE,
            path("--output", metavar="DIR", help="the folder to mount for the results (default: results/)"),
        ),
        passthrough="words",
        own_options_first=True,
    ),
    "container-test": Command(
        "test the image: its user, content and health check, and a training run without a network",
        "workshop.containers.image_checks:main",
        (ENVIRONMENT, TAG, ENGINE, DOCKERFILE),
    ),
    "verify": Command(
        "run the script of a recorded run again and compare: bitwise, within tolerance, or not reproduced",
        "workshop.verification.verify:main",
        (RECORD, flag("--no-rerun", "only compare the files with the record"), JSON),
    ),
    "runs": Command("list the runs of this clone, newest first", "workshop.verification.listing:main", (JSON,)),
    "compare": Command(
        "compare two runs: outputs, metrics, packages, settings",
        "workshop.verification.beside:main",
        (
            path("a", metavar="PATH", help="a run"),
            path("b", metavar="PATH", help="another run"),
            path("--figure", metavar="FILE", help="draw the figures of both, side by side, into this PNG"),
            JSON,
        ),
    ),
    "pack": Command(
        "write one zip with a run, its script, manifest and lock, which `workshop verify` can read",
        "workshop.verification.pack:main",
        (RECORD, path("--output", metavar="FILE", help="the zip (default: named after the run, here)")),
    ),
    "reproduce-readme": Command(
        "measure the figures of the pages again, and print the old and the new ones",
        "workshop.verification.figures:main",
        (
            argument("--only", action="append", default=[], metavar="NAME", help="only this figure, or this command"),
            flag("--list", "print the figures and their commands, and run nothing", dest="list_only"),
            JSON,
        ),
    ),
    "lock-slice": Command(
        "write the lock of an exercise from the packages in the root's lock",
        "workshop.workspaces:slice_lock",
        (path("folder", metavar="DIR", help="the folder of the exercise's manifest"),),
    ),
    "new": Command(
        "make a project of your own from an exercise: workshop new ../my-project --from 2",
        "workshop.new.command:main",
        (
            path("folder", metavar="DIR", help="the folder to make, outside this clone"),
            argument("--from", dest="number", type=exercise_number, metavar="N", required=True, help="the exercise"),
            argument("--name", metavar="NAME", help="the name of the project (default: the folder's)"),
        ),
    ),
    "scan": Command(
        "exercise 1: compute CLs for every hypothesis of a pyhf workspace; see workshop scan --help",
        "workshop.scan.command:main",
        passthrough="argv",  # the command parses its own options, since that needs NumPy
    ),
    "slurm-train": Command(
        "exercise 5: train as a Slurm job; options of sbatch may follow",
        "workshop.jobs.submit:slurm_train",
        (
            argument(
                "environment",
                nargs="?",
                choices=("image", "packed", "python"),
                default="image",
                help="where the job trains: an image (default), an environment packed by pixi-pack, or any Python",
            ),
            flag("--seeds", "submit array.sbatch, with one task for each seed"),
            argument("--data", choices=("digits", "digits-60k", "mnist", "fashion-mnist"), help="data set"),
            argument("--epochs", type=int, metavar="N", help="passes over the training images"),
            argument("--device", choices=("auto", "cpu", "cuda"), help="default cuda: the job needs a GPU"),
            SEED,
            RUN,
            VERSION,
            flag("--json", "print the job and its log as JSON", dest="as_json"),
        ),
        passthrough="sbatch_options",
    ),
    "htcondor-train": Command(
        "exercise 5: train as an HTCondor job; arguments of condor_submit may follow",
        "workshop.jobs.submit:htcondor_train",
        (SEED, RUN, VERSION),
        passthrough="condor_options",
    ),
    "completion": Command(
        'complete `workshop` in your shell: eval "$(workshop completion bash)"',
        "workshop.cli:print_completion",
        (argument("shell", choices=("bash", "zsh"), help="the shell that you use"),),
    ),
}


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code. Problems are printed to stderr as messages, not as tracebacks."""
    with errors_as_messages(route.as_typed_here):
        words = sys.argv[1:] if argv is None else argv
        if not words:
            return import_module("workshop.checking.progress").home()
        workshop, parsers = build_parsers()
        if words[0] not in parsers:
            workshop.words = list(words)
            workshop.parse_known_args(words[:1])  # prints the help or the version, or raises WorkshopError
        name, own, others = words[0], words[1:], []
        command, parser = COMMANDS[name], parsers[name]
        if command.passthrough:
            own, others = split_words(parser, own, command.own_options_first)
        values = vars(parser.parse_args(own))
        if command.passthrough:
            values[command.passthrough] = others
        module, _, function = command.function.partition(":")
        return getattr(import_module(module), function)(**values)


def build_parsers() -> tuple[Parser, dict[str, Parser]]:
    """The parser of `workshop`, used for its help and for shell completion, and the parser of each command."""
    workshop = Parser(prog="workshop", description="Reproducible machine-learning environments: run, check, prove.")
    workshop.add_argument("--version", action="version", version=f"workshop {__version__}")
    commands = workshop.add_subparsers(metavar="COMMAND", required=True)
    workshop.arguments.append(commands)  # its choices are the commands, to correct a mistyped one
    parsers = {}
    for name, command in COMMANDS.items():
        parsers[name] = commands.add_parser(
            name,
            help=command.help,
            description=command.help,
            allow_abbrev=not command.passthrough,
            add_help=bool(command.arguments)
            or not command.passthrough,  # a command without arguments passes --help on as well
        )
        for names, settings in command.arguments:
            parsers[name].add_argument(*names, **settings)
    return workshop, parsers


def split_words(parser: Parser, words: list[str], own_options_first: bool) -> tuple[list[str], list[str]]:
    """Split arguments into those of the command and those of the program that it calls (everything after `--`).

    `--` may be missing, since Pixi removes it. argparse alone would take `digits` in `container-run --data digits` for
    the command's environment.
    """
    has_value = {name: action.nargs != 0 for action in parser.arguments for name in action.option_strings}
    positionals = sum(not action.option_strings for action in parser.arguments)
    own, others, rest = [], [], list(words)
    while rest and rest[0] != "--" and not (own_options_first and others):
        word = rest.pop(0)
        option, has_sign, _ = word.partition("=")
        if option in has_value:
            own.append(word)
            if has_value[option] and not has_sign and rest:
                own.append(rest.pop(0))
        elif positionals and not word.startswith("-") and (not others or "=" in others[-1]):
            own.append(word)  # not the value of the other program's option
            positionals -= 1
        else:
            others.append(word)
    if rest[:1] == ["--"] and not (own_options_first and others):
        rest.pop(0)
    return own, others + rest


def print_completion(shell: str) -> int:
    """Print the shell code that completes `workshop`; returns 0."""
    import shtab

    workshop, parsers = build_parsers()
    kinds = {"PATH": shtab.FILE, "FILE": shtab.FILE, "DIR": shtab.DIRECTORY}
    for parser in parsers.values():
        for action in parser.arguments:
            if action.metavar in kinds:
                action.complete = kinds[action.metavar]  # type: ignore  # shtab reads this attribute
    print(shtab.complete(workshop, shell=shell))
    return 0
