"""Published likelihoods that the scan can fetch: checksummed, cached, and resumed when the download breaks off."""

from __future__ import annotations

import json
import tarfile
import urllib.error
import urllib.request
from pathlib import Path

from workspace import digest, read_json

from workshop.errors import WorkshopError
from workshop.runs.data import cache_folder

# ATLAS 1Lbb, Eur. Phys. J. C 80 (2020) 691. The DOI is of the archive in version 3 of the HEPData record; the second
# address is the same resource by its number. The digest is pyhf's of BkgOnly.json, as patch sets of it state.
LIKELIHOODS = {
    "1Lbb": {
        "addresses": (
            "https://doi.org/10.17182/hepdata.90607.v3/r3",
            "https://www.hepdata.net/record/resource/1408476?view=true",
        ),
        "workspace": "BkgOnly.json",
        "patchset": "patchset.json",
        "sha256": "2563672e1a165384faf49f1431e921d88c9c07ec10f150d5045576564f98f820",
    }
}


def fetch(name: str) -> tuple[Path, Path]:
    """Paths of workspace and patch set, downloaded unless a checked copy is in the cache."""
    known = LIKELIHOODS[name]
    folder = cache_folder() / name
    paths = folder / known["workspace"], folder / known["patchset"]
    if not all(path.exists() for path in paths):
        folder.mkdir(parents=True, exist_ok=True)
        archive = folder / "archive.tar.gz"
        if not archive.exists():
            _download(known["addresses"], archive)
        _unpack(archive, folder, known)
    found = digest(read_json(paths[0]), "sha256")
    if found != known["sha256"]:
        for path in paths:
            path.unlink(missing_ok=True)
        (folder / "archive.tar.gz").unlink(missing_ok=True)
        raise WorkshopError(
            looked_at=paths[0],
            expected=f"the published workspace, digest {known['sha256']}",
            found=f"{found} (removed)",
            next_step=f"run it again: --likelihood {name}",
        )
    return paths


def _download(addresses: tuple[str, ...], archive: Path) -> None:
    """To `archive`, by way of a .part file that a later call continues."""
    part = archive.with_suffix(".part")
    problem = ""
    for address in addresses:
        have = part.stat().st_size if part.exists() else 0
        # HEPData answers with the file, not its landing page, to whom this header asks for it.
        headers = {"Accept": "application/x-tar, application/gzip", "User-Agent": "workshop-scan/1"}
        if have:
            headers["Range"] = f"bytes={have}-"
        try:
            with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=60) as answer:
                append = have and answer.status == 206
                with part.open("ab" if append else "wb") as file:
                    while block := answer.read(1 << 16):
                        file.write(block)
                size = answer.headers.get("Content-Length")
            if size is not None and part.stat().st_size - (have if append else 0) != int(size):
                problem = f"{address}: broke off after {part.stat().st_size} bytes"
                continue
            part.rename(archive)
            return
        except urllib.error.HTTPError as error:
            if error.code == 416:
                part.unlink(missing_ok=True)  # the part is not a beginning of this file
            problem = f"{address}: {error.code} {error.reason}"
        except (OSError, ValueError) as error:
            problem = f"{address}: {getattr(error, 'reason', error)}"
    raise WorkshopError(
        looked_at=addresses[0],
        expected="the likelihood's archive, from the network",
        found=f"no download ({problem})",
        next_step=f"try again later, or fetch it by hand, put it at {archive}, and run the same command",
    )


def _unpack(archive: Path, folder: Path, known: dict) -> None:
    """The two documents out of the archive, wherever in it they lie; nothing else is written."""
    try:
        with tarfile.open(archive) as tar:
            members = {Path(m.name).name: m for m in tar.getmembers() if m.isfile()}
            for wanted in (known["workspace"], known["patchset"]):
                content = tar.extractfile(members[wanted]).read()
                json.loads(content)
                temporary = folder / f"{wanted}.part"
                temporary.write_bytes(content)
                temporary.rename(folder / wanted)
    except (tarfile.TarError, EOFError, OSError, KeyError, ValueError) as error:
        archive.unlink(missing_ok=True)
        found = f"{type(error).__name__}: {error} (removed)"
        raise WorkshopError(
            looked_at=archive,
            expected="a tar archive with workspace and patch set",
            found=found,
            next_step="run the same command again",
        ) from None
