"""Two runs side by side: numbers inside outputs, what was measured about a difference, and the figures in one picture."""

import json
import shutil

import numpy as np
import pytest
from changed import other_bytes, rewrite
from conftest import record_of

from workshop.errors import WorkshopError
from workshop.runs.search import CLS_TOLERANCE
from workshop.verification import beside, received, verify
from workshop.verification.comparing import causes, comparison, contents, drawing


def limits(folder, **changed):
    """A limits.json with two hypotheses."""
    folder.mkdir()
    numbers = {"name": "a", "labels": {"m": 1}, "converged": True, "cls_obs": 0.5, "cls_exp": [0.1, 0.2, 0.3, 0.4, 0.5]}
    failed = {"name": "b", "labels": {"m": 2}, "converged": False, "cls_obs": None, "cls_exp": None}
    (folder / "limits.json").write_text(json.dumps({"hypotheses": [numbers | changed, failed]}))
    return folder


def test_where_a_run_and_its_copies_are_written_is_not_compared():
    """A rerun must not write the copy of limits.json again: it would replace the person's file."""
    words = [
        "exclusion.py",
        "--limits",
        "limits.json",
        "--seed",
        "3",
        "--output=here",
        "--limits=there.json",
        "--resume",
    ]
    assert comparison.arguments_of({"argv": words}) == ["--seed", "3"]


@pytest.mark.parametrize(
    ("changed", "same", "words"),
    [
        ({"cls_obs": 0.5 + 0.5 * CLS_TOLERANCE}, True, "tolerance 1e-09: float64"),
        ({"cls_exp": [0.1, 0.2, 0.3, 0.4, 0.5 + 2 * CLS_TOLERANCE]}, False, "largest difference 2e-09"),
        ({"name": "other"}, False, "other hypotheses"),
        ({"converged": False}, False, "did not converge"),
        ({"cls_exp": None}, False, "cannot be read"),
    ],
)
def test_cls_are_compared_with_their_tolerance(tmp_path, changed, same, words):
    [row] = contents.rows(limits(tmp_path / "a"), limits(tmp_path / "b", **changed), {})
    assert row.same is same and words in row.note


def test_equal_files_need_no_row(tmp_path):
    assert [*contents.rows(limits(tmp_path / "a"), limits(tmp_path / "b"), {})] == []


@pytest.mark.parametrize(("shift", "same"), [(1e-6, True), (1e-4, False)])
def test_logits_are_compared_with_the_tolerance_of_the_record(tmp_path, shift, same):
    from safetensors.numpy import save_file

    for name, more in (("a", 0.0), ("b", shift)):
        (tmp_path / name).mkdir()
        save_file({"logits": np.array([[1.0, -2.0 + more]])}, tmp_path / name / "logits.safetensors")
    tolerance = {"relative": 1e-5, "reason": "rounding"}
    folders = tmp_path / "a", tmp_path / "b"
    [row] = contents.rows(*folders, {"comparison": {"tolerance": tolerance}})
    assert row.same is same and "rounding" in row.note
    [row] = contents.rows(*folders, {})
    assert row.same is None and "not judged" in row.note


ROWS = [
    {
        "exercise": 2,
        "change": "two threads",
        "shown_as": ["device: threads"],
        "same_bytes": False,
        "effect": {"x": 0.25, "y": 0},
    },
    {"exercise": 2, "change": "MKL", "shown_as": ["variable MKL"], "same_bytes": True, "effect": {}},
    {"exercise": 2, "change": "another run", "same_bytes": True},
]


@pytest.fixture
def measured(monkeypatch):
    monkeypatch.setattr(causes, "_rows", lambda: ROWS)


def test_what_was_measured_about_a_difference(measured):
    assert causes.measured("device: threads", "exercise-2-pytorch-cu12") == (
        "known to change the bits of this exercise: two threads changed x by 0.25 (benchmarks/determinism.json)"
    )
    assert "did not change a bit" in causes.measured("variable MKL", "exercise-2-pytorch-cu12")
    assert causes.measured("device: threads", "exercise-3-jax-cu118") == causes.measured("driver", "x") == ""


def test_the_verdict_names_the_likely_cause(measured, one_epoch, tmp_path):
    """Threads rather than the packages that differ as well."""
    folder = shutil.copytree(one_epoch, tmp_path / "other")
    other_bytes(folder)

    def change(document):
        document["device"]["threads"] = 2
        document["packages"]["matplotlib"] = "1.0"

    rewrite(folder, change)
    answer = verify.compare(received.read(one_epoch), received.read(folder), [])
    assert answer.verdict == "within tolerance" and "most likely because of device: threads" in answer.reason
    assert any("two threads changed x" in line for line in verify.lines_of(answer))


