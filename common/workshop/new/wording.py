"""The words of a copied file that change: names everywhere, and sentences about the tutorial in single files."""

from __future__ import annotations

import re
from collections.abc import Mapping

from workshop.new.recipe import Names

# Names of the tutorial in any file, in this order: a regular expression and what replaces it. @project@,
# @package@ and @VARIABLE@ stand for the names of the project.
RULES = (
    (r"\bWorkshopError\b", "RunError"),
    (r"\bWORKSHOP_", "@VARIABLE@_"),
    (r"(?m)^( *)import histfactory$", r"\1from @package@ import histfactory"),
    (r"(?m)^( *)from histfactory\b", r"\1from @package@.histfactory"),
    (r"(?m)^( *(?:from|import)) workshop\b", r"\1 @package@"),
    (r"\bworkshop(?=\.[a-z_])", "@package@"),
    (r"\b([Tt]his|[Tt]he|[Aa]) workshop\b", r"\1 project"),
    (r"\bthe root of the clone\b", "the folder of the project"),
    (r"\bresults/exercise-\d-[\w-]+", "results/@project@"),
    (r"\bexercise-5-container/solution/(?=\w+\.(?:sh|sbatch|sub)\b)", "jobs/"),
    (r"\bexercise-\d-[\w-]+/(?:(?:solution|starter)/)?", ""),
    (r"(?<![\w.])/workshop\b", "/project"),  # in an image
    (r"\blearner\b", "runner"),  # the user of an image
    (r"\bexercise-\d-[\w-]+", "@project@"),
    (r"\breproducible-ml-workflows\b", "@project@"),
    (r"\b([Aa])n exercise\b", r"\1 project"),
    (r"\bexercise(s?)\b", r"project\1"),
    (r"\bEXERCISE\b", "PROJECT"),
    # The first words of a script or a manifest: "Exercise 2: train ..." and "# Exercise 2, finished: one ...".
    (r"\A(\"\"\"|# |#!.*\n# )Exercise \d(?:, finished)?: (\w)", lambda m: m[1] + m[2].upper()),
)

