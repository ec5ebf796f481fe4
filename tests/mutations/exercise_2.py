"""Exercise 2: platforms with CUDA, two PyTorches, the lock, the device, the seed, the weights."""

import re

import mutations

SCRIPT, ITS_CHECKS = "train.py", ("2.6", "2.7", "2.8")

CUDA_PLATFORMS = """\
  { name = "linux-64-cuda12", platform = "linux-64", cuda = "12.0" },
  { name = "linux-aarch64-cuda12", platform = "linux-aarch64", cuda = "12.0" },
  { name = "win-64-cuda12", platform = "win-64", cuda = "12.0" },
"""
THEIR_NAMES = 'platforms = ["linux-64-cuda12", "linux-aarch64-cuda12", "win-64-cuda12"]'
ASSERTION = "run.assert_on(device, images=images, **dict(network.named_parameters()))"
FINISH = "    run.finish(network)"


def rebuilt(folder, build, before="cuda"):
    """In the lock: another build of PyTorch in place of the one that begins with `before`."""
    path = folder / "pixi.lock"
    text = path.read_text()
    found = set(re.findall(rf"/linux-64/pytorch-[0-9.]+-({before}\w+)\.conda", text))
    assert found
    for name in found:
        text = text.replace(name, build)
    path.write_text(text)


def without(folder, package):
    """A lock in which a package is no more."""
    head, _, packages = (folder / "pixi.lock").read_text().partition("\npackages:\n")
    head = "\n".join(line for line in head.splitlines() if f"/{package}-" not in line)
    kept = [block for block in packages.split("\n- ") if f"/{package}-" not in block.splitlines()[0]]
    (folder / "pixi.lock").write_text(f"{head}\npackages:\n" + "\n- ".join(kept))


