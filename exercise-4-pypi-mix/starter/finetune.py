"""Exercise 4: go on from weights that another environment trained, for one epoch on images turned by 90 degrees.

    python finetune.py                            # the newest run of exercise 2 or 3
    python finetune.py RUN --seed 1 --device cpu

The network knows digits that stand; after an epoch it knows those that lie. The run names its parent, so that the chain
from the last weights back to the first seed can be walked.
"""

try:
    from workshop import errors
except ModuleNotFoundError:
    raise SystemExit(
        "looked at: this Python environment\nexpected:  the package workshop, in common/ of the tutorial\n"
        "found:     no such module\nnext:      pixi run train-mixed, or .venv/bin/python as the README says"
    ) from None

with errors.explained():  # a module that is missing here is told in four lines
    import math
    import sys

    import torch
    import torch.nn.functional as F
    from network import (
        EXERCISE,
        ROTATED,
        dataset_of,
        logits_of,
        make_deterministic,
        parent_of,
        rotated,
        to_input,
        trained,
    )
    from rich.console import Console
    from rich.progress import track

    from workshop.runs import classifier, data, device, options, parent, record, torch_state, weights

BATCH_SIZE = 128
DIGITS_BATCH_SIZE = 16  # one epoch of 1,497 images would be few steps of 128
LR = 4e-3  # half of exercise 2's: what was learned shall be bent, not forgotten
WEIGHT_DECAY = 1e-2


def confusion(net: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Counts (10, 10): row is the true class, column the predicted one."""
    return torch.bincount(y * 10 + logits_of(net, x).argmax(1), minlength=100).view(10, 10)


def finetune(args, run: record.Run, source: parent.Parent) -> None:
    """One epoch on the turned images, and the run."""
    net = trained(source)
    known = dataset_of(source)
    dataset = known if known.name.endswith(ROTATED) else rotated(known)
    flags = make_deterministic(args.seed)
    dev = device.choose_torch(args.device)
    x, y, x_test, y_test = torch_state.on_device(dataset, dev)
    net.to(dev)
    device.assert_on(dev, images=x, **dict(net.named_parameters()))
    described = device.describe_torch(dev)
    print(
        f"{EXERCISE}: {dataset.name} on {dev.type} ({described['name']}), from the weights of "
        f"{source.said['exercise']} ({source.folder.name})",
        flush=True,
    )
    before = confusion(net, x_test, y_test).trace().item() / len(y_test)

    optimizer = torch.optim.AdamW(net.parameters(), lr=LR, weight_decay=WEIGHT_DECAY)
    batch_size = DIGITS_BATCH_SIZE if dataset.name == "digits" + ROTATED else BATCH_SIZE
    steps = len(x) // batch_size
    order = torch.from_numpy(data.epoch_order(args.seed, 0, len(x))[: steps * batch_size]).to(dev)
    losses = []
    console, quiet = Console(stderr=True), not sys.stderr.isatty()
    for step, batch in enumerate(
        track(order.split(batch_size), "training", console=console, transient=True, disable=quiet)
    ):
        for group in optimizer.param_groups:
            group["lr"] = LR * (1 + math.cos(math.pi * step / steps)) / 2  # down to zero by half a cosine
        loss = F.cross_entropy(net(to_input(x[batch])), y[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    counts = confusion(net, x_test, y_test)
    accuracy = counts.trace().item() / len(y_test)
    tensors = torch_state.arrays(net)
    place = classifier.report(
        run,
        dataset,
        tensors,
        torch.stack(losses).cpu().numpy(),
        [accuracy],
        counts.cpu().numpy(),
        args.seed,
        packages=("torch", "torchvision", "numpy", "safetensors", "matplotlib", "scikit-learn"),
        accuracy_before=before,
        determinism=flags,
        device=described,
        network=weights.network_of(tensors),
        parent=source.about(),
        hyperparameters={"epochs": 1, "batch_size": batch_size, "lr": LR, "weight_decay": WEIGHT_DECAY},
    )
    print(f"test accuracy on turned images {before:.2%} before, {accuracy:.2%} after; the run is in {place}")


def main() -> None:
    parser = errors.Parser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument(
        "run", nargs="?", metavar="RUN", help="the folder of a run of exercise 2 or 3 (default: the newest)"
    )
    parser.add_argument(
        "--seed", type=options.whole_number("--seed", 0), default=0, metavar="N", help="of the order (default 0)"
    )
    parser.add_argument("--device", type=device.known_name, default="auto", metavar="NAME", help="auto, cpu or cuda")
    parser.add_argument(
        "--output", metavar="DIR", help="the folder of this run (default results/<exercise>/<time>-seed<N>)"
    )
    args = parser.parse_args()
    source = parent_of(args.run)
    with record.running(EXERCISE, __file__, args) as run:
        finetune(args, run, source)


if __name__ == "__main__":
    with errors.explained():
        main()
