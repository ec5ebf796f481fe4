"""In the dark theme, a page shows NAME-dark.svg for NAME.svg, where there is such a file."""

from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform


class DarkFigures(SphinxTransform):
    """Write each figure twice, once for each theme. Furo's stylesheet hides one of them."""

    default_priority = 400  # before the pictures are collected

    def apply(self) -> None:
        folder = Path(self.env.doc2path(self.env.docname)).parent
        for image in list(self.document.findall(nodes.image)):
            dark = image["uri"].removesuffix(".svg") + "-dark.svg"
            if image["uri"].endswith(".svg") and (folder / dark).is_file():
                twin = image.deepcopy()
                twin["uri"] = dark
                image["classes"].append("only-light")
                twin["classes"].append("only-dark")
                image.parent.insert(image.parent.index(image) + 1, twin)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_transform(DarkFigures)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
