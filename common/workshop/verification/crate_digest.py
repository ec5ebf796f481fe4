"""Print the sha256 of the crate that a package writes for a record: crate_digest.py RUN/run.json SOURCES PACKAGE.

SOURCES: path, sha256 and size of the files that `workshop pack` added, as JSON. PACKAGE: `workshop`, or that of a project
that `workshop new` made. `verify` runs this file with the package of the recorded revision on PYTHONPATH, where no module
of this file's name may exist yet: so it is run by its path.
"""

import hashlib
import json
import sys
from importlib import import_module
from pathlib import Path


def main(path: str, sources: str, package: str) -> None:
    crate = import_module(f"{package}.runs.records.crate")
    content = Path(path).read_bytes()
    added = json.loads(sources)
    # Earlier revisions know no files that were added.
    text = crate.describe(json.loads(content), content, *([added] if added else []))
    print(hashlib.sha256(text.encode()).hexdigest())


if __name__ == "__main__":
    main(*sys.argv[1:])