# Sentences in single files, by the path of the file in the repository. They are replaced before the names, and each must
# be there: tests/new/test_new.py fails if one is not.
IMAGE_FOLDER = "exercise-5-container/solution"
_GPU_OF_A_JOB = (
    "The libraries in the image need a GPU of compute capability 7.5 or newer (cuDNN 9.13 does), and a driver for CUDA 12.",
    "A GPU of compute capability 7.5 or newer, and a driver for CUDA 12: change this if your packages need something else.",
)
_JAX = "exercise-3-jax-cu118/solution/train.py"
SENTENCES: dict[str, tuple[tuple[str, str], ...]] = {
    "common/workshop/errors.py": (
        ("`pixi run -e cpu-jax ...`", "`pixi run -e NAME ...`"),
        ("""install -e ".[cpu,test]"'""", """install -r requirements.txt'"""),
    ),
    "common/workshop/shell.py": (
        (
            '''def first_command() -> str:
    """The first command of the route without Pixi, as README.md gives it: install everything and check it."""
    steps = [in_venv('pip install -e ".[cpu,test]"'), in_venv("workshop check-all")]
    # Windows PowerShell 5 has no `&&`.
    return "; ".join(["py -m venv .venv", *steps]) if WINDOWS else " && ".join(["python3 -m venv .venv", *steps])


''',
            "",
        ),
    ),
    "common/workshop/runs/data.py": (
        ("report it with the output of `workshop --version`: the", "report it to the authors of this project: the"),
    ),
    "common/workshop/runs/entry.py": (
        (
            '"torchrun --nproc-per-node 2 exercise-5-container/solution/train_distributed.py"',
            '"start the script with python"',
        ),
    ),
    "common/workshop/runs/options.py": (
        ('" or ".join(name.split("-")[1] for name in parents)', '" or ".join(parents)'),
        ('f"a run of exercise {kinds} (default', 'f"a run of {kinds} (default'),
    ),
    "common/workshop/runs/records/record.py": (
        ("; or use workshop container-run, which does so", ""),
        ("in the repository's root, or next to a script outside it", "next to its script"),
        (
            """    for parent in script.parents:
        if (parent / exercise).is_dir() or (parent / ".git").exists():
            return parent / "results" / exercise
""",
            "",
        ),
    ),
    "common/workshop/runs/records/parent.py": (
        ("pixi run train-torch -- --data digits", "python train.py --data digits"),
    ),
    "common/histfactory/starts.py": (
        ("; `benchmarks/minima.py` measures how often a lower one exists all the same", ""),
    ),
    "common/workshop/runs/frameworks/threads.py": ((" benchmarks/threads.py measures when more of them help.", ""),),
    "common/workshop/runs/search/limits.py": (
        ('by 1e-13 "\n    "(benchmarks/determinism.json). 1e-9', 'by 1e-13. "\n    "1e-9'),
    ),
    _JAX: (
        ("the network of exercise 2 in JAX. The same", "a small convolutional network in JAX. The same"),
        ("As in exercise 2, which gives the reasons: batches, one", "Sizes of the batches, one"),
        ("the layers of exercise 2, under the same names.", "two convolutions and two dense layers."),
    ),
    "exercise-3-jax-cu118/solution/pixi.toml": (
        (
            "the workspace of exercise 2 with two JAX stacks, a current one and the last one built for CUDA\n# 11.8.",
            "PyTorch, and two JAX stacks: a current one, and the last one that was built for CUDA 11.8.",
        ),
    ),
    "exercise-4-pypi-mix/solution/predict.py": (
        ("the newest run of exercise 2 or 3", "the newest run of train.py"),
        ('EXERCISE = "exercise-4-pypi-mix"', 'EXERCISE = "@project@-predictions"'),
        ('TRAINERS = ("exercise-2-pytorch-cu12", "exercise-3-jax-cu118")', 'TRAINERS = ("@project@",)'),
        ("as in exercise 2: with", "as in train.py: with"),
        ("the network of exercises 2 and 3.", "the network of train.py."),
    ),
    "exercise-4-pypi-mix/solution/finetune.py": (
        ("the newest run of exercise 2 or 3", "the newest run of train.py"),
        ("half of exercise 2's, so", "half of that in train.py, so"),
    ),
    "exercise-1-scipy/solution/exclusion.py": ((" `workshop scan` does the same for any pyhf workspace.", ""),),
    f"{IMAGE_FOLDER}/Dockerfile": (
        ("the training script of exercise 2.", "@script@."),
        (
            "# Build it in the root of the clone, which contains the manifest and the lock:",
            "# Build it in this folder:",
        ),
        ("pixi run container-build cpu", "docker build -t @project@ ."),
        (
            "docker build -f exercise-5-container/solution/Dockerfile --build-arg ENVIRONMENT=cuda12 -t reproducible-ml:cuda12 .",
            "docker build --build-arg ENVIRONMENT=@gpu@ -t @project@:@gpu@ .",
        ),
        ("cpu or cuda12.", "@cpu@ or @gpu@."),
        ("ENVIRONMENT=cpu", "ENVIRONMENT=@cpu@"),
        ("runtime-cpu", "runtime-@cpu@"),
        ("runtime-cuda12", "runtime-@gpu@"),
        ("COPY common/workshop common/workshop", "COPY @package@ @package@"),
        (
            "COPY exercise-2-pytorch-cu12/solution/train.py exercise-2-pytorch-cu12/solution/train.py",
            "COPY @scripts@ ./",
        ),
        ("PYTHONPATH=/workshop/common", "PYTHONPATH=/workshop"),
        ("import torch, sklearn, workshop", "import @imports@, workshop"),
        ('"exercise-2-pytorch-cu12/solution/train.py", "--data", "digits"', "@command@"),
    ),
    f"{IMAGE_FOLDER}/apptainer.def": (
        ("from the lock. In the root of the clone:", "from the lock. In this folder:"),
        ("ENVIRONMENT=cuda12 train-cuda12.sif", "ENVIRONMENT=@gpu@ @stem@-@gpu@.sif"),
        ("build train.sif", "build @stem@.sif"),
        ("results train-cuda12.sif --data digits", "results @stem@-@gpu@.sif@options@"),
        ("ENVIRONMENT=cpu", "ENVIRONMENT=@cpu@"),
        ("    common/workshop /workshop/common/workshop\n", "    @package@ /workshop/@package@\n"),
        (
            "    exercise-2-pytorch-cu12/solution/train.py /workshop/exercise-2-pytorch-cu12/solution/train.py\n",
            "@script-files@",
        ),
        ("PYTHONPATH=/workshop/common", "PYTHONPATH=/workshop"),
        ("in cuda*) export", "in @gpu@) export"),
        ("/workshop/exercise-2-pytorch-cu12/solution/train.py", "/workshop/@script@"),
        ("import torch, sklearn, workshop", "import @imports@, workshop"),
    ),
    f"{IMAGE_FOLDER}/train.sh": (
        ("Train the classifier of exercise 2 in", "Run @script@ in"),
        ("train-cuda12.sif", "@stem@-@gpu@.sif"),
        ("PYTHONPATH=$PWD/common", "PYTHONPATH=$PWD"),
        ("exercise-2-pytorch-cu12/solution/train.py", "@script@"),
    ),
    f"{IMAGE_FOLDER}/train.sbatch": (
        ("the classifier of exercise 2 as", "the network as"),
        ("--job-name=train-torch", "--job-name=@project@"),
    ),
    f"{IMAGE_FOLDER}/array.sbatch": (
        ("separately. In the root of the clone: ", "separately.\n# In the folder of the project: "),
        ("--job-name=train-torch-seeds", "--job-name=@project@-seeds"),
    ),
    f"{IMAGE_FOLDER}/train.sub": (
        ("the classifier of exercise 2 as", "the network as"),
        ("In the root of\n# the clone:", "In the folder of\n# the project:"),
        ("train-cuda12.sif", "@stem@-@gpu@.sif"),
        _GPU_OF_A_JOB,
        ("= common, exercise-2-pytorch-cu12", "= @package@, @script-list@"),
    ),
    f"{IMAGE_FOLDER}/seeds.sub": (
        ("train-cuda12.sif", "@stem@-@gpu@.sif"),
        _GPU_OF_A_JOB,
        ("= common, exercise-2-pytorch-cu12", "= @package@, @script-list@"),
    ),
    f"{IMAGE_FOLDER}/multi.sbatch": (
        ("train exercise 2's network on", "train the network on"),
        ("--job-name=train-torch-multi", "--job-name=@project@-multi"),
        ("train-cuda12.sif", "@stem@-@gpu@.sif"),
        ("PYTHONPATH=$PWD/common", "PYTHONPATH=$PWD"),
    ),
    f"{IMAGE_FOLDER}/train_distributed.py": (
        ("train exercise 2's network in", "train the network of train.py in"),
        ("import sys\nfrom pathlib", "from pathlib"),
        ('sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "exercise-2-pytorch-cu12" / "solution"))\n', ""),
        ("the script of exercise 2: network, optimizer", "network, optimizer"),
    ),
    f"{IMAGE_FOLDER}/image.yml": (
        ("#\n# GitHub runs the workflow only from .github/workflows/: copy it there.\n", ""),
        ("environments: default cpu", "environments: @cpu@ test"),
        ("pixi run --locked container-build cpu", "docker build --tag @project@ ."),
        (
            "pixi run --locked container-run cpu",
            "docker run --rm --read-only --network none --tmpfs /tmp --tmpfs /workshop/results:mode=1777 @project@",
        ),
        ("ENVIRONMENT=cpu", "ENVIRONMENT=@cpu@"),
        ("train.sif", "@stem@.sif"),
    ),
}

