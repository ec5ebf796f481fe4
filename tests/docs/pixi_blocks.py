"""Run the `pixi` blocks of the book with the real Pixi: python tests/docs/pixi_blocks.py [PAGE ...]

Each page gets a folder with a fresh clone of the repository, called `workshop`, and a home of its own. Its blocks run in
order, in one shell's folder and variables, and each `output` block is compared with what the block above it printed.
`by_hand.toml` contains what a reader does between the blocks, such as an edit in a file. A page that begins where another
one ends runs after it, in the same folder. Pixi downloads packages, so this needs a network.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import pages

BY_HAND = Path(__file__).with_name("by_hand.toml")
KEYS = {"folder", "after", "with_run", "without_clone", "steps"}  # of a page
STEP_KEYS = {"before", "do", "skip", "not_compared"}
LIMIT = 1800  # seconds for a block
MADE = (".git", ".venv", ".pixi", ".workshop", "_build", "results", "__pycache__", "*.egg-info", ".*_cache")

VARIES = {  # what differs between days and machines, and what stands for it
    r"\b[0-9a-f]{32,64}\b": "CHECKSUM",
    r"(\b[\d.]+|\.\.\.) (B|KiB|MiB|GiB|bytes)(?!\w)": "SIZE",
    r"__archspec=\d=\w+": "ARCHSPEC",
    r"\b\w*h[0-9a-f]{7}_\d+(_\w+)?\b": "BUILD",
    r"\d+(\.\d+)+(\.\*|[a-z]\w*)?|\b\d{4}[a-z]\b": "VERSION",
    r"\b\d{5,}\b": "NUMBER",
    r"VERSION( \| VERSION)+": "VERSION",
    r"PATH(:[^\"\s]*)+": "PATH",
}
FRAMES = r"[\s│├└─╰▶]"  # Pixi breaks the lines of its messages, and draws frames around them


def by_hand() -> dict[str, dict]:
    """By page: what its reader has, and does between the blocks."""
    return tomllib.loads(BY_HAND.read_text(encoding="utf-8"))


def pixi_pages() -> list[str]:
    """The pages of the book with blocks of the class `pixi`."""
    return [pages.name_of(p) for p in pages.book_pages() if any(b.kind == "pixi" for b in pages.blocks(p))]


def plan(name: str) -> list[tuple[pages.Block, dict]]:
    """The blocks of a page that are executed or compared, each with its entry in by_hand.toml.

    Raises ValueError if an entry belongs to no block, so that an edited page cannot lose one silently.
    """
    page = by_hand().get(name, {})
    kinds = {"pixi", "output"} | ({"run"} if page.get("with_run") else set())
    steps = list(page.get("steps", []))
    found = []
    above = ""
    for block in pages.blocks(pages.ROOT / name):
        executed = block.kind in kinds - {"output"}
        if executed or (block.kind == "output" and above in kinds):
            first = block.text.partition("\n")[0]
            found.append((block, steps.pop(0) if executed and steps and steps[0]["before"] == first else {}))
        above = block.kind
    if steps:
        raise ValueError(f"{BY_HAND.name}: {name} has no block (after those above) that begins: {steps[0]['before']}")
    return found


def missing_lines(recorded: str, printed: str) -> list[str]:
    """The lines of a recorded output that Pixi did not print.

    Their order is not compared, because Pixi lists platforms in any order. Versions and builds are not either: channels
    get new ones every day. `...` stands for anything.
    """
    whole = _squeezed("\n".join(pages.normalized(printed)))
    lines = [line for line in pages.normalized(recorded) if _squeezed(line)]
    patterns = {line: ".*".join(map(re.escape, re.split(r"\.\.\.[\w./-]*", _squeezed(line)))) for line in lines}
    return [line for line in lines if not re.search(patterns[line], whole)]


def _squeezed(text: str) -> str:
    for pattern, name in VARIES.items():
        text = re.sub(pattern, name, text)
    return re.sub(FRAMES, "", text)


def make_clone(folder: Path) -> Path:
    """A repository with the files of this one, which `git clone` copies."""
    clone = Path(shutil.copytree(pages.ROOT, folder / "repository", ignore=shutil.ignore_patterns(*MADE)))
    author = ("-c", "user.name=A Reader", "-c", "user.email=reader@example.org")
    for words in (("init", "-q", "-b", "main"), ("add", "-A"), (*author, "commit", "-q", "-m", "Clone")):
        subprocess.run(["git", *words], cwd=clone, check=True)
    return clone


class Shell:
    """A shell that keeps its folder and its variables from one block to the next."""

    def __init__(self, folder: Path, repository: Path, cache: Path) -> None:
        self.state = folder / ".state"
        self.clone = folder / "workshop"
        programs = folder / ".bin"
        home = folder / ".home"
        for path in (self.state, programs, home):
            path.mkdir()
        for name, words in {"python": "", "python3": "", "workshop": " -m workshop"}.items():
            text = f'#!/bin/sh\nPYTHONPATH="{self.clone}/common" exec "{sys.executable}"{words} "$@"\n'
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        pixi = shutil.which("pixi") or sys.exit("pixi is not installed")
        kept = {name: os.environ[name] for name in os.environ if re.match(r"(?i)LANG|LC_|SSL_|\w*_proxy$", name)}
        self.variables = kept | {
            "HOME": str(home),
            "PATH": f"{programs}:{Path(pixi).parent}:/usr/local/bin:/usr/bin:/bin",
            "PIXI_CACHE_DIR": str(cache),
            "STATE": str(self.state),
            "COLUMNS": "100",
        }
        address = "https://github.com/OWNER/REPOSITORY.git"  # as the pages write it
        (home / ".gitconfig").write_text(
            f"[user]\nname = A Reader\nemail = reader@example.org\n[init]\ndefaultBranch = main\n"
            f'[url "{repository}"]\ninsteadOf = {address}\n'
        )
        self.move_to(folder)

    def move_to(self, folder: Path) -> None:
        (self.state / "folder").write_text(str(folder))

    def run(self, script: str) -> subprocess.CompletedProcess:
        """Run lines of bash where the lines before ended; standard output and errors come together, in stdout."""
        whole = (
            'if [ -f "$STATE/variables" ]; then source "$STATE/variables"; fi\ncd "$(cat "$STATE/folder")"\n'
            'trap \'pwd > "$STATE/folder"; export -p > "$STATE/variables"\' EXIT\n' + script
        )
        line = ["bash", "-e", "-o", "pipefail", "-c", whole]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.run(line, env=self.variables, text=True, timeout=LIMIT, **pipes)


def run_page(name: str, shell: Shell, folder: Path) -> list[str]:
    """Run the blocks of a page, after those of the pages that it continues. Returns the problems; the first one ends it."""
    page = by_hand().get(name, {})
    if "after" in page and (problems := run_page(page["after"], shell, folder)):
        return problems
    shell.move_to(folder / page.get("folder", "workshop"))
    printed = None
    for block, step in plan(name):
        if block.kind == "output":
            if printed is not None and (missing := missing_lines(block.text, printed)):
                return [f"{block}: not printed:", *missing, "but:", printed]
        elif "skip" in step:
            print(f"skipped {block}: {step['skip']}")
            printed = None
        else:
            prepared = shell.run(step.get("do", ""))
            if prepared.returncode:
                return [f"{BY_HAND.name}, above {block}: exit code {prepared.returncode}", prepared.stdout]
            script = block.text if block.kind == "pixi" else f'(cd "{shell.clone}"\n{block.text}\n)'
            done = shell.run(script)
            printed = None if "not_compared" in step else done.stdout
            if done.returncode != int(block.options.get("exit", 0)):
                return [f"{block}: exit code {done.returncode}", block.text, done.stdout]
    return []


def main() -> None:
    failed = []
    with tempfile.TemporaryDirectory(prefix="pages-") as temporary:
        root = Path(temporary)
        repository = make_clone(root)
        cache = Path(os.environ.get("PIXI_CACHE_DIR", root / "cache"))
        for number, name in enumerate(sys.argv[1:] or pixi_pages()):
            folder = root / f"{number}"
            folder.mkdir()
            shell = Shell(folder, repository, cache)
            if not by_hand().get(name, {}).get("without_clone"):
                subprocess.run(["git", "clone", "-q", repository, shell.clone], check=True)
            problems = run_page(name, shell, folder)
            print(f"{'FAILED ' if problems else 'ok     '} {name}", *problems, sep="\n", flush=True)
            failed += [name] if problems else []
            shutil.rmtree(folder, ignore_errors=True)
    sys.exit(f"these pages failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
