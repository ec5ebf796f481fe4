"""The text of the book: the sections of a lesson, the classes of the blocks, short sentences, texts of pictures.

These tests only read. `test_blocks.py` runs the blocks, and `test_book.py` looks at the built pages.
"""

import json
import re
import shutil
import subprocess

import pages
import pytest
from conftest import ROOT, module_of

LONGEST_SENTENCE = 28  # words

BOOK, LESSONS, TESTED = pages.book_pages(), pages.lesson_pages(), pages.tested_pages()


@pytest.mark.parametrize("page", LESSONS, ids=pages.name_of)
def test_a_lesson_has_every_section(page):
    assert pages.problems_of_lesson(page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("page", TESTED, ids=pages.name_of)
def test_every_block_has_a_class(page):
    wrong = [str(block) for block in pages.blocks(page) if block.kind not in pages.CLASSES]
    assert wrong == [], pages.__doc__


def test_at_most_one_block_in_ten_is_not_tested():
    blocks = [block for page in TESTED for block in pages.blocks(page)]
    shown = [str(block) for block in blocks if block.kind == "show"]
    assert len(shown) <= max(1, len(blocks) / 10), shown


@pytest.mark.parametrize("page", TESTED, ids=pages.name_of)
def test_a_slice_is_in_its_file(page):
    for block in pages.blocks(page):
        if "slice" in block.options:
            assert is_slice(block.text, (ROOT / block.options["slice"]).read_text(encoding="utf-8")), str(block)


def is_slice(text: str, file: str) -> bool:
    """Whether the lines are in the file, in this order. Only a line `...` or `# ...` stands for others."""
    rest = f"\n{file}\n"
    for piece in re.split(r"(?m)^\s*(?:# )?\.\.\.$", text):
        if piece.strip():
            _, found, rest = rest.partition("\n" + piece.strip("\n") + "\n")
            if not found:
                return False
            rest = "\n" + rest
    return True


@pytest.mark.parametrize("page", TESTED, ids=pages.name_of)
def test_output_is_below_a_command(page):
    above = None
    for block in pages.blocks(page):
        if block.kind == "output":
            assert above and above.kind in pages.COMMANDS, str(block)
        above = block


@pytest.mark.parametrize("page", TESTED, ids=pages.name_of)
def test_a_command_of_pixi_has_the_class_for_it(page):
    """`run` blocks are executed on machines that have no Pixi. `test_pixi_commands.py` reads the words of all others."""
    wrong = [str(b) for b in pages.blocks(page) if b.kind == "run" and re.search(r"(?m)^\s*pixi ", b.text)]
    assert wrong == []


@pytest.mark.parametrize("page", BOOK, ids=pages.name_of)
def test_a_variable_can_be_set_in_powershell(page):
    """PowerShell does not know `VAR=x command`. For `export VAR=x`, the page gives its line."""
    typed = [b for b in pages.blocks(page) if b.language == "bash" and b.kind in ("run", "pixi")]
    assert [str(b) for b in typed if re.search(r"(?m)^\w+=\S* \w", b.text)] == []
    names = {name for b in typed for name in re.findall(r"(?m)^export (\w+)=", b.text)}
    text = page.read_text(encoding="utf-8")
    assert [name for name in sorted(names) if f"`$env:{name} = " not in text] == []


@pytest.mark.skipif(not shutil.which("bash"), reason="bash is not installed")
def test_bash_can_read_every_block():
    blocks = [b for page in TESTED for b in pages.blocks(page) if b.language == "bash"]
    script = "".join(f"check_{n}() {{\n{b.text}\n:\n}}\n" for n, b in enumerate(blocks))
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", BOOK, ids=pages.name_of)
def test_sentences_are_short(page):
    text = page.read_text(encoding="utf-8")
    long = [f"line {line}: {s}" for line, s in pages.sentences(text) if pages.words(s) > LONGEST_SENTENCE]
    assert not long, "\n".join(long)


@pytest.mark.parametrize("page", [*BOOK, *pages.exercise_pages()], ids=pages.name_of)
def test_every_picture_has_a_text(page):
    text = pages.without_blocks(page.read_text(encoding="utf-8"))
    alternatives = re.findall(r"!\[([^\]]*)\]\(", text)
    alternatives += [
        re.search(r'alt="([^"]*)"', tag)[1] if "alt=" in tag else "" for tag in re.findall(r"<img[^>]*>", text)
    ]
    assert [found for found in alternatives if len(found) < 10] == []


def test_the_figures_are_drawn():
    folder = ROOT / "docs/figures"
    drawn = module_of(folder / "draw.py").files()
    committed = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.svg")}
    assert [name for name in drawn | committed if drawn.get(name) != committed.get(name)] == [], "docs/figures/draw.py"


@pytest.mark.slow
def test_the_figure_of_the_layers_has_the_sizes_of_the_lock():
    recorded = json.loads((ROOT / "benchmarks/image_layers.json").read_text(encoding="utf-8"))
    layers = module_of(ROOT / "benchmarks/image_layers.py")
    assert recorded["environment"] == layers.packages(), "python benchmarks/image_layers.py --output ..."
    now = layers.copied()
    assert recorded["copied"] == pytest.approx(now, rel=0.2), "the figure shows one digit"


# ---------------------------------------------------------------- the rules find what they are for

LESSON = """\
# Title

**Minutes:** 5 · **You need:** Pixi · ★ star path

## Questions

- Why?

## You will be able to

1. lock
2. solve

## A heading

Text.

## Try it

1. Lock it. (objective 1)

   <details>
   <summary>Solution</summary>

   `pixi lock`

   </details>

## Common mistakes

- None.

## Key points

- One.

## Check yourself

1. What? (objective 2)

   <details>
   <summary>Answer</summary>

   That.

   </details>

2. When? (objectives 1 and 2)

   <details>
   <summary>Answer</summary>

   Now.

   </details>

## Next

The next page.
"""


def test_a_complete_lesson_has_no_problem():
    assert pages.problems_of_lesson(LESSON) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("## Key points\n", "## Points\n", "the headings are"),
        ("## A heading\n", "### A heading\n", "the headings are"),
        ("**Minutes:** 5", "Minutes: 5", "the page begins with"),
        ("2. solve", "3. solve", "the objectives are numbered"),
        ("2. When?", "When?", "has two questions"),
        ("(objective 1)\n", "\n", "(objective N) is missing at the end of: 1. Lock it."),
        ("<summary>Solution<", "<summary>Answer<", "<summary>Solution</summary> is missing"),
        ("2. solve", "2. solve\n3. install", "names the objectives [3]"),
        ("(objective 1)\n", "(objective 7)\n", "does not have: [7]"),
    ],
)
def test_a_problem_of_a_lesson_is_found(old, new, problem):
    assert old in LESSON
    assert any(problem in found for found in pages.problems_of_lesson(LESSON.replace(old, new, 1)))


