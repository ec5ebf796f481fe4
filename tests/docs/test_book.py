"""The book: it builds without a warning, needs no other host, and quotes messages that the program has."""

import html
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import axe
import pages
import pytest
from conftest import ROOT, module_of

import histfactory
import pixi_workspace
from workshop import exercises, runs

PAGES = [*pages.book_pages(), *pages.exercise_pages()]


@pytest.fixture(scope="session")
def book(tmp_path_factory) -> Path:
    """The book as HTML, built as `pixi run docs` builds it; every warning is an error."""
    pytest.importorskip("furo", reason="the extra docs is not installed")
    folder = tmp_path_factory.mktemp("book")
    trees = str(tmp_path_factory.mktemp("trees"))
    for builder, output in (("html", folder), ("singlehtml", folder / "single")):
        line = [
            sys.executable,
            "-m",
            "sphinx",
            "-q",
            "-W",
            "-n",
            "-b",
            builder,
            "-d",
            trees,
            "-c",
            "docs",
            ".",
            str(output),
        ]
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
    """Relative links alone, so the book also works from a folder: every page and every heading that they name exists."""
    built = {page: Elements(page).found for page in book.rglob("*.html")}
    names = {page.resolve(): {a["id"] for _, a in found if a.get("id")} for page, found in built.items()}
    wrong = []
    for page, found in built.items():
        for tag, attributes in found:
            target = (attributes.get("href") or "") if tag == "a" else ""
            if not target or target == "#" or re.match(r"[a-z]+:", target):
                continue
            file, _, heading = target.partition("#")
            path = (page.parent / file.partition("?")[0]).resolve() if file else page.resolve()
            if not path.exists() or (heading and heading not in names.get(path, {heading})):
                wrong.append((page.relative_to(book).as_posix(), target))
    assert wrong == []


@pytest.mark.slow
def test_one_page_contains_all_others(book):
    single = (book / "single/index.html").read_text(encoding="utf-8")
    titles = [re.search(r"(?m)^# (.+)$", page.read_text(encoding="utf-8"))[1] for page in pages.lesson_pages()]
    headings = {re.sub(r"<[^>]+>", "", heading) for heading in re.findall(r"<h\d>(.+?)<a class=\"headerlink", single)}
    assert {html.escape(title.replace("`", ""), False) for title in titles} <= headings
    assert all(f'id="document-{name}/README"' in single for name in ("exercise-1-scipy", "exercise-5-container"))


@pytest.mark.slow
def test_llms_txt_lists_every_page(book):
    lines = re.findall(r"(?m)^- \[(.+)\]\((.+)\): (.+)$", (book / "llms.txt").read_text(encoding="utf-8"))
    listed = {target for _, target, _ in lines}
    expected = {page.relative_to(ROOT).with_suffix(".html").as_posix() for page in PAGES}
    assert expected - listed == {"docs/index.html"} and all((book / target).exists() for target in listed)


@pytest.mark.slow
def test_every_page_names_its_licences(book):
    for page in [*book.glob("docs/**/*.html"), book / "single/index.html"]:
        text = page.read_text(encoding="utf-8")
        assert 'rel="license"' in text and "BSD-3-Clause" in text, page
    assert "CC-BY-4.0" in (book / "LICENSE").read_text(encoding="utf-8")


@pytest.mark.slow
def test_formulas_are_mathml(book):
    page = (book / "exercise-1-scipy/README.html").read_text(encoding="utf-8")
    assert "<math" in page and r"\mathrm" not in page


@pytest.mark.slow
def test_every_command_is_in_the_reference(book):
    from workshop import cli

    page = (book / "docs/commands.html").read_text(encoding="utf-8")
    assert [name for name in cli.COMMANDS if f"workshop {name}" not in page] == []


@pytest.mark.slow
@pytest.mark.parametrize(("name", "format"), [("docs/card", ""), ("docs/teach/thursday", "landscape")])
def test_a_sheet_to_print_is_one_page(book, tmp_path, name, format):
    """As it is, on A4 and on the paper of North America, as headless Chromium prints it."""
    program = axe.chromium()
    page = book / f"{name}.html"
    for size in ("", "A4", "letter"):
        copy = page.with_name(f"{page.stem}-{size}.html")
        style = f"<style>@page {{ size: {size} {format}; }}</style></head>" if size else "</head>"
        copy.write_text(page.read_text(encoding="utf-8").replace("</head>", style), encoding="utf-8")
        printed = tmp_path / "sheet.pdf"
        line = [program, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
        subprocess.run(
            [*line, f"--print-to-pdf={printed}", copy.as_uri()], check=True, capture_output=True, timeout=120
        )
        copy.unlink()
        assert len(re.findall(rb"/Type\s*/Page\b(?!s)", printed.read_bytes())) == 1, size


@pytest.mark.system("downloads axe-core from npm")
def test_axe_finds_nothing_in_either_theme(book, tmp_path):
    """On no page, all of which are at most as wide as a telephone."""
    result = axe.run(book, tmp_path)
    assert result["pages"] >= len(PAGES) and result["found"] == [], json.dumps(result["found"], indent=1)


def test_every_key_of_exercise_toml_and_every_public_name_is_in_the_reference():
    pytest.importorskip("sphinx", reason="the extra docs is not installed")
    text = (ROOT / "docs/commands.md").read_text(encoding="utf-8").partition("## `exercise.toml`")[2]
    keys = {key for e in exercises.find_all(ROOT) for key in e.settings}
    assert [key for key in sorted(keys) if f"`{key}`" not in text] == []
    table = module_of(ROOT / "docs/extensions/generated.py").public_api()
    names = [*histfactory.__all__, *pixi_workspace.__all__, *runs.__all__]
    assert [name for name in names if table.count(f"| `{name}` |") != 1] == []


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
    text = (ROOT / "docs/glossary.md").read_text(encoding="utf-8").partition(":::{glossary}")[2]
    terms = [term.strip("`").lower() for term in re.findall(r"(?m)^(?!:::|#|  )(\S.*)$", text)]
    assert len(terms) >= 30 and terms == sorted(terms)
    assert [term for term in terms if len(term.split()) > 4] == []  # a definition is on lines of its own


GLOSSARY_LINK = re.compile(r'<a class="reference internal" href="([^"]*)"[^>]*><span class="term">([^<]*)</span></a>')


@pytest.mark.slow
def test_a_page_links_each_term_once(book):
    """And to the term itself, in the book as one page as well. No heading contains such a link."""
    single = (book / "single/index.html").read_text(encoding="utf-8")
    assert {target.partition("--")[0] for target, _ in GLOSSARY_LINK.findall(single)} == {"#docs/glossary"}
    for name in ("docs/pixi/lock", "docs/cuda/two-worlds", "docs/away/containers", "exercise-2-pytorch-cu12/README"):
        page = (book / f"{name}.html").read_text(encoding="utf-8")
        targets = [target for target, _ in GLOSSARY_LINK.findall(page)]
        assert len(targets) >= 5 and len(targets) == len(set(targets)), name
        assert all("glossary.html#term-" in target for target in targets)
        assert not GLOSSARY_LINK.search("".join(re.findall(r"<h\d>.*?</h\d>", page)))
    assert not GLOSSARY_LINK.search((book / "docs/glossary.html").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Two solve\ngroups share a lock", ["solve group", "lock"]),
        ("Cuda is no name, CUDA is one", ["CUDA"]),
        ("lock-check, pixi.lock, channel/noarch and conda-forge.", ["conda-forge"]),
        ("The hypotheses of a run record", ["hypothesis", "record of a run"]),
        ("It does the job; submit a job", ["job"]),
        ("cuda-version pins CUDA", ["`cuda-version`", "CUDA"]),
    ],
)
def test_terms_are_found_in_a_text(text, found):
    pytest.importorskip("sphinx", reason="the extra docs is not installed")
    links = module_of(ROOT / "docs/extensions/glossary_links.py")
    terms = links.terms(ROOT / "docs/glossary.md")
    assert [terms[int(m.lastgroup[1:])] for m in links.pattern(terms).finditer(text)] == found


@pytest.mark.parametrize(
    ("line", "colored"),
    [
        ("pixi add -e test numpy", []),
        ("cd trap && exec test", ["cd", "exec"]),
        ("pixi run check 1; export A=$HOME", ["export", "$HOME"]),
        ("A=1 pixi list \\\n  test", ["A"]),
    ],
)
def test_only_the_first_word_of_a_command_is_colored(line, colored):
    pytest.importorskip("sphinx", reason="the extra docs is not installed")
    from pygments.token import Token

    tokens = module_of(ROOT / "docs/extensions/shell_words.py").ShellWords().get_tokens(line)
    kinds = (Token.Name, Token.Keyword, Token.Number)
    assert [text.strip() for token, text in tokens if any(token in kind for kind in kinds)] == colored


def test_a_wide_table_repeats_the_names_of_its_columns():
    pytest.importorskip("sphinx", reason="the extra docs is not installed")
    tables = module_of(ROOT / "docs/extensions/narrow_tables.py")
    row = "<tr>" + "<td><p>{}</p></td>" * 2 + "</tr>\n"
    head = '<table class="docutils align-default">\n<thead>\n<tr><td></td><th><p>b &amp; c</p></th></tr>\n</thead>\n'
    for word, wide in (("x" * 20, False), ("x" * 40, True)):
        page = f"{head}<tbody>\n{row.format('y' * 10, word)}</tbody>"
        found = tables.TABLE.sub(tables.with_labels, page)
        assert (found == page) is not wide and found.count('<td data-label="b &amp; c"><p>x') == wide


@pytest.mark.parametrize(
    ("word", "html"),
    [
        ("pypi-mixed", '<span class="pre together">pypi-mixed</span>'),
        ("--no-default-feature", '<span class="pre"><span class="together">--no-default-feature</span></span>'),
        ("benchmarks/determinism.py", '<span class="pre">benchmarks/<wbr>determinism.py</span>'),
    ],
)
def test_only_long_names_have_a_place_for_a_break(word, html, monkeypatch):
    pytest.importorskip("sphinx", reason="the extra docs is not installed")
    monkeypatch.syspath_prepend(ROOT / "docs/extensions")
    accessible = module_of(ROOT / "docs/extensions/accessible.py")
    assert accessible.NAME.sub(accessible.breakable, f'<span class="pre">{word}</span>') == html


def test_a_sentence_keeps_numbers_and_options_together():
    pytest.importorskip("sphinx", reason="the extra docs is not installed")
    units = module_of(ROOT / "docs/extensions/units.py")
    text = units.SPACE.sub("_", "2.8 s, 97 %, exercise 2 on CUDA 12, objectives 1 and 3, ★ star path; step one")
    assert text == "2.8_s, 97_%, exercise_2 on CUDA_12, objectives_1 and_3, ★_star_path; step one"
    pieces = units.pieces("type --no-install, not Ctrl-C, on conda-forge - to 1e-5")
    assert [str(piece.astext()) for piece in pieces[1::2]] == ["--no-install", "Ctrl-C", "conda-forge", "1e-5"]
