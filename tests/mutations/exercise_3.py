"""Exercise 3: a frozen JAX beside what was there, the device, the keys, the compiled step."""

import shutil

from conftest import ROOT

import mutations
from pixi_workspace import lock_slice
from pixi_workspace import manifest as manifests

SCRIPT, ITS_CHECKS = "train.py", ("3.5", "3.6", "3.7", "3.8")

FROZEN = 'jaxlib = { version = "0.4.*", build = "cuda118*" }'
ASSERTION = "    run.assert_on(device, images=images, state=state)\n"


def lock_of_the_starter(folder):
    shutil.copy(ROOT / "exercise-3-jax-cu118" / "starter" / "pixi.lock", folder / "pixi.lock")


def lock_anew(folder):
    """The lock that Pixi would write for the manifest as it is now."""
    whole = manifests.load(ROOT / "pixi.toml")
    (folder / "pixi.lock").write_bytes(lock_slice.cut(whole, manifests.load(folder / "pixi.toml")))


def change_a_locked_package(folder):
    """Another build of rich in one environment of exercise 2: the lock still satisfies the manifest."""
    lock_anew(folder)
    mutations.other_build(folder, "cuda12", "rich")


# What learners do, the check that has to notice it first, and words that its answer must contain.
MISTAKES = {
    "a run with another lock": (
        "3.8",
        "with another lock (0000",
        [lambda folder: mutations.record_run(folder, "exercise-3-jax-cu118", "pixi", "cpu", "0" * 64)],
    ),
    "broken TOML in a feature": ("3.2", "pixi.toml, line ", [("pixi.toml", FROZEN, FROZEN.replace(" }", ""))]),
    "broken TOML in the line for Python": (
        "3.3",
        "pixi.toml, line ",
        [("pixi.toml", 'python = ">=3.11,<3.14"', 'python = >=3.11,<3.14"')],
    ),
    "no platform": (
        "3.1",
        "win-64-cuda12 (cuda 12.0), linux-64,",
        [
            ("pixi.toml", '  { name = "linux-64-cuda118", platform = "linux-64", cuda = "11.8" },\n', ""),
            ("pixi.toml", 'platforms = ["linux-64-cuda118"]', 'platforms = ["linux-64-cuda12"]'),
        ],
    ),
    "a platform for CUDA 12": (
        "3.1",
        "linux-64-cuda118 (cuda 12.1), linux-64,",
        [("pixi.toml", 'cuda = "11.8"', 'cuda = "12.1"')],
    ),
    "a platform of another system": (
        "3.1",
        "linux-64-cuda118 is win-64",
        [
            (
                "pixi.toml",
                'name = "linux-64-cuda118", platform = "linux-64"',
                'name = "linux-64-cuda118", platform = "win-64"',
            )
        ],
    ),
    "a platform for an older CUDA": (
        "3.1",
        "linux-64-cuda118 (cuda 11.2), linux-64,",
        [("pixi.toml", 'cuda = "11.8"', 'cuda = "11.2"')],
    ),
    "a build that is not complete": (
        "3.2",
        "which no build for CUDA 11.8 satisfies",
        [("pixi.toml", FROZEN, FROZEN.replace("cuda118*", "cuda118"))],
    ),
    "a build of a release that has none": (
        "3.2",
        "which no build for CUDA 11.8 satisfies",
        [("pixi.toml", FROZEN, FROZEN.replace("0.4.*", "0.5.*"))],
    ),
    "cuda-version of the other stack": (
        "3.2",
        "cuda-version 12.*",
        [("pixi.toml", 'cuda-version = "11.8.*"', 'cuda-version = "12.*"')],
    ),
    "cuda-version without its minor version": (
        "3.2",
        "cuda-version 12",
        [("pixi.toml", 'cuda-version = "11.8.*"', 'cuda-version = "12"')],
    ),
    "a Python for which there is no tensorstore": (
        "3.2",
        "python 3.12.*",
        [("pixi.toml", 'python = "3.11.*"', 'python = "3.12.*"')],
    ),
    "a jax of today": ("3.2", "jax >=0.5", [("pixi.toml", 'jax = "0.4.*"', 'jax = ">=0.5"')]),
    "no WORKSHOP_DEVICE": (
        "3.2",
        "the variable is not set",
        [("pixi.toml", '[feature.cuda118.activation.env]\nWORKSHOP_DEVICE = "cuda"\n', "")],
    ),
    "WORKSHOP_DEVICE misspelt": (
        "3.2",
        "WORKSHOP_DEVICES, which no script reads",
        [
            (
                "pixi.toml",
                '[feature.cuda118.activation.env]\nWORKSHOP_DEVICE = "cuda"',
                '[feature.cuda118.activation.env]\nWORKSHOP_DEVICES = "cuda"',
            )
        ],
    ),
    "no build string": ("3.2", "without a build for CUDA 11.8", [("pixi.toml", FROZEN, 'jaxlib = "0.4.*"')]),
    "a build for the CPU": (
        "3.2",
        "without a build for CUDA 11.8",
        [("pixi.toml", FROZEN, FROZEN.replace("cuda118*", "cpu*"))],
    ),
    "a build for CUDA 12": ("3.2", 'build = "cuda12*"', [("pixi.toml", FROZEN, FROZEN.replace("cuda118*", "cuda12*"))]),
    "no jaxlib": ("3.2", "jaxlib built for CUDA 11.8", [("pixi.toml", FROZEN + "\n", "")]),
    "no flax": ("3.2", "no flax", [("pixi.toml", 'flax = ">=0.9,<0.10"\n', "")]),
    "no environment": (
        "3.3",
        "none of the environments default, cpu, cuda12, jax",
        [("pixi.toml", 'cuda118-jax = ["cuda118"]\n', "")],
    ),
    "nothing but the feature": (
        "3.3",
        "no matplotlib, scikit-learn, safetensors",
        [
            (
                "pixi.toml",
                'cuda118-jax = ["cuda118"]',
                'cuda118-jax = { features = ["cuda118"], no-default-feature = true }',
            ),
            ("pixi.lock", "\n  cuda118-jax:\n", "\n  other:\n"),
        ],
    ),
    "on a platform for an older CUDA": (
        "3.2",
        "cuda118 is for linux-64-cuda112",
        [
            (
                "pixi.toml",
                '  { name = "linux-64-cuda118", platform = "linux-64", cuda = "11.8" },\n',
                '  { name = "linux-64-cuda118", platform = "linux-64", cuda = "11.8" },\n'
                '  { name = "linux-64-cuda112", platform = "linux-64", cuda = "11.2" },\n',
            ),
            ("pixi.toml", 'platforms = ["linux-64-cuda118"]', 'platforms = ["linux-64-cuda112"]'),
        ],
    ),
    "Python moved, and another bound left": (
        "3.3",
        "3.11.* in the feature cuda118 and >=3.12 in [dependencies]",
        [("pixi.toml", 'python = ">=3.11,<3.14"', 'python = ">=3.12"')],
    ),
    "the environments for JAX exchanged": (
        "3.3",
        "cuda118-jax contains the packages for a CPU",
        [("pixi.toml", 'jax = ["jax"]\ncuda118-jax = ["cuda118"]', 'jax = ["cuda118"]\ncuda118-jax = ["jax"]')],
    ),
    "an environment named after the other": (
        "3.3",
        "cpu contains the packages for a GPU",
        [
            ("pixi.toml", 'cpu = ["cpu"]', 'cpu = ["cuda118"]'),
            ("pixi.toml", 'cuda118-jax = ["cuda118"]', 'torch = ["cpu"]'),
        ],
    ),
    "Python pinned for all": (
        "3.3",
        "3.11.* and 3.12.*",
        [("pixi.toml", 'python = ">=3.11,<3.14"', 'python = "3.12.*"')],
    ),
    "on the plain platform": (
        "3.2",
        "cuda118 is for linux-64\n",
        [("pixi.toml", 'platforms = ["linux-64-cuda118"]', 'platforms = ["linux-64"]')],
    ),
    "on the plain platform as well": (
        "3.2",
        "cuda118 is for linux-64-cuda118, linux-64\n",
        [("pixi.toml", 'platforms = ["linux-64-cuda118"]', 'platforms = ["linux-64-cuda118", "linux-64"]')],
    ),
    "the feature without platforms": (
        "3.2",
        "cuda118 has no platforms of its own, so Pixi would also solve it for linux-aarch64-cuda12, ",
        [("pixi.toml", '[feature.cuda118]\nplatforms = ["linux-64-cuda118"]\n', "")],
    ),
    "another feature has the packages on its own platforms": (
        "3.3",
        "cuda118-jax has it on linux-64-cuda12, so look at the platforms",
        [
            (
                "pixi.toml",
                '[feature.cuda118]\nplatforms = ["linux-64-cuda118"]',
                '[feature.cuda118]\nplatforms = ["linux-64-cuda118", "linux-64-cuda12"]',
            ),
            (
                "pixi.toml",
                'cuda118-jax = ["cuda118"]\n',
                'cuda118-jax = ["cuda118", "new"]\n\n[feature.new]\nplatforms = ["linux-64-cuda12"]\n',
            ),
        ],
    ),
    "the platform of exercise 2 changed": (
        "3.1",
        "linux-64-cuda12 now declares cuda 11.8",
        [
            ("pixi.toml", '  { name = "linux-64-cuda118", platform = "linux-64", cuda = "11.8" },\n', ""),
            ("pixi.toml", 'platform = "linux-64", cuda = "12.0"', 'platform = "linux-64", cuda = "11.8"'),
            ("pixi.toml", 'platforms = ["linux-64-cuda118"]', 'platforms = ["linux-64-cuda12"]'),
        ],
    ),
    "a platform of exercise 2 that is gone": (
        "3.1",
        "the starter's win-64-cuda12 is gone",
        [
            lambda folder: (folder.parent / "exercise.toml").write_text(""),
            ("pixi.toml", '  { name = "win-64-cuda12", platform = "win-64", cuda = "12.0" },\n', ""),
            ("pixi.toml", ', "win-64-cuda12"]', "]"),
        ],
    ),
    "jax without a star": (
        "3.2",
        "jax 0.4 means exactly version 0.4; write 0.4.*",
        [("pixi.toml", 'jax = "0.4.*"', 'jax = "0.4"')],
    ),
    "jaxlib without a star": (
        "3.2",
        "jaxlib 0.4 means exactly version 0.4; write 0.4.*",
        [("pixi.toml", FROZEN, FROZEN.replace("0.4.*", "0.4"))],
    ),
    "jaxlib as on the command line": (
        "3.2",
        'did you mean { version = "0.4.*", build = "cuda118*" }?',
        [("pixi.toml", FROZEN, 'jaxlib = "0.4.*=cuda118*"')],
    ),
    "any flax": ("3.2", "flax *, which also admits flax 0.10", [("pixi.toml", 'flax = ">=0.9,<0.10"', 'flax = "*"')]),
    "an older flax": ("3.2", "flax <0.9", [("pixi.toml", 'flax = ">=0.9,<0.10"', 'flax = "<0.9"')]),
    "an older optax": ("3.2", "optax 0.1.*", [("pixi.toml", 'optax = "0.2.*"', 'optax = "0.1.*"')]),
    "Python unpinned everywhere": (
        "3.3",
        "cpu admits Python 3.13: >=3.11 in [dependencies]",
        [
            ("pixi.toml", 'python = ">=3.11,<3.14"', 'python = ">=3.11"'),
            ("pixi.toml", 'python = "3.12.*"\npytorch-cpu', "pytorch-cpu"),
            ("pixi.toml", 'python = "3.12.*"\ncuda-version', "cuda-version"),
        ],
    ),
    "Python unpinned in the environment for CUDA 12": (
        "3.3",
        "move the pin 3.12.* into [feature.cuda12.dependencies]",
        [("pixi.toml", 'python = "3.12.*"\ncuda-version', "cuda-version")],
    ),
    "no line for Python in cpu or in every environment": (
        "3.3",
        "cpu admits Python 3.13: no requirement",
        [
            ("pixi.toml", 'python = ">=3.11,<3.14"  # each feature pins its own\n', ""),
            ("pixi.toml", 'python = "3.12.*"\npytorch-cpu', "pytorch-cpu"),
        ],
    ),
    "the Python of the old stack for all": (
        "3.3",
        "cpu admits Python 3.11: 3.11.* in [dependencies]",
        [
            ("pixi.toml", 'python = ">=3.11,<3.14"', 'python = "3.11.*"'),
            ("pixi.toml", 'python = "3.12.*"\npytorch-cpu', "pytorch-cpu"),
            ("pixi.toml", 'python = "3.12.*"\ncuda-version', "cuda-version"),
        ],
    ),
    "a pin that the environments of before do not meet": (
        "3.3",
        "cpu admits no Python at all: 3.12.* in the feature cpu and 3.11.* in [dependencies]",
        [("pixi.toml", 'python = ">=3.11,<3.14"', 'python = "3.11.*"')],
    ),
    "not locked": ("3.4", "polars", [("pixi.toml", 'optax = "0.2.*"', 'optax = "0.2.*"\npolars = "*"')]),
    "the lock of the starter": ("3.4", "cuda118", [lock_of_the_starter]),
    "another package for the environments that were there": (
        "3.4",
        "1 removed and 1 added: rich ",
        [change_a_locked_package],
    ),
    "a package more for the environments that were there": (
        "3.4",
        "0 removed and ",
        [("pixi.toml", 'pytorch-cpu = ">=2.5,<3"', 'pytorch-cpu = ">=2.5,<3"\njsonpatch = ">=1.33"'), lock_anew],
    ),
    "an environment that is gone": (
        "3.4",
        "no cpu",
        [
            ("pixi.toml", 'cpu = ["cpu"]\n', ""),
            # In the exercise's own folder it was there.
            lambda folder: (folder.parent / "exercise.toml").write_text(""),
            ("pixi.toml", "[tasks.train]", 'cpu2 = ["cpu"]\n\n[tasks.train]'),
            ("pixi.lock", "\n  cpu:\n", "\n  cpu2:\n"),
        ],
    ),
    "what JAX likes best": ("3.5", "trained on the CPU", [("train.py", "run.jax_device()", "jax.devices()[0]")]),
    "nothing insists": ("3.5", "arrays that stayed on the CPU", [("train.py", ASSERTION, "")]),
    "the CPU, whatever was requested": (
        "3.5",
        "trained on the CPU",
        [("train.py", "run.jax_device()", 'jax.devices("cpu")[0]')],
    ),
    "a module that is misspelt": ("3.5", "optaxx", [("train.py", "import optax\n", "import optaxx as optax\n")]),
    "no seed": (
        "3.6",
        "two runs with --seed 1",
        [("train.py", "PRNGKey(seed)", "PRNGKey(int.from_bytes(os.urandom(3), 'big'))")],
    ),
    "a constant for the seed": (
        "3.6",
        "--seed 1 and --seed 2",
        [
            (
                "train.py",
                "    make_deterministic()\n    device",
                "    run.seed = 0\n    make_deterministic()\n    device",
            )
        ],
    ),
    "a constant in the place of the seed": (
        "3.6",
        "does not depend on the requested seed",
        [("train.py", "PRNGKey(seed)", "PRNGKey(0)")],
    ),
    "a mistake in the line of a later step": (
        "3.6",
        "jax.random.PRNGKey(sead)",
        [("train.py", "PRNGKey(seed)", "PRNGKey(sead)")],
    ),
    "a mistake in the line of the last step": (
        "3.7",
        "return jax.jitt(train_step",
        [("train.py", "jax.jit(train_step", "jax.jitt(train_step")],
    ),
    "nothing is donated": (
        "3.7",
        "0 arrays are donated",
        [("train.py", "jax.jit(train_step, donate_argnums=0)", "jax.jit(train_step)")],
    ),
    "only the batch is donated": ("3.7", "1 array is donated", [("train.py", "donate_argnums=0", "donate_argnums=3")]),
    "the images are donated": ("3.7", "1 array is donated", [("train.py", "donate_argnums=0", "donate_argnums=1")]),
    "not compiled": ("3.7", "47 calls", [("train.py", "jax.jit(train_step, donate_argnums=0)", "train_step")]),
}

