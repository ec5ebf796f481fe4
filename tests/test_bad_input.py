"""Mistakes that people make: each case runs the real command and gets one message, exit code 1, and nothing is lost."""

import os
import shutil
import subprocess
import sys

import later
import pytest
from conftest import ROOT, SOLUTION, STARTER, record_of

from workshop import exercises
from workshop.runs import data, weights

later.or_skip("torch", reason="the training scripts need torch: install the extra cpu")
QUICK = ("--data", "digits", "--epochs", 1)
DISTRIBUTED = ROOT / "exercise-5-container/solution/train_distributed.py"


ARGUMENTS = [
    (("--data", "digit-60k"), "digits-60k"),
    (("--data", "fashion_mnist"), "fashion-mnist"),
    (("--data", "cifar"), "one of digits"),
    (("--epochs", "0"), "1 or more"),
    (("--epochs", "-3"), "1 or more"),
    (("--epochs", "many"), "'many'"),
    (("--seed", "-1"), "0 or more"),
    (("--seed", "99999999999"), "at most 2147483647"),
    (("--epohcs", "1"), "solution/train.py --epochs 1"),
    (("--data",), "--data"),
    (("--output", ""), "--output"),
    (("--device", "gpu"), "cuda"),
    (("--threads", "0"), "--threads"),
]


@pytest.mark.parametrize(
    ("script", "words", "said"), [(SOLUTION, *case) for case in ARGUMENTS] + [(STARTER, *ARGUMENTS[0])]
)
def test_arguments(command, refused, script, words, said):
    refused(command(script, *words), said)


def test_cuda_requested_without_a_gpu(command, refused, tmp_path):
    if command("-c", "import torch; print(torch.cuda.is_available())").stdout == "True\n":
        pytest.skip("this machine has a GPU")
    refused(
        command(SOLUTION, *QUICK, "--device", "cuda", "--output", tmp_path / "run"), "--device cuda", "--device cpu"
    )
    refused(command(SOLUTION, *QUICK, "--output", tmp_path / "run", WORKSHOP_DEVICE="cuda"), "WORKSHOP_DEVICE=cuda")
    assert list(tmp_path.iterdir()) == []


def test_a_device_variable_with_a_typo(command, refused):
    refused(command(SOLUTION, *QUICK, WORKSHOP_DEVICE="cdua"), "WORKSHOP_DEVICE", "'cdua'")


def test_an_explicit_cpu_overrides_the_variable(command, tmp_path):
    done = command(SOLUTION, *QUICK, "--device", "cpu", "--output", tmp_path / "run", WORKSHOP_DEVICE="cuda")
    assert done.returncode == 0, done.stderr


# What torch reports on machines that are not here: a stand-in for its answers, put in place before the script starts.
FAKES = {
    "driver too old": (
        """
torch.version.cuda = "12.9"
def is_available():
    warnings.warn("CUDA initialization: The NVIDIA driver on your system is too old (found version 11040).")
    return False
torch.cuda.is_available = is_available
""",
        ("driver is too old for CUDA 12.9", "found version 11040"),
    ),
    "GPU too old": (
        """
torch.version.cuda = "12.9"
torch.cuda.is_available = lambda: True
torch.cuda.device_count = lambda: 1
torch.cuda.get_device_capability = lambda i=None: (5, 2)
torch.cuda.get_device_name = lambda i=None: "GeForce GTX 960"
torch.cuda.get_arch_list = lambda: ["sm_75", "sm_80", "sm_90a", "compute_120"]
""",
        ("GeForce GTX 960 has compute capability 5.2", "7.5 and newer"),
    ),
    "CPU build": ("torch.version.cuda = None\n", ("build for the CPU",)),
    "no driver": ('torch.version.cuda = "12.9"\ntorch.cuda.is_available = lambda: False\n', ("no NVIDIA driver",)),
    "GPU taken": (
        """
torch.version.cuda = "12.9"
torch.cuda.is_available = lambda: True
torch.cuda.device_count = lambda: 1
torch.cuda.get_device_capability = lambda i=None: (9, 0)
torch.cuda.get_device_name = lambda i=None: "NVIDIA H200"
torch.cuda.get_arch_list = lambda: ["sm_75", "sm_90"]
def zeros(*_, device=None):
    raise RuntimeError("CUDA error: CUDA-capable device(s) is/are busy or unavailable")
torch.zeros = zeros
""",
        ("NVIDIA H200 was found, but cannot be used", "busy or unavailable"),
    ),
    "too few": (
        """
torch.version.cuda = "12.9"
torch.cuda.is_available = lambda: True
torch.cuda.device_count = lambda: 1
""",
        ("process 1 needs one of its own",),
    ),
}


