"""Makes a build for the CPU behave like one for CUDA on a machine without a driver: a patch, as in checking/patches.

PyPI's PyTorch for Linux is such a build, and so is JAX with its CUDA plugin. The stand-ins raise what those raise
there.
"""

import importlib.util
import sys

NO_DRIVER = (
    "Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU and installed a driver from "
    "http://www.nvidia.com/Download/index.aspx"
)


def torch_for_cuda() -> None:
    """Every initialization of CUDA fails in `torch._C._cuda_init`; only looking for a GPU does not."""
    import torch

    def no_driver(*_):
        raise RuntimeError(NO_DRIVER)

    def needs_cuda(*_):
        torch.cuda._lazy_init()

    torch.version.cuda = torch.version.cuda or "13.0"
    torch.cuda._cudart = torch.cuda._cudart or object()
    torch._C._cuda_init = no_driver
    torch._C._cuda_getDeviceCount = lambda: 0
    torch._C._accelerator_getAccelerator = lambda: torch.device("cuda")
    torch._C._accelerator_getStream = torch._C._accelerator_getDeviceIndex = needs_cuda


def jax_for_cuda() -> None:
    """The plugin fails as soon as JAX looks for any device, and JAX logs why."""
    from jax._src import xla_bridge

    def discover():
        try:
            raise RuntimeError(
                "jaxlib/cuda/versions_helpers.cc:135: operation cuInit(0) failed: Unknown CUDA error 303"
            )
        except RuntimeError:
            plugin = "jax_plugins.xla_cuda13"
            xla_bridge.logger.exception(
                "Jax plugin configuration error: Exception when calling %s.initialize()", plugin
            )

    xla_bridge.discover_pjrt_plugins = discover


def install() -> None:
    """Make each installed framework fail as its CUDA build does."""
    for framework, stand_in in {"torch": torch_for_cuda, "jax": jax_for_cuda}.items():
        if framework in sys.modules or importlib.util.find_spec(framework):
            stand_in()
