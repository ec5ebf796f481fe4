"""The folder of a run: `results/<exercise>/<run>/` with run.json, figures and weights, complete or not there at all.

A run works in `<run>.partial/`. The folder is renamed only after everything is written and run.json lists every file
with its sha256. A crash, Ctrl-C or `kill -9` leaves the `.partial` folder, which is never taken for a result.
`--resume` continues the run in it.
"""

from __future__ import annotations

import dataclasses
import errno
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
PROGRESS = ".progress.part"  # in `<run>.partial/`, while a scan runs: how far it is
COMPLETE = ".complete"  # in `<run>.partial/`: the finished run, until it is moved to its final path
LOCK_SECONDS = 2  # for the lock of a process that only looks at a folder, or that has just been killed
DESCRIPTIONS = ("run.json", "ro-crate-metadata.json")
NAME_ANOTHER_FOLDER = "choose another folder with --output"


@dataclasses.dataclass
class Folder:
    """The folder of a run in progress. Write into `folder`; `finish` moves it to `final`."""

    exercise: str
    script: Path
    final: Path
    folder: Path
    origin: dict[str, Any]  # entries of run.json about script, manifest, environment and host, read before the run
    lock: Any  # lock while the process lives; the system drops it even after kill -9
    existing: frozenset[str] = frozenset()  # names of files that were in `folder` before: abandon() keeps them


def start(exercise: str, script: str, output: str | None, seed: int, resume: bool = False) -> Folder:
    """Make (or with `resume` find) the `.partial` folder of a run.

    Without `output` the run goes to results/<exercise>/<time>-seed<seed> in the repository, and `resume` continues the
    newest interrupted run there that no other process is using. Raises WorkshopError if the folder is in use, is not
    empty, is a file or cannot be written, or if there is nothing to resume.
    """
    # Imported here because it takes 0.2 s, and at the start because a missing package must not cost the results of a
    # run.
    from workshop.runs.records import crate  # noqa: F401

    path = Path(script).resolve()
    origin = provenance.origin(path)  # at the start: the script may be edited while it runs
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
            # An empty folder, which the finished run will replace. Test now whether it can be replaced (a mounted disk
            # cannot), and not after hours of training.
            final.rmdir()
            final.mkdir()
        folder = _partial(final)
        folder.mkdir(parents=True, exist_ok=True)
        lock = _lock_folder(folder)
        if resume and not (folder / CHECKPOINT).exists():
            raise FileNotFoundError(errno.ENOENT, "another process has just finished this run", str(folder))
        _take_apart(folder)
        for file in folder.iterdir():  # left behind by a process that was killed
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
    """`start` with a script's arguments (`options.read`, or at least seed and output); and `abandon` if the block ends
    with an error or Ctrl-C.

    Yields None in processes of torchrun other than the first (rank 0), since only that one writes.
    """
    run = start(exercise, script, args.output, args.seed or 0, getattr(args, "resume", False)) if rank == 0 else None
    try:
        yield run
    except BaseException as error:
        if run:
            abandon(run, advise=not isinstance(error, WorkshopError))  # which contains its own advice
        raise


def _mount(runs: Path) -> str | None:
    """In an image: advice to mount a folder of the host, so that results outlive the container; None elsewhere."""
    if "WORKSHOP_REVISION" not in os.environ:
        return None
    volume = f'--volume "$PWD/results:{runs.parent}"'
    return f"mount one of your folders there: {volume}; or use workshop container-run, which does so"


def _partial(final: Path) -> Path:
    return final.with_name(final.name + ".partial")


