"""Record the pictures of a terminal: python docs/terminal/record.py [NAME...]

Each picture shows a real session: bash runs in a pseudo-terminal, in a scratch clone of this repository, and this script
types. A session is recorded once and drawn by termtosvg (PyPI: termtosvg-ng), as NAME.svg and NAME-dark.svg for the two
themes of the book. `session` is an animation, for dark terminals alone; it stops at its last screen for readers who have
asked their system for less motion. It needs `pip install -e ".[cpu,dev]"`, git, bash and the editor nano.
"""

import argparse
import codecs
import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from termtosvg import anim, term
from termtosvg.asciicast import AsciiCastV2Event, AsciiCastV2Header

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
COLUMNS = 80
PROMPT = "\x1b[?2004h$ "  # bash, ready for input
LIMIT = 120  # seconds for a step of a session
LONGEST_PAUSE = 4000  # milliseconds that a screen of the animation stays; what takes longer is shortened
SHORTEST = 80  # milliseconds: what is printed within this time is one screen

# Colors of text on the background, each with a contrast of at least 4.5.
LIGHT = {
    "foreground": "#1b1f24",
    "background": "#f6f8fa",
    "frame": "#6b7480",
    **dict.fromkeys(("color1", "color9"), "#b3261e"),
    **dict.fromkeys(("color2", "color10"), "#17692f"),
    **dict.fromkeys(("color3", "color11"), "#8a5200"),
    **dict.fromkeys(("color4", "color12", "color6", "color14"), "#0b5cad"),
    **dict.fromkeys(("color5", "color13"), "#7b3fa0"),
    **dict.fromkeys(("color0", "color8"), "#1b1f24"),
    **dict.fromkeys(("color7", "color15"), "#515962"),
}
DARK = {
    "foreground": "#e8eaed",
    "background": "#16181b",
    "frame": "#98a1ab",
    **dict.fromkeys(("color1", "color9"), "#ff8a80"),
    **dict.fromkeys(("color2", "color10"), "#74d291"),
    **dict.fromkeys(("color3", "color11"), "#f2bd63"),
    **dict.fromkeys(("color4", "color12", "color6", "color14"), "#7cb7ff"),
    **dict.fromkeys(("color5", "color13"), "#d6a3f0"),
    **dict.fromkeys(("color0", "color8"), "#16181b"),
    **dict.fromkeys(("color7", "color15"), "#e8eaed"),
}


