"""Exercise 1's fits on workers of Dask. `fit_all` takes any executor with the interface of `concurrent.futures`.

python docs/away/fit_on_dask.py     # in an environment with the packages of the workshop and distributed
"""

import numpy as np
from distributed import Client

from histfactory import Scan, compile_models, read_hypotheses
from workshop.runs import search
from workshop.scan.distribute import fit_all


def main() -> None:
    """Fit 125 hypotheses, and print how many have a result."""
    _, hypotheses = read_hypotheses(*search.generate(np.random.default_rng(20)))
    scans = [Scan(model) for model in compile_models(hypotheses)]
    names = [hypothesis.name for hypothesis in hypotheses]
    with Client(n_workers=2, threads_per_worker=1) as client:  # on a cluster: Client("tcp://scheduler:8786")
        entries = []
        failed = fit_all(scans, names, 1.0, client.get_executor(), lambda new, worker: entries.extend(new), workers=2)
    print(f"{len(entries)} hypotheses have a result, {len(failed)} have failed")


if __name__ == "__main__":  # Dask's workers import this file
    main()
