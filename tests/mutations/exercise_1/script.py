"""Exercise 1: mistakes in the seed and in the formula of CLs."""

MAIN = "    runs.main(exclude, exercise=EXERCISE, script=__file__, description=__doc__, seed=SEED, add_options=add_options)\n"

# What learners do, the check that has to notice it first, and words that its answer must contain.
MISTAKES = {
    "unseeded": (
        "1.6",
        "limits.json of two runs with --seed 1",
        [("exclusion.py", "default_rng(seed)", "default_rng()")],
    ),
    "a constant for the seed": (
        "1.6",
        "limits.json of --seed 1 and --seed 2",
        [("exclusion.py", "default_rng(seed)", "default_rng(7)")],
    ),
    "a mistake in the line of a later step": (
        "1.9",
        "exclusion.py, line 41: return p_signal / (1 - p_backgruond)",
        [("exclusion.py", "(1 - p_background)", "(1 - p_backgruond)")],
    ),
    "a line of a later step that is not finished": (
        "1.9",
        "exclusion.py, line 41",
        [("exclusion.py", "return p_signal / (1 - p_background)", "return p_signal / (1 - p_background")],
    ),
    "a mistake in the line of this step": (
        "1.6",
        "exclusion.py, line 31",
        [("exclusion.py", "default_rng(seed)", "default_rng(sead)")],
    ),
    "a script that does nothing": ("1.6", "no run.json", [("exclusion.py", MAIN, "    pass\n")]),
    "a script that breaks": (
        "1.6",
        "TypeError: 'NoneType' object is not callable",
        [("exclusion.py", MAIN, MAIN.replace("(exclude,", "(None,"))],
    ),
    "a name that is misspelt": ("1.6", "nunpy", [("exclusion.py", "import numpy as np", "import nunpy as np")]),
    "a submodule that is misspelt": (
        "1.6",
        "numpy.rnadom",
        [("exclusion.py", "import histfactory\n", "import histfactory\nimport numpy.rnadom\n")],
    ),
    "a question to the person": ("1.6", "EOF when reading a line", [("exclusion.py", MAIN, "    input()\n" + MAIN)]),
    "a record that is none": (
        "1.6",
        "run.json",
        [
            (
                "exclusion.py",
                MAIN,
                "    import pathlib\n    import sys\n\n"
                '    folder = pathlib.Path(sys.argv[sys.argv.index("--output") + 1])\n    folder.mkdir(parents=True)\n'
                "    (folder / 'run.json').write_text('{\"outputs\": [1]}')\n",
            )
        ],
    ),
    "limits that are no numbers": (
        "1.9",
        "no finite value",
        [
            (
                "exclusion.py",
                "return p_signal /",
                "p_signal = np.where(p_signal < 0.3, np.nan, p_signal)\n    return p_signal /",
            )
        ],
    ),
    "four bands for five": ("1.9", "cls_exp", [("exclusion.py", "cls[h, 1:]", "cls[h, 1:5]")]),
    "no limits": (
        "1.6",
        "the outputs in run.json",
        [("exclusion.py", "excluded, _ = search.write_limits(", "excluded, _ = (lambda *_: (0, False))(")],
    ),
    "CLs+b for CLs": (
        "1.9",
        "CLs of signal_350_0, observed",
        [("exclusion.py", "p_signal / (1 - p_background)", "p_signal")],
    ),
    "divided by the wrong p-value": (
        "1.9",
        "CLs of signal_350_0, observed",
        [("exclusion.py", "/ (1 - p_background)", "/ p_background")],
    ),
    "observed and expected mixed up": (
        "1.9",
        "CLs of signal_350_0, observed",
        [("exclusion.py", "float(cls[h, 0])", "float(cls[h, 3])")],
    ),
}
