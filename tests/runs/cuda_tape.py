"""A stand-in for a CUDA graph, which needs no GPU."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Tape(TorchDispatchMode):
    """Stands for `torch.cuda.CUDAGraph`: keeps each operation with its tensors, and does them again on `replay`.

    state: the tensors that an operation may change. A GPU computes nothing while it records; this one puts them back.
    """

    state: list[torch.Tensor] = []

    def __init__(self):
        super().__init__()
        self.operations = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        self.operations.append((function, args, kwargs or {}, result))
        return result

    def __enter__(self):
        self.before = [tensor.clone() for tensor in self.state]
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        for tensor, before in zip(self.state, self.before, strict=True):
            tensor.copy_(before)

    @torch.no_grad()
    def replay(self):
        """Each result goes where the recorded one was: the addresses of a graph do not change."""
        for function, args, kwargs, recorded in self.operations:
            results = tree_leaves(function(*args, **kwargs))
            for old, new in zip(tree_leaves(recorded), results, strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.data.copy_(new)