def _output_folder(output: str) -> Path:
    """The folder given by --output, with symbolic links resolved. Raises WorkshopError if a run cannot replace it."""
    expected = "a new folder for the run"
    try:
        path = Path(output).expanduser()
        final = path.resolve()
    except (RuntimeError, OSError, ValueError) as error:  # no such user, a loop of links, or a zero byte
        found = "no user of that name" if output.startswith("~") else str(error)
        raise WorkshopError(
            looked_at=f"--output {output!r}", expected=expected, found=found, next_step=NAME_ANOTHER_FOLDER
        ) from None
    if not output.strip():
        raise WorkshopError(
            looked_at="--output", expected=expected, found="an empty name", next_step=NAME_ANOTHER_FOLDER
        )
    if path.is_symlink() and not path.exists():
        raise WorkshopError(
            looked_at=path,
            expected=expected,
            found=f"a symbolic link to {final}, which does not exist",
            next_step=NAME_ANOTHER_FOLDER,
        )
    if not final.name or final == Path.cwd():
        raise WorkshopError(
            looked_at=final,
            expected=expected,
            found="the current folder" if final.name else "the root folder",
            next_step=NAME_ANOTHER_FOLDER,
        )
    return final


def _require_free(final: Path, folder: Path, resume: bool, script: Path) -> None:
    expected = "a new folder for the run"
    try:
        if final.exists() and not final.is_dir():
            found = (
                "a file of that name" if final.is_file() else "something of that name that is neither file nor folder"
            )
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
        _lock_folder(folder).release()  # raises WorkshopError if another process is using it
        advice = f"{shell.script(script, *output, '--resume')}  # or start over: rm -r {shell.quoted(folder)}"
        raise WorkshopError(
            looked_at=folder,
            expected="a new folder for the run",
            found="an interrupted run with a checkpoint",
            next_step=advice,
        )
    if names and not names & {CHECKPOINT, LOCK}:
        found = f"a folder that was not made by a run, with {sorted(names)[0]} in it"
        raise WorkshopError(
            looked_at=folder, expected="a new folder to work in", found=found, next_step=NAME_ANOTHER_FOLDER
        )


def _newest_interrupted(runs: Path, script: Path) -> tuple[Path, Any]:
    """The newest folder in `runs` with a checkpoint that no other process is using, and its lock."""
    interrupted = [path for path in runs.glob("*.partial") if (path / CHECKPOINT).exists() and not _is_left_over(path)]
    for folder in sorted(interrupted, key=lambda p: (p / CHECKPOINT).stat().st_mtime, reverse=True):
        try:
            lock = _lock_folder(folder)
        except WorkshopError:
            continue
        if not (folder / CHECKPOINT).exists():  # another process has just finished it
            lock.release()
            continue
        _take_apart(folder)
        print(f"continuing {shell.relative(folder)}", file=sys.stderr)
        return folder, lock
    found = "only runs that other processes are using" if interrupted else "none"
    raise WorkshopError(
        looked_at=runs,
        expected="an interrupted run (*.partial) with a checkpoint",
        found=found,
        next_step=shell.script(script),
    )


def _is_left_over(folder: Path) -> bool:
    """Whether the run of a `.partial` folder is finished: its process was killed before it could remove the folder."""
    if not (folder.with_suffix("") / "run.json").exists():
        return False
    shutil.rmtree(folder, ignore_errors=True)
    return True


def _take_apart(folder: Path) -> None:
    """Undo what a process did that was killed while it finished the run: its files return to the `.partial` folder."""
    if (folder / COMPLETE).is_dir():
        for path in (folder / COMPLETE).iterdir():
            os.replace(path, folder / path.name)
        (folder / COMPLETE).rmdir()


def _lock_folder(folder: Path) -> Any:
    """Lock the folder for this process. filelock does this on every system."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=LOCK_SECONDS)
    except Timeout:
        found, advice = "another process is using it", "wait for that process, or use another --output"
        raise WorkshopError(
            looked_at=folder, expected="a run that was interrupted", found=found, next_step=advice
        ) from None
    except NotImplementedError as error:
        found = f"its file system cannot lock files ({error})"
        raise WorkshopError(
            looked_at=folder, expected="a folder that a process can lock", found=found, next_step=NAME_ANOTHER_FOLDER
        ) from error
    return lock


def is_running(folder: Path) -> bool:
    """Whether a process is using a `.partial` folder: it holds the folder's lock."""
    from filelock import FileLock, Timeout

    if not (folder / LOCK).exists():
        return False
    try:
        with FileLock(folder / LOCK, timeout=0):
            return False
    except Timeout:
        return True
    except (OSError, NotImplementedError):  # not ours to read, or a file system without locks
        return False


