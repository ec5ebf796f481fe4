"""Results that `workshop watch` keeps: the same as in a full run, after any edit, and not computed again in vain."""

import random
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT

from workshop import exercises
from workshop.checking import checks
from workshop.checking.checks import Check, Workspace, fail, ok
from workshop.checking.kept import opened
from workshop.checking.kept.results import KeptResults

HINTS = ("a", "b", "c")
MANIFEST = '[workspace]\nname = "x"\nchannels = ["conda-forge"]\nplatforms = ["linux-64"]\n'


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A clone with one exercise; returns the learner's folder, with three files."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "exercise-1-x" / "starter"
    folder.mkdir(parents=True)
    (folder.parent / "exercise.toml").write_text(
        'title = "T"\nenvironments = ["cpu"]\nstarter_fails_at = "1.1"\n[starter]\n'
    )
    (folder.parent / "solution").mkdir()
    (folder.parent / "solution" / "right.txt").write_text("a")
    for name in ("a.txt", "b.txt"):
        (folder / name).write_text("a")
    (folder / "pixi.toml").write_text(MANIFEST)
    return folder


def text_of(path):
    return path.read_text() if path.is_file() else "no file"


def reads_a(workspace):
    found = text_of(workspace.folder / "a.txt")
    return ok(found) if found == "a" else fail(looked_at="a.txt, line 1", expected="a", found=found, next_step="x")


def compares_with_solution(workspace):
    right = text_of(workspace.folder.parent / "solution" / "right.txt")
    return ok(f"{text_of(workspace.folder / 'b.txt')} and {right}")


def reads_manifest(workspace):
    return ok(", ".join(p.name for p in workspace.manifest.platforms))


def reads_manifest_too(workspace):
    return ok(workspace.manifest.path.name + ", ".join(workspace.manifest.environments))


def lists(workspace):
    return ok(", ".join(sorted(path.name for path in workspace.folder.iterdir())))


def starts_a_program(workspace):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(subprocess, "Popen", lambda *words: sys.audit("subprocess.Popen", words[0], words, None, None))
        subprocess.Popen("a-program")
    return ok(text_of(workspace.folder / "b.txt"))


ALL = (reads_a, compares_with_solution, reads_manifest, reads_manifest_too, lists, starts_a_program)
TOY = tuple(Check(f"1.{n}", run.__name__, HINTS, run) for n, run in enumerate(ALL, 1))


def results(listed, folder, kept=None):
    """The result of each check; with `kept`, as `workshop watch` gets it."""
    if kept:
        kept.begin()
    workspace = Workspace(folder)
    try:
        return [result for _, result in checks.run_checks(listed, workspace, kept and kept.result_of)]
    finally:
        shutil.rmtree(workspace.scratch)


def test_only_what_an_edit_affects_runs_again(clone):
    kept = KeptResults(clone)

    def run_again():
        results(TOY, clone, kept)
        return [check.requirement for check in TOY if check.number not in kept.reused]

    assert len(run_again()) == len(TOY)
    assert run_again() == ["starts_a_program"]
    (clone / "a.txt").write_text("b")
    assert run_again() == ["reads_a", "starts_a_program"]
    (clone / "a.txt").write_text("a")  # undone: the earlier result is there
    assert run_again() == ["starts_a_program"]
    (clone / "pixi.toml").write_text(MANIFEST.replace("linux-64", "osx-arm64"))
    assert run_again() == ["reads_manifest", "reads_manifest_too", "starts_a_program"]
    (clone.parent / "solution" / "right.txt").write_text("another")  # outside the folder: everything
    assert len(run_again()) == len(TOY)
    (clone / "new").mkdir()  # a new name: everything
    assert len(run_again()) == len(TOY)


@pytest.mark.parametrize("edits", [15, pytest.param(500, marks=pytest.mark.slow)])
def test_a_kept_result_is_the_one_of_a_full_run(clone, edits):
    """After each of many random edits, of contents, names, kinds, and of the files around."""
    chosen, kept = random.Random(1), KeptResults(clone)
    names = ["a.txt", "b.txt", "pixi.toml", "folder/c.txt", "../solution/right.txt"]
    reused = 0
    for _ in range(edits):
        path = clone / chosen.choice(names)
        match chosen.randrange(6):
            case 0 if path.is_file():
                path.unlink()
            case 1 if path.name == "c.txt":
                shutil.rmtree(path.parent, ignore_errors=True)
            case 2 if not path.exists() and path.name == "b.txt":
                path.symlink_to("a.txt")
            case _:
                path.parent.mkdir(exist_ok=True)
                texts = [MANIFEST, MANIFEST.replace("linux-64", "win-64"), "[", "a", "b"]
                path.write_text(chosen.choice(texts[:3] if path.name == "pixi.toml" else texts[3:]))
        assert results(TOY, clone, kept) == results(TOY, clone)
        reused += len(kept.reused)
    assert reused > edits


