"""`workshop new`: a project contains what it needs and nothing of the tutorial, and an impossible one leaves nothing."""

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from conftest import ROOT

import pixi_workspace
from workshop import cli, workflows
from workshop.checking.checks import Workspace
from workshop.checking.steps import requirements
from workshop.containers import check as container_check
from workshop.errors import WorkshopError
from workshop.jobs import batch_files, rehearsal
from workshop.jobs.job import SLURM
from workshop.new import command, modules, recipe, wording, workspace
from workshop.support.rules import findings_of
from workshop.verification import received, verify

NUMBERS = (1, 2, 3, 4)
# Words that only the tutorial uses. LICENSE and README.md name the authors of the code.
OF_THE_TUTORIAL = re.compile(
    r"workshop|exercise|tutorial|learner|starter|solution/|TODO|reproducible-ml|benchmarks/|\bcommon/|check-all|"
    r"\bstep \d\.\d|@[a-z-]+@|SCRIPT_NAME",
    re.IGNORECASE,
)


@pytest.fixture(scope="session")
def project(tmp_path_factory):
    """The folder of a project from exercise `number`, made once: project(2)."""
    folder, done = tmp_path_factory.mktemp("projects"), {}

    def make(number):
        if number not in done:
            done[number] = folder / f"from-{number}"
            assert cli.main(["new", str(done[number]), "--from", str(number), "--name", "my-digits"]) == 0
        return done[number]

    return make


