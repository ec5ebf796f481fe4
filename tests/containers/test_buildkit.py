"""Dockerfiles are parsed as BuildKit parses them: the solution, the starter, and thousands of damaged versions of both."""

import random

import pytest
from conftest import ROOT
from test_public_dockerfiles import DOCUMENTED, SHELL_HOOK

from workshop.containers import dockerfile
from workshop.errors import WorkshopError

buildkit = pytest.importorskip("dockerfile", reason="BuildKit's parser has wheels for Linux on x86-64 (the extra test)")
FOLDER = ROOT / "exercise-5-container"
TEXTS = [(FOLDER / name / "Dockerfile").read_text() for name in ("solution", "starter")]
PIECES = ("\\", "<<EOF", "<<-'E'", "\n", '"', "'", "#", "$", "{", "}", "=", " ", "\t", "FROM ", "ENV A", "LABEL ")
PIECES += ("RUN ", "ARG ", "[", "]", "--x=y", "EOF", "`", "\r\n", "# escape=`\n")
# What only the builder refuses after it has parsed the file; here, the parser does.
STRICTER = ("an instruction such as", "something after")


def ours(text, path):
    """(name, line, heredocs, JSON list or None) of each instruction, or the message that refuses the file."""
    try:
        instructions = dockerfile.parse(text, path)
    except WorkshopError as error:
        return error.expected
    return [(i.name, i.line, tuple(body.rstrip("\n") for body in i.heredocs), i.exec_form) for i in instructions]


def theirs(text):
    try:
        commands = buildkit.parse_string(text)
    except buildkit.GoParseError:
        return "refused"
    return [
        (
            command.cmd.upper(),
            command.start_line,
            tuple(heredoc.content.rstrip("\n") for heredoc in command.heredocs),
            # Of a HEALTHCHECK, we parse the list where it is used (`health_command`).
            list(command.value) if command.json and command.cmd.upper() != "HEALTHCHECK" else None,
        )
        for command in commands
    ]


@pytest.mark.parametrize("text", [*TEXTS, DOCUMENTED, SHELL_HOOK], ids=["solution", "starter", "documented", "hook"])
def test_instructions_are_those_of_buildkit(text, tmp_path):
    assert ours(text, tmp_path / "Dockerfile") == theirs(text)


@pytest.mark.parametrize("n", [100, pytest.param(2000, marks=pytest.mark.slow)])
def test_damaged_files_are_parsed_or_refused_as_by_buildkit(tmp_path, n):
    rng, compared = random.Random(20261126), 0
    for _ in range(n):
        text = rng.choice(TEXTS)
        start, length = rng.randrange(len(text)), rng.randrange(30)
        text = text[:start] + "".join(rng.choices(PIECES, k=rng.randrange(3))) + text[start + length :]
        result, expected = ours(text, tmp_path / "Dockerfile"), theirs(text)
        if isinstance(result, str):
            assert expected == "refused" or result.startswith(STRICTER), (text, result)
        else:
            assert result == expected, text
            compared += 1
    assert compared > n / 2  # most damage leaves a file that both accept
