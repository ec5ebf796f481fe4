"""A checkpoint is used only if its checksum, its types and its numbers are right; otherwise one message refuses it."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import attack
import forked
import numpy as np
import pytest

from workshop.errors import WorkshopError
from workshop.runs import checkpoint, data, weights
from workshop.runs.records import record

TABLE = {
    "network": "fc1 2x3",
    "data": "digits",
    "data_sha256": "0" * 64,
    "seed": 3,
    "epochs": 4,
    "threads": 1,
    "done": 2,
    "accuracies": [0.5, 0.75],
    "resumed": [1],
}


def arrays():
    return {
        "net.fc1.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
        "losses": np.array([3, 2, 1, 0.5], np.float32),
        "confusion": np.array([[5, 1], [2, 4]]),
    }


@pytest.fixture
def folder(tmp_path):
    """A run's folder with a checkpoint: arrays and TABLE."""
    weights.save(tmp_path / record.CHECKPOINT, arrays(), TABLE)
    return SimpleNamespace(folder=tmp_path)


def read(folder):
    """What a resumed run reads, in its order."""
    tensors, table = checkpoint.load(folder)
    checkpoint.require_progress(folder.folder / record.CHECKPOINT, tensors, table, TABLE["epochs"])
    return tensors, table


def refused(folder, *said):
    with pytest.raises(WorkshopError) as raised:
        read(folder)
    message = str(raised.value)
    assert message.count("\n") == 3 and "rm -r" in raised.value.next_step and record.CHECKPOINT in message
    assert all(word in message for word in said), message
    assert len(message) < 2000


def header_of(path):
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def write(path, header, rest):
    packed = json.dumps(header).encode()
    path.write_bytes(len(packed).to_bytes(8, "little") + packed + rest)


def test_a_sound_checkpoint(folder):
    tensors, table = read(folder)
    assert table == TABLE and all(np.array_equal(tensors[name], array) for name, array in arrays().items())


EDITS = {
    "seed": 4,
    "epochs": 5,
    "done": 1,
    "accuracies": [0.5, 0.76],
    "resumed": [],
    "threads": 2,
    "data": "mnist",
    "network": "fc1 3x2",
    "data_sha256": "1" * 64,
}


@pytest.mark.parametrize("key", EDITS)
def test_an_edited_entry(folder, key):
    """In the file itself, with a text editor."""
    path = folder.folder / record.CHECKPOINT
    header, rest = header_of(path)
    header["__metadata__"][key] = json.dumps(EDITS[key])
    write(path, header, rest)
    refused(folder, "the file was changed")


@pytest.mark.parametrize("key", TABLE)
def test_a_removed_entry(folder, key):
    path = folder.folder / record.CHECKPOINT
    header, rest = header_of(path)
    del header["__metadata__"][key]
    write(path, header, rest)
    refused(folder)


def test_an_added_entry(folder):
    path = folder.folder / record.CHECKPOINT
    header, rest = header_of(path)
    header["__metadata__"]["lr"] = "0.1"
    write(path, header, rest)
    refused(folder, "the file was changed")


@pytest.mark.parametrize("position", [0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 0.999])
def test_a_flipped_bit(folder, position):
    path = folder.folder / record.CHECKPOINT
    content = bytearray(path.read_bytes())
    content[int(position * len(content))] ^= 4
    path.write_bytes(content)
    refused(folder)


WRONG = {
    "done: text": {"done": "2"},
    "done: a fraction": {"done": 1.5},
    "done: a truth value": {"done": True},
    "done: more than there are": {"done": 9},
    "done: none": {"done": 0},
    "done: negative": {"done": -1},
    "done: huge": {"done": 10**300},
    "accuracies: one too few": {"accuracies": [0.5]},
    "accuracies: text": {"accuracies": ["0.5", "0.6"]},
    "accuracies: above one": {"accuracies": [0.5, 1.5]},
    "accuracies: a table": {"accuracies": {"0": 0.5}},
    "accuracies: nothing": {"accuracies": None},
    "resumed: not in order": {"resumed": [2, 1]},
    "resumed: too late": {"resumed": [3]},
    "resumed: text": {"resumed": "1"},
    "seed: text": {"seed": "three"},
    "seed: negative": {"seed": -3},
    "seed: huge": {"seed": 2**40},
    "epochs: text": {"epochs": "four"},
    "threads: a list": {"threads": [1]},
    "data: unknown": {"data": "cifar"},
    "data: a number": {"data": 3},
    "data: control characters": {"data": "\x1b[2J" * 100},
}


