"""The pages say what is so: commands that CI runs word for word, numbers that a file in the repository holds."""

import json
import re

import pytest
from conftest import ROOT

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


def test_the_figures_of_the_readme_are_those_of_the_benchmark():
    found = json.loads((ROOT / "benchmarks" / "torch_training.json").read_text())
    for figure in (
        f"97 % in {found['median_seconds']['ours']:.1f} s of training",
        f"{found['median_ratio']:.0f} times faster",
        f"{100 * found['median_fraction_of_peak']:.0f} % of the processor's peak",
        f"median of {found['n']} runs of our code",
    ):
        assert figure in README, figure
    scan = json.loads((ROOT / "benchmarks" / "scan.json").read_text())
    published = next(entry for entry in scan["inputs"] if entry["input"] == "1Lbb")
    assert f"in {published['fits_median_s']:.1f} s, {published['pyhf']['numpy']['ratio']:,.0f} times faster" in README
    assert published["pyhf"]["numpy"]["largest_difference_of_cls"] < 1e-4  # "same CLs"
    assert found["seeds_of_ours_below_target"] == []  # "reaches 97 %"


def test_the_seconds_of_check_all_are_those_of_the_benchmark():
    found = json.loads((ROOT / "benchmarks" / "check_all.json").read_text())
    first, again, torch = found["median_s"]["first"], found["median_s"]["again"], found["import_median_s"]["torch"]
    said = " ".join((ROOT / "CONTRIBUTING.md").read_text().split())
    assert (
        f"{first:.0f} s with an empty cache and {again:.0f} s after that, where importing PyTorch takes {torch:.1f} s"
        in said
    )


def test_the_figures_of_the_gpu_are_those_of_its_test():
    found = json.loads((ROOT / "benchmarks" / "gpu.json").read_text())
    rows = {(row["framework"], row["check"]): row for row in found["rows"]}
    assert {row["result"] for row in rows.values()} == {"passed"}
    training = rows["torch", "99% on digits-60k"]["values"]
    graph = rows["torch", "a step recorded as a CUDA graph"]["values"]
    text = " ".join(README.split())
    assert f"99 % in {training['median_seconds']:.2f} s of training (median of {len(training['runs'])} seeds)" in text
    assert graph["same_weights"] and f"{graph['ratio']:.1f} times faster than without, with the same weights" in text
    assert all(gpu["gpu"].startswith("NVIDIA H100") for gpu in found["machine"]["gpus"]) and "NVIDIA H100" in text
    assert found["versions"]["torch"].startswith("2.11.") and found["versions"]["jax"].startswith("0.11.")


def test_the_figures_of_exercise_3_are_those_of_the_benchmark():
    found = json.loads((ROOT / "benchmarks" / "jax_training.json").read_text())
    today, frozen = found["stacks"]
    assert not any(stack["seeds_of_ours_below_target"] for stack in found["stacks"])  # "97 %"
    said = {
        "README.md": f"97 % in {today['median_seconds']['ours']:.1f} s of training, {today['median_ratio']:.0f} times faster "
        f"than Flax's own recipe ({frozen['median_seconds']['ours']:.1f} s and {frozen['median_ratio']:.0f} times on the frozen stack of CUDA 11.8)",
        "exercise-3-jax-cu118/solution/train.py": f"in {today['median_seconds']['ours']:.1f} s of training, where Flax's own "
        f"MNIST recipe takes {today['median_seconds']['reference']:.0f} s; on jax {frozen['jax']} in "
        f"{frozen['median_seconds']['ours']:.1f} s instead of {frozen['median_seconds']['reference']:.0f} s (medians of {found['n']}",
    }
    for path, text in said.items():
        assert text in " ".join((ROOT / path).read_text().split()), (path, text)
