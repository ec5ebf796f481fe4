"""One run, one folder: `results/<exercise>/<run>/` with run.json, figures and weights, whole or not there at all.

A run works in `<run>.partial/` beside its place. Only when everything is written and run.json names every
file with its sha256 is the folder renamed. A crash, Ctrl-C or `kill -9` leaves the `.partial` folder, which
nothing takes for a result and from which `--resume` goes on.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from workshop import shell
from workshop.errors import WorkshopError
from workshop.runs import stopping
from workshop.runs.records import provenance
from workshop.support.files import sha256_of, write_atomic

SCHEMA = "reproducible-ml-workflows/run/1"
SCHEMA_FILE = Path(__file__).with_name("run.schema.json")
CHECKPOINT = "checkpoint.safetensors"
LOCK = ".lock"
DESCRIPTIONS = ("run.json", "ro-crate-metadata.json")
NAME_ANOTHER_FOLDER = "name another place with --output"


@dataclasses.dataclass
class Folder:
    """The folder of a run under way. Write into `folder`; `finish` moves it to `final`."""

    exercise: str
    script: Path
    final: Path
    folder: Path
    origin: dict[str, Any]  # what run.json says of script, manifest, environment and host, read before the run
    lock: Any  # lock while the process lives; the system drops it even after kill -9
    existing: frozenset[str] = frozenset()  # names of what was in `folder` before, and is not this run's to remove


def start(exercise: str, script: str, output: str | None, seed: int, resume: bool = False) -> Folder:
    """Make (or with `resume` find) the `.partial` folder of a run.

    Without `output` the run goes to results/<exercise>/<time>-seed<seed> in the repository, and `resume` takes
    the newest interrupted one there that no other process is at. Raises WorkshopError where the place is taken,
    is a file, cannot be written, another process is at work there, or there is nothing to resume.
    """
    # Imported here, since it takes 0.2 s, and before the work: a missing package should not cost the results of a run.
    from workshop.runs.records import crate  # noqa: F401

    path = Path(script).resolve()
    origin = provenance.origin(path)  # before anything is made: the script may be edited while it runs
    runs = results_folder(path, exercise)
    if output is None and resume:
        folder, lock = _newest_interrupted(runs, path)
        return Folder(exercise, path, folder.with_suffix(""), folder, origin, lock)
    final = None if output is None else _output_folder(output)
    if final is not None:
        _require_free(final, _partial(final), resume, path)
    try:
        if final is None:
            final = _new_name(runs, f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-seed{seed}")
        elif final.exists():
            # An empty folder that the person made. The finished run will take its place, so try now, and not
            # after hours of training, whether it can be replaced: a mounted disk cannot.
            final.rmdir()
            final.mkdir()
        folder = _partial(final)
        folder.mkdir(parents=True, exist_ok=True)
        lock = _lock_folder(folder)
        for file in folder.iterdir():  # half-written by a process that was killed
            if file.name in DESCRIPTIONS or (file.name.startswith(".") and file.name.endswith(".part")):
                file.unlink()
        existing = frozenset(path.name for path in folder.iterdir()) - {CHECKPOINT, LOCK}
    except OSError as error:
        raise WorkshopError(
            looked_at=error.filename or final or runs,
            expected="a folder that can be written",
            found=error.strerror or str(error),
            next_step=_mount(runs) or NAME_ANOTHER_FOLDER,
        ) from error
    return Folder(exercise, path, final, folder, origin, lock, existing)


@contextmanager
def run_folder(exercise: str, script: str, args: Any, rank: int = 0) -> Iterator[Folder | None]:
    """`start` with a script's arguments (`options.read`, or at least seed and output); `abandon` if the block ends in an error or Ctrl-C.

    None in the processes of torchrun other than the first (rank 0), which alone writes.
    """
    run = start(exercise, script, args.output, args.seed or 0, getattr(args, "resume", False)) if rank == 0 else None
    try:
        yield run
    except BaseException as error:
        if run:
            abandon(run, advise=not isinstance(error, WorkshopError))  # that has advice of its own
        raise


def _mount(runs: Path) -> str | None:
    """In an image: where a folder of the host has to be mounted, so that results outlive the container."""
    if "WORKSHOP_REVISION" not in os.environ:
        return None
    return (
        f'mount a folder of yours there: --volume "$PWD/results:{runs.parent}"; or workshop container-run, which does'
    )


def _partial(final: Path) -> Path:
    return final.with_name(final.name + ".partial")


def _output_folder(output: str) -> Path:
    """The folder that a person named, with symbolic links followed, if a run can take its place."""
    expected = "a new folder for the run"
    try:
        path = Path(output).expanduser()
        final = path.resolve()
    except (RuntimeError, OSError, ValueError) as error:  # no such user; a loop of links; a zero byte
        found = "no user of that name" if output.startswith("~") else str(error)
        raise WorkshopError(
            looked_at=f"--output {output!r}", expected=expected, found=found, next_step=NAME_ANOTHER_FOLDER
        ) from None
    if not output.strip():
        raise WorkshopError(looked_at="--output", expected=expected, found="no name", next_step=NAME_ANOTHER_FOLDER)
    if path.is_symlink() and not path.exists():
        raise WorkshopError(
            looked_at=path,
            expected=expected,
            found=f"a symbolic link to {final}, which is not there",
            next_step=NAME_ANOTHER_FOLDER,
        )
    if not final.name or final == Path.cwd():
        raise WorkshopError(
            looked_at=final,
            expected=expected,
            found="the folder that you are in" if final.name else "the root",
            next_step=NAME_ANOTHER_FOLDER,
        )
    return final


def _require_free(final: Path, folder: Path, resume: bool, script: Path) -> None:
    expected = "a new folder for the run"
    try:
        if final.exists() and not final.is_dir():
            found = "a file of that name" if final.is_file() else "something else of that name"
            raise WorkshopError(looked_at=final, expected=expected, found=found, next_step=NAME_ANOTHER_FOLDER)
        if final.is_dir() and any(final.iterdir()):
            found = "a finished run" if (final / "run.json").exists() else "a folder with other files in it"
            raise WorkshopError(looked_at=final, expected=expected, found=found, next_step=NAME_ANOTHER_FOLDER)
        if folder.exists() and not folder.is_dir():
            raise WorkshopError(
                looked_at=folder,
                expected="a new folder to work in",
                found="a file of that name",
                next_step=NAME_ANOTHER_FOLDER,
            )
        names = {path.name for path in folder.iterdir()} if folder.exists() else set()
    except OSError as error:
        raise WorkshopError(
            looked_at=error.filename,
            expected=expected,
            found=error.strerror or str(error),
            next_step=NAME_ANOTHER_FOLDER,
        ) from error
    output = ("--output", shell.relative(final))
    if resume and CHECKPOINT not in names:
        found = "no checkpoint there" if folder.exists() else "no such folder"
        advice = shell.script(script, *output)
        raise WorkshopError(
            looked_at=folder, expected="an interrupted run with a checkpoint", found=found, next_step=advice
        )
    if not resume and CHECKPOINT in names:
        _lock_folder(folder).release()  # is it still being worked on? Then that is what there is to say
        advice = f"{shell.script(script, *output, '--resume')}  # or begin again: rm -r {shell.quoted(folder)}"
        raise WorkshopError(
            looked_at=folder,
            expected="a new place for the run",
            found="an interrupted run with a checkpoint",
            next_step=advice,
        )
    if names and not names & {CHECKPOINT, LOCK}:
        found = f"a folder that no run has made, with {sorted(names)[0]} in it"
        raise WorkshopError(
            looked_at=folder, expected="a new folder to work in", found=found, next_step=NAME_ANOTHER_FOLDER
        )


def _newest_interrupted(runs: Path, script: Path) -> tuple[Path, Any]:
    """The newest folder under `runs` with a checkpoint that no process is at, locked for this one."""
    interrupted = [path for path in runs.glob("*.partial") if (path / CHECKPOINT).exists()]
    for folder in sorted(interrupted, key=lambda p: (p / CHECKPOINT).stat().st_mtime, reverse=True):
        try:
            lock = _lock_folder(folder)
        except WorkshopError:
            continue
        print(f"going on with {shell.relative(folder)}", file=sys.stderr)
        return folder, lock
    found = "another process is at work in each that is there" if interrupted else "none"
    raise WorkshopError(
        looked_at=runs,
        expected="an interrupted run (*.partial) with a checkpoint",
        found=found,
        next_step=shell.script(script),
    )


def _lock_folder(folder: Path) -> Any:
    """Lock the folder for this process. A library's lock, since each system has its own way."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        found, advice = "another process is at work there now", "wait for it, or use another --output"
        raise WorkshopError(
            looked_at=folder, expected="a run that was interrupted", found=found, next_step=advice
        ) from None
    except NotImplementedError as error:
        found = f"its file system cannot lock files ({error})"
        raise WorkshopError(
            looked_at=folder,
            expected="a folder that one process can keep for itself",
            found=found,
            next_step=NAME_ANOTHER_FOLDER,
        ) from error
    return lock