@pytest.mark.parametrize("change", WRONG)
def test_wrong_entries_with_the_right_checksum(folder, change):
    weights.save(folder.folder / record.CHECKPOINT, arrays(), TABLE | WRONG[change])
    refused(folder)


WRONG_ARRAYS = {
    "no losses": {"losses": None},
    "no confusion matrix": {"confusion": None},
    "losses in two dimensions": {"losses": np.ones((2, 2), np.float32)},
    "whole numbers as losses": {"losses": np.ones(4, np.int64)},
    "too few losses": {"losses": np.ones(1, np.float32)},
    "a confusion matrix that is no square": {"confusion": np.ones((2, 3), np.int64)},
    "a confusion matrix in one dimension": {"confusion": np.ones(4, np.int64)},
    "an empty confusion matrix": {"confusion": np.zeros((2, 2), np.int64)},
    "a confusion matrix below zero": {"confusion": np.array([[5, -1], [2, 4]])},
    "truth values": {"confusion": np.ones((2, 2), bool)},
}


@pytest.mark.parametrize("change", WRONG_ARRAYS)
def test_wrong_arrays_with_the_right_checksum(folder, change):
    changed = {name: array for name, array in (arrays() | WRONG_ARRAYS[change]).items() if array is not None}
    weights.save(folder.folder / record.CHECKPOINT, changed, TABLE)
    refused(folder)


def nan(path):
    finite = weights._finite
    weights._finite = lambda _: True
    try:
        weights.save(path, arrays() | {"losses": np.full(4, np.nan, np.float32)}, TABLE)
    finally:
        weights._finite = finite


def earlier(path):
    """As the last version wrote it: the checksum covers the arrays alone."""
    header, rest = header_of(path)
    header["__metadata__"].pop(weights.CHECKSUM_OF_ALL)
    header["__metadata__"][weights.CHECKSUM] = weights.content_sha256(arrays())
    write(path, header, rest)


def of_another_program(path):
    header, rest = header_of(path)
    header["__metadata__"].pop(weights.CHECKSUM_OF_ALL)
    write(path, header, rest)


def as_weights(path):
    weights.save(path, arrays(), {"data": "digits"})


def nested(path):
    table = TABLE | {"resumed": None}
    header, rest = header_of(path)
    header["__metadata__"] = {key: json.dumps(value) for key, value in table.items()} | {"resumed": "[" * 100_000}
    text = {k: v for k, v in header["__metadata__"].items()}
    header["__metadata__"][weights.CHECKSUM_OF_ALL] = weights.content_sha256(arrays(), text)
    write(path, header, rest)


def not_json(path):
    header, rest = header_of(path)
    table = {key: json.dumps(value) for key, value in TABLE.items()} | {"seed": "three"}
    header["__metadata__"] = table | {weights.CHECKSUM_OF_ALL: weights.content_sha256(arrays(), table)}
    write(path, header, rest)


def pickle(path):
    path.write_bytes(b"\x80\x04cos\nsystem\n(S'touch pwned'\ntR.")


def huge_header(path):
    path.write_bytes((2**62).to_bytes(8, "little") + b"{}")


def empty(path):
    path.write_bytes(b"")


def cut(path):
    path.write_bytes(path.read_bytes()[:-3])


def longer(path):
    path.write_bytes(path.read_bytes() + b"more")


def replaced(kind):
    def change(path):
        path.unlink()
        kind(path)

    change.__name__ = kind.__name__
    return change


FILES = (nan, earlier, of_another_program, as_weights, nested, not_json, pickle, huge_header, empty, cut, longer)
FILES += tuple(replaced(kind) for kind in attack.NO_FILES)


@pytest.mark.parametrize("change", FILES, ids=lambda change: change.__name__.replace("_", " "))
def test_files_that_are_no_checkpoint(folder, change):
    change(folder.folder / record.CHECKPOINT)
    refused(folder, *(["earlier version"] if change is earlier else []))
    assert not Path("pwned").exists()


def test_the_file_of_finished_weights_is_as_before(tmp_path):
    """Only checkpoints have the checksum of everything, so that equal runs of two versions write equal weights."""
    weights.save(tmp_path / "weights.safetensors", arrays(), {"data": data.NAMES[0]})
    header, _ = header_of(tmp_path / "weights.safetensors")
    assert header["__metadata__"] == {"data": '"digits"', "content_sha256": weights.content_sha256(arrays())}


