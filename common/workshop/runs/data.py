"""The data sets: uint8 arrays with the same bytes on every machine, verified by their sha256.

| name            | images        | from                                                   | network |
|-----------------|---------------|--------------------------------------------------------|---------|
| `digits`        | 1,797 of 8x8  | handwritten digits that ship with scikit-learn         | none    |
| `digits-60k`    | 70,000, 28x28 | made here from those digits, shaped like MNIST         | none    |
| `mnist`         | 70,000, 28x28 | downloaded by pooch, compared with pinned sha256       | once    |
| `fashion-mnist` | 70,000, 28x28 | downloaded by pooch, compared with pinned sha256       | once    |
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import platformdirs

from workshop.errors import WorkshopError
from workshop.support.files import write_atomic
from workshop.support.text import closest_match

NAMES = ("digits", "digits-60k", "mnist", "fashion-mnist")
DIGIT_CLASSES = tuple("0123456789")
FASHION_CLASSES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")

# The sha256 of the two generated data sets (see `content_sha256`). If a machine or a NumPy release gives another one,
# that is a bug to report.
BUILT_SHA256 = {
    "digits": "d3572a480762a6e9f8362aacd77a2cea1026721c43f8530cb475b2c256f8fee0",
    "digits-60k": "cc4ea990fe6218b624d6dfb9a258a814d91f3ad45b4059cf18904728873273d7",
}
# The four files of each downloaded set, as their authors publish them (IDX format, gzip).
DOWNLOADED = {
    "mnist": {
        "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    },
    "fashion-mnist": {
        "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    },
}
# Where to download these files: the address given by the authors or by torchvision, then a second one.
MIRRORS = {
    "mnist": ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
    "fashion-mnist": (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ),
}
TIMEOUT = 30  # seconds without data; a firewall may drop packets silently
CACHE_NAME = "reproducible-ml-workflows"
TURNED = " turned by 90 degrees"  # suffix of the name of a rotated data set
SPLIT_SEED = 20260101  # fixed, so that the data set does not depend on the seed of a run


@dataclass(frozen=True)
class Dataset:
    """Images and labels, split into train and test.

    x_train, x_test: uint8, shape (n, height, width), 0 is background.
    y_train, y_test: uint8, shape (n,), index into `classes`.
    sha256: of the content (`content_sha256`), independent of the file format.
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    classes: tuple[str, ...]
    sha256: str

    def as_28x28(self) -> Dataset:
        """The same data set with images of shape (n, 28, 28), as the networks need them, and int64 labels."""
        return dataclasses.replace(
            self,
            x_train=as_28x28(self.x_train),
            x_test=as_28x28(self.x_test),
            y_train=self.y_train.astype(np.int64),
            y_test=self.y_test.astype(np.int64),
        )

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Training images and labels, then test images and labels."""
        return self.x_train, self.y_train, self.x_test, self.y_test

    def turned(self) -> Dataset:
        """The same images in 28x28, rotated by 90 degrees to the left: a new task for weights trained before."""
        x_train, x_test = (
            np.ascontiguousarray(np.rot90(as_28x28(x), axes=(1, 2))) for x in (self.x_train, self.x_test)
        )
        sha256 = content_sha256((x_train, self.y_train.astype(np.uint8), x_test, self.y_test.astype(np.uint8)))
        return dataclasses.replace(self, name=self.name + TURNED, x_train=x_train, x_test=x_test, sha256=sha256)


def load(name: str) -> Dataset:
    """The data set `name`, from the cache if it is complete there, otherwise generated or downloaded.

    A name that ends in TURNED means the same images rotated by 90 degrees.

    Raises WorkshopError for an unknown name, a wrong checksum, or a failed download.
    """
    if name.endswith(TURNED):
        return load(name.removesuffix(TURNED)).turned()
    validate_name(name)
    if name in DOWNLOADED:
        arrays = _downloaded(name)
    else:
        arrays = _built(name, _make_digits if name == "digits" else _make_digits_60k)
    classes = FASHION_CLASSES if name == "fashion-mnist" else DIGIT_CLASSES
    return Dataset(name, *arrays, classes=classes, sha256=content_sha256(arrays))


def validate_name(name: str) -> str:
    """Return `name` if it is one of NAMES; otherwise raise WorkshopError, which suggests the most similar one."""
    if name not in NAMES:
        near = closest_match(name, NAMES, cutoff=0.4)
        raise WorkshopError(
            looked_at="the name of the data set (--data)",
            expected=f"one of {', '.join(NAMES)}",
            found=f"{name!r}" + (f"; did you mean {near!r}?" if near else ""),
            next_step=f"--data {near or 'digits-60k'}",
        )
    return name


def content_sha256(arrays: tuple[np.ndarray, ...]) -> str:
    """sha256 over shape, type and bytes of the four arrays, in the order of `Dataset`."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def cache_folder() -> Path:
    """The folder for data sets: $WORKSHOP_CACHE, or a subfolder of the system's cache folder (~/.cache on Linux)."""
    if own := os.environ.get("WORKSHOP_CACHE"):
        try:
            return Path(own).expanduser()
        except RuntimeError as error:  # ~name, for a user that does not exist
            raise WorkshopError(
                looked_at="the variable WORKSHOP_CACHE",
                expected="a folder",
                found=f"{own}: {error}",
                next_step="unset WORKSHOP_CACHE",
            ) from None
    folder = platformdirs.user_cache_path(CACHE_NAME, appauthor=False)
    # The XDG specification requires that a relative $XDG_CACHE_HOME is ignored; older releases of platformdirs use it.
    return folder if folder.is_absolute() else Path("~/.cache", CACHE_NAME).expanduser()