# What learners do, the check that has to notice it first, and words that its answer must contain.
MISTAKES = {
    "a run with another lock": (
        "2.8",
        "with another lock (0000",
        [lambda folder: mutations.record_run(folder, "exercise-2-pytorch-cu12", "pixi", "cpu", "0" * 64)],
    ),
    "no CUDA platform": (
        "2.1",
        "none of them declares cuda",
        [("pixi.toml", CUDA_PLATFORMS, ""), ("pixi.toml", THEIR_NAMES, 'platforms = ["linux-64"]')],
    ),
    "CUDA 11 platform": ("2.1", "cuda = 11.8", [("pixi.toml", 'cuda = "12.0"', 'cuda = "11.8"')]),
    "CUDA 120": ("2.1", "cuda = 120", [("pixi.toml", 'cuda = "12.0"', 'cuda = "120"')]),
    "the CUDA of the packages": (
        "2.1",
        "cuda 12.9, which excludes machines whose driver supports 12.0 to 12.8",
        [
            ("pixi.toml", 'cuda = "12.0"', 'cuda = "12.9"'),
            lambda folder: (folder.parent / "exercise.toml").touch(),  # a project of one's own may have a reason
        ],
    ),
    "the feature for the GPU without platforms": (
        "2.2",
        "cuda12 has no platforms of its own, so Pixi must also solve it for linux-64, linux-aarch64, osx-arm64, win-64",
        [("pixi.toml", THEIR_NAMES, "")],
    ),
    "a task without a description": (
        "2.4",
        "python train.py: the task has no description",
        [("pixi.toml", 'description = "Train the classifier (pixi run train --epochs 1)"\n', "")],
    ),
    "CUDA as a number": ("2.1", "platforms cuda", [("pixi.toml", 'cuda = "12.0"', "cuda = 12.0")]),
    "Docker's name of a platform": (
        "2.1",
        "did you mean 'linux-aarch64'?",
        [("pixi.toml", 'platform = "linux-aarch64"', 'platform = "linux-arm64"')],
    ),
    "platforms with CUDA alone": (
        "2.1",
        "linux-64-cuda12, linux-aarch64-cuda12, win-64-cuda12",
        [
            ("pixi.toml", '  "linux-64",\n  "linux-aarch64",\n  "osx-arm64",\n  "win-64",\n', ""),
            ("pixi.toml", '["linux-64", "linux-aarch64", "osx-arm64", "win-64"]', '["linux-64-cuda12"]'),
        ],
    ),
    "a platform of a feature that is misspelt": (
        "2.2",
        "pixi.toml, line ",
        [("pixi.toml", 'platforms = ["linux-64-cuda12", ', 'platforms = ["linux-64-cuda21", ')],
    ),
    "broken TOML in the platforms": ("2.1", "pixi.toml, line ", [("pixi.toml", 'cuda = "12.0" },', 'cuda = 12.0" },')]),
    "broken TOML in a feature": (
        "2.2",
        "pixi.toml, line ",
        [("pixi.toml", 'pytorch-gpu = ">=2.10,<3"', 'pytorch-gpu = >=2.10,<3"')],
    ),
    "no GPU feature": (
        "2.2",
        "only PyTorch for the CPU, in cpu",
        [("pixi.toml", 'cuda-version = "12.9.*"\npytorch-gpu = ">=2.10,<3"', 'scipy = "*"')],
    ),
    "no CPU feature": (
        "2.2",
        "only PyTorch for the GPU, in cuda12",
        [("pixi.toml", 'pytorch-cpu = ">=2.5,<3"', 'scipy = "*"')],
    ),
    "both builds in one feature": (
        "2.2",
        "both in cuda12",
        [("pixi.toml", 'pytorch-gpu = ">=2.10,<3"', 'pytorch-gpu = ">=2.10,<3"\npytorch-cpu = "*"')],
    ),
    "CUDA on a Mac": (
        "2.1",
        "cuda = 12.0 on osx-arm64",
        [
            ("pixi.toml", CUDA_PLATFORMS, '  { name = "mac-cuda12", platform = "osx-arm64", cuda = "12.0" },\n'),
            ("pixi.toml", THEIR_NAMES, 'platforms = ["mac-cuda12"]'),
        ],
    ),
    "no WORKSHOP_DEVICE": (
        "2.2",
        "the variable is not set",
        [("pixi.toml", '[feature.cuda12.activation.env]\nWORKSHOP_DEVICE = "cuda"\n', "")],
    ),
    "WORKSHOP_DEVICE misspelt": (
        "2.2",
        "WORKSHOP_DEVCE, which no script reads",
        [("pixi.toml", 'WORKSHOP_DEVICE = "cuda"', 'WORKSHOP_DEVCE = "cuda"')],
    ),
    "WORKSHOP_DEVICE in small letters": (
        "2.2",
        "workshop_device, which no script reads",
        [("pixi.toml", 'WORKSHOP_DEVICE = "cuda"', 'workshop_device = "cuda"')],
    ),
    "WORKSHOP_DEVICE on one system": (
        "2.2",
        "the variable is not set on win-64-cuda12",
        [("pixi.toml", "[feature.cuda12.activation.env]", "[feature.cuda12.target.unix.activation.env]")],
    ),
    "WORKSHOP_DEVICE of another value": (
        "2.2",
        'WORKSHOP_DEVICE = "gpu"',
        [("pixi.toml", 'WORKSHOP_DEVICE = "cuda"', 'WORKSHOP_DEVICE = "gpu"')],
    ),
    "WORKSHOP_DEVICE in the feature for the CPU": (
        "2.2",
        "only cpu sets it",
        [("pixi.toml", "[feature.cuda12.activation.env]", "[feature.cpu.activation.env]")],
    ),
    "any PyTorch for the GPU": (
        "2.2",
        "pytorch-gpu *, which admits PyTorch 1.13.0",
        [("pixi.toml", 'pytorch-gpu = ">=2.10,<3"', 'pytorch-gpu = "*"')],
    ),
    "an upper bound alone": (
        "2.2",
        "pytorch-gpu <3, which admits",
        [("pixi.toml", 'pytorch-gpu = ">=2.10,<3"', 'pytorch-gpu = "<3"')],
    ),
    "a lower bound that is too low": (
        "2.2",
        "pytorch-gpu >=1.10, which admits",
        [("pixi.toml", 'pytorch-gpu = ">=2.10,<3"', 'pytorch-gpu = ">=1.10"')],
    ),
    "another CUDA than that of the platform": (
        "2.2",
        "cuda-version 11.8.*",
        [("pixi.toml", 'cuda-version = "12.9.*"', 'cuda-version = "11.8.*"')],
    ),
    "the feature for the CPU on one system": (
        "2.2",
        "linux-64; missing: linux-aarch64, osx-arm64, win-64",
        [
            (
                "pixi.toml",
                '[feature.cpu]\nplatforms = ["linux-64", "linux-aarch64", "osx-arm64", "win-64"]',
                '[feature.cpu]\nplatforms = ["linux-64"]',
            )
        ],
    ),
    "the features exchanged": (
        "2.3",
        "cpu contains the packages for a GPU",
        [("pixi.toml", 'cpu = ["cpu"]\ncuda12 = ["cuda12"]', 'cpu = ["cuda12"]\ncuda12 = ["cpu"]')],
    ),
    "both features in one environment": (
        "2.3",
        "cuda12 contains pytorch-cpu and pytorch-gpu, which exclude each other",
        [("pixi.toml", 'cuda12 = ["cuda12"]', 'cuda12 = ["cuda12", "cpu"]')],
    ),
    "two features without a common platform": (
        "2.3",
        "cuda12 has no platform, since cuda12 and cpu have none in common",
        [
            ("pixi.toml", '["linux-64", "linux-aarch64", "osx-arm64", "win-64"]', '["osx-arm64"]'),
            ("pixi.toml", '  "linux-64",\n  "linux-aarch64",\n  "osx-arm64",\n  "win-64",\n', '  "osx-arm64",\n'),
            ("pixi.toml", 'cuda12 = ["cuda12"]', 'cuda12 = ["cuda12", "cpu"]'),
        ],
    ),
    "an environment without the packages of every environment": (
        "2.3",
        "no matplotlib, scikit-learn, safetensors",
        [
            ("pixi.toml", 'cpu = ["cpu"]', 'cpu = { features = ["cpu"], no-default-feature = true }'),
            ("pixi.lock", "\n  cpu:\n", "\n  other:\n"),
        ],
    ),
    "the environment is there, on the wrong platform": (
        "2.3",
        "cuda12 has it on linux-64, so look at the platforms of its features",
        [("pixi.toml", THEIR_NAMES, 'platforms = ["linux-64"]')],
    ),
    "a script in another folder": (
        "2.4",
        "there is no file",
        [("pixi.toml", 'cmd = "python train.py"', 'cmd = "python solution/train.py"')],
    ),
    "a folder that is not there": (
        "2.4",
        "there is no folder nowhere",
        [("pixi.toml", 'cmd = "python train.py"', 'cmd = "python train.py"\ncwd = "nowhere"')],
    ),
    "an environment without PyTorch": (
        "2.4",
        "the environment default, which has no PyTorch",
        [("pixi.toml", 'default-environment = "cpu"', 'default-environment = "default"')],
    ),
    "no default environment": (
        "2.4",
        "without a default-environment, it would run in the environment default, which has no PyTorch",
        [("pixi.toml", 'default-environment = "cpu"\n', "")],
    ),
    "an environment that stops on laptops": (
        "2.4",
        "is for a GPU, so it stops on every laptop",
        [("pixi.toml", 'default-environment = "cpu"', 'default-environment = "cuda12"')],
    ),
    "a task of the environment for the GPU": (
        "2.4",
        "the only environment that contains it, cuda12 is for a GPU",
        [
            ("pixi.toml", "[tasks.train]", "[feature.cuda12.tasks.train]"),
            ("pixi.toml", 'default-environment = "cpu"\n', ""),
        ],
    ),
    "a task in a feature that the environment lacks": (
        "2.4",
        "which its default-environment cpu does not contain",
        [("pixi.toml", "[tasks.train]", "[feature.cuda12.tasks.train]")],
    ),
    "GPU environment missing": (
        "2.3",
        "none of the environments default, cpu",
        [("pixi.toml", 'cuda12 = ["cuda12"]', "")],
    ),
    "CPU environment missing": (
        "2.3",
        "none of the environments default, cuda12",
        [("pixi.toml", 'cpu = ["cpu"]', "")],
    ),
    "GPU feature on the plain platform": (
        "2.3",
        "PyTorch for the GPU, on the platform with cuda",
        [("pixi.toml", THEIR_NAMES, 'platforms = ["linux-64"]')],
    ),
    "the CPU build in every environment": (
        "2.3",
        "PyTorch for the GPU, on the platform with cuda",
        [("pixi.toml", 'python = "3.12.*"', 'python = "3.12.*"\npytorch-cpu = ">=2.5,<3"')],
    ),
    "the CPU build on the CUDA platform alone": (
        "2.3",
        "PyTorch for the CPU, on a platform without cuda",
        [
            (
                "pixi.toml",
                '["linux-64", "linux-aarch64", "osx-arm64", "win-64"]\n\n[feature.cpu.dep',
                '["linux-64-cuda12"]\n\n[feature.cpu.dep',
            )
        ],
    ),
    "every environment made for a GPU": (
        "2.3",
        'activation sets WORKSHOP_DEVICE = "cuda"',
        [("pixi.toml", "[feature.cpu]\n", '[activation.env]\nWORKSHOP_DEVICE = "cuda"\n\n[feature.cpu]\n')],
    ),
    "a task that only names the script": (
        "2.4",
        "train: cat train.py",
        [("pixi.toml", 'cmd = "python train.py"', 'cmd = "cat train.py"')],
    ),
    "task missing": (
        "2.4",
        "train: python main.py",
        [("pixi.toml", 'cmd = "python train.py"', 'cmd = "python main.py"')],
    ),
    "CUDA pinned for everybody": (
        "2.5",
        "cuda-version",
        [
            ("pixi.toml", 'cuda-version = "12.9.*"\n', ""),
            ("pixi.toml", 'filelock = ">=3.16"', 'filelock = ">=3.16"\ncuda-version = "12.9.*"'),
        ],
    ),
    "the solution's lock for one CUDA platform": (
        "2.5",
        "the lock is also for linux-aarch64 with cuda 12.0, win-64 with cuda 12.0, your manifest is not (cuda12, default)",
        [
            (
                "pixi.toml",
                '  { name = "linux-aarch64-cuda12", platform = "linux-aarch64", cuda = "12.0" },\n'
                '  { name = "win-64-cuda12", platform = "win-64", cuda = "12.0" },\n',
                "",
            ),
            ("pixi.toml", THEIR_NAMES, 'platforms = ["linux-64-cuda12"]'),
        ],
    ),
    "a stale lock": (
        "2.5",
        "required: numpy >=99; locked: numpy",
        [("pixi.toml", 'numpy = ">=1.26"', 'numpy = ">=99"')],
    ),
    "a build for the CPU locked": (
        "2.5",
        "required: pytorch 2.10.0 cuda*_mkl*303",
        [lambda folder: rebuilt(folder, "cpu_generic_py312_h0000000_0")],
    ),
    "a CUDA build of years ago locked, since nothing forbids it": (
        "2.5",
        "cuda118_mkl",
        [
            # It meets what pytorch-gpu depends on (cuda*_mkl*303): nothing but the check of the build notices.
            lambda folder: rebuilt(folder, "cuda118_mkl_py312_h0000000_303")
        ],
    ),
    "a build for CUDA locked for the CPU": (
        "2.5",
        "cuda118_mkl",
        [
            ("pixi.toml", 'pytorch-cpu = ">=2.5,<3"', 'pytorch = ">=2.5,<3"'),
            lambda folder: without(folder, "pytorch-cpu"),
            lambda folder: rebuilt(folder, "cuda118_mkl_py312_h0000000_303", "cpu"),
        ],
    ),
    "stale lock": ("2.5", "numpy >=99", [("pixi.toml", 'numpy = ">=1.26"', 'numpy = ">=99"')]),
    "lock of another manifest": ("2.5", "polars", [("pixi.toml", 'rich = ">=14"', 'rich = ">=14"\npolars = "*"')]),
    "merge markers in the lock": (
        "2.5",
        "merge markers",
        [("pixi.lock", "environments:\n", "<<<<<<< HEAD\nenvironments:\n")],
    ),
    "broken TOML": ("2.3", "Illegal character", [("pixi.toml", 'cpu = ["cpu"]', 'cpu = ["cpu]')]),
    "a method that is not called": (
        "2.6",
        "did you forget `()` after the name of a method?",
        [("train.py", "run.torch_device()", "run.torch_device")],
    ),
    "silent fall-back to the CPU": (
        "2.6",
        "trained on the CPU",
        [("train.py", "run.torch_device()", 'torch.device("cpu")')],
    ),
    "nothing insists on the device": (
        "2.6",
        "weights that stayed on the CPU",
        [("train.py", f"    {ASSERTION}\n", "")],
    ),
    "only the images are asserted": (
        "2.6",
        "weights that stayed on the CPU",
        [("train.py", ASSERTION, "run.assert_on(device, images=images)")],
    ),
    "only the weights are asserted": (
        "2.6",
        "images that stayed on the CPU",
        [("train.py", ASSERTION, "run.assert_on(device, **dict(network.named_parameters()))")],
    ),
    "insists on the CPU": (
        "2.6",
        "images and weights on the GPU",
        [("train.py", ASSERTION, 'assert device.type == "cpu"')],
    ),
    "takes the device that is there, whatever was requested": (
        "2.6",
        "trained on the CPU",
        [("train.py", "run.torch_device()", 'torch.device("cuda" if torch.cuda.is_available() else "cpu")')],
    ),
    "a word about the GPU, and training all the same": (
        "2.6",
        "trained on the CPU",
        [
            ("train.py", "run.torch_device()", 'torch.device("cpu")'),
            (
                "train.py",
                "    data = run.load_data()",
                '    print("no GPU", file=os.sys.stderr)\n    data = run.load_data()',
            ),
        ],
    ),
    "a module that is misspelt": (
        "2.6",
        "lr_shceduler",
        [("train.py", "from torch.optim.lr_scheduler", "from torch.optim.lr_shceduler")],
    ),
    "a script that does nothing": (
        "2.6",
        "no run.json",
        [("train.py", "    runs.main(train, ", "    dict(train=train, ")],
    ),
    "a script that stops at once": (
        "2.6",
        "images and weights on the GPU",
        [("train.py", "    runs.main(train, ", '    raise SystemExit("I need a GPU")\n    runs.main(train, ')],
    ),
    "a run without weights": (
        "2.7",
        "confusion_matrix.png, confusion_matrix.svg, learning_curve.png, learning_curve.svg",
        [("train.py", FINISH, f"    from workshop.runs import weights\n    weights.save = lambda *_: None\n{FINISH}")],
    ),
    "weights that cannot be loaded": (
        "2.7",
        "cannot be read",
        [
            (
                "train.py",
                FINISH,
                "    from workshop.runs import weights\n"
                f"    weights.save = lambda path, *_: path.write_bytes(b'not weights')\n{FINISH}",
            )
        ],
    ),
    "other weights than the record says": (
        "2.7",
        "1d9283d848ea",  # the sha256 of `later`
        [
            (
                "train.py",
                FINISH,
                f"{FINISH.replace('run.finish', 'place = run.finish')}\n    (place / 'weights.safetensors').write_bytes(b'later')",
            )
        ],
    ),
    "test data in training": (
        "2.7",
        "test images",
        [
            (
                "train.py",
                "    batch_size = DIGITS_BATCH_SIZE",
                "    images[: len(test_images)], labels[: len(test_labels)] = test_images, test_labels\n"
                "    batch_size = DIGITS_BATCH_SIZE",
            )
        ],
    ),
    "unseeded": (
        "2.7",
        "two runs with --seed 1",
        [("train.py", "    torch.manual_seed(seed)\n", "    torch.seed()\n")],
    ),
    "a constant in the place of the seed": (
        "2.7",
        "does not depend on the requested seed",
        [("train.py", "torch.manual_seed(seed)", "torch.manual_seed(0)")],
    ),
    "a mistake in the line of a later step": (
        "2.7",
        "torch.manual_sead(seed)",
        [("train.py", "torch.manual_seed(seed)", "torch.manual_sead(seed)")],
    ),
    "a constant for the seed": (
        "2.7",
        "--seed 1 and --seed 2",
        [("train.py", "    make_deterministic(run.seed)", "    run.seed = 0\n    make_deterministic(run.seed)")],
    ),
}


