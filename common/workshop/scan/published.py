"""Published likelihoods that the scan can download. They are checked against a digest and kept in the cache folder."""

from __future__ import annotations

import json
import logging
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from histfactory import digest, read_json
from workshop.errors import WorkshopError
from workshop.runs.data import cache_folder
from workshop.support.files import write_atomic


@dataclass(frozen=True)
class Likelihood:
    """addresses: URLs of one tar archive, tried in turn.

    sha256: pyhf's digest of the workspace. patches_sha256: `digest_of_patches` of the patch set.
    """

    addresses: tuple[str, ...]
    workspace: str
    patchset: str
    sha256: str
    patches_sha256: str = ""


# ATLAS 1Lbb, Eur. Phys. J. C 80 (2020) 691. The DOI names the archive in version 3 of the HEPData record; the second
# address is the same file by its number. The first digest is the one in the patch set.
LIKELIHOODS = {
    "1Lbb": Likelihood(
        addresses=(
            "https://doi.org/10.17182/hepdata.90607.v3/r3",
            "https://www.hepdata.net/record/resource/1408476?view=true",
        ),
        workspace="BkgOnly.json",
        patchset="patchset.json",
        sha256="2563672e1a165384faf49f1431e921d88c9c07ec10f150d5045576564f98f820",
        patches_sha256="618314438db517867bbf9131f2e76e1014b47ca691c24185101a269c49f060e5",
    )
}


def fetch(name: str) -> tuple[Path, Path]:
    """The paths of the workspace and the patch set, which are downloaded if the cache does not contain them."""
    likelihood = LIKELIHOODS[name]
    folder = cache_folder() / name
    archive, paths = folder / "archive.tar.gz", (folder / likelihood.workspace, folder / likelihood.patchset)
    if not all(path.exists() for path in paths):
        _download(likelihood.addresses, archive)
        _unpack(archive, paths)
    for path, part, digest_of, expected in (
        (paths[0], "workspace", digest, likelihood.sha256),
        (paths[1], "patch set", digest_of_patches, likelihood.patches_sha256),
    ):
        if expected and (actual := digest_of(read_json(path))) != expected:
            for file in (*paths, archive):
                file.unlink(missing_ok=True)
            raise WorkshopError(
                looked_at=path,
                expected=f"the published {part}, with digest {expected}",
                found=f"{actual}; the files were removed",
                next_step=f"download the likelihood again: workshop scan --likelihood {name}",
            )
    return paths


def digest_of_patches(patchset: Any) -> str:
    """The digest of what a patch set changes: the names, values and operations of its patches, without its description."""
    try:
        patches = [
            (p["metadata"]["name"], [float(x) for x in p["metadata"]["values"]], p["patch"])
            for p in patchset["patches"]
        ]
        return digest([patchset["metadata"]["labels"], sorted(patches, key=lambda patch: patch[0])])
    except (KeyError, TypeError, ValueError, OverflowError):
        return "no digest: it is not a patch set"


def _download(addresses: tuple[str, ...], archive: Path) -> None:
    """Download to `archive`, unless that file exists: you may have put it there yourself."""
    import pooch

    # pooch's advice to copy a hash into the source code is not for users.
    pooch.get_logger().setLevel(logging.WARNING)
    # With this header HEPData sends the file itself instead of its landing page.
    headers = {"Accept": "application/x-tar, application/gzip", "User-Agent": "workshop-scan/1"}
    downloader = pooch.HTTPDownloader(headers=headers, timeout=60)
    problem = ""
    for address in addresses:
        try:
            # Without the hash of the archive, which the server may compress again: `fetch` checks the content.
            pooch.retrieve(
                address,
                known_hash=None,
                fname=archive.name,
                path=archive.parent,
                downloader=downloader,  # pyright: ignore[reportArgumentType]  # pooch's own class does not fit its protocol
            )
            return
        except (OSError, ValueError) as error:  # every exception of requests is an OSError
            problem = f"{address}: {error}"
    raise WorkshopError(
        looked_at=addresses[0],
        expected="the likelihood's archive, from the network",
        found=f"no download ({problem})",
        next_step=f"try again later, or download it in a browser, save it as {archive}, and run the same command",
    )


def _unpack(archive: Path, paths: tuple[Path, Path]) -> None:
    """Extract the two documents from wherever they are in the archive, and nothing else."""
    try:
        with tarfile.open(archive) as tar:
            members = {Path(member.name).name: member for member in tar.getmembers() if member.isfile()}
            for path in paths:
                file = tar.extractfile(members[path.name])
                assert file is not None  # it is None only for folders, which are excluded above
                content = file.read()
                json.loads(content)
                write_atomic(path, content)
    except (tarfile.TarError, EOFError, OSError, KeyError, ValueError) as error:
        archive.unlink(missing_ok=True)
        raise WorkshopError(
            looked_at=archive,
            expected="a tar archive that contains the workspace and the patch set",
            found=f"{type(error).__name__}: {error}; the archive was removed",
            next_step="run the same command again to download it",
        ) from None
