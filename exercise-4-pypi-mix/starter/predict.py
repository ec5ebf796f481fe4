"""Exercise 4: what a network that was trained in one environment predicts in another, and how far the two agree.

    python predict.py                              # the newest run of exercise 2 or 3
    python predict.py RUN --output results/here    # the run in folder RUN
    python predict.py RUN --compare results/there  # ... and hold its logits against those of another prediction

The aim: a result that was moved to another environment is not assumed to be the same, it is measured. The tolerance
has a name and a reason, and outside of it the exit code is 1.
"""

try:
    from workshop import errors
except ModuleNotFoundError:
    raise SystemExit(
        "looked at: this Python environment\nexpected:  the package workshop, in common/ of the tutorial\n"
        "found:     no such module\nnext:      pixi run predict, or .venv/bin/python as the README says"
    ) from None

with errors.explained():  # a module that is missing here is told in four lines
    from pathlib import Path

    import numpy as np
    import torch
    from network import EXERCISE, TRAIN, dataset_of, logits_of, make_deterministic, parent_of, trained

    from workshop import files, shell
    from workshop.runs import data, device, parent, provenance, record, weights

LOGITS = "logits.safetensors"
PACKAGES = ("torch", "torchvision", "numpy", "safetensors", "scikit-learn")

# How far logits of the same weights and images may lie apart, relative to the largest logit of the image.
# TODO(4.5): everything lies within this. Choose a number between what the rounding of float32 makes of such sums and what
# any real difference makes, and say in REASON where it comes from.
TOLERANCE = 1.0
REASON = "TODO(4.5)"


