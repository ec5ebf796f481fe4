"""The learner's commands other than `check`: hint, progress, watch, reset, diff, in a copy of the workshop with a
history.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time

import ctrl_c
import in_process
import pytest
from conftest import ROOT

from workshop import exercises
from workshop.checking import checks, progress, starter
from workshop.errors import WorkshopError

EXERCISE = "exercise-2-pytorch-cu12"


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A workshop with one exercise, under git. Only the starter's manifest is checked, since its script would train."""
    root = tmp_path / "work shop"  # people have folders with spaces
    for name in ("common", EXERCISE):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__", ".pixi"))
    git(root, "init", "-q")
    commit(root)
    monkeypatch.chdir(root)
    return root


def git(root, *words):
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(["git", "-C", root, *identity, *words], check=True, capture_output=True)


def commit(root):
    (root / ".gitignore").write_text(".workshop/\n__pycache__/\n")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "x")


def workshop(clone, *words, stdin=None):
    if not stdin:
        return in_process.workshop(words, clone, dict(os.environ))
    line = [sys.executable, "-m", "workshop", *words]
    return subprocess.run(line, cwd=clone, stdin=stdin, capture_output=True, text=True, timeout=120)


def solve(clone, *names):
    """Put the solution's files into the starter."""
    for name in names:
        shutil.copy(clone / EXERCISE / "solution" / name, clone / EXERCISE / "starter" / name)


def exercise_of(clone):
    return next(e for e in exercises.find_all(clone) if e.folder.name == EXERCISE)


def answers(number, status="ok"):
    """Checks with results, as `workshop check` stores them."""
    listed = next(e for e in exercises.find_all(ROOT) if e.number == number).checks
    return [(check, checks.Result(status, "seen")) for check in listed]


# ---------------------------------------------------------------- hint


def test_a_check_unlocks_the_next_hint(clone):
    def hints(*words):
        done = workshop(clone, "hint", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout.count("\nhint ")

    assert hints("2") == 1
    assert hints("2") == 1  # no check in between
    assert status(clone)["2.1"] == "not asked"  # to ask for a hint is not to ask for a check
    assert workshop(clone, "check", "2").returncode == 1
    assert hints("2") == 2
    assert hints("2.1") == 2
    workshop(clone, "check", "2")
    assert hints("2") == 3
    workshop(clone, "check", "2")
    assert hints("2") == 3  # there are no more
    assert hints("2.4") == 1 and hints("2.4", "--level", "3") == 3
    first = exercise_of(clone).checks[0]
    assert all(text in workshop(clone, "hint", "2").stdout for text in first.hints)


def test_the_hint_is_for_the_first_check_that_does_not_pass(clone):
    solve(clone, "pixi.toml")
    workshop(clone, "check", "2")
    assert workshop(clone, "hint", "2").stdout.startswith("2.5 ")
    solve(clone, "pixi.lock")
    solve(clone, "train.py")
    one = exercise_of(clone)
    progress.record_results(one, answers(2), progress.content_hash(one))
    assert "all checks of exercise 2 pass" in workshop(clone, "hint", "2").stdout


@pytest.mark.parametrize("words", [("9",), ("2.9",), ("two",), ("2.x",), ("2", "--level", "4")])
def test_a_hint_for_an_unknown_check_or_exercise(clone, refused, words):
    refused(workshop(clone, "hint", *words))


# ---------------------------------------------------------------- progress


def test_the_default_environment_is_enough(clone):
    """The environment `default` has neither NumPy nor a framework: commands that need none of them work there."""
    shutil.copytree(
        ROOT / "exercise-4-pypi-mix", clone / "exercise-4-pypi-mix", ignore=shutil.ignore_patterns("__pycache__")
    )
    for name in ("exercise-1-scipy", "exercise-3-jax-cu118"):
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__"))
    absent = clone / "absent"
    absent.mkdir()
    for module in ("numpy", "scipy", "matplotlib", "torch", "jax", "flax", "sklearn", "safetensors"):
        (absent / f"{module}.py").write_text(f"raise ModuleNotFoundError('no {module}', name='{module}')\n")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(absent), str(clone / "common")])}
    for words in (
        ("progress",),
        ("hint", "1"),
        ("hint", "4.5"),
        ("check", "4"),
        ("check", "3"),
        ("diff", "4", "--spoil"),
        ("reset", "2", "--yes"),
        ("lock-check", str(clone / EXERCISE / "solution")),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "workshop", *words],
            cwd=clone,
            env=environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        assert "no such module" not in done.stderr and "Traceback" not in done.stderr, (words, done.stderr)
        assert done.returncode == (1 if words[0] == "check" else 0), (words, done.stdout, done.stderr)