# ---------------------------------------------------------------- the end of a run

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks")
# In a process of its own, because a test in this one may have started JAX, whose threads do not survive a fork.
FINISH = """
import os, pathlib, shutil, sys
import workshop.runs.records.crate
from workshop.runs.records import record

folder, changes = pathlib.Path(sys.argv[1]), int(sys.argv[2])  # of the disk, before the kill
left = iter(range(changes))

def killing(function):
    def call(*arguments, **named):
        if next(left, None) is None:
            os._exit(9)
        return function(*arguments, **named)
    return call

for module, name in ((os, "replace"), (os, "rename"), (os, "mkdir"), (shutil, "rmtree"), (os, "unlink")):
    setattr(module, name, killing(getattr(module, name)))
run = record.start("exercise-0", str(folder / "train.py"), str(folder / "run"), seed=0, resume=True)
(run.folder / "result.txt").write_text("1\\n")
record.finish(
    run, (), seed=0, dataset={"name": "d", "sha256": "0" * 64}, determinism={}, device={"type": "cpu", "name": "x"},
    metrics=[{"name": "m", "value": 1}],
)
"""
RESUME = """
import pathlib, sys, time
from workshop.errors import WorkshopError
from workshop.runs.records import record

script, place, go = sys.argv[1:]
record.LOCK_SECONDS = 0.3
print("ready", flush=True)
while not pathlib.Path(go).exists():
    time.sleep(0.001)
try:
    run = record.start("exercise-0", script, place or None, seed=0, resume=True)
except WorkshopError:
    sys.exit(1)
time.sleep(1.5)
sys.exit(0 if run.lock.is_locked else 4)
"""


@forks
@pytest.mark.parametrize("step", range(12))
def test_a_kill_in_the_last_step(tmp_path, command, step):
    """Before each change of the disk: the run is finished, without lock and checkpoint, or it can be resumed."""
    (tmp_path / "train.py").write_text("# a script\n")
    (tmp_path / "run.partial").mkdir()
    weights.save(tmp_path / "run.partial" / record.CHECKPOINT, arrays(), TABLE)
    done = command("-c", FINISH, tmp_path, step)
    assert done.returncode in (0, 9), done.stderr
    place = tmp_path / "run"
    if not place.exists():
        assert (tmp_path / "run.partial" / record.CHECKPOINT).exists()
        assert command("-c", FINISH, tmp_path, 1000).returncode == 0
    assert sorted(path.name for path in place.iterdir()) == ["result.txt", "ro-crate-metadata.json", "run.json"]
    outputs = json.loads((place / "run.json").read_bytes())["outputs"]
    assert [output["path"] for output in outputs] == ["result.txt"]


def test_what_a_kill_after_the_last_step_left_is_not_resumed(tmp_path):
    (tmp_path / "train.py").write_text("# a script\n")
    results = tmp_path / "results" / "exercise-0"
    for place in (results / "done", results / "done.partial"):
        place.mkdir(parents=True)
        (place / ("run.json" if place.suffix == "" else record.CHECKPOINT)).write_text("{}")
    with pytest.raises(WorkshopError, match="found:     none"):
        record.start("exercise-0", str(tmp_path / "train.py"), None, seed=0, resume=True)
    assert not (results / "done.partial").exists()


@forks
@pytest.mark.parametrize("named", [True, False], ids=["named", "the newest"])
@pytest.mark.parametrize(
    "attempt", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)]
)
def test_one_of_three_that_resume_at_once_wins(tmp_path, variables, named, attempt):
    (tmp_path / "train.py").write_text("# a script\n")
    place = tmp_path / "results" / "exercise-0" / "run"
    place.with_suffix(".partial").mkdir(parents=True)
    weights.save(place.with_suffix(".partial") / record.CHECKPOINT, arrays(), TABLE)
    words = ["-c", RESUME, str(tmp_path / "train.py"), str(place) if named else "", str(tmp_path / "go")]
    processes = [forked.start(words, tmp_path, variables) for _ in range(3)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    (tmp_path / "go").touch()
    for process in processes:
        process.communicate()
    assert sorted(process.returncode for process in processes) == [0, 1, 1]
