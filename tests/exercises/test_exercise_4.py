"""Exercise 4: predictions in another environment, how far they agree, and what is refused; and its checks."""

import dataclasses
import hashlib
import json
import shutil

import jsonschema
import later
import numpy as np
import pytest
from conftest import ROOT, answers, logits_in_numpy, module_of, record_of, sha_of
from mutations.exercise_4 import INDEX

from workshop import errors, exercises
from workshop.checking import checks
from workshop.runs import data, weights
from workshop.runs.records import crate, parent, record
from workshop.support.files import sha256_of

torch = later.or_skip("torch", reason="exercise 4 needs torch: install the extra cpu")

FOLDER = ROOT / "exercise-4-pypi-mix"
EXERCISE = next(exercise for exercise in exercises.find_all(ROOT) if exercise.number == 4)
PREDICT, FINETUNE = FOLDER / "solution/predict.py", FOLDER / "solution/finetune.py"
JAX_SCRIPT = ROOT / "exercise-3-jax-cu118/solution/train.py"

# As in predict.py: sums of up to 1,568 terms in float32, against the same in float64.
LOGITS_RELATIVE = 1e-5


@pytest.fixture(scope="module")
def predicted(command, one_epoch, tmp_path_factory):
    """A prediction with the weights of exercise 2."""
    place = tmp_path_factory.mktemp("predictions") / "here"
    done = command(PREDICT, one_epoch, "--device", "cpu", "--output", place)
    assert done.returncode == 0, done.stderr
    return place


@pytest.fixture(scope="module")
def from_jax(command, tmp_path_factory):
    """A run of exercise 3."""
    pytest.importorskip("jax", reason="exercise 3 needs jax: install the extra cpu")
    place = tmp_path_factory.mktemp("runs") / "jax"
    done = command(JAX_SCRIPT, "--data", "digits", "--epochs", 1, "--seed", 3, "--device", "cpu", "--output", place)
    assert done.returncode == 0, done.stderr
    return place


def far(found, wanted) -> float:
    return float((np.abs(found - wanted) / np.abs(wanted).max(axis=1, keepdims=True)).max())


def test_the_logits_are_those_of_a_forward_pass_in_numpy(predicted, one_epoch):
    logits, about = weights.load(predicted / "logits.safetensors", "")
    tensors, _ = weights.load(one_epoch / "weights.safetensors", "")
    wanted = logits_in_numpy(tensors, data.load("digits").x_test)
    assert logits["logits"].shape == (300, 10) and logits["logits"].dtype == np.float32
    assert far(logits["logits"], wanted) <= LOGITS_RELATIVE
    assert about["weights"] == sha_of(one_epoch)
    lines = (predicted / "predictions.csv").read_text().splitlines()
    assert lines[0] == "image,label,predicted" and len(lines) == 301
    assert [int(line.split(",")[2]) for line in lines[1:]] == wanted.argmax(1).tolist()
    assert [int(line.split(",")[1]) for line in lines[1:]] == data.load("digits").y_test.tolist()


def test_and_those_of_jax(command, from_jax, tmp_path):
    """Weights that JAX wrote, predicted by torch and by JAX itself."""
    done = command(PREDICT, from_jax, "--device", "cpu", "--output", tmp_path / "torch")
    assert done.returncode == 0, done.stderr
    code = (
        "import importlib.util, sys, numpy as np\n"
        "spec = importlib.util.spec_from_file_location('train', sys.argv[1])\n"
        "train = importlib.util.module_from_spec(spec); spec.loader.exec_module(train)\n"
        "from workshop.runs import data, weights\nfrom workshop.runs.frameworks import on_jax\n"
        "params = on_jax.params_of(weights.load(sys.argv[2], '')[0])\n"
        "x = data.as_28x28(data.load('digits').x_test)\n"
        "np.save(sys.argv[3], np.asarray(train.Net().apply(params, train.to_input(x))))\n"
    )
    done = command("-c", code, JAX_SCRIPT, from_jax / "weights.safetensors", tmp_path / "jax.npy")
    assert done.returncode == 0, done.stderr
    logits = weights.load(tmp_path / "torch" / "logits.safetensors", "")[0]["logits"]
    assert far(logits, np.load(tmp_path / "jax.npy")) <= LOGITS_RELATIVE


