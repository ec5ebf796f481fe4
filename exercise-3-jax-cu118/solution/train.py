"""Exercise 3: the network of exercise 2 in JAX, one script on a frozen CUDA 11.8 stack and on today's.

    python train.py                          # digits-60k, three epochs
    python train.py --data digits --seed 1   # seconds

A cycle of 175 of its steps reaches 97 % test accuracy on digits-60k in 3.1 s of training, where Flax's own MNIST recipe
takes 42 s; on jax 0.4.27 in 5.6 s instead of 57 s (medians of 5, one core of an Intel Xeon at 2.5 GHz, jax 0.10.2), as
benchmarks/jax_training.py prints it.

The aim: whatever is random comes from the seed and from a random stream that is named, so that two runs on one stack
write the same weights, runs on two stacks begin with the same weights, and either's file can be read by PyTorch.
"""

try:
    from workshop import errors
except ModuleNotFoundError:
    raise SystemExit(
        "looked at: this Python environment\nexpected:  the package workshop, in common/ of the tutorial\n"
        "found:     no such module\nnext:      pixi run train-jax, or .venv/bin/python as the README says"
    ) from None

with errors.explained():  # a module that is missing here is told in four lines
    import os
    import sys
    import time
    from functools import partial

    import flax.linen as nn
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax
    from rich.console import Console
    from rich.progress import track

    from workshop import shell
    from workshop.runs import classifier, data, device_jax, jax_state, options, record, stopping, weights

EXERCISE = "exercise-3-jax-cu118"
EPOCHS = {"digits": 12, "digits-60k": 3, "mnist": 5, "fashion-mnist": 5}
# As in exercise 2, which says why: batches, one cycle of the learning rate, the pixels' mean and deviation.
BATCH_SIZE = 128
DIGITS_BATCH_SIZE = 32
LR = 8e-3
WARM_UP = 0.25
WEIGHT_DECAY = 1e-2
MEAN, STD = 0.22, 0.30


class Net(nn.Module):
    """Images (n, 28, 28, 1) to logits (n, 10): the layers of exercise 2, under the same names."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.relu(nn.Conv(32, (8, 8), strides=4, padding=2, name="conv1")(x))  # -> 7 x 7
        x = nn.relu(nn.Conv(32, (5, 5), padding=2, name="conv2")(x))
        x = x.reshape(len(x), -1)  # height, width, channel
        return nn.Dense(10, name="fc2")(nn.relu(nn.Dense(128, name="fc1")(x)))


def make_deterministic() -> dict[str, object]:
    """Forbid GPU algorithms that vary, and name the random stream; what is now in force, as JAX reports it."""
    # XLA reads its flags once, when it is first used.
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_deterministic_ops=true".strip()
    # JAX 0.5 changed the default to the stream that 0.4 has under this flag: said here, it is the same on both.
    jax.config.update("jax_threefry_partitionable", True)
    return {
        "xla_flags": os.environ["XLA_FLAGS"],
        "threefry_partitionable": jax.config.jax_threefry_partitionable,
        "prng_impl": jax.config.jax_default_prng_impl,
        "matmul_precision": jax.config.jax_default_matmul_precision or "default",
        "precision": "float64" if jax.config.jax_enable_x64 else "float32",
    }


def to_input(images: jax.Array) -> jax.Array:
    """uint8 (n, 28, 28) to float32 (n, 28, 28, 1), standardised."""
    return (images[..., None].astype(jnp.float32) / 255 - MEAN) / STD


def one_cycle(step: jax.Array, steps: int) -> jax.Array:
    """Learning rate at `step` of `steps`: up by half a cosine, down by another, to zero at the end."""
    up = WARM_UP * steps
    phase = jnp.where(step + 1 <= up, (step + 1) / up, 1 + (step + 1 - up) / (steps - up))
    return LR * (1 - jnp.cos(jnp.pi * phase)) / 2


def make_optimizer(steps: int) -> optax.GradientTransformation:
    return optax.adamw(lambda step: one_cycle(step, steps), weight_decay=WEIGHT_DECAY)


@partial(jax.jit, static_argnums=1)  # compiled as one piece: piece by piece takes twice as long
def begin(seed: int, steps: int) -> dict:
    """What training changes: weights, the optimizer's moments, the number of steps done and the loss of each."""
    params = Net().init(jax.random.PRNGKey(seed), jnp.zeros((1, 28, 28, 1)))
    return {
        "params": params,
        "optimizer": make_optimizer(steps).init(params),
        "step": jnp.zeros((), jnp.int32),
        "losses": jnp.zeros(steps),
    }


def make_train_step(steps: int):
    """A compiled function: the state after one more step, from the state, all images, all labels, and the batches of
    an epoch, int32 (steps of the epoch, batch size). The old state is given up, so its memory is used again."""
    optimizer = make_optimizer(steps)

    def train_step(state: dict, x: jax.Array, y: jax.Array, batches: jax.Array) -> dict:
        batch = batches[state["step"] % len(batches)]  # picked here, on the device: no image travels in the loop
        images, labels = to_input(x[batch]), y[batch]

        def loss_of(params) -> jax.Array:
            logits = Net().apply(params, images)
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        loss, gradients = jax.value_and_grad(loss_of)(state["params"])
        updates, moments = optimizer.update(gradients, state["optimizer"], state["params"])
        return {
            "params": optax.apply_updates(state["params"], updates),
            "optimizer": moments,
            "step": state["step"] + 1,
            "losses": state["losses"].at[state["step"]].set(loss),
        }

    return jax.jit(train_step, donate_argnums=0)


