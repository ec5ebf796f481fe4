"""A training step recorded as a CUDA graph: the processor starts a whole step with one call.

A step of a small network is some sixty short computations. A fast GPU finishes each of them sooner than Python starts
the next one. A graph keeps them in order with their addresses in memory, and starts them all at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor, nn

WARM_UP = 3  # steps: libraries choose their algorithms and their memory before a graph is recorded


class CudaGraph:
    """A training step, recorded at its first call on a GPU and replayed at every call. On the CPU, `step` itself.

    step: takes the indices of a batch, int64 (batch size,), makes one step, and returns the loss, which stays on the
    device. It must compute the same for every batch: no random numbers, no branch that depends on a value, batches of
    one size. network, optimizer: what the step changes; a schedule may change the learning rate between two steps.
    """

    def __init__(self, step: Callable[[Tensor], Tensor], network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self._step, self._network, self._optimizer = step, network, optimizer
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, batch: Tensor) -> Tensor:
        if not batch.is_cuda:
            return self._step(batch)
        graph = self._graph = self._graph or self._record(batch)
        self._batch.copy_(batch)
        graph.replay()
        return self._loss.clone()  # the next replay overwrites the loss

    def _record(self, batch: Tensor) -> torch.cuda.CUDAGraph:
        """The graph of a step. Weights and moments stay as they are: recording computes nothing."""
        for group in self._optimizer.param_groups:
            group["capturable"] = True
            # A number would be recorded as it is now. Schedules write the next learning rate into a tensor.
            group["lr"] = torch.full((), float(group["lr"]), device=batch.device)
        self._batch = batch.clone()
        here, aside = torch.cuda.current_stream(batch.device), side_stream(batch.device)
        aside.wait_stream(here)
        with torch.cuda.stream(aside), unchanged(self._network, self._optimizer):
            for _ in range(WARM_UP):
                self._step(self._batch)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=aside):
            self._loss = self._step(self._batch)
        here.wait_stream(aside)
        return graph


@cache  # cuBLAS keeps 32 MiB for each stream that it has worked on
def side_stream(device: torch.device) -> torch.cuda.Stream:
    """The stream that records: the default one cannot."""
    return torch.cuda.Stream(device)


@contextmanager
def unchanged(network: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Undo, in place, what the steps of the block do to the weights and to the moments of AdamW.

    Moments that the optimizer makes in the block become zero, with which AdamW begins.
    """
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    moments = {
        (parameter, key): tensor.clone()
        for parameter, state in optimizer.state.items()
        for key, tensor in state.items()
    }
    yield
    for name, tensor in network.state_dict().items():
        tensor.copy_(weights[name])
    for parameter, state in optimizer.state.items():
        for key, tensor in state.items():
            if (parameter, key) in moments:
                tensor.copy_(moments[parameter, key])
            else:
                tensor.zero_()
