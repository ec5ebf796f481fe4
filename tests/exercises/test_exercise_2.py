"""Exercise 2: its manifest is a slice of the root's, its checks match its TODOs, its starter is unsolved."""

import json
import shutil

import pytest
from conftest import ROOT, answers, first_failure, record_of
from mutations.exercise_2 import ASSERTION

from pixi_workspace import lock_slice
from pixi_workspace import manifest as manifests
from pixi_workspace.errors import WorkspaceError
from workshop import cli, exercises
from workshop.checking import check, check_all, checks
from workshop.checking.steps import copied_lock

FOLDER = ROOT / "exercise-2-pytorch-cu12"
EXERCISE = next(exercise for exercise in exercises.find_all(ROOT) if exercise.number == 2)


@pytest.fixture(scope="module")
def whole():
    return manifests.load(ROOT / "pixi.toml")


def test_lock_slice_reports_missing_packages_of_the_root(tmp_path, whole):
    text = (FOLDER / "solution" / "pixi.toml").read_text()
    for change, said in (('numpy = ">=99"', "numpy"), ('polars = "*"\nnumpy = ">=1.26"', "polars")):
        (tmp_path / "pixi.toml").write_text(text.replace('numpy = ">=1.26"', change))
        with pytest.raises(WorkspaceError, match=said):
            lock_slice.cut(whole, manifests.load(tmp_path / "pixi.toml"))
    (tmp_path / "pixi.toml").write_text(text.replace('cuda = "12.0"', 'cuda = "13.0"'))
    with pytest.raises(WorkspaceError, match="platform"):
        lock_slice.cut(whole, manifests.load(tmp_path / "pixi.toml"))


def test_the_shipped_starter_fails_first_where_exercise_toml_says(tmp_path):
    number, _ = first_failure(EXERCISE, FOLDER / "starter", tmp_path)
    assert number == EXERCISE.settings["starter_fails_at"]


def test_the_cuda_of_the_packages_is_not_that_of_the_driver(tmp_path):
    """In a project of one's own, which may have a reason, the check only mentions what this excludes."""
    folder = tmp_path / "exercise" / "starter"
    shutil.copytree(FOLDER / "solution", folder)
    manifest = folder / "pixi.toml"
    manifest.write_text(manifest.read_text().replace('cuda = "12.0"', 'cuda = "12.9"'))
    words = "cuda 12.9, which excludes machines whose driver supports 12.0 to 12.8"
    answer = answers(EXERCISE, folder, tmp_path, ["2.1"])["2.1"]
    assert answer.status == "ok" and answer.found.endswith(words)
    shutil.copy(FOLDER / "exercise.toml", folder.parent)
    answer = answers(EXERCISE, folder, tmp_path, ["2.1"])["2.1"]
    assert answer.status == "fail" and answer.found == words


@pytest.mark.slow
def test_the_shipped_starter_fails_every_check(tmp_path):
    pytest.importorskip("torch", reason="the last two checks train")
    found = answers(EXERCISE, FOLDER / "starter", tmp_path)
    assert [number for number, answer in found.items() if answer.status == "fail"] == [f"2.{k}" for k in range(1, 8)]


@pytest.mark.slow
@pytest.mark.parametrize("own", ["assert", "a message of one's own"])
def test_another_way_to_assert_the_device_passes(learner, tmp_path, variables, monkeypatch, forks_alone, own):
    """The learner's own choice and their own assertion, instead of those of `run`."""
    pytest.importorskip("torch", reason="these checks train")
    monkeypatch.setenv("WORKSHOP_CACHE", variables["WORKSHOP_CACHE"])
    wanted = 'run.arguments.device == "cuda" or os.environ.get("WORKSHOP_DEVICE") == "cuda"'
    learner(
        "train.py",
        "device = run.torch_device()",
        f'device = torch.device("cuda" if {wanted} else "cpu")\n'
        '    if device.type == "cuda" and not torch.cuda.is_available():\n'
        '        raise SystemExit("a GPU was requested, but there is none")',
    )
    if own == "assert":
        learner("train.py", ASSERTION, "assert images.device.type == network.conv1.weight.device.type == device.type")
    else:
        learner(
            "train.py",
            ASSERTION,
            "if {images.device.type, network.conv1.weight.device.type} != {device.type}:\n"
            "        raise SystemExit('images or weights are elsewhere')",
        )
    # The weights are the same in both cases: one of them is enough for check 2.7.
    found = answers(EXERCISE, learner.folder, tmp_path, () if own == "assert" else ("2.6",))
    assert {answer.status for number, answer in found.items() if number != "2.8"} == {"ok"}, found


