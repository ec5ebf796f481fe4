"""`workshop watch` with keys, on two exercises whose only check reads a file; and `workshop` without arguments."""

import os
import subprocess
import sys
from contextlib import nullcontext

import pytest
from conftest import ROOT

from workshop import cli, exercises, route, shell
from workshop.checking import watch
from workshop.support import keys

CHECKS = """
from workshop.checking.checks import Check, fail, ok
from workshop.errors import WorkshopError


def solved(workspace):
    text = (workspace.folder / "answer.txt").read_text()
    message = dict(looked_at="answer.txt, line 1", expected="42", found=text, next_step="workshop hint N")
    return ok(text) if text == "42" else fail(**message)


CHECKS = [Check("N.1", "the answer is right", ("a first hint", "a second hint", "a third hint"), solved)]
"""
SETTINGS = 'title = "Title N"\nenvironments = ["cpu"]\nstarter_fails_at = "N.1"\n[starter]\n'


@pytest.fixture
def answers(tmp_path, monkeypatch):
    """Two exercises, 1 and 2; returns the files that hold their answers, by number."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PIXI_ENVIRONMENT_NAME", raising=False)  # with Pixi, the commands begin with `pixi run`
    found = {}
    for number in ("1", "2"):
        folder = tmp_path / f"exercise-{number}-x"
        (folder / "starter").mkdir(parents=True)
        (folder / "checks.py").write_text(CHECKS.replace("N", number))
        (folder / "exercise.toml").write_text(SETTINGS.replace("N", number))
        found[int(number)] = folder / "starter/answer.txt"
        found[int(number)].write_text("41")
    return found


@pytest.fixture
def watching(monkeypatch, capsys):
    """A function that runs `workshop watch`, types keys and makes saves in turn, and returns what was printed."""

    def run(*steps, words=()):
        """steps: a key, or a function that saves. The last one is followed by q. A step is made at each wait."""
        left = [*steps, "q"]

        class Typed:
            available = True
            __enter__ = lambda self: self  # noqa: E731
            __exit__ = lambda self, *_: None  # noqa: E731
            paused = staticmethod(nullcontext)
            waiting = False

            def typed(self):
                if not self.waiting:
                    return ""
                step = left.pop(0)
                if callable(step):
                    step()
                self.waiting = not callable(step) and step not in "nc"
                return "" if callable(step) else step

        def print_footer(*given):
            footer(*given)
            given[1].waiting = True

        footer = watch._print_footer

        monkeypatch.setattr(watch, "Keys", Typed)
        monkeypatch.setattr(watch, "_print_footer", print_footer)
        for name in ("POLL_INTERVAL", "KEY_INTERVAL", "SETTLE_TIME"):
            monkeypatch.setattr(watch, name, 0.001)
        assert cli.main(["watch", *words]) == 0
        monkeypatch.setattr(watch, "_print_footer", footer)
        return capsys.readouterr().out

    return run


def test_it_begins_at_the_first_unfinished_exercise_and_goes_on_by_itself(answers, watching):
    printed = watching(lambda: answers[1].write_text("42"))
    first, second = printed.split("going on to exercise 2: Title 2")
    assert "fail 1.1" in first and "watching starter/ of exercise 1" in first
    assert "exercise 1 is done; workshop diff 1" in first
    assert "fail 2.1" in second and "1 of 2 checks pass  [##########..........]" in second
    assert "fail 2.1" in watching() and "keys: h hint" in watching()


def test_after_the_last_one(answers, watching, capsys):
    answers[1].write_text("42")
    printed = watching(lambda: answers[2].write_text("42"))
    assert "exercise 2 is done" in printed and "2 of 2 checks pass" in printed
    assert cli.main(["watch"]) == 0
    assert "all exercises are done" in capsys.readouterr().out


def test_an_exercise_that_was_done_stays_if_you_name_it(answers, watching):
    answers[1].write_text("42")
    assert "fail 2.1" in watching()
    printed = watching("n", words=["1"])
    assert printed.index("ok   1.1") < printed.index("watching starter/ of exercise 1") < printed.index("fail 2.1")


def test_parts(answers, watching):
    """A part that passes leads to the next unfinished part, and the key n to the next one."""
    folder = answers[1].parents[1]
    solved = '[parts.1a]\ntitle = "First"\nchecks = ["1.1"]\n[parts.1b]\ntitle = "Second"\nchecks = ["1.2"]\n'
    (folder / "exercise.toml").write_text(SETTINGS.replace("N", "1") + solved)
    checks = CHECKS.replace("N", "1").replace("CHECKS = [", 'CHECKS = [Check("1.2", "another", HINTS, other), ')
    other = 'HINTS = ("a", "b", "c")\ndef other(workspace):\n    return fail(looked_at="x", expected="y", found="z", next_step="w")\n\n\n'
    (folder / "checks.py").write_text(checks.replace("def solved", f"{other}def solved"))
    printed = watching(lambda: answers[1].write_text("42"), words=["1a"])
    assert "watching starter/ of part 1a" in printed and "part 1a is done" in printed
    assert "going on to part 1b: Second" in printed and "watching starter/ of part 1b" in printed
    assert "watching starter/ of exercise 2" in watching("n", words=["1b"])
    assert "watching starter/ of part 1b" in watching("n", words=["1a"])
    assert "ok   1.1" in watching(words=["1.1"])


def test_results_that_a_save_does_not_affect_stay(answers, watching):
    folder = answers[1].parents[1]
    checks = (
        (folder / "checks.py").read_text().replace("CHECKS = [", 'CHECKS = [Check("1.0", "always", HINTS, always), ')
    )
    always = 'HINTS = ("a", "b", "c")\ndef always(workspace):\n    return ok("a")\n\n\n'
    (folder / "checks.py").write_text(checks.replace("def solved", f"{always}def solved"))
    printed = watching(lambda: answers[1].write_text("43"), words=["1"])
    assert printed.count("ok   1.0") == 2 and printed.count("fail 1.1") == 2
    assert "0 skipped (1 not run again, because nothing that they read has changed)" in printed


def test_a_run_and_a_commit_are_noticed(answers):
    exercise = exercises.find(1)
    before = watch._snapshot(exercise)
    for path in (answers[1].parents[2] / "results/exercise-1-x/run/run.json", answers[1].parent / ".git/logs/HEAD"):
        path.parent.mkdir(parents=True)
        path.write_text("{}")
        assert watch._snapshot(exercise) != before
        before = watch._snapshot(exercise)


def test_keys_for_hints_and_the_list(answers, watching):
    printed = watching("h", "l", "x", "c")
    assert "hint 1:  a first hint" in printed and printed.count("fail 1.1") == 2
    assert "hint:" not in printed and "save it; the key h then prints the next hint" in printed
    assert "1  x  0 of 1  Title 1" in printed


def test_a_key_opens_the_file_of_the_problem_in_the_editor(answers, watching, monkeypatch, tmp_path):
    opened = tmp_path / "opened"
    editor = tmp_path / "editor.py"
    editor.write_text(f"import sys\nopen({str(opened)!r}, 'w').write(' '.join(sys.argv[1:]))")
    monkeypatch.delenv("TERM_PROGRAM", raising=False)
    monkeypatch.setenv("VISUAL", shell.word(sys.executable) + " " + shell.word(str(editor)))
    watching("o")
    assert opened.read_text() == str(answers[1])
    nano = editor.with_name("nano.py")  # an editor that can open a file at a line
    editor.rename(nano)
    monkeypatch.setattr(watch.subprocess, "run", lambda words, check: opened.write_text(" ".join(words)))
    monkeypatch.setattr(watch.shutil, "which", str)
    monkeypatch.setenv("VISUAL", "/usr/bin/nano --softwrap")
    watching("o")
    assert opened.read_text() == f"/usr/bin/nano --softwrap +1 {answers[1]}"
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TERM_PROGRAM", raising=False)
    monkeypatch.setenv("VISUAL", "an-editor-of-nobody")
    assert "an-editor-of-nobody, which is not installed" in watching("o")
    monkeypatch.setenv("VISUAL", "an-editor 'with an open quote")
    assert "which is not installed" in watching("o")
    monkeypatch.delenv("VISUAL")
    monkeypatch.delenv("EDITOR", raising=False)
    assert "no variable VISUAL or EDITOR" in watching("o")


def test_without_arguments_you_see_your_progress_and_the_next_command(answers, capsys):
    assert cli.main([]) == 0
    printed = capsys.readouterr().out
    assert "0 of 1  Title 1" in printed and "next:      workshop watch 1  # Title 1" in printed


def test_commands_are_those_of_your_route(answers, capsys, monkeypatch):
    monkeypatch.setenv("PIXI_ENVIRONMENT_NAME", "default")
    monkeypatch.delenv("WORKSHOP_REVISION", raising=False)
    assert cli.main([]) == 0 and cli.main(["check", "1"]) == 1
    printed = capsys.readouterr().out
    assert "next:      pixi run watch 1" in printed and "next:      pixi run hint 1" in printed
    monkeypatch.delenv("PIXI_ENVIRONMENT_NAME")
    monkeypatch.setattr(sys, "argv", [str(answers[1].parents[2] / ".venv/bin/workshop")])
    monkeypatch.setenv("PATH", "")
    cli.main([])
    assert "next:      .venv/bin/workshop watch 1" in capsys.readouterr().out


def test_every_command_of_the_workshop_is_a_task_or_not():
    assert set(cli.COMMANDS) - set(route.TASKS) == {"lock-slice", "completion"}
    assert not set(route.TASKS) - set(cli.COMMANDS)
    tasks = (ROOT / "pixi.toml").read_text()
    assert all(f"\n[tasks.{name}]\n" in tasks for name in route.TASKS)


def test_without_keys_the_first_hint_is_printed_at_once(answers, capsys):
    target = watch.Target(exercises.find(1), "1")
    assert watch._check(target, False, keys.Keys()).status == "fail"
    assert "hint:      a first hint" in capsys.readouterr().out


def test_keys_without_a_letter_are_not_taken_for_letters():
    assert keys.ESCAPE.sub("", "\x1b[Ah\x1bOPl\x1b[15~\x1b[1;5Cn\x1bxq\x1b") == "hlnq"


# `pty.fork` would do this, but a test in this process may have started JAX, whose threads do not survive a fork.
TAKE_THE_TERMINAL = """\
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.mark.skipif(os.name == "nt", reason="no pseudo-terminals")
def test_in_a_terminal(answers):
    """Keys without Enter; the line of the running check; a link to the file; the terminal afterwards as before."""
    import pty
    import termios

    terminal, other_end = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", TAKE_THE_TERMINAL, sys.executable, "-m", "workshop", "watch"],
        **dict.fromkeys(("stdin", "stdout", "stderr"), other_end),
        env=os.environ | {"PYTHONPATH": str(ROOT / "common"), "TERM": "xterm-256color", "COLUMNS": "100"},
        start_new_session=True,
    )
    os.close(other_end)
    seen = ""

    def until(words):
        nonlocal seen
        while words not in seen:
            seen += os.read(terminal, 4096).decode()

    until("q quit")
    assert not termios.tcgetattr(terminal)[3] & termios.ECHO
    assert "1.1  the answer is right ..." in seen and f"{answers[1].as_uri()}#1" in seen
    os.write(terminal, b"\x1b[A")  # an arrow key
    os.write(terminal, b"h")
    until("a first hint")
    answers[1].write_text("42")
    until("watching starter/ of exercise 2")
    os.write(terminal, b"q")
    assert process.wait() == 0
    os.close(terminal)


@pytest.mark.skipif(os.name == "nt", reason="no pseudo-terminals")
def test_no_keys_in_a_terminal_of_somebody_else(monkeypatch):
    import pty

    ours, other_end = pty.openpty()
    with open(other_end) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        monkeypatch.setattr(sys, "stdout", terminal)
        monkeypatch.setenv("TERM", "xterm")
        assert not keys.Keys().available
    os.close(ours)
