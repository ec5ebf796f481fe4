"""run.json against its schema, and a run folder that is complete or not there."""

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest
from conftest import ROOT, record_of

from pixi_workspace import lock
from workshop.errors import WorkshopError
from workshop.runs import data, weights
from workshop.runs.records import provenance, record
from workshop.support.files import sha256_of, write_atomic


def test_a_real_run_fits_the_schema(one_epoch):
    schema = json.loads(record.SCHEMA_FILE.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(record_of(one_epoch), schema)


def test_what_is_recorded_is_true(one_epoch):
    run = record_of(one_epoch)
    assert run["seed"] == run["determinism"]["torch_initial_seed"] == 3
    assert run["determinism"]["deterministic_algorithms"] is True
    # One by default, whatever the variables and the cores of the machine are.
    assert run["device"]["type"] == "cpu" and run["device"]["threads"] == run["determinism"]["threads"] == 1
    assert run["dataset"] == {"name": "digits", "sha256": data.BUILT_SHA256["digits"], "train": 1497, "test": 300}
    assert run["script"]["sha256"] == sha256_of(ROOT / "exercise-2-pytorch-cu12/solution/train.py")
    assert run["manifest"]["sha256"] == sha256_of(ROOT / "exercise-2-pytorch-cu12/solution/pixi.toml")
    assert run["host"]["python"] == platform.python_version()
    assert run["variables"]["OMP_NUM_THREADS"] == "1"
    assert run["started"] < run["ended"]
    head = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True)
    if head.returncode == 0:
        assert run["git"]["commit"] == head.stdout.strip()
    for package in ("torch", "numpy", "safetensors"):
        assert run["packages"][package] == importlib.metadata.version(package)


def test_what_torch_reports_of_itself_is_recorded_beside_its_package(one_epoch):
    """The version of a PyPI package may lack its build: torch 2.13.0 for Linux is 2.13.0+cu130."""
    torch = pytest.importorskip("torch")
    run = record_of(one_epoch)
    assert run["frameworks"] == {"torch": torch.__version__}
    assert run["packages"]["torch"].partition("+")[0] == torch.__version__.partition("+")[0]


@pytest.mark.parametrize(
    ("here", "there", "differ"),
    [
        # One build, from two indexes: PyPI's package leaves out its name.
        (("2.13.0", "2.13.0+cu130"), ("2.13.0+cu130", "2.13.0+cu130"), None),
        (("2.13.0", "2.13.0+cu130"), ("2.13.0+cpu", "2.13.0+cpu"), ["2.13.0+cu130", "2.13.0+cpu"]),
        (("2.13.0", "2.13.0+cu130"), ("2.13.0", "2.13.0"), ["2.13.0+cu130", "2.13.0"]),  # of conda-forge
        (("2.13.0", "2.13.0+cu130"), ("2.13.0", None), None),  # an older run: its build is not known
        (("2.13.0", "2.13.0+cu130"), ("2.6.0+cu124", None), ["2.13.0+cu130", "2.6.0+cu124"]),
        (("2.13.0", "2.13.0+cu130"), (None, None), ["2.13.0+cu130", None]),
    ],
)
def test_versions_are_compared_as_exactly_as_both_runs_know_them(here, there, differ):
    def software(package, reported):
        found = {"packages": {"numpy": "2.4.6"} | ({"torch": package} if package else {})}
        return found | ({"frameworks": {"torch": reported}} if reported else {})

    there_first = differ and differ[::-1]
    for one, other, expected in ((here, there, differ), (there, here, there_first)):
        found = provenance.versions_that_differ(software(*one), software(*other))
        assert found == ({"torch": expected} if expected else {})


def test_every_file_is_listed_with_its_sha256(one_epoch):
    run = record_of(one_epoch)
    listed = {output["path"] for output in run["outputs"]}
    assert listed | {"run.json", "ro-crate-metadata.json"} == {p.name for p in one_epoch.iterdir()}
    assert {"weights.safetensors", "learning_curve.png", "learning_curve.svg", "confusion_matrix.png"} <= listed
    for output in run["outputs"]:
        assert sha256_of(one_epoch / output["path"]) == output["sha256"]
        assert (one_epoch / output["path"]).stat().st_size == output["bytes"]


def test_no_name_of_a_person_or_host_is_recorded(one_epoch):
    text = (one_epoch / "run.json").read_text()
    assert platform.node() not in text
    run = json.loads(text)
    assert not any(str(value).startswith(os.path.expanduser("~/")) for value in run["variables"].values())


