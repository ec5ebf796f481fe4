"""Exercise 3's script: the same bits for the same seed, the same result on two stacks, and agreement with PyTorch."""

import ctypes
import json
import shutil
import signal
import subprocess
import sys
import time
import types

import jsonschema
import later
import numpy as np
import pytest
from conftest import ROOT, module_of, record_of, sha_of

from workshop import errors
from workshop.checking.patches import arguments_for, patch
from workshop.runs import data, weights
from workshop.runs.frameworks import device
from workshop.runs.records import record

later.or_skip("jax", reason="exercise 3 needs jax: install the extra cpu")
on_jax = later.Later("workshop.runs.frameworks.on_jax")

SCRIPT = ROOT / "exercise-3-jax-cu118/solution/train.py"
TORCH_SCRIPT = ROOT / "exercise-2-pytorch-cu12/solution/train.py"

# float32 has 24 bits (6e-8 each); a logit is the end of sums of 64, 800, 1,568 and 128 terms, which each library takes
# in an order of its own. Relative to the largest logit of an image that makes some 1e-6, and 1e-5 leaves room.
LOGITS_RELATIVE = 1e-5
# Gradients are also sums over all images: relative to the largest of a layer.
GRADIENTS_RELATIVE = 1e-4
# JAX 0.5 to 0.10 compile the inverse error function, out of which normal numbers come, to other last bits than 0.4.
INITIAL_WEIGHTS = 1e-6


def arguments(place, *more, epochs=2, seed=5):
    return ("--data", "digits", "--epochs", epochs, "--seed", seed, "--device", "cpu", "--output", place, *more)


@pytest.fixture(scope="module", params=["today", pytest.param("frozen", marks=pytest.mark.slow)])
def stack(request):
    """The command that runs a script on a stack: the environment of the tests, or jax 0.4 with flax 0.9."""
    return (sys.executable,) if request.param == "today" else (str(request.getfixturevalue("old_stack")),)


@pytest.fixture(scope="module")
def whole(command, tmp_path_factory):
    """An uninterrupted run on a stack, which is given by its interpreter; made once for each."""
    made = {}

    def run(stack):
        if stack not in made:
            place = tmp_path_factory.mktemp("runs") / "whole"
            done = command(SCRIPT, *arguments(place), interpreter=stack)
            assert done.returncode == 0, done.stderr
            assert done.stderr == "", done.stderr  # no warning, on either stack
            made[stack] = place
        return made[stack]

    return run


def test_the_run_is_described(stack, whole):
    found = record_of(whole(stack))
    jsonschema.validate(found, json.loads(record.SCHEMA_FILE.read_text()))
    assert found["packages"]["jax"] and found["packages"]["jaxlib"] and found["packages"]["flax"]
    assert "--xla_gpu_deterministic_ops=true" in found["determinism"]["xla_flags"] == found["variables"]["XLA_FLAGS"]
    assert found["determinism"]["threefry_partitionable"] is True
    assert found["metrics"][0]["value"] > 0.9
    assert {o["path"] for o in found["outputs"]} == {
        "weights.safetensors",
        "learning_curve.png",
        "learning_curve.svg",
        "confusion_matrix.png",
        "confusion_matrix.svg",
    }


