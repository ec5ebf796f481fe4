"""The `run` blocks of the pages, executed word for word, and the `output` blocks below them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pages
import pytest
from conftest import ROOT

PAGES = [page for page in pages.tested_pages() if any(block.kind == "run" for block in pages.blocks(page))]
MADE = (".git", ".venv", ".pixi", ".workshop", "_build", "results", "__pycache__", "*.egg-info", ".*_cache")
LIMIT = 600  # seconds for a block


@pytest.fixture
def scratch(tmp_path) -> Path:
    """A copy of the repository, committed to git, with an empty home and commands `python` and `workshop`."""
    clone = Path(shutil.copytree(ROOT, tmp_path / "clone", ignore=shutil.ignore_patterns(*MADE)))
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
