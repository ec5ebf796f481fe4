"""No tracked text contains phrases that no native speaker of English would write."""

import re
import subprocess

import pytest
from conftest import ROOT

SUFFIXES = (".md", ".py", ".toml", ".yml", ".cff", ".def", ".sbatch", ".sh", ".sub")
SUBJECTS = "check|constraint|environment|feature|file|folder|job|lock|manifest|package|page|platform|script|task"

# A regular expression for each phrase, and an example that it must find.
PHRASES = {
    r"\bbelongs? into\b": "this line belongs into pixi.toml",
    r"\bstopped to\b": "conda-forge stopped to build it",
    r"(^|[.:;] |\")Who [a-z](?!.*\?)": "Who only wants the limits does not need pytest",
    r"\b(is|are|was) said\b": "what is said above",
    r"\b(is|are) told in\b": "a missing module is told in four lines",
    r"\b(is|are|was|were) asked for\b": "where a GPU is asked for",
    rf"\b({SUBJECTS})s? (asks?|wants?)\b": "the manifest asks for another build",
    r"^[^,]*, that (?!(is|of)\b)": "a check, that passes",  # the first comma of its line: it closes no parenthesis
    r", too\b(?! (few|large|late|little|long|many|much|old|short|small|soon)\b)": "on Windows, too",
    r"\b(comes?|came) out (again|twice)\b": "the same number comes out again",
    r"\bare others in\b": "the counts are others in every run",
    r"\bin so many words\b": "choose the CPU in so many words",
    r"\b(goes|go|going|went) on (from|with)\b": "the run goes on from its checkpoint",
    r"\b(whoever|Whoever)\b": "whoever ends the job",
    r"\bbears? (one|the same|a) (name|mark)\b": "both builds bear one name",
    r"\bshall (be|not|begin|come|end|have)\b": "those that wait shall not begin",
    r"(?<![Tt]here )\bis no (error|file|folder|number|pass|run)\b": "a skip is no pass",
}

# Files that may contain such phrases, and why.
ALLOWED = {"tests/test_language.py": "the phrases themselves", "CHANGELOG.md": "earlier releases are history"}


def findings(text: str) -> list[str]:
    """Each line of `text` with a phrase, with the number of the line and the pattern."""
    return [
        f"line {number}: {line.strip()}  ({pattern})"
        for number, line in enumerate(text.splitlines(), 1)
        for pattern in PHRASES
        if re.search(pattern, line)
    ]


def tracked_texts() -> dict[str, str]:
    """The tracked text files by path, without tests/data, which holds what other programs wrote."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    names = [name for name in done.stdout.split("\0") if name.endswith(SUFFIXES) or name.endswith("Dockerfile")]
    paths = {name: ROOT / name for name in names if not name.startswith("tests/data/")}
    return {name: path.read_text(encoding="utf-8") for name, path in paths.items() if path.is_file()}


@pytest.mark.parametrize(("pattern", "example"), PHRASES.items())
def test_every_pattern_finds_its_example(pattern, example):
    assert any(pattern in finding for finding in findings(example))


@pytest.mark.parametrize(
    "text",
    [
        "someone who only computes limits",
        "a memory of 4 MiB, too little to import PyTorch",
        "Who may write? Three jobs.",
        "the first, seed 0, that was interrupted",
        "there is no run to compare with",
    ],
)
def test_correct_english_is_not_reported(text):
    assert findings(text) == []


def test_no_tracked_text_contains_a_phrase():
    texts = tracked_texts()
    assert len(texts) > 200 and set(ALLOWED) <= set(texts)
    found = [f"{name}, {finding}" for name, text in texts.items() if name not in ALLOWED for finding in findings(text)]
    assert not found, "\n".join(found)