def as_28x28(images: np.ndarray) -> np.ndarray:
    """Images of shape (n, 28, 28). Images of 8x8 are enlarged by a factor of 3, with a margin of 2 pixels."""
    if images.shape[1:] == (28, 28):
        return images
    return np.pad(images.repeat(3, axis=1).repeat(3, axis=2), ((0, 0), (2, 2), (2, 2)))


def epoch_order(seed: int, epoch: int, n: int) -> np.ndarray:
    """The order (n,) int64 in which epoch `epoch` of a run with `seed` visits the n training images.

    It depends on nothing else. A resumed run therefore needs no saved generator state, and both frameworks use the same
    batches.
    """
    return np.argsort(np.random.PCG64([seed, epoch]).random_raw(n), kind="stable")


# ---------------------------------------------------------------- built from scikit-learn's digits


def _built(name: str, make: Callable[[], tuple[np.ndarray, ...]]) -> tuple[np.ndarray, ...]:
    """The four arrays of a generated data set. The cache is used only if its content has the pinned sha256."""
    pinned = BUILT_SHA256[name]
    path = cache_folder() / f"{name}-{pinned[:12]}.npz"
    arrays = _read_npz(path)
    if arrays is not None and content_sha256(arrays) == pinned:
        return arrays
    if arrays is not None or path.exists():
        print(f"{path} is damaged; generating it again", file=sys.stderr)
    arrays = make()
    found = content_sha256(arrays)
    if found != pinned:
        raise WorkshopError(
            looked_at=f"the data set {name} as generated on this machine (NumPy {np.__version__})",
            expected=f"sha256 {pinned}",
            found=f"sha256 {found}",
            next_step="report it with the output of `workshop --version`: the data must not depend on the machine",
        )
    _write_npz(path, arrays)
    return arrays


def _read_npz(path: Path) -> tuple[np.ndarray, ...] | None:
    try:
        with np.load(path, allow_pickle=False) as stored:
            return tuple(stored[f"arr_{i}"] for i in range(4))
    except Exception:  # missing or damaged, for which NumPy and zipfile raise many different errors
        return None


def _write_npz(path: Path, arrays: tuple[np.ndarray, ...]) -> None:
    """Write the arrays to the cache atomically, since two processes may do so at the same time.

    If the cache cannot be written (read-only home, full disk), the next run takes a second longer; this one continues.
    """
    content = io.BytesIO()
    np.savez(content, *arrays)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, content.getbuffer())
    except OSError as error:
        print(
            f"note: {path} could not be written ({error.strerror or error}); continuing without a cache",
            file=sys.stderr,
        )


def _source_digits() -> tuple[np.ndarray, ...]:
    """scikit-learn's 1,797 digits, shuffled and split: 1,497 images (n, 8, 8) of 0..16 and labels (n,) to train
    on, then 300 to test, 30 of each class."""
    from sklearn.datasets import load_digits

    digits: Any = load_digits()
    order = np.argsort(_random_words(SPLIT_SEED, len(digits.target)), kind="stable")
    images, labels = digits.images.astype(np.uint8)[order], digits.target.astype(np.uint8)[order]
    test = np.zeros(len(labels), bool)
    for label in range(10):
        test[np.flatnonzero(labels == label)[:30]] = True
    return images[~test], labels[~test], images[test], labels[test]


def _make_digits() -> tuple[np.ndarray, ...]:
    """The 8x8 images, with 0..16 scaled to 0..255."""
    images, labels, test_images, test_labels = _source_digits()
    return _stretch(images), labels, _stretch(test_images), test_labels