@pytest.mark.parametrize("name", FAKES)
def test_a_gpu_that_torch_cannot_use(command, refused, tmp_path, name):
    code, said = FAKES[name]
    start = tmp_path / "start.py"
    start.write_text(
        f"import runpy, sys, warnings\nimport torch\n{code}\n"
        f"sys.argv = [{str(SOLUTION)!r}, *sys.argv[1:]]\nrunpy.run_path({str(SOLUTION)!r}, run_name='__main__')\n"
    )
    more = {"LOCAL_WORLD_SIZE": "2"} if name == "too few" else {}
    refused(command(start, *QUICK, "--device", "cuda", PATH="/nowhere", **more), *said)


def test_an_output_that_is_not_a_folder(command, refused, tmp_path):
    (tmp_path / "file").write_text("precious")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").write_text("")
    for place, said in (("file", "a file of that name"), ("full", "other files"), ("file/below", "file")):
        refused(command(SOLUTION, *QUICK, "--output", tmp_path / place), said, "--output")
    assert (tmp_path / "file").read_text() == "precious"
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["file", "full", "precious"]


def test_a_finished_run_is_not_overwritten(command, refused, one_epoch):
    before = (one_epoch / "run.json").read_bytes()
    refused(command(SOLUTION, *QUICK, "--output", one_epoch), "a finished run")
    assert (one_epoch / "run.json").read_bytes() == before


@pytest.mark.skipif(os.name == "nt", reason="no folders that their owner may not write to")
def test_an_output_that_cannot_be_written(command, refused, tmp_path):
    place = tmp_path / "mine"
    place.mkdir(mode=0o500)
    if os.access(place, os.W_OK):  # root may write everywhere but into a file system that nobody can
        refused(command(SOLUTION, *QUICK, "--output", "/proc/run"), "/proc/run.partial", "--output")
    else:
        refused(command(SOLUTION, *QUICK, "--output", place / "run"), "Permission denied", "--output")


def test_a_full_disk(command, refused, tmp_path):
    """A limit of 300 kB on file sizes takes the place of a full disk: the checkpoint needs more."""
    pytest.importorskip("resource", reason="no limit on the size of files here")
    start = tmp_path / "start.py"
    start.write_text(
        "import resource, runpy, sys\nresource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))\n"
        f"sys.argv[0] = {str(SOLUTION)!r}\nrunpy.run_path({str(SOLUTION)!r}, run_name='__main__')\n"
    )
    done = command(start, *QUICK, "--output", tmp_path / "run")
    refused(done, "checkpoint.safetensors", "File too large", "--output")
    assert list(tmp_path.iterdir()) == [start]


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() != 0 or not shutil.which("mount"), reason="mounting needs root")
@pytest.mark.system("mounts a small disk")
def test_a_disk_that_is_really_full(command, refused, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
    try:
        refused(command(SOLUTION, *QUICK, "--output", disk / "run"), "No space left on device", "df -h")
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.fixture(scope="module")
def cut_off(command, tmp_path_factory):
    """The checkpoint of a run of two epochs, seed 0, that was interrupted before it was moved to its final path."""
    folder = tmp_path_factory.mktemp("cut-off")
    start = folder / "start.py"
    start.write_text(
        "import runpy, sys\nfrom workshop.runs import figures\n"
        "def interrupt(*_, **__):\n    raise KeyboardInterrupt\nfigures.learning_curve = interrupt\n"
        f"sys.argv[0] = {str(SOLUTION)!r}\nrunpy.run_path({str(SOLUTION)!r}, run_name='__main__')\n"
    )
    done = command(start, "--data", "digits", "--epochs", 2, "--device", "cpu", "--output", folder / "run")
    assert done.returncode == 130 and "--resume" in done.stderr, done.stderr
    return folder / "run.partial" / "checkpoint.safetensors"


@pytest.fixture
def interrupted(cut_off, tmp_path):
    """A function that makes the folder of an interrupted run with a changed checkpoint."""

    def make(change):
        tensors, about = weights.load(cut_off, "")
        folder = tmp_path / "run.partial"
        folder.mkdir(exist_ok=True)
        path = folder / "checkpoint.safetensors"
        if callable(change):
            weights.save(path, tensors, about)
            change(path)
        else:
            weights.save(path, tensors, about | change)
        return tmp_path / "run"

    return make


@pytest.mark.parametrize(
    ("change", "words", "said"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:1000]), (), "truncated"),
        (lambda path: path.write_bytes(b""), (), "cannot be read"),
        (lambda path: path.write_bytes(path.read_bytes()[:-9] + b"123456789"), (), "changed"),
        ({"network": "conv1 16x1x3x3"}, (), "conv1 16x1x3x3"),
        ({"seed": 7}, ("--seed", 1), "seed: 7"),
        ({"epochs": 4}, ("--epochs", 2), "epochs: 4"),
        ({"data_sha256": "0" * 64}, (), "data_sha256"),
        ({}, ("--data", "digits-60k"), "data: digits"),
        ({"processes": 2}, (), "processes: 2"),
        ({"script": "0" * 64}, (), "script: 0000"),
        ({"hyperparameters": {"lr": 0.1}}, (), "lr"),
        ({}, ("--threads", 2), "threads: 1"),
        ({"torch": "1.0"}, (), "torch: 1.0"),
        ({"device": "GeForce 256"}, (), "device: GeForce 256"),
    ],
    ids=[
        "cut",
        "empty",
        "changed",
        "network",
        "seed",
        "epochs",
        "bytes of the data",
        "data",
        "processes",
        "script",
        "learning rate",
        "threads",
        "torch",
        "device",
    ],
)
def test_a_checkpoint_that_does_not_fit(command, refused, interrupted, change, words, said):
    place = interrupted(change)
    before = (place.parent / "run.partial" / "checkpoint.safetensors").read_bytes()
    refused(command(SOLUTION, "--output", place, "--resume", *words), "checkpoint.safetensors", said)
    assert (place.parent / "run.partial" / "checkpoint.safetensors").read_bytes() == before