def abandon(run: Folder, advise: bool = True) -> None:
    """After an interruption: keep a run that can be resumed (with `advise`, print how), remove any other."""
    if (run.folder / CHECKPOINT).exists():
        run.lock.release()
        if advise:
            print(f"the last checkpoint is kept; continue with: {_resume_command(run)}", file=sys.stderr)
        return
    if os.name == "nt":  # Windows cannot remove an open file
        run.lock.release()
    try:
        for path in run.folder.iterdir():
            if path.name not in run.existing:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        run.folder.rmdir()
    except OSError:
        pass  # the rest is not mistaken for a run, and a message about it would hide the more important one
    run.lock.release()


def _resume_command(run: Folder) -> str:
    """The command that started this run, with --resume and --output."""
    words = [word for word in sys.argv[1:] if word != "--resume"]
    if not any(word == "--output" or word.startswith("--output=") for word in words):
        words += ["--output", shell.relative(run.final)]
    return shell.script(run.script, *words, "--resume")


def finish(run: Folder, packages: tuple[str, ...], **content: Any) -> Path:
    """Describe every file in run.json and ro-crate-metadata.json, move the folder to its final path and return that
    path.

    packages: names of the installed packages whose versions matter. content: seed, determinism, device, dataset,
    metrics and other entries of the schema; values are JSON. Raises WorkshopError for NaN or infinite numbers.
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
        found, advice = "NaN or infinite numbers", "check the values in your script, or try another seed with --seed"
        raise WorkshopError(
            looked_at="the results of this run", expected="finite numbers", found=found, next_step=advice
        ) from error
    stopping.ignore_signals()
    content_of_run = text.encode(
        "utf-8", "backslashreplace"
    )  # in JSON, the name of a file that is not UTF-8 stays the same
    # run.json comes last: if it exists, so does everything else.
    write_atomic(run.folder / "ro-crate-metadata.json", crate.describe(document, content_of_run).encode())
    write_atomic(run.folder / "run.json", content_of_run)
    # A killed run needs its checkpoint to continue, and a finished one must not contain it. So one rename separates them.
    complete = run.folder / COMPLETE
    complete.mkdir()
    for path in run.folder.iterdir():
        if path.name not in (CHECKPOINT, LOCK, COMPLETE):
            os.replace(path, complete / path.name)
    if run.final.exists():
        run.final.rmdir()  # empty; not every system replaces it on rename
    os.rename(complete, run.final)
    run.lock.release()
    shutil.rmtree(run.folder, ignore_errors=True)
    return run.final


def proportion_tolerance(p: float, n: int) -> dict[str, Any]:
    """The tolerance of an accuracy p measured on n images: how much it may differ in a rerun on another device.

    Three standard deviations of a proportion, sqrt(p (1 - p) / n), plus one image. Equally good networks differ by
    about that much; a larger difference means that something else was computed.
    """
    return {
        "absolute": round(3 * (p * (1 - p) / n) ** 0.5 + 1 / n, 6),
        "reason": f"3 sqrt(p (1 - p) / n) + 1 / n with p = {p:.4f}, n = {n}: equally good networks differ by that much",
    }


def results_folder(script: Path, exercise: str) -> Path:
    """The folder of an exercise's runs: results/<exercise> in the repository's root, or next to a script outside it."""
    for parent in script.parents:
        if (parent / exercise).is_dir() or (parent / ".git").exists():
            return parent / "results" / exercise
    return script.parent / "results" / exercise


def _new_name(runs: Path, stem: str) -> Path:
    """An unused name in `runs`. Creates its `.partial` folder at once, since two runs may start in the same second."""
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
