"""Exercise 5: train exercise 2's network in several processes, on several GPUs or on the CPU.

    torchrun --nproc-per-node 2 train_distributed.py                   # a GPU for each process, or the CPU for all
    torchrun --nproc-per-node 2 train_distributed.py --data digits --device cpu

Each step uses the same images as with one process: every process takes its share of the batch, and the gradients are
averaged. Because the additions happen in another order, the last digits of the weights differ. With the same number of
processes, the result is the same, byte for byte. Only the first process prints and writes.
"""

import sys
from pathlib import Path

from workshop import runs  # first, so that Ctrl-C ends with one line during the slow imports below

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from workshop.errors import WorkshopError

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "exercise-2-pytorch-cu12" / "solution"))
import train as one_process  # the script of exercise 2: network, optimizer, the loop over the batches

EXERCISE = "exercise-5-container"


def train(run: runs.Training) -> None:
    one_process.make_deterministic(run.seed)
    device = run.torch_device()
    data = run.load_data()
    images, labels, test_images, test_labels = (torch.from_numpy(array).to(device) for array in data.arrays)
    batch_size = one_process.DIGITS_BATCH_SIZE if run.data_name == "digits" else one_process.BATCH_SIZE
    if batch_size % run.world:
        raise WorkshopError(
            looked_at="torchrun",
            expected=f"a number of processes that divides the batch of {batch_size}",
            found=f"{run.world} processes",
            next_step=f"torchrun --nproc-per-node 2 {Path(__file__).name}",
        )
    network = one_process.Net().to(device, memory_format=torch.channels_last)
    optimizer, schedule = one_process.make_optimizer(network, run.n_epochs * (len(images) // batch_size))
    run.assert_on(device, images=images, **dict(network.named_parameters()))
    run.note(
        batch_size=batch_size,
        lr=one_process.LR,
        warm_up=one_process.WARM_UP,
        weight_decay=one_process.WEIGHT_DECAY,
        dtype=str(one_process.compute_dtype(device)),
    )

    # TODO(5.15): each process would train a network of its own. DistributedDataParallel averages the gradients of all
    # processes in every backward pass. Without torchrun there is no group of processes: dist.is_initialized() is False.
    shared = network
    train_step = one_process.make_train_step(shared, optimizer, images, labels)
    for _ in run.epochs(network, optimizer, schedule):
        losses = []
        for batch in run.batches(len(images), batch_size):
            # TODO(5.15): every process trains with all images of the batch. Give it its share: each image to one process.
            # run.rank is the number of this process, run.world the number of all processes.
            losses.append(train_step(batch))
            schedule.step()
        run.log(losses, one_process.confusion(network, test_images, test_labels))
    run.finish(network)


if __name__ == "__main__":
    runs.main(
        train, exercise=EXERCISE, script=__file__, description=__doc__, epochs=one_process.EPOCHS, distributed=True
    )