def status(clone):
    said = json.loads(workshop(clone, "progress", "--json").stdout)
    return said["exercises"][0]["checks"]


def test_progress_follows_the_files(clone):
    assert set(status(clone).values()) == {"not asked"}
    workshop(clone, "check", "2")
    assert status(clone) == {"2.1": "fail"} | {f"2.{k}": "not asked" for k in range(2, 9)}
    shipped = (clone / EXERCISE / "starter" / "pixi.toml").read_text()
    solve(clone, "pixi.toml")
    assert status(clone)["2.1"] == "changed"
    workshop(clone, "check", "2")
    assert [status(clone)[f"2.{k}"] for k in range(1, 6)] == ["ok"] * 4 + ["fail"]
    (clone / EXERCISE / "starter" / "pixi.toml").write_text(shipped)
    assert status(clone)["2.1"] == "changed"
    solve(clone, "pixi.toml")
    assert status(clone)["2.1"] == "ok"  # the content is back, and with it what was seen
    plain = workshop(clone, "progress").stdout
    assert plain.startswith("2  ++++xx..  4 of 8") and "\x1b" not in plain


def test_one_check_is_run_by_its_number(clone, refused):
    solve(clone, "pixi.toml")
    done = workshop(clone, "check", "2.4")
    assert done.returncode == 0 and done.stdout.startswith("ok   2.4") and "2.1" not in done.stdout, done.stdout
    assert status(clone)["2.4"] == "ok" and status(clone)["2.1"] == "not asked"
    assert "fail 2.5" in workshop(clone, "check", "2.5").stdout
    refused(workshop(clone, "check", "2.9"), "one of 2.1, 2.2")
    refused(workshop(clone, "check", "2.x"))


def test_changed_checks_are_run_again(clone):
    solve(clone, "pixi.toml")
    workshop(clone, "check", "2")
    path = clone / EXERCISE / "checks.py"
    path.write_text(path.read_text() + "\n# a check was mended\n")
    assert status(clone)["2.1"] == "changed"


def test_damaged_entries_of_the_progress_file_are_dropped(clone, capsys):
    workshop(clone, "check", "2")
    path = clone / ".workshop" / "progress-2.json"
    sound = json.loads(path.read_text())
    for content in (
        "",
        "[]",
        "[" * 100_000,
        '{"version": 1}',
        '{"version": 1, "checks": 3}',
        '{"version": 1, "checks": {"2.1": ["ok"]}}',
        "\x00\xff",
        json.dumps(sound)[:-9],
        *(
            json.dumps(sound | {"checks": {"2.1": sound["checks"]["2.1"] | {key: value}}})
            for key in ("status", "content", "hints", "asked_since_hint")
            for value in (None, 7, "x" if key != "content" else [], {}, ["ok"])
        ),
    ):
        path.write_bytes(content.encode("latin-1"))
        assert set(progress.current_status(exercise_of(clone)).values()) == {"not asked"}, content
        note = capsys.readouterr().err
        assert note.count("note: ") == 1 and "is damaged" in note, content
    done = workshop(clone, "hint", "2")  # which writes a sound one
    assert done.returncode == 0 and "is damaged" in done.stderr and workshop(clone, "progress").stderr == ""
    path.write_text('{"version": 9, "checks": {}}')  # of another release: not damaged, and does not count
    assert workshop(clone, "progress").stderr == "" and set(status(clone).values()) == {"not asked"}
    workshop(clone, "check", "2")
    assert status(clone)["2.1"] == "fail"
    damaged = sound["checks"] | {"2.2": {"status": "ok"}}
    path.write_text(json.dumps(sound | {"checks": damaged}))
    done = workshop(clone, "progress", "--json")
    assert "is damaged" in done.stderr and json.loads(done.stdout)["exercises"][0]["checks"]["2.1"] == "fail"


