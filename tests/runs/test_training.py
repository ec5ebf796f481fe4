"""Exercise 2's script: the same bits for the same seed, killed runs that are resumed, two processes."""

import json
import os
import random
import signal
import time

import forked
import later
import numpy as np
import pytest
from conftest import ROOT, SOLUTION, logits_in_numpy, module_of, record_of, sha_of

from workshop.runs import data, weights

torch = later.or_skip("torch", reason="the training scripts need torch: install the extra cpu")


def arguments(place, *more, epochs=3, seed=5):
    return ("--data", "digits", "--epochs", epochs, "--seed", seed, "--device", "cpu", "--output", place, *more)


@pytest.fixture(scope="module")
def uninterrupted(command, tmp_path_factory):
    place = tmp_path_factory.mktemp("runs") / "whole"
    done = command(SOLUTION, *arguments(place))
    assert done.returncode == 0, done.stderr
    return place


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(command, one_epoch, tmp_path):
    two_threads = {"OMP_NUM_THREADS": "2"}  # one thread, whatever the variable says
    for name, seed, variables in (("again", 3, two_threads), ("other", 4, {})):
        done = command(SOLUTION, *arguments(tmp_path / name, epochs=1, seed=seed), **variables)
        assert done.returncode == 0, done.stderr
    for output in ("weights.safetensors", "learning_curve.png", "learning_curve.svg", "confusion_matrix.svg"):
        assert sha_of(one_epoch, output) == sha_of(tmp_path / "again", output)
    assert sha_of(one_epoch) != sha_of(tmp_path / "other")
    first, again = record_of(one_epoch), record_of(tmp_path / "again")
    assert first["metrics"] == again["metrics"]


def test_plain_lines_where_there_is_no_terminal(command, tmp_path):
    done = command(SOLUTION, *arguments(tmp_path / "run", epochs=2))
    assert [line.split(":")[0] for line in done.stdout.splitlines()[1:3]] == ["epoch 1/2", "epoch 2/2"]
    assert "\x1b" not in done.stdout + done.stderr and "\r" not in done.stdout + done.stderr


def test_the_network_learns(uninterrupted):
    assert record_of(uninterrupted)["metrics"][0]["value"] > 0.9


def test_the_recorded_accuracy_is_that_of_the_weights(uninterrupted):
    """Against a forward pass in NumPy, written from the layers' definitions alone."""
    tensors, _ = weights.load(uninterrupted / "weights.safetensors", "")
    dataset = data.load("digits")
    logits = logits_in_numpy(tensors, dataset.x_test)
    accuracy = (logits.argmax(1) == dataset.y_test).mean()
    # Rounding can change a label only where two logits nearly agree: none of 300 here, one would be 0.0033.
    assert accuracy == pytest.approx(record_of(uninterrupted)["metrics"][0]["value"], abs=1e-9)


def start(variables, *words):
    if os.name == "nt":
        pytest.skip("no POSIX signals")
    return forked.start(["-u", str(SOLUTION), *map(str, words)], ROOT, variables)