@jax.jit
def predict(params, images: jax.Array) -> jax.Array:
    """uint8 (n, 28, 28) to classes int32 (n,)."""
    return Net().apply(params, to_input(images)).argmax(1)


def confusion(params, x: jax.Array, y: jax.Array) -> np.ndarray:
    """Counts (10, 10): row is the true class, column the predicted one."""
    predicted = np.concatenate([predict(params, x[i : i + 1000]) for i in range(0, len(x), 1000)])
    return np.bincount(np.asarray(y) * 10 + predicted, minlength=100).reshape(10, 10)


def train(args, run: record.Run, asked) -> None:
    """Train, with checkpoints at epoch ends, and write the run.

    asked: which signal has asked for an end, None before one has (`workshop.runs.stopping`).
    """
    place = run.folder / record.CHECKPOINT
    checkpoint = jax_state.load_checkpoint(place) if args.resume else None
    options.settle(args, checkpoint and checkpoint[1], EPOCHS)
    dataset = data.load(args.data)
    flags = make_deterministic()
    dev = device_jax.choose(args.device)
    x, y, x_test, y_test = jax_state.on_device(dataset, dev)
    batch_size = DIGITS_BATCH_SIZE if args.data == "digits" else BATCH_SIZE
    per_epoch = len(x) // batch_size
    steps = args.epochs * per_epoch
    state = jax.device_put(begin(args.seed, steps), dev)
    device_jax.assert_on(dev, images=x, state=state)

    chosen = {
        "epochs": args.epochs,
        "batch_size": batch_size,
        "lr": LR,
        "warm_up": WARM_UP,
        "weight_decay": WEIGHT_DECAY,
    }
    about = {
        "network": weights.network_of(jax_state.arrays(state["params"])),
        "data": dataset.name,
        "data_sha256": dataset.sha256,
        "seed": args.seed,
        "epochs": args.epochs,
        "hyperparameters": chosen,
        "script": run.origin["script"]["sha256"],
        **jax_state.what_bits_depend_on(dev),
    }
    done, accuracies, resumed = 0, [], []
    if checkpoint:
        tensors, said = checkpoint
        begin_again = f"rm -r {shell.quoted(run.folder)}  # or go on as the run was begun"
        options.must_match(place, said, about, begin_again)
        state = jax_state.restore(place, tensors, state, dev)
        done, accuracies, resumed = said["done"], said["accuracies"], [*said["resumed"], said["done"]]
    described = device_jax.describe(dev)
    where = f"{described['type']} ({described['name']})"
    print(f"{EXERCISE}: {dataset.name} on {where}, epochs: {args.epochs}, seed: {args.seed}", flush=True)
    print(device_jax.stack(dev), flush=True)

    train_step = make_train_step(steps)
    for epoch in range(done, args.epochs):
        stopping.stop_if(asked(), epoch, args.epochs)  # its last checkpoint is written
        began = time.perf_counter()
        order = data.epoch_order(args.seed, epoch, len(x))[: per_epoch * batch_size].astype(np.int32)
        batches = jax.device_put(order.reshape(per_epoch, batch_size), dev)
        console = Console(stderr=True)
        for _ in track(range(per_epoch), "training", console=console, transient=True, disable=not sys.stderr.isatty()):
            state = train_step(state, x, y, batches)
        counts = confusion(state["params"], x_test, y_test)
        accuracies.append(counts.trace().item() / len(y_test))
        loss = float(state["losses"][epoch * per_epoch : (epoch + 1) * per_epoch].mean())
        seconds = time.perf_counter() - began
        print(
            f"epoch {epoch + 1}/{args.epochs}: loss {loss:.4f}, test accuracy {accuracies[-1]:.2%}, {seconds:.1f} s",
            flush=True,
        )
        said = {**about, "done": epoch + 1, "accuracies": accuracies, "resumed": resumed}
        jax_state.save_checkpoint(place, state, said)
    if done == args.epochs:  # killed after the last checkpoint, before the run was filed
        counts = confusion(state["params"], x_test, y_test)
    place = classifier.report(
        run,
        dataset,
        jax_state.arrays(state["params"]),
        np.asarray(state["losses"]),
        accuracies,
        counts,
        args.seed,
        packages=("jax", "jaxlib", "flax", "optax", "numpy", "safetensors", "matplotlib", "scikit-learn"),
        determinism=flags,
        device=described,
        network=about["network"],
        resumed_after_epochs=resumed,
        hyperparameters=chosen,
    )
    print(f"test accuracy {accuracies[-1]:.2%}; the run is in {place}")


def main() -> None:
    args = options.training(__doc__).parse_args()
    with stopping.listening() as asked, record.running(EXERCISE, __file__, args) as run:
        train(args, run, asked)


if __name__ == "__main__":
    with errors.explained():
        main()
