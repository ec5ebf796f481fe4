"""The schedules of docs/teach/schedules.md: read them, and write the table of the star steps on the clock.

`python tests/docs/schedules.py` writes that table again, from the exercises' pages. A schedule is a table in a section
`## NAME: N minutes` (or `### NAME: N minutes`) with the columns start, minutes, what, and further ones.
"""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "common")]

from workshop import exercises  # noqa: E402

PAGE = ROOT / "docs/teach/schedules.md"
BEGIN, END = (
    "<!-- the star steps on the clock: python tests/docs/schedules.py -->\n",
    "<!-- end of the star steps -->\n",
)
SECTION = re.compile(r"^##+ (?P<name>[^:\n]+): (?P<minutes>\d+) minutes$", re.M)
ROW = re.compile(r"^\| (?P<hours>\d+):(?P<minutes>\d\d) \| (?P<length>\d+) \| (?P<what>[^|]+?) \|", re.M)
STEP = re.compile(r"^\| ★ (?P<step>[\w. ]+?) \| (?P<you>[^|]+?) \| (?P<minutes>\d+) \|$", re.M)


@dataclass(frozen=True)
class Row:
    """A line of a schedule. start: minutes after the beginning."""

    start: int
    minutes: int
    what: str

    @property
    def exercise(self) -> int | None:
        """The number of the exercise that this line is for."""
        found = re.search(r"Exercise (\d)", self.what)
        return int(found[1]) if found else None


def schedules(text: str) -> dict[str, tuple[int, list[Row]]]:
    """The promised minutes and the lines of each schedule, by its name."""
    found = {}
    sections = list(SECTION.finditer(text))
    for section, end in zip(sections, [s.start() for s in sections[1:]] + [len(text)], strict=True):
        part = text[section.end() : end].partition(BEGIN)[0]
        rows = [Row(int(r["hours"]) * 60 + int(r["minutes"]), int(r["length"]), r["what"]) for r in ROW.finditer(part)]
        found[section["name"]] = (int(section["minutes"]), rows)
    return found


def star_steps() -> dict[int, list[tuple[str, str, int]]]:
    """(step, what you do, minutes) of the star steps of each exercise, from its page."""
    pages = {e.number: (e.folder / "README.md").read_text(encoding="utf-8") for e in exercises.find_all(ROOT)}
    return {n: [(s["step"], s["you"], int(s["minutes"])) for s in STEP.finditer(page)] for n, page in pages.items()}


def clock(minutes: int) -> str:
    return f"{minutes // 60}:{minutes % 60:02}"


def table(rows: list[Row]) -> str:
    """The star steps of each exercise, with the time at which each one begins."""
    lines = ["| starts | minutes | exercise | step | the learner |", "|---|---|---|---|---|"]
    for row in rows:
        if row.exercise is None or not row.what.startswith("★"):
            continue
        start = row.start
        for step, you, minutes in star_steps()[row.exercise]:
            lines.append(f"| {clock(start)} | {minutes} | {row.exercise} | {step} | {you} |")
            start += minutes
    return "\n".join(lines) + "\n"


def render(text: str) -> str:
    """The page with the table of the star steps as the exercises' pages have them now."""
    above, _, rest = text.partition(BEGIN)
    _, _, below = rest.partition(END)
    _, rows = schedules(text)["Four hours"]
    return above + BEGIN + "\n" + table(rows) + "\n" + END + below


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
