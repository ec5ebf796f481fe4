"""Tensors in a safetensors file with a checksum: weights and checkpoints of both frameworks.

The format contains only arrays and metadata, no code (loading a pickle would run the code in it). It has no checksum of
its own, so the sha256 of the content is stored in the metadata and compared when the file is read.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from workshop.errors import WorkshopError
from workshop.support.files import write_atomic


def content_sha256(tensors: dict[str, np.ndarray]) -> str:
    """sha256 over names, shapes, types and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        array = np.asarray(tensors[name], order="C")
        digest.update(f"{name}{array.dtype.str}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def network_of(tensors: dict[str, np.ndarray]) -> str:
    """The network that weights belong to, described by their shapes: `conv1 32x1x8x8, ..., fc2 10x128`."""
    return ", ".join(
        f"{name.removesuffix('.weight')} {'x'.join(map(str, tensors[name].shape))}"
        for name in sorted(tensors)
        if name.endswith(".weight")
    )


def _finite(array: np.ndarray) -> bool:
    return np.asarray(array).dtype.kind != "f" or bool(np.isfinite(array).all())


def save(path: Path, tensors: dict[str, np.ndarray], metadata: dict[str, object]) -> None:
    """Write tensors and their metadata (JSON values) to a file, completely or not at all.

    Raises WorkshopError for NaN or infinite values, so that a training that diverged leaves no file.
    """
    from safetensors.numpy import save as to_bytes

    for name, array in tensors.items():
        if not _finite(array):
            advice = "try another --seed, or a smaller learning rate in the script"
            raise WorkshopError(
                looked_at=f"{name}, to be written to {path.name}",
                expected="finite numbers",
                found="NaN or infinite values: the training diverged",
                next_step=advice,
            )
    table = {key: json.dumps(value) for key, value in metadata.items()} | {"content_sha256": content_sha256(tensors)}
    # Sorted, so that two equal runs write equal bytes.
    content = to_bytes(
        {n: np.asarray(tensors[n], order="C") for n in sorted(tensors)}, metadata=dict(sorted(table.items()))
    )
    write_atomic(path, _sorted_header(content))


def _sorted_header(content: bytes) -> bytes:
    """The same file with the keys of its JSON header sorted: the library writes the metadata in random order."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    packed = json.dumps(header, sort_keys=True, separators=(",", ":")).encode().ljust(size)
    return len(packed).to_bytes(8, "little") + packed + content[8 + size :]


def load(path: Path, next_step: str) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    """The tensors and the metadata of a file that `save` wrote.

    Raises WorkshopError, with `next_step` as its advice, if the file is missing, truncated, changed or not written by
    `save`, or if it contains NaN or infinite values.
    """
    from safetensors import SafetensorError, safe_open

    expected = "a complete safetensors file written by this workshop"
    try:
        with safe_open(path, framework="numpy") as file:
            table = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except FileNotFoundError:
        raise WorkshopError(looked_at=path, expected=expected, found="no such file", next_step=next_step) from None
    except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        found = f"a file that cannot be read: truncated, or of another kind ({error})"
        raise WorkshopError(looked_at=path, expected=expected, found=found, next_step=next_step) from error
    stored = table.pop("content_sha256", None)
    found = content_sha256(tensors)
    if stored is None:
        raise WorkshopError(
            looked_at=path, expected=expected, found="no checksum, so another program wrote it", next_step=next_step
        )
    if stored != found:
        raise WorkshopError(
            looked_at=path,
            expected=f"content sha256 {stored}",
            found=f"sha256 {found}: the file was changed",
            next_step=next_step,
        )
    for name, array in tensors.items():
        if not _finite(array):
            raise WorkshopError(
                looked_at=path,
                expected=f"finite numbers in {name}",
                found="NaN or infinite values",
                next_step=next_step,
            )
    try:
        return tensors, {key: json.loads(value) for key, value in table.items()}
    except ValueError as error:
        raise WorkshopError(
            looked_at=path, expected=expected, found=f"metadata that are not JSON ({error})", next_step=next_step
        ) from error
