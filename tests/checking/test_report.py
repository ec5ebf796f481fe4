"""The output of `check`, `hint` and `progress`: wrapped and coloured on a terminal, unchanged when piped."""

import io
import re

import pytest

from workshop.support import report

TEXT = """\
fail 2.3  the environment for a GPU asks for a build that was made for CUDA 12, and for no other

looked at: the environments in pixi.toml, for every platform that they name
expected:  a build of PyTorch for CUDA 12 on linux-64-cuda12, and one for the CPU on all the others
next:      (cd starter && pixi add --no-install --feature cuda12 "pytorch-gpu>=2.10,<3" --platform linux-64-cuda12)
hint:      A GPU needs a driver, and a driver is a property of the machine. σ
2  x??????    0 of 7  PyTorch on the CPU and on CUDA 12, with a title that is longer than the line"""


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    def say(text, **variables):
        for name in ("NO_COLOR", "FORCE_COLOR"):
            monkeypatch.delenv(name, raising=False)
        for name, value in {"COLUMNS": "60", "TERM": "xterm-256color", **variables}.items():
            monkeypatch.setenv(name, value)
        there = Terminal()
        monkeypatch.setattr("sys.stdout", there)
        report.print_text(text)
        return there.getvalue()

    return say


def plain(text):
    return re.sub(r"\x1b\[[\d;]*m", "", text)


def test_lines_are_wrapped_beside_their_head_on_a_terminal(terminal):
    lines = plain(terminal(TEXT)).splitlines()
    assert all(len(line) <= 60 for line in lines if not line.startswith("next:")), lines
    at = lines.index("expected:  a build of PyTorch for CUDA 12 on")
    assert lines[at + 1] == "           linux-64-cuda12, and one for the CPU on all the"
    assert lines[0].startswith("fail 2.3  the") and lines[1].startswith("          was")
    assert lines[-1].startswith(" " * 22)
    words = plain(terminal(TEXT)).split()
    assert words == TEXT.split()


def test_the_next_step_is_not_wrapped(terminal):
    command = next(line for line in TEXT.splitlines() if line.startswith("next:"))
    assert command in plain(terminal(TEXT)).splitlines()


def test_a_narrow_terminal_has_the_text_below_its_head(terminal):
    lines = terminal(TEXT.splitlines()[-1], COLUMNS="40", NO_COLOR="1", TERM="dumb").splitlines()
    assert lines[0].endswith("0 of 7") and lines[1].startswith("    PyTorch") and max(map(len, lines)) <= 40


def test_a_next_step_that_is_no_command_is_wrapped(terminal):
    text = "next:      edit exercise-2/starter/pixi.toml, step 2.1 of README.md; workshop hint 2.1 tells you more"
    lines = terminal(text, NO_COLOR="1", TERM="dumb").splitlines()
    assert len(lines) == 2 and lines[1].startswith(11 * " ") and max(map(len, lines)) <= 60
    assert " ".join(" ".join(lines).split()) == " ".join(text.split())


def test_the_status_is_in_colour_unless_it_is_disabled(terminal):
    assert "\x1b[1;31mfail\x1b[0m 2.3" in terminal(TEXT)
    assert "\x1b[32mok\x1b[0m   2.3" in terminal("ok   2.3  it holds")
    for variables in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert not re.search(r"\x1b\[[\d;]*3[123]m", terminal(TEXT, **variables))


def test_piped_output_is_unchanged(capsys):
    report.print_text(TEXT)
    assert capsys.readouterr().out == TEXT + "\n"


def test_characters_that_a_terminal_cannot_show(terminal, monkeypatch):
    monkeypatch.setattr(Terminal, "encoding", "ascii")
    said = terminal("hint:      1 σ")
    assert said.endswith("1 ?\n")
