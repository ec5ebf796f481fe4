"""What axe-core misses in the pages that Sphinx and Furo write, added when they are written (tests/docs/axe.py).

Also what a narrow screen needs: places to break a long name such as SLURM_ARRAY_TASK_ID, so that tables fit; no break
between the hyphens of an option and its name. A printed table keeps its lines, and other long lines wrap. Figures open
in full size.
"""

import html
import re
from pathlib import Path

from narrow_tables import SHORT
from sphinx.application import Sphinx

CHANGES = {  # none finds what it has written, because pages that did not change are not written again
    r'role="heading">': 'role="heading" aria-level="2">',  # the captions of the table of contents
    r'<aside class="sidebar-drawer': r'<aside aria-label="All pages" class="sidebar-drawer',
    r'<aside class="toc-drawer': r'<aside aria-label="Sections of this page" class="toc-drawer',
    r"<pre>": '<pre tabindex="0">',  # long lines can be scrolled with the keyboard
    r'<div class="table-wrapper': '<div tabindex="0" class="table-wrapper',  # and so can wide tables
    r'<th class="head([^"]*)">(<p></p>)?</th>': r'<td class="head\1"></td>',  # an empty cell is no header
    r"★ (?=\w)": "★&nbsp;",  # the star of a step stays beside its number
    r" ★</p>": "&nbsp;★</p>",
}
FIGURES = re.compile(r"<p>((?:<img [^>]+/>\s*)+)</p>")  # one figure, or one for each theme
NAME = re.compile(r'<span class="pre">([^<]+)</span>')  # a word of code, unless it contains such places already
OPTION = re.compile(r"(?<![\w-])--?(?:\w[\w-]{0,20}(?![\w-])|\w+)")  # of one longer than 23 characters, the first word
BASH = re.compile(r'(?s)<div class="highlight-bash[^"]*"><div class="highlight"><pre[^>]*>.*?</pre>')
TYPED = re.compile(
    r'(?<=[\s>])--?\w[\w-]*(?=[\s<=])|(?<="c1">)# \S+(?=[\s<])'
)  # an option, or the beginning of a remark
LISTING = re.compile(
    r'(<div class="highlight-text[^"]*)("><div class="highlight"><pre[^>]*><span></span>(?:[^\n]*\n){0,4}?Name +Version)'
)
PRINTED = re.compile(r'(?s)(<div class="highlight-text[^"]*)("><div class="highlight"><pre[^>]*>.*?</pre>)')
COLUMNS = re.compile(
    r"(?<=\S)(?<!Error:) {2,}\S|[│├└╰]"
)  # in what a command printed: to break such a line would spoil it
TOGETHER = r'<span class="together">\g<0></span>'


def breakable(word: re.Match[str]) -> str:
    """The element with a place for a break after each character that joins parts of a name, and within a long hash.

    A browser breaks after every hyphen, so short names and the first part of an option are marked: they do not break.
    The ending of a file stays with its name.
    """
    if len(html.unescape(word[1])) <= SHORT:
        return f'<span class="pre together">{word[1]}</span>'
    text = re.sub(r"(?<=[^\W_])([_/=,@:]|\.(?=[a-z]\w*[.(_]))(?=\w)", r"\1<wbr>", word[0])
    text = re.sub(r"(?<=[0-9a-f]{20})(?=[0-9a-f]{20})", "<wbr>", text)
    return OPTION.sub(TOGETHER, text)


def opened(paragraph: re.Match[str]) -> str:
    """The figures of a paragraph, each a link to its file, and hidden where the figure is hidden."""

    def link(image: re.Match[str]) -> str:
        address = re.search(r'src="([^"]+)"', image[0])
        theme = re.search(r"only-\w+", image[0])
        return f'<a class="{theme[0] if theme else "figure"}" href="{address[1] if address else ""}">{image[0]}</a>'

    return f"<p>{re.sub(r'<img [^>]+/>', link, paragraph[1])}</p>"


SEARCH = {r'(<article role="main"[^>]*>)(?!<h1>)': r"\1<h1>Search</h1>"}


def finish(app: Sphinx, exception: Exception | None) -> None:
    if app.builder.format != "html" or exception is not None:
        return
    for page in Path(app.outdir).rglob("*.html"):
        if "single" in page.relative_to(app.outdir).parts:
            continue  # another build has written it
        old = new = page.read_text(encoding="utf-8")
        for pattern, replacement in (CHANGES | (SEARCH if page.name == "search.html" else {})).items():
            new = re.sub(pattern, replacement, new)
        new = FIGURES.sub(opened, NAME.sub(breakable, new))
        new = BASH.sub(lambda block: TYPED.sub(TOGETHER, block[0]), new)
        new = LISTING.sub(r"\1 listing\2", new)
        new = PRINTED.sub(
            lambda block: block[0] if COLUMNS.search(block[2]) else f"{block[1]} sentences{block[2]}", new
        )
        if new != old:
            page.write_text(new, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("build-finished", finish, priority=900)  # after those that move a page
    return {"parallel_read_safe": True, "parallel_write_safe": True}