def test_the_folder_of_compiled_code_is_not_recorded(monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "/home/somebody/cache")
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    monkeypatch.setenv("JAX_ENABLE_X64", "1")
    assert {n: v for n, v in provenance.variables().items() if n.startswith("JAX_")} == {"JAX_ENABLE_X64": "1"}


def test_the_crate_describes_the_same_run(one_epoch):
    graph = {e["@id"]: e for e in json.loads((one_epoch / "ro-crate-metadata.json").read_text())["@graph"]}
    run = record_of(one_epoch)
    assert graph["ro-crate-metadata.json"]["about"] == {"@id": "./"}
    assert graph["./"]["conformsTo"] == {"@id": "https://w3id.org/ro/wfrun/process/0.5"}
    action = graph[graph["./"]["mentions"]["@id"]]
    assert action["@type"] == "CreateAction" and action["endTime"] == run["ended"]
    assert graph[action["instrument"]["@id"]]["sha256"] == run["script"]["sha256"]
    for output in run["outputs"]:
        assert graph[output["path"]]["sha256"] == output["sha256"]

    def references(value):
        if isinstance(value, dict):
            if set(value) == {"@id"}:
                yield value["@id"]
            for item in value.values():
                yield from references(item)
        elif isinstance(value, list):
            for item in value:
                yield from references(item)

    inside = {r for e in graph.values() for r in references(e) if not r.startswith("http")}
    assert inside <= set(graph)


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "train.py"
    path.write_text("# a script\n")
    return str(path)


def finished(run, **changed):
    said = {
        "seed": 0,
        "determinism": {},
        "device": {"type": "cpu", "name": "x"},
        "metrics": [{"name": "m", "value": 1}],
        "dataset": {"name": "d", "sha256": "0" * 64, "train": 1, "test": 1},
    }
    return record.finish(run, ("numpy",), **said | changed)


def test_nothing_looks_finished_before_the_end(tmp_path, script):
    run = record.start("exercise-0", script, str(tmp_path / "run"), seed=0)
    (run.folder / "result.txt").write_text("1\n")
    assert not (tmp_path / "run").exists() and not list(tmp_path.rglob("run.json"))
    place = finished(run)
    assert place == tmp_path / "run" and not run.folder.exists()
    jsonschema.validate(record_of(place), json.loads(record.SCHEMA_FILE.read_text()))


def test_a_folder_that_is_in_use(tmp_path, script):
    (tmp_path / "file").write_text("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("")
    for name in ("file", "full"):
        with pytest.raises(WorkshopError, match="--output"):
            record.start("exercise-0", script, str(tmp_path / name), seed=0)
    assert (tmp_path / "full" / "thesis.tex").exists()


def test_a_folder_of_the_user_is_left_alone(tmp_path, script):
    (tmp_path / "run.partial").mkdir()
    (tmp_path / "run.partial" / "thesis.tex").write_text("")
    with pytest.raises(WorkshopError, match="thesis.tex"):
        record.start("exercise-0", script, str(tmp_path / "run"), seed=0)
    assert [p.name for p in (tmp_path / "run.partial").iterdir()] == ["thesis.tex"]


def test_a_running_run_is_not_called_interrupted(tmp_path, script):
    run = record.start("exercise-0", script, str(tmp_path / "run"), seed=0)
    (run.folder / record.CHECKPOINT).write_bytes(b"")
    with pytest.raises(WorkshopError, match="another process is using it"):
        record.start("exercise-0", script, str(tmp_path / "run"), seed=0)
    run.lock.release()
    with pytest.raises(WorkshopError, match="--resume  # or start over: rm -r"):
        record.start("exercise-0", script, str(tmp_path / "run"), seed=0)


def test_a_failing_run_removes_only_what_it_made(tmp_path, script):
    first = record.start("exercise-0", script, str(tmp_path / "run"), seed=0)
    first.lock.release()
    (first.folder / "notes.txt").write_text("precious")
    run = record.start("exercise-0", script, str(tmp_path / "run"), seed=0)
    (run.folder / "limits.json").write_text("{}")
    record.abandon(run)
    assert [p.name for p in run.folder.iterdir() if p.name != record.LOCK] == ["notes.txt"]


def test_half_written_files_of_a_killed_process_are_removed(tmp_path, script):
    run = record.start("exercise-0", script, str(tmp_path / "run"), seed=0)
    run.lock.release()  # as the system does after kill -9
    for name in ("run.json", ".limits.json.abc.part", "notes.txt"):
        (run.folder / name).write_text("")
    again = record.start("exercise-0", script, str(tmp_path / "run"), seed=0)
    assert {p.name for p in again.folder.iterdir()} - {record.LOCK} == {"notes.txt"}
    record.abandon(again)


@pytest.mark.parametrize("output", ["/", "", "~nobody-of-this-name/run", ".", "dangling", "loop"])
def test_unusable_folders_are_refused_before_the_run(tmp_path, script, output, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(WorkshopError, match="--output"):
        record.start("exercise-0", script, output, seed=0)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_empty_folder_behind_a_link_can_be_the_output(tmp_path, script):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk")
    run = record.start("exercise-0", script, str(tmp_path / "link"), seed=0)
    assert finished(run) == tmp_path / "disk" and (tmp_path / "link" / "run.json").exists()


def test_infinite_and_nan_results_are_refused(tmp_path, script):
    run = record.start("exercise-0", script, str(tmp_path / "run"), seed=0)
    with pytest.raises(WorkshopError, match="finite"):
        finished(run, metrics=[{"name": "m", "value": float("nan")}])
    assert not (run.folder / "run.json").exists() and not run.final.exists()


def test_the_commit_is_that_of_the_scripts_own_checkout(tmp_path, script):
    """A script that is untracked in a checkout has no commit; once tracked, it has that of the checkout."""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    if subprocess.run(["git", "init", "-q", tmp_path], capture_output=True).returncode:
        pytest.skip("git is not here")
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "other things"], check=True)
    assert provenance.origin(Path(script))["git"] is None
    subprocess.run([*git, "add", "train.py"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "the script"], check=True)
    assert provenance.origin(Path(script))["git"]["dirty"] is False


