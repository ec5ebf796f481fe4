"""Exercise 1: its lock is a slice of the root's, its checks match its TODOs, its starter is unsolved."""

import json
import re
import shutil
import subprocess
import sys

import jsonschema
import pytest
from conftest import ROOT, answers, module_of, record_of
from mutations import make_common, record_run
from mutations.exercise_1.repository import commit, stage

from pixi_workspace import manifest as manifests
from workshop import errors, exercises
from workshop.checking import check, check_all, checks, starter
from workshop.checking.steps import constraints
from workshop.errors import WorkshopError
from workshop.runs import search
from workshop.runs.records import record

pytest.importorskip("jsonpatch", reason="the fits need jsonpatch: install the extra cpu")
FOLDER = ROOT / "exercise-1-scipy"
MANIFEST, SCRIPT = ("1.1", "1.2", "1.3", "1.4", "1.5"), ("1.6", "1.9")  # what each check looks at
EXERCISE = next(exercise for exercise in exercises.find_all(ROOT) if exercise.number == 1)


@pytest.fixture(scope="module")
def part():
    return manifests.load(FOLDER / "solution" / "pixi.toml")


@pytest.fixture(scope="module")
def whole():
    return manifests.load(ROOT / "pixi.toml")


def test_the_packages_that_are_needed_are_those_of_the_solution(part):
    """Those that the page lists."""
    needed = {"python", *module_of(FOLDER / "manifest_checks.py").NEEDED}
    assert needed == set(part.features["default"].targets[0].dependencies["run"])


@pytest.mark.parametrize(
    ("text", "impossible"),
    [
        ("*", False),
        ("3,12", True),
        ("<2.0,>2.5", True),
        ("<2,>=2", True),
        (">2.5,<2.5.1", False),
        (">=2|<1", False),
        ("2.5.*,!=2.5.1", False),
        (">=1,!=1.*,!=2.*", False),
        (">=1.0rc1,<1.0", False),
        ("<0.5", False),
    ],
)
def test_constraints_that_no_version_meets(text, impossible):
    specs = [manifests.CondaSpec("numpy", {"version": text})]
    assert constraints.have_no_common_version(specs) is impossible


def test_a_missing_package_is_added_to_the_manifest_in_use(tmp_path, monkeypatch):
    monkeypatch.setenv("PIXI_PROJECT_MANIFEST", str(tmp_path / "mine" / "pixi.toml"))
    error = errors._missing_module(ModuleNotFoundError("No module", name="matplotlib.pyplot"))
    assert "/mine && pixi add matplotlib-base)  # or name another environment" in error.next_step
    monkeypatch.setenv("PIXI_PROJECT_MANIFEST", str(ROOT / "pixi.toml"))
    error = errors._missing_module(ModuleNotFoundError("No module", name="jax"))
    assert "pixi run -e cpu-jax" in error.next_step and "pixi add" not in error.next_step


@pytest.mark.parametrize(
    ("name", "interpreter", "words"),
    [
        ("default", sys.executable, "solution && pixi run -e test python -m pytest test_exclusion.py)"),
        (None, "/elsewhere/python", "solution && /elsewhere/python -m pytest test_exclusion.py)"),
        (None, ".venv/bin/python", "solution && ../.venv/bin/python -m pytest test_exclusion.py)"),
    ],
)
def test_the_command_for_the_test_fits_the_route(learner, tmp_path, monkeypatch, name, interpreter, words):
    module = module_of(FOLDER / "checks.py")
    monkeypatch.delenv("PIXI_ENVIRONMENT_NAME", raising=False)
    if name:
        monkeypatch.setenv("PIXI_ENVIRONMENT_NAME", name)
    monkeypatch.chdir(learner.folder.parent)
    monkeypatch.setattr(sys, "executable", str(learner.folder.parent / interpreter))
    assert words in module.command_for_test(checks.Workspace(learner.folder, tmp_path))