# What goes from the files of an image if the project has no environment for a GPU.
WITHOUT_GPU: dict[str, tuple[tuple[str, str], ...]] = {
    f"{IMAGE_FOLDER}/Dockerfile": (
        ("#   docker build --build-arg ENVIRONMENT=@gpu@ -t @project@:@gpu@ .\n", ""),
        ("# The environment of the manifest: @cpu@ or @gpu@.", "# The environment of the manifest."),
        (
            "# The machine that builds the image may have no driver. CUDA checks the driver later, on the machine that runs the\n"
            "# image.\nARG CONDA_OVERRIDE_CUDA=12.0\n",
            "",
        ),
        (
            """
FROM ${BASE_IMAGE} AS runtime-@gpu@
# The first makes the script stop without a GPU. The others make the container runtime provide the host's driver.
ENV WORKSHOP_DEVICE=cuda \\
    NVIDIA_VISIBLE_DEVICES=all \\
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
""",
            "",
        ),
    ),
    f"{IMAGE_FOLDER}/apptainer.def": (
        (
            "#   apptainer build --build-arg ENVIRONMENT=@gpu@ @stem@-@gpu@.sif exercise-5-container/solution/apptainer.def\n",
            "",
        ),
        ("apptainer run --nv --cleanenv", "apptainer run --cleanenv"),
        ("@stem@-@gpu@.sif", "@stem@.sif"),
        (
            "--nv makes the host's NVIDIA driver available inside, as NVIDIA_VISIBLE_DEVICES does for Docker. --cleanenv keeps the\n"
            "# variables of your shell out. The",
            "--cleanenv keeps the variables of your shell out.\n# The",
        ),
        (
            "    # The machine that builds the image may have no driver. This states the CUDA version of the one that will run it.\n"
            "    export CONDA_OVERRIDE_CUDA=12.0\n",
            "",
        ),
        ("    case {{ ENVIRONMENT }} in @gpu@) export WORKSHOP_DEVICE=cuda ;; esac\n", ""),
    ),
    f"{IMAGE_FOLDER}/image.yml": (
        ("build the image, and train in it.", "build the image, and run it."),
        ("Test, build and train", "Test, build and run"),
        ("Train in the image", "Run the image"),
        ("            CONDA_OVERRIDE_CUDA=\n", ""),
    ),
}


