"""`workshop pack RUN`: one zip with everything that somebody else needs in order to verify a run."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from workshop import shell
from workshop.errors import WorkshopError
from workshop.runs.records import crate
from workshop.support.files import sha256_of, write_atomic
from workshop.verification import received, rerun
from workshop.verification.checkout import at_recorded_revision
from workshop.verification.received import PARENT, SOURCES, CannotTell

EPOCH = (1980, 1, 1, 0, 0, 0)  # of every entry: two packs of one run have the same bytes


def main(run: str, output: str | None) -> int:
    """Write the zip and print its path; 0. Raises WorkshopError for a run whose files are not as recorded."""
    with received.opened(Path(run)) as folder:
        found = received.read(folder)
        if found.problems:
            raise WorkshopError(
                looked_at=folder,
                expected="the files that the run wrote",
                found=found.problems[0],
                next_step=f"workshop verify {shell.quoted(Path(run))} --no-rerun",
            )
        target = Path(output) if output else Path.cwd() / f"{folder.resolve().name}.zip"
        if target.exists():
            raise WorkshopError(
                looked_at=target,
                expected="a new file",
                found="a file of that name",
                next_step="choose another --output",
            )
        content = packed(found)
    write_atomic(target, content)
    print(
        f"{shell.relative(target)}: {len(content) / 2**20:.1f} MiB; the person who receives it can type `workshop verify {target.name}`"
    )
    return 0


def packed(run: received.Received) -> bytes:
    """The bytes of the zip: the run, script, manifest and lock (`sources/`), the run that it continues (`parent/`)."""
    files = {output["path"]: (run.folder / output["path"]).read_bytes() for output in run.record["outputs"]}
    files["run.json"] = (run.folder / "run.json").read_bytes()
    extra = dict(source_files(run))
    if parent := run.record.get("parent"):
        folder = rerun.parent_of(run, parent)
        extra |= {
            f"{PARENT}/{p.relative_to(folder).as_posix()}": p.read_bytes()
            for p in sorted(folder.rglob("*"))
            if p.is_file()
        }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:

        def add(name: str, content: bytes) -> None:
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o100644 << 16
            archive.writestr(entry, content)

        described = [received.described(name, content) for name, content in extra.items()]
        add("ro-crate-metadata.json", crate.describe(run.record, files["run.json"], described).encode())
        for name, content in {**files, **extra}.items():
            add(name, content)
    return buffer.getvalue()


def source_files(run: received.Received) -> list[tuple[str, bytes]]:
    """Script, manifest and lock with the recorded sha256: as they are now, else at the recorded commit.

    Raises CannotTell where the script of the run is in neither of them.
    """
    record = run.record
    wanted = [record["script"], record["manifest"], record["environment"].get("lock")]
    found: dict[str, bytes] = {}
    for file in filter(None, wanted):
        for path in (Path(file["path"]), run.folder / SOURCES / Path(file["path"]).name):
            if path.is_file() and sha256_of(path) == file["sha256"]:
                found[Path(file["path"]).name] = path.read_bytes()
    if len(found) < len(list(filter(None, wanted))):
        with at_recorded_revision(run) as clone:
            found.setdefault(clone.script.name, clone.script.read_bytes())
            for file in filter(None, wanted[1:]):
                for path in clone.folder.rglob(Path(file["path"]).name):
                    if sha256_of(path) == file["sha256"]:
                        found[path.name] = path.read_bytes()
    if Path(record["script"]["path"]).name not in found:
        raise CannotTell(
            looked_at=record["script"]["path"],
            expected="the script of the run",
            found="none",
            next_step="git fetch --all",
        )
    return [(f"{SOURCES}/{name}", content) for name, content in sorted(found.items())]
