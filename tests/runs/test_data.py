"""The data sets: the same bytes everywhere, whatever happens to the cache, and nobody on both sides of the split."""

import gzip
import hashlib
import multiprocessing
import os
import socket
import subprocess
import sys

import numpy as np
import pytest

from workshop.errors import WorkshopError
from workshop.runs import data

pytest.importorskip("sklearn", reason="the digits ship with scikit-learn")

# The sha256 of the content, pinned here a second time: changing the data must take two hands.
DIGITS = "d3572a480762a6e9f8362aacd77a2cea1026721c43f8530cb475b2c256f8fee0"
DIGITS_60K = "cc4ea990fe6218b624d6dfb9a258a814d91f3ad45b4059cf18904728873273d7"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKSHOP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def made():
    return data._make_digits_60k()


def test_digits(cache):
    found = data.load("digits")
    assert found.sha256 == DIGITS
    assert found.x_train.shape == (1497, 8, 8) and found.x_test.shape == (300, 8, 8)
    assert found.x_train.dtype == found.y_train.dtype == np.uint8
    assert (np.bincount(found.y_test) == 30).all()


def test_digits_60k_has_the_shape_of_mnist_and_the_pinned_bytes(made):
    x_train, y_train, x_test, y_test = made
    assert data.content_sha256(made) == DIGITS_60K
    assert x_train.shape == (60_000, 28, 28) and x_test.shape == (10_000, 28, 28)
    assert {a.dtype for a in made} == {np.dtype(np.uint8)}
    assert x_train.max() > 200 and 30 < x_train.mean() < 80
    for labels in (y_train, y_test):
        assert np.bincount(labels).min() > 0.08 * len(labels)


def test_no_source_digit_on_both_sides_of_the_split(made):
    images, _, test_images, _ = data._source_digits()
    train, test = ({image.tobytes() for image in part} for part in (images, test_images))
    assert len(images) + len(test_images) == 1797
    assert not train & test
    # And the made images: those for testing come from the test sources alone. Drawn from each side, they differ.
    drawn, _ = data._augment(data._enlarge(test_images), np.arange(300) % 10, 10_000, data.SPLIT_SEED + 2)
    assert (drawn == made[2]).all()


def test_the_cache_is_used_and_a_damaged_one_is_made_again(cache, capsys):
    first = data.load("digits-60k")
    (path,) = cache.glob("digits-60k-*.npz")
    stamp = path.stat().st_mtime_ns
    assert data.load("digits-60k").sha256 == first.sha256
    assert path.stat().st_mtime_ns == stamp
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:5000] + b"\xff" + whole[5001:], b"", b"no archive"):
        path.write_bytes(damaged)
        assert data.load("digits-60k").sha256 == DIGITS_60K
        assert "damaged" in capsys.readouterr().err
        assert path.stat().st_size == len(whole)
    assert not list(cache.glob(".*"))


def _load_in_a_process(_):
    return data.load("digits-60k").sha256


def test_two_processes_build_it_at_once(cache):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.map(_load_in_a_process, range(2), chunksize=1) == [DIGITS_60K] * 2
    assert len(list(cache.iterdir())) == 1


def test_a_cache_that_cannot_be_written_is_no_reason_to_stop(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("WORKSHOP_CACHE", str(tmp_path / "file" / "cache"))
    assert data.load("digits").sha256 == DIGITS
    assert "without a cache" in capsys.readouterr().err


def test_no_network_is_touched(cache, monkeypatch):
    def refuse(*_):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    assert data.load("digits").sha256 == DIGITS


def test_the_cache_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("WORKSHOP_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert data.cache_folder() == tmp_path / "reproducible-ml-workflows"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    assert data.cache_folder().parts[-2:] == (".cache", "reproducible-ml-workflows")
    monkeypatch.setenv("WORKSHOP_CACHE", str(tmp_path / "ours"))
    assert data.cache_folder() == tmp_path / "ours"


def test_made_in_a_process_of_other_settings():
    """Hash seed, locale and threads have no say in the bytes."""
    code = "from workshop.runs import data; print(data.content_sha256(data._make_digits()))"
    environment = os.environ | {"PYTHONHASHSEED": "7", "LC_ALL": "C", "OMP_NUM_THREADS": "2"}
    environment["PYTHONPATH"] = os.path.dirname(os.path.dirname(data.__file__))
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == DIGITS


def _idx(array: np.ndarray) -> bytes:
    head = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return gzip.compress(head + array.tobytes(), mtime=0)


def test_downloaded_files_are_read_from_the_cache_and_checked(cache, monkeypatch):
    """Four small files in the published format, with their own sums pinned: this is how files put there by hand go."""
    images, labels = np.arange(2 * 28 * 28, dtype=np.uint8).reshape(2, 28, 28), np.array([3, 4], np.uint8)
    contents = dict(zip(data.DOWNLOADED["mnist"], map(_idx, (images, labels, images[:1], labels[:1])), strict=True))
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    monkeypatch.setitem(data.DOWNLOADED, "mnist", sums)
    (cache / "mnist").mkdir(parents=True)
    for name, content in contents.items():
        (cache / "mnist" / name).write_bytes(content)
    found = data.load("mnist")
    assert (found.x_train == images).all() and (found.y_test == labels[:1]).all()
    (cache / "mnist" / "t10k-labels-idx1-ubyte.gz").write_bytes(_idx(labels))
    with pytest.raises(WorkshopError, match="t10k-labels.*\n.*sha256"):
        data.load("mnist")


def test_as_28x28_keeps_the_picture():
    image = np.arange(64, dtype=np.uint8).reshape(1, 8, 8)
    big = data.as_28x28(image)
    assert big.shape == (1, 28, 28)
    assert (big[0, 3:26:3, 3:26:3] == image[0]).all()
    assert big[0, :2].sum() == big[0, -2:].sum() == 0


def test_epoch_order_is_a_permutation_that_depends_on_seed_and_epoch():
    orders = [tuple(data.epoch_order(seed, epoch, 1000)) for seed in (0, 1) for epoch in (0, 1)]
    assert all(sorted(order) == list(range(1000)) for order in orders)
    assert len(set(orders)) == 4
