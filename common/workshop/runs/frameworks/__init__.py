"""What a run needs of PyTorch or JAX: its device, its state, the flags that are in force.

`on_torch` and `on_jax` have the same functions, but for the way back from a checkpoint: `restore` changes PyTorch's
objects, `restored` returns a new tree. Each imports its framework, and nothing else here does.
    device.py      which device was asked for, and the message where it cannot be had
    processes.py   several processes that train one network, started by torchrun
"""
