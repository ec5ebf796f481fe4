"""The pictures of terminals: their text is what the commands print now, they are small, and they load nothing."""

import re
import shutil
from html import unescape

import pytest
from conftest import ROOT

from workshop import cli

FOLDER = ROOT / "docs/terminal"
STILLS = ("bare", "check", "doctor", "environments", "watch")


def words_of(picture):
    """The words of a picture, in the order in which they are drawn."""
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", (FOLDER / picture).read_text(encoding="utf-8"))
    return " ".join(unescape(" ".join(texts)).split())


@pytest.mark.parametrize("name", ["session", *STILLS])
def test_pictures_are_small_and_load_nothing(name):
    for path in FOLDER.glob(f"{name}*.svg"):
        text = path.read_text(encoding="utf-8")
        assert len(text) < 400 * 1024 and "prefers-reduced-motion" in text
        assert not re.findall(r"(?:url\(|href=\"|src=\")(?!#)", text) and "<script" not in text
        assert "/tmp" not in text and "/root" not in text and "/home" not in text


@pytest.mark.parametrize("name", STILLS)
def test_both_themes_show_the_same_text(name):
    assert words_of(f"{name}.svg") == words_of(f"{name}-dark.svg")


def test_the_picture_of_a_failed_check_is_what_it_prints_now(tmp_path, monkeypatch, capsys):
    for name in ("exercise.toml", "checks.py", "starter"):
        source, target = ROOT / "exercise-2-pytorch-cu12" / name, tmp_path / "exercise-2-pytorch-cu12" / name
        target.parent.mkdir(exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PIXI_ENVIRONMENT_NAME", raising=False)  # with Pixi, the commands begin with `pixi run`
    assert cli.main(["check", "2"]) == 1
    printed = " ".join(capsys.readouterr().out.split())
    shown = words_of("check.svg").removeprefix("$ workshop check 2 ")
    assert shown == printed, "docs/terminal/record.py check"
    assert printed.partition(" hint:")[0] in words_of("watch.svg"), "docs/terminal/record.py watch"
    assert printed.partition(" hint:")[0] in words_of("session.svg"), "docs/terminal/record.py session"
