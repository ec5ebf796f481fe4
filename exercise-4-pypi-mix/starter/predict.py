"""Exercise 4: predict in one environment with a network that was trained in another, and compare the two.

    python predict.py                              # the newest run of exercise 2 or 3
    python predict.py RUN --output results/here    # the run in folder RUN
    python predict.py RUN --compare results/there  # also compare the logits with those of another prediction

Whether the result is the same in the other environment is measured, not assumed. The tolerance has a name and a reason.
If the difference is larger, the exit code is 1.
"""

import os

from workshop import runs  # first, so that Ctrl-C ends with one line during the slow imports below

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workshop.runs.records import parent, prediction

EXERCISE = "exercise-4-pypi-mix"
TRAINERS = ("exercise-2-pytorch-cu12", "exercise-3-jax-cu118")
MEAN, STD = 0.22, 0.30  # as in exercise 2: with other numbers, the network would see different images

# The largest allowed difference between logits from the same weights and images, relative to the image's largest logit.
# TODO(4.5): this accepts everything. Choose a number that is larger than the effect of float32 rounding on such sums,
# and smaller than any real difference. Explain in REASON how you derived it.
TOLERANCE = 1.0
REASON = "TODO(4.5)"


class Net(nn.Module):
    """Images (n, 1, 28, 28) to logits (n, 10): the network of exercises 2 and 3."""

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


def make_deterministic(seed: int) -> None:
    """Seed torch, forbid algorithms whose results differ from run to run, and compute in full float32."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    # A GPU would round the factors to 10 bits (TF32), and two devices would then agree to only three digits.
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def trained_network(source: parent.Parent) -> Net:
    """The network with the weights of a run."""
    network = Net()
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    tensors = source.weights(shapes)
    network.load_state_dict({name: torch.from_numpy(array) for name, array in tensors.items()})
    return network


@torch.no_grad()
def logits_of(network: nn.Module, images: Tensor) -> Tensor:
    """Logits float32 (n, 10) of images uint8 (n, 28, 28), computed a thousand images at a time."""
    return torch.cat([network(to_input(part)) for part in images.split(1000)])


def compare(logits: np.ndarray, others: np.ndarray) -> dict:
    """The differences between two predictions of the same images, both (n, 10), compared with TOLERANCE."""
    difference = np.abs(logits.astype(np.float64) - others)
    # Relative to the largest logit of the image, because a logit near zero has a large relative error.
    largest = np.maximum(np.abs(others).max(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    relative = float((difference / largest).max())
    return {
        "images": len(logits),
        "largest_absolute": float(difference.max()),
        "largest_relative": relative,
        "labels_that_differ": int((logits.argmax(1) != others.argmax(1)).sum()),
        "tolerance": {"relative": TOLERANCE, "reason": REASON},
        "inside": relative <= TOLERANCE,
    }


def predict(run: runs.Run) -> None:
    make_deterministic(run.seed)
    device = run.torch_device()
    data = run.parent.data()
    images = torch.from_numpy(data.x_test).to(device)
    network = trained_network(run.parent).to(device).eval()
    run.assert_on(device, images=images, **dict(network.named_parameters()))

    logits = logits_of(network, images).cpu().numpy()
    other = prediction.read(run.arguments.compare, run, data, logits) if run.arguments.compare else None
    comparison = compare(logits, other.logits) if other else None
    prediction.finish(run, data, logits, other, comparison)
    if comparison and not comparison["inside"]:
        raise SystemExit(1)


def add_options(parser) -> None:
    parser.add_argument("--compare", metavar="RUN", help="a prediction with the same weights from another environment")


if __name__ == "__main__":
    runs.main(
        predict, exercise=EXERCISE, script=__file__, description=__doc__, parents=TRAINERS, add_options=add_options
    )
