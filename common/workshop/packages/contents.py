"""What is in a conda package: its metadata, its list of files, and what it adds to packages that are built with it.

A `.conda` file is a zip with two compressed tar files, one for the files and one for the folder `info/`. A `.tar.bz2`
file, the older format, is one tar file with both. Pixi's cache contains the same files, unpacked.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workshop.errors import WorkshopError

ENDINGS = (".conda", ".tar.bz2")
EXPORT_KINDS = ("weak", "strong", "noarch", "weak_constrains", "strong_constrains")


@dataclass(frozen=True)
class Contents:
    """What a package contains. `files`, `prefix` and `run_exports` are None or empty if only its record is known.

    source: the path or address of the package. size: bytes of the archive; None for an unpacked folder. members: name
    and bytes of each file in the zip of a `.conda` file. noarch: `python`, `generic`, or None for a package of one
    platform. files: bytes of each file, 0 if not stated. prefix: `text` or `binary` for each file that contains the
    path of the folder in which it was built. run_exports: package specifications by kind.
    """

    source: str
    name: str
    version: str
    build: str
    subdir: str
    noarch: str | None
    licence: str | None
    depends: tuple[str, ...]
    constrains: tuple[str, ...]
    size: int | None = None
    members: tuple[tuple[str, int], ...] = ()
    files: dict[str, int] | None = None
    links: int = 0
    prefix: dict[str, str] = field(default_factory=dict)
    run_exports: dict[str, tuple[str, ...]] | None = None

    @property
    def full_name(self) -> str:
        """NAME-VERSION-BUILD, which is unique in a channel and a platform."""
        return f"{self.name}-{self.version}-{self.build}"


def is_path(text: str) -> bool:
    """Whether a word is the path of a package, and not the name of one."""
    return text.endswith(ENDINGS) or len(Path(text).parts) != 1 or text in (".", "..")


def read(path: Path) -> Contents:
    """The contents of a package: an archive, or an unpacked folder of Pixi's cache.

    Raises WorkshopError if it is something else, or incomplete.
    """
    try:
        if path.is_dir():
            return _read(path, "from_package_directory")
        if path.name.endswith(ENDINGS) and path.is_file():
            return _read(path, "from_package_archive")
        found = "a file of another kind" if path.exists() else "no such file"
    except WorkshopError:
        raise
    except Exception as error:  # rattler has several exceptions for archives, and their names change
        found = " ".join(str(error).split()) or type(error).__name__
    raise WorkshopError(
        looked_at=path,
        expected="a conda package: a complete file NAME-VERSION-BUILD.conda or .tar.bz2",
        found=found,
        next_step="workshop package NAME, with the name of a package that Pixi has downloaded, such as python",
    )


def _read(path: Path, how: str) -> Contents:
    """how: the name of the reading function, which every class of rattler has."""
    from rattler.package import IndexJson, PathsJson

    index = getattr(IndexJson, how)(path)
    entries = getattr(PathsJson, how)(path).paths
    members: tuple[tuple[str, int], ...] = ()
    if path.name.endswith(".conda") and path.is_file():
        with zipfile.ZipFile(path) as archive:
            members = tuple((member.filename, member.file_size) for member in archive.infolist())
    return Contents(
        source=str(path),
        name=index.name.source,
        version=str(index.version),
        build=str(index.build),
        subdir=index.subdir or "",
        noarch="python" if index.noarch.python else "generic" if index.noarch.generic else None,
        licence=index.license,
        depends=tuple(index.depends),
        constrains=tuple(index.constrains),
        size=path.stat().st_size if path.is_file() else None,
        members=members,
        files={entry.relative_path.as_posix(): entry.size_in_bytes or 0 for entry in entries},
        links=sum(entry.path_type.softlink for entry in entries),
        prefix={
            entry.relative_path.as_posix(): "binary" if entry.prefix_placeholder.file_mode.binary else "text"
            for entry in entries
            if entry.prefix_placeholder
        },
        run_exports=_run_exports(path, how),
    )


def _run_exports(path: Path, how: str) -> dict[str, tuple[str, ...]]:
    """By kind. Empty for a package without the file `info/run_exports.json`, which rattler reports as an error."""
    from rattler.package import RunExportsJson

    try:
        exports: Any = getattr(RunExportsJson, how)(path)
    except Exception:
        return {}
    return {kind: tuple(found) for kind in EXPORT_KINDS if (found := getattr(exports, kind))}
