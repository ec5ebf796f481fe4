"""Print the sha256 of the crate that the workshop writes for a record: crate_digest.py RUN/run.json SOURCES.

SOURCES: path, sha256 and size of the files that `workshop pack` added, as JSON. `verify` runs this file with the
workshop of the recorded revision on PYTHONPATH, where no module of this name may exist yet: so it is run by its path.
"""

import hashlib
import json
import sys
from pathlib import Path

from workshop.runs.records import crate


def main(path: str, sources: str) -> None:
    content = Path(path).read_bytes()
    added = json.loads(sources)
    # Earlier revisions know no files that were added.
    text = crate.describe(json.loads(content), content, *([added] if added else []))
    print(hashlib.sha256(text.encode()).hexdigest())


if __name__ == "__main__":
    main(*sys.argv[1:])
