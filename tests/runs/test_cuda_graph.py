"""A training step as a CUDA graph, without a GPU: what it records is replayed on the CPU, operation by operation."""

import json
from contextlib import nullcontext

import later
import pytest

torch = later.or_skip("torch", reason="the graphs are PyTorch's: install the extra cpu")
cuda_tape = later.Later("cuda_tape")
cuda_graph, on_torch = (later.Later(f"workshop.runs.frameworks.{name}") for name in ("cuda_graph", "on_torch"))


class Stream:
    def __init__(self, *_):
        pass

    def wait_stream(self, other):
        assert isinstance(other, Stream)


@pytest.fixture
def recording(monkeypatch):
    """Let CudaGraph record and replay on the CPU. Returns the tapes."""
    tapes = []

    def new_tape():
        tapes.append(cuda_tape.Tape())
        return tapes[-1]

    monkeypatch.setattr(torch.cuda, "CUDAGraph", new_tape)
    monkeypatch.setattr(torch.cuda, "graph", lambda tape, stream: tape)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr("workshop.runs.frameworks.cuda_graph.side_stream", Stream)
    monkeypatch.setattr(torch.Tensor, "is_cuda", True)
    return tapes


def new_training(seed=0):
    """Network, optimizer, schedule, and a function that makes a step, as in exercise 2."""
    torch.manual_seed(seed)
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.Flatten(), torch.nn.Linear(72, 3))
    network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=12, cycle_momentum=False)
    images = torch.rand(32, 1, 8, 8, generator=torch.Generator().manual_seed(7))
    labels = torch.arange(32) % 3

    def step(batch):
        loss = torch.nn.functional.cross_entropy(network(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return network, optimizer, schedule, step


def tensors_of(network, optimizer):
    moments = [tensor for state in optimizer.state.values() for tensor in state.values()]
    return [*network.state_dict().values(), *moments]


def train(step, schedule, steps, first=0):
    losses = []
    for number in range(first, first + steps):
        losses.append(step(torch.arange(number, number + 16)))
        schedule.step()
    return losses


def with_graph(network, optimizer, step, monkeypatch):
    def recorded(batch):
        monkeypatch.setattr(cuda_tape.Tape, "state", tensors_of(network, optimizer))
        return step(batch)

    return cuda_graph.CudaGraph(recorded, network, optimizer)


def equal(a, b):
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_on_the_cpu_it_is_the_step_itself():
    network, optimizer, _, step = new_training()
    batch = torch.arange(16)
    given = []
    graph = cuda_graph.CudaGraph(lambda indices: given.append(indices) or step(indices), network, optimizer)
    graph(batch)
    assert given[0] is batch and len(given) == 1
    assert isinstance(optimizer.param_groups[0]["lr"], float) and not optimizer.param_groups[0]["capturable"]


@pytest.mark.parametrize("steps_before", [0, 2])
def test_a_block_leaves_weights_and_moments_as_they_were(steps_before):
    network, optimizer, schedule, step = new_training()
    train(step, schedule, steps_before)
    before = [tensor.clone() for tensor in tensors_of(network, optimizer)]
    places = [tensor.data_ptr() for tensor in tensors_of(network, optimizer)]
    with cuda_graph.unchanged(network, optimizer):
        train(step, schedule, 2)
        assert not equal(tensors_of(network, optimizer)[: len(before)], before)
    after = tensors_of(network, optimizer)
    if steps_before:
        assert equal(after, before) and [tensor.data_ptr() for tensor in after] == places
    else:
        weights = len(network.state_dict())
        assert equal(after[:weights], before) and all((tensor == 0).all() for tensor in after[weights:])


def test_replays_make_the_steps_of_the_optimizer_and_the_schedule(recording, monkeypatch):
    network, optimizer, schedule, step = new_training()
    optimizer.param_groups[0]["lr"] = torch.tensor(optimizer.param_groups[0]["lr"])  # rounded to float32, as in a graph
    losses = train(step, schedule, 10)

    graphed, graphed_optimizer, graphed_schedule, graphed_step = new_training()
    graph = with_graph(graphed, graphed_optimizer, graphed_step, monkeypatch)
    assert equal(train(graph, graphed_schedule, 10), losses)
    assert len(recording) == 1  # recorded once, replayed ten times
    assert equal(tensors_of(graphed, graphed_optimizer), tensors_of(network, optimizer))


def test_a_training_that_is_resumed_ends_in_the_same_bits(recording, monkeypatch):
    network, optimizer, schedule, step = new_training()
    graph = with_graph(network, optimizer, step, monkeypatch)
    train(graph, schedule, 5)
    arrays, table = on_torch.saved(network, optimizer, schedule)
    arrays = {name: array.copy() for name, array in arrays.items()}
    train(graph, schedule, 5, first=5)

    resumed, resumed_optimizer, resumed_schedule, resumed_step = new_training(seed=1)
    table = json.loads(json.dumps(table))  # as a checkpoint keeps it
    on_torch.restore(arrays, table, resumed, resumed_optimizer, resumed_schedule)
    train(with_graph(resumed, resumed_optimizer, resumed_step, monkeypatch), resumed_schedule, 5, first=5)
    assert equal(tensors_of(resumed, resumed_optimizer), tensors_of(network, optimizer))
