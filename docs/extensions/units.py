"""A number and its unit stay on one line: in `2.8 s` and `97 %`, the space does not break."""

import re

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

SPACE = re.compile(r"(?<=\d) (?=(?:%|(?:s|ms|min|h|d|KiB|MiB|GiB|MB|GB)\b))")
VERBATIM = (nodes.literal, nodes.literal_block, nodes.raw, nodes.math, nodes.math_block, nodes.image)


class Units(SphinxPostTransform):
    default_priority = 900

    def run(self, **_: object) -> None:
        for text in list(self.document.findall(nodes.Text)):
            parent = text.parent
            if parent is not None and not isinstance(parent, VERBATIM) and SPACE.search(text):
                parent.replace(text, nodes.Text(SPACE.sub("\N{NO-BREAK SPACE}", text)))


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_post_transform(Units)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
