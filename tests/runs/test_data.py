"""The data sets: the same bytes everywhere, whatever happens to the cache, and no digit in both parts of the split."""

import gzip
import hashlib
import http.server
import multiprocessing
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import later
import numpy as np
import pytest

from workshop.errors import WorkshopError
from workshop.runs import data

later.or_skip("sklearn", reason="the digits ship with scikit-learn")

# The sha256 of the content, pinned here a second time: changing the data must take two hands.
DIGITS = "d3572a480762a6e9f8362aacd77a2cea1026721c43f8530cb475b2c256f8fee0"
COMMON = str(Path(data.__file__).parents[2])
DIGITS_60K = "cc4ea990fe6218b624d6dfb9a258a814d91f3ad45b4059cf18904728873273d7"
of_each_size = pytest.mark.parametrize(
    ("name", "sha256"), [("digits", DIGITS), pytest.param("digits-60k", DIGITS_60K, marks=pytest.mark.slow)]
)


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


def test_no_source_digit_is_in_both_parts_of_the_split(made):
    images, _, test_images, _ = data._source_digits()
    train, test = ({image.tobytes() for image in part} for part in (images, test_images))
    assert len(images) + len(test_images) == 1797
    assert not train & test
    # And the made images: those for testing come from the test sources alone. Drawn from each side, they differ.
    drawn, _ = data._augment(data._enlarge(test_images), np.arange(300) % 10, 10_000, data.SPLIT_SEED + 2)
    assert (drawn == made[2]).all()


@of_each_size
def test_the_cache_is_used_and_a_damaged_one_is_replaced(cache, capsys, name, sha256):
    first = data.load(name)
    (path,) = cache.glob(f"{name}-*.npz")
    stamp = path.stat().st_mtime_ns
    assert data.load(name).sha256 == first.sha256
    assert path.stat().st_mtime_ns == stamp
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:5000] + b"\xff" + whole[5001:], b"", b"no archive"):
        path.write_bytes(damaged)
        assert data.load(name).sha256 == sha256
        assert "damaged" in capsys.readouterr().err
        assert path.stat().st_size == len(whole)
    assert not list(cache.glob(".*"))


def _load_in_a_process(name):
    return data.load(name).sha256


