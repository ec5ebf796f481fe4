"""Draw a hundred counts at random, with a run record: python record.py --seed 1"""

import hashlib

import numpy as np

from workshop import runs


def draw(run: runs.Run) -> None:
    counts = np.random.default_rng(run.seed).poisson(4, size=100)
    np.savetxt(run.folder / "counts.txt", counts, fmt="%d")
    data = {"name": "generated", "sha256": hashlib.sha256(counts.tobytes()).hexdigest()}
    total = {"name": "total", "value": int(counts.sum())}
    folder = run.finish(("numpy",), dataset=data, metrics=[total])
    print("drawn:", counts.sum(), "in total; the run is in", folder)


if __name__ == "__main__":
    runs.main(draw, exercise="counts", script=__file__, description=__doc__, seed=1)