def test_the_frozen_stack_is_the_one_that_is_locked(old_stack, whole):
    from pixi_workspace import lock as locks
    from pixi_workspace import manifest

    assert record_of(whole((str(old_stack),)))["packages"]["jaxlib"] == "0.4.23"
    held = locks.align(locks.read(ROOT / "pixi.lock"), manifest.load(ROOT / "pixi.toml").platforms)
    locked = {
        p.name.replace("_", "-"): p.version for p in held.environments["cuda118-jax"].packages["linux-64-cuda118"]
    }
    locked["msgpack"] = locked["msgpack-python"]
    locked["matplotlib"] = locked["matplotlib-base"]
    pins = [line for line in (ROOT / "tests/old-stack.in").read_text().splitlines() if "==" in line]
    assert len(pins) > 25
    for pin in pins:
        name, version = pin.split("==")
        assert locked[name] == version, pin
        assert f"\n{pin} \\\n" in (ROOT / "tests/old-stack.txt").read_text(), pin


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(stack, whole, command, tmp_path):
    for name, seed in (("again", 5), ("other", 6)):
        done = command(SCRIPT, *arguments(tmp_path / name, seed=seed), interpreter=stack, NPROC="2")
        assert done.returncode == 0, done.stderr  # one thread, whatever the variable says
    for output in ("weights.safetensors", "learning_curve.png", "confusion_matrix.png"):
        assert sha_of(whole(stack), output) == sha_of(tmp_path / "again", output)
    assert sha_of(whole(stack)) != sha_of(tmp_path / "other")


