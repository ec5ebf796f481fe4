"""The recorded revision of a repository in a folder of its own: your working tree does not change.

The repository is this clone, or the one in which a learner made the run, such as exercise-1-scipy/mine.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workshop import shell
from workshop.exercises import root_folder
from workshop.support.files import sha256_of
from workshop.verification.received import SOURCES, CannotTell, Received


@dataclass(frozen=True)
class Checkout:
    """Files of a repository as they were when the run was made. remarks: what is not exactly as recorded."""

    folder: Path
    script: Path
    remarks: list[str]
    repository: Path
    code: Path | None  # the folder with the package that recorded the run; None if the repository lacks it

    @property
    def path(self) -> Path:
        """For PYTHONPATH: the package that recorded the run, otherwise the workshop of this clone as it is now."""
        return self.code or root_folder() / "common"


@contextmanager
def at_recorded_revision(run: Received) -> Iterator[Checkout]:
    """A worktree of git at the commit of the run, in a temporary folder, with the script that was run.

    Raises CannotTell where no repository here has such a commit, or nothing here is the script of the run.
    """
    git = run.record["git"]
    root = repository_with(git["commit"], run.folder) if git else root_folder()
    remarks = []
    if git is None:
        remarks.append("the record names no commit: the workshop's code is that of this clone's HEAD")
    elif git["dirty"]:
        remarks.append("the repository had uncommitted changes when the run was made")
    commit = git["commit"] if git else "HEAD"
    script = run.record["script"]
    packed = run.folder / SOURCES / Path(script["path"]).name
    has_script = packed.is_file() and sha256_of(packed) == script["sha256"]
    if not _has_commit(root, commit):
        if not has_script or run.package != "workshop" or shell.git(root, "rev-parse", "HEAD") is None:
            raise CannotTell(
                looked_at=f"the clone {root}",
                expected=f"the commit {commit}, from which the run was made",
                found="no such commit here",
                next_step="git fetch --all  # or run workshop verify in the repository where the run was made",
            )
        remarks.append(f"this clone lacks the commit {commit[:12]}: the workshop's code is that of HEAD")
        commit = "HEAD"
    with tempfile.TemporaryDirectory(prefix="workshop-verify-") as temporary:
        folder = Path(temporary, "clone")
        if shell.git(root, "worktree", "add", "--detach", str(folder), commit) is None:
            raise CannotTell(
                looked_at=f"the clone {root}",
                expected=f"a worktree of the commit {commit[:12]}",
                found="`git worktree add` failed: no room, or no right to write there",
                next_step=f"TMPDIR=ANOTHER_FOLDER workshop verify RUN  # {shell.free_space()} shows the room",
            )
        try:
            path = _script_in(folder, script, packed if has_script else None)
            places = (folder / "common", path.parent)
            code = next((place for place in places if (place / run.package).is_dir()), None)
            if code is None:
                remarks.append(f"{root.name} is a repository of its own: the workshop's code is that of this clone")
            remarks += _lock_remarks(run, folder, commit)
            yield Checkout(folder, path, remarks, root, code)
        finally:
            # To prune is the last resort: it damages a worktree that another `verify` is just adding.
            if shell.git(root, "worktree", "remove", "--force", str(folder)) is None:
                shutil.rmtree(folder, ignore_errors=True)
                shell.git(root, "worktree", "prune")


def repository_with(commit: str, run_folder: Path) -> Path:
    """The repository that contains a commit: this clone, or else that of the run's folder or of the current folder.

    If none of them does, this clone.
    """
    root = root_folder()
    tops = [shell.git(folder, "rev-parse", "--show-toplevel") for folder in (run_folder, Path.cwd())]
    return next((path for path in (root, *map(Path, filter(None, tops))) if _has_commit(path, commit)), root)


def _has_commit(repository: Path, commit: str) -> bool:
    return shell.git(repository, "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}") is not None


def _lock_remarks(run: Received, folder: Path, commit: str) -> list[str]:
    """One line if the lock of the run's environment is not in its commit: nobody else can install that environment."""
    lock = run.record["environment"].get("lock")
    if lock is None or any(sha256_of(path) == lock["sha256"] for path in folder.rglob("pixi.lock")):
        return []
    return [f"the commit {commit[:12]} does not contain the lock of the run, {lock['sha256'][:12]}"]


def _script_in(folder: Path, script: dict[str, Any], packed: Path | None) -> Path:
    """The recorded script in the checkout, known by its sha256: its path was relative to a folder that is not recorded."""
    recorded = Path(script["path"])
    candidates = [folder / recorded] if not recorded.is_absolute() else []
    tracked = (shell.git(folder, "ls-files", "-z", f"*{recorded.name}") or "").split("\0")
    candidates += [folder / name for name in tracked if Path(name).name == recorded.name]
    # A record may come from somebody else: nothing outside the checkout is read or written because of its paths.
    candidates = [path for path in candidates if path.is_file() and path.resolve().is_relative_to(folder.resolve())]
    for path in candidates:
        if sha256_of(path) == script["sha256"]:
            return path
    if packed is None:
        raise CannotTell(
            looked_at=f"the script {script['path']}",
            expected=f"sha256 {script['sha256']}",
            found="no file of that name with this content at the recorded commit: it was edited before the run",
            next_step="commit before a run; or send it with `workshop pack`, which adds the script",
        )
    path = candidates[0] if candidates else folder / recorded.name
    path.unlink(missing_ok=True)  # a link would be written through
    path.write_bytes(packed.read_bytes())
    return path