def test_resume_continues_the_newest_run_that_is_not_in_use(tmp_path, script, capsys, monkeypatch):
    monkeypatch.setattr(record, "LOCK_SECONDS", 0.05)
    runs = [record.start("exercise-0", script, None, seed=seed) for seed in range(3)]
    for age, run in enumerate(runs):
        (run.folder / record.CHECKPOINT).write_bytes(b"")
        os.utime(run.folder / record.CHECKPOINT, (1e9 - age, 1e9 - age))
    runs[1].lock.release()
    runs[2].lock.release()
    taken = record.start("exercise-0", script, None, seed=0, resume=True)
    assert taken.folder == runs[1].folder and taken.final == runs[1].final
    assert taken.folder.name in capsys.readouterr().err
    last = record.start("exercise-0", script, None, seed=0, resume=True)
    assert last.folder == runs[2].folder
    with pytest.raises(WorkshopError, match="other processes are using"):
        record.start("exercise-0", script, None, seed=0, resume=True)


def test_two_processes_in_one_folder(tmp_path, script):
    run = record.start("exercise-0", script, str(tmp_path / "run"), seed=0)
    with pytest.raises(WorkshopError, match="another process is using"):
        record.start("exercise-0", script, str(tmp_path / "run"), seed=0)
    record.abandon(run)
    assert not run.folder.exists()


def test_two_names_in_the_same_second_differ(tmp_path, script, monkeypatch):
    names = {record.start("exercise-0", script, None, seed=0).final.name for _ in range(3)}
    assert len(names) == 3


class Distribution:
    """An installed Python package, as importlib.metadata returns it."""

    def __init__(self, name, version, installer):
        said = f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\nRequires-Dist: x\n\nName: of no\nVersion: 0\n"
        self.texts = {"METADATA": said, "INSTALLER": f"{installer}\n"}

    def read_text(self, name):
        return self.texts.get(name)


def test_the_installed_distributions_are_those_that_importlib_reads():
    read = [distribution.metadata for distribution in importlib.metadata.distributions()]
    assert {(name, version) for name, version, _ in provenance._distributions()} == {
        (said["Name"], said["Version"]) for said in read if said["Name"]
    }