def abandon(run: Folder, advise: bool = True) -> None:
    """After an interruption: keep what can be resumed (and say how, with `advise`), remove what cannot."""
    if (run.folder / CHECKPOINT).exists():
        run.lock.release()
        if advise:
            print(f"kept the last checkpoint; go on with: {_resume_command(run)}", file=sys.stderr)
        return
    if os.name == "nt":  # there an open file cannot be removed
        run.lock.release()
    try:
        for path in run.folder.iterdir():
            if path.name not in run.existing:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        run.folder.rmdir()
    except OSError:
        pass  # what is left there looks like no run, and a message about it would hide the one that matters
    run.lock.release()


def _resume_command(run: Folder) -> str:
    """What was typed, with --resume and the place."""
    words = [word for word in sys.argv[1:] if word != "--resume"]
    if not any(word == "--output" or word.startswith("--output=") for word in words):
        words += ["--output", shell.relative(run.final)]
    return shell.script(run.script, *words, "--resume")


def finish(run: Folder, packages: tuple[str, ...], **content: Any) -> Path:
    """Describe every file in run.json and ro-crate-metadata.json, then move the folder to its place; the place.

    packages: names of the installed packages whose versions matter. content: seed, determinism, device, dataset,
    metrics and what else the schema allows; values are JSON. Raises WorkshopError for NaN or infinite numbers.
    """
    from workshop.runs.records import crate

    outputs = [
        {"path": p.relative_to(run.folder).as_posix(), "sha256": sha256_of(p), "bytes": p.stat().st_size}
        for p in sorted(run.folder.rglob("*"))
        if p.is_file() and p.name not in (CHECKPOINT, LOCK)
    ]
    document = {
        "schema": SCHEMA,
        "exercise": run.exercise,
        "argv": [shell.relative(run.script), *sys.argv[1:]],
        "exit_status": 0,  # a run that fails leaves no run.json
        "ended": provenance.now(),
        **run.origin,
        **provenance.software(packages),
        "variables": provenance.variables(),
        **content,
        "outputs": outputs,
    }
    try:
        text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    except ValueError as error:
        found, advice = "NaN or infinite numbers", "look at the figures' numbers; with --seed, try another seed"
        raise WorkshopError(
            looked_at="the results of this run", expected="finite numbers", found=found, next_step=advice
        ) from error
    stopping.ignore_signals()
    # run.json last: where it lies, everything else does.
    write_atomic(run.folder / "ro-crate-metadata.json", crate.describe(document, text.encode()).encode())
    write_atomic(run.folder / "run.json", text.encode())
    if os.name == "nt":  # there a folder with an open file in it cannot be renamed
        run.lock.release()
    if run.final.exists():
        run.final.rmdir()  # empty; rename does not replace it on every system
    os.rename(run.folder, run.final)
    run.lock.release()
    for name in (CHECKPOINT, LOCK):  # only now: until the rename they are what a killed run goes on from
        (run.final / name).unlink(missing_ok=True)
    return run.final