def compare(logits: np.ndarray, other: parent.Parent, said: dict) -> dict:
    """How far `logits` (n, 10) lie from those of another prediction, and whether that is inside TOLERANCE.

    said: what this run says of its data set, weights and packages. Raises WorkshopError where the other run predicted
    other images, or has no logits.
    """
    again = f"{shell.script(Path(__file__).resolve())} RUN  # in the other environment, with the same RUN"
    theirs, about = weights.load(other.output(LOGITS), again)
    if about.get("data_sha256") != said["data_sha256"]:
        raise errors.WorkshopError(
            looked_at=f"{other.folder}, to compare with",
            expected=f"logits of the images of {said['data']}",
            found=f"of {about.get('data', 'images that it does not name')}",
            next_step=again,
        )
    theirs = theirs.get("logits", np.empty(0))
    if theirs.shape != logits.shape:
        raise errors.WorkshopError(
            looked_at=other.folder / LOGITS,
            expected=f"logits of shape {logits.shape}",
            found=f"shape {theirs.shape}",
            next_step=again,
        )
    difference = np.abs(logits.astype(np.float64) - theirs)
    # Relative to the image's largest: a logit near zero has no digits of its own to agree in.
    largest = np.maximum(np.abs(theirs).max(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    relative = float((difference / largest).max())
    return {
        "with": other.about(),
        "same_weights": about.get("weights") == said["weights"],
        "images": len(logits),
        "largest_absolute": float(difference.max()),
        "largest_relative": relative,
        "labels_that_differ": int((logits.argmax(1) != theirs.argmax(1)).sum()),
        "tolerance": {"relative": TOLERANCE, "reason": REASON},
        "inside": relative <= TOLERANCE,
        "packages": provenance.versions_that_differ(said, other.said),
    }


def tell(comparison: dict) -> None:
    """The comparison in a few lines."""
    found = comparison
    print(
        f"compared with {found['with']['run']}: logits differ by {found['largest_absolute']:.1e} at most, "
        f"{found['largest_relative']:.1e} of an image's largest; labels that differ: {found['labels_that_differ']} "
        f"of {found['images']:,}"
    )
    versions = [
        f"{name} {here or 'absent'} (there {there or 'absent'})" for name, (here, there) in found["packages"].items()
    ]
    print(f"packages that differ: {', '.join(versions) or 'none of those that matter'}")
    if not found["same_weights"]:
        print("the weights are others, too: these are two trainings, and not one network in two environments")
    print(f"{'inside' if found['inside'] else 'OUTSIDE'} the tolerance of {TOLERANCE:g} ({REASON})")


def run_prediction(args, run: record.Run, source: parent.Parent) -> None:
    """Predict the test images, write logits, predictions and the run; compare, where that was asked for."""
    net = trained(source)
    dataset = dataset_of(source)
    flags = make_deterministic(args.seed)
    dev = device.choose_torch(args.device)
    images = torch.from_numpy(data.as_28x28(dataset.x_test)).to(dev)
    net.to(dev).eval()
    device.assert_on(dev, images=images, **dict(net.named_parameters()))
    described = device.describe_torch(dev)
    print(
        f"{EXERCISE}: {len(images):,} test images of {dataset.name} on {dev.type} ({described['name']}), "
        f"weights of {source.said['exercise']} ({source.folder.name})"
    )

    logits = logits_of(net, images).cpu().numpy()
    predicted = logits.argmax(1)
    accuracy, n = float((predicted == dataset.y_test).mean()), len(dataset.y_test)
    about = {
        "network": source.said["network"],
        "data": dataset.name,
        "data_sha256": dataset.sha256,
        "weights": files.sha256_of(source.folder / parent.WEIGHTS),
    }
    weights.save(run.folder / LOGITS, {"logits": logits}, about)
    rows = "".join(
        f"{i},{true},{found}\n" for i, (true, found) in enumerate(zip(dataset.y_test, predicted, strict=True))
    )
    files.write_atomic(run.folder / "predictions.csv", f"image,label,predicted\n{rows}".encode())

    tolerance = record.proportion_tolerance(accuracy, n)
    metric = next((m["value"] for m in source.said["metrics"] if m["name"] == "test_accuracy"), None)
    if metric is None or abs(metric - accuracy) > tolerance["absolute"]:
        raise errors.WorkshopError(
            looked_at=source.folder / "run.json",
            expected=f"a test accuracy of {accuracy:.4f}, which its weights reach here",
            found=f"test_accuracy {metric}",
            next_step=TRAIN,
        )
    said = {
        "seed": args.seed,
        "determinism": flags,
        "device": described,
        "network": about["network"],
        "dataset": {"name": dataset.name, "sha256": dataset.sha256, "test": n},
        "metrics": [{"name": "test_accuracy", "value": accuracy, "tolerance": tolerance}],
        "parent": source.about(),
    }
    if args.compare:
        other = parent.read(args.compare, f"{shell.script(Path(__file__).resolve())} RUN")
        said["comparison"] = compare(logits, other, about | provenance.software(PACKAGES))
        said["exit_status"] = 0 if said["comparison"]["inside"] else 1
    place = record.finish(run, PACKAGES, **said)
    print(f"test accuracy {accuracy:.2%}, as the run itself says: {metric:.2%}; written: {shell.relative(place)}")
    if args.compare:
        tell(said["comparison"])
        if not said["comparison"]["inside"]:
            raise SystemExit(1)


def main() -> None:
    parser = errors.Parser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument(
        "run", nargs="?", metavar="RUN", help="the folder of a run of exercise 2 or 3 (default: the newest)"
    )
    parser.add_argument("--compare", metavar="RUN", help="a prediction with the same weights, made elsewhere")
    parser.add_argument("--device", type=device.known_name, default="auto", metavar="NAME", help="auto, cpu or cuda")
    parser.add_argument(
        "--output", metavar="DIR", help="the folder of this run (default results/<exercise>/<time>-seed<N>)"
    )
    args = parser.parse_args()
    source = parent_of(args.run)
    args.seed = source.said["seed"]
    with record.running(EXERCISE, __file__, args) as run:
        run_prediction(args, run, source)


if __name__ == "__main__":
    with errors.explained():
        main()
