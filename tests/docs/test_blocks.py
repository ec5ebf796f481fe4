"""The `run` blocks of the pages, executed word for word, and the `output` blocks below them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pages
import pixi_blocks
import pytest
from conftest import ROOT

PAGES = [page for page in pages.tested_pages() if any(block.kind == "run" for block in pages.blocks(page))]
LIMIT = 600  # seconds for a block


@pytest.fixture
def scratch(tmp_path) -> Path:
    """A copy of the repository, committed to git, with an empty home and commands `python` and `workshop`."""
    clone = Path(shutil.copytree(ROOT, tmp_path / "clone", ignore=shutil.ignore_patterns(*pixi_blocks.MADE)))
    (tmp_path / "home").mkdir()
    (tmp_path / "bin").mkdir()
    for name, words in {"python": "", "python3": "", "workshop": " -m workshop"}.items():
        (tmp_path / "bin" / name).write_text(f'#!/bin/sh\nexec "{sys.executable}"{words} "$@"\n')
        (tmp_path / "bin" / name).chmod(0o755)
    author = ("-c", "user.name=A Reader", "-c", "user.email=reader@example.org")
    for words in (("init", "-q", "-b", "main"), ("add", "-A"), (*author, "commit", "-q", "-m", "Clone")):
        subprocess.run(["git", *words], cwd=clone, check=True)
    return clone


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("bash") or os.name == "nt", reason="the blocks are for bash")
@pytest.mark.parametrize("page", PAGES, ids=pages.name_of)
def test_the_blocks_of_a_page_run(page, scratch, variables):
    variables = variables | {
        "HOME": str(scratch.parent / "home"),
        "PATH": f"{scratch.parent / 'bin'}{os.pathsep}{variables['PATH']}",
        "PYTHONPATH": str(scratch / "common"),
        "COLUMNS": "100",
    }
    printed = None
    for block in pages.blocks(page):
        if block.kind == "run":
            done = subprocess.run(
                ["bash", "-e", "-o", "pipefail", "-c", block.text],
                cwd=scratch,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=LIMIT,
            )
            printed = done.stdout
            assert done.returncode == int(block.options.get("exit", 0)), f"{block}\n{printed}"
        elif block.kind == "output" and printed is not None:
            assert pages.is_output(block.text, printed), f"{block}\n{printed}"
        else:
            printed = None


# ---------------------------------------------------------------- the blocks for the real Pixi, which docs.yml executes


def test_every_step_by_hand_belongs_to_a_page():
    """And `pixi_blocks.plan` finds the block of each one, or raises an error."""
    described = pixi_blocks.by_hand()
    assert set(described) <= set(pixi_blocks.pixi_pages())
    for name, page in described.items():
        assert set(page) <= pixi_blocks.KEYS and page.get("after", name) in pixi_blocks.pixi_pages()
        assert all(set(step) <= pixi_blocks.STEP_KEYS for step in page.get("steps", []))
        pixi_blocks.plan(name)


def test_a_step_whose_block_is_gone_is_found(monkeypatch):
    page = {"steps": [{"before": "pixi lock --nothing", "do": "true"}]}
    monkeypatch.setattr(pixi_blocks, "by_hand", lambda: {"docs/pixi/lock.md": page})
    with pytest.raises(ValueError, match="pixi lock --nothing"):
        pixi_blocks.plan("docs/pixi/lock.md")


@pytest.mark.parametrize(
    ("recorded", "printed", "missing"),
    [
        ("numpy  2.5.2  py312h33ff503_0  8.54 MiB  conda\n", "numpy  2.6.0rc1  py312h1234567_1  8 MiB  conda\n", 0),
        ("Created .../trap/pixi.toml\n", "Created /tmp/trap/pixi.toml\nmore\n", 0),
        ("cannot be solved for win-64\n", "× cannot be solved for win-\n  │ 64\n", 0),
        ("a\n...\nb\n", "b\na\n", 0),
        ("export PATH=/home/you/first/bin:/usr/bin\n", "export PATH=/tmp/x/first/bin:/opt/y/bin:/usr/bin\n", 0),
        ("numpy 2.5.2\nscipy 1.18.0\n", "numpy 2.5.2\n", 1),
    ],
)
def test_output_of_pixi_is_compared_without_versions_and_frames(recorded, printed, missing):
    assert len(pixi_blocks.missing_lines(recorded, printed)) == missing


@pytest.mark.skipif(not shutil.which("bash") or os.name == "nt", reason="the blocks are for bash")
def test_a_block_begins_where_the_last_one_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(pixi_blocks.shutil, "which", lambda name: f"/bin/{name}")
    shell = pixi_blocks.Shell(tmp_path, tmp_path, tmp_path)
    assert shell.run("mkdir a; cd a; export WHO=me").returncode == 0
    assert shell.run('echo "$WHO in $(basename "$PWD")"; cd ..').stdout == "me in a\n"
    assert shell.run("false; echo not reached").returncode == 1 and shell.run("ls -d a").stdout == "a\n"