@of_each_size
def test_two_processes_generate_the_data_at_once(cache, name, sha256):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.map(_load_in_a_process, [name] * 2, chunksize=1) == [sha256] * 2
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


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="each system has its own cache folder")
def test_the_caches_of_earlier_versions_are_still_found(monkeypatch, tmp_path):
    for name in ("WORKSHOP_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data.cache_folder() == tmp_path / ".cache" / "reproducible-ml-workflows"


def test_other_settings_of_the_process_give_the_same_bytes():
    """Hash seed, locale and threads do not change the bytes."""
    code = "from workshop.runs import data; print(data.content_sha256(data._make_digits()))"
    environment = os.environ | {"PYTHONHASHSEED": "7", "LC_ALL": "C", "OMP_NUM_THREADS": "2"}
    environment["PYTHONPATH"] = COMMON
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == DIGITS


def _idx(array: np.ndarray) -> bytes:
    head = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return gzip.compress(head + array.tobytes(), mtime=0)


IMAGES = np.arange(2 * 28 * 28, dtype=np.uint8).reshape(2, 28, 28)
LABELS = np.array([3, 4], np.uint8)
SMALL = dict(zip(data.DOWNLOADED["mnist"], map(_idx, (IMAGES, LABELS, IMAGES[:1], LABELS[:1])), strict=True))
SUMS = {name: hashlib.sha256(content).hexdigest() for name, content in SMALL.items()}


def gz_files(cache):
    return sorted(path.name for path in cache.rglob("*.gz"))


@pytest.fixture
def mnist_folder(cache, monkeypatch):
    """The folder of a stand-in for MNIST: four small files in the published format, with their sha256 pinned."""
    monkeypatch.setitem(data.DOWNLOADED, "mnist", SUMS)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return cache / "mnist"


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves SMALL under /good/, and damages it in different ways elsewhere."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        _, way, name = self.path.split("/")
        self.server.requested.append(self.path)
        content = SMALL[name]
        if way == "absent":
            return self.send_error(404)
        if way == "hangs" or (way == "stops" and name.startswith("t10k-images")):
            self.server.released.wait(30)
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if way == "moved":
            content = b"sorry, moved"[: len(content)].ljust(len(content))
        self.wfile.write(content[: len(content) // 2] if way == "half" else content)
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.requested, server.released = [], threading.Event()
        server.address = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.released.set()
        server.shutdown()


def mirrors(monkeypatch, server, *ways):
    monkeypatch.setitem(data.MIRRORS, "mnist", tuple(f"{server.address}/{way}/" for way in ways))


def test_a_download_happens_once(mnist_folder, server, monkeypatch, capsys):
    mirrors(monkeypatch, server, "good")
    first = data.load("mnist")
    assert (first.x_train == IMAGES).all() and (first.y_test == LABELS[:1]).all()
    assert sorted(path.name for path in mnist_folder.iterdir()) == sorted(SMALL)
    if os.name == "posix":
        assert {path.stat().st_mode & 0o777 for path in mnist_folder.iterdir()} == {0o644}
    assert "downloading mnist" in capsys.readouterr().err
    assert data.load("mnist").sha256 == first.sha256 and len(server.requested) == 4
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("way", ["absent", "moved", "half", "hangs"])
def test_the_second_mirror_is_tried(mnist_folder, server, monkeypatch, way):
    monkeypatch.setattr(data, "TIMEOUT", 0.3)
    mirrors(monkeypatch, server, way, "good")
    assert (data.load("mnist").x_train == IMAGES).all()


@pytest.mark.parametrize(
    "way, found",
    [
        ("absent", "127.0.0.1 answered 404 Not Found"),
        ("moved", "127.0.0.1 sent other bytes"),
        ("half", "127.0.0.1"),
        ("hangs", "did not answer within 0.3 seconds"),
    ],
)
def test_a_broken_download_leaves_nothing(mnist_folder, server, monkeypatch, way, found):
    monkeypatch.setattr(data, "TIMEOUT", 0.3)
    mirrors(monkeypatch, server, way)
    with pytest.raises(WorkshopError) as error:
        data.load("mnist")
    assert found in error.value.found and "digits-60k" in error.value.next_step
    assert str(mnist_folder) in error.value.next_step and "train-images-idx3-ubyte.gz" in error.value.next_step
    assert not list(mnist_folder.iterdir())


def test_without_a_network(mnist_folder, monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}/"
    monkeypatch.setitem(data.MIRRORS, "mnist", (address, address))
    with pytest.raises(WorkshopError, match="no connection to 127.0.0.1; no connection to 127.0.0.1"):
        data.load("mnist")


def test_only_missing_files_are_downloaded(mnist_folder, server, monkeypatch):
    monkeypatch.setattr(data, "TIMEOUT", 0.3)
    mirrors(monkeypatch, server, "stops")  # after the two files to train on
    with pytest.raises(WorkshopError, match="t10k-images"):
        data.load("mnist")
    assert gz_files(mnist_folder) == ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"]
    server.requested.clear()
    mirrors(monkeypatch, server, "good")
    assert (data.load("mnist").x_test == IMAGES[:1]).all()
    assert server.requested == ["/good/t10k-images-idx3-ubyte.gz", "/good/t10k-labels-idx1-ubyte.gz"]


def start_load(server, way):
    """A separate process that loads the stand-in for MNIST."""
    code = (
        f"from workshop.runs import data; data.DOWNLOADED['mnist'] = {SUMS}\n"
        f"data.MIRRORS['mnist'] = ('{server.address}/{way}/',); print(data.load('mnist').sha256)"
    )
    environment = os.environ | {"PYTHONPATH": COMMON}
    return subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)


def test_two_processes_download_at_once(mnist_folder, server):
    both = [start_load(server, "good") for _ in range(2)]
    sums = {process.communicate(timeout=60)[0].strip() for process in both}
    assert len(sums) == 1 and all(process.returncode == 0 for process in both)
    assert sorted(path.name for path in mnist_folder.iterdir()) == sorted(SMALL)


def test_a_download_that_is_killed(mnist_folder, server, monkeypatch):
    process = start_load(server, "stops")
    while not any("t10k-images" in path for path in server.requested):
        time.sleep(0.05)
        assert process.poll() is None
    process.kill()
    process.communicate(timeout=60)
    assert all(
        hashlib.sha256((mnist_folder / name).read_bytes()).hexdigest() == SUMS[name]
        for name in SUMS
        if (mnist_folder / name).exists()
    )
    mirrors(monkeypatch, server, "good")
    assert (data.load("mnist").x_train == IMAGES).all()


def test_a_cache_that_cannot_keep_a_download(tmp_path, monkeypatch, server):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("WORKSHOP_CACHE", str(tmp_path / "file" / "cache"))
    mirrors(monkeypatch, server, "good")
    with pytest.raises(WorkshopError, match="WORKSHOP_CACHE"):
        data.load("mnist")
    assert not server.requested


def test_files_put_there_by_hand_are_read_and_checked(mnist_folder):
    mnist_folder.mkdir(parents=True)
    for name, content in SMALL.items():
        (mnist_folder / name).write_bytes(content)
    found = data.load("mnist")
    assert (found.x_train == IMAGES).all() and (found.y_test == LABELS[:1]).all()
    (mnist_folder / "t10k-labels-idx1-ubyte.gz").write_bytes(_idx(LABELS))
    with pytest.raises(WorkshopError, match="t10k-labels.*\n.*sha256"):
        data.load("mnist")


def test_a_run_without_a_download_imports_neither_pooch_nor_a_lock_reader():
    code = "import sys; from workshop.runs import data; sys.exit(bool({'pooch', 'rattler'} & set(sys.modules)))"
    environment = os.environ | {"PYTHONPATH": COMMON}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0


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