def test_checks_of_another_workspace_do_not_count_as_progress(clone, tmp_path):
    shutil.copytree(clone / EXERCISE / "solution", tmp_path / "mine")
    (tmp_path / "mine" / "train.py").unlink()
    assert workshop(clone, "check", "2", str(tmp_path / "mine")).returncode == 0
    assert set(status(clone).values()) == {"not asked"}


def test_two_terminals_at_once_lose_no_result(clone):
    one = exercise_of(clone)
    content, rows = progress.content_hash(one), answers(2)
    threads = [threading.Thread(target=progress.record_results, args=(one, [row], content)) for row in rows]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(status(clone).values()) == {"ok"}


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 0)() == 0, reason="root writes everywhere, and so does Windows")
def test_a_read_only_checkout_can_be_checked(clone):
    clone.chmod(0o555)
    done = workshop(clone, "check", "2")
    clone.chmod(0o755)
    assert "fail 2.1" in done.stdout and "could not be written" in done.stderr


def test_a_check_runs_even_if_its_result_cannot_be_stored(clone):
    (clone / ".workshop").write_text("a file where a folder belongs")
    done = workshop(clone, "check", "2")
    assert "fail 2.1" in done.stdout and "could not be written" in done.stderr and "Traceback" not in done.stderr
    assert workshop(clone, "hint", "2").returncode == 0
    assert workshop(clone, "progress").returncode == 0


# ---------------------------------------------------------------- reset


def test_reset_restores_the_shipped_files_and_keeps_a_copy(clone):
    folder = clone / EXERCISE / "starter"
    before = {name: path.read_bytes() for name, path in starter.list_files(folder).items()}
    (folder / "pixi.toml").write_text("mine")
    (folder / "notes").mkdir()
    (folder / "notes" / "my ideas.md").write_text("ideas")
    (folder / ".pixi").mkdir()
    (folder / ".pixi" / "environment").write_text("gigabytes")
    (folder / "train.py").unlink()
    done = workshop(clone, "reset", "2", "--yes")
    assert done.returncode == 0, done.stderr
    assert {name: path.read_bytes() for name, path in starter.list_files(folder).items()} == before
    assert (folder / ".pixi" / "environment").exists()
    (kept,) = (clone / ".workshop" / "backups").iterdir()
    assert (kept / "pixi.toml").read_text() == "mine" and (kept / "notes" / "my ideas.md").read_text() == "ideas"
    assert not (kept / ".pixi").exists()
    assert "nothing to do" in workshop(clone, "reset", "2", "--yes").stdout


def test_a_committed_starter_can_be_restored(clone):
    folder = clone / EXERCISE / "starter"
    shipped = (folder / "pixi.toml").read_bytes()
    for text in ("first", "second"):
        (folder / "pixi.toml").write_text(text)
        commit(clone)
    assert workshop(clone, "reset", "2", "--yes").returncode == 0
    assert (folder / "pixi.toml").read_bytes() == shipped
    shutil.rmtree(folder)  # the whole folder is gone, and that was committed
    commit(clone)
    assert workshop(clone, "reset", "2", "--yes").returncode == 0
    assert (folder / "pixi.toml").read_bytes() == shipped


def test_without_a_history_reset_changes_nothing(clone, refused):
    folder = clone / EXERCISE / "starter"
    (folder / "pixi.toml").write_text("mine")
    shutil.rmtree(clone / ".git")
    refused(workshop(clone, "reset", "2", "--yes"), "clone the workshop again")
    assert (folder / "pixi.toml").read_text() == "mine"


def test_reset_asks_for_confirmation(clone, refused):
    pty = pytest.importorskip("pty", reason="no pretended terminal here")
    path = clone / EXERCISE / "starter" / "pixi.toml"
    path.write_text("mine")
    refused(workshop(clone, "reset", "2"), "--yes")
    for answer, wanted in ((b"\n", "mine"), (b"n\n", "mine"), (b"\x04", "mine"), (b"y\n", None)):  # \x04: Ctrl-D
        ours, theirs = pty.openpty()
        os.write(ours, answer)
        done = workshop(clone, "reset", "2", stdin=theirs)
        os.close(ours), os.close(theirs)
        assert "[y/N]" in done.stdout and done.returncode == (1 if wanted else 0), done.stderr
        assert "Traceback" not in done.stderr
        assert path.read_text() == wanted if wanted else path.read_text() != "mine"