def as_pyproject(folder):
    """Everything under [tool.pixi]."""
    text = (folder / "pixi.toml").read_text()
    moved = re.sub(r"^\[(?=[a-z])", "[tool.pixi.", text, flags=re.MULTILINE)
    (folder / "pyproject.toml").write_text(f'[project]\nname = "mine"\nversion = "0.1"\n\n{moved}')
    (folder / "pixi.toml").unlink()


# Other correct answers: the script. Its checks run it, so they are for the slow tests.
SCRIPTS = {
    "a seed for everything": [
        ("train.py", "    torch.manual_seed(seed)\n", "    np.random.seed(seed)\n    torch.manual_seed(seed)\n"),
        ("train.py", "import torch\n", "import numpy as np\nimport torch\n"),
    ],
    "a seed that is made from the seed": [("train.py", "torch.manual_seed(seed)", "torch.manual_seed(1000 + seed)")],
}

# Other correct answers: manifest and lock, without the script.
ALTERNATIVES = {
    "the CUDA platforms last": [
        ("pixi.toml", CUDA_PLATFORMS, ""),
        ("pixi.toml", '  "win-64",\n]', f'  "win-64",\n{CUDA_PLATFORMS}]'),
    ],
    "the deprecated table": [
        ("pixi.toml", CUDA_PLATFORMS, ""),
        (
            "pixi.toml",
            THEIR_NAMES,
            'platforms = ["linux-64", "linux-aarch64", "win-64"]\n\n[feature.cuda12.system-requirements]\ncuda = "12.0"',
        ),
    ],
    "a manifest in pyproject.toml": [as_pyproject],
    "other names": [
        ("pixi.toml", 'cpu = ["cpu"]', 'laptop = ["cpu"]'),
        ("pixi.toml", 'default-environment = "cpu"', 'default-environment = "laptop"'),
        ("pixi.lock", "\n  cpu:\n", "\n  laptop:\n"),
    ],
    "pytorch with a CUDA build": [
        (
            "pixi.toml",
            'pytorch-gpu = ">=2.10,<3"',
            'pytorch-gpu = "*"\npytorch = { version = ">=2.10", build = "cuda12*" }',
        )
    ],
    "options of Python": [("pixi.toml", '"python train.py"', '"python -u train.py --epochs 2"')],
    "a task by torchrun": [("pixi.toml", '"python train.py"', '"torchrun --nproc-per-node=2 train.py --data digits"')],
    "a lower bound that is older": [("pixi.toml", 'pytorch-gpu = ">=2.10,<3"', 'pytorch-gpu = ">=2.5"')],
    "without cuda-version, which the build implies": [("pixi.toml", 'cuda-version = "12.9.*"\n', "")],
    "the variable in a feature of its own": [
        ("pixi.toml", "[feature.cuda12.activation.env]", "[feature.gpu-only.activation.env]"),
        ("pixi.toml", 'cuda12 = ["cuda12"]', 'cuda12 = ["cuda12", "gpu-only"]'),
    ],
    "the variable for each system": [
        (
            "pixi.toml",
            "[feature.cuda12.activation.env]",
            '[feature.cuda12.target.win.activation.env]\nWORKSHOP_DEVICE = "cuda"\n\n'
            "[feature.cuda12.target.unix.activation.env]",
        )
    ],
    "the variable by a script": [
        (
            "pixi.toml",
            '[feature.cuda12.activation.env]\nWORKSHOP_DEVICE = "cuda"',
            '[feature.cuda12.activation]\nscripts = ["gpu.sh"]',
        ),
        lambda folder: (folder / "gpu.sh").write_text("# for a GPU\nexport WORKSHOP_DEVICE=cuda\n"),
    ],
    "a task as one line": [
        (
            "pixi.toml",
            '[tasks.train]\ncmd = "python train.py"\ndescription = "Train the classifier (pixi run train --epochs 1)"\n'
            'default-environment = "cpu"',
            '[feature.cpu.tasks]\nfit = { cmd = "python train.py --epochs 2", description = "Train" }',
        )
    ],
    "a newer driver for one system": [
        ("pixi.toml", 'platform = "win-64", cuda = "12.0"', 'platform = "win-64", cuda = "12.4"'),
        (
            "pixi.lock",
            "subdir: win-64\n  virtual-packages:\n  - __cuda=12.0",
            "subdir: win-64\n  virtual-packages:\n  - __cuda=12.4",
        ),
    ],
    "platforms in a feature of their own": [
        ("pixi.toml", "[feature.cuda12]\n" + THEIR_NAMES, "[feature.machines]\n" + THEIR_NAMES),
        ("pixi.toml", 'cuda12 = ["cuda12"]', 'cuda12 = ["cuda12", "machines"]'),
    ],
    "the platform under another name": [("pixi.toml", "linux-64-cuda12", "gpu-box")],
    "tables instead of inline tables": [
        (
            "pixi.toml",
            'cpu = ["cpu"]\ncuda12 = ["cuda12"]',
            '[environments.cpu]\nfeatures = ["cpu"]\n\n[environments.cuda12]\nfeatures = ["cuda12"]',
        )
    ],
}
