"""Solutions that are broken in the ways in which learners break them, and others that are right.

For each exercise a module with MISTAKES, each a name, the check that has to notice it first and the changes; and
ALTERNATIVES, other correct answers. A change is (file, text to find, text instead), or a function of the folder.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

Change = tuple[str, str, str] | Callable[[Path], None]


def apply(changes: list[Change], folder: Path) -> None:
    """Make the changes in a copy of a solution; a text that is not there is an error of the list."""
    for change in changes:
        if callable(change):
            change(folder)
            continue
        file, find, replace = change
        text = (folder / file).read_text(encoding="utf-8")
        assert find in text, (file, find)
        (folder / file).write_text(text.replace(find, replace), encoding="utf-8")
