"""The figures of a run: PNG and SVG with the same bytes every time, readable also after a short training."""

import itertools

import numpy as np
import pytest

from workshop.runs import figures
from workshop.runs.search import contour
from workshop.support import drawing

# Losses (from, to, steps, spread of their logarithm), accuracies after each epoch, accuracy before the training.
TRAININGS = {
    "digits, 12 epochs": ((2.3, 3e-4, 552, 2.0), [0.93, 0.96, 0.927, 0.937, 0.98] + [0.99] * 7, None),
    "one epoch": ((2.3, 0.1, 46, 0.5), [0.9975], None),
    "no mistakes": ((2.3, 1e-5, 552, 1.0), [1.0] * 12, None),
    "continued": ((2.3, 0.8, 46, 0.1), [0.986], 0.31),
}


def losses(first, last, steps, spread):
    noise = spread * np.random.default_rng(0).normal(size=steps)
    return np.exp(np.linspace(np.log(first), np.log(last), steps) + noise).astype(np.float32)


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved, without writing them."""
    saved = []
    monkeypatch.setattr(drawing, "save", lambda figure, path: saved.append(figure))
    return saved


@pytest.mark.parametrize("name", TRAININGS)
def test_labels_do_not_overlap_and_accuracies_end_at_100_percent(drawn, tmp_path, name):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    values, accuracies, before = TRAININGS[name]
    figures.learning_curve(tmp_path / "curve.png", losses(*values), accuracies, name, before)
    [figure] = drawn
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            boxes = [
                label.get_window_extent(renderer)
                for label, at in zip(
                    (*axis.get_majorticklabels(), *axis.get_minorticklabels()),
                    (*axis.get_majorticklocs(), *axis.get_minorticklocs()),
                    strict=True,
                )
                if label.get_text() and low <= at <= high
            ]
            boxes.append(axis.label.get_window_extent(renderer))
            assert not [1 for one, other in itertools.combinations(boxes, 2) if one.overlaps(other)], axis
            others = [other.get_window_extent(renderer) for other in figure.axes if other is not axes]
            assert not [1 for box in boxes for other in others if box.overlaps(other)], axis
            assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes), axis
    low, high = figure.axes[1].get_ylim()
    assert 0 <= low < high <= 100


def test_equal_figures_are_equal_files(tmp_path):
    masses, cls = np.array([[350.0], [400.0], [450.0]]), np.array([0.01, 0.04, 0.3])
    line = (["m1_GeV"], masses, cls, np.tile(cls[:, None], 5), "title")
    for name in ("one", "other"):
        assert contour.draw(tmp_path / f"{name}.png", *line)
    for suffix in (".png", ".svg"):
        one, other = ((tmp_path / f"{name}{suffix}").read_bytes() for name in ("one", "other"))
        assert one == other and b"Matplotlib" not in one and b"<dc:date>" not in one
    assert b"<svg" in one
    contour.draw(tmp_path / "live.png", *line, vector=False)
    assert not (tmp_path / "live.svg").exists()
