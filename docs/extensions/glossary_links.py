"""Link each term of the glossary where a page uses it first, so that the Markdown needs no links for that.

Headings, code and links stay as they are. A link that a page makes to the glossary itself leads to the term.
"""

import re
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

GLOSSARY = "docs/glossary"
PAGES = re.compile(r"docs/(?!glossary$)|exercise-")  # which pages get links, by the beginning of their names
WORDS = {  # for terms that are not found by the term itself or its plural, or that are also ordinary words
    "record of a run": r"run records?|records? of (?:a|the|each|every|your) run",
    "job": r"(?<!the )(?<!'s )jobs?",
    "solve": r"solve",
}
NOT_MEANT = {  # pages that use the word in another sense: pictures of digits, a cloud machine's disk, CUDA's features
    "image": r"exercise-[234]-|docs/(cuda/seeds-and-bits|away/several-gpus|commands|where-to-get-a-gpu|teach/gpus)$",
    "feature": r"docs/(cuda/driver-and-toolkit|cuda/build-a-package|pixi/packages)$",
    "task": r"docs/(measured|away/index)$",
}
LEFT_ALONE = (
    nodes.title,
    nodes.literal,
    nodes.literal_block,
    nodes.raw,
    nodes.math,
    nodes.math_block,
    nodes.reference,
    nodes.comment,
    nodes.thead,
    addnodes.pending_xref,
    addnodes.download_reference,
    addnodes.toctree,
)


def terms(path: Path) -> list[str]:
    """The terms of the glossary: the lines of its directive that are not indented."""
    text = path.read_text(encoding="utf-8").partition(":::{glossary}\n")[2].partition("\n:::")[0]
    return re.findall(r"(?m)^(\S.*)$", text)


def pattern(found: list[str]) -> re.Pattern[str]:
    """Matches a term or its plural, the longest term first. Term number N is the group `tN`.

    A term with capital letters, such as CUDA, is matched as it is written; others may also begin a sentence.
    """
    parts = []
    for number, term in sorted(enumerate(found), key=lambda item: -len(item[1])):
        word = re.escape(term.strip("`")).replace(r"\ ", r"\s")  # a line may end inside a term
        word = word[:-2] + "[ie]s" if word.endswith("sis") else word + "(?:s|es)?"
        word = WORDS.get(term, word)
        parts.append(f"(?P<t{number}>{word})" if term != term.lower() else f"(?P<t{number}>(?i:{word}))")
    return re.compile(rf"(?<![\w./-])(?:{'|'.join(parts)})(?![\w/-]|\.\w)")


class GlossaryLinks(SphinxTransform):
    default_priority = 900  # after Markdown's own links

    def apply(self) -> None:
        page = self.env.docname
        if not PAGES.match(page):
            return
        path = self.env.doc2path(GLOSSARY)
        self.env.note_dependency(str(path))
        found = terms(Path(path))
        words = pattern(found)
        linked = self.sharpen(found, words)
        linked |= {term for term, pages in NOT_MEANT.items() if re.match(pages, page)}
        for text in list(self.document.findall(nodes.Text)):
            if not _inside(text, LEFT_ALONE):
                text.parent.replace(text, self.with_links(text, found, words, linked))

    def sharpen(self, found: list[str], words: re.Pattern[str]) -> set[str]:
        """Lead the page's own links to the glossary to the terms that they name. Returns those terms."""
        linked = set()
        for link in list(self.document.findall(addnodes.pending_xref)):
            match = words.fullmatch(link.astext())
            if match and link.get("reftarget", "").endswith("glossary"):
                term = found[int(match.lastgroup[1:])]
                link.parent.replace(link, self.link(term, match[0]))
                linked.add(term)
        return linked

    def with_links(
        self, text: nodes.Text, found: list[str], words: re.Pattern[str], linked: set[str]
    ) -> list[nodes.Node]:
        parts: list[nodes.Node] = []
        start = 0
        for match in words.finditer(text):
            term = found[int(match.lastgroup[1:])]
            if term not in linked:
                linked.add(term)
                parts += [nodes.Text(text[start : match.start()]), self.link(term, match[0])]
                start = match.end()
        return [*parts, nodes.Text(text[start:])] if parts else [text]

    def link(self, term: str, shown: str) -> addnodes.pending_xref:
        named = {"refdomain": "std", "reftype": "term", "reftarget": term.strip("`"), "refdoc": self.env.docname}
        return addnodes.pending_xref("", nodes.inline("", shown, classes=["term"]), refexplicit=True, **named)


def _inside(node: nodes.Node, kinds: tuple[type, ...]) -> bool:
    parent = node.parent
    while parent is not None:
        if isinstance(parent, kinds):
            return True
        parent = parent.parent
    return False


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_transform(GlossaryLinks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
