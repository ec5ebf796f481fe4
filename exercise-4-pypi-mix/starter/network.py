"""The network of exercises 2 and 3 in PyTorch, and the data sets of this exercise."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workshop.errors import WorkshopError
from workshop.runs import data, parent, record

EXERCISE = "exercise-4-pypi-mix"
MEAN, STD = 0.22, 0.30  # as in exercise 2: other numbers would feed the weights other images
ROTATED = " turned by 90 degrees"
TRAIN = "pixi run train-torch -- --data digits"


class Net(nn.Module):
    """Images (n, 1, 28, 28) to logits (n, 10); exercise 2 says why it looks so."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, kernel_size=8, stride=4, padding=2)
        self.conv2 = nn.Conv2d(32, 32, kernel_size=5, padding=2)
        self.fc1 = nn.Linear(7 * 7 * 32, 128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv1(x))
        x = F.relu(self.conv2(x))
        x = x.permute(0, 2, 3, 1).flatten(1)
        return self.fc2(F.relu(self.fc1(x)))


def to_input(images: Tensor) -> Tensor:
    """uint8 (n, 28, 28) to float32 (n, 1, 28, 28), standardised."""
    return images.unsqueeze(1).float().div_(255).sub_(MEAN).div_(STD)


@torch.no_grad()
def logits_of(net: nn.Module, images: Tensor) -> Tensor:
    """float32 (n, 10) of uint8 images (n, 28, 28), a thousand at a time."""
    return torch.cat([net(to_input(part)) for part in images.split(1000)])


def make_deterministic(seed: int) -> dict[str, object]:
    """Seed torch, forbid algorithms that vary, and compute in full float32; what is now in force."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    # A GPU would round the factors to 10 bits (TF32), and two devices could then agree to three digits only.
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    return {
        "torch_initial_seed": torch.initial_seed(),
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "tf32": torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32,
        "threads": torch.get_num_threads(),
        "precision": "float32",
    }


def parent_of(place: str | None) -> parent.Parent:
    """The run to go on from: the one that was named, else the newest of exercises 2 and 3 in results/."""
    trainers = ("exercise-2-pytorch-cu12", "exercise-3-jax-cu118")
    results = record.results(Path(__file__).resolve(), EXERCISE).parent
    return parent.read(place or parent.newest(results, trainers, TRAIN), TRAIN)


def trained(run: parent.Parent) -> Net:
    """The network with the weights of a run. Raises WorkshopError for weights that are not this network's."""
    tensors, net = parent.weights_of(run, TRAIN), Net()
    wanted = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    parent.same_shapes(run.folder / parent.WEIGHTS, tensors, wanted, TRAIN)
    net.load_state_dict({name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in tensors.items()})
    return net


def dataset_of(run: parent.Parent) -> data.Dataset:
    """The data set that a run was trained on, the same bytes. Raises WorkshopError where it is another here."""
    said = run.said["dataset"]
    name = said["name"].removesuffix(ROTATED)
    found = data.load(name)
    if said["name"].endswith(ROTATED):
        found = rotated(found)
    if found.sha256 != said["sha256"]:
        raise WorkshopError(
            looked_at=f"the data set {said['name']}",
            expected=f"sha256 {said['sha256']}, as in {Path(run.folder).name}",
            found=f"sha256 {found.sha256}: not the data of that run",
            next_step=TRAIN,
        )
    return found


def rotated(dataset: data.Dataset) -> data.Dataset:
    """The same images, 28x28 and turned to the left by a quarter: a task that the weights do not know yet."""
    turned = [np.ascontiguousarray(np.rot90(data.as_28x28(x), axes=(1, 2))) for x in (dataset.x_train, dataset.x_test)]
    arrays = (turned[0], dataset.y_train, turned[1], dataset.y_test)
    return dataclasses.replace(
        dataset, name=dataset.name + ROTATED, x_train=turned[0], x_test=turned[1], sha256=data.content_sha256(arrays)
    )