def proportion_tolerance(p: float, n: int) -> dict[str, Any]:
    """The tolerance of an accuracy p measured on n images: how far a rerun on another device may lie.

    Three standard deviations of a proportion, sqrt(p (1 - p) / n), and one image: two networks that are equally
    good differ by about that much; a difference beyond it is one in what was computed.
    """
    return {
        "absolute": round(3 * (p * (1 - p) / n) ** 0.5 + 1 / n, 6),
        "reason": f"3 sqrt(p (1 - p) / n) + 1 / n with p = {p:.4f}, n = {n}: equally good networks differ by that much",
    }


def results_folder(script: Path, exercise: str) -> Path:
    """Where an exercise's runs are: results/<exercise> in the root of the repository, or beside a script that was lifted out of it."""
    for parent in script.parents:
        if (parent / exercise).is_dir() or (parent / ".git").exists():
            return parent / "results" / exercise
    return script.parent / "results" / exercise


def _new_name(runs: Path, stem: str) -> Path:
    """A name under `runs` that nobody has, with its `.partial` folder made: two runs may begin in one second."""
    runs.mkdir(parents=True, exist_ok=True)
    number, name = 1, stem
    while True:
        if not (runs / name).exists():
            try:
                (runs / f"{name}.partial").mkdir()
                return runs / name
            except FileExistsError:
                pass
        number += 1
        name = f"{stem}-{number}"