class Terminal:
    """bash in a pseudo-terminal. events: what it printed, each with the seconds since the start."""

    def __init__(self, folder: Path, rows: int, environment: dict[str, str]) -> None:
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execvpe("bash", ["bash", "--norc", "--noprofile"], environment)
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, COLUMNS, 0, 0))
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.events: list[tuple[float, str]] = []
        self._start, self._typed = time.monotonic(), 0  # _typed: how many events there were before the last typing
        self.until(PROMPT)

    def type(self, text: str, pause: float = 0.07) -> None:
        """Type like a person, one key after the other."""
        self._typed = len(self.events)
        for key in text:
            os.write(self._terminal, key.encode())
            self._read(pause)

    def until(self, words: str) -> None:
        """Wait until these words are printed after what was typed last."""
        deadline = time.monotonic() + LIMIT
        while words not in "".join(text for _, text in self.events[self._typed :]):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{words!r} was not printed")
            self._read(0.1)

    def look(self, seconds: float) -> None:
        """Let the reader read."""
        self._read(seconds)

    def _read(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if select.select([self._terminal], [], [], left)[0]:
                text = self._decoder.decode(os.read(self._terminal, 65536))
                self.events.append((time.monotonic() - self._start, text))

    def close(self) -> None:
        os.close(self._terminal)
        os.kill(self.pid, signal.SIGHUP)
        os.waitpid(self.pid, 0)


@dataclass(frozen=True)
class Picture:
    """A session. rows: of the terminal. prepare: makes the state of the clone. type: types the session.

    animated: whether the whole session is drawn, and not only its last screen.
    """

    rows: int
    type: Callable[[Terminal], None]
    prepare: Callable[[Path, dict[str, str]], None] = lambda clone, environment: None
    animated: bool = False


def run(terminal: Terminal, command: str, end: str = PROMPT) -> None:
    """Type a command and wait for its end, or for these words."""
    terminal.type(f"{command}\n")
    terminal.until(end)


def halfway(clone: Path, environment: dict[str, str]) -> None:
    """A learner has finished the manifest of exercise 2, and not yet the script."""
    exercise = clone / "exercise-2-pytorch-cu12"
    for name in ("pixi.toml", "pixi.lock"):
        shutil.copy(exercise / "solution" / name, exercise / "starter")
    subprocess.run(["workshop", "check", "2"], cwd=clone, env=environment, stdout=subprocess.DEVNULL, check=False)


def a_save(terminal: Terminal) -> None:
    """From a failed check to a correct line: a hint, the editor, and the check after the save."""
    terminal.look(1)
    run(terminal, "workshop watch 2", "q quit")
    terminal.look(4)
    terminal.type("h")
    terminal.until("next hint")
    terminal.look(4)
    terminal.type("o")  # nano opens the manifest, at the line that the message names
    terminal.until("Exit")
    terminal.look(2)
    terminal.type("\x1b[C" * len("platforms = ["), 0.01)
    terminal.type('{ name = "linux-64-cuda12", platform = "linux-64", cuda = "12.0" }, ', 0.05)
    terminal.look(1)
    terminal.type("\x0f")  # save
    terminal.until("File Name to Write")
    terminal.type("\r")
    terminal.until("Wrote")
    terminal.look(1)
    terminal.type("\x18")  # exit
    terminal.until("q quit")
    terminal.look(4)
    terminal.type("q")
    terminal.until(PROMPT)


def watching(terminal: Terminal) -> None:
    run(terminal, "workshop watch 2", "q quit")
    terminal.type("h")
    terminal.until("next hint")


PICTURES = {
    "session": Picture(24, a_save, animated=True),
    "bare": Picture(40, lambda terminal: run(terminal, "workshop"), halfway),
    "check": Picture(40, lambda terminal: run(terminal, "workshop check 2")),
    "watch": Picture(40, watching),
    "doctor": Picture(60, lambda terminal: run(terminal, "workshop doctor --offline")),
    "environments": Picture(
        70, lambda terminal: run(terminal, "workshop environments exercise-2-pytorch-cu12/solution")
    ),
}


def record(picture: Picture, folder: Path) -> list[tuple[float, str]]:
    """Run a session in a clone of this repository's last commit; returns what it printed, with the seconds."""
    clone = folder / "reproducible-ml-workflows"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    (folder / "bin").mkdir()
    program = folder / "bin" / "workshop"
    program.write_text(
        f'#!/bin/sh\nexec {sys.executable} -c "import sys; from workshop.cli import main; sys.exit(main())" "$@"\n'
    )
    program.chmod(0o755)
    environment = {
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
        "PYTHONPATH": str(clone / "common"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PS1": "$ ",
        "TERM": "xterm-256color",
        "LANG": "C.UTF-8",
        "VISUAL": "nano",
    }
    picture.prepare(clone, environment)
    terminal = Terminal(clone, picture.rows, environment)
    try:
        picture.type(terminal)
        return terminal.events
    finally:
        terminal.close()


def draw(picture: Picture, events: list[tuple[float, str]], colors: dict[str, str], path: Path) -> None:
    """Write a session as SVG, with text that can be selected."""
    records = [AsciiCastV2Header(version=2, width=COLUMNS, height=picture.rows, theme=None)]
    records += [AsciiCastV2Event(time=at, event_type="o", event_data=text, duration=None) for at, text in events]
    _, found = term.timed_frames(records, SHORTEST, LONGEST_PAUSE, LONGEST_PAUSE)
    frames, rows = [*found], picture.rows
    if not picture.animated:  # the last screen, without the empty rows and the prompt after it
        buffer = {row: cells for row, cells in frames[-1].buffer.items() if text_of(cells).strip()}
        buffer = {row: cells for row, cells in buffer.items() if row < max(buffer) or text_of(cells).strip() != "$"}
        rows = max(buffer) + 1
        frames = [frames[-1]._replace(buffer=buffer)]
    template = (HERE / "template.svg").read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        if picture.animated:
            file = Path(folder) / "animation.svg"
            anim.render_animation(frames, (COLUMNS, rows), file, template, palette=colors)
        else:
            anim.render_still_frames(frames, (COLUMNS, rows), folder, template, palette=colors)
            file = Path(folder) / "termtosvg_00000.svg"
        text = file.read_text(encoding="utf-8")
    text = text.replace("FRAME", colors["frame"])
    path.write_text(re.sub(r"\s*\n\s*", "\n", text) + "\n", encoding="utf-8")
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1024:.0f} KiB, {len(frames)} screens")


def text_of(cells: dict) -> str:
    return "".join(cell.text for _, cell in sorted(cells.items()) if cell.color != "background")


def main(names: list[str]) -> None:
    for name in names or PICTURES:
        picture = PICTURES[name]
        with tempfile.TemporaryDirectory(prefix="picture-") as folder:
            events = record(picture, Path(folder))
        if picture.animated:
            draw(picture, events, DARK, HERE / f"{name}.svg")
        else:
            draw(picture, events, LIGHT, HERE / f"{name}.svg")
            draw(picture, events, DARK, HERE / f"{name}-dark.svg")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*PICTURES, []], metavar="NAME", help=", ".join(PICTURES))
    main(parser.parse_args().names)
