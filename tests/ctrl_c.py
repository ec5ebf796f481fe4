"""Programs that a test interrupts with Ctrl-C, even if the tests themselves run in the background of a shell."""

import sys

START = """\
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""


def python(*words: object) -> list[str]:
    """The command that starts this Python with some words, and does not ignore SIGINT.

    A shell makes what it starts in the background ignore SIGINT. `preexec_fn` could change that, but it forks this
    process, in which another test may have started JAX, whose threads do not survive a fork.
    """
    return [sys.executable, "-I", "-S", "-c", START, sys.executable, *map(str, words)]
