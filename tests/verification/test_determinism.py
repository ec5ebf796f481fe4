"""The same bits in every run, whatever surrounds it, and after every kill. benchmarks/determinism.py makes the changes."""

import functools
import json
import os
import sys

import pytest
from conftest import ROOT

sys.path.append(str(ROOT / "benchmarks"))
import determinism

from workshop.runs.records import provenance
from workshop.verification.comparing import causes

LIMITS, TORCH, *OTHERS = determinism.SUBJECTS
posix = pytest.mark.skipif(os.name != "posix", reason="the runs are forks, which Windows does not have")


def name_of(subject):
    """`2-training`, or a number of kills as it is."""
    return str(subject) if isinstance(subject, int) else f"{subject.exercise} {subject.name}".replace(" ", "-")


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    return determinism.Session(tmp_path_factory.mktemp("determinism"))


@pytest.fixture(scope="module")
def surroundings(session):
    return determinism.surroundings(session)


@pytest.fixture(scope="module")
def in_a_fork(session):
    """The outputs of a new run in a fork, without any change."""

    def run(subject):
        if subject.framework == "jax":
            pytest.importorskip("flax", reason="this script needs JAX: install the extra cpu")
        output = session.folder()
        session.complete(subject, session.words(subject, determinism.Where(), output))
        return determinism.outputs_of(output)

    return run


@pytest.fixture(scope="module")
def first_run(in_a_fork):
    """The outputs of the first run in a fork, which all tests compare with."""
    return functools.cache(in_a_fork)


@pytest.mark.slow
@posix
@pytest.mark.parametrize("change", determinism.UNCHANGED)
def test_one_change_does_not_change_a_byte(session, surroundings, first_run, change):
    """Exercise 1, which is fast. The benchmark does this with every exercise."""
    if isinstance(surroundings[change], str):
        pytest.skip(surroundings[change])
    assert determinism.outputs_of(session.run(LIMITS, surroundings[change])) == first_run(LIMITS)


@pytest.mark.slow
@posix
@pytest.mark.parametrize("subject", [TORCH, *OTHERS], ids=name_of)
def test_five_runs_give_the_same_bits(session, surroundings, first_run, in_a_fork, subject):
    """Four forks; and a process with everything changed at once: virtual environment, clock, locale, user and so on."""
    runs = [first_run(subject), *(in_a_fork(subject) for _ in range(3))]
    runs.append(determinism.outputs_of(session.run(subject, determinism.combined(surroundings))))
    assert runs[0] and all(run == runs[0] for run in runs)


@pytest.mark.slow
@posix
@pytest.mark.parametrize(("subject", "kills"), [(LIMITS, 5), (TORCH, 20), *((each, 5) for each in OTHERS)], ids=name_of)
def test_kills_at_random_moments(session, first_run, subject, kills):
    found = determinism.killed(session, subject, first_run(subject), kills)
    assert found["same_bytes"] and found["kills"] == kills, found
    assert found["resumed"] or not subject.resumable or kills < 20, found


# ---------------------------------------------------------------- the figures

MEASURED = json.loads((ROOT / causes.MEASURED).read_text(encoding="utf-8"))["rows"]


@pytest.mark.parametrize("subject", determinism.SUBJECTS, ids=name_of)
def test_nothing_that_must_not_changed_a_byte(subject):
    rows = [row for row in MEASURED if (row["exercise"], row["what"]) == (subject.exercise, subject.name)]
    kept = {row["change"]: row for row in rows if row.get("must_not")}
    runs, kills = list(determinism.UNCHANGED)[:4], "kills at random moments"
    assert kept.keys() in ({*determinism.UNCHANGED, kills}, {*runs, determinism.TOGETHER, kills})
    assert all(row["same_bytes"] for row in kept.values())
    assert kept["kills at random moments"]["kills"] == 20
    assert kept["kills at random moments"]["resumed"] >= (5 if subject.resumable else 0)


def test_every_change_is_recorded_in_runs_and_known_to_verify():
    for change, (_, variables, _, shown_as) in determinism.CHANGED.items():
        assert all(name.startswith(provenance.NUMERIC_VARIABLES) for name in variables), change
        assert all(f"variable {name}" in shown_as for name in variables), change
    changed = [row for row in MEASURED if row.get("same_bytes") is False and row["change"] != "another seed"]
    assert {row["exercise"] for row in changed} == {1, 2, 3, 4, 5}
    for row in changed:
        folder = next(ROOT.glob(f"exercise-{row['exercise']}-*")).name
        assert any(causes.measured(name, folder).startswith(causes.KNOWN) for name in row["shown_as"]), row


def test_the_page_has_the_measured_table():
    page = (ROOT / "docs/determinism.md").read_text(encoding="utf-8")
    assert "\n".join(determinism.table(MEASURED)) in page
    assert all(change.partition(" ")[2] in page for change in list(determinism.UNCHANGED)[4:])
