"""No control character in a file's name or content reaches the terminal, and names that are not UTF-8 are shown.

The table has two parts, texts and places: each text is tried in each place.
"""

import io
import json
import os
import re
import sys

import attack
import learner
import pytest

from workshop.checking import checks, progress
from workshop.errors import WorkshopError, message_of
from workshop.exercises import Exercise
from workshop.runs.records import record
from workshop.support import report, terminal

TEXTS = {
    "clears the screen": "a\x1b[2Jb",
    "sets the title": "a\x1b]0;mine\x07b",
    "CSI in one character": "a\x9b31mb",
    "overwrites the line": "a\rb",
    "erases a character": "a\bb",
    "deletes": "a\x7fb",
    "reverses the direction": "a\u202eb",
    "isolates": "a\u2066b",
    "is another line": "a\u2028b",
    "next line": "a\x85b",
    "is not UTF-8": "a\udcffb",
    "looks like another part of the message": "a\nnext:      rm b",
}
UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u202e\u2066\ud800-\udfff]")


def name(text):
    return text.replace("/", "_")


def in_output(root, text):
    learner.workshop(root, f"print({ascii(text)}.encode('utf-8', 'surrogateescape').decode('utf-8', 'replace'))")
    return "check", 7


def in_error(root, text):
    learner.workshop(root, f"raise SystemExit({ascii(text)}.encode('utf-8', 'replace').decode())")
    return "check", 7


def in_removed_file(root, text):
    folder = learner.workshop(root, f"import os\nos.remove({ascii(name(text))})")
    (folder / name(text)).write_text("x")
    return "check", 7


def in_file_of_the_learner(root, text):
    folder = learner.workshop(root)
    (folder / name(text)).write_text("x")
    return "reset", 7, "--yes"


def in_link(root, text):
    folder = learner.workshop(root)
    (folder / name(text)).symlink_to(name(text) + "2")
    return "reset", 7, "--yes"


def in_difference(root, text):
    learner.workshop(root, f"# {text}\n")
    return "diff", 7, "--spoil"


def in_title(root, text):
    learner.workshop(root)
    path = root / "exercise-7-x" / "exercise.toml"
    title = json.dumps(text.encode("utf-8", "replace").decode()).replace("\x7f", "\\u007f")
    path.write_text(path.read_text().replace('"A title"', title))
    return ("progress",)


def in_settings(root, text):
    learner.workshop(root)
    (root / "exercise-7-x" / "exercise.toml").write_text(f"title = {text}", errors="surrogateescape")
    return ("progress",)


def in_checks(root, text):
    learner.workshop(root)
    (root / "exercise-7-x" / "checks.py").write_text(f"raise ValueError({ascii(text)})")
    return "hint", 7


def in_folder(root, text):
    learner.workshop(root)
    return "check", 7, root / name(text)


def in_argument(root, text):
    learner.workshop(root)
    return "hint", text


def in_command(root, text):
    return (text,)


def in_workspace(root, text):
    (root / name(text)).mkdir()
    return "lock-check", root / name(text)


def in_run(root, text):
    learner.workshop(root)
    (root / "results" / "exercise-7-x" / name(text)).mkdir(parents=True)
    (root / "results" / "exercise-7-x" / name(text) / "run.json").write_text("{}")
    return ("runs",)


PLACES = (
    in_output, in_error, in_removed_file, in_file_of_the_learner, in_link, in_difference, in_title, in_settings,
    in_checks, in_folder, in_argument, in_command, in_workspace, in_run,
)  # fmt: skip


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(checks.preload, "modules_for", lambda _: ("json",))  # which is imported soon
    return tmp_path


@pytest.mark.skipif(os.name == "nt", reason="such names do not exist there")
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__.replace("_", " "))
def test_no_control_character_reaches_the_terminal(root, place, text):
    words = place(root, text)
    done = attack.call(*words, cwd=root)
    printed = done.stdout + done.stderr
    assert done.returncode in (0, 1) and "Traceback" not in printed, printed
    assert not UNSAFE.search(printed), printed
    assert not re.search("^next: +rm b", printed, re.MULTILINE), printed
    printed.encode()


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize(
    "as_print", [report.print_text, lambda text: report.print_lines([text])], ids=["text", "lines"]
)
def test_a_terminal_gets_our_colours_alone(monkeypatch, as_print, text):
    """On a terminal too, where our own output contains escape sequences."""
    screen = io.StringIO()
    screen.isatty = lambda: True
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("TERM", "xterm")
    with terminal.printable_output():
        as_print(f"ok   2.1  {text}")
    assert not UNSAFE.search(re.sub(r"\x1b\[[0-9;]*m", "", screen.getvalue())), screen.getvalue()
    assert "\x1b[2J" not in screen.getvalue()


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_json_keeps_its_meaning(text):
    """Also where JSON contains characters as they are."""
    for ascii_alone in (True, False):
        printed = terminal.printable(json.dumps({"name": text}, ensure_ascii=ascii_alone))
        assert json.loads(printed) == {"name": text} and not UNSAFE.search(printed)


def test_a_message_has_four_parts_whatever_is_in_them():
    problem = WorkshopError(looked_at="a\nnext: b", expected="c\n\nd", found="e\nfound: f", next_step="g\nlooked at: h")
    heads = [line.split(":")[0] for line in message_of(problem).splitlines() if not line.startswith(" " * 11)]
    assert heads == ["looked at", "expected", "found", "next"]


@pytest.mark.skipif(os.name == "nt", reason="such names do not exist there")
def test_names_that_are_not_utf_8_are_recorded(tmp_path, monkeypatch):
    """A run with such a script, folder and output has a record that is valid JSON and contains the names."""
    odd = "ab\udcff"
    (tmp_path / odd).mkdir()
    script = tmp_path / odd / f"{odd}.py"
    script.write_text("# a script\n")
    monkeypatch.setattr(sys, "argv", [str(script), odd])
    run = record.start("exercise-0", str(script), str(tmp_path / odd / odd), seed=0)
    (run.folder / odd).write_text("1\n")
    content = {"determinism": {}, "device": {"type": "cpu", "name": "x"}, "metrics": [{"name": "m", "value": 1}]}
    place = record.finish(run, (), seed=0, dataset={"name": "d", "sha256": "0" * 64}, **content)
    document = json.loads((place / "run.json").read_bytes())
    assert [output["path"] for output in document["outputs"]] == [odd] and document["argv"][1] == odd
    assert "ab%FF" in (place / "ro-crate-metadata.json").read_text(encoding="utf-8")


@pytest.mark.skipif(os.name == "nt", reason="such names do not exist there")
def test_results_count_for_names_that_are_not_utf_8(tmp_path):
    folder = learner.workshop(tmp_path)
    exercise = Exercise(7, folder.parent, {})
    before = progress.content_hash(exercise)
    (folder / "ab\udcff").write_text("x")
    assert progress.content_hash(exercise) != before
