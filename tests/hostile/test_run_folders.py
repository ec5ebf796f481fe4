"""Folders of runs, and zips of them, that somebody sent: `verify`, `compare` and `pack` give one message."""

import json
import shutil
import zipfile

import attack
import pytest

pytest.importorskip("safetensors", reason="the commands about runs need the packages of the scripts")

RECORDS = {
    "nothing": "",
    "a number": "7",
    "a list": "[]",
    "an object": "{}",
    "half": '{"schema": ',
    "not a number": '{"schema": NaN}',
    "deep": "[" * 100_000,
    "deep, closed": "[" * 50_000 + "]" * 50_000,
    "deep objects": '{"a":' * 100_000,
    "an integer of ten thousand digits": '{"seed": ' + "9" * 10_000 + "}",
    "a float of ten thousand digits": '{"seed": 0.' + "9" * 10_000 + "}",
    "the same key ten thousand times": "{" + '"schema": "x",' * 10_000 + '"schema": 1}',
    "half a character": '{"schema": "\\ud800"}',
    "a zero": '{"schema": "\\u0000"}',
    "a schema of 2000": '{"schema": "https://x/2000"}',
    "a long schema": json.dumps({"schema": "x" * 1_000_000}),
    "many keys": json.dumps({f"k{i}": i for i in range(20_000)}),
    "control characters": '{"schema": "\\u001b[2J"}',
    "a byte order mark": "\ufeff{}",
    "UTF-16": "{}".encode("utf-16").decode("latin-1"),
}
COMMANDS = {"verify": ("verify", "--no-rerun"), "compare": ("compare",), "pack": ("pack",)}


def examine(command, path):
    words = COMMANDS[command]
    done = attack.call(*words, *([path] * (2 if command == "compare" else 1)), cwd=path.parent)
    assert done.returncode in (1, 2), (done.stdout, done.stderr)
    attack.answered(done, codes=(1, 2))
    assert len(done.stdout + done.stderr) < 10_000
    assert done.stderr.startswith("looked at:") or done.stdout, done.stderr


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", RECORDS)
def test_records(tmp_path, command, name):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "run.json").write_text(RECORDS[name], encoding="utf-8")
    examine(command, folder)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", attack.NO_FILES, ids=lambda kind: kind.__name__)
def test_records_that_are_no_files(tmp_path, command, kind):
    folder = tmp_path / "run"
    folder.mkdir()
    kind(folder / "run.json")
    examine(command, folder)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", attack.NO_FILES, ids=lambda kind: kind.__name__)
def test_archives_that_are_no_files(tmp_path, command, kind):
    examine(command, kind(tmp_path / "run.zip"))


ARCHIVES = {
    "empty": {},
    "a path above": {"../x": "1", "run.json": "{}"},
    "an absolute path": {"/x": "1", "run.json": "{}"},
    "a folder instead of the record": {"run.json/x": "1"},
    "thousands of files": {f"f{i}": "" for i in range(3000)},
    "a long name": {"a" * 5000: "1"},
    "many folders": {"a/" * 1000 + "x": "1"},
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", ARCHIVES)
def test_archives(tmp_path, command, name):
    with zipfile.ZipFile(tmp_path / "run.zip", "w") as archive:
        for entry, text in ARCHIVES[name].items():
            archive.writestr(entry, text)
    examine(command, tmp_path / "run.zip")
    assert not (tmp_path.parent / "x").exists()


@pytest.mark.parametrize("kind", attack.NO_FILES, ids=lambda kind: kind.__name__)
def test_runs_beside_things_that_are_no_files(tmp_path, monkeypatch, kind):
    (tmp_path / "exercise-1-x").mkdir()
    (tmp_path / "exercise-1-x/exercise.toml").write_text('title = "x"\n')
    folder = tmp_path / "results/exercise-1-x/run"
    folder.mkdir(parents=True)
    kind(folder / "run.json")
    done = attack.call("runs", cwd=tmp_path)
    assert done.returncode in (0, 1)
    attack.answered(done)
    shutil.rmtree(folder)
