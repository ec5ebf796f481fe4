"""The pages of the book as text: their fenced blocks, sections, sentences and pictures.

The first line of a fenced block is ```LANGUAGE CLASS OPTIONS. The class states how the block is tested:

    bash run          executed word for word in a scratch copy of the repository; exit=1: its last command fails so
    text output       what the block above it printed; a line `...` stands for any lines
    bash pixi         commands for the real Pixi: their words are compared with Pixi's --help
    bash gpu          commands for a machine with an NVIDIA GPU: likewise
    bash cluster      commands for a cluster, or for a container engine: likewise
    toml slice=PATH   lines of a file of the repository; a line `...` (or `# ...`) stands for lines that are left out
    toml show         not tested: at most one in ten of all blocks

A block between the comments of tests/render_pages.py needs no class: it is a slice. Commands for Windows are `show`. In
the READMEs of the exercises, commands of Pixi and of a container engine, and commands `# on the cluster`, need none.
"""

import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LESSONS = ("pixi", "cuda", "away")  # the folders of docs/ whose pages have the sections of a lesson
CLASSES = {"run", "output", "pixi", "gpu", "cluster", "slice", "show"}
COMMANDS = {"run", "pixi", "gpu", "cluster"}  # the classes of blocks that a shell runs

KINDS = {  # of the commands in an exercise's README
    "pixi": r"(?m)^\s*(\w+=\S+ )?pixi ",
    "cluster": r"^# on the cluster\n|^docker |^# on Linux\napptainer ",
}
FENCE = re.compile(r"(?ms)^(?P<indent> *)(?P<fence>`{3,})(?P<info>[^\n`]*)\n(?P<text>.*?)^(?P=indent)(?P=fence)[ ]*$")
GENERATED = re.compile(r"(?ms)^<!-- lines of .*?^<!-- end -->$")


def book_pages() -> list[Path]:
    """The pages in docs/."""
    return sorted((ROOT / "docs").rglob("*.md"))


def lesson_pages() -> list[Path]:
    """The pages with the sections of a lesson. A folder's index.md is its table of contents."""
    found = [path for name in LESSONS for path in (ROOT / "docs" / name).glob("*.md")]
    return sorted(path for path in found if path.name != "index.md")


def exercise_pages() -> list[Path]:
    """The READMEs of the exercises."""
    return sorted(ROOT.glob("exercise-*/README.md"))


def tested_pages() -> list[Path]:
    """The pages whose blocks are tested."""
    return [*book_pages(), *exercise_pages()]


def name_of(page: Path) -> str:
    """The path of a page in the repository."""
    return page.relative_to(ROOT).as_posix()


@dataclass(frozen=True)
class Block:
    """A fenced block: where it is, its language, its class, the options of the class, and its text."""

    page: Path
    line: int
    language: str
    kind: str  # of CLASSES; empty: none is given
    text: str
    options: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{name_of(self.page)}:{self.line} ({self.language} {self.kind})"


@cache
def blocks(page: Path) -> list[Block]:
    """The blocks of a page, without the directives of Sphinx ({toctree} and others)."""
    text = page.read_text(encoding="utf-8")
    generated = [range(*found.span()) for found in GENERATED.finditer(text)]
    found = []
    for fence in FENCE.finditer(text):
        language, *words = fence["info"].split() or [""]
        if language.startswith("{"):
            continue
        options = {key: value for key, _, value in (word.partition("=") for word in words)}
        kind = next(iter(options), "")
        if any(fence.start() in lines for lines in generated):
            kind = "slice"
        line = text.count("\n", 0, fence.start()) + 1
        lines = fence["text"].splitlines(keepends=True)
        inside = "".join(line.removeprefix(fence["indent"]) for line in lines)
        if not kind and language == "bash" and page.name == "README.md":
            kind = next((name for name, pattern in KINDS.items() if re.search(pattern, inside)), "")
        found.append(Block(page, line, language, kind, inside, options))
    return found


# ---------------------------------------------------------------- sections of a lesson


def sections(text: str) -> dict[str, str]:
    """The text under each heading of the second level, by heading, and what stands above the first one under ""."""
    text = without_blocks(text)
    parts = re.split(r"(?m)^## (.+)$", text)
    return {"": parts[0]} | {heading.strip(): body for heading, body in zip(parts[1::2], parts[2::2], strict=True)}


def objectives(text: str) -> list[int]:
    """The numbers of the objectives of a lesson."""
    return [int(number) for number in re.findall(r"(?m)^(\d+)\. ", sections(text).get("You will be able to", ""))]


def tasks(section: str) -> list[str]:
    """The numbered tasks or questions of a section, each with its answer."""
    return re.split(r"(?m)^(?=\d+\. )", section)[1:]


