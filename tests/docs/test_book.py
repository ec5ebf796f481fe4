"""The book: it builds without a warning, needs no other host, and quotes messages that the program has."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pages
import pytest
from conftest import ROOT

PAGES = [*pages.book_pages(), *pages.exercise_pages()]


@pytest.fixture(scope="session")
def book(tmp_path_factory) -> Path:
    """The book as HTML, built as `pixi run docs` builds it; every warning is an error."""
    pytest.importorskip("furo", reason="the extra docs is not installed")
    folder = tmp_path_factory.mktemp("book")
    line = [sys.executable, "-m", "sphinx", "-q", "-W", "-n", "-c", "docs", ".", str(folder)]
    done = subprocess.run(line, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class Elements(HTMLParser):
    """The elements of a page with their attributes."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


@pytest.mark.slow
def test_every_page_is_complete_without_another_host(book):
    """Scripts, styles, pictures and frames come with the book; other hosts are only linked."""
    built = sorted(book.rglob("*.html"))
    assert len(built) >= len(PAGES)
    for page in built:
        for tag, attributes in Elements(page).found:
            loads = {"script": "src", "img": "src", "iframe": "src", "link": "href", "source": "src"}.get(tag)
            address = attributes.get(loads) if loads else None
            assert not address or not re.match(r"(?i)(https?:)?//", address), (page.name, tag, address)
    for style in book.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//|@import", style.read_text(encoding="utf-8")), style


@pytest.mark.slow
def test_every_link_inside_the_book_leads_somewhere(book):
    for page in book.rglob("*.html"):
        for tag, attributes in Elements(page).found:
            target = (attributes.get("href") or "") if tag == "a" else ""
            if target and not re.match(r"[a-z]+:|#", target):
                assert (page.parent / target.partition("#")[0].partition("?")[0]).exists(), (page, target)


@pytest.mark.slow
def test_formulas_are_mathml(book):
    page = (book / "exercise-1-scipy/README.html").read_text(encoding="utf-8")
    assert "<math" in page and r"\mathrm" not in page


@pytest.mark.slow
def test_every_command_is_in_the_reference(book):
    from workshop import cli

    page = (book / "docs/commands.html").read_text(encoding="utf-8")
    assert [name for name in cli.COMMANDS if f"workshop {name}" not in page] == []


def test_every_page_is_in_the_table_of_contents():
    index = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    names = [f"{name}.md" for name in re.findall(r"(?m)^(?:\.\./)?[\w./*-]+$", index)]
    listed = {path.resolve() for name in names for path in (ROOT / "docs").glob(name) if not name.startswith("..")}
    listed |= {(ROOT / "docs" / name).resolve() for name in names if name.startswith("..")}
    assert [page for page in PAGES if page.name != "index.md" and page not in listed] == []


def test_the_messages_of_the_workshop_are_quoted_as_printed():
    """Each message under this heading is in the source of the program, word for word."""
    page = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    section = page.partition("## Messages of the workshop\n")[2].partition("\n## ")[0]
    quoted = re.findall(r"(?m)^\*\*`([^`]+)`\*\*", section)
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "common").rglob("*.py"))
    source = source.replace("{framework}", "PyTorch")
    assert len(quoted) >= 5 and [text for text in quoted if text not in source] == []


def test_the_glossary_is_sorted():
    text = (ROOT / "docs/glossary.md").read_text(encoding="utf-8")
    terms = [term.strip("`").lower() for term in re.findall(r"(?m)^(?!:::|#|  )(\S.*)$", text)]
    assert len(terms) >= 30 and terms == sorted(terms)
