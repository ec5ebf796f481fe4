"""Properties of every exercise: its files, its TODOs and their checks, and its agreement with the root's manifest."""

import re

import pytest
from conftest import ROOT

from pixi_workspace import lock as locks
from pixi_workspace import lock_slice, manifest
from pixi_workspace.errors import WorkspaceError
from pixi_workspace.fit import lockcheck
from pixi_workspace.manifest.platforms import platforms_of
from workshop import exercises
from workshop.checking import checks, starter
from workshop.errors import WorkshopError
from workshop.support.files import sha256_of

EXERCISES = exercises.find_all(ROOT)


@pytest.fixture(params=EXERCISES, ids=lambda exercise: exercise.folder.name)
def exercise(request):
    return request.param


@pytest.fixture(params=[e for e in EXERCISES if "image" not in e.settings], ids=lambda exercise: exercise.folder.name)
def workspace(request):
    """An exercise with its own manifest; the others use the root's."""
    return request.param


def test_it_has_all_files_and_settings(exercise):
    workspace = ("solution/pixi.toml", "solution/pixi.lock")
    if "workspace" not in exercise.settings:  # else the learner makes the manifest
        workspace += ("starter/pixi.toml",)
    image = ("starter/Dockerfile", "starter/apptainer.def", "solution/Dockerfile", "solution/apptainer.def")
    its_own = image if "image" in exercise.settings else workspace
    for name in ("README.md", "exercise.toml", "checks.py", "pytest.ini", *its_own):
        assert (exercise.folder / name).is_file(), name
    common = {"title", "goal", "minutes", "environments", "tasks", "starter_fails_at", "download_mib", "starter"}
    its_own = {"image", "parts"} if "image" in exercise.settings else {"check_all", "new"}
    assert common | its_own == set(exercise.settings) - {"workspace", "continues"}


def test_environments_and_tasks_of_exercise_toml_exist(exercise):
    root = manifest.load(ROOT / "pixi.toml")
    assert set(exercise.settings["environments"]) <= set(root.environments)
    assert set(exercise.settings["tasks"]) <= set(root.tasks())


def test_the_shipped_starter_is_pinned(exercise):
    """The files that `workshop reset` restores. After a change of a starter, put these lines into exercise.toml."""
    found = {name: sha256_of(path) for name, path in starter.list_files(exercise.folder / "starter").items()}
    lines = "\n".join(f'"{name}" = "{sha256}"' for name, sha256 in found.items())
    assert exercise.settings["starter"] == found, f"[starter]\n{lines}"


def test_each_todo_has_its_check_and_each_check_its_todo(exercise):
    text = "".join(path.read_text() for path in (exercise.folder / "starter").iterdir() if path.is_file())
    todos = set(re.findall(r"TODO\((\d\.\d+)\)", text))
    own = "workspace" in exercise.settings  # the learner makes the manifest: the TODOs are those of the script
    assert todos == {check.number for check in exercise.checks if check.part.functions or not own}
    solution = (path for path in (exercise.folder / "solution").glob("*.*") if path.suffix != ".lock")
    assert "TODO" not in "".join(path.read_text() for path in solution)
    for check in exercise.checks:
        assert len(check.hints) == 3 and all(len(hint) > 20 for hint in check.hints)
        assert check.number in (exercise.folder / "README.md").read_text()


@pytest.fixture(scope="module")
def whole():
    return manifest.load(ROOT / "pixi.toml")


@pytest.fixture(scope="module")
def root_lock():
    return locks.read(ROOT / "pixi.lock")


def constraints(of, environment, platform):
    """The constraints of an environment on a platform, from conda-forge and PyPI, as text by package."""
    found = manifest.conda_specs(of, environment, platform), manifest.pypi_specs(of, environment, platform)
    return {(kind, name): {str(s) for s in specs} for kind, table in enumerate(found) for name, specs in table.items()}


def test_the_manifest_is_a_slice_of_the_roots(workspace, whole):
    """Every package has the same constraint as in an environment of the root."""
    part = manifest.load(workspace.folder / "solution" / "pixi.toml")
    for name, environment in part.environments.items():
        for platform in platforms_of(part, environment.features):
            same = next(p for p in whole.platforms if p.name == platform.name)
            assert same.virtual_packages == platform.virtual_packages
            here = constraints(part, name, platform)
            roots = [constraints(whole, other, same) for other in whole.environments]
            assert any(all(specs <= there.get(key, set()) for key, specs in here.items()) for there in roots), (
                name,
                platform.name,
            )


