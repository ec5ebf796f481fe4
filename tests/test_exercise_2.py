"""Exercise 2 as a room: its manifest is a slice of the root's, its checks fit its TODOs, its starter is not solved."""

import json
import shutil

import pytest
from conftest import ROOT, answers, first_failure, record_of

from workshop import check_all, checks, lock_slice
from workshop import manifest as manifests

FOLDER = ROOT / "exercise-2-pytorch-cu12"
SHARED = ROOT.parent / "shared"
EXERCISE = next(exercise for exercise in checks.exercises(ROOT) if exercise.number == 2)


@pytest.fixture(scope="module")
def whole():
    return manifests.load(ROOT / "pixi.toml")


def test_lock_slice_says_what_the_root_lacks(tmp_path, whole):
    text = (FOLDER / "solution" / "pixi.toml").read_text()
    for change, said in (('numpy = ">=99"', "numpy"), ('polars = "*"\nnumpy = ">=1.26"', "polars")):
        (tmp_path / "pixi.toml").write_text(text.replace('numpy = ">=1.26"', change))
        with pytest.raises(checks.WorkshopError, match=said):
            lock_slice.cut(whole, manifests.load(tmp_path / "pixi.toml"))
    (tmp_path / "pixi.toml").write_text(text.replace('cuda = "12.0"', 'cuda = "13.0"'))
    with pytest.raises(checks.WorkshopError, match="platform"):
        lock_slice.cut(whole, manifests.load(tmp_path / "pixi.toml"))


def test_the_shipped_starter_fails_first_where_exercise_toml_says(tmp_path):
    found = answers(EXERCISE, FOLDER / "starter", tmp_path)
    failed = [number for number, answer in found.items() if answer.status == "fail"]
    assert failed[0] == EXERCISE.about["starter_fails_at"]
    pytest.importorskip("torch", reason="the last two checks train")
    assert failed == [f"2.{k}" for k in range(1, 8)]


ASSERTION = "device.assert_on(dev, images=x, **dict(net.named_parameters()))"

