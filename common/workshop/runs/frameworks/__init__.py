"""What a run asks of PyTorch or JAX: its device, its state in and out, the flags that are in force.

`on_torch` and `on_jax` have the same functions; each imports its framework, and nothing else here does.
    device.py      which device was asked for, and the message where it cannot be had
    processes.py   several processes that train one network, started by torchrun
"""
