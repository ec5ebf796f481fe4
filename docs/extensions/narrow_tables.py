"""A table that is too wide for a telephone: there, each cell stands on a line of its own, below the name of its column.

The stylesheet shows the name, which this extension writes into each cell as `data-label`.
"""

import html
import re
from pathlib import Path

from sphinx.application import Sphinx

TABLE = re.compile(r'(?s)<table class="docutils align-default">\n<thead>(.*?)</thead>\n<tbody>(.*?)</tbody>')
CELL = re.compile(r"(?s)<t([dh])\b([^>]*)>(.*?)</t\1>")
ROOM = 52  # characters that fit beside each other on a telephone, in the font of a table there
SHORT = 16  # characters of a name that a browser must not break (accessible.py)
AROUND = 2  # of them, the space around each cell


def words(cell: str) -> list[str]:
    """What a browser does not break, of the HTML of a cell: words, and the parts of long words with a hyphen."""
    found = re.split(r"[ \n]", html.unescape(re.sub(r"<[^>]+>", "", cell)))
    return [part for word in found for part in (re.split(r"(?<=\w)-", word) if len(word) > SHORT else [word])]


def is_wide(rows: list[list[str]]) -> bool:
    """Whether the longest words of the columns do not fit beside each other."""
    columns = zip(*rows, strict=True)
    return sum(max(len(word) for cell in column for word in words(cell)) + AROUND for column in columns) > ROOM


def with_labels(found: re.Match[str]) -> str:
    """A table whose cells contain the names of their columns, if it is wide."""
    head, body = found.groups()
    names = [html.unescape(re.sub(r"<[^>]+>", "", cell)) for _, _, cell in CELL.findall(head)]
    rows = [[cell for _, _, cell in CELL.findall(row)] for row in body.split("</tr>")[:-1]]
    if not is_wide([names, *rows]):
        return found[0]
    labels = iter(names * len(rows))
    body = CELL.sub(lambda cell: f'<td data-label="{html.escape(next(labels))}"{cell[2]}>{cell[3]}</td>', body)
    return f'<table class="docutils align-default wide">\n<thead>{head}</thead>\n<tbody>{body}</tbody>'


def finish(app: Sphinx, exception: Exception | None) -> None:
    if app.builder.format != "html" or exception is not None:
        return
    for page in Path(app.outdir).rglob("*.html"):
        old = page.read_text(encoding="utf-8")
        if (new := TABLE.sub(with_labels, old)) != old:  # a table that is wide by now does not match
            page.write_text(new, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("build-finished", finish, priority=950)  # after the last change of an empty cell (accessible.py)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