# What learners do, and the check that has to notice it first.
MISTAKES = {
    "no CUDA platform": (
        "2.1",
        [
            ("pixi.toml", '  { name = "linux-64-cuda12", platform = "linux-64", cuda = "12.0" },\n', ""),
            ("pixi.toml", 'platforms = ["linux-64-cuda12"]', 'platforms = ["linux-64"]'),
        ],
    ),
    "CUDA 11 platform": ("2.1", [("pixi.toml", 'cuda = "12.0"', 'cuda = "11.8"')]),
    "CUDA 120": ("2.1", [("pixi.toml", 'cuda = "12.0"', 'cuda = "120"')]),
    "no GPU feature": ("2.2", [("pixi.toml", 'cuda-version = "12.9.*"\npytorch-gpu = ">=2.10,<3"', 'scipy = "*"')]),
    "no CPU feature": ("2.2", [("pixi.toml", 'pytorch-cpu = ">=2.5,<3"', 'scipy = "*"')]),
    "both builds in one feature": (
        "2.2",
        [("pixi.toml", 'pytorch-gpu = ">=2.10,<3"', 'pytorch-gpu = ">=2.10,<3"\npytorch-cpu = "*"')],
    ),
    "GPU environment missing": ("2.3", [("pixi.toml", 'cuda12 = ["cuda12"]', "")]),
    "CPU environment missing": ("2.3", [("pixi.toml", 'cpu = ["cpu"]', "")]),
    "GPU feature on the plain platform": (
        "2.3",
        [("pixi.toml", 'platforms = ["linux-64-cuda12"]', 'platforms = ["linux-64"]')],
    ),
    "the CPU build in every environment": (
        "2.3",
        [("pixi.toml", 'python = "3.12.*"', 'python = "3.12.*"\npytorch-cpu = ">=2.5,<3"')],
    ),
    "every environment made for a GPU": (
        "2.3",
        [("pixi.toml", "[feature.cpu]\n", '[activation.env]\nWORKSHOP_DEVICE = "cuda"\n\n[feature.cpu]\n')],
    ),
    "a task that only names the script": ("2.4", [("pixi.toml", 'cmd = "python train.py"', 'cmd = "cat train.py"')]),
    "task missing": ("2.4", [("pixi.toml", 'cmd = "python train.py"', 'cmd = "python main.py"')]),
    "stale lock": ("2.5", [("pixi.toml", 'numpy = ">=1.26"', 'numpy = ">=99"')]),
    "lock of another manifest": ("2.5", [("pixi.toml", 'rich = ">=14"', 'rich = ">=14"\npolars = "*"')]),
    "merge markers in the lock": ("2.5", [("pixi.lock", "environments:\n", "<<<<<<< HEAD\nenvironments:\n")]),
    "broken TOML": ("2.1", [("pixi.toml", 'cpu = ["cpu"]', 'cpu = ["cpu]')]),
    "silent fall-back to the CPU": (
        "2.6",
        [("train.py", 'device.choose_torch(args.device, device.process("LOCAL_RANK"))', 'torch.device("cpu")')],
    ),
    "nothing insists on the device": ("2.6", [("train.py", f"    {ASSERTION}\n", "")]),
    "only the images are asserted": ("2.6", [("train.py", ASSERTION, "device.assert_on(dev, images=x)")]),
    "only the weights are asserted": (
        "2.6",
        [("train.py", ASSERTION, "device.assert_on(dev, **dict(net.named_parameters()))")],
    ),
    "insists on the CPU": ("2.6", [("train.py", ASSERTION, 'assert dev.type == "cpu"')]),
    "takes what is there, whatever was asked for": (
        "2.6",
        [("train.py", "choose_torch(args.device,", 'choose_torch("auto",')],
    ),
    "a word about the GPU, and training all the same": (
        "2.6",
        [
            (
                "train.py",
                'device.choose_torch(args.device, device.process("LOCAL_RANK"))',
                'torch.device("cpu")',
            ),
            (
                "train.py",
                "    flags = make_deterministic",
                '    print("no GPU", file=sys.stderr)\n    flags = make_deterministic',
            ),
        ],
    ),
    "a module that is misspelt": ("2.6", [("train.py", "from rich.console", "from rihc.console")]),
    "a script that does nothing": ("2.6", [("train.py", "        main()", "        pass")]),
    "a script that stops at once": ("2.6", [("train.py", "        main()", '        sys.exit("I need a GPU")')]),
    "a run without weights": (
        "2.7",
        [
            (
                "train.py",
                "    place = classifier.report(",
                "    weights.save = lambda *_: None\n    place = classifier.report(",
            )
        ],
    ),
    "unseeded": ("2.7", [("train.py", "    torch.manual_seed(seed)\n", "    torch.seed()\n")]),
    "a constant for the seed": (
        "2.7",
        [
            ("train.py", "torch.manual_seed(seed)", "torch.manual_seed(0)"),
            ("train.py", "data.epoch_order(args.seed,", "data.epoch_order(0,"),
        ],
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_caught_by_their_check_and_by_no_earlier_one(learner, tmp_path, name, variables, monkeypatch):
    number, changes = MISTAKES[name]
    if number in ("2.6", "2.7"):
        pytest.importorskip("torch", reason="these checks train")
        monkeypatch.setenv("WORKSHOP_CACHE", variables["WORKSHOP_CACHE"])
    for change in changes:
        learner(*change)
    assert first_failure(EXERCISE, learner.folder, tmp_path) == number


ALTERNATIVES = {
    "other names": [
        ("pixi.toml", 'cpu = ["cpu"]', 'laptop = ["cpu"]'),
        ("pixi.toml", 'default-environment = "cpu"', 'default-environment = "laptop"'),
        ("pixi.lock", "\n  cpu:\n", "\n  laptop:\n"),
    ],
    "pytorch with a CUDA build": [
        ("pixi.toml", 'pytorch-gpu = ">=2.10,<3"', 'pytorch-gpu = "*"\npytorch = { version = ">=2.10", build = "cuda12*" }')
    ],
    "a task as one line": [
        ("pixi.toml", '[tasks.train]\ncmd = "python train.py"\ndescription = "Train the classifier (pixi run train --epochs 1)"\n'
         'default-environment = "cpu"', '[tasks]\nfit = "python train.py --epochs 2"')
    ],
    "the platform under another name": [("pixi.toml", "linux-64-cuda12", "gpu-box")],
    "tables instead of inline tables": [
        ("pixi.toml", 'cpu = ["cpu"]\ncuda12 = ["cuda12"]', '[environments.cpu]\nfeatures = ["cpu"]\n\n[environments.cuda12]\nfeatures = ["cuda12"]')
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", ALTERNATIVES)
def test_other_correct_manifests_pass(learner, tmp_path, name):
    for change in ALTERNATIVES[name]:
        learner(*change)
    (learner.folder / "train.py").unlink()  # the manifest and the lock are the matter here
    found = answers(EXERCISE, learner.folder, tmp_path)
    assert {number: a.status for number, a in found.items()} == dict.fromkeys(("2.1", "2.2", "2.3", "2.4", "2.5"), "ok") | {
        "2.6": "skip", "2.7": "skip",
    }, found  # fmt: skip


@pytest.mark.parametrize("own", ["assert", "a message of one's own"])
def test_another_way_to_insist_passes(learner, tmp_path, variables, monkeypatch, own):
    """The learner's own choice and their own assertion, instead of those of `workshop.device`."""
    pytest.importorskip("torch", reason="these checks train")
    monkeypatch.setenv("WORKSHOP_CACHE", variables["WORKSHOP_CACHE"])
    wanted = 'args.device == "cuda" or os.environ.get("WORKSHOP_DEVICE") == "cuda"'
    learner(
        "train.py",
        'dev = device.choose_torch(args.device, device.process("LOCAL_RANK"))',
        f'dev = torch.device("cuda" if {wanted} else "cpu")\n'
        '    if dev.type == "cuda" and not torch.cuda.is_available():\n        sys.exit("a GPU was asked for, and none is here")',
    )
    if own == "assert":
        learner("train.py", ASSERTION, "assert x.device.type == net.conv1.weight.device.type == dev.type")
    else:
        learner(
            "train.py", ASSERTION,
            "if {x.device.type, net.conv1.weight.device.type} != {dev.type}:\n        sys.exit('images or weights are elsewhere')",
        )  # fmt: skip
    found = answers(EXERCISE, learner.folder, tmp_path)
    assert {answer.status for answer in found.values()} == {"ok"}, found


def test_in_an_environment_without_torch_the_script_is_not_judged(learner, tmp_path, without):
    without("torch")
    found = answers(EXERCISE, learner.folder, tmp_path)
    assert [found[n].status for n in ("2.5", "2.6", "2.7")] == ["ok", "skip", "skip"], found


def test_copies_of_a_folder_beside_the_exercises(command, tmp_path, refused):
    """exercise-2b is passed over; a second exercise-2-... is asked about."""
    for name in ("common", "exercise-2-pytorch-cu12"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(tmp_path / "exercise-2-pytorch-cu12", tmp_path / "exercise-2b-mine")
    done = command("-m", "workshop", "check", "2", cwd=tmp_path)
    assert "fail 2.1" in done.stdout and "Traceback" not in done.stderr
    shutil.copytree(tmp_path / "exercise-2-pytorch-cu12", tmp_path / "exercise-2-copy")
    refused(command("-m", "workshop", "check", "2", cwd=tmp_path), "exercise-2-copy", "rename the copy")


@pytest.mark.skipif(not (SHARED / "written-by-pixi").exists(), reason="../shared is not here")
def test_what_pixis_own_commands_write_passes(tmp_path):
    found = answers(EXERCISE, SHARED / "written-by-pixi" / "ex2", tmp_path)
    assert [found[f"2.{k}"].status for k in range(1, 6)] == ["ok"] * 5, found


def test_check_on_the_command_line(command, tmp_path):
    done = command("-m", "workshop", "check", "2", "--json")
    said = json.loads(done.stdout)
    assert done.returncode == 1 and said["checks"][0]["number"] == "2.1" and said["counts"]["not asked"] == 6
    done = command("-m", "workshop", "check", "2")
    assert done.returncode == 1 and done.stdout.count("hint:") == 1 and "next:" in done.stdout
    done = command("-m", "workshop", "check", "2", "--hint", "3")
    assert done.returncode == 1 and done.stdout.count("hint:") == 3
    (tmp_path / "pixi.toml").write_text((FOLDER / "starter" / "pixi.toml").read_text())  # no script: it is quick
    for words in (("--all", tmp_path), (tmp_path, "--all")):  # argparse alone takes one order
        done = command("-m", "workshop", "check", "2", *words)
        assert done.returncode == 1 and "fail 2.5" in done.stdout and "skip 2.7" in done.stdout, done.stderr


def test_check_all(command):
    """One exercise, for machines; all of them are the first of the README's commands, which CI runs."""
    done = command("-m", "workshop", "check-all", "--json", "--exercise", "1")
    said = json.loads(done.stdout)
    assert done.returncode == 0 and said["passed"], said
    assert said["counts"]["ok"] >= 8 and said["counts"]["fail"] == 0
    assert {row["exercise"] for row in said["rows"]} == {1}


def test_the_table_fits_80_columns_and_is_plain_where_it_is_piped(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    broken = checks.fail("train.py", "one thing", "another thing " * 20, "python train.py")
    rows = [check_all.Row(2, f"solution: {check.number} {check.says}", broken, 1.0) for check in EXERCISE.checks]
    check_all.show([*rows, check_all.Row(2, "GPU", checks.skip("no GPU here"), 0.0)], {"ok": 0, "fail": 7, "skip": 1})
    said = capsys.readouterr().out
    assert "0 passed, 7 failed, 1 skipped" in said and "next:" in said and "\x1b" not in said
    assert all(len(line) <= 80 for line in said.splitlines())


def test_check_all_notices_a_solution_that_does_not_hold(variables, command, tmp_path):
    """A copy of the workshop whose solution is unseeded: exit code 1, and the table says which check."""
    for name in ("common", "exercise-2-pytorch-cu12"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    script = tmp_path / "exercise-2-pytorch-cu12" / "solution" / "train.py"
    script.write_text(script.read_text().replace("torch.manual_seed(seed)", "torch.seed()"))
    done = command("-m", "workshop", "check-all", "--json", cwd=tmp_path)
    said = json.loads(done.stdout)
    assert done.returncode == 1 and not said["passed"] and "Traceback" not in done.stderr
    assert [row["what"][:13] for row in said["rows"] if row["status"] == "fail"] == ["solution: 2.7"]
    gpu = next(row for row in said["rows"] if row["what"] == "solution runs on the GPU")
    assert gpu["status"] in ("ok", "skip")


def test_the_run_of_a_learner_is_beside_the_repository(one_epoch):
    assert record_of(one_epoch)["exercise"] == FOLDER.name