def _stretch(images: np.ndarray) -> np.ndarray:
    return ((images.astype(np.uint16) * 255 + 8) // 16).astype(np.uint8)


def _random_words(seed: int, n: int) -> np.ndarray:
    """n uint64 numbers of the PCG64 stream, which NumPy guarantees to be stable (unlike `Generator` methods)."""
    return np.random.PCG64(seed).random_raw(n)


def _make_digits_60k() -> tuple[np.ndarray, ...]:
    """60,000 and 10,000 images of 28x28: rotated, sheared, scaled, shifted and noisy copies of the source digits.

    The source digits are split first (the same split as in `digits`), so that no test image comes from the same source
    as a training image. All arithmetic uses integers: floating point may round differently on another machine.
    """
    images, labels, test_images, test_labels = _source_digits()
    x_train, y_train = _augment(_enlarge(images), labels, 60_000, SPLIT_SEED + 1)
    x_test, y_test = _augment(_enlarge(test_images), test_labels, 10_000, SPLIT_SEED + 2)
    return x_train, y_train, x_test, y_test


STEPS = 8  # subpixels per source pixel
MARGIN = 1  # background pixels around the 8x8 source, which clipped coordinates read
FINE = (8 + 2 * MARGIN) * STEPS  # side of an enlarged source image, in subpixels


def _enlarge(images: np.ndarray) -> np.ndarray:
    """Enlarge (n, 8, 8) of 0..16 to (n, FINE, FINE) of 0..255, with linear interpolation between pixel centres."""
    at = 2 * np.arange(FINE) + 1 - STEPS  # centre of each subpixel relative to that of pixel 0, in 1/(2 STEPS) pixel
    low, part = np.divmod(at, 2 * STEPS)
    last = 8 + 2 * MARGIN - 1
    weights = np.zeros((FINE, 8 + 2 * MARGIN), np.int64)
    np.add.at(weights, (np.arange(FINE), np.clip(low, 0, last)), 2 * STEPS - part)
    np.add.at(weights, (np.arange(FINE), np.clip(low + 1, 0, last)), part)
    padded = np.pad(images, ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN))).astype(np.int64)
    fine = np.einsum("si,nij,tj->nst", weights, padded, weights, optimize=True)
    return (fine * 255 // (16 * (2 * STEPS) ** 2)).astype(np.uint8)


def _augment(fine: np.ndarray, labels: np.ndarray, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """n images (n, 28, 28) uint8 and their labels, drawn from the enlarged sources.

    Fixed point with 12 binary digits: `one` stands for 1. A rotation by the small angle t is written with
    sine t and cosine 1 - t**2 / 2. Bell-shaped numbers are sums of four uniform ones.
    """
    one = 1 << 12
    words = _random_words(seed, n * 7)
    draws = words.astype("<u8").view("<u2").astype(np.int64).reshape(n, 28)  # 28 numbers of 0..65535 an image
    source = draws[:, 0] * len(fine) >> 16

    def bell(first: int, deviation: int) -> np.ndarray:
        """(n,) around 0 with standard deviation `deviation`; four uniforms of width 1 have deviation 0.577."""
        centred = draws[:, first : first + 4].sum(axis=1) - 2 * 65535
        return (centred * deviation * 1774 // 1024) >> 16  # 1774/1024 = 1/0.577

    angle, shear = bell(1, 614), bell(5, 410)  # 0.15 rad and 0.1, in 1/one
    shift = np.stack([bell(9, 5325), bell(13, 5325)], axis=1)  # 1.3 output pixels, in 1/one
    scale = 1352 + (draws[:, 17] * 491 >> 16)  # source pixels an output pixel: 0.33 to 0.45, in 1/one
    cosine = one - (angle * angle >> 13)
    matrix = np.stack([np.stack([cosine, shear - angle], 1), np.stack([angle, cosine], 1)], 1)  # (n, 2, 2)
    matrix = matrix * scale[:, None, None] * STEPS >> 12  # subpixels an output pixel, in 1/one

    # Output pixel p (row, column, doubled and centred: -27..27) reads subpixel centre + matrix (p / 2 - shift).
    centre = FINE * one // 2
    offset = centre - ((matrix * shift[:, None, :]).sum(axis=2) >> 12)
    p = np.arange(-27, 28, 2)
    x = np.empty((n, 28, 28), np.uint8)
    noise = _random_words(seed + 100, n * 98).astype("<u8").view(np.uint8).reshape(n, 28, 28)
    flat = fine.reshape(-1)
    for start in range(0, n, 250):  # blocks that fit in the processor's cache
        block = slice(start, start + 250)
        at = []
        for axis in (0, 1):
            along_rows = (matrix[block, axis, 0, None] * p >> 1) + offset[block, axis, None]
            along_columns = matrix[block, axis, 1, None] * p >> 1
            fixed = along_rows.astype(np.int32)[:, :, None] + along_columns.astype(np.int32)[:, None, :]
            fixed >>= 12
            at.append(np.clip(fixed, 0, FINE - 1, out=fixed))
        index = (at[0] * FINE + at[1]) + (source[block] * FINE * FINE).astype(np.int32)[:, None, None]
        image = flat.take(index)
        # Noise of 0..39 on the background only, as from a scanner.
        x[block] = image + ((noise[block].astype(np.uint16) * 40 >> 8) * (image < 40)).astype(np.uint8)
    return x, labels[source]


# ---------------------------------------------------------------- downloaded


def _downloaded(name: str) -> tuple[np.ndarray, ...]:
    """The four arrays of `mnist` or `fashion-mnist`, from the four published files in the cache.

    You can copy the files there yourself (on a cluster without internet); only missing files are downloaded.
    """
    folder = cache_folder() / name
    if not all((folder / file).exists() for file in DOWNLOADED[name]):
        _download(name, folder)
    arrays = {}
    for file, pinned in DOWNLOADED[name].items():
        path = folder / file
        try:
            packed = path.read_bytes()
        except OSError as error:
            raise WorkshopError(
                looked_at=path,
                expected=f"a file of {name} that can be read",
                found=f"{error.strerror}",
                next_step=f"ls -l {folder}",
            ) from error
        found = hashlib.sha256(packed).hexdigest()
        if found != pinned:
            raise WorkshopError(
                looked_at=f"{path} ({len(packed):,} bytes)",
                expected=f"sha256 {pinned}",
                found=f"sha256 {found}: the file is damaged, or a different file",
                next_step=f"rm '{path}' and run the same command again to download it anew",
            )
        arrays[file] = _read_idx(gzip.decompress(packed))
    images, labels, test_images, test_labels = (arrays[file] for file in DOWNLOADED[name])
    return images, labels, test_images, test_labels


def _read_idx(content: bytes) -> np.ndarray:
    """Decode the IDX format: two zero bytes, 8 (uint8), the rank, each length as big-endian uint32, the data."""
    rank = content[3]
    shape = np.frombuffer(content, ">u4", rank, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(tuple(int(n) for n in shape))


def _download(name: str, folder: Path) -> None:
    """Download the files that are missing in `folder`. A file appears there only if its sha256 is the pinned one."""
    print(f"downloading {name} to {folder}", file=sys.stderr)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as temporary:
            for file in DOWNLOADED[name]:
                if not (folder / file).exists():
                    path = _retrieve(name, file, Path(temporary), folder)
                    path.chmod(
                        0o644
                    )  # pooch creates files that only their owner can read, but several people may share a cache
                    os.replace(path, folder / file)
    except OSError as error:
        raise WorkshopError(
            looked_at=folder,
            expected="a folder that can be written, for data sets",
            found=error.strerror or str(error),
            next_step="set WORKSHOP_CACHE to a folder that you can write",
        ) from error


def _retrieve(name: str, file: str, temporary: Path, folder: Path) -> Path:
    """Download one file of a data set to the folder `temporary`, from the first mirror that provides it."""
    # Imported here because only a download needs them.
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")
    problems = []
    for mirror in MIRRORS[name]:
        host = urlsplit(mirror).hostname
        try:
            downloader: Any = pooch.HTTPDownloader(
                timeout=TIMEOUT
            )  # this argument is missing in pooch's type annotations
            return Path(pooch.retrieve(mirror + file, DOWNLOADED[name][file], file, temporary, downloader=downloader))
        except requests.HTTPError as error:
            assert error.response is not None  # it is a server's answer
            problems.append(f"{host} answered {error.response.status_code} {error.response.reason}")
        except requests.Timeout:
            problems.append(f"{host} did not answer within {TIMEOUT} seconds")
        except requests.ConnectionError:
            problems.append(f"no connection to {host}")
        except requests.RequestException as error:
            problems.append(f"the download from {host} was interrupted ({type(error).__name__})")
        except ValueError:  # pooch raises this for a wrong checksum
            problems.append(f"{host} sent other bytes: the sha256 differs")
    raise WorkshopError(
        looked_at=f"the download of {name} ({file})",
        expected=f"a file with sha256 {DOWNLOADED[name][file]}",
        found="; ".join(problems),
        next_step=f"check the network and try again; or copy {', '.join(DOWNLOADED[name])} from {MIRRORS[name][0]} "
        f"into {folder}; or use --data digits-60k, which needs no network",
    )