def test_a_killed_and_resumed_run_gives_the_same_bits(command, variables, uninterrupted, tmp_path):
    place = tmp_path / "killed"
    process = start(variables, *arguments(place))
    for line in process.stdout:
        if line.startswith("epoch 1/3"):
            break
    deadline = time.monotonic() + 60
    while not (tmp_path / "killed.partial" / "checkpoint.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not place.exists() and not list(tmp_path.rglob("run.json"))
    done = command(SOLUTION, "--output", place, "--resume", "--device", "cpu")  # the rest comes from the checkpoint
    assert done.returncode == 0, done.stderr
    assert sha_of(place) == sha_of(uninterrupted)
    assert sha_of(place, "learning_curve.png") == sha_of(uninterrupted, "learning_curve.png")
    assert record_of(place)["resumed_after_epochs"][0] in (1, 2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["killed"]


@pytest.mark.slow
def test_killed_at_random_moments_nothing_looks_finished(variables, tmp_path, command, uninterrupted):
    """Killed five times, during training, a checkpoint or the last files; then resumed."""
    place, moments, resumed = tmp_path / "run", random.Random(20261121), 0
    for _ in range(5):
        more = ("--resume",) if (tmp_path / "run.partial" / "checkpoint.safetensors").exists() else ()
        resumed += len(more)
        process = start(variables, *arguments(place, *more))
        first_line = process.stdout.readline()  # the imports are done
        assert first_line, process.communicate()[1]  # a checkpoint that a kill damaged would be refused here
        time.sleep(moments.uniform(0.0, 1.5))
        process.kill()
        process.communicate()
        if place.exists():
            break
        assert [path.name for path in tmp_path.iterdir()] in ([], ["run.partial"])
    if not place.exists():
        more = ("--resume",) if (tmp_path / "run.partial" / "checkpoint.safetensors").exists() else ()
        resumed += len(more)
        done = command(SOLUTION, *arguments(place, *more))
        assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in place.iterdir()) == sorted(path.name for path in uninterrupted.iterdir())
    assert sha_of(place) == sha_of(uninterrupted)
    assert bool(record_of(place)["resumed_after_epochs"]) == (resumed > 0)


def test_ctrl_c_is_one_line_and_130(variables, tmp_path):
    place = tmp_path / "run"
    process = start(variables, *arguments(place, epochs=200))
    for line in process.stdout:
        if line.startswith("epoch 2/"):
            break
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert stderr.splitlines()[-1] == "interrupted" and "--resume" in stderr
    assert not place.exists() and (tmp_path / "run.partial" / "checkpoint.safetensors").exists()


@pytest.mark.slow
def test_ctrl_c_before_the_first_checkpoint_leaves_nothing(variables, tmp_path):
    process = start(variables, "--data", "digits-60k", "--device", "cpu", "--output", tmp_path / "run")
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in stderr, stderr
    assert stderr.strip() == "interrupted"
    assert list(tmp_path.iterdir()) == []


DISTRIBUTED = ROOT / "exercise-5-container/solution/train_distributed.py"


TORCHRUN = ("-m", "torch.distributed.run", "--nproc-per-node", 2, "--master-port", str(20000 + os.getpid() % 20000))


@pytest.mark.parametrize("by", ["two forks", pytest.param("torchrun", marks=pytest.mark.slow)])
def test_two_processes_share_the_work(command, two_processes, uninterrupted, tmp_path, by):
    """Two processes on the CPU: the data split without overlap, gradients averaged, one of them writing."""
    place = tmp_path / "two"
    if by == "torchrun":
        done = command(*TORCHRUN, DISTRIBUTED, *arguments(place), fresh=True)
    else:
        done, other = two_processes(DISTRIBUTED, *arguments(place))
        assert other.returncode == 0 and other.stdout == "", other.stderr
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("epoch 1/3") == 1
    run = record_of(place)
    assert run["processes"] == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["two"]
    # Each step sees the images of the one-process run, half in each process, so the first losses agree but for the
    # order of sums: 1e-4 relative is some hundred roundings of float32. Later on the two paths drift apart.
    tensors, _ = weights.load(place / "weights.safetensors", "")
    assert all(np.isfinite(t).all() for t in tensors.values())
    one = record_of(uninterrupted)["metrics"][0]
    assert run["metrics"][0]["value"] == pytest.approx(one["value"], abs=one["tolerance"]["absolute"])


ONE_STEP = """
import importlib.util, os, sys
import torch, torch.distributed as dist
spec = importlib.util.spec_from_file_location("train", sys.argv[1])
train = importlib.util.module_from_spec(spec)
spec.loader.exec_module(train)
from workshop.runs import data
rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
if world > 1:
    dist.init_process_group("gloo")
train.make_deterministic(0)
network = train.Net().to(memory_format=torch.channels_last)
optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
wrapped = torch.nn.parallel.DistributedDataParallel(network) if world > 1 else network
dataset = data.load("digits").as_28x28()
images, labels = torch.from_numpy(dataset.x_train), torch.from_numpy(dataset.y_train)
seen = []
to_input = train.to_input
train.to_input = lambda images: (seen.append(len(images)), to_input(images))[1]
train.make_train_step(wrapped, optimizer, images, labels)(torch.arange(128)[rank::world])
if rank == 0:
    torch.save([seen, network.state_dict()], sys.argv[2])
"""


def test_the_gradients_of_two_processes_are_averaged(command, two_processes, tmp_path):
    """After one step their weights agree; they would not if each process kept its own gradient."""
    script = tmp_path / "one_step.py"
    script.write_text(ONE_STEP)
    for done in (command(script, SOLUTION, tmp_path / "one"), *two_processes(script, SOLUTION, tmp_path / "two")):
        assert done.returncode == 0, done.stderr
    (seen_one, one), (seen_two, two) = (torch.load(tmp_path / name, weights_only=True) for name in ("one", "two"))
    assert seen_one == [128] and seen_two == [64]
    for name in one:
        # float32 sums of 128 terms in two orders: 1e-5 is about a hundred roundings.
        torch.testing.assert_close(one[name], two[name], rtol=1e-5, atol=1e-6)


def test_a_script_for_one_process_refuses_torchrun(two_processes, refused, tmp_path):
    first, other = two_processes(SOLUTION, *arguments(tmp_path / "run"))
    refused(first, "train_distributed.py")
    assert other.returncode != 0 and not (tmp_path / "run").exists()


def test_the_schedule_rises_and_falls_to_zero():
    train = module_of(SOLUTION)
    optimizer, schedule = train.make_optimizer(train.Net(), 200)
    rates = []
    for _ in range(200):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    peak = max(range(200), key=rates.__getitem__)
    assert rates[peak] == pytest.approx(train.LR) and 45 < peak < 55
    assert rates[0] < train.LR / 20 and rates[-1] < train.LR / 1e4
    assert all(a < b for a, b in zip(rates[:peak], rates[1 : peak + 1], strict=True))
    counts = train.confusion(train.Net(), torch.zeros(20, 28, 28, dtype=torch.uint8), torch.arange(20) % 10)
    assert counts.sum() == 20 and (counts.sum(1) == 2).all()


def test_json_is_plain(one_epoch):
    text = (one_epoch / "run.json").read_text()
    assert json.loads(text) and "NaN" not in text and text.endswith("}\n")
