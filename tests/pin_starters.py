"""Write the sha256 of every file of every starter into `[starter]` of its exercise.toml, for `workshop reset`.

python tests/pin_starters.py
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "common"))

from workshop import exercises  # noqa: E402
from workshop.support.files import list_files, sha256_of  # noqa: E402


def main() -> None:
    for exercise in exercises.find_all(ROOT):
        path = exercise.folder / "exercise.toml"
        before = path.read_text(encoding="utf-8")
        files = list_files(exercise.folder / "starter")
        lines = "".join(f'"{name}" = "{sha256_of(file)}"\n' for name, file in files.items())
        after = re.sub(r'(?<=\n\[starter\]\n)("[^"\n]+" = "[0-9a-f]{64}"\n)*', lines, before)
        if after != before:
            path.write_text(after, encoding="utf-8", newline="\n")
            print(path.relative_to(ROOT).as_posix())


if __name__ == "__main__":
    main()
