"""Draw the observed counts of one experiment: python draw.py --seed 20

Writes experiment.json, which `python exclusion.py --experiment experiment.json` reads. The counts depend on the seed
alone, because exclusion.py draws them.
"""

import argparse

from exclusion import SEED, experiment

from workshop.runs import search

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=SEED, help=f"of the experiment (default {SEED})")
    seed = parser.parse_args().seed
    print(search.write_experiment("experiment.json", seed, *experiment(seed)))
