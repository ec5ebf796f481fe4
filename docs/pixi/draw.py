"""Draw a hundred counts at random and write them to counts.txt: python draw.py SEED"""

import sys

import numpy as np

generator = np.random.default_rng(int(sys.argv[1]))
counts = generator.poisson(4, size=100)
np.savetxt("counts.txt", counts, fmt="%d")
print("drawn:", counts.sum(), "in total")
