"""The step to which a faulty line belongs, the line of a table, what a task would start, and a check that is disturbed."""

import io
import os
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT

from pixi_workspace import manifest as manifests
from workshop import exercises
from workshop.checking import checks
from workshop.checking.checks import Check, Part, Workspace, fail, ok
from workshop.checking.steps import blame, lines, tasks
from workshop.runs import training
from workshop.support.timeouts import failure_reason

EXERCISE_1 = ROOT / "exercise-1-scipy"
HINTS = ("one hint", "two hints", "three hints")

# ---------------------------------------------------------------- lines of a manifest

MANIFEST = """\
[workspace]
name = "x"
platforms = [
  "linux-64",  # [not a table]
  { name = "gpu", platform = "linux-64", cuda = "12.0" },
]

[feature.test.dependencies]
pytest = ">=8"

[environments]
test = { features = ["test"], solve-group = "default" }

[tasks.limits]
cmd = "python exclusion.py"
"""


@pytest.mark.parametrize(
    ("path", "number"),
    [
        (("workspace", "platforms"), 3),
        (("workspace", "platforms", "gpu"), 5),
        (("feature", "test", "dependencies", "pytest"), 9),
        (("feature", "test", "platforms"), 8),
        (("environments", "test", "features"), 12),
        (("tasks", "limits", "cmd"), 15),
        (("tasks", "other"), 14),
        (("target",), None),
        ((), None),
    ],
)
def test_the_line_of_a_table_or_a_key(path, number):
    assert lines.line_of(MANIFEST, path) == number
    inside = MANIFEST.replace("\n[", "\n[tool.pixi.").replace("[workspace]", "[tool.pixi.workspace]", 1)
    assert lines.line_of(inside, path) == number


@pytest.mark.parametrize("text", ["[", "]", "[[[", "a = [\n", "= 1", "[a\nb = {", '"', "[tool.pixi", "\x00"])
def test_the_lines_of_a_broken_manifest(text):
    assert len(lines.paths_of(text)) == len(text.splitlines())
    assert lines.line_of(text, ("feature", "x")) is None


def test_tables_belong_to_the_most_specific_step():
    parts = [("1.2", Part(tables=("feature",))), ("1.4", Part(tables=("tasks", "feature.*.tasks")))]
    owner = {
        path: blame.owner_of_path(parts, tuple(path.split("."))) for path in ("feature.x", "feature.x.tasks.y", "z")
    }
    assert owner == {"feature.x": "1.2", "feature.x.tasks.y": "1.4", "z": None}


# ---------------------------------------------------------------- what a task would start


@pytest.mark.parametrize(
    ("command", "name", "path"),
    [
        ("python train.py", "train", "train.py"),
        ("python3.12 -u -O train.py --epochs 1", "train", "train.py"),
        ("python -X dev -Wignore -W error ./train.py", "train", "train.py"),
        ("python -m train", "train", "train.py"),
        ("python -um train", "train", "train.py"),
        ("python -m torch.distributed.run --nproc-per-node 2 train.py", "train", "train.py"),
        ("torchrun --standalone --nproc-per-node=2 sub/train.py", "train", "sub/train.py"),
        ("torchrun --nproc-per-node 2 -m train", "train", "train.py"),
        ("accelerate launch train.py", "train", "train.py"),
        ("mpirun -n 2 python -u train.py", "train", "train.py"),
        ("A=1 B='2 3' env C=4 time python train.py", "train", "train.py"),
        ("cd sub && python train.py", "train", "sub/train.py"),
        ("srun -n 2 --gres=gpu:1 nice -n 5 python train.py", "train", "train.py"),
        ("echo begin; python 'train.py' > log && echo end", "train", "train.py"),
        ("pixi run -e cpu python train.py", "train", "train.py"),
        ("python $PIXI_PROJECT_ROOT/train.py", "train", "train.py"),
        ("${CONDA_PREFIX}/bin/python train.py", "train", "train.py"),
        ("python $SCRIPT", "$SCRIPT", None),
        ("python {{ script }}.py", "{{script}}", None),
    ],
)
def test_the_script_that_a_command_starts(tmp_path, command, name, path):
    (started,) = tasks.started_by(manifests.Task("t", command, None, None, {"cmd": command}), tmp_path)
    assert started.name == name
    assert (started.path and started.path.resolve()) == (path and tmp_path.resolve() / path)


@pytest.mark.parametrize(
    "command",
    ["", "echo train.py", "cat train.py", "python", "python -c 'import train'", "python -V train.py", "python -",
     "torchrun --help", "export A=python", "python 'train.py", "pytest train.py", "bash train.sh"],
)  # fmt: skip
def test_commands_that_start_no_script(tmp_path, command):
    assert list(tasks.started_by(manifests.Task("t", command, None, None, {"cmd": command}), tmp_path)) == []


# ---------------------------------------------------------------- exceptions of a script


def ended(stderr):
    return subprocess.CompletedProcess(["train.py"], 1, "", stderr)


JAX = """\
Traceback (most recent call last):
  File "/copy/train.py", line 4, in <module>
    second()
TypeError: wrong
--------------------
For simplicity, JAX has removed its internal frames from the traceback of the following exception. Set \
JAX_TRACEBACK_FILTERING=off to include these.
"""


TORCH = """\
Traceback (most recent call last):
  File "/copy/train.py", line 4, in <module>
    images.to(run.torch_device)
TypeError: to() received an invalid combination of arguments - got (method), but expected one of:
 * (torch.dtype dtype, bool non_blocking = False, bool copy = False, *, torch.memory_format memory_format = None)
 * (Tensor tensor, bool non_blocking = False, bool copy = False, *, torch.memory_format memory_format = None)
\x20
"""


def test_the_reason_of_a_failure_is_the_exception_and_not_what_follows_it():
    assert failure_reason(ended(JAX)) == "TypeError: wrong"
    reason = failure_reason(ended(TORCH))
    assert reason.startswith("TypeError: to() received an invalid combination of arguments - got (method);")
    assert reason.endswith("did you forget `()` after the name of a method?")
    other = failure_reason(ended(TORCH.replace("(method)", "(str, str)")))
    assert other == "TypeError: to() received an invalid combination of arguments - got (str, str)"


def test_an_exception_belongs_to_the_function_at_the_top_of_the_script(tmp_path):
    script = tmp_path / "train.py"
    script.write_text("def first():\n    def inner():\n        return 1 / 0\n    return inner()\n\n\nfirst()\n")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)
    fault = blame.fault_of(script, done)
    assert (fault.line, fault.function, fault.text) == (3, "first", "return 1 / 0")
    script.write_text("def first():\n    return (1\n\n\nfirst()\n")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert blame.fault_of(script, done).function == "first"
    script.write_text("raise SystemExit('a message')\n")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert blame.fault_of(script, done) is None


def test_a_failure_that_no_later_check_confirms_is_not_lost(tmp_path):
    """The later check passes, because only the earlier one runs into the exception: it fails nevertheless."""

    def run(workspace):
        workspace.faults.append(blame.Fault("train.py", 7, "x = y", "later", "NameError: y"))
        return fail(looked_at="train.py", expected="exit code 0", found="NameError: y", next_step="look")

    listed = (
        Check("9.1", "the first", HINTS, run),
        Check("9.2", "the second", HINTS, lambda _: ok("fine"), Part(functions=("later",))),
    )
    found = [result for _, result in checks.run_checks(listed, Workspace(tmp_path, tmp_path / "scratch"))]
    assert [result.status for result in found] == ["skip", "fail"]
    assert "step 9.2" in found[0].found and found[1].looked_at == "train.py, line 7: x = y"


# ---------------------------------------------------------------- a folder that is cleaned up


def test_a_check_whose_folder_is_cleaned_up_runs_again(tmp_path):
    times = []

    def run(workspace):
        times.append(1)
        if len(times) == 1:
            shutil.rmtree(workspace.scratch)
        (workspace.scratch / "file").write_text("x")
        return ok("written")

    workspace = Workspace(tmp_path, tmp_path / "scratch")
    workspace.scratch.mkdir()
    ((_, result),) = checks.run_checks((Check("9.1", "a file", HINTS, run),), workspace)
    assert result.status == "ok" and len(times) == 2


def test_a_file_that_is_missing_is_named(tmp_path):
    workspace = Workspace(tmp_path, tmp_path / "scratch")
    workspace.scratch.mkdir()
    path = workspace.scratch / "results" / "file"
    ((_, result),) = checks.run_checks((Check("9.1", "a file", HINTS, lambda _: path.read_text()),), workspace)
    assert result.looked_at == str(path) and result.found == "No such file or directory"


def test_scratch_folders_are_where_nothing_else_cleans_up(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKSHOP_CACHE", str(tmp_path / "cache"))
    folder = checks.new_scratch_folder()
    assert folder.is_dir() and folder.parent == tmp_path / "cache" / "scratch"
    old, kept = folder.parent / "old", folder.parent / "kept"
    for left in (old, kept):
        (left / "inside").mkdir(parents=True)
    os.utime(old, (0, 0))
    exercises.scratch_root()
    assert kept.is_dir() and not old.exists()
    monkeypatch.setenv("WORKSHOP_CACHE", str(tmp_path / "file" / "cache"))
    (tmp_path / "file").write_text("a file where a folder belongs")
    assert exercises.scratch_root().is_dir()


# ---------------------------------------------------------------- commands that people paste


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_long_command_is_printed_in_one_line_while_the_progress_bar_is_shown(monkeypatch):
    """At 80 columns, rich would break the command to resume into three lines."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    command = "python exercise-2-pytorch-cu12/solution/train.py " + " ".join(f"--option-{n} value" for n in range(20))
    for _ in training._with_progress(range(2), quiet=False):
        print(command, file=sys.stderr)
    assert terminal.getvalue().count(command) == 2