# Other correct answers: the script. Its checks run it, so they are for the slow tests.
SCRIPTS = {
    "arguments donated by name": [
        ("train.py", "jax.jit(train_step, donate_argnums=0)", 'jax.jit(train_step, donate_argnames="state")')
    ],
    "a decorator": [
        ("train.py", "    return jax.jit(train_step, donate_argnums=0)", "    return train_step"),
        (
            "train.py",
            "    def train_step(state",
            "    @partial(jax.jit, donate_argnums=(0,))\n    def train_step(state",
        ),
    ],
    "a key of the new kind": [("train.py", "jax.random.PRNGKey(seed)", "jax.random.key(seed)")],
}

# Other correct answers: manifest and lock, without the script.
ALTERNATIVES = {
    "other names": [
        ("pixi.toml", 'cuda118-jax = ["cuda118"]', 'frozen = ["cuda118"]'),
        ("pixi.lock", "\n  cuda118-jax:\n", "\n  frozen:\n"),
        ("pixi.toml", "linux-64-cuda118", "old-node"),
    ],
    "without cuda-version, which the build implies": [("pixi.toml", 'cuda-version = "11.8.*"\n', "")],
    "without python, which the build and tensorstore imply": [("pixi.toml", 'python = "3.11.*"\n', "")],
    "python in no common table": [("pixi.toml", 'python = ">=3.11,<3.14"  # each feature pins its own\n', "")],
    "python limited, not requested, where it was": [
        (
            "pixi.toml",
            '[feature.cpu.dependencies]\npython = "3.12.*"',
            '[feature.cpu.constraints]\npython = "3.12.*"\n\n[feature.cpu.dependencies]',
        )
    ],
    "python between two bounds": [
        ("pixi.toml", 'python = "3.12.*"\npytorch-cpu', 'python = ">=3.12,<3.13"\npytorch-cpu')
    ],
    "bounds instead of stars": [
        ("pixi.toml", 'optax = "0.2.*"', 'optax = ">=0.2.2"'),
        ("pixi.toml", 'flax = ">=0.9,<0.10"', 'flax = "0.9.*"'),
        ("pixi.toml", 'jax = "0.4.*"', 'jax = "<0.5"'),
    ],
    "platforms in a feature of their own": [
        (
            "pixi.toml",
            '[feature.cuda118]\nplatforms = ["linux-64-cuda118"]',
            '[feature.old-node]\nplatforms = ["linux-64-cuda118"]',
        ),
        ("pixi.toml", 'cuda118-jax = ["cuda118"]', 'cuda118-jax = ["cuda118", "old-node"]'),
    ],
    "other features with jaxlib, for the CPU and for CUDA 12": [
        (
            "pixi.toml",
            "[feature.cpu]\n",
            '[feature.any.dependencies]\njaxlib = "*"\n\n[feature.new.dependencies]\n'
            'jaxlib = { version = "*", build = "cuda12*" }\n\n[feature.cpu]\n',
        )
    ],
    "any CUDA build of that jaxlib": [("pixi.toml", FROZEN, FROZEN.replace("cuda118*", "*cuda*"))],
    "any build for CUDA 11": [("pixi.toml", FROZEN, FROZEN.replace("cuda118*", "cuda11*"))],
    "a build of this Python": [("pixi.toml", FROZEN, FROZEN.replace("cuda118*", "cuda118py311*"))],
    "cuda-version without a star": [("pixi.toml", 'cuda-version = "11.8.*"', 'cuda-version = "11.8"')],
    "an exact build": [("pixi.toml", FROZEN, 'jaxlib = { version = "==0.4.23", build = "cuda118py311h63154d8_200" }')],
    "python without a pin in the default": [
        ("pixi.toml", 'python = ">=3.11,<3.14"  # each feature pins its own\n', 'python = "*"\n')
    ],
    "tables instead of inline tables": [
        ("pixi.toml", FROZEN + "\n", ""),
        (
            "pixi.toml",
            "[feature.cuda118.activation.env]",
            '[feature.cuda118.dependencies.jaxlib]\nversion = "0.4.*"\nbuild = "cuda118*"\n\n[feature.cuda118.activation.env]',
        ),
    ],
    "the environment as a table": [
        ("pixi.toml", 'cuda118-jax = ["cuda118"]', 'cuda118-jax = { features = ["cuda118"] }')
    ],
    "a target instead of the feature's own platforms": [
        ("pixi.toml", "[feature.cuda118.dependencies]\n", "[feature.cuda118.target.linux-64-cuda118.dependencies]\n")
    ],
}
