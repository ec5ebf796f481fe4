"""The book as one page: it lies at the top of its folder, and each link leads to a heading of the right part."""

import re
from pathlib import Path

from sphinx.application import Sphinx

PART = re.compile(r'(?=<span id="document-([^"]+)"></span>)')


def with_own_names(text: str) -> str:
    """The page with a name for each heading that no other part has: PART--HEADING instead of HEADING.

    Sphinx names the parts (`document-PART`) but leaves the headings as they are, so that several have the same name. A
    link to the heading of another part is `#document-PART#HEADING`, which no browser understands.
    """
    top, *rest = PART.split(text)
    parts = dict(zip(rest[::2], rest[1::2], strict=True))
    names = {part: set(re.findall(r'\bid="([^"]+)"', body)) - {f"document-{part}"} for part, body in parts.items()}
    for part, body in parts.items():

        def named(found: re.Match[str], part: str = part) -> str:
            attribute, name = found.groups()
            return f'{attribute}{part}--{name}"' if name in names[part] else found[0]

        parts[part] = re.sub(r'(\bid="|\bhref="#)([^"#]+)"', named, body)
    text = top + "".join(parts.values())
    return re.sub(r'href="#document-([^"#]+)#([^"]+)"', r'href="#\1--\2"', text)


def finish(app: Sphinx, exception: Exception | None) -> None:
    if app.builder.name == "singlehtml" and exception is None:
        page = Path(app.outdir) / f"{app.config.root_doc}.html"
        text = with_own_names(page.read_text(encoding="utf-8"))
        text = text.replace(f'href="#document-{app.config.root_doc}"', 'href="#"')  # the first part has no name
        page.unlink()
        page.parent.rmdir()
        (Path(app.outdir) / "index.html").write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
