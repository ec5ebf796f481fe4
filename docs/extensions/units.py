"""What stays on one line: a number and its unit (`2.8 s`), `exercise 2`, and words with a hyphen such as `conda-forge`.

A space that does not break joins the first two. A word with a hyphen becomes an element that the stylesheet keeps
together, because a reader who searches for `conda-forge` must still find it.
"""

import re

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

SPACE = re.compile(
    r"(?<=\d) (?=(?:%|(?:s|ms|min|h|d|KiB|MiB|GiB|MB|GB)\b))"
    r"|(?<=\b[Ee]xercise) (?=\d)|(?<=\bobjective) (?=\d)|(?<=\bobjectives) (?=\d)"
    r"|(?<=\bobjectives.\d,) (?=\d)|(?<=\bobjectives.\d and) (?=\d)"
    r"|(?<=\bCUDA) (?=\d)|(?<=\b[Cc]heck) (?=\d)|(?<=\b[Ss]tep) (?=\d)|(?<=★) | (?=★$)|(?<=★.star) "
)
WORD = re.compile(r"\bconda-forge\b|\bCtrl-\w(?:-\w)?\b|\be-mail|\b\d+(?:\.\d+)?e-\d+\b|(?<![\w-])--?[a-z][\w-]*")
VERBATIM = (nodes.literal, nodes.literal_block, nodes.raw, nodes.math, nodes.math_block, nodes.image)


def pieces(text: str) -> list[nodes.Node]:
    """The text, with each word that has to stay together in an element of its own."""
    found: list[nodes.Node] = []
    end = 0
    for word in WORD.finditer(text):
        found += [nodes.Text(text[end : word.start()]), nodes.inline("", word[0], classes=["together"])]
        end = word.end()
    return [*found, nodes.Text(text[end:])]


class Units(SphinxPostTransform):
    default_priority = 900

    def run(self, **_: object) -> None:
        for text in list(self.document.findall(nodes.Text)):
            parent = text.parent
            if parent is not None and not isinstance(parent, VERBATIM) and (SPACE.search(text) or WORD.search(text)):
                parent.replace(text, pieces(SPACE.sub("\N{NO-BREAK SPACE}", text)))


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_post_transform(Units)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
