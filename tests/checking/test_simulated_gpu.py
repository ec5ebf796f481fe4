"""The simulated GPUs of checks 2.6 and 3.5, with a CPU build and with a CUDA build that finds no driver."""

import sys
from pathlib import Path

import pytest
from conftest import ROOT

from workshop import exercises
from workshop.checking import checks
from workshop.checking.patches import arguments_for, patch

WITHOUT_DRIVER = (str(Path(__file__).with_name("cuda_without_driver.py")), {})
EXERCISES = {exercise.number: exercise for exercise in exercises.find_all(ROOT)}


BUILDS = ["the build that is installed", "a build for CUDA without a driver"]


@pytest.fixture(params=BUILDS)
def build(request):
    """Patches of a script's interpreter before the GPU is simulated."""
    return [] if request.param.startswith("the build") else [WITHOUT_DRIVER]


@pytest.fixture
def run(command, tmp_path):
    """run(framework, build, text, **moved): text as a script, after the GPU was simulated; the finished command."""

    def go(framework, build, text, **moved):
        pytest.importorskip(framework)
        script = tmp_path / "script.py"
        script.write_text(text)
        patches = [*build, patch(f"simulated_gpu_{framework}", **moved)]
        return command(*arguments_for(patches), script)

    return go


# With the build that is installed, the fast tests of exercises 2 and 3 run these checks.
@pytest.mark.slow
@pytest.mark.parametrize("build", BUILDS, indirect=True)
@pytest.mark.parametrize(("number", "framework"), [("2.6", "torch"), ("3.5", "jax")])
def test_the_solution_passes_with_either_build(number, framework, build, variables, monkeypatch, tmp_path):
    pytest.importorskip(framework)
    monkeypatch.setenv("WORKSHOP_CACHE", variables["WORKSHOP_CACHE"])
    real = checks.Workspace.run

    def with_build(self, *words, patches=(), **more):
        return real(self, *words, patches=[*build, *patches], **more)

    monkeypatch.setattr(checks.Workspace, "run", with_build)
    exercise = EXERCISES[int(number[0])]
    check = next(check for check in exercise.checks if check.number == number)
    answer = check.run(checks.Workspace(exercise.folder / "solution", tmp_path / "scratch"))
    assert answer.status == "ok", answer


def test_the_stand_in_fails_like_a_cuda_build(command, tmp_path):
    """A GPU that PyTorch itself sees as well: its optimizer asks CUDA for the current stream."""
    pytest.importorskip("torch")
    script = tmp_path / "script.py"
    script.write_text(
        "import torch\ntorch.cuda.is_available = lambda: True\n"
        "weight = torch.nn.Parameter(torch.ones(1))\nweight.sum().backward()\ntorch.optim.AdamW([weight]).step()\n"
    )
    done = command(*arguments_for([WITHOUT_DRIVER]), script)
    if not hasattr(sys.modules.get("torch"), "accelerator"):
        pytest.skip("this PyTorch is older than torch.accelerator")
    assert done.returncode == 1 and "Found no NVIDIA driver" in done.stderr, done.stderr


@pytest.mark.slow
def test_the_stand_in_for_the_plugin_fails_like_the_plugin(command, tmp_path):
    """JAX logs a traceback and uses the processor; `on_jax` hides the traceback."""
    pytest.importorskip("jax")
    script = tmp_path / "script.py"
    for import_ours, logged in ("", True), ("from workshop.runs.frameworks import on_jax\n", False):
        script.write_text(f"{import_ours}import jax\nprint(jax.devices('cpu'))\n")
        done = command(*arguments_for([WITHOUT_DRIVER]), script)
        assert done.returncode == 0 and "CpuDevice" in done.stdout, done.stderr
        assert ("Traceback" in done.stderr) == logged, done.stderr


SEES = """
import torch
from workshop.runs.frameworks import on_torch
assert torch.cuda.is_available() and torch.cuda.device_count() == 1 and torch.cuda.current_device() == 0
torch.cuda.synchronize()
gpu = on_torch.choose("cuda")
images = torch.zeros(3).pin_memory().to(gpu, non_blocking=True)
net = torch.nn.Linear(3, 1).cuda()
print(images.device, net.weight.device, torch.zeros(1, device="cuda").device, torch.cuda.get_device_name())
optimizer = torch.optim.AdamW(net.parameters(), fused=True)
with torch.autocast("cuda", torch.bfloat16):
    net(images).sum().backward()
optimizer.step()
"""


def test_a_script_sees_a_gpu_and_computes(run, build):
    done = run("torch", build, SEES, images=True, weights=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["cuda:0", "cpu", "cuda:0", "simulated"]


def test_a_script_that_asks_for_an_accelerator_sees_it(run, build):
    torch = pytest.importorskip("torch")
    if not hasattr(torch, "accelerator"):
        pytest.skip("this PyTorch is older than torch.accelerator")
    text = "import torch\nprint(torch.accelerator.is_available(), torch.accelerator.current_accelerator())\n"
    assert run("torch", build, text, images=True, weights=True).stdout.split() == ["True", "cuda"]


ARRAYS = """
import jax
from workshop.runs.frameworks import on_jax
gpu = on_jax.choose("cuda")
array = jax.device_put(jax.numpy.ones(3), gpu)
print(on_jax.describe(gpu)["name"], jax.devices() == [gpu], jax.devices("gpu") == [gpu], array.devices() == {gpu})
"""


@pytest.mark.parametrize("moved", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_arrays_of_jax_are_moved_or_not(run, build, moved):
    done = run("jax", build, ARRAYS, moved=moved)
    assert done.stdout.split() == ["simulated", "False", "True", str(moved)], done.stderr
