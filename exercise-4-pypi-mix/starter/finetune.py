"""Exercise 4: continue from weights that another environment trained, for one epoch on images turned by 90 degrees.

    python finetune.py                            # the newest run of exercise 2 or 3
    python finetune.py RUN --seed 1 --device cpu

The network recognizes upright digits; after one epoch it recognizes turned ones. The run names its parent, so you can
trace the last weights back to the first seed.
"""

from workshop import runs  # first, so that Ctrl-C ends with one line during the slow imports below

import torch
import torch.nn.functional as F
from predict import EXERCISE, TRAINERS, logits_of, make_deterministic, to_input, trained_network
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from workshop.runs.data import TURNED

BATCH_SIZE = 128
DIGITS_BATCH_SIZE = 16  # with batches of 128, one epoch of the 1,497 images would have few steps
LR = 4e-3  # half of exercise 2's, so that the network keeps most of what it has learned
WEIGHT_DECAY = 1e-2


def confusion(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Counts (10, 10): row is the true class, column the predicted one."""
    return torch.bincount(labels * 10 + logits_of(network, images).argmax(1), minlength=100).view(10, 10)


def finetune(run: runs.Training) -> None:
    make_deterministic(run.seed)
    device = run.torch_device()
    data = run.parent.data()
    if not data.name.endswith(TURNED):  # the data of a run that was continued here are turned already
        data = data.turned()
    run.dataset = data
    images, labels, test_images, test_labels = (torch.from_numpy(array).to(device) for array in data.arrays)
    network = trained_network(run.parent).to(device)
    run.assert_on(device, images=images, **dict(network.named_parameters()))
    batch_size = DIGITS_BATCH_SIZE if data.name == "digits" + TURNED else BATCH_SIZE
    optimizer = torch.optim.AdamW(network.parameters(), lr=LR, weight_decay=WEIGHT_DECAY)
    schedule = CosineAnnealingLR(optimizer, len(images) // batch_size)  # half a cosine, down to zero
    run.note(batch_size=batch_size, lr=LR, weight_decay=WEIGHT_DECAY)

    before = confusion(network, test_images, test_labels)
    for _ in run.epochs(network, optimizer, schedule):
        losses = []
        for batch in run.batches(len(images), batch_size):
            loss = F.cross_entropy(network(to_input(images[batch])), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.detach())
        run.log(losses, confusion(network, test_images, test_labels))
    run.finish(network, accuracy_before=(before.trace() / before.sum()).item())


if __name__ == "__main__":
    runs.main(finetune, exercise=EXERCISE, script=__file__, description=__doc__, parents=TRAINERS, epochs=1)