def problems_of_lesson(text: str) -> list[str]:
    """What a lesson's page lacks: the sections and their order, tasks, questions, answers, assessed objectives."""
    found = []
    parts = sections(text)
    first = ["Questions", "You will be able to"]
    last = ["Try it", "Common mistakes", "Key points", "Check yourself", "Next"]
    headings = [heading for heading in parts if heading]
    if headings[:2] != first or headings[-5:] != last or len(headings) < 8:
        found.append(f"the headings are {first}, the text under headings of its own, {last}; found: {headings}")
    if not re.match(r"# .+\n\n\*\*Minutes:\*\* \d+ · \*\*You need:\*\* [^\n]+", parts[""]):
        found.append("the page begins with `# Title`, an empty line and `**Minutes:** N · **You need:** ...`")
    declared = objectives(text)
    if declared != list(range(1, len(declared) + 1)) or not declared:
        found.append(f"the objectives are numbered 1, 2, ...; found: {declared}")
    exercises, questions = tasks(parts.get("Try it", "")), tasks(parts.get("Check yourself", ""))
    if len(questions) != 2:
        found.append(f"*Check yourself* has two questions; found: {len(questions)}")
    assessed = set()
    for texts, summary in ((exercises, "Solution"), (questions, "Answer")):
        if not texts:
            found.append(f"no numbered item has an answer called {summary}")
        for item in texts:
            above, details, below = item.partition("<details>")
            named = re.search(r"\(objectives? ([\d, and]+)\)\s*$", above)
            assessed |= {int(number) for number in re.findall(r"\d+", named[1])} if named else set()
            if not named:
                found.append(f"(objective N) is missing at the end of: {above.strip()[:60]}")
            if not details or f"<summary>{summary}</summary>" not in below or "</details>" not in below:
                found.append(f"<details> with <summary>{summary}</summary> is missing below: {above.strip()[:60]}")
    if missing := sorted(set(declared) - assessed):
        found.append(f"no task or question names the objectives {missing}")
    if unknown := sorted(assessed - set(declared)):
        found.append(f"tasks or questions name objectives that the page does not have: {unknown}")
    return found


# ---------------------------------------------------------------- prose


def without_blocks(text: str) -> str:
    """A page without its fenced blocks, but with as many lines."""
    return FENCE.sub(lambda found: "\n" * found[0].count("\n"), text)


def sentences(text: str) -> list[tuple[int, str]]:
    """(line, sentence) for each sentence of a page. A cell of a table, a heading and an item of a list are sentences."""
    text = re.sub(r"(?s)<!--.*?-->", lambda found: "\n" * found[0].count("\n"), without_blocks(text))
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"\$\$?[^$]+\$\$?", lambda found: "formula" + "\n" * found[0].count("\n"), text)
    text = re.sub(r"`[^`]+`", lambda found: "code" + "\n" * found[0].count("\n"), text)
    text = re.sub(r"</?[a-z][^>]*>", "\n", text)
    found: list[tuple[int, str]] = []
    for number, paragraph in paragraphs(text):
        parts = re.split(r"(?<=[.!?])[\"')*_]*\s+", paragraph)
        found += [(number, " ".join(part.split())) for part in parts if part.strip()]
    return found


def paragraphs(text: str) -> list[tuple[int, str]]:
    """(line, text) of each paragraph, item of a list, heading and cell of a table."""
    found: list[tuple[int, str]] = []
    fresh = True
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("|"):
            found += [(number, cell) for cell in line.strip().strip("|").split("|") if cell.strip(" -:")]
            fresh = True
        elif not line.strip() or line.startswith(":::"):
            fresh = True
        elif fresh or re.match(r"\s*([-*+]|\d+\.|#+|:) ", line):
            found.append((number, re.sub(r"^\s*([-*+]|\d+\.|#+|:) ", "", line)))
            fresh = line.startswith("#")
        else:
            found[-1] = (found[-1][0], found[-1][1] + "\n" + line)
    return found


def words(sentence: str) -> int:
    """How many words a sentence has. A sign between spaces is none."""
    return len([word for word in sentence.split() if re.search(r"\w", word)])


# ---------------------------------------------------------------- output

VARIES = {  # what differs from machine to machine and from run to run, and what stands for it
    r"\x1b\[[0-9;]*[A-Za-z]": "",
    r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d)?(\.\d+)?(Z|[+-]\d\d:?\d\d)?)?": "DATE",
    r"\b\d\d:\d\d:\d\d\b": "TIME",
    r"\b\d+(\.\d+)?\s*(ms|s|min|seconds?|minutes?|h|hours?)\b": "DURATION",
    r"(?<![\w.])(/[\w.@+-]+){2,}/?": "PATH",
    r"[ \t]+$": "",
}


def normalized(output: str) -> list[str]:
    """The lines of what a command printed, without what differs between machines and between runs."""
    for pattern, name in VARIES.items():
        output = re.sub(rf"(?m){pattern}", name, output)
    return output.strip("\n").splitlines()


def is_output(recorded: str, printed: str) -> bool:
    """Whether a page shows what was printed. A line `...` of the page stands for any lines."""
    parts = [[]]
    for line in normalized(recorded):
        if line.strip() == "...":
            parts.append([])
        else:
            parts[-1].append(line)
    pattern = r"(?:.*\n)*?".join("".join(re.escape(line) + "\n" for line in part) for part in parts)
    return re.fullmatch(pattern, "".join(line + "\n" for line in normalized(printed))) is not None
