"""Commands of the workshop in the process of pytest: importing what they need takes longer than most of them run."""

import contextlib
import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from unittest import mock

from workshop import cli


def workshop(words: Iterable[object], cwd: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """What `python -m workshop WORDS...` prints in the folder `cwd`, and its exit code; nobody types."""
    line = [sys.executable, "-m", "workshop", *map(str, words)]
    with mock.patch.dict(os.environ, environment, clear=True), contextlib.chdir(cwd):
        with (
            open(os.devnull, encoding="utf-8") as nobody,
            mock.patch.object(sys, "stdin", nobody),
            _into_file(1) as out,
            _into_file(2) as err,
        ):
            try:
                code = cli.main(line[3:])
            except SystemExit as ended:
                code = ended.code if isinstance(ended.code, int) else 1
            sys.stdout.flush()
            sys.stderr.flush()
            texts = [os.pread(file.fileno(), 1 << 26, 0).decode() for file in (out, err)]
    return subprocess.CompletedProcess(line, code, *texts)


@contextlib.contextmanager
def _into_file(number: int) -> Iterator[io.IOBase]:
    """Send stdout (1) or stderr (2) of this process, and of those that it starts, into a temporary file."""
    name = {1: "stdout", 2: "stderr"}[number]
    before, kept = getattr(sys, name), os.dup(number)
    with tempfile.TemporaryFile() as file:
        before.flush()
        os.dup2(file.fileno(), number)
        try:
            with open(number, "w", encoding="utf-8", closefd=False) as stream, mock.patch.object(sys, name, stream):
                yield file
        finally:
            os.dup2(kept, number)
            os.close(kept)