@pytest.mark.parametrize(
    ("interpreter", "shown"),
    [("/elsewhere/python", "/elsewhere/python"), (".venv/bin/python", "../../.venv/bin/python")],
)
def test_the_command_for_another_experiment_fits_the_route(tmp_path, monkeypatch, interpreter, shown):
    monkeypatch.delenv("PIXI_ENVIRONMENT_NAME", raising=False)
    monkeypatch.setattr(sys, "executable", str(tmp_path / interpreter))
    (mine := tmp_path / "exercise-1-scipy" / "mine").mkdir(parents=True)
    monkeypatch.chdir(mine)
    (mine / "experiment.json").write_text('{"seed": 1, "workspace": {}, "patchset": {}}')
    with pytest.raises(WorkshopError) as error:
        search.read_experiment("experiment.json", 20)
    assert error.value.next_step == f"{shown} draw.py --seed 20"


def test_skipped_checks_repeat_what_was_expected(learner, tmp_path):
    learner("pixi.toml", '[{ arg = "seed", default = "20" }]', '[{ arg = "seed", default = 20 }]')
    found = answers(EXERCISE, learner.folder, tmp_path, MANIFEST)
    assert found["1.1"].found == "cannot tell: a line of step 1.4 stops this check (expected a string, found 20)"


def test_reset_names_the_folder_of_the_learner(tmp_path, monkeypatch, capsys):
    mine = tmp_path / "mine"
    exercise = exercises.Exercise(1, EXERCISE.folder, EXERCISE.settings | {"workspace": str(mine)})
    starter._point_to_own_workspace(exercise)
    assert "does not exist yet" in capsys.readouterr().out
    mine.mkdir()
    starter._point_to_own_workspace(exercise)
    assert f"your own work is in {mine}" in (printed := capsys.readouterr().out) and "remove that folder" in printed


def test_files_of_pixi_are_added_where_they_exist(learner, tmp_path):
    stage(learner.folder, "pixi.toml")
    (learner.folder / ".gitignore").write_text(".pixi\n")
    result = answers(EXERCISE, learner.folder, tmp_path, ("1.8",))["1.8"]
    assert "git add pixi.lock exclusion.py draw.py figure.py .gitignore)  # then: git commit" in result.next_step
    assert "leave out" not in result.next_step


@pytest.mark.parametrize("name", ["draw.py", "figure.py", "test_exclusion.py"])
def test_starter_and_solution_share_what_learners_do_not_change(name):
    starter, solution = ((FOLDER / side / name).read_bytes() for side in ("starter", "solution"))
    assert starter == solution


def test_the_shipped_starter_fails_every_check(tmp_path):
    found = answers(EXERCISE, FOLDER / "starter", tmp_path)
    assert {number for number, answer in found.items() if answer.status == "fail"} >= {"1.1", "1.6", "1.9"}
    assert "ok" not in {answer.status for answer in found.values()}, found
    assert EXERCISE.settings["starter_fails_at"] == "1.1"
    assert "Traceback" not in "".join(answer.found for answer in found.values())


def test_two_builds_of_the_same_package_fail(learner, tmp_path):
    """Without a common solve: the lock gives `test` the NumPy of another platform."""
    path = learner.folder / "pixi.lock"
    head, _, tail = path.read_text().partition("\n  test:\n")
    urls = sorted(set(re.findall(r"conda: (\S+/linux-64/pip-\S+|\S+/noarch/pip-\S+|\S+/noarch/rich-\S+)", tail)))
    assert urls
    mine = urls[0]
    other = mine.replace("rich-", "rich-0").replace("pip-", "pip-0")
    learner("pixi.toml", 'rich = ">=14"', 'rich = "*"')
    learner("pixi.toml", 'default = { solve-group = "default" }\n', "")  # without the command for `default`
    block = re.search(rf"^- conda: {re.escape(mine)}\n(?:  .*\n)+", tail, re.MULTILINE)[0]
    changed = tail.replace(f"      - conda: {mine}\n", f"      - conda: {other}\n").replace(
        block, block + block.replace(mine, other)
    )
    path.write_text(f"{head}\n  test:\n{changed}")
    found = answers(EXERCISE, learner.folder, tmp_path, MANIFEST)
    assert found["1.5"].status == "fail" and "the same build" in found["1.5"].expected, found["1.5"]


@pytest.mark.parametrize("name", ["exercise-1-inline", "exercise-1-starter-by-hand"])
def test_what_pixi_writes_passes(written_by_pixi, tmp_path, name):
    found = answers(EXERCISE, written_by_pixi / name, tmp_path)
    assert [found[f"1.{k}"].status for k in range(1, 6)] == ["ok"] * 5, found


@pytest.mark.parametrize("name", ["exercise-1", "exercise-1-starter-by-commands"])
def test_a_group_of_one_environment_fails(written_by_pixi, tmp_path, name):
    """What `pixi workspace environment add test --solve-group default` leaves without the command for `default`."""
    found = answers(EXERCISE, written_by_pixi / name, tmp_path)
    assert [found[f"1.{k}"].status for k in range(1, 6)] == ["ok", "ok", "fail", "ok", "ok"], found
    assert "test is alone in its group" in found["1.3"].found


@pytest.mark.slow
def test_another_way_to_write_the_formula_passes(learner, tmp_path, forks_alone):
    learner("exclusion.py", "p_signal / (1 - p_background)", "np.exp(np.log(p_signal) - np.log1p(-p_background))")
    learner("exclusion.py", "np.random.default_rng(seed)", "np.random.Generator(np.random.PCG64(seed))")
    assert {answer.status for answer in answers(EXERCISE, learner.folder, tmp_path, SCRIPT).values()} == {"ok"}


@pytest.mark.slow
def test_the_formula_is_checked_for_any_use_of_the_seed(learner, tmp_path, forks_alone):
    """Another experiment from the same seed is correct; only 1.6 reports an unseeded one."""
    learner("exclusion.py", "default_rng(seed)", "default_rng([seed, 125])")
    assert {answer.status for answer in answers(EXERCISE, learner.folder, tmp_path, SCRIPT).values()} == {"ok"}
    shutil.rmtree(tmp_path / "scratch")
    learner("exclusion.py", "default_rng([seed, 125])", "default_rng()")
    found = answers(EXERCISE, learner.folder, tmp_path, SCRIPT)
    assert (found["1.6"].status, found["1.9"].status) == ("fail", "ok"), found


@pytest.mark.slow
def test_a_copy_elsewhere_is_checked(tmp_path):
    """Only the starter's files, outside the repository."""
    folder = tmp_path / "elsewhere" / "mine"
    shutil.copytree(FOLDER / "solution", folder, ignore=shutil.ignore_patterns("__pycache__"))
    make_common(folder)
    record_run(folder, "exercise-1-scipy", "pixi", "default")
    commit(folder, "pixi.toml", "pixi.lock", "exclusion.py", "draw.py", "figure.py")
    assert {answer.status for answer in answers(EXERCISE, folder, tmp_path).values()} == {"ok"}


# What the commands of the page write with Pixi 0.77, and the tables that the learner writes.
MINE = """\
[workspace]
channels = ["conda-forge"]
name = "mine"
platforms = ["linux-64", "linux-aarch64", "osx-arm64", "win-64"]
version = "0.1.0"

[tasks.experiment]
cmd = "python draw.py --seed {{ seed }}"
args = [{ arg = "seed", default = "20" }]
inputs = ["draw.py", "exclusion.py"]
outputs = ["experiment.json"]
description = "Draw"

[tasks.limits]
cmd = "python exclusion.py --experiment experiment.json --limits limits.json --seed {{ seed }}"
args = [{ arg = "seed", default = "20" }]
depends-on = [{ task = "experiment", args = ["{{ seed }}"] }]
inputs = ["exclusion.py", "experiment.json", "pixi.lock"]
outputs = ["limits.json"]
description = "Fit"

[tasks.figure]
cmd = "python figure.py"
args = [{ arg = "seed", default = "20" }]
depends-on = [{ task = "limits", args = ["{{ seed }}"] }]
inputs = ["limits.json", "figure.py"]
outputs = ["contour.*"]
description = "Draw the contour"

[dependencies]
python = "3.12.*"
numpy = ">=2.5.1,<3"
scipy = ">=1.18.0,<2"
matplotlib-base = ">=3.11.1,<4"
jsonpatch = ">=1.33,<2"
rich = ">=15.0.0,<16"
filelock = ">=3.30.2,<4"
platformdirs = ">=4.10.1,<5"
pooch = ">=1.9.0,<2"
rocrate = ">=0.16.0,<0.17"

[activation.env]
PYTHONPATH = "../../common"

[environments]
default = { solve-group = "default" }

[environments.test]
solve-group = "default"

[environments.test.dependencies]
pytest = ">=9.1.1,<10"

[environments.test.tasks]
test = { cmd = "python -m pytest -q", description = "Test the formula" }
"""


def own_folder(clone):
    """The folder that a learner made in a copy of the exercise, with the given scripts."""
    exercise = clone / "exercise-1-scipy"
    shutil.copytree(FOLDER, exercise, ignore=shutil.ignore_patterns("__pycache__", "mine"))
    shutil.copytree(exercise / "starter", exercise / "mine")
    (exercise / "mine" / "pixi.toml").write_text(MINE)
    make_common(exercise / "mine")
    return exercise / "mine"


def test_the_manifest_that_the_commands_write_passes(tmp_path):
    found = answers(EXERCISE, own_folder(tmp_path), tmp_path, MANIFEST)
    assert [found[f"1.{k}"].status for k in range(1, 6)] == ["ok"] * 4 + ["fail"], found


def test_a_workspace_inside_the_folder_is_named(tmp_path):
    """`pixi init exercise-1-scipy/mine`, typed in exercise-1-scipy/mine."""
    inner = tmp_path / "mine" / "exercise-1-scipy" / "mine"
    inner.mkdir(parents=True)
    (inner / "pixi.toml").write_text(MINE)
    found = answers(EXERCISE, tmp_path / "mine", tmp_path, ("1.1",))["1.1"]
    assert found.status == "fail" and "exercise-1-scipy/mine/pixi.toml, a workspace inside it" in found.found


@pytest.mark.parametrize(
    ("record", "status"),
    [(None, "skip"), (("python", None), "skip"), (("pixi", "default"), "ok"), (("pixi", "work"), "fail")],
)
def test_a_run_record_is_trusted(tmp_path, monkeypatch, record, status):
    monkeypatch.setenv("PATH", "")  # without Pixi
    folder = own_folder(tmp_path)
    shutil.copy(FOLDER / "solution" / "pixi.lock", folder)
    if record:
        record_run(folder, "exercise-1-scipy", *record)
    assert answers(EXERCISE, folder, tmp_path, ("1.7",))["1.7"].status == status


def test_with_pixi_a_run_is_required(tmp_path, monkeypatch):
    folder = own_folder(tmp_path)
    shutil.copy(FOLDER / "solution" / "pixi.lock", folder)
    (tmp_path / "pixi").write_text("#!/bin/sh\n")
    (tmp_path / "pixi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = answers(EXERCISE, folder, tmp_path, ("1.7",))["1.7"]
    assert (found.status, found.found) == ("fail", "no finished run"), found
    assert found.next_step.endswith("&& pixi run limits)")


def test_a_folder_of_another_repository_is_none(tmp_path):
    folder = own_folder(tmp_path)
    subprocess.run(["git", "-C", str(tmp_path), "init", "-q"], check=True)
    assert answers(EXERCISE, folder, tmp_path, ("1.8",))["1.8"].found == "a folder of another repository"
    shutil.copy(FOLDER / "solution" / "pixi.lock", folder)
    commit(folder, ".")
    assert answers(EXERCISE, folder, tmp_path, ("1.8",))["1.8"].status == "ok"


def test_without_pixi_the_checks_of_the_script_follow_the_lock(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    folder = own_folder(tmp_path)
    monkeypatch.setattr(exercises, "find", lambda number: EXERCISE)
    assert check.main("1", str(folder), go_on=False, as_json=False) == 1
    text = capsys.readouterr().out
    assert text.count("only Pixi can write a lock") == 1 and "fail 1.6" in text and "1.8" not in text, text


def test_an_exercise_without_its_script_fails(learner, tmp_path):
    shutil.copy(FOLDER / "exercise.toml", learner.folder.parent)
    (learner.folder / "exclusion.py").rename(learner.folder / "mine.py")
    found = answers(EXERCISE, learner.folder, tmp_path)
    assert found["1.6"].status == "fail" and found["1.6"].next_step.endswith("git checkout -- exclusion.py)")


def test_advice_runs_in_the_folder_of_the_manifest(tmp_path, monkeypatch):
    """Pasted in the root of the clone, it must not change the root's manifest."""
    monkeypatch.chdir(ROOT)
    folder = ROOT / "exercise-2-pytorch-cu12" / "starter"
    two = next(exercise for exercise in exercises.find_all(ROOT) if exercise.number == 2)
    advice = [result.next_step for result in answers(two, folder, tmp_path, ("2.5",)).values()]
    about_pixi = [line for line in advice if "pixi " in line]
    assert about_pixi and all(line.startswith("(cd exercise-2-pytorch-cu12/starter && ") for line in about_pixi), advice


def test_one_message_for_an_unreadable_manifest(learner, tmp_path):
    learner("pixi.toml", "[environments]", "[environments")
    found = answers(EXERCISE, learner.folder, tmp_path, MANIFEST)
    assert [answer.status for answer in found.values()].count("fail") == 1


def test_check_all_ignores_an_edited_starter(tmp_path):
    clone = tmp_path / "clone"
    done = subprocess.run(["git", "clone", "-q", ROOT, clone], capture_output=True)
    if done.returncode:
        pytest.skip("this copy is no git checkout")
    exercise = next(e for e in exercises.find_all(clone) if e.number == 1)
    assert next(check_all.starter_fails(exercise)).result.status == "ok"
    with open(exercise.folder / "starter" / "exclusion.py", "a") as file:
        file.write("# mine\n")
    assert next(check_all.starter_fails(exercise)).result.status == "skip"


def test_the_script_writes_the_limits_of_the_command(command, tmp_path):
    for words, name in (((FOLDER / "solution" / "exclusion.py",), "short"), (("-m", "workshop", "scan"), "command")):
        copy = ("--limits", tmp_path / "limits.json") if name == "short" else ()
        done = command(*words, "--seed", 5, "--output", tmp_path / name, *copy)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "limits.json").read_bytes() == (tmp_path / "short" / "limits.json").read_bytes()
    shown = search.draw_limits(str(tmp_path / "limits.json"), str(tmp_path / "contour.png"), "title")
    assert shown.endswith("contour.svg: 125 hypotheses") and (tmp_path / "contour.svg").stat().st_size > 10_000
    short, full = (json.loads((tmp_path / name / "limits.json").read_text()) for name in ("short", "command"))
    jsonschema.validate(short, json.loads((FOLDER / "limits.schema.json").read_text()))
    jsonschema.validate(record_of(tmp_path / "short"), json.loads(record.SCHEMA_FILE.read_text()))
    assert short["sha256"] == full["sha256"]
    for a, b in zip(short["hypotheses"], full["hypotheses"], strict=True):
        assert a["name"] == b["name"] and a["labels"] == b["labels"]
        assert [a["cls_obs"], *a["cls_exp"]] == pytest.approx([b["cls_obs"], *b["cls_exp"]], abs=1e-12)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file"),
        ("{", "JSONDecodeError"),
        ("[]", "TypeError"),
        ('{"hypotheses": [], "labels": []}', "no masses that span a plane"),
        ('{"hypotheses": [{"converged": true}], "labels": ["m1"]}', "KeyError"),
    ],
)
def test_a_file_without_limits_is_explained(tmp_path, content, words):
    path = tmp_path / "limits.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(WorkshopError) as error:
        search.draw_limits(str(path), str(tmp_path / "contour.png"), "title")
    assert words in error.value.found and "--limits" in error.value.next_step
    assert not (tmp_path / "contour.png").exists()


def test_the_starter_runs_as_shipped_and_refuses_like_the_solution(command, refused, tmp_path):
    done = command(FOLDER / "starter" / "exclusion.py", "--output", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    for side in ("starter", "solution"):
        refused(command(FOLDER / side / "exclusion.py", "--seed", "-1"), "--seed")
        refused(command(FOLDER / side / "exclusion.py", "--output", tmp_path / "run"), "a finished run")


@pytest.mark.parametrize(("side", "code"), [("solution", 0), ("starter", 1)])
def test_the_learners_own_test(variables, side, code):
    """Without pytest-xdist, which the learner's environment does not contain."""
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", "test_exclusion.py"]
    done = subprocess.run(words, cwd=FOLDER / side, env=variables, capture_output=True, text=True)
    assert done.returncode == code, done.stdout
