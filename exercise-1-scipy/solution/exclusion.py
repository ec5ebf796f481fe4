"""Exercise 1: which hypotheses does a search for a new particle exclude?

    python exclusion.py             # 125 hypotheses of a generated search
    python exclusion.py --seed 1    # another experiment: other observed counts

Each hypothesis is a pair of masses (m1, m2) and says how many signal events to expect in each bin. The fits are made
by the modules of `solution/`; this script draws the experiment, turns p-values into CLs, and files limits and contour
as a run. `scan.py` does the same for any pyhf workspace.
"""

try:
    from workshop import errors
except ModuleNotFoundError:
    raise SystemExit(
        "looked at: this Python environment\nexpected:  the package workshop, in common/ of the tutorial\n"
        "found:     no such module\nnext:      pixi run train-scipy, or .venv/bin/python as the README says"
    ) from None

with errors.explained():  # a module that is missing here is told in four lines
    import os
    import sys
    from pathlib import Path

    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy: the matrices are small
    sys.path.append(str(Path(__file__).resolve().parents[1] / "solution"))  # where the fits are

    import example
    import numpy as np
    import scan
    from inference import p_values, scan_model
    from workspace import digest, read_hypotheses

    from histfactory import compile_models
    from workshop.runs import options
    from workshop.runs.records import record

EXERCISE = "exercise-1-scipy"
MU = 1.0  # the signal strength that is tested: the hypothesis as it stands


def cls_of(p_signal: np.ndarray, p_background: np.ndarray) -> np.ndarray:
    """CLs from the two p-values, both of the same shape.

    p_signal: how probable are data as background-like as these, or more so, if the signal exists? p_background: how
    probable are data as signal-like as these, or more so, if it does not? (Read, J. Phys. G 28 (2002) 2693.)
    """
    return p_signal / (1 - p_background)


def experiment(seed: int) -> tuple[dict, dict]:
    """A workspace with its observed counts, and the patch set of the hypotheses, in pyhf's JSON."""
    rng = np.random.default_rng(seed)
    return example.make(rng)


def main() -> None:
    parser = errors.Parser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--seed", type=options.whole_number("--seed", 0), default=scan.SEED, metavar="N")
    parser.add_argument("--output", metavar="DIR", help="the folder of this run (default results/<exercise>/...)")
    args = parser.parse_args()
    with record.running(EXERCISE, __file__, args) as run:
        workspace, patchset = experiment(args.seed)
        labels, hypotheses = read_hypotheses(workspace, patchset, None, "the search", "its hypotheses")
        [model] = compile_models(hypotheses)
        limits = scan_model(model, MU)
        # One column each: observed, then expected at -2, -1, 0, +1 and +2 standard deviations.
        cls = cls_of(*p_values(limits.q, limits.q_asimov))

        entries = []
        for h, hypothesis in enumerate(hypotheses):
            ok = bool(limits.converged[h] and np.isfinite(cls[h]).all())
            entries.append(
                {
                    "name": hypothesis.name,
                    "labels": dict(zip(labels, hypothesis.values, strict=True)),
                    "converged": ok,
                    "cls_obs": float(cls[h, 0]) if ok else None,
                    "cls_exp": cls[h, 1:].tolist() if ok else None,
                }
            )
        source, content = "generated", digest([workspace, patchset], "sha256")
        document = {
            "schema": scan.SCHEMA,
            "input": source,
            "sha256": content,
            "mu": MU,
            "labels": labels,
            "measurement": hypotheses[0].measurement["name"],
            "hypotheses": entries,
        }
        fitted = sum(entry["converged"] for entry in entries)
        title = f"{source}, seed {args.seed}"
        place, excluded, _ = scan.file_limits(run, document, title, args.seed, {"threads": 1}, fitted)
    print(f"{excluded} of {len(entries)} hypotheses are excluded at 95 % CL; the run is in {place}")


if __name__ == "__main__":
    with errors.explained():
        main()