@pytest.mark.slow
def test_killed_at_any_moment_nothing_is_lost(clone):
    folder, moments = clone / EXERCISE / "starter", random.Random(20261121)
    for _ in range(6):
        (folder / "pixi.toml").write_text("my manifest")
        (folder / "train.py").write_text("my script")
        (folder / "extra.txt").write_text("my notes")
        line = [sys.executable, "-m", "workshop", "reset", "2", "--yes"]
        environment = os.environ | {"PYTHONPATH": str(clone / "common")}
        process = subprocess.Popen(line, cwd=clone, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(moments.uniform(0.05, 0.5))
        process.kill()
        process.communicate()
        whole = [place for place in (clone / ".workshop" / "backups").glob("*") if place.suffix != ".partial"] + [
            folder
        ]
        for name, text in (("pixi.toml", "my manifest"), ("train.py", "my script"), ("extra.txt", "my notes")):
            assert any((place / name).exists() and (place / name).read_text() == text for place in whole), name
        assert workshop(clone, "reset", "2", "--yes").returncode == 0
        assert starter.is_as_shipped(exercise_of(clone))
        shutil.rmtree(clone / ".workshop", ignore_errors=True)


def test_a_link_out_of_the_tree_is_not_followed(clone, tmp_path):
    outside = tmp_path / "precious.toml"
    outside.write_text("precious")
    path = clone / EXERCISE / "starter" / "pixi.toml"
    path.unlink()
    path.symlink_to(outside)
    assert workshop(clone, "reset", "2", "--yes").returncode == 0
    assert outside.read_text() == "precious" and not path.is_symlink()


# ---------------------------------------------------------------- diff


def test_the_solution_is_shown_after_all_checks_pass(clone, refused):
    refused(workshop(clone, "diff", "2"), "--spoil")
    done = workshop(clone, "diff", "2", "--spoil")
    assert done.returncode == 0 and "+    torch.manual_seed(seed)" in done.stdout and "\x1b" not in done.stdout
    assert "starter/pixi.toml" in done.stdout and "starter/pixi.lock" not in done.stdout
    solve(clone, "pixi.toml", "pixi.lock", "train.py")
    one = exercise_of(clone)
    progress.record_results(one, answers(2), progress.content_hash(one))
    assert workshop(clone, "diff", "2").stdout == "no difference\n"
    (clone / EXERCISE / "starter" / "train.py").write_bytes(b"\xff binary")
    assert workshop(clone, "diff", "2", "--spoil").returncode == 0
    refused(workshop(clone, "diff", "2"), "have changed since")
    refused(workshop(clone, "diff", "9"), "one of 2")


# ---------------------------------------------------------------- watch


@pytest.mark.slow  # test_watch.py watches in the fast tier
@pytest.mark.skipif(os.name == "nt", reason="no SIGINT for one process")
def test_watch_checks_again_after_a_save_and_ends_on_ctrl_c(clone):
    environment = os.environ | {"PYTHONPATH": str(clone / "common")}
    process = subprocess.Popen(
        ctrl_c.python("-u", "-m", "workshop", "watch", "2"),
        cwd=clone,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    def until(words):
        for said in process.stdout:
            if words in said:
                return said
        raise AssertionError(process.stderr.read())

    until("fail 2.1")
    until("watching")
    path = clone / EXERCISE / "starter" / "pixi.toml"
    path.write_text("")  # an editor that empties the file first
    path.write_text((clone / EXERCISE / "solution" / "pixi.toml").read_text())
    until("ok   2.4")
    until("fail 2.5")
    until("watching")
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 130 and stderr.strip() == "interrupted"


def test_watch_of_an_unknown_exercise(clone, refused):
    refused(workshop(clone, "watch", "7"), "one of 2")


def test_an_unknown_exercise_suggests_another():
    with pytest.raises(WorkshopError, match="one of 1, 2, 3, 4, 5"):
        exercises.find(9)