def test_the_run_names_its_parent(predicted, one_epoch):
    found = record_of(predicted)
    jsonschema.validate(found, json.loads(record.SCHEMA_FILE.read_text()))
    assert found["parent"] == {
        "exercise": "exercise-2-pytorch-cu12",
        "run": one_epoch.name,
        "sha256": sha256_of(one_epoch / "run.json"),
    }
    assert found["metrics"][0]["value"] == record_of(one_epoch)["metrics"][0]["value"]
    graph = {e["@id"]: e for e in json.loads((predicted / "ro-crate-metadata.json").read_text())["@graph"]}
    assert graph["#parent"]["sha256"] == found["parent"]["sha256"]
    assert {"@id": "#parent"} in graph["#run"]["object"]


def test_the_same_prediction_compares_equal(command, predicted, one_epoch, tmp_path):
    done = command(PREDICT, one_epoch, "--device", "cpu", "--compare", predicted, "--output", tmp_path / "again")
    assert done.returncode == 0, done.stderr
    assert "labels that differ: 0 of 300" in done.stdout and "\ninside the tolerance" in done.stdout
    found = record_of(tmp_path / "again")
    jsonschema.validate(found, json.loads(record.SCHEMA_FILE.read_text()))
    said = found["comparison"]
    assert said["same_weights"] and said["inside"] and said["largest_absolute"] == said["largest_relative"] == 0
    assert said["packages"] == {} and said["with"]["sha256"] == sha256_of(predicted / "run.json")
    assert sha_of(tmp_path / "again", "logits.safetensors") == sha_of(predicted, "logits.safetensors")


def rewritten(run, place, change):
    """A copy of a run, changed, whose run.json and crate fit the change: what only its content can betray."""
    shutil.copytree(run, place)
    document = json.loads((place / "run.json").read_text())
    change(place, document)
    for output in document["outputs"]:
        path = place / output["path"]
        output |= {"sha256": sha256_of(path), "bytes": path.stat().st_size}
    content = json.dumps(document).encode()
    (place / "run.json").write_bytes(content)
    (place / "ro-crate-metadata.json").write_text(crate.describe(document, content))
    return place


def test_another_prediction_is_outside_and_the_differences_are_named(command, predicted, one_epoch, tmp_path):
    def change(place, document):
        tensors, about = weights.load(place / "logits.safetensors", "")
        tensors["logits"] = tensors["logits"].copy()
        tensors["logits"][7] = np.roll(tensors["logits"][7], 1)  # one image, one label
        weights.save(place / "logits.safetensors", tensors, about)
        document["packages"]["torch"] = "2.6.0+cu124"
        del document["packages"]["numpy"]

    other = rewritten(predicted, tmp_path / "other", change)
    done = command(PREDICT, one_epoch, "--device", "cpu", "--compare", other, "--output", tmp_path / "run")
    assert done.returncode == 1 and done.stderr == "", done.stderr
    assert "labels that differ: 1 of 300" in done.stdout and "\nOUTSIDE the tolerance" in done.stdout
    found = record_of(tmp_path / "run")
    jsonschema.validate(found, json.loads(record.SCHEMA_FILE.read_text()))
    assert found["exit_status"] == 1
    said, mine = found["comparison"], weights.load(predicted / "logits.safetensors", "")[0]["logits"].astype(float)
    theirs = np.roll(mine[7], 1)
    assert said["largest_absolute"] == pytest.approx(np.abs(mine[7] - theirs).max(), rel=1e-9)
    assert said["largest_relative"] == pytest.approx(np.abs(mine[7] - theirs).max() / np.abs(theirs).max(), rel=1e-9)
    assert said["labels_that_differ"] == 1 and said["same_weights"] and not said["inside"]
    assert said["packages"] == {"numpy": [np.__version__, None], "torch": [torch.version.__version__, "2.6.0+cu124"]}


def test_other_weights_are_compared_and_reported(command, predicted, from_jax, tmp_path):
    done = command(PREDICT, from_jax, "--device", "cpu", "--compare", predicted, "--output", tmp_path / "run")
    assert done.returncode == 1 and "these are two trainings" in done.stdout, done.stderr
    assert record_of(tmp_path / "run")["comparison"]["same_weights"] is False


def damaged_runs():
    """Ways to damage a run, each with words of the message."""

    def truncated(place):
        path = place / "weights.safetensors"
        path.write_bytes(path.read_bytes()[:-1000])

    def flipped(place):
        path = place / "weights.safetensors"
        content = bytearray(path.read_bytes())
        content[-5] ^= 1
        path.write_bytes(content)

    def metric(place):
        path = place / "run.json"
        path.write_text(path.read_text().replace('"value": 0.', '"value": 0.9', 1))

    yield "truncated weights", truncated, "damaged or edited after the run"
    yield "one bit flipped", flipped, "damaged or edited after the run"
    yield "no weights", lambda place: (place / "weights.safetensors").unlink(), "No such file"
    yield "an edited record", metric, "it was edited after the run"
    yield "half a record", lambda place: (place / "run.json").write_text('{"schema":'), "truncated"
    yield "a record of something else", lambda place: (place / "run.json").write_text("[]"), "edited"
    yield "no crate", lambda place: (place / "ro-crate-metadata.json").unlink(), "No such file"
    yield "no record", lambda place: (place / "run.json").unlink(), "no run.json in it"


