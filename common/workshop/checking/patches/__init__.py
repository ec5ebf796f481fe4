"""Files that run in the interpreter of a learner's script, before the script does.

supervise.py             runs a program and ends everything that it leaves behind
run_script.py            runs the patches named on its command line, then the script
simulated_gpu_torch.py   a GPU that is only simulated, for PyTorch; simulated_gpu_jax.py: for JAX
changed_test_set.py      the data set has other test images and labels
fixed_experiment.py      all generators of NumPy start from one seed
same_order.py            the images are visited in the same order for every seed
count_network_calls.py   counts how often Python calls a network of Flax
own_package.py           the script imports its own copy of `workshop.runs`
record_shares.py         records the images and the weights of the first step in each process of torchrun
record_donations.py      records how many arrays the compiled functions of JAX donate

A patch is a file with a function `install`. It replaces functions of a library or of `workshop.runs` in that one
process, so that a check can see what the script does in a situation that this machine cannot provide. Patches run by
their path: the script's interpreter need not be able to import this package.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent

# The path of a file with a function `install`, and the keyword arguments to call it with.
Patch = tuple[str, dict[str, Any]]


def patch(name: str, **settings: Any) -> Patch:
    """The patch in the file `name`.py of this folder. settings: arguments of its `install`, as JSON values."""
    return str(FOLDER / f"{name}.py"), settings


def arguments_for(patches: Sequence[Patch]) -> list[str]:
    """The arguments between an interpreter and its script that make the patches run first."""
    return [str(FOLDER / "run_script.py"), json.dumps(patches)]