def rewrite(
    text: str, source: str, names: Names, replacements: Mapping[str, str] | None = None, has_gpu: bool = True
) -> str:
    """The text of a file of the repository in the words of a project.

    source: its path in the repository. replacements: further placeholders with their values, as in {"@script@": ...}.
    """
    text = without_measurements(text) if source.startswith("exercise-") else text
    for old, new in (*SENTENCES.get(source, ()), *(() if has_gpu else WITHOUT_GPU.get(source, ()))):
        assert old in text, f"{source} no longer contains: {old}"
        text = text.replace(old, new)
    for pattern, replacement in RULES:
        text = re.sub(pattern, replacement, text)
    return fill(text, names, replacements)


def without_measurements(text: str) -> str:
    """A script without the paragraphs of its docstring that state what a program in benchmarks/ measured."""
    docstring = re.match(r'"""([\s\S]*?)\s*"""', text)
    if docstring is None or "benchmarks/" not in docstring[1]:
        return text
    paragraphs = [part for part in docstring[1].split("\n\n") if "benchmarks/" not in part]
    end = '\n"""' if len(paragraphs) > 1 else '"""'
    return '"""' + "\n\n".join(paragraphs) + end + text[docstring.end() :]


def fill(text: str, names: Names, replacements: Mapping[str, str] | None = None) -> str:
    """The text with the values of its placeholders."""
    values = {"@project@": names.project, "@package@": names.package, "@VARIABLE@": names.variable}
    for placeholder, value in (*(replacements or {}).items(), *values.items()):
        text = text.replace(placeholder, value)
    return text


def without_missing_modules(text: str, modules: set[str], package: str) -> str:
    """The docstring of a package, without the lines about modules that were not copied.

    modules: the names of the copied ones. package: the name of this one. Such a line begins with `name.py` or `name/`.
    """

    def keep(line: str) -> bool:
        named = re.match(r" *(\w+)(?:\.py|/) +\S", line)
        return named is None or f"{package}.{named[1]}" in modules

    return "".join(line for line in text.splitlines(keepends=True) if keep(line))