@pytest.mark.parametrize(
    ("what", "damage", "words"), list(damaged_runs()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_run_that_was_damaged_is_refused(one_epoch, tmp_path, what, damage, words):
    run = tmp_path / "run"
    shutil.copytree(one_epoch, run)
    damage(run)
    with pytest.raises(errors.WorkshopError) as raised:
        parent.read(run, "train it again")
    assert words in raised.value.found, raised.value
    assert raised.value.next_step.startswith("train it again")


def test_the_scripts_report_a_damaged_run(command, refused, one_epoch, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(one_epoch, run)
    content = bytearray((run / "weights.safetensors").read_bytes())
    content[-5] ^= 1
    (run / "weights.safetensors").write_bytes(content)
    for script in (PREDICT, FINETUNE):
        refused(command(script, run, "--output", tmp_path / "out"), "damaged or edited after the run", "train-torch")
    assert not list(tmp_path.glob("out*"))


def forged(case):
    """Weights and a record that agree with each other, but not with the network or the data set."""

    def change(place, document):
        tensors, about = weights.load(place / "weights.safetensors", "")
        if case == "another network":
            tensors = {"conv1.weight": tensors["conv1.weight"]}
            about["network"] = document["network"] = weights.network_of(tensors)
        elif case == "Flax's layout":
            tensors = {n: a.transpose(2, 3, 1, 0) if a.ndim == 4 else a.T for n, a in tensors.items()}
            about["network"] = document["network"] = weights.network_of(tensors)
        elif case == "Flax's names":
            tensors = {n.replace("weight", "kernel"): a for n, a in tensors.items()}
            about["network"] = document["network"] = weights.network_of(tensors)
        elif case == "an extra layer":
            tensors["fc3.bias"] = np.zeros(3, np.float32)
        elif case == "another data set":
            about["data_sha256"] = document["dataset"]["sha256"] = "0" * 64
        elif case == "weights of another data set":
            about |= {"data": "digits-60k", "data_sha256": data.BUILT_SHA256["digits-60k"]}
        elif case == "an unknown data set":
            about["data"] = document["dataset"]["name"] = "cats"
        elif case == "weights of another run":
            tensors = {n: a * np.float32(0.5) if n.startswith("fc2") else a[::-1].copy() for n, a in tensors.items()}
        weights.save(place / "weights.safetensors", tensors, about)

    return change


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("another network", "none of that name"),
        ("Flax's layout", "Flax's layout"),
        ("Flax's names", "Flax calls it kernel"),
        ("an extra layer", "another network"),
        ("another data set", "not the data of that run"),
        ("weights of another data set", "data: digits-60k"),
        ("an unknown data set", "'cats'"),
    ],
)
def test_weights_of_something_else_are_refused_with_the_reason(one_epoch, tmp_path, case, words):
    run = rewritten(one_epoch, tmp_path / "run", forged(case))
    source = parent.read(run, "")
    with pytest.raises(errors.WorkshopError) as raised:
        module_of(PREDICT).trained_network(source)
        source.data()
    assert words in raised.value.found, raised.value


def test_the_scripts_report_forged_weights(command, refused, one_epoch, tmp_path):
    run = rewritten(one_epoch, tmp_path / "run", forged("Flax's layout"))
    for script in (PREDICT, FINETUNE):
        refused(command(script, run, "--output", tmp_path / "out"), "Flax's layout")
    assert not list(tmp_path.glob("out*"))


def test_weights_that_do_not_reach_the_recorded_accuracy_are_refused(command, refused, one_epoch, tmp_path):
    run = rewritten(one_epoch, tmp_path / "run", forged("weights of another run"))
    refused(command(PREDICT, run, "--output", tmp_path / "out"), "as its weights reach on this machine")


def test_weights_with_nan_are_refused(command, refused, one_epoch, tmp_path, monkeypatch):
    def change(place, document):
        tensors, about = weights.load(place / "weights.safetensors", "")
        tensors["fc2.bias"] = np.full_like(tensors["fc2.bias"], np.nan)
        monkeypatch.setattr(weights, "_finite", lambda array: True)
        weights.save(place / "weights.safetensors", tensors, about)

    run = rewritten(one_epoch, tmp_path / "run", change)
    refused(command(PREDICT, run, "--output", tmp_path / "out"), "NaN or infinite values")


def test_a_folder_without_a_run_is_refused(command, refused, predicted, one_epoch, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "killed.partial").mkdir()
    (tmp_path / "killed.partial" / "checkpoint.safetensors").write_bytes(b"")
    for place, words in (
        ("absent", "no such folder"),
        ("empty", "no run.json in it"),
        ("file", "a file"),
        ("killed", "interrupted"),
        ("killed.partial", "interrupted"),
        ("a\0b", "null"),
    ):
        with pytest.raises(errors.WorkshopError) as raised:
            parent.read(f"{tmp_path}/{place}", "train one")
        assert words in raised.value.found, raised.value
    assert parent.read(one_epoch / "run.json", "").folder == one_epoch  # the file will do
    refused(command(PREDICT, predicted, "--output", tmp_path / "x"), "weights.safetensors", "predictions.csv")
    refused(command(PREDICT, one_epoch, "--compare", one_epoch, "--output", tmp_path / "x"), "logits.safetensors")
    refused(
        command(PREDICT, one_epoch, "--device", "cuda", "--output", tmp_path / "x"), "GPU, because of --device cuda"
    )
    refused(command(FINETUNE, one_epoch, "--seed", "-1"), "--seed")
    assert not list(tmp_path.glob("x*"))


def test_other_images_cannot_be_compared(command, refused, predicted, one_epoch, tmp_path):
    def change(place, document):
        tensors, about = weights.load(place / "logits.safetensors", "")
        weights.save(place / "logits.safetensors", tensors, about | {"data": "digits-60k", "data_sha256": "1" * 64})

    other = rewritten(predicted, tmp_path / "other", change)
    done = command(PREDICT, one_epoch, "--device", "cpu", "--compare", other, "--output", tmp_path / "x")
    refused(done, "logits of the images of digits", "digits-60k")

    def fewer(place, document):
        tensors, about = weights.load(place / "logits.safetensors", "")
        weights.save(place / "logits.safetensors", {"logits": tensors["logits"][:9]}, about)

    other = rewritten(predicted, tmp_path / "fewer", fewer)
    done = command(PREDICT, one_epoch, "--device", "cpu", "--compare", other, "--output", tmp_path / "x")
    refused(done, "shape (300, 10)", "shape (9, 10)")


def test_without_a_run_the_newest_one_is_taken(command, refused, one_epoch, from_jax, tmp_path):
    lifted = tmp_path / FOLDER.name / "solution"
    shutil.copytree(FOLDER / "solution", lifted, ignore=shutil.ignore_patterns("__pycache__"))
    script = lifted / "predict.py"
    refused(command(script, cwd=tmp_path), "a finished run to continue", "train-torch")
    later = max((one_epoch, from_jax), key=lambda run: record_of(run)["ended"])
    for number, run in ((2, one_epoch), (3, from_jax)):
        shutil.copytree(run, tmp_path / "results" / record_of(run)["exercise"] / f"run-{number}")
    unreadable = tmp_path / "results" / record_of(one_epoch)["exercise"] / "unreadable"
    unreadable.mkdir()
    (unreadable / "run.json").write_text("{")
    done = command(script, "--device", "cpu", cwd=tmp_path)
    assert done.returncode == 0 and f"weights of {record_of(later)['exercise']} (run-" in done.stdout, done.stderr
    assert list((tmp_path / "results" / "exercise-4-pypi-mix").iterdir())


@pytest.mark.slow
def test_finetuning_is_reproducible_and_its_run_can_be_continued(command, one_epoch, tmp_path):
    for name, seed in (("first", 1), ("again", 1), ("other", 2)):
        done = command(FINETUNE, one_epoch, "--device", "cpu", "--seed", seed, "--output", tmp_path / name)
        assert done.returncode == 0, done.stderr
    found = record_of(tmp_path / "first")
    jsonschema.validate(found, json.loads(record.SCHEMA_FILE.read_text()))
    assert sha_of(tmp_path / "first") == sha_of(tmp_path / "again") != sha_of(tmp_path / "other")
    metrics = {metric["name"]: metric["value"] for metric in found["metrics"]}
    assert metrics["test_accuracy"] > 0.6 > 0.3 > metrics["test_accuracy_before"]
    assert found["parent"]["sha256"] == sha256_of(one_epoch / "run.json")
    assert found["dataset"]["name"] == "digits turned by 90 degrees"
    base = data.load("digits")
    turned = [np.rot90(data.as_28x28(x), axes=(1, 2)) for x in (base.x_train, base.x_test)]
    digest = hashlib.sha256()
    for array in (turned[0], base.y_train, turned[1], base.y_test):
        digest.update(f"{array.dtype.str}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    assert found["dataset"]["sha256"] == digest.hexdigest()
    done = command(PREDICT, tmp_path / "first", "--device", "cpu", "--output", tmp_path / "predicted")
    assert done.returncode == 0, done.stderr
    tensors, _ = weights.load(tmp_path / "first" / "weights.safetensors", "")
    wanted = logits_in_numpy(tensors, turned[1])
    assert far(weights.load(tmp_path / "predicted" / "logits.safetensors", "")[0]["logits"], wanted) <= LOGITS_RELATIVE
    done = command(FINETUNE, tmp_path / "first", "--device", "cpu", "--output", tmp_path / "further")
    assert done.returncode == 0 and record_of(tmp_path / "further")["dataset"] == found["dataset"], done.stderr


def test_the_shipped_starter_fails_every_check(tmp_path, variables, monkeypatch):
    monkeypatch.setenv("WORKSHOP_CACHE", variables["WORKSHOP_CACHE"])
    found = answers(EXERCISE, FOLDER / "starter", tmp_path)
    assert [answer.status for answer in found.values()][:5] == ["fail"] * 5, found


def test_packages_from_both_sources_and_two_runtimes_in_a_lock_are_found(learner, tmp_path):
    """The lock contains what the manifest does not show: a package from both sources, or a second CUDA runtime."""
    workspace = checks.Workspace(learner.folder, tmp_path / "scratch")
    (place,) = [name for name in workspace.lock.environments if name == "pypi-mixed"]
    held = workspace.lock.environments[place].packages["linux-64-cuda12"]
    numpy = next(package for package in held if package.name == "numpy")
    judge = next(check.run for check in EXERCISE.checks if check.number == "4.4")
    for extra, words in (
        (dataclasses.replace(numpy, name="cuda-cudart"), "only the CUDA runtime"),
        (
            dataclasses.replace(numpy, name="py-triton", purls=("pkg:pypi/triton?source=x",)),
            "no package from both sources",
        ),
    ):
        packages = workspace.lock.environments[place].packages | {"linux-64-cuda12": (*held, extra)}
        environment = dataclasses.replace(workspace.lock.environments[place], packages=packages)
        environments = workspace.lock.environments | {place: environment}
        changed = checks.Workspace(learner.folder, tmp_path / "scratch")
        changed.__dict__["lock"] = dataclasses.replace(workspace.lock, environments=environments)
        answer = judge(changed)
        assert answer.status == "fail" and words in answer.expected, answer


def test_an_index_for_each_package_is_correct_except_for_the_lock(learner, tmp_path):
    """This manifest would lock NVIDIA's wheels from PyPI, but the lock is that of the solution."""
    learner("pixi.toml", f"[feature.pypi-mixed.pypi-options]\n{INDEX}\n", "")
    url = INDEX.split('"')[1]
    for name, version in (("torch", "==2.6.0"), ("torchvision", "==0.21.0")):
        learner("pixi.toml", f'{name} = "{version}"', f'{name} = {{ version = "{version}", index = "{url}" }}')
    (learner.folder / "predict.py").unlink()  # the manifest and the lock are the matter here
    found = answers(EXERCISE, learner.folder, tmp_path)
    assert [answer.status for answer in found.values()] == ["ok", "ok", "ok", "fail", "skip", "skip"], found
    assert "out-of-date" in found["4.4"].found


def test_what_pixis_own_commands_write_passes(written_by_pixi, tmp_path):
    """Only the manifest: Pixi wrote no lock."""
    found = answers(EXERCISE, written_by_pixi / "exercise-4", tmp_path)
    assert [found[f"4.{k}"].status for k in (1, 2, 3)] == ["ok"] * 3, found
    assert found["4.4"].status == "fail" and "no pixi.lock" in found["4.4"].found
    assert found["4.5"].status == "skip"


def test_another_index_for_cuda_12_passes_with_the_releases_that_it_has(learner, tmp_path):
    learner("pixi.toml", "/whl/cu124", "/whl/cu126")
    result = answers(EXERCISE, learner.folder, tmp_path, ("4.1",))["4.1"]
    assert result.status == "ok" and "cu126 (not cu124; it has torch 2.6.0 and newer)" in result.found
