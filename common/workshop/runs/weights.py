"""Tensors in a safetensors file with a checksum: weights and checkpoints of both frameworks.

The format contains only arrays and metadata, no code (loading a pickle would run the code in it). It has no checksum of
its own, so the sha256 of the content is stored in the metadata and compared when the file is read. In a checkpoint, whose
metadata decide how the training continues, it covers them too.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from workshop.errors import WorkshopError
from workshop.support.files import open_regular, write_atomic

CHECKSUM, CHECKSUM_OF_ALL = "content_sha256", "tensors_and_metadata_sha256"  # their names in the metadata
EPOCHS_DONE = "done"  # an entry that only checkpoints have


def content_sha256(tensors: dict[str, np.ndarray], table: dict[str, str] | None = None) -> str:
    """sha256 over names, shapes, types and bytes, in the order of the names; then over the entries of a table."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        array = np.asarray(tensors[name], order="C")
        digest.update(f"{name}{array.dtype.str}{array.shape}".encode())
        digest.update(array.tobytes())
    for item in sorted((table or {}).items()):
        digest.update(json.dumps(item).encode())
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
    table = {key: json.dumps(value) for key, value in metadata.items()}
    if EPOCHS_DONE in table:
        table[CHECKSUM_OF_ALL] = content_sha256(tensors, table)
    else:
        table[CHECKSUM] = content_sha256(tensors)
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
        open_regular(path).close()  # opening a pipe would wait for ever
        with safe_open(path, framework="numpy") as file:
            table = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except FileNotFoundError:
        raise WorkshopError(looked_at=path, expected=expected, found="no such file", next_step=next_step) from None
    except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        found = f"a file that cannot be read: truncated, or of another kind ({error})"
        raise WorkshopError(looked_at=path, expected=expected, found=found, next_step=next_step) from error
    of_tensors, of_all = table.pop(CHECKSUM, None), table.pop(CHECKSUM_OF_ALL, None)
    stored = of_all if EPOCHS_DONE in table else of_tensors
    found = content_sha256(tensors, table if EPOCHS_DONE in table else None)
    if stored is None:
        reason = "no checksum, so another program wrote it"
        if of_tensors:
            reason = "a checkpoint of an earlier version, whose checksum leaves out its epochs, seed and accuracies"
        raise WorkshopError(looked_at=path, expected=expected, found=reason, next_step=next_step)
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
    except (ValueError, RecursionError) as error:
        found = f"metadata that are not JSON ({str(error)[:100]})"
        raise WorkshopError(looked_at=path, expected=expected, found=found, next_step=next_step) from error
