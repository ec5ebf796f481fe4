"""The exercises' pages: lines as in the files, minutes that add up, answers out of sight, commands for both shells."""

import importlib
import re

import pytest
import render_pages
from conftest import ROOT

from workshop import exercises

EXERCISES = {e.number: e for e in exercises.find_all(ROOT)}
STAR_MINUTES = {1: 20, 2: 20, 3: 10, 4: 20, 5: 20}  # of the four-hour outline
ROW = re.compile(r"^\| (★ )?([\w. ]+?) \| [^|]+ \| (\d+) \|$", re.M)  # of a box with the steps of a part
MISTAKE = re.compile(r"^\| (\d\.\d+) \| `([^`]+)` \|", re.M)
DETAILS = re.compile(r"(?ms)^<details>\n<summary>(.*?)</summary>\n\n(.*?)\n\n</details>$")
PAGES = {n: (e.folder / "README.md").read_text("utf-8") for n, e in EXERCISES.items()}
REDONE = [n for n, text in PAGES.items() if "| step | you | minutes |" in text]  # first the attempt, then the answer

# What only one shell understands, outside double quotes: `VAR=x command`, `&&`, `$(...)`, a line that goes on below, a
# command or path of one system; commas, brackets and JSON in single quotes, of which PowerShell makes something else;
# and `rm -r`, which in PowerShell fails for files that are read-only.
ONE_SHELL = re.compile(
    r"^\w+=|[;&|`\\<,(){}]|(^|\s)@|\$|'\s*[{\[]|^rm\b.* -|^(grep|sed|head|tail|touch|chmod|ln|export|source|Remove-Item)\b"
    r"|\.(venv/bin|venv\\)|/dev/null"
)
# In double quotes: variables of either shell, and quotes that PowerShell 5 drops.
IN_QUOTES = re.compile(r"\$[\w{(?^$]|`|\\\"")


def number(exercise: int) -> str:
    return f"exercise-{exercise}"


@pytest.mark.parametrize("page", render_pages.pages(), ids=lambda page: page.parent.name)
def test_a_page_shows_the_lines_of_its_files(page):
    assert render_pages.render(page) == page.read_text("utf-8"), "python tests/render_pages.py"


