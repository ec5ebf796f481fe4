"""Reference pages that the code itself writes.

{workshop-commands}, {pixi-tasks}, {downloads}, {locked-downloads} and {public-api} are the directives.
"""

import argparse
import ast
import re
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from pixi_workspace import locked_environments, needs
from workshop import cli, exercises

ROOT = Path(__file__).resolve().parents[2]
COMMAND = re.compile(  # in a description: code that is marked already, a command, or an option
    r"""`[^`]*`|eval "[^"]*"|\b(?:pixi run|workshop) [\w.-][^(),;:`]*[^(),;:`. ]|(?<![\w-])--(?:[a-z][\w-]*)?(?![\w-])"""
)


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A table in Markdown."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in lines)


def workshop_commands() -> str:
    """Each command of `workshop` with its arguments, from the table that the command line is made of."""
    workshop, parsers = cli.build_parsers()
    parts = []
    for name, parser in parsers.items():
        usage = parser.format_usage().removeprefix("usage: ").strip()
        about = _with_code(_sentence(parser.description or ""))
        parts.append(f"## `workshop {name}`\n\n{about}\n\n```text\n{usage}\n```")
        shown = [action for action in parser.arguments if "--help" not in action.option_strings]
        rows = [(_names(action), _with_code(action.help % vars(action)) if action.help else "") for action in shown]
        if rows:
            parts.append(table(("argument", "meaning"), rows))
    return "\n\n".join(parts)


def pixi_tasks() -> str:
    """Each task of the root's pixi.toml, with the environment in which it runs."""
    tasks = tomllib.loads((ROOT / "pixi.toml").read_text(encoding="utf-8"))["tasks"]
    rows = [
        (f"`{name}`", f"`{t.get('default-environment', 'default')}`", _with_code(t["description"]))
        for name, t in tasks.items()
    ]
    return table(("task", "environment", "what it does"), rows)


def downloads() -> str:
    """The download of each exercise's environments on linux-64, in MiB, from exercise.toml."""
    rows = [
        (f"{e.number}", f"`{name}`", f"{mib:,} MiB")
        for e in exercises.find_all(ROOT)
        for name, mib in e.settings["download_mib"].items()
    ]
    return table(("exercise", "environment", "download"), rows)


def locked_downloads() -> str:
    """The download of each environment on each system, in MiB: the sizes of its packages in pixi.lock, added up.

    `+ 2` stands for two packages whose size the lock does not give, and `none` for a system without the environment.
    """
    _, environments = locked_environments(ROOT)
    systems = ("linux-64", "linux-aarch64", "osx-arm64", "win-64")
    cells: dict[str, dict[str, str]] = {}
    for e in environments:  # plain platforms come last in the manifest, and replace those with a driver
        size, unknown = needs.download(e)
        text = f"{round(size / 2**20):,} MiB" + (f" + {unknown}" if unknown else "")
        cells.setdefault(e.environment, {})[e.platform.subdir] = text
    names: dict[tuple[str, ...], list[str]] = {}  # of the environments with the same sizes
    for name, found in cells.items():
        names.setdefault(tuple(found.get(system, "none") for system in systems), []).append(f"`{name}`")
    rows = [(", ".join(same), *sizes) for sizes, same in names.items()]
    return table(("environment", "Linux", "Linux on ARM", "macOS", "Windows"), rows)


def public_api() -> str:
    """The public names of each package of `common/`, with the first line of their docstrings. Nothing is imported."""
    parts = []
    for package in ("workshop/runs", "pixi_workspace", "histfactory"):
        init = ast.parse((ROOT / "common" / package / "__init__.py").read_text(encoding="utf-8"))
        imported = [n for n in ast.walk(init) if isinstance(n, ast.ImportFrom) and n.col_offset in (0, 4) and n.module]
        rows = []
        for node in (node for node in imported if node.module.startswith(package.replace("/", "."))):
            names = {alias.name: alias.asname or alias.name for alias in node.names}
            place = ROOT / "common" / node.module.replace(".", "/")
            files = place.rglob("*.py") if place.is_dir() else [place.with_suffix(".py")]
            for found in (found for file in files for found in ast.parse(file.read_text(encoding="utf-8")).body):
                if isinstance(found, ast.FunctionDef | ast.ClassDef) and found.name in names:
                    first_line = (ast.get_docstring(found) or "").partition("\n")[0]
                    rows.append((f"`{names[found.name]}`", first_line))
        parts.append(f"### `{package.replace('/', '.')}`\n\n{table(('name', 'what it is'), sorted(rows))}")
    return "\n\n".join(parts)


def _names(action: argparse.Action) -> str:
    value = "" if action.nargs == 0 else f" {action.metavar or action.dest.upper()}"
    return ", ".join(f"`{name}{value}`" for name in action.option_strings) or f"`{action.metavar or action.dest}`"


def _with_code(text: str) -> str:
    """A description in which the commands and options are marked as code."""
    return COMMAND.sub(lambda found: f"`{found[0].strip('`')}`", text)


def _sentence(text: str) -> str:
    return re.sub(r"^\w", lambda first: first[0].upper(), text) + "."


def _directive(written: Callable[[], str]) -> type[SphinxDirective]:
    class Generated(SphinxDirective):
        def run(self) -> list[nodes.Node]:
            return self.parse_text_to_nodes(written(), allow_section_headings=True)

    return Generated


def setup(app: Sphinx) -> dict[str, bool]:
    for written in (workshop_commands, pixi_tasks, downloads, locked_downloads, public_api):
        app.add_directive(written.__name__.replace("_", "-"), _directive(written))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
