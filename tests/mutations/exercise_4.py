"""Exercise 4: conda-forge and PyPI in one environment, and the tolerance of a comparison."""

SCRIPT, ITS_CHECKS = "predict.py", ("4.5",)

INDEX = 'index-url = "https://download.pytorch.org/whl/cu124"'


def last_wheel(folder, key, instead):
    """In the lock: the line `key` of the last wheel without its end, or (with nothing instead) without it."""
    path = folder / "pixi.lock"
    head, mark, block = path.read_text().rpartition("\n- pypi: ")
    line = next(line for line in block.splitlines() if line.strip().startswith(key))
    path.write_text(head + mark + block.replace(f"{line}\n", line + instead if instead else ""))


# What learners do, the check that has to notice it first, and words that its answer must contain.
MISTAKES = {
    "no torch from PyPI": (
        "4.1",
        "torch as a PyPI package",
        [("pixi.toml", 'torch = "==2.6.0"\ntorchvision = "==0.21.0"\n', "")],
    ),
    "the index for the CPU": ("4.1", "the one for cpu", [("pixi.toml", "/whl/cu124", "/whl/cpu")]),
    "no index": ("4.1", "none: torch comes from", [("pixi.toml", f"[feature.pypi-mixed.pypi-options]\n{INDEX}\n", "")]),
    "a star for a pin": ("4.2", "torch in pypi-mixed", [("pixi.toml", 'torch = "==2.6.0"', 'torch = "*"')]),
    "a range for a pin": ("4.2", ">=0.21", [("pixi.toml", 'torchvision = "==0.21.0"', 'torchvision = ">=0.21"')]),
    "a star in a pin": ("4.2", "==2.6.*", [("pixi.toml", 'torch = "==2.6.0"', 'torch = "==2.6.*"')]),
    "torchvision from both": (
        "4.3",
        "torchvision from conda-forge and torchvision from PyPI",
        [("pixi.toml", 'pillow = ">=11"', 'pillow = ">=11"\ntorchvision = "*"')],
    ),
    "numpy from both": (
        "4.3",
        "numpy from conda-forge and numpy from PyPI",
        [("pixi.toml", 'torch = "==2.6.0"', 'torch = "==2.6.0"\nnumpy = "*"')],
    ),
    "names that PyPI writes otherwise": (
        "4.3",
        "typing_extensions from conda-forge and",
        [("pixi.toml", 'torch = "==2.6.0"', 'torch = "==2.6.0"\nTyping-Extensions = "*"')],
    ),
    "pytorch from conda-forge beside it": (
        "4.3",
        "pytorch from conda-forge and torch from PyPI",
        [("pixi.toml", 'pillow = ">=11"', 'pillow = ">=11"\npytorch = "*"')],
    ),
    "torchvision from conda-forge alone": (
        "4.3",
        "torchvision from conda-forge, which depends on pytorch",
        [
            ("pixi.toml", 'pillow = ">=11"', 'pillow = ">=11"\ntorchvision = "*"'),
            ("pixi.toml", 'torchvision = "==0.21.0"\n', ""),
        ],
    ),
    "numpy from PyPI": (
        "4.3",
        "numpy from conda-forge",
        [
            ("pixi.toml", 'numpy = ">=1.26"\n', ""),
            ("pixi.toml", 'torch = "==2.6.0"', 'torch = "==2.6.0"\nnumpy = ">=1.26"'),
        ],
    ),
    "a stale lock": ("4.4", "==1.13.3", [("pixi.toml", 'sympy = "==1.13.1"', 'sympy = "==1.13.3"')]),
    "a wheel without a hash": (
        "4.4",
        "any file of that name would be accepted",
        [lambda folder: last_wheel(folder, "sha256:", "")],
    ),
    "a wheel from another index": ("4.4", "whl/cu1242", [lambda folder: last_wheel(folder, "index:", "2\n")]),
    "a tolerance that lets all pass": (
        "4.5",
        "inside the tolerance of 0.01",
        [("predict.py", "TOLERANCE = 1e-5", "TOLERANCE = 1e-2")],
    ),
    "a tolerance of equal bits": (
        "4.5",
        "OUTSIDE the tolerance of 1e-08",
        [("predict.py", "TOLERANCE = 1e-5", "TOLERANCE = 1e-8")],
    ),
    "no reason": ("4.5", "because it works", [("predict.py", "REASON = (", 'REASON = "because it works"\n_ = (')]),
    "the verdict has no exit code": (
        "4.5",
        "end with exit code 1",
        [("predict.py", "        raise SystemExit(1)", "        pass")],
    ),
    "no comparison at all": (
        "4.5",
        "compare the logits",
        [("predict.py", "if run.arguments.compare else None", "if False else None")],
    ),
}

# Other correct answers: manifest and lock, without the script.
ALTERNATIVES = {
    "other names": [
        ("pixi.toml", "feature.pypi-mixed", "feature.wheels"),
        ("pixi.toml", 'pypi-mixed = ["pypi-mixed"]', 'infer = ["wheels"]'),
        ("pixi.lock", "\n  pypi-mixed:\n", "\n  infer:\n"),
    ],
    "the variant in the pin": [("pixi.toml", 'torch = "==2.6.0"', 'torch = "==2.6.0+cu124"')],
}