def test_a_flag_of_xla_that_is_stated_twice_is_no_difference(one_epoch, tmp_path):
    """Exercise 3's script adds its flag to those that it finds, and `verify` sets those that were recorded."""
    folders = [shutil.copytree(one_epoch, tmp_path / str(times)) for times in (1, 2)]
    for times, folder in enumerate(folders, 1):
        rewrite(
            folder, lambda document, times=times: document["variables"].update(XLA_FLAGS=" ".join(["--a=1"] * times))
        )
    assert comparison.differences(*map(received.read, folders)) == []
    rewrite(folders[1], lambda document: document["variables"].update(XLA_FLAGS="--a=1 --b=2"))
    assert [row.name for row in comparison.differences(*map(received.read, folders))] == ["variable XLA_FLAGS"]


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_metric_that_is_not_finite_is_not_reproduced(one_epoch, tmp_path, value):
    folder = shutil.copytree(one_epoch, tmp_path / "other")
    for first, second in ((one_epoch, folder), (folder, one_epoch)):
        run, other = received.read(first), received.read(second)
        changed = run if first is folder else other
        changed.record["metrics"][0]["value"] = value
        row = comparison.metrics(run, other)[0]
        assert row.same is False and row.note == "not a finite number"


def test_values_are_shortened_for_a_line():
    assert verify.short(None) == "nothing" and verify.short(3) == "3" and verify.short("") == ""
    assert verify.short(f"digits {'0a' * 32}") == "digits 0a0a0a0a0a0a..."


def test_the_figures_of_two_runs_in_one_picture(tmp_path):
    """Same, changed, and in one run alone; equal runs give equal files."""
    import matplotlib.image

    white, changed = np.ones((12, 16, 3)), np.ones((12, 16, 3))
    changed[:6] = 0.2
    figures = {"a": {"same": white, "changed": white, "alone": white}, "b": {"same": white, "changed": changed}}
    for run, images in figures.items():
        (tmp_path / run).mkdir()
        for name, pixels in images.items():
            matplotlib.image.imsave(tmp_path / run / f"{name}.png", pixels)
    target, folders = tmp_path / "both.png", (tmp_path / "a", tmp_path / "b")
    assert drawing.draw(target, folders, ("A", "B")) == ["alone.png", "changed.png", "same.png"]
    first = target.read_bytes()
    drawing.draw(target, folders, ("A", "B"))
    assert target.read_bytes() == first
    red = np.isclose(matplotlib.image.imread(target)[..., :3], drawing.RED, atol=0.01).all(axis=2)
    rows, columns = np.nonzero(red)
    height, width = red.shape
    assert rows.min() > height / 3 and rows.max() < 2 * height / 3 and columns.min() > 2 * width / 3


def test_compare_names_the_file_with_the_figures(one_epoch, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(drawing, "draw", lambda target, folders, titles: target.write_bytes(b""))
    assert beside.main(str(one_epoch), str(one_epoch), str(tmp_path / "both.png"), as_json=False) == 0
    assert str(tmp_path / "both.png") in capsys.readouterr().out and (tmp_path / "both.png").exists()


def test_no_figures_to_draw(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "a/damaged.png").write_bytes(b"no picture")
    assert drawing.pixels(tmp_path / "a/damaged.png") is None
    with pytest.raises(WorkshopError, match="none"):
        drawing.draw(tmp_path / "both.png", (tmp_path / "b", tmp_path / "b"), ("A", "B"))


def test_a_run_on_a_gpu_is_compared_with_one_on_the_cpu(one_epoch, tmp_path):
    """Other bits within the tolerance are explained by the device."""
    gpu = shutil.copytree(one_epoch, tmp_path / "gpu")
    other_bytes(gpu)

    def change(document):
        document["device"] = {"type": "cuda", "name": "NVIDIA H100 80GB HBM3"}
        document["host"].update(gpu="NVIDIA H100 80GB HBM3", driver="580.159.04")

    rewrite(gpu, change)
    answer = verify.compare(received.read(gpu), received.read(one_epoch), [])
    assert answer.verdict == "within tolerance"
    assert {"device: name", "device: type", "driver"} <= {row.name for row in answer.differences}
    assert record_of(gpu)["device"]["type"] == "cuda"
