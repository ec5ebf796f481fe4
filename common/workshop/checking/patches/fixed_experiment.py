"""Every generator of NumPy starts from one seed, whatever seed a script gives it.

Two scripts that draw the same experiment in their own ways then have the same counts, and their limits can be compared.
"""

import numpy


def install(seed: int) -> None:
    """Seed each new generator with `seed`."""
    default_rng = numpy.random.default_rng
    numpy.random.default_rng = lambda *_, **__: default_rng(seed)
