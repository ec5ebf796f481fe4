"""The pages say what is so: commands that CI runs word for word, numbers that a file in the repository holds."""

import json
import re

import pytest
from conftest import ROOT

from workshop.verification import figures

README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("exercise-*/README.md"))]


def test_the_readme_is_short():
    assert len(README.splitlines()) < 120


def test_ci_runs_the_readmes_commands_word_for_word():
    ci = (ROOT / ".ci" / "run").read_text()
    first = 'python3 -m venv .venv && .venv/bin/pip install -e ".[cpu,test]" && .venv/bin/workshop check-all'
    for command in (first, ".venv/bin/pytest"):
        assert f"\n{command}\n" in ci
        assert f"\n{command}\n" in README


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)|<img[^>]* src=\"([^\"]+)\"", page.read_text()):
        path = target[0] or target[1]
        assert path.startswith("http") or (page.parent / path).exists(), path


# ---------------------------------------------------------------- figures

RESULTS = json.loads((ROOT / "benchmarks" / "results.json").read_text(encoding="utf-8"))
FIGURES = {figure["name"]: figure for figure in RESULTS["figures"]}


def measured(name):
    """What a command of benchmarks/results.json wrote."""
    return json.loads((ROOT / RESULTS["commands"][name]["file"]).read_text(encoding="utf-8"))


def words(page):
    return " ".join((ROOT / page).read_text(encoding="utf-8").split())


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_the_measured_one(name):
    figure = FIGURES[name]
    found = figures.look_up(measured(figure["command"]), figure)
    said, is_now = figure["text"].format(figure["value"]), figure["text"].format(found)
    assert said == is_now, f"in benchmarks/results.json, write the value that was measured: {found}"
    assert said in words(figure["page"]), f"in {figure['page']}, write: {said}"


def test_every_figure_of_the_readme_is_measured():
    """Each number with a unit that depends on a machine, outside of the blocks with commands."""
    text = " ".join(re.sub(r"(?ms)^```.*?^```", "", README).split())
    said = [figure["text"].format(figure["value"]) for figure in FIGURES.values()]
    for each in said:
        text = text.replace(each, "")
    left = re.findall(r"[\d.,]*\d (?:s|times|GB|MB|MiB|%)(?!\w)[^.]{0,30}", text)
    # The targets of the trainings: 97 % and 99 % are reached by every seed (below). "17 times" would be a figure.
    assert [each for each in left if not each.startswith(("97 %", "99 %"))] == []


def test_every_seed_reaches_the_accuracy_that_the_pages_give():
    assert measured("torch")["seeds_of_ours_below_target"] == []
    assert not any(stack["seeds_of_ours_below_target"] for stack in measured("jax")["stacks"])
    assert f"medians of {measured('torch')['n']} runs" in words("README.md")
    assert f"median of {measured('torch')['n']} runs of our code" in words("docs/measured.md")
    assert measured("torch")["n"] == measured("jax")["n"]


def test_the_limits_of_exercise_1_are_those_of_pyhf():
    published = next(entry for entry in measured("scan")["inputs"] if entry["input"] == "1Lbb")
    assert published["pyhf"]["numpy"]["largest_difference_of_cls"] < 1e-4  # "same CLs"


def test_the_statements_about_the_gpu_are_those_of_its_test():
    found = measured("gpu")
    rows = {(row["framework"], row["check"]): row for row in found["rows"]}
    assert {row["result"] for row in rows.values()} == {"passed"}
    training = rows["torch", "99% on digits-60k"]["values"]
    text = words("docs/measured.md")
    assert f"(median of {len(training['runs'])} seeds)" in text
    assert rows["torch", "a step recorded as a CUDA graph"]["values"]["same_weights"]
    assert all(gpu["gpu"].startswith("NVIDIA H100") for gpu in found["machine"]["gpus"]) and "NVIDIA H100" in text
    assert found["versions"]["torch"].startswith("2.11.") and found["versions"]["jax"].startswith("0.11.")
    assert found["seconds"] < 8 * 60 and "in under eight minutes" in text


def test_the_versions_in_exercise_3_are_those_of_the_benchmark():
    assert f"on jax {measured('jax')['stacks'][1]['jax']} in" in words("exercise-3-jax-cu118/solution/train.py")
