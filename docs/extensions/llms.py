"""llms.txt: a list of all pages for programs that read text, with the first sentence of each page (llmstxt.org)."""

import re
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment


def list_of_pages(env: BuildEnvironment) -> str:
    """The pages in the order of the table of contents, one section for each of its captions, in Markdown."""
    index = env.get_doctree(env.config.root_doc)
    parts = [f"# {env.titles[env.config.root_doc].astext()}", f"> {first_sentence(index)}"]
    for tree in index.findall(addnodes.toctree):
        pages = [page for _, page in tree["entries"]]
        lines = [f"- [{env.titles[p].astext()}]({p}.html): {first_sentence(env.get_doctree(p))}" for p in pages]
        if lines:
            parts.append(f"## {tree['caption']}\n\n" + "\n".join(lines))
    return "\n\n".join(parts) + "\n"


def first_sentence(page: nodes.document) -> str:
    """The first sentence of a page outside of its tables; of a lesson, below its minutes, the first question."""
    paragraphs = (found for found in page.findall(nodes.paragraph) if not isinstance(found.parent, nodes.entry))
    texts = (" ".join(paragraph.astext().split()) for paragraph in paragraphs)
    text = next((text for text in texts if not text.startswith("Minutes:")), "")
    return re.split(r"(?<=[.?!:]) ", text)[0]


def write(app: Sphinx, exception: Exception | None) -> None:
    if app.builder.name == "html" and exception is None:
        (Path(app.outdir) / "llms.txt").write_text(list_of_pages(app.env), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