def test_the_bits_of_a_run_that_was_interrupted_just_before_its_end(command, interrupted, tmp_path):
    """All epochs are done; only the figures and the record remain to be written."""
    done = command(SOLUTION, "--output", interrupted({}), "--resume", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert record_of(tmp_path / "run")["resumed_after_epochs"] == [2]


def test_a_training_that_diverges_leaves_no_result(command, refused, tmp_path):
    script = tmp_path / "train.py"
    script.write_text(SOLUTION.read_text().replace("LR = 8e-3", "LR = 1e30"))
    refused(command(script, *QUICK, "--output", tmp_path / "run"), "diverged", "--seed")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["train.py"]


@pytest.mark.parametrize("script", [SOLUTION, pytest.param(STARTER, marks=pytest.mark.slow)])
def test_a_python_without_the_workshop(variables, tmp_path, script):
    """Python's own error, with nothing before it: the script needs no preamble."""
    shadow = tmp_path / "workshop.py"  # this interpreter may have it installed
    shadow.write_text("raise ModuleNotFoundError(\"No module named 'workshop'\", name='workshop')\n")
    line = [sys.executable, str(script)]
    done = subprocess.run(line, env=variables | {"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'workshop'"


def test_a_full_gpu(command, refused, tmp_path):
    """What torch raises when a GPU is full, from a stand-in."""
    start = tmp_path / "start.py"
    start.write_text(
        "import runpy, sys\nimport torch\nfrom workshop.runs import data\n"
        "def full(*_):\n    raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 20.00 MiB.')\n"
        f"data.load = full\nsys.argv[0] = {str(SOLUTION)!r}\nrunpy.run_path({str(SOLUTION)!r}, run_name='__main__')\n"
    )
    refused(command(start, *QUICK, "--output", tmp_path / "run"), "CUDA out of memory", "nvidia-smi")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["start.py"]


def test_variables_of_torchrun_that_torchrun_did_not_set(command, refused, tmp_path):
    refused(command(SOLUTION, *QUICK, RANK="x"), "RANK", "'x'")
    done = command(SOLUTION, *QUICK, "--device", "cpu", "--output", tmp_path / "run", WORLD_SIZE="2")
    assert done.returncode == 0, done.stderr  # some job systems set it alone
    done = command(SOLUTION, *QUICK, "--device", "cpu", "--output", tmp_path / "other", RANK="1")
    assert done.returncode == 0 and record_of(tmp_path / "other")["metrics"], done.stderr


def test_two_processes_print_one_message(two_processes, tmp_path):
    (tmp_path / "run").write_text("a file")
    for words, said in (
        (("--data", "cifar"), "'cifar'"),
        ((*QUICK, "--output", tmp_path / "run"), "a file of that name"),
    ):
        first, other = two_processes(DISTRIBUTED, *words)
        assert first.returncode == 1 and other.returncode != 0
        assert first.stderr.count("looked at:") == 1 and said in first.stderr and other.stderr == "", other.stderr


@pytest.mark.slow
def test_two_processes_of_torchrun_print_one_message(command, tmp_path):
    (tmp_path / "run").write_text("a file")
    torchrun = ("-m", "torch.distributed.run", "--nproc-per-node", 2, "--master-port", str(22000 + os.getpid() % 20000))
    done = command(*torchrun, DISTRIBUTED, "--data", "cifar", fresh=True)
    # On a busy machine torchrun may end the first process before it has spoken; then another one's line is there.
    assert done.returncode == 1 and done.stderr.count("looked at:") <= 1 and "'cifar'" in done.stderr, done.stderr
    done = command(*torchrun, DISTRIBUTED, *QUICK, "--output", tmp_path / "run", fresh=True)
    assert done.returncode == 1 and done.stderr.count("a file of that name") == 1, done.stderr


def test_nothing_to_resume(command, refused, tmp_path):
    refused(command(SOLUTION, "--output", tmp_path / "run", "--resume"), "no such folder")


def test_an_interrupted_run_is_not_started_over_by_mistake(command, refused, interrupted):
    refused(command(SOLUTION, *QUICK, "--output", interrupted({})), "an interrupted run", "--resume")


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_a_download_without_network(command, refused, tmp_path, name):
    nowhere = "http://127.0.0.1:9"
    done = command(
        SOLUTION, "--data", name, WORKSHOP_CACHE=str(tmp_path), http_proxy=nowhere, https_proxy=nowhere, no_proxy=""
    )
    text = refused(done, "no connection to", "digits-60k")
    assert "train-images-idx3-ubyte.gz" in text
    assert not list(tmp_path.rglob("*.gz"))


def test_a_data_file_with_a_wrong_checksum(command, refused, tmp_path):
    folder = tmp_path / "mnist"
    folder.mkdir()
    for name in data.DOWNLOADED["mnist"]:
        (folder / name).write_bytes(b"not these bytes")
    text = refused(command(SOLUTION, "--data", "mnist", WORKSHOP_CACHE=str(tmp_path)), "sha256", "rm ")
    assert data.DOWNLOADED["mnist"]["train-images-idx3-ubyte.gz"] in text
    assert len(list(folder.iterdir())) == 4


def test_a_damaged_cache_is_noticed_and_replaced(command, tmp_path):
    (tmp_path / f"digits-{data.BUILT_SHA256['digits'][:12]}.npz").write_bytes(b"damaged")
    done = command(SOLUTION, *QUICK, "--output", tmp_path / "run", WORKSHOP_CACHE=str(tmp_path))
    assert done.returncode == 0 and "damaged" in done.stderr


@pytest.mark.slow
def test_an_environment_without_a_package(variables, tmp_path):
    """Python's own error names the missing package: torch, or py-rattler, which training does not need."""
    for name in ("torch", "rattler"):
        (tmp_path / f"{name}.py").write_text(f'raise ModuleNotFoundError("No module named {name!r}", name={name!r})\n')
    variables = variables | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{variables['PYTHONPATH']}"}
    for script in (SOLUTION, STARTER):
        done = subprocess.run([sys.executable, str(script)], env=variables, capture_output=True, text=True)
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'torch'"
    (tmp_path / "torch.py").unlink()
    for name in ("tomli", "yaml"):  # what else only the checks need
        (tmp_path / f"{name}.py").write_text(f'raise ModuleNotFoundError("No module named {name!r}", name={name!r})\n')
    line = [sys.executable, str(SOLUTION), *map(str, QUICK), "--device", "cpu", "--output", str(tmp_path / "run")]
    done = subprocess.run(line, env=variables, capture_output=True, text=True)
    assert done.returncode == 0 and record_of(tmp_path / "run")["metrics"], done.stderr


def test_the_starter_runs_as_shipped(command, tmp_path):
    done = command(STARTER, *QUICK, "--output", tmp_path / "run")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "typed, advice",
    [
        ("chekc 2", "workshop check 2"),
        ("chek-all --json", "workshop check-all --json"),
        ("check-all --exersise=2", "workshop check-all --exercise=2"),
        ("hint 2 --levl 3", "workshop hint 2 --level 3"),
        ("completion bas", "workshop completion bash"),
        ("frobnicate", "workshop --help"),
        ("check 2 --frobnicate", "workshop check --help"),
    ],
)
def test_a_command_or_an_option_with_a_typo(command, refused, typed, advice):
    """The next step is the corrected command, or the help if nothing is similar."""
    assert refused(command("-m", "workshop", *typed.split())).splitlines()[-1] == f"next:      {advice}"


def test_an_unknown_exercise(command, refused):
    last = exercises.find_all(ROOT)[-1].number
    refused(command("-m", "workshop", "check", "7"), "one of 1, 2", f"workshop check {last}")
    refused(command("-m", "workshop", "check-all", "--exercise", "9"), "workshop check-all")
    refused(command("-m", "workshop", "check", "two"), "'two'", "workshop check 2")
    refused(command("-m", "workshop", "check", "1.99"), "1.99", "workshop check 1")


def test_a_folder_without_a_workspace(command, refused, tmp_path):
    refused(command("-m", "workshop", "check", "2", tmp_path / "nowhere"), "no such folder")
    done = command("-m", "workshop", "check", "2", tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr
