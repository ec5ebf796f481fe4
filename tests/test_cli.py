"""The command line of `workshop`: how words are divided, and that every command's function takes its arguments."""

import inspect
import os
import subprocess
import sys
from importlib import import_module

import pytest
from conftest import ROOT

from workshop import cli
from workshop.errors import Parser, WorkshopError


@pytest.fixture
def called(monkeypatch):
    """Parse a line and return what its function would have been called with: called("check 2 --all there")."""

    def call(line):
        seen = {}
        module, _, function = cli.COMMANDS[line.split()[0]].function.partition(":")
        monkeypatch.setattr(import_module(module), function, lambda **values: seen.update(values) or 0)
        assert cli.main(line.split()) == 0
        return seen

    return call


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_function_takes_the_arguments_of_its_command(name):
    command = cli.COMMANDS[name]
    _, parsers = cli.build_parsers()
    values = {argument.dest: argument.default for argument in parsers[name].arguments if argument.dest != "help"}
    if command.passthrough:
        values[command.passthrough] = []
    module, _, function = command.function.partition(":")
    inspect.signature(getattr(import_module(module), function)).bind(**values)  # TypeError where it does not


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("check 2 --all there", {"which": "2", "path": "there", "go_on": True}),
        ("check 2.7 there", {"which": "2.7", "path": "there"}),
        ("check 5b", {"which": "5b", "path": None}),
        ("check --json 2 --hint 3 there", {"which": "2", "path": "there", "hints": 3, "as_json": True}),
        ("check 2", {"path": None, "hints": 1}),
        ("lock-check --json there", {"path": "there", "as_json": True}),
        ("lock-check", {"path": "."}),
        ("hint --level 2 2.4", {"which": "2.4", "level": 2}),
        ("diff --spoil exercise-2-pytorch-cu12/", {"number": 2, "spoil": True}),
        ("container-build --tag t cuda12 --file f", {"environment": "cuda12", "tag": "t", "file": "f"}),
        ("container-test --engine podman cuda12", {"environment": "cuda12", "engine_name": "podman"}),
        ("container-check --environment cpu there", {"environment": "cpu", "path": "there"}),
        ("container-run --tag t cuda12 --data digits", {"environment": "cuda12", "words": ["--data", "digits"]}),
        ("container-run cuda12 --tag=t -- --tag u", {"environment": "cuda12", "tag": "t", "words": ["--tag", "u"]}),
        ("container-run --data digits --tag t", {"environment": "cpu", "words": ["--data", "digits", "--tag", "t"]}),
        ("container-run --tag t", {"environment": "cpu", "tag": "t", "words": []}),
        ("slurm-train --seed 3 packed", {"environment": "packed", "seed": 3, "sbatch_options": []}),
        (
            "slurm-train --gres gpu:1 --seed 3",
            {"environment": "image", "seed": 3, "sbatch_options": ["--gres", "gpu:1"]},
        ),
        (
            "slurm-train -p packed --time=9 python",
            {"environment": "python", "sbatch_options": ["-p", "packed", "--time=9"]},
        ),
        ("slurm-train python -- --json", {"environment": "python", "as_json": False, "sbatch_options": ["--json"]}),
        ("htcondor-train a=1 --seed 2 -spool", {"seed": 2, "condor_options": ["a=1", "-spool"]}),
    ],
)
def test_which_words_belong_to_which_program(called, line, expected):
    values = called(line)
    assert values | expected == values, values


@pytest.mark.parametrize("line", ["check 2 there elsewhere", "check", "hint 2 --level 4", "lock-slice", "watch --x 2"])
def test_invalid_arguments(line, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(line.split())
    assert stopped.value.code == 1
    assert capsys.readouterr().err.endswith(f"next:      workshop {line.split()[0]} --help\n")


def test_a_path_is_relative_to_the_callers_folder(called, monkeypatch, tmp_path):
    """Pixi runs tasks in the folder of the workspace and stores the caller's folder in INIT_CWD."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INIT_CWD", "/elsewhere")
    monkeypatch.setenv("PIXI_PROJECT_ROOT", str(tmp_path))
    assert called("lock-check there")["path"] == "/elsewhere/there"
    assert called("lock-check")["path"] == "."
    assert called("check 2")["path"] is None


def test_only_unknown_words_are_corrected():
    parser = Parser(prog="train.py")
    parser.add_argument("--data", choices=("digits", "mnist"))
    parser.add_argument("--epochs", type=int)
    with pytest.raises(WorkshopError, match=r"next:      train.py --epochs x --data digits$"):
        parser.parse_args(["--epochs", "x", "--data", "digit"])
    with pytest.raises(WorkshopError, match=r"next:      train.py --help$"):
        parser.parse_args(["--epochs", "x", "--data", "digits"])


def test_the_help_imports_nothing_that_takes_time():
    """It should take less than 0.2 s. The imports are tested, since they do not depend on the load of this machine."""
    code = "import sys\ntry:\n    import workshop.__main__\n    workshop.cli.main(['--help'])\nfinally:\n    print(*sys.modules)"
    line = [sys.executable, "-c", code]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "common")}
    done = subprocess.run(line, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "usage: workshop" in done.stdout, done.stderr
    imported = set(done.stdout.splitlines()[-1].split())
    assert {name for name in imported if name.startswith("workshop")} == {
        "workshop",
        "workshop.__main__",
        "workshop.cli",
        "workshop.errors",
        "workshop.shell",
        "workshop.route",
        "workshop.support",
        "workshop.support.terminal",
        "workshop.support.text",
    }
    assert not imported & {"numpy", "torch", "rattler", "rich", "dataclasses", "pixi_workspace"}
