"""The schedules for teaching add up, and give each exercise the minutes of its exercise.toml."""

import re
from functools import cache
from pathlib import Path

import pages
import pytest
import schedules
from conftest import ROOT

from workshop import exercises

TEXT = schedules.PAGE.read_text(encoding="utf-8")
SCHEDULES = schedules.schedules(TEXT)
MINUTES = {e.number: e.settings["minutes"] for e in exercises.find_all(ROOT)}


def test_the_schedules_are_there():
    assert list(SCHEDULES) == ["A group meeting", "Four hours", "Day 1", "Day 2", "Day 3"]
    assert SCHEDULES["A group meeting"][0] == 90 and SCHEDULES["Four hours"][0] == 240


@pytest.mark.parametrize("name", SCHEDULES)
def test_each_line_begins_where_the_one_above_ends(name):
    promised, rows = SCHEDULES[name]
    starts = [row.start for row in rows]
    ends = [row.start + row.minutes for row in rows]
    assert starts[0] == 0 and starts[1:] == ends[:-1]
    assert ends[-1] == promised == sum(row.minutes for row in rows)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_star_path_gets_its_minutes(name):
    _, rows = SCHEDULES[name]
    for row in rows:
        if row.what.startswith("★"):
            assert row.exercise and row.minutes == MINUTES[row.exercise]["star"], row


def test_the_sheet_has_the_four_hours():
    sheet = (schedules.PAGE.parent / "thursday.md").read_text(encoding="utf-8")
    rows = re.findall(r"(?m)^\| +\| (\d+:\d\d) \| (\d+) \|", sheet)
    assert rows == [(schedules.clock(row.start), str(row.minutes)) for row in SCHEDULES["Four hours"][1]]


def test_the_sheet_names_steps_at_the_times_when_they_start():
    sheet = (schedules.PAGE.parent / "thursday.md").read_text(encoding="utf-8")
    starts = dict(re.findall(r"(?m)^\| (\d+:\d\d) \| \d+ \| \d \| (\d\.\d+) \|", TEXT))
    named = re.findall(r"\| (\d+:\d\d): step (\d\.\d+) \|", sheet)
    assert [step[0] for _, step in named] == [str(number) for number in sorted(MINUTES)]
    assert [(time, step) for time, step in named if starts.get(time) != step] == []


def test_each_talk_has_the_time_of_its_slot():
    """A heading `NAME: H:MM to H:MM`, or `NAME: H:MM`, begins with a slot of the four hours and ends with one."""
    talks = (schedules.PAGE.parent / "talks.md").read_text(encoding="utf-8")
    rows = SCHEDULES["Four hours"][1]
    starts = [schedules.clock(row.start) for row in rows]
    headings = re.findall(r"(?m)^## .+: (\d:\d\d)(?: to (\d:\d\d))?$", talks)
    said = [schedules.clock(r.start) for r in rows if not r.what.startswith(("★", "Break", "Survey"))]
    assert [start for start, _ in headings] == said
    assert {end for _, end in headings if end} <= {*starts, "4:00"}


@pytest.mark.parametrize("page", pages.lesson_pages(), ids=pages.name_of)
def test_every_lesson_page_has_a_note_with_its_minutes_and_is_in_the_schedules(page):
    note = (schedules.PAGE.parent / f"notes-{page.parent.name}.md").read_text(encoding="utf-8")
    minutes = re.search(r"\*\*Minutes:\*\* (\d+)", page.read_text(encoding="utf-8"))[1]
    assert f"[The page](../{page.parent.name}/{page.name}), {minutes} minutes" in note
    assert f"](../{page.parent.name}/{page.name})" in TEXT


def test_the_notes_have_the_minutes_of_the_parts():
    notes = (schedules.PAGE.parent / "notes-exercises.md").read_text(encoding="utf-8")
    parts = next(e.settings["parts"] for e in exercises.find_all(ROOT) if e.number == 5)
    written = {name: int(minutes) for name, minutes in re.findall(r"(?m)^\| (5[a-z]) [^|]+\| (\d+) minutes \|", notes)}
    assert written == {name: part["minutes"]["all"] for name, part in parts.items()}


def test_four_hours_contain_every_star_path_once():
    stars = [row.exercise for row in SCHEDULES["Four hours"][1] if row.what.startswith("★")]
    assert stars == sorted(MINUTES)


@pytest.mark.parametrize("number", [1, 2, 3, 4])  # of exercise 5, each learner chooses parts
def test_three_days_contain_every_step(number):
    rows = [row for name in ("Day 1", "Day 2", "Day 3") for row in SCHEDULES[name][1] if row.exercise == number]
    assert sum(row.minutes for row in rows) >= MINUTES[number]["all"]


def test_the_star_steps_are_those_of_the_exercises():
    assert schedules.render(TEXT) == TEXT, "python tests/docs/schedules.py"


def test_the_star_steps_on_the_clock_fill_their_slots():
    for number, steps in schedules.star_steps().items():
        assert not steps or sum(minutes for _, _, minutes in steps) == MINUTES[number]["star"]


@cache
def locked(path: Path) -> dict[tuple[str, str], set[str]]:
    """The addresses of all packages in a lock, by environment and platform."""
    section = re.search(r"(?ms)^environments:\n(.*?)^packages:", path.read_text(encoding="utf-8"))[1]
    return {
        (environment, platform): set(re.findall(r"- (?:conda|pypi): (\S+)", packages))
        for environment, text in re.findall(r"(?ms)^  (\S+):\n(.*?)(?=^  \S|\Z)", section)
        for platform, packages in re.findall(r"(?ms)^      (\S+):\n(.*?)(?=^      \w|\Z)", text)
    }


@pytest.mark.parametrize("platform", ["linux-64", "osx-arm64", "win-64"])
def test_after_the_homework_the_locks_of_the_solutions_download_nothing(platform):
    """docs/teach/preparing.md states this for a room without a network, except for the environment `pypi-mixed-cpu`."""
    root = locked(ROOT / "pixi.lock")
    homework = root["cpu", platform] | root["cpu-jax", platform]
    for path in sorted(ROOT.glob("exercise-*/solution/pixi.lock")):
        mine = {name: links for (name, where), links in locked(path).items() if where == platform}
        assert mine and [name for name, links in mine.items() if links - homework] in ([], ["pypi-mixed-cpu"]), path