def test_blocks_are_read(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "a\n\n```bash run exit=1\nfalse\n```\n\n- b\n\n  ```toml slice=pixi.toml\n  [tasks]\n    x\n  ```\n\n```{toctree}\nc\n```\n"
        "<!-- lines of solution/pixi.toml -->\n```diff\n+d\n```\n<!-- end -->\n\n```text\ne\n```\n"
    )
    found = [(b.line, b.language, b.kind, b.text, b.options) for b in pages.blocks(page)]
    assert found == [
        (3, "bash", "run", "false\n", {"run": "", "exit": "1"}),
        (9, "toml", "slice", "[tasks]\n  x\n", {"slice": "pixi.toml"}),
        (18, "diff", "slice", "+d\n", {}),
        (23, "text", "", "e\n", {}),
    ]


def test_a_slice_keeps_the_order():
    file = "a\nb\nc\nd\n"
    assert is_slice("a\nb\n", file) and is_slice("a\n# ...\nc\nd\n", file)
    assert not is_slice("a\nc\n", file) and not is_slice("c\n...\na\n", file) and not is_slice("a\nbb\n", file)


def test_sentences_are_counted():
    text = "# A heading\n\nOne two `pixi run -e x`. Three [four five](x.md#y), (six).\n- seven\n- eight\n\n| a | b c |\n|---|---|\n"
    found = [(line, pages.words(sentence)) for line, sentence in pages.sentences(text)]
    assert found == [(1, 2), (3, 3), (3, 4), (4, 1), (5, 1), (7, 1), (7, 2)]


@pytest.mark.parametrize(
    ("recorded", "printed", "same"),
    [
        ("trained in 3.1 s\n", "trained in 12 s  \n", True),
        ("wrote /home/a/results/run\n", "\x1b[1mwrote\x1b[0m /tmp/clone/results/run\n", True),
        ("started 2026-11-26T23:59:17Z\n", "started 2027-01-01 00:00:00\n", True),
        ("a\n...\nd\n", "a\nb\nc\nd\n", True),
        ("...\nd\n", "d\n", True),
        ("a\nd\n", "a\nb\nd\n", False),
        ("accuracy 0.97\n", "accuracy 0.96\n", False),
    ],
)
def test_output_is_compared_without_times_and_paths(recorded, printed, same):
    assert pages.is_output(recorded, printed) is same
