"""Single keys from a terminal, without Enter. Where there is no terminal, no key is ever typed."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

try:
    import termios
    import tty
except ModuleNotFoundError:  # Windows
    termios = tty = None


ESCAPE = re.compile(r"\x1b(\[[0-9;]*[ -~]|O[ -~]|[ -~])?")  # an arrow key, or another one without a letter


def _is_ours() -> bool:
    """Whether the terminal controls this process; another one, as after `setsid`, cannot tell who may read from it."""
    if termios is None:
        return True
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) > 0
    except OSError:
        return False


class Keys:
    """The keyboard of this terminal. available: whether keys can be read. Use it as `with Keys() as keys`."""

    def __init__(self) -> None:
        self.available = sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty() and _is_ours()
        self.available &= os.environ.get("TERM") != "dumb"
        self._before: list[Any] | None = None  # how the terminal was set

    def __enter__(self) -> Keys:
        if self.available and termios:
            self._before = termios.tcgetattr(sys.stdin)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _restore(self) -> None:
        if self._before is not None and termios:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._before)

    def typed(self) -> str:
        """The keys typed since the last call; empty if there are none. An arrow key or the like counts as none."""
        if not self.available:
            return ""
        return self._typed_on_windows() if termios is None else self._typed()

    def _typed(self) -> str:
        import select

        assert termios is not None and tty is not None
        terminal = sys.stdin.fileno()
        if os.tcgetpgrp(terminal) != os.getpgrp():
            return ""  # in the background, where reading would stop this process
        if termios.tcgetattr(terminal)[3] & termios.ICANON:  # at first, and after Ctrl-Z and `fg`
            tty.setcbreak(terminal, termios.TCSADRAIN)
        if not select.select([terminal], [], [], 0)[0]:
            return ""
        text = os.read(terminal, 1024).decode("utf-8", "ignore")
        return ESCAPE.sub("", text)

    def _typed_on_windows(self) -> str:
        import msvcrt

        text = ""
        while msvcrt.kbhit():  # type: ignore[attr-defined]
            key = msvcrt.getwch()  # type: ignore[attr-defined]
            if key in "\x00\xe0":  # the first half of an arrow key or the like
                msvcrt.getwch()  # type: ignore[attr-defined]
            else:
                text += key
        return text

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The terminal as it was before, for a program that reads from it, such as an editor."""
        self._restore()
        yield