def test_a_changed_file_makes_a_page_stale(tmp_path):
    for folder, line in (("starter", "x = 1"), ("solution", "x = 2")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.toml").write_text(f"# first\n[one]\n{line}\n\n[two]\ny = 1\n")
    page = tmp_path / "README.md"
    page.write_text("<!-- lines of solution/a.toml: [one] | [two] -->\nstale\n<!-- end -->\n")
    shown = "```diff\n # first\n [one]\n+x = 2\n\n [two]\n y = 1\n```\n"
    assert render_pages.render(page) == f"<!-- lines of solution/a.toml: [one] | [two] -->\n{shown}<!-- end -->\n"


def test_the_star_path_fits_the_outline():
    assert {n: EXERCISES[n].settings["minutes"]["star"] for n in STAR_MINUTES} == STAR_MINUTES


@pytest.mark.parametrize("exercise", REDONE, ids=number)
def test_the_minutes_of_the_steps_add_up(exercise):
    minutes = EXERCISES[exercise].settings["minutes"]
    rows = [(bool(star), name, int(time)) for star, name, time in ROW.findall(PAGES[exercise])]
    assert sum(time for star, _, time in rows if star) == minutes["star"]
    assert sum(time for _, _, time in rows) == minutes["all"]
    assert f"(★) take {minutes['star']} minutes, all steps {minutes['all']}" in PAGES[exercise]
    parts = EXERCISES[exercise].settings.get("parts", {})
    for part, settings in parts.items():
        own = ROW.findall(PAGES[exercise].split(f"\n## {part} ")[1].split("\n## ")[0])
        assert [name for _, name, _ in own if name[0].isdigit()] == settings["checks"]
        stars = sum(int(time) for star, _, time in own if star)
        assert settings["minutes"] == {"star": stars, "all": sum(int(time) for *_, time in own)}
    steps = [(star, name) for star, name, _ in rows if re.fullmatch(r"\d\.\d+", name)]
    assert [name for _, name in steps] == [check.number for check in EXERCISES[exercise].checks]
    headings = re.findall(r"^### (★ )?(\d\.\d+) ", PAGES[exercise], re.M)
    assert [(bool(star), name) for star, name in headings] == steps


@pytest.mark.parametrize("exercise", REDONE, ids=number)
def test_answers_are_collapsed(exercise):
    page = PAGES[exercise]
    found = DETAILS.findall(page)
    assert len(found) == page.count("<details>") == page.count("</details>")
    summaries = [summary for summary, _ in found]
    kinds = {summary.split(":")[0] for summary in summaries} - {"Background"}
    assert kinds == {"Without Pixi", "Answer", "Walkthrough", "Solution"}
    for check in EXERCISES[exercise].checks:
        assert any(re.match(rf"Solution: {check.number}\b", summary) for summary in summaries), check.number
    in_sight = DETAILS.sub("", page)
    assert "lines of solution/" not in in_sight and "```diff" not in in_sight
    for step in re.split(r"^### (?=(?:★ )?\d\.)", in_sight, flags=re.M)[1:]:
        check = re.search(rf"\npixi run check {exercise}[a-z]?\n", step)  # of the exercise, or of a part
        assert check and step.index("**Goal**") < step.index("**Nudge**") < check.start(), step


@pytest.mark.parametrize("exercise", REDONE, ids=number)
def test_mistakes_are_those_of_the_mutations(exercise):
    mistakes = importlib.import_module(f"mutations.exercise_{exercise}").MISTAKES.values()
    rows = MISTAKE.findall(PAGES[exercise].split("\n## Common mistakes\n")[1].split("\n## ")[0])
    numbers = [tuple(map(int, check.split("."))) for check, _ in rows]
    assert len(rows) >= 4 and numbers == sorted(numbers)
    for check, words in rows:
        assert any(check == of and words in message for of, message, _ in mistakes), f"{check}: {words}"


def works_in_both_shells(line: str) -> bool:
    """Whether bash and PowerShell understand a command in the same way."""
    quoted = "".join(re.findall(r'"[^"]*"', line))
    return not ONE_SHELL.search(re.sub(r'"[^"]*"|#.*', "", line)) and not IN_QUOTES.search(quoted)


@pytest.mark.parametrize(
    ("line", "works"),
    [
        ('pixi list --no-install "^numpy$|^pytest$"', True),
        ("cp ../starter/*.py .", True),
        ("python -c \"print('a', 1)\"  # $HOME", True),
        ("SEED=3 pixi run limits", False),
        ("export SEED=3", False),
        ("cd mine && pixi lock", False),
        ("pixi add numpy \\", False),
        ("python $(which x)", False),
        ('echo "$HOME"', False),
        ("rm -r trap", False),
        ("python x.py '{\"a\": 1}'", False),
        ("python x.py <file", False),
        ("pixi add numpy,scipy", False),
        (".venv/bin/python x.py", False),
    ],
)
def test_commands_of_one_shell_are_found(line, works):
    assert works_in_both_shells(line) is works


@pytest.mark.parametrize("exercise", REDONE, ids=number)
def test_commands_work_in_bash_and_in_powershell(exercise):
    """A block for one shell has a twin, or runs where there is only bash: each says so in its first line."""
    typed = render_pages.BLOCK.sub("", PAGES[exercise])
    for language, block in re.findall(r"(?ms)^```(bash|powershell)[^`\n]*\n(.*?)^```$", typed):
        first, *_ = lines = block.splitlines()
        if language == "powershell" or first in ("# bash", "# on the cluster", "# on Linux", "# on Linux and macOS"):
            continue
        for line in lines:
            assert works_in_both_shells(line), line
    twins = [len(re.findall(rf"(?m)^```{name.lower()}[^`\n]*\n# {name}$", typed)) for name in ("bash", "PowerShell")]
    assert twins[0] == twins[1]
