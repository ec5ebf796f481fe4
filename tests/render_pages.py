"""Write the lines of files that the exercises' pages show: python tests/render_pages.py

A page marks each place with two comments. What stands between them is never typed:

    <!-- lines of starter/train.py: train -->            the function `train`, as it is
    <!-- lines of solution/pixi.toml: [environments] --> the paragraph with the line that begins so
    <!-- lines of solution/train.sub -->                 the whole file
    <!-- actions of solution/image.yml -->               a table of the actions of a workflow, with their commits
    <!-- end -->

Several selections are separated by ` | `. Of a solution, the lines that the starter lacks are marked with a plus.
"""

import ast
import difflib
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(
    r"(?ms)^(<!-- (?P<kind>lines|actions) of (?P<file>\S+?)(?:: (?P<selections>.+?))? -->\n).*?^<!-- end -->$"
)
ACTION = re.compile(r"- name: (.+)\n(?: +id: .+\n)? +uses: (.+)")  # a step of a workflow
LANGUAGES = {"": "dockerfile", ".py": "python", ".toml": "toml", ".sh": "bash", ".sbatch": "bash"}


def pages() -> list[Path]:
    """The pages of the exercises."""
    return sorted(ROOT.glob("exercise-*/README.md"))


def render(page: Path) -> str:
    """The text of a page, with every block as its file is now."""
    return BLOCK.sub(lambda found: f"{found[1]}{block(page.parent, found)}<!-- end -->", page.read_text("utf-8"))


def block(folder: Path, found: re.Match[str]) -> str:
    """The fenced block, or the table, for one pair of comments."""
    path = folder / found["file"]
    if found["kind"] == "actions":
        return actions(path.read_text("utf-8"))
    lines = path.read_text("utf-8").splitlines()
    numbers = list(selected(path, lines, found["selections"]))
    starter = folder / "starter" / path.name
    if starter == path or not starter.exists():
        return fenced(LANGUAGES.get(path.suffix, "text"), [lines[n] for n in numbers])
    new = added(starter.read_text("utf-8").splitlines(), lines)
    return fenced("diff", [("+" if n in new and lines[n] else " ") + lines[n] for n in numbers])


def actions(workflow: str) -> str:
    """A table of the steps of a workflow that use an action; an action that two steps use is in it once."""
    steps: dict[str, str] = {}
    for name, uses in ACTION.findall(workflow):
        steps.setdefault(uses, name)
    rows = [f"| {name} | `{uses}` |" for uses, name in steps.items()]
    return "\n".join(["| step | text after `uses:` |", "|---|---|", *rows, ""])


def fenced(language: str, lines: list[str]) -> str:
    return "\n".join([f"```{language}", *(line.rstrip() for line in lines), "```", ""])


def added(old: list[str], new: list[str]) -> set[int]:
    """The indices of the lines of `new` that are not in `old`."""
    matcher = difflib.SequenceMatcher(a=old, b=new, autojunk=False)
    return {n for kind, *_, first, end in matcher.get_opcodes() if kind != "equal" for n in range(first, end)}


def selected(path: Path, lines: list[str], selections: str | None) -> Iterator[int]:
    """The indices of the selected lines, with the empty lines above all but the first."""
    if selections is None:
        yield from range(len(lines))
        return
    functions = {}
    if path.suffix == ".py":
        tree = ast.parse("\n".join(lines))
        functions = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    end = 0
    for number, selection in enumerate(selections.split(" | ")):
        function = functions.get(selection)
        if function:
            first = min(node.lineno for node in (function, *function.decorator_list)) - 1
            end = function.end_lineno or function.lineno
        else:
            first, end = paragraph(lines, selection, end)
        if number:
            empty = 2 if function else 1  # lines above, as the formatter of the repository writes them
            yield from range(first - empty, first)
        yield from range(first, end)


def paragraph(lines: list[str], beginning: str, after: int) -> tuple[int, int]:
    """The first line and the end of the paragraph with a line that begins so, the first one from line `after` on."""
    line = next(n for n in range(after, len(lines)) if lines[n].startswith(beginning))
    first = next((n + 1 for n in range(line, -1, -1) if not lines[n].strip()), 0)
    return first, next((n for n in range(line, len(lines)) if not lines[n].strip()), len(lines))


def main() -> None:
    for page in pages():
        text = render(page)
        if text != page.read_text("utf-8"):
            page.write_text(text, "utf-8")
            print(page.relative_to(ROOT))


if __name__ == "__main__":
    main()
