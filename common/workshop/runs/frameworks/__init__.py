"""The parts of a run that need PyTorch or JAX: device, state of the training, flags.

`on_torch` and `on_jax` have the same functions, with one exception: to read a checkpoint, `restore` changes PyTorch's
objects and `restored` returns a new JAX tree. Each imports its framework, and nothing else here does.
    device.py      the requested device, and the message if it is not available
    cuda_graph.py  a training step of PyTorch that a GPU repeats without waiting for Python
    processes.py   several processes, started by torchrun, that train one network
    threads.py     how many threads compute on the CPU
"""