def texts_of(folder):
    """The files of a project except its lock, by their relative path."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != "pixi.lock"]
    return {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in paths}


# ---------------------------------------------------------------- what is in a project


@pytest.mark.parametrize("number", NUMBERS)
def test_nothing_of_the_tutorial_remains(number, project):
    texts = texts_of(project(number))
    texts["README.md"] = texts["README.md"].replace("[reproducible-ml-workflows](LICENSE)", "")
    texts["LICENSE"] = texts["LICENSE"].replace("the authors of reproducible-ml-workflows", "")
    found = [
        f"{path}: {line.strip()}"
        for path, text in texts.items()
        for line in (path, *text.splitlines())
        if OF_THE_TUTORIAL.search(line)
    ]
    assert not found, "reword the sentence, or add it to workshop/new/wording.py:\n" + "\n".join(found)


@pytest.mark.parametrize("number", NUMBERS)
def test_every_import_is_in_the_project_or_in_its_requirements(number, project):
    folder = project(number)
    available = set(sys.stdlib_module_names) | {path.stem for path in folder.glob("*.py")} | {"my_digits"}
    pinned = re.findall(r"(?m)^([\w.-]+)==", (folder / "requirements.txt").read_text())
    available |= {{"scikit-learn": "sklearn"}.get(name, name) for name in pinned} | {"requests"}  # which pooch needs
    for path in folder.glob("*.py"):
        assert set(modules.roots_at_the_top(path)) <= available, path
    # Modules for the framework that the scripts do not use are there, and are not imported.
    optional = {"torch", "jax", "jaxlib", "safetensors", "sklearn"}
    for path in (folder / "my_digits").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("my_digits"):
                base = folder.joinpath(*node.module.split("."))
                source = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
                for alias in node.names:
                    is_module = (base / f"{alias.name}.py").is_file() or (base / alias.name).is_dir()
                    assert is_module or re.search(rf"\b{alias.name}\b", source.read_text(encoding="utf-8")), alias.name
        assert set(modules.roots_at_the_top(path)) <= available | optional, path


@pytest.mark.parametrize("number", NUMBERS)
def test_the_lock_fits_and_the_image_is_accepted(number, project):
    folder = project(number)
    verdict = pixi_workspace.judge(folder)
    assert verdict.verdict == "up-to-date", verdict
    tasks = pixi_workspace.load(folder / "pixi.toml").tasks()
    assert workspace.task_of(recipe.read(number)) in tasks and "test" in tasks
    for path in container_check.container_files(str(folder)):
        for environment in filter(None, (None, recipe.read(number).gpu)):
            assert not container_check.check_file(path, environment)
        assert not container_check.check_file(path, None)


@pytest.mark.parametrize("number", NUMBERS)
def test_every_command_and_every_file_of_the_readme_exists(number, project):
    folder = project(number)
    readme, manifest = (folder / "README.md").read_text(encoding="utf-8"), pixi_workspace.load(folder / "pixi.toml")
    assert len(readme.splitlines()) <= 50  # one screen
    for environment, task in re.findall(r"pixi run (?:-e (\S+) )?([\w-]+)", readme):
        assert task in manifest.tasks() and (not environment or environment in manifest.environments)
    for name in re.findall(r"(?<=`)[\w.]+[./][\w/]*(?=`)|\bjobs/[\w.]+", readme):
        assert (folder / name).exists() or name in ("run.json", "results/", ".venv/bin/"), name


@pytest.mark.skipif(importlib.util.find_spec("ruff") is None, reason="ruff is not installed")
def test_the_code_of_a_project_passes_ruff(project):
    line = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--no-cache",
        "--isolated",
        "--select",
        "E,F,UP,B",
        "--ignore",
        "E501",
        ".",
    ]
    for number in NUMBERS:
        done = subprocess.run(line, cwd=project(number), capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def test_a_project_contains_only_the_modules_that_its_scripts_reach(project):
    torch, scipy = ({path for path in texts_of(project(number)) if path.endswith(".py")} for number in (2, 1))
    assert "my_digits/runs/training.py" in torch and "my_digits/runs/search/limits.py" not in torch
    assert not any("histfactory" in path for path in torch)
    assert "my_digits/histfactory/__init__.py" in scipy and "my_digits/runs/search/limits.py" in scipy
    for path in torch | scipy:
        assert not path.startswith(("my_digits/checking", "my_digits/cli", "my_digits/jobs")), path


def test_every_replaced_sentence_is_of_a_file_that_is_copied():
    names = "Dockerfile apptainer.def image.yml array.sbatch multi.sbatch seeds.sub train.sh train.sbatch train.sub"
    sources = {f"{wording.IMAGE_FOLDER}/{name}" for name in names.split()}
    for number in NUMBERS:
        chosen = recipe.read(number)
        paths = [*modules.reached(chosen.scripts, ROOT / "common").values(), *chosen.scripts]
        sources |= {path.relative_to(ROOT).as_posix() for path in (*paths, chosen.solution / "pixi.toml")}
    assert set(wording.SENTENCES) | set(wording.WITHOUT_GPU) <= sources


@pytest.mark.parametrize(
    ("docstring", "kept"),
    [
        ('"""A.\n\nB: benchmarks/x.py\nprints it.\n\nC.\n"""\nx = 1\n', '"""A.\n\nC.\n"""\nx = 1\n'),
        ('"""A.\n\nB.\n\nC (benchmarks/x.json).\n"""\n', '"""A.\n\nB.\n"""\n'),
        ('"""A.\n\nB (benchmarks/x.json).\n"""\n', '"""A."""\n'),
        ('"""A.\n\nB.\n"""\n\n"""benchmarks/"""\n', '"""A.\n\nB.\n"""\n\n"""benchmarks/"""\n'),
    ],
)
def test_a_measured_paragraph_is_left_out(docstring, kept):
    assert wording.without_measurements(docstring) == kept


# ---------------------------------------------------------------- its jobs


@pytest.mark.skipif(rehearsal.bash() is None, reason="no bash")
@pytest.mark.parametrize(("number", "stem", "options"), [(1, "run", {}), (3, "train", {"--device": "cuda"})])
def test_the_jobs_run_the_script(number, stem, options, project, tmp_path):
    folder = project(number)
    stage = rehearsal.make_stage(tmp_path, {"jobs": folder / "jobs"})
    script = recipe.read(number).scripts[0].name
    shutil.copy(folder / script, stage / "clone")
    rehearsed = rehearsal.rehearse(stage, folder / f"jobs/{stem}.sbatch", "success", SLURM)
    training = rehearsed.training()
    assert rehearsed.code == 0 and training and script in training["words"], rehearsed.stderr
    assert rehearsed.value("--output") == "results/my-digits/slurm-12"
    assert {name: rehearsed.value(name) for name in options} == options
    task = {"SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "3"}
    rehearsed = rehearsal.rehearse(stage, folder / "jobs/array.sbatch", "success", SLURM | task)
    assert (rehearsed.value("--seed"), rehearsed.value("--output")) == ("3", "results/my-digits/slurm-12-seed3")
    submit = batch_files.read_submit(folder / f"jobs/{stem}.sub")
    assert submit.keys["executable"] == f"jobs/{stem}.sh" and (folder / submit.keys["executable"]).is_file()
    inputs = [name.strip() for name in submit.keys["transfer_input_files"].split(",")]
    assert script in inputs and all((folder / name).exists() for name in inputs)


def test_a_project_with_pytorch_has_jobs_for_seeds_and_for_several_nodes(project):
    folder = project(2)
    seeds = batch_files.read_submit(folder / "jobs/seeds.sub")
    assert seeds.keys["executable"] == "jobs/train.sh" and "results/my-digits/" in seeds.keys["run"]
    assert all((folder / name.strip()).exists() for name in seeds.keys["transfer_input_files"].split(","))
    multi = (folder / "jobs/multi.sbatch").read_text(encoding="utf-8")
    assert "\n  train_distributed.py " in multi and (folder / "train_distributed.py").is_file()
    assert not (project(3) / "jobs/multi.sbatch").exists() and not (project(1) / "jobs/seeds.sub").exists()


@pytest.mark.parametrize("number", NUMBERS)
def test_the_workflow_of_a_project_has_no_finding(number, project):
    workflow = workflows.read_workflow(project(number) / ".github/workflows/image.yml")
    rules = (*workflows.RIGHTS_RULES, *workflows.ORDER_RULES, *workflows.PUBLISH_RULES)
    assert not list(findings_of([workflow], rules))


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("name", "project", "package"),
    [("My Project", "my-project", "my_project"), ("digits_60k.v2", "digits-60k-v2", "digits_60k_v2"), ("a", "a", "a")],
)
def test_a_name_is_normalized(name, project, package):
    names = recipe.names_for(name, recipe.read(2), "--name")
    assert (names.project, names.package) == (project, package)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("2fast", "a letter first"),
        ("größe", "letters a to z"),
        ("", "a letter first"),
        ("../there", "letters a to z"),
        ("class", "keyword"),
        ("match", "keyword"),
        ("json", "standard library"),
        ("torch", "needs"),
        ("train", "needs"),
        ("tests", "needs"),
        ("workshop", "needs"),
    ],
)
def test_an_impossible_name(name, reason, tmp_path):
    with pytest.raises(WorkshopError, match=reason) as refused:
        command.main(str(tmp_path / "there"), 2, name)
    suggested = refused.value.next_step.rpartition(" ")[2]
    assert recipe.names_for(suggested, recipe.read(2), "--name")
    assert not list(tmp_path.iterdir())


def test_the_name_of_the_folder_is_the_default_name(tmp_path):
    with pytest.raises(WorkshopError, match=r"of the folder import; --name gives another one"):
        command.main(str(tmp_path / "import"), 2, None)


@pytest.mark.parametrize(
    ("number", "found"), [(9, "no exercise of that number"), (5, "its solution has no manifest of its own")]
)
def test_an_impossible_exercise(number, found, tmp_path):
    with pytest.raises(WorkshopError, match=found) as refused:
        command.main(str(tmp_path / "there"), number, None)
    assert refused.value.next_step == "workshop new DIR --from 4"
    assert not list(tmp_path.iterdir())


def test_impossible_folders(tmp_path, monkeypatch):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").touch()
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("workshop.exercises.root_folder", lambda: ROOT)
    for folder, found in {
        "full": "a folder with notes.txt in it",
        "file": "a file of that name",
        "missing/there": "no such folder",
        ".": "the current folder",
        str(ROOT / "there"): "inside the clone",
        str(ROOT / "exercise-1-scipy/mine"): "inside the clone",
        "zero\0byte": "null",
    }.items():
        with pytest.raises(WorkshopError, match=found) as refused:
            command.main(folder, 2, "my-digits")
        assert refused.value.next_step.endswith("my-project --from 2")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "full"]


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(workspace, "write_lock", full)
    (tmp_path / "there").mkdir()
    with pytest.raises(WorkshopError, match="No space left on device"):
        command.main(str(tmp_path / "there"), 2, "my-digits")
    assert [path.name for path in tmp_path.iterdir()] == ["there"] and not list((tmp_path / "there").iterdir())


# ---------------------------------------------------------------- a project works


@pytest.mark.slow
@pytest.mark.parametrize("number", NUMBERS)
def test_both_commands_work_in_a_fresh_environment(number, project, tmp_path):
    """Without this repository: `workshop` and `histfactory` cannot be imported. The large packages are those of here."""
    folder = shutil.copytree(project(number), tmp_path / "my-digits")
    venv.create(tmp_path / ".venv", symlinks=os.name != "nt")
    bin_folder = tmp_path / ".venv" / ("Scripts" if os.name == "nt" else "bin")
    here = next(path for path in sys.path if Path(path, "pytest").is_dir())
    blocked = "import sys; sys.modules.update(dict.fromkeys(['workshop', 'histfactory', 'pixi_workspace']))"
    [packages] = (tmp_path / ".venv").rglob("site-packages")
    (packages / "here.pth").write_text(f"{here}\n{blocked}\n")
    cleared = ("PYTHONPATH", "PIXI_PROJECT_ROOT", "PIXI_PROJECT_MANIFEST", "PIXI_ENVIRONMENT_NAME")
    variables = {key: value for key, value in os.environ.items() if key not in cleared}

    def run(*words):
        line = [str(bin_folder / "python"), *words]
        done = subprocess.run(line, cwd=folder, env=variables, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    script = recipe.read(number).scripts[0].name
    short = [] if number == 1 else ["--data", "digits", "--epochs", "1", "--device", "cpu"]
    run(script, *short)
    assert len(list((folder / "results/my-digits").glob("*/run.json"))) == 1
    assert " passed" in run("-m", "pytest", "-q", "-p", "no:cacheprovider")
    if number == 4:
        assert "test accuracy" in run("predict.py", "--device", "cpu")
        assert "after" in run("finetune.py", "--device", "cpu")
    if number > 1:
        refused = subprocess.run(
            [str(bin_folder / "python"), script, *short[:4]],
            cwd=folder,
            env=variables | {"MY_DIGITS_DEVICE": "cuda", "CUDA_VISIBLE_DEVICES": ""},
            capture_output=True,
            text=True,
        )
        assert refused.returncode == 1 and "MY_DIGITS_DEVICE=cuda" in refused.stderr, refused.stderr


@pytest.mark.slow
def test_a_run_of_a_project_is_verified_by_its_own_commit_and_code(project, tmp_path):
    folder = shutil.copytree(project(1), tmp_path / "my-digits")
    git = ("git", "-C", str(folder), "-c", "user.name=A", "-c", "user.email=a@example.org")
    for words in (("init", "-q"), ("add", "."), ("commit", "-qm", "Begin")):
        subprocess.run([*git, *words], check=True)
    subprocess.run([sys.executable, "exclusion.py"], cwd=folder, check=True, capture_output=True)
    [run] = (folder / "results/my-digits").iterdir()
    answer = verify.judge(received.read(run))
    assert answer.verdict == "bitwise" and not answer.differences and not answer.remarks, answer
    crate = run / "ro-crate-metadata.json"
    crate.write_text(crate.read_text().replace("CreateAction", "CreateActiom"))
    assert verify.judge(received.read(run)).verdict == "not reproduced"


def test_the_checks_use_the_names_of_a_project(project):
    own = Workspace(project(2), scratch=project(2))
    assert (own.package, own.device_variable) == ("my_digits", "MY_DIGITS_DEVICE")
    assert requirements.requires_gpu(own, "cuda12") and not requirements.requires_gpu(own, "cpu")
    tutorial = Workspace(ROOT / "exercise-2-pytorch-cu12/solution", scratch=project(2))
    assert (tutorial.package, tutorial.device_variable) == ("workshop", "WORKSHOP_DEVICE")


@pytest.mark.slow
@pytest.mark.parametrize("number", NUMBERS)
def test_a_project_passes_the_checks_of_its_exercise(number, project, capsys):
    assert cli.main(["check", str(number), str(project(number))]) == 0, capsys.readouterr().out
    skipped = 2 if number == 1 else 1  # nobody has run the project yet, and it is no repository yet
    assert f"0 failed, {skipped} skipped" in capsys.readouterr().out
