"""Draw a histogram of counts.txt into counts.png."""

import matplotlib.pyplot as plt
import numpy as np

counts = np.loadtxt("counts.txt", dtype=int)
plt.hist(counts, bins=range(counts.max() + 2))
plt.xlabel("count")
plt.savefig("counts.png")
print("plotted:", counts.size, "counts, mean", counts.mean())