@pytest.mark.slow
def test_a_killed_and_resumed_run_gives_the_same_bits(stack, whole, command, variables, tmp_path):
    place = tmp_path / "killed"
    line = [*stack, "-u", str(SCRIPT), *map(str, arguments(place))]
    process = subprocess.Popen(line, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for said in process.stdout:
        if said.startswith("epoch 1/2"):
            break
    checkpoint = tmp_path / "killed.partial" / "checkpoint.safetensors"
    while not checkpoint.exists() and process.poll() is None:
        time.sleep(0.005)
    process.kill()
    process.communicate()
    if process.returncode == 0:  # it was faster than the signal
        pytest.skip("the run had ended before it could be killed")
    assert process.returncode == -signal.SIGKILL and not place.exists()
    done = command(SCRIPT, "--output", place, "--resume", "--device", "cpu", interpreter=stack)
    assert done.returncode == 0, done.stderr
    assert sha_of(place) == sha_of(whole(stack))
    assert sha_of(place, "learning_curve.png") == sha_of(whole(stack), "learning_curve.png")
    assert record_of(place)["resumed_after_epochs"] == [1]


def test_two_stacks_give_the_same_result(whole, old_stack):
    """The metrics agree within their tolerance; both runs began with the same weights."""
    today, frozen = record_of(whole((sys.executable,))), record_of(whole((str(old_stack),)))
    assert today["packages"]["jax"] != frozen["packages"]["jax"]
    (one, _), (other, _) = today["metrics"], frozen["metrics"]
    assert abs(one["value"] - other["value"]) <= one["tolerance"]["absolute"]
    assert one["name"] == other["name"] == "test_accuracy"


BEGIN = """
import importlib.util, sys
import numpy as np
spec = importlib.util.spec_from_file_location("train", sys.argv[1])
train = importlib.util.module_from_spec(spec)
spec.loader.exec_module(train)
import jax, jax.numpy as jnp, optax
from workshop.runs import data, weights
from workshop.runs.frameworks import on_jax
train.make_deterministic()
dataset = data.load("digits")
x = jnp.asarray(data.as_28x28(dataset.x_test)[:100])
y = jnp.asarray(dataset.y_test[:100].astype(np.int32))
found = {f"begin.{k}": v for k, v in on_jax.arrays(train.begin(7, 10)["params"]).items()}
params = on_jax.params_of(weights.load(sys.argv[2], "")[0])

def loss(params):
    logits = train.Net().apply(params, train.to_input(x))
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean(), logits

(_, logits), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
found |= {f"gradient.{k}": v for k, v in on_jax.arrays(gradients).items()} | {"logits": np.asarray(logits)}
np.savez(sys.argv[3], **found)
"""


@pytest.fixture(scope="module")
def computed(command, one_epoch, tmp_path_factory):
    """Initial weights, logits and gradients of a stack, computed from the weights of a PyTorch run."""
    made = {}

    def run(stack):
        if stack not in made:
            place = tmp_path_factory.mktemp("computed") / "arrays.npz"
            done = command("-c", BEGIN, SCRIPT, one_epoch / "weights.safetensors", place, interpreter=stack)
            assert done.returncode == 0, done.stderr
            made[stack] = dict(np.load(place))
        return made[stack]

    return run


def test_two_stacks_begin_with_the_same_weights(computed, old_stack):
    today, frozen = computed((sys.executable,)), computed((str(old_stack),))
    names = [name for name in today if name.startswith("begin.")]
    assert len(names) == 8
    for name in names:
        assert np.abs(today[name] - frozen[name]).max() <= INITIAL_WEIGHTS * max(np.abs(today[name]).max(), 1e-9), name
    assert np.abs(today["begin.fc1.weight"]).max() > 0.01


def test_logits_and_gradients_agree_with_pytorch(stack, computed, one_epoch):
    torch = pytest.importorskip("torch")
    module = module_of(TORCH_SCRIPT)
    net = module.Net()
    tensors, _ = weights.load(one_epoch / "weights.safetensors", "")
    net.load_state_dict({name: torch.from_numpy(array) for name, array in tensors.items()})
    dataset = data.load("digits")
    x = torch.from_numpy(data.as_28x28(dataset.x_test)[:100])
    logits = net(module.to_input(x))
    torch.nn.functional.cross_entropy(logits, torch.from_numpy(dataset.y_test[:100].astype(np.int64))).backward()
    theirs, found = logits.detach().numpy(), computed(stack)
    scale = np.abs(theirs).max(axis=1, keepdims=True)
    assert (np.abs(found["logits"] - theirs) / scale).max() <= LOGITS_RELATIVE
    for name, parameter in net.named_parameters():
        gradient = parameter.grad.numpy()
        difference = np.abs(found[f"gradient.{name}"] - gradient).max()
        assert found[f"gradient.{name}"].shape == gradient.shape
        assert difference <= GRADIENTS_RELATIVE * np.abs(gradient).max(), name


@pytest.mark.slow
def test_checks_that_need_jax_in_their_process(command, one_epoch, whole):
    """tests/runs/inside_jax.py, in a separate process, since JAX starts threads and this process starts others."""
    done = command(
        "-m",
        "pytest",
        "-q",
        "-n",
        "0",
        "-p",
        "no:cacheprovider",
        ROOT / "tests" / "runs" / "inside_jax.py",
        OF_TORCH=str(one_epoch),
        OF_JAX=str(whole((sys.executable,))),
    )
    assert done.returncode == 0 and "4 passed" in done.stdout, done.stdout


@pytest.mark.slow  # test_bad_input.py refuses one of PyTorch in the fast tier
def test_a_checkpoint_of_another_run_is_refused(command, refused, tmp_path):
    """From the other framework, from another run, truncated, or from another network."""
    for case in ("torch", "unnamed", "short"):
        (tmp_path / f"{case}.partial").mkdir()
    made = command(TORCH_SCRIPT, *arguments(tmp_path / "other", epochs=1))
    assert made.returncode == 0
    shutil.copy(tmp_path / "other" / "weights.safetensors", tmp_path / "torch.partial" / "checkpoint.safetensors")
    refused(command(SCRIPT, *arguments(tmp_path / "torch", "--resume")), "seed: 5", "missing", "rm -r")
    checkpoint = tmp_path / "unnamed.partial" / "checkpoint.safetensors"
    about = {"data": "digits", "seed": 5, "epochs": 2, "done": 1, "accuracies": [0.5], "resumed": []}
    weights.save(checkpoint, {"0000": np.zeros(3, np.float32)}, about)
    done = command(SCRIPT, *arguments(tmp_path / "unnamed", "--resume"))
    refused(done, "network:", "missing", "rm -r")  # it does not say what it belongs to
    content = checkpoint.read_bytes()
    (tmp_path / "short.partial" / "checkpoint.safetensors").write_bytes(content[: len(content) // 2])
    refused(command(SCRIPT, *arguments(tmp_path / "short", "--resume")), "truncated", "rm -r")


def test_without_a_gpu_a_request_for_one_is_refused(command, refused, tmp_path):
    place = tmp_path / "run"
    said = refused(
        command(SCRIPT, "--data", "digits", "--device", "cuda", "--output", place), "GPU, because of --device"
    )
    assert "jaxlib" in said and "--device cpu" in said
    refused(command(SCRIPT, "--data", "digits", "--output", place, WORKSHOP_DEVICE="cuda"), "WORKSHOP_DEVICE=cuda")
    done = command(SCRIPT, *arguments(place, epochs=1), WORKSHOP_DEVICE="cuda")  # --device cpu wins
    assert done.returncode == 0 and record_of(place)["device"]["type"] == "cpu"
    assert not list(tmp_path.glob("*.partial"))


def test_other_arguments_of_the_command_line(command, refused, tmp_path):
    refused(command(SCRIPT, "--device", "gpu"), "--device", "auto, cpu, cuda")
    refused(command(SCRIPT, "--data", "mnits"), "did you mean 'mnist'")
    refused(command(SCRIPT, "--output", tmp_path / "x", "--resume"), "an interrupted run with a checkpoint")
    refused(command(SCRIPT, "--no-such-option"), "--help")


@pytest.mark.slow  # tests/checking trains on a simulated GPU in the fast tier
def test_it_trains_on_a_simulated_gpu_and_records_it(command, tmp_path):
    """The GPU code on the second half of this processor: arrays are sent there, asserted and recorded."""
    patched = arguments_for([patch("simulated_gpu_jax", moved=True)])
    words = ("--data", "digits", "--epochs", 1, "--device", "cuda", "--output", tmp_path / "run")
    done = command(*patched, SCRIPT, *words)
    assert done.returncode == 0, done.stderr
    assert record_of(tmp_path / "run")["device"] == {"type": "cuda", "name": "simulated"}


@pytest.fixture
def fails_with(monkeypatch):
    """Make JAX report, in the given words, that it has no GPU."""
    import jax

    from workshop.runs.frameworks import on_jax

    def set_up(report, cuda=None, cudnn=0, driver_offers=None, smi=None, **environment):
        def devices(backend=None):
            raise RuntimeError(report)

        monkeypatch.setattr(jax, "devices", devices)
        found = types.SimpleNamespace(cuda_runtime_build_version=lambda: cuda, cudnn_build_version=lambda: cudnn)
        modules = {"jaxlib.cuda._versions": found} if cuda else {}
        monkeypatch.setattr(on_jax, "_is_installed", lambda name: bool(cuda) and name == "jaxlib.cuda")

        def import_module(name):
            if name in modules:
                return modules[name]
            raise ImportError(name)

        class Driver:
            @staticmethod
            def cuDriverGetVersion(pointer):
                pointer._obj.value = driver_offers or 0
                return 0 if driver_offers else 1

        monkeypatch.setattr(on_jax.importlib, "import_module", import_module)
        monkeypatch.setattr(ctypes, "CDLL", lambda name: Driver)
        monkeypatch.setattr(on_jax, "nvidia_smi", lambda: smi or {})
        for key in ("CUDA_VISIBLE_DEVICES", "WORKSHOP_DEVICE"):
            monkeypatch.delenv(key, raising=False)
        for key, value in environment.items():
            monkeypatch.setenv(key, value)

    return set_up


SMI = {"driver": "470.82", "gpu": "Tesla K80"}


@pytest.mark.parametrize(
    ("situation", "words"),
    [
        ({}, "is a build for the CPU"),
        ({"cuda": 11080, "cudnn": 8907}, "was built for CUDA 11.8, and no NVIDIA driver answers"),
        ({"cuda": 11080, "cudnn": 8907, "smi": SMI, "CUDA_VISIBLE_DEVICES": ""}, "CUDA_VISIBLE_DEVICES='' hides"),
        (
            {"cuda": 12090, "cudnn": 91002, "smi": SMI, "driver_offers": 11040},
            "offers CUDA 11.4: the driver is too old",
        ),
        (
            {"cuda": 11080, "cudnn": 8907, "smi": SMI, "driver_offers": 12020},
            "built for CUDA 11.8, driver 470.82 offers",
        ),
    ],
)
def test_why_there_is_no_gpu(fails_with, situation, words):
    fails_with("Unknown backend cuda", **situation)
    with pytest.raises(errors.WorkshopError) as raised:
        on_jax.choose("cuda")
    assert words in raised.value.found
    assert "on a machine with a GPU" in raised.value.next_step


def test_a_gpu_whose_memory_another_process_holds(fails_with):
    fails_with(
        "INTERNAL: CUDA_ERROR_OUT_OF_MEMORY: out of memory", cuda=11080, cudnn=8907, smi=SMI, driver_offers=12020
    )
    with pytest.raises(errors.WorkshopError) as raised:
        on_jax.choose("cuda")
    assert "XLA_PYTHON_CLIENT_PREALLOCATE=false" in raised.value.found


def test_a_gpu_that_fills_up_during_training_gives_a_message(command, refused):
    code = (
        "from workshop import errors\nimport jax\n"
        "with errors.errors_as_messages():\n    raise jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: Out of memory while trying "
        "to allocate 1234 bytes.')"
    )
    refused(command("-c", code), "RESOURCE_EXHAUSTED", "XLA_PYTHON_CLIENT_PREALLOCATE=false")


def test_versions_are_written_as_nvidia_writes_them(fails_with):
    fails_with("no", cuda=11080, cudnn=8907, driver_offers=12020)
    assert on_jax.cuda_versions() == {"cuda_of_build": "11.8", "cudnn_of_build": "8.9.7", "cuda_of_driver": "12.2"}
    fails_with("no", cuda=12090, cudnn=91002)
    assert on_jax.cuda_versions() == {"cuda_of_build": "12.9", "cudnn_of_build": "9.10.2"}


def test_the_description_of_a_gpu(fails_with):
    fails_with("no", cuda=11080, cudnn=8907, driver_offers=12020, smi=SMI)
    gpu = types.SimpleNamespace(
        platform="gpu",
        device_kind="Tesla K80",
        compute_capability="3.7",
        memory_stats=lambda: {"bytes_limit": 9 * 2**30},
    )
    assert on_jax.describe(gpu) == {
        "type": "cuda",
        "name": "Tesla K80",
        "compute_capability": "3.7",
        "driver": "470.82",
        "cuda_of_build": "11.8",
        "cudnn_of_build": "8.9.7",
        "cuda_of_driver": "12.2",
        "memory_bytes_for_xla": 9 * 2**30,
    }
    assert on_jax.version_lines(gpu)[0].endswith("built for CUDA 11.8 and cuDNN 8.9.7; the driver offers CUDA 12.2")


def test_the_message_is_the_same_for_either_framework(monkeypatch):
    monkeypatch.delenv("WORKSHOP_DEVICE", raising=False)
    for framework in ("torch 2.13.0", "JAX 0.10.2"):
        said = device.missing_gpu_error("auto", framework, "none")
        assert framework in said.expected and "WORKSHOP_DEVICE=cuda" in said.looked_at


@pytest.mark.slow
def test_the_random_numbers_that_the_page_describes(stack, command):
    """JAX 0.5 changed the default; with the flag on the page both stacks draw the same numbers."""
    code = "import jax; print(jax.random.normal(jax.random.PRNGKey(0), (3,)))"
    drawn = {
        flag: command("-c", code, interpreter=stack, JAX_THREEFRY_PARTITIONABLE=flag).stdout.strip() for flag in "01"
    }
    # The numbers that the exercise's page shows.
    assert drawn == {"0": "[ 1.8160863  -0.48262316  0.33988908]", "1": "[ 1.6226422   2.0252647  -0.43359444]"}
    page = (ROOT / "exercise-3-jax-cu118" / "README.md").read_text()
    assert all(numbers in page for numbers in drawn.values())