@pytest.mark.parametrize("side", ["starter", "solution"])
def test_the_learners_manifest_names_what_scripts_import(workspace, side):
    """It contains the packages that record a run, but not those with which the checker reads manifests and locks."""
    if side == "starter" and "workspace" in workspace.settings:
        pytest.skip("the learner makes the manifest")
    part = manifest.load(workspace.folder / side / "pixi.toml")
    recording = {"numpy", "matplotlib-base", "rich", "filelock", "platformdirs", "pooch", "rocrate"}
    for name, environment in part.environments.items():
        for platform in platforms_of(part, environment.features):
            names = set(manifest.conda_specs(part, name, platform))
            assert recording <= names and not {"py-rattler", "tomli", "packaging", "pyyaml"} & names, (
                name,
                platform.name,
            )
            assert "pytest" not in names or name == "test"


def test_the_locks_are_those_of_lock_slice_and_of_rattler(workspace, whole, root_lock, tmp_path):
    from rattler import LockFile

    held = {p.url: p.sha256 for e in root_lock.environments.values() for ps in e.packages.values() for p in ps}

    for path in workspace.folder.glob("*/pixi.lock"):
        part = manifest.load(path.with_name("pixi.toml"))
        assert lock_slice.cut(whole, part) == path.read_bytes()
        LockFile.from_path(path).to_path(tmp_path / "pixi.lock")
        assert (tmp_path / "pixi.lock").read_bytes() == path.read_bytes()
        verdict = lockcheck.judge(path.parent)
        assert (verdict.verdict, verdict.warnings) == ("up-to-date", ()), lockcheck.to_text(verdict)
        for environment in locks.read(path).environments.values():
            for packages in environment.packages.values():
                assert packages and all(p.sha256 and held[p.url] == p.sha256 for p in packages), environment.name


def test_the_sizes_in_exercise_toml_are_those_of_the_lock(exercise, whole, root_lock):
    """Computed from the root's lock, which people install; for an environment that only the exercise has, from its own
    lock.
    """
    roots = locks.align(root_lock, whole.platforms)
    own_lock = exercise.folder / "solution" / "pixi.lock"
    own = (
        locks.align(locks.read(own_lock), manifest.load(own_lock.with_name("pixi.toml")).platforms)
        if own_lock.exists()
        else roots
    )
    for name, said in exercise.settings["download_mib"].items():
        lock = own if name == "default" else roots
        packages = lock.environments[name].packages
        platform = (
            next(p for p in ("linux-64-cuda12", "linux-64-cuda118", "linux-64") if p in packages)
            if "cuda" in name or "mixed" in name
            else "linux-64"
        )
        assert said == round(sum(p.size or 0 for p in packages[platform]) / 2**20), name


def test_the_parts_of_an_exercise_contain_each_check_once(exercise):
    """In the order of the checks, and each part can be named alone, as in `workshop check 5b`."""
    parts = exercise.settings.get("parts", {})
    listed = [number for part in parts.values() for number in part["checks"]]
    assert not parts or listed == [check.number for check in exercise.checks]
    for name, part in parts.items():
        assert [check.number for check in exercise.checks_of(name)] == part["checks"]
    with pytest.raises(WorkshopError, match="workshop check"):
        exercise.checks_of(f"{exercise.number}z")


def test_a_shipped_starter_fails_every_check(exercise, tmp_path):
    """Each starter fails every check; the exercise's own tests run the checks that train."""
    found = {}
    for check, answer in checks.run_checks(
        exercise.checks[:4], checks.Workspace(exercise.folder / "starter", tmp_path / "scratch")
    ):
        found[check.number] = answer.status
    assert set(found.values()) <= {"fail", "skip"}, found  # skip: for a reason that a check before it has given
    assert next(iter(found)) == exercise.settings["starter_fails_at"] and found[next(iter(found))] == "fail"


def test_starter_and_solution_share_their_scripts_but_for_the_todos(exercise):
    for path in (exercise.folder / "solution").glob("*.py"):
        starter = (
            (exercise.folder / "starter" / path.name).read_text()
            if (exercise.folder / "starter" / path.name).exists()
            else None
        )
        if starter is None:
            continue  # exercise 1's engine is not for learners to edit
        lines, others = starter.splitlines(), path.read_text().splitlines()
        assert len([line for line in lines if line not in others]) <= 9, path
        assert len([line for line in others if line not in lines]) <= 5, path


def test_lock_slice_reports_missing_wheels_of_the_root(whole, tmp_path):
    text = (ROOT / "exercise-4-pypi-mix" / "solution" / "pixi.toml").read_text()
    (tmp_path / "pixi.toml").write_text(text.replace('torch = "==2.6.0"', 'torch = "==2.5.1"'))
    with pytest.raises(WorkspaceError, match="torch ==2.5.1"):
        lock_slice.cut(whole, manifest.load(tmp_path / "pixi.toml"))
