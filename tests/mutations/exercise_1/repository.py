"""Exercise 1: mistakes in the lock, the run and the repository."""

import subprocess

import mutations

from .lines import AS_FEATURE, GROUP


def stage(folder, *names):
    """Add files to a new repository, without a commit."""
    for words in (["init", "-q"], ["add", *names]):
        subprocess.run(["git", "-C", str(folder), *words], check=True)


def commit(folder, *names):
    """Make the folder a repository with these files in its only commit."""
    git = ["git", "-C", str(folder), "-c", "user.name=me", "-c", "user.email=me@example.org"]
    for words in (["init", "-q"], ["add", *names], ["commit", "-q", "-m", "Limits"]):
        subprocess.run([*git, *words], check=True)


# What learners do, the check that has to notice it first, and words that its answer must contain.
MISTAKES = {
    "what is tested is another build than what is used": (
        "1.5",
        "rich: environments of the solve group 'default' hold different packages",
        [lambda folder: mutations.other_build(folder, "test", "rich")],
    ),
    "the solution's lock for another set of platforms": (
        "1.5",
        "a copy of the lock in exercise-1-scipy/solution, which belongs to another manifest: the lock is also for linux-aarch64",
        [("pixi.toml", '"linux-64", "linux-aarch64", ', '"linux-64", ')],
    ),
    "the solution's lock for other names": (
        "1.5",
        "your manifest has the environment check, the lock does not",
        [*AS_FEATURE, ("pixi.toml", GROUP, GROUP.replace("test =", "check ="))],
    ),
    "stale lock": ("1.5", "numpy >=99", [("pixi.toml", 'numpy = ">=1.26"', 'numpy = ">=99"')]),
    "merge markers in the lock": (
        "1.5",
        "merge markers",
        [("pixi.lock", "environments:\n", "<<<<<<< HEAD\nenvironments:\n")],
    ),
    "a run with another lock": (
        "1.7",
        "earlier ran in default with another lock (0000",
        [lambda folder: mutations.record_run(folder, "exercise-1-scipy", "pixi", "default", "0" * 64)],
    ),
    "a run in another environment": (
        "1.7",
        "earlier ran in work, which is not in your manifest",
        [lambda folder: mutations.record_run(folder, "exercise-1-scipy", "pixi", "work")],
    ),
    "files that are added, but not committed": (
        "1.8",
        'git commit -m "Limits of 125 signal hypotheses")',
        [lambda folder: stage(folder, "pixi.toml", "pixi.lock", "exclusion.py", "draw.py", "figure.py")],
    ),
    "one file that is not added": (
        "1.8",
        "git add draw.py figure.py)  # then: git commit; without Pixi, leave out .gitignore and .gitattributes",
        [lambda folder: stage(folder, "pixi.toml", "pixi.lock", "exclusion.py")],
    ),
    "a lock that is not committed": (
        "1.8",
        "not committed",
        [lambda folder: commit(folder, "pixi.toml", "exclusion.py", "draw.py")],
    ),
    "a lock that was changed after the commit": (
        "1.8",
        "the committed file differs from the one on disk",
        [
            lambda folder: commit(folder, "pixi.toml", "pixi.lock", "exclusion.py", "draw.py"),
            ("pixi.lock", "version: 7\n", "version: 7\n\n"),
        ],
    ),
    "runs that are committed": (
        "1.8",
        "results/exercise-1-scipy/earlier/run.json",
        [
            lambda folder: mutations.record_run(folder, "exercise-1-scipy", "pixi", "default"),
            lambda folder: commit(folder, "."),
        ],
    ),
    "a script that is not committed": (
        "1.8",
        "figure.py in the last commit",
        [lambda folder: commit(folder, "pixi.toml", "pixi.lock", "exclusion.py", "draw.py")],
    ),
}
