"""The book. Its pages are the Markdown files of the repository: those of `docs/`, and the READMEs of the exercises."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "docs/extensions"), str(ROOT / "common")]

import workshop

project = "Reproducible machine-learning workflows"
author = "the authors of the workshop"
copyright = "the authors of the workshop"
version = release = workshop.__version__

# The source folder is the root of the repository, so that links between its files are links between pages.
root_doc = "docs/index"
include_patterns = ["*.md", "docs/*.md", "docs/*/*.md", "exercise-*/README.md", "tests/mutations/SURVIVORS.md"]
extensions = [
    "myst_parser",
    "sphinx_copybutton",
    "accessible",
    "generated",
    "glossary_links",
    "llms",
    "mathml",
    "narrow_tables",
    "shell_words",
    "single",
    "themes",
    "units",
]
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nitpicky = True
smartquotes = False  # it would make one dash of the two in --option
suppress_warnings = ["misc.highlighting_failure"]  # a page shows parts of TOML files, which alone are not TOML

html_theme = "furo"
html_title = project
html_math_renderer = "mathml"
html_extra_path = ["root", "LICENSE"]
templates_path = ["templates"]
html_static_path = ["static"]
html_css_files = ["book.css"]
html_show_sphinx = False
html_copy_source = False
copybutton_selector = "div:not(.highlight-diff) > div.highlight pre"  # the lines of a solution begin with a plus

PLACEHOLDER = "OWNER/REPOSITORY"  # in the addresses of the pages


def name_repository(app, docname, source):
    """Write the name of the repository into the commands to clone it, if GitHub builds the book and so knows the name."""
    source[0] = source[0].replace(PLACEHOLDER, os.environ.get("GITHUB_REPOSITORY", PLACEHOLDER))


def setup(app):
    app.connect("source-read", name_repository)