def test_under_pixi_the_environment_is_read_off_the_installed_packages(tmp_path, monkeypatch):
    """A prefix with conda-meta as Pixi writes it, from the root's lock: complete, then with one package changed."""
    locked = lock.read(ROOT / "pixi.lock").environments["cuda12"].packages["p1"]
    meta = tmp_path / "cuda12" / "conda-meta"
    meta.mkdir(parents=True)
    for package in locked:
        (meta / f"{package.name}-{package.version}-{package.build}.json").write_text("{}")
    monkeypatch.setattr("sys.prefix", str(tmp_path / "cuda12"))
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    wheels = []  # installed Python packages: (name, version, who installed it)
    monkeypatch.setattr("importlib.metadata.distributions", lambda: [Distribution(*wheel) for wheel in wheels])
    monkeypatch.setenv("PIXI_ENVIRONMENT_NAME", "cuda12")
    monkeypatch.setenv("PIXI_PROJECT_ROOT", str(ROOT))
    found = provenance._environment()
    assert found["kind"] == "pixi" and found["name"] == "cuda12" and found["platform"] == "linux-64"
    assert found["installed"] == sorted(f"{p.name}-{p.version}-{p.build}" for p in locked)
    assert found["packages"] == len(locked) and found["lock"]["sha256"] == sha256_of(ROOT / "pixi.lock")
    before = found["sha256"]
    (meta / "numpy-9.9-py_0.json").write_text("{}")
    next(meta.glob("rich-*.json")).unlink()
    found = provenance._environment()
    assert "numpy-9.9-py_0" in found["installed"] and not any(name.startswith("rich-") for name in found["installed"])
    assert found["sha256"] != before
    schema = json.loads(record.SCHEMA_FILE.read_text())
    jsonschema.validate(found, schema["properties"]["environment"] | {"$defs": schema["$defs"]})
    wheels += [("numpy", "2.4", "conda"), ("Sneaked_In", "1.0", "pip"), ("torch", "2.6.0+cu124", "uv-pixi")]
    installed = provenance._environment()["installed"]
    assert {"Sneaked_In==1.0", "torch==2.6.0+cu124"} <= set(installed) and "numpy==2.4" not in installed
    # The name alone proves nothing: a job that `pixi run` has submitted inherits it, whatever it runs in.
    monkeypatch.setenv("PIXI_ENVIRONMENT_NAME", "pypi-mixed")
    assert provenance._environment()["kind"] == "python"


def test_an_images_revision_is_that_of_its_own_scripts(tmp_path, monkeypatch):
    """The image's revision does not apply to a script of the host that runs in the image."""
    inside = tmp_path / "workshop" / "train.py"
    inside.parent.mkdir()
    inside.touch()
    monkeypatch.setenv("WORKSHOP_REVISION", f"{'a' * 40}-dirty")
    monkeypatch.setenv("PIXI_PROJECT_ROOT", str(inside.parent))
    assert provenance._git(inside) == {"commit": "a" * 40, "dirty": True}
    outside = ROOT / "exercise-2-pytorch-cu12" / "solution" / "train.py"
    assert (provenance._git(outside) or {"commit": None})["commit"] != "a" * 40


def test_proportion_tolerance():
    # sqrt(0.99 * 0.01 / 10000) = 0.000995
    assert record.proportion_tolerance(0.99, 10_000)["absolute"] == pytest.approx(3 * 0.000995 + 0.0001, rel=1e-3)


def test_write_atomic_keeps_the_old_file_when_the_new_one_fails(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomic(path, b"old")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="file"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]


def test_weights_of_equal_content_are_equal_files(tmp_path, one_epoch):
    path = one_epoch / "weights.safetensors"
    tensors, about = weights.load(path, "")
    assert about["data"] == "digits" and about["network"] == weights.network_of(tensors)
    weights.save(tmp_path / "again", dict(reversed(tensors.items())), about)
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("damage", ["cut", "flipped", "nan", "other", "missing"])
def test_damaged_weights_are_refused(tmp_path, one_epoch, damage, monkeypatch):
    path = tmp_path / "weights.safetensors"
    shutil.copy(one_epoch / "weights.safetensors", path)
    content = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        content[-100] ^= 1
        path.write_bytes(content)
    elif damage == "nan":
        tensors, about = weights.load(path, "")
        tensors["fc2.bias"] = tensors["fc2.bias"] * float("nan")
        with pytest.raises(WorkshopError, match="diverged"):  # this is not what `save` would write
            weights.save(tmp_path / "new", tensors, about)
        assert not (tmp_path / "new").exists()
        monkeypatch.setattr(weights, "_finite", lambda array: True)
        weights.save(path, tensors, about)
        monkeypatch.undo()
    elif damage == "other":
        from safetensors.numpy import save_file

        save_file({"x": weights.load(path, "")[0]["fc2.bias"]}, path)
    else:
        path.unlink()
    with pytest.raises(WorkshopError, match="type this"):
        weights.load(path, "type this")