def test_in_an_environment_without_torch_the_script_is_not_judged(learner, tmp_path, without):
    without("torch")
    found = answers(EXERCISE, learner.folder, tmp_path)
    assert [found[n].status for n in ("2.5", "2.6", "2.7")] == ["ok", "skip", "skip"], found


def test_copies_of_a_folder_beside_the_exercises(command, tmp_path, refused):
    """exercise-2b is ignored; a second exercise-2-... gives a message."""
    for name in ("common", "exercise-2-pytorch-cu12"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(tmp_path / "exercise-2-pytorch-cu12", tmp_path / "exercise-2b-mine")
    done = command("-m", "workshop", "check", "2", cwd=tmp_path)
    assert "fail 2.1" in done.stdout and "Traceback" not in done.stderr
    shutil.copytree(tmp_path / "exercise-2-pytorch-cu12", tmp_path / "exercise-2-copy")
    refused(command("-m", "workshop", "check", "2", cwd=tmp_path), "exercise-2-copy", "rename the copy")


def test_what_pixi_writes_passes(written_by_pixi, tmp_path):
    found = answers(EXERCISE, written_by_pixi / "exercise-2-starter-by-hand", tmp_path)
    assert [found[f"2.{k}"].status for k in range(1, 6)] == ["ok"] * 5, found


def test_only_the_environment_of_the_task_is_missing_after_pixis_commands(written_by_pixi, tmp_path):
    """These commands set no default-environment, so Pixi runs the task in `default`, which has no PyTorch."""
    found = answers(EXERCISE, written_by_pixi / "exercise-2-starter-by-commands", tmp_path)
    assert [found[f"2.{k}"].status for k in (1, 2, 3, 5)] == ["ok"] * 4, found
    assert "without a default-environment" in found["2.4"].found


def test_without_the_variable_for_the_device_that_is_reported(written_by_pixi, tmp_path):
    """Pixi had no command for it when this workspace was written. Its task has no default-environment either."""
    found = answers(EXERCISE, written_by_pixi / "exercise-2", tmp_path)
    assert [found[f"2.{k}"].status for k in (1, 2, 4, 5)] == ["ok", "fail", "fail", "ok"], found
    assert "the variable is not set" in found["2.2"].found


def test_check_on_the_command_line(command, tmp_path):
    done = command("-m", "workshop", "check", "2", "--json")
    said = json.loads(done.stdout)
    assert done.returncode == 1 and said["checks"][0]["number"] == "2.1" and said["counts"]["not asked"] == 7
    done = command("-m", "workshop", "check", "2")
    assert done.returncode == 1 and done.stdout.count("hint:") == 1 and "next:" in done.stdout
    done = command("-m", "workshop", "check", "2", "--hint", "3")
    assert done.returncode == 1 and done.stdout.count("hint:") == 3
    (tmp_path / "pixi.toml").write_text((FOLDER / "starter" / "pixi.toml").read_text())  # no script: it is quick
    for words in (("--all", tmp_path), (tmp_path, "--all")):  # argparse alone takes one order
        done = command("-m", "workshop", "check", "2", *words)
        assert done.returncode == 1 and "fail 2.5" in done.stdout and "skip 2.7" in done.stdout, done.stderr


def test_an_exact_version_is_mentioned(learner, tmp_path):
    """Pixi 0.77 reads `2.10` as exactly 2.10.0, with a warning. It is a release, so the check passes."""
    learner("pixi.toml", 'pytorch-gpu = ">=2.10,<3"', 'pytorch-gpu = "2.10"')
    result = answers(EXERCISE, learner.folder, tmp_path, ("2.2",))["2.2"]
    assert result.status == "ok" and "pytorch-gpu 2.10 means exactly version 2.10; write 2.10.*" in result.found


def test_without_pixi_the_advice_keeps_the_learners_manifest(learner, monkeypatch, capsys):
    """Copy our lock, and only the lock; if the copy does not fit, edit the manifest."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.chdir(ROOT)
    lock = learner.folder / "pixi.lock"
    given = f"give {learner.folder / 'pixi.toml'} the environments, platforms and versions of solution/pixi.toml"
    assert copied_lock.advice(learner.folder, EXERCISE).startswith(given)
    lock.write_text(lock.read_text() + "# changed")
    copy = f"cp {FOLDER.name}/solution/pixi.lock {lock}  # only Pixi can write a lock; "
    assert copied_lock.advice(learner.folder, EXERCISE).startswith(copy)
    lock.unlink()
    assert check.main("2.5", str(learner.folder), go_on=False, as_json=False) == 1
    assert f"next:      {copy}" in capsys.readouterr().out


def test_check_all(command):
    """One exercise, for machines; all of them are the first of the README's commands, which CI runs."""
    done = command("-m", "workshop", "check-all", "--json", "--exercise", "1")
    said = json.loads(done.stdout)
    assert done.returncode == 0 and said["passed"], said
    assert said["counts"]["ok"] >= 8 and said["counts"]["fail"] == 0
    assert {row["exercise"] for row in said["rows"]} == {1}
    starter = next(row for row in said["rows"] if row["what"] == "starter fails first at 1.1")
    assert starter["found"] == f"hint: {exercises.find_all(ROOT)[0].checks[0].hints[0]}"


def test_the_table_fits_80_columns_and_is_plain_where_it_is_piped(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    broken = checks.fail(
        looked_at="train.py", expected="one thing", found="another thing " * 20, next_step="python train.py"
    )
    rows = [check_all.Row(2, f"solution: {check.number} {check.requirement}", broken, 1.0) for check in EXERCISE.checks]
    check_all.show(
        [*rows, check_all.Row(2, "GPU", checks.skip("no GPU here"), 0.0)], {"ok": 0, "fail": 7, "skip": 1}, 1.0
    )
    said = capsys.readouterr().out
    assert "0 passed, 7 failed, 1 skipped" in said and "next:" in said and "\x1b" not in said
    assert all(len(line) <= 80 for line in said.splitlines())


@pytest.mark.slow
def test_check_all_notices_a_solution_that_does_not_hold(variables, forks_alone, monkeypatch, capfd, tmp_path):
    """A copy of the workshop whose solution is unseeded: exit code 1, and the table says which check."""
    for name in ("common", "exercise-2-pytorch-cu12"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    script = tmp_path / "exercise-2-pytorch-cu12" / "solution" / "train.py"
    unseeded = script.read_text().replace("torch.manual_seed(seed)", "torch.seed()")
    begin = "    make_deterministic(run.seed)\n"
    assert begin in unseeded
    script.write_text(unseeded.replace(begin, f"    open({str(script.parent / 'log.txt')!r}, 'w').close()\n{begin}"))
    (tmp_path / "exercise-2-pytorch-cu12" / "starter" / "notes.md").write_text("TODO(2.9)")
    pytest.importorskip("torch", reason="the checks train")
    monkeypatch.setenv("WORKSHOP_CACHE", variables["WORKSHOP_CACHE"])
    monkeypatch.chdir(tmp_path)
    assert cli.main(["check-all", "--json"]) == 1
    done = capfd.readouterr()
    said = json.loads(done.out)
    assert not said["passed"] and "Traceback" not in done.err
    failed = [row["what"][:13] for row in said["rows"] if row["status"] == "fail"]
    assert failed == ["solution: 2.7", "no file has c"], said
    assert "solution/log.txt" in said["rows"][-1]["found"]
    gpu = next(row for row in said["rows"] if row["what"] == "solution runs on the GPU")
    assert gpu["status"] in ("ok", "skip")


def test_the_run_of_a_learner_is_beside_the_repository(one_epoch):
    assert record_of(one_epoch)["exercise"] == FOLDER.name
