"""Exercise 4: conda-forge and PyPI in one environment, and the tolerance of a comparison."""

import mutations

SCRIPT, ITS_CHECKS = "predict.py", ("4.5", "4.6")

INDEX = 'index-url = "https://download.pytorch.org/whl/cu124"'


def last_wheel(folder, key, instead):
    """In the lock: the line `key` of the last wheel without its end, or (with nothing instead) without it."""
    path = folder / "pixi.lock"
    head, mark, block = path.read_text().rpartition("\n- pypi: ")
    line = next(line for line in block.splitlines() if line.strip().startswith(key))
    path.write_text(head + mark + block.replace(f"{line}\n", line + instead if instead else ""))


def replace_in_lock(folder, find, instead):
    path = folder / "pixi.lock"
    text = path.read_text()
    assert find in text
    path.write_text(text.replace(find, instead))


# What learners do, the check that has to notice it first, and words that its answer must contain.
MISTAKES = {
    "a run with another lock": (
        "4.6",
        "with another lock (0000",
        [lambda folder: mutations.record_run(folder, "exercise-4-pypi-mix", "pixi", "cpu", "0" * 64)],
    ),
    "a run in the environment of conda packages": (
        "4.6",
        "earlier ran in cpu, and not in pypi-mixed or pypi-mixed-cpu",
        [lambda folder: mutations.record_run(folder, "exercise-4-pypi-mix", "pixi", "cpu")],
    ),
    "no torch from PyPI": (
        "4.1",
        "torch as a PyPI package",
        [("pixi.toml", 'torch = "==2.6.0"\ntorchvision = "==0.21.0"\n', "")],
    ),
    "another torch in the twin for the CPU": (
        "4.2",
        "torch ==2.5.1",
        [("pixi.toml", 'torch = "==2.6.0"\n\n[environments]', 'torch = "==2.5.1"\n\n[environments]')],
    ),
    "the index for the CPU": ("4.1", "the one for cpu", [("pixi.toml", "/whl/cu124", "/whl/cpu")]),
    "an index that does not exist": ("4.1", "there is no such index", [("pixi.toml", "/whl/cu124", "/whl/cu125")]),
    "a misspelt index": ("4.1", "is not the address of an index", [("pixi.toml", "/whl/cu124", "/whl/cuda124")]),
    "the page of a package": (
        "4.1",
        "is not the address of an index",
        [("pixi.toml", "/whl/cu124", "/whl/cu124/torch")],
    ),
    "a misspelt folder": ("4.1", "is not the address of an index", [("pixi.toml", "/whl/cu124", "/wheel/cu124")]),
    "a misspelt host": (
        "4.1",
        "whose host is not download.pytorch.org",
        [("pixi.toml", "download.pytorch.org", "downloads.pytorch.org")],
    ),
    "another host": ("4.1", "which is not an index of PyTorch", [("pixi.toml", "download.pytorch.org", "example.org")]),
    "an index for an older CUDA": ("4.1", "cu118, which is for CUDA 11.8", [("pixi.toml", "/whl/cu124", "/whl/cu118")]),
    "an index for a newer CUDA": ("4.1", "cu130, which is for CUDA 13.0", [("pixi.toml", "/whl/cu124", "/whl/cu130")]),
    "an index for an older CUDA, on a platform without CUDA": (
        "4.1",
        "an index for CUDA 12, such as cu124",
        [
            ("pixi.toml", 'platforms = ["linux-64-cuda12"]', 'platforms = ["linux-64"]'),
            ("pixi.toml", "/whl/cu124", "/whl/cu118"),
        ],
    ),
    "an index for AMD's GPUs": ("4.1", "the one for rocm6.2", [("pixi.toml", "/whl/cu124", "/whl/rocm6.2")]),
    "an extra index": (
        "4.1",
        "extra-index-urls: https://download.pytorch.org/whl/cu124",
        [("pixi.toml", INDEX, 'extra-index-urls = ["https://download.pytorch.org/whl/cu124"]')],
    ),
    "an extra index that is searched first": (
        "4.1",
        "searches these first",
        [("pixi.toml", INDEX, f'{INDEX}\nextra-index-urls = ["https://example.org/simple"]')],
    ),
    "torchvision from another index": (
        "4.1",
        "https://download.pytorch.org/whl/cpu, and https://download.pytorch.org/whl/cu124 for torch",
        [
            (
                "pixi.toml",
                'torchvision = "==0.21.0"',
                'torchvision = { version = "==0.21.0", index = "https://download.pytorch.org/whl/cpu" }',
            )
        ],
    ),
    "the environments exchanged": (
        "4.1",
        "cpu contains the packages for a GPU",
        [("pixi.toml", 'cpu = ["cpu"]\npypi-mixed = ["pypi-mixed"]', 'cpu = ["pypi-mixed"]\npypi-mixed = ["cpu"]')],
    ),
    "no index": ("4.1", "none: torch comes from", [("pixi.toml", f"[feature.pypi-mixed.pypi-options]\n{INDEX}\n", "")]),
    "broken TOML in the pins": ("4.2", "pixi.toml, line ", [("pixi.toml", 'torch = "==2.6.0"', "torch = ==2.6.0")]),
    "a constraint that is not one of PyPI": (
        "4.2",
        "pixi.toml, line ",
        [("pixi.toml", 'torch = "==2.6.0"', 'torch = "2.6.0"')],
    ),
    "a star for a pin": ("4.2", "torch in pypi-mixed", [("pixi.toml", 'torch = "==2.6.0"', 'torch = "*"')]),
    "a range for a pin": ("4.2", ">=0.21", [("pixi.toml", 'torchvision = "==0.21.0"', 'torchvision = ">=0.21"')]),
    "a star in a pin": ("4.2", "==2.6.*", [("pixi.toml", 'torch = "==2.6.0"', 'torch = "==2.6.*"')]),
    "no torchvision": ("4.2", "torchvision beside torch", [("pixi.toml", 'torchvision = "==0.21.0"\n', "")]),
    "a torchvision for another torch": (
        "4.2",
        "torchvision 0.20.1, which was compiled for another torch than 2.6.0",
        [("pixi.toml", 'torchvision = "==0.21.0"', 'torchvision = "==0.20.1"')],
    ),
    "a torch for another torchvision": (
        "4.2",
        "torchvision 0.21.0, which was compiled for another torch than 2.5.1",
        [("pixi.toml", 'torch = "==2.6.0"', 'torch = "==2.5.1"')],
    ),
    "a torch that is not in the index": (
        "4.2",
        "torch 2.7.0, which is not in the index cu124: its last release is 2.6.0",
        [
            ("pixi.toml", 'torch = "==2.6.0"', 'torch = "==2.7.0"'),
            ("pixi.toml", 'torchvision = "==0.21.0"', 'torchvision = "==0.22.0"'),
        ],
    ),
    "a variant that is not in the index": (
        "4.2",
        "2.6.0+cu118, which is not in the index cu124",
        [("pixi.toml", 'torch = "==2.6.0"', 'torch = "==2.6.0+cu118"')],
    ),
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
    "any sympy": ("4.3", "exactly 1.13.1", [("pixi.toml", 'sympy = "==1.13.1"', 'sympy = "*"')]),
    "a newer sympy": ("4.3", "sympy >=1.13.1", [("pixi.toml", 'sympy = "==1.13.1"', 'sympy = ">=1.13.1"')]),
    "numpy from PyPI": (
        "4.3",
        "numpy from conda-forge",
        [
            ("pixi.toml", 'numpy = ">=1.26"\n', ""),
            ("pixi.toml", 'torch = "==2.6.0"', 'torch = "==2.6.0"\nnumpy = ">=1.26"'),
        ],
    ),
    "a stale lock": ("4.4", "networkx >=99", [("pixi.toml", 'networkx = ">=3.2"', 'networkx = ">=99"')]),
    "a torchvision for the CPU locked": (
        "4.4",
        "0.21.0+cpu",
        [lambda folder: replace_in_lock(folder, "version: 0.21.0+cu124", "version: 0.21.0+cpu")],
    ),
    "a wheel without a hash": (
        "4.4",
        "any file of that name would be accepted",
        [lambda folder: last_wheel(folder, "sha256:", "")],
    ),
    "a wheel from another index": ("4.4", "whl/cu1242", [lambda folder: last_wheel(folder, "index:", "2\n")]),
    "a wheel of torch from another host": (
        "4.4",
        "example.org/whl/cu124/torch-2.6.0",
        [
            lambda folder: replace_in_lock(
                folder,
                "https://download.pytorch.org/whl/cu124/torch-2.6.0",
                "https://example.org/whl/cu124/torch-2.6.0",
            )
        ],
    ),
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

# Other correct answers: the script. Its check runs it, so they are for the slow tests.
SCRIPTS = {
    "a tolerance that is a number of NumPy": [
        ("predict.py", "TOLERANCE = 1e-5", "TOLERANCE = 100 * np.finfo(np.float32).eps")
    ],
    "a tolerance in another precision": [("predict.py", "TOLERANCE = 1e-5", "TOLERANCE = np.float32(1e-5)")],
}

# Other correct answers: manifest and lock, without the script.
ALTERNATIVES = {
    "other names": [
        ("pixi.toml", "feature.pypi-mixed", "feature.wheels"),
        ("pixi.toml", 'pypi-mixed = ["pypi-mixed"]', 'infer = ["wheels"]'),
        ("pixi.toml", '["pypi-mixed-cpu"]', '["wheels-cpu"]'),
        ("pixi.lock", "\n  pypi-mixed:\n", "\n  infer:\n"),
    ],
    "an index for each of the two": [
        (
            "pixi.toml",
            'torch = "==2.6.0"\ntorchvision = "==0.21.0"',
            'torch = { version = "==2.6.0", index = "https://download.pytorch.org/whl/cu124" }\n'
            'torchvision = { version = "==0.21.0", index = "https://download.pytorch.org/whl/cu124" }',
        )
    ],
    "a short pin": [("pixi.toml", 'torch = "==2.6.0"', 'torch = "==2.6"')],
    "the variant in the pin": [("pixi.toml", 'torch = "==2.6.0"\ntorchv', 'torch = "==2.6.0+cu124"\ntorchv')],
}
