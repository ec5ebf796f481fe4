"""Checks of files with arbitrary bytes: the result is a message, never a traceback.

Bytes of no meaning, and the real file with a piece of it replaced: the second gets past the first line of a parser.
"""

import json
import os
import shutil

import pytest
from conftest import ROOT
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from workshop import exercises
from workshop.checking import checks, progress, trainings
from workshop.errors import WorkshopError

EXERCISES = exercises.find_all(ROOT)
MANIFESTS = ("pixi.toml", "pixi.lock", "pyproject.toml")
EXAMPLES = settings(
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
# Each example runs all checks of manifest and lock, in 12 cases.
of_each_number = pytest.mark.parametrize("examples", [5, pytest.param(40, marks=pytest.mark.slow)])
PIECES = st.one_of(
    st.binary(max_size=40),
    st.text(max_size=20).map(str.encode),
    st.sampled_from(
        [
            b"\xef\xbb\xbf",
            b"\r\n",
            b"<<<<<<< HEAD\n",
            b"\0",
            b'"',
            b"[",
            b"]]",
            b"= ",
            b"- ",
            b"null",
            b"1e999",
            b"{a = {b = 1}}",
            b"*",
            b"&a",
            b"!!python/object:os.system",
            b"../../../etc/passwd",
        ]
    ),
)


@pytest.fixture
def workspace(tmp_path, request):
    """A copy of a solution's manifest and lock, without the scripts, so that none is run."""
    folder = tmp_path / "solution"
    folder.mkdir()
    for name in ("pixi.toml", "pixi.lock"):
        shutil.copy(request.getfixturevalue("exercise").folder / "solution" / name, folder)
    return folder


@pytest.fixture(params=[e for e in EXERCISES if (e.folder / "solution" / "pixi.toml").exists()], ids=lambda e: e.number)
def exercise(request):
    return request.param


def asked(exercise, folder):
    """Run every check; each result is complete, with all four parts of a message if it fails."""
    for check, answer in checks.run_checks(exercise.checks, checks.Workspace(folder, folder / "scratch")):
        assert answer.status in ("ok", "fail", "skip") and answer.found, (check.number, answer)
        if answer.status == "fail":
            assert answer.looked_at and answer.expected and answer.next_step, answer
        assert "does not understand" not in answer.found, answer


@of_each_number
@pytest.mark.parametrize("name", MANIFESTS)
def test_random_bytes_give_a_message(exercise, workspace, name, examples):
    if name == "pyproject.toml":
        (workspace / "pixi.toml").unlink()

    @settings(EXAMPLES, max_examples=examples)
    @given(content=st.binary(max_size=300))
    @example(content=b"\xef\xbb\xbf[workspace]\r\n")
    def try_one(content):
        (workspace / name).write_bytes(content)
        asked(exercise, workspace)

    try_one()


@pytest.mark.slow  # tests/hostile feeds the parsers in the fast tier
@of_each_number
@pytest.mark.parametrize("name", MANIFESTS)
def test_a_replaced_part_of_a_real_file_gives_a_message(exercise, workspace, name, examples):
    real = (workspace / name.replace("pyproject.toml", "pixi.toml")).read_bytes()
    if name == "pyproject.toml":
        (workspace / "pixi.toml").unlink()
        real = real.replace(b"\n[", b"\n[tool.pixi.")

    @settings(EXAMPLES, max_examples=examples)
    @given(place=st.floats(0, 1), length=st.integers(0, 30), piece=PIECES)
    def try_one(place, length, piece):
        start = int(place * len(real))
        (workspace / name).write_bytes(real[:start] + piece + real[start + length :])
        asked(exercise, workspace)

    try_one()


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["outputs", "path", "sha256", "x"]), inner)
    ),
    max_leaves=8,
)


@settings(EXAMPLES, max_examples=150)
@given(content=st.binary(max_size=100) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_record_of_a_script_gives_a_message(tmp_path, content):
    (tmp_path / "run.json").write_bytes(content)
    try:
        found = trainings.read_record(tmp_path)
        trainings.output_sha256(found, "weights.safetensors")
    except WorkshopError as error:
        assert error.found and error.next_step


@settings(EXAMPLES, max_examples=50)
@given(content=st.binary(max_size=200))
def test_any_weights_file_of_a_script_gives_a_message(tmp_path, content):
    pytest.importorskip("safetensors", reason="weights need safetensors: install the extra cpu")
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    try:
        answer = trainings.problem_with_weights(tmp_path, trainings.sha256_of(path))
        assert answer is None or answer.status == "fail"
    except WorkshopError as error:
        assert error.found and error.next_step


@settings(EXAMPLES, max_examples=100)
@given(content=st.binary(max_size=200) | JSON.map(lambda value: json.dumps({"checks": value}).encode()))
def test_any_progress_file_is_read_or_dropped(tmp_path, content):
    folder = tmp_path / "exercise-9-x"
    (folder / "starter").mkdir(parents=True, exist_ok=True)
    exercise = exercises.Exercise(9, folder, {})
    exercise.__dict__["checks"] = EXERCISES[0].checks
    progress._file(exercise).parent.mkdir(exist_ok=True)
    progress._file(exercise).write_bytes(content)
    assert set(progress.current_status(exercise).values()) == {"not asked"}