def test_nothing_is_kept_of_a_file_that_is_saved_while_the_check_runs(clone):
    def saves(workspace):
        (clone / "a.txt").write_text("saved meanwhile")
        return ok("old")

    kept = KeptResults(clone)
    for _ in range(2):
        (clone / "a.txt").write_text("a")
        results((Check("1.1", "saves", HINTS, saves),), clone, kept)
        assert kept.reused == []


def test_what_a_script_opens(tmp_path, clone):
    """A script that opens a file, names another one, lists the folder, reads elsewhere, or starts a program."""
    copy, scratch = tmp_path / "root" / "x" / "starter", tmp_path / "scratch"
    (clone / "train.py").write_text("read_csv('b.txt')")
    kept = KeptResults(clone)
    kept.begin()

    def files(*lines):
        report = tmp_path / "report"
        report.write_text("\0".join(map(str, lines)))
        with opened.recorded() as found:
            opened.add_report(report, tmp_path / "root", copy)
        found.paths.discard(str(report))
        return kept._files(found, scratch)

    assert files(copy / "train.py", tmp_path / "root/tmp/x") == {"train.py", "b.txt"}
    assert files(copy / "a.txt", f"{ROOT}/common/workshop/errors.py", sys.executable) is not None
    assert files(copy / "a.txt") == {"a.txt"}
    assert files(f"{copy}/") == {"a.txt", "b.txt", "pixi.toml", "train.py"}
    assert files(copy / "a.txt", "/home/learner/data.csv") is None
    assert files(clone.parent.parent / "results/1/run.json") is None
    assert files(copy / "a.txt", opened.ANYTHING) is None


def test_the_audit_hook_of_a_script(tmp_path):
    """In an interpreter of its own, since a hook stays for ever."""
    report = tmp_path / "report"
    (tmp_path / "data.txt").write_text("x")
    program = (
        "import runpy, subprocess, os, sys\n"
        f"runpy.run_path({str(ROOT / 'common/workshop/checking/kept/opened.py')!r})['install']({str(report)!r})\n"
        "open('data.txt').close(); open('data.txt').close(); os.listdir('.'); list(os.scandir('.'))\n"
        "sys.audit('subprocess.Popen', '/usr/bin/git', [], None, None)\n"
        "print(open(sys.argv[1], 'rb').read().count(b'*'))\n"
        "sys.audit('subprocess.Popen', 'sh', [], None, None)\n"
    )
    run = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, str(report)], cwd=tmp_path, capture_output=True, text=True
    )
    assert (run.returncode, run.stdout) == (0, "0\n"), run.stderr
    found = report.read_text().split("\0")
    assert found.count(str(tmp_path / "data.txt")) == 1 and f"{tmp_path}/" in found and opened.ANYTHING in found


# Edits of a solution, each of which is undone after it.
EDITS = {
    "exercise-1-scipy": [
        ("pixi.toml", "linux-64", "linux-64x"),
        ("exclusion.py", "seed", "sead"),
        ("test_exclusion.py", "import", "import "),
    ],
    "exercise-5-container": [
        ("Dockerfile", "USER 1000", "USER 0"),
        ("train.sbatch", "--time", "--tim"),
        ("train_distributed.py", "import", "imporx"),
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "exercise", [e for e in exercises.find_all(ROOT) if e.folder.name in EDITS], ids=lambda e: e.folder.name
)
def test_real_checks_after_edits(exercise, tmp_path, monkeypatch):
    """Kept results are those of a full run, for the checks of a real exercise, with and without each edit."""
    for name in (exercise.folder.name, "exercise-2-pytorch-cu12"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    for name in ("pixi.toml", "pixi.lock"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "common").symlink_to(ROOT / "common")
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / exercise.folder.name / "solution"
    kept = KeptResults(folder)
    assert results(exercise.checks, folder, kept) == results(exercise.checks, folder)
    for name, old, new in EDITS[exercise.folder.name]:
        path = folder / name
        before = path.read_text()
        path.write_text(before.replace(old, new, 1))
        assert results(exercise.checks, folder, kept) == results(exercise.checks, folder), name
        path.write_text(before)
        results(exercise.checks, folder, kept)
        assert len(kept.reused) > len(exercise.checks) / 3
