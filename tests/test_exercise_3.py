"""Exercise 3 as a room: what learners do wrong is caught by its check, what they do otherwise passes."""

import shutil

import pytest
from conftest import ROOT, answers, first_failure, module_of

from workshop import checks, lock_slice
from workshop import manifest as manifests

FOLDER = ROOT / "exercise-3-jax-cu118"
SHARED = ROOT.parent / "shared"
EXERCISE = next(exercise for exercise in checks.exercises(ROOT) if exercise.number == 3)


def test_the_starter_is_exercise_2_with_jax_beside_it():
    """The environments of exercise 2 are locked in it, and in the solution, package for package."""
    module = module_of(FOLDER / "checks.py")
    before = checks.Workspace(ROOT / "exercise-2-pytorch-cu12" / "solution")
    for side in ("starter", "solution"):
        now = checks.Workspace(FOLDER / side)
        for name in ("default", "cpu", "cuda12"):
            was = module.locked_records(before.lock, before.manifest.platforms, name)
            found = module.locked_records(now.lock, now.manifest.platforms, name)
            assert was and all(found[platform] == was[platform] for platform in was), (side, name)


def test_the_shipped_starter_fails_in_its_script_too(tmp_path, trains):
    """Its manifest: tests/test_exercises.py. Its keys and its step are the mistakes `no seed` and `not compiled`."""
    workspace = checks.Workspace(FOLDER / "starter", tmp_path / "scratch")
    answer = next(check.judge(workspace) for check in EXERCISE.checks if check.number == "3.5")
    assert answer.status == "fail" and answer.found == "it trained on the CPU and said nothing"
    starter = (FOLDER / "starter" / "train.py").read_text()
    for wrong in ("PRNGKey(time.time_ns() % 2**31)", "    return train_step\n"):
        assert wrong in starter


@pytest.fixture
def trains(variables, monkeypatch):
    """For checks that run the script: the data sets of the session."""
    pytest.importorskip("jax", reason="these checks train")
    monkeypatch.setenv("WORKSHOP_CACHE", variables["WORKSHOP_CACHE"])


FROZEN = 'jaxlib = { version = "0.4.*", build = "cuda118*" }'
ASSERTION = "    device_jax.assert_on(dev, images=x, state=state)\n"

# What learners do, and the check that has to notice it first.
MISTAKES = {
    "no platform": (
        "3.1",
        [
            ("pixi.toml", '  { name = "linux-64-cuda118", platform = "linux-64", cuda = "11.8" },\n', ""),
            ("pixi.toml", 'platforms = ["linux-64-cuda118"]', 'platforms = ["linux-64-cuda12"]'),
        ],
    ),
    "a platform for CUDA 12": ("3.1", [("pixi.toml", 'cuda = "11.8"', 'cuda = "12.1"')]),
    "no build string": ("3.2", [("pixi.toml", FROZEN, 'jaxlib = "0.4.*"')]),
    "a build for the CPU": ("3.2", [("pixi.toml", FROZEN, FROZEN.replace("cuda118*", "cpu*"))]),
    "a build for CUDA 12": ("3.2", [("pixi.toml", FROZEN, FROZEN.replace("cuda118*", "cuda12*"))]),
    "no jaxlib": ("3.2", [("pixi.toml", FROZEN + "\n", "")]),
    "no flax": ("3.2", [("pixi.toml", 'flax = ">=0.9,<0.10"\n', "")]),
    "no environment": ("3.3", [("pixi.toml", 'cuda118-jax = ["cuda118"]\n', "")]),
    "Python pinned for all": ("3.3", [("pixi.toml", 'python = ">=3.11,<3.14"', 'python = "3.12.*"')]),
    "on the plain platform": (
        "3.3",
        [("pixi.toml", 'platforms = ["linux-64-cuda118"]', 'platforms = ["linux-64"]')],
    ),
    "not locked": ("3.4", [("pixi.toml", 'optax = "0.2.*"', 'optax = "0.2.*"\npolars = "*"')]),
    "the lock of the starter": ("3.4", "starter"),
    "another package for the environments that were there": ("3.4", "changed"),
    "an environment that is gone": (
        "3.4",
        [
            ("pixi.toml", 'cpu = ["cpu"]\n', ""),
        ],
    ),
    "what JAX likes best": ("3.5", [("train.py", "device_jax.choose(args.device)", "jax.devices()[0]")]),
    "nothing insists": ("3.5", [("train.py", ASSERTION, "")]),
    "the CPU, whatever was asked for": (
        "3.5",
        [("train.py", "device_jax.choose(args.device)", 'jax.devices("cpu")[0]')],
    ),
    "a module that is misspelt": ("3.5", [("train.py", "    import optax\n", "    import optaxx as optax\n")]),
    "no seed": ("3.6", [("train.py", "PRNGKey(seed)", "PRNGKey(time.time_ns() % 2**31)")]),
    "a constant for the seed": (
        "3.6",
        [
            ("train.py", "PRNGKey(seed)", "PRNGKey(0)"),
            ("train.py", "data.epoch_order(args.seed,", "data.epoch_order(0,"),
        ],
    ),
    "not compiled": ("3.7", [("train.py", "jax.jit(train_step, donate_argnums=0)", "train_step")]),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_caught_by_their_check_and_by_no_earlier_one(learner, tmp_path, name, trains):
    number, changes = MISTAKES[name]
    if changes == "starter":
        shutil.copy(FOLDER / "starter" / "pixi.lock", learner.folder / "pixi.lock")
    elif changes == "changed":
        change_a_locked_package(learner.folder)
    else:
        for change in changes:
            learner(*change)
    if name == "an environment that is gone":  # in the exercise's own folder it was there
        (learner.folder.parent / "exercise.toml").write_text("")
        learner("pixi.toml", "[tasks.train]", 'cpu2 = ["cpu"]\n\n[tasks.train]')
        learner("pixi.lock", "\n  cpu:\n", "\n  cpu2:\n")
    assert first_failure(EXERCISE, learner.folder, tmp_path) == number


def change_a_locked_package(folder):
    """Another build of libzlib in one environment of exercise 2: the lock still satisfies the manifest."""
    whole = manifests.load(ROOT / "pixi.toml")
    text = lock_slice.cut(whole, manifests.load(folder / "pixi.toml")).decode()
    head, _, packages = text.partition("\npackages:\n")
    start = head.index("\n  cuda12:\n")
    line = next(line for line in head[start:].splitlines() if "/rich-" in line)
    other = line.replace("/rich-", "/rich-x")
    head = head[:start] + head[start:].replace(line, other, 1)
    url = line.split("conda: ")[1]
    block = next(b for b in packages.split("\n- ") if b.removeprefix("- ").startswith(f"conda: {url}"))
    block = block.removeprefix("- ")
    digest = next(part.split()[1] for part in block.splitlines() if part.strip().startswith("sha256:"))
    again = block.replace(url, url.replace("/rich-", "/rich-x")).replace(digest, "0" * 64)
    (folder / "pixi.lock").write_text(f"{head}\npackages:\n{packages.rstrip()}\n- {again.rstrip()}\n")


ALTERNATIVES = {
    "other names": [
        ("pixi.toml", 'cuda118-jax = ["cuda118"]', 'frozen = ["cuda118"]'),
        ("pixi.lock", "\n  cuda118-jax:\n", "\n  frozen:\n"),
        ("pixi.toml", "linux-64-cuda118", "old-node"),
    ],
    "without cuda-version, which the build implies": [("pixi.toml", 'cuda-version = "11.8.*"\n', "")],
    "any CUDA build of that jaxlib": [("pixi.toml", FROZEN, FROZEN.replace("cuda118*", "*cuda*"))],
    "an exact build": [("pixi.toml", FROZEN, 'jaxlib = { version = "==0.4.23", build = "cuda118py311h63154d8_200" }')],
    "python without a pin in the default": [("pixi.toml", 'python = ">=3.11,<3.14"  # each feature pins its own\n', 'python = "*"\n')],
    "tables instead of inline tables": [
        ("pixi.toml", FROZEN + "\n", ""),
        ("pixi.toml", "[feature.cuda118.activation.env]",
         '[feature.cuda118.dependencies.jaxlib]\nversion = "0.4.*"\nbuild = "cuda118*"\n\n[feature.cuda118.activation.env]'),
    ],
    "the environment as a table": [("pixi.toml", 'cuda118-jax = ["cuda118"]', 'cuda118-jax = { features = ["cuda118"] }')],
    "a target instead of the feature's own platforms": [
        ("pixi.toml", "[feature.cuda118.dependencies]\n", "[feature.cuda118.target.linux-64-cuda118.dependencies]\n"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", ALTERNATIVES)
def test_other_correct_manifests_pass(learner, tmp_path, name):
    for change in ALTERNATIVES[name]:
        learner(*change)
    (learner.folder / "train.py").unlink()  # the manifest and the lock are the matter here
    found = answers(EXERCISE, learner.folder, tmp_path)
    assert [found[f"3.{k}"].status for k in range(1, 8)] == ["ok"] * 4 + ["skip"] * 3, found


def test_another_correct_script_passes(learner, tmp_path, trains):
    """The learner's own assertion, a step compiled under another name, and a key that is split."""
    learner(
        "train.py", ASSERTION,
        "    arrays = [x, *jax.tree_util.tree_leaves(state)]\n"
        "    if any(a.devices() != {dev} for a in arrays):\n        sys.exit('some array is elsewhere')\n",
    )  # fmt: skip
    learner("train.py", "jax.random.PRNGKey(seed)", "jax.random.split(jax.random.PRNGKey(seed))[0]")
    learner("train.py", "jax.jit(train_step, donate_argnums=0)", "jax.jit(train_step)")
    found = answers(EXERCISE, learner.folder, tmp_path)
    assert {answer.status for answer in found.values()} == {"ok"}, found


def test_a_workspace_from_elsewhere_is_not_compared_with_ours(tmp_path, learner):
    learner("pixi.toml", 'cuda12 = ["cuda12"]', 'gpu = ["cuda12"]')
    learner("pixi.lock", "\n  cuda12:\n", "\n  gpu:\n")
    (learner.folder / "train.py").unlink()
    found = answers(EXERCISE, learner.folder, tmp_path)
    assert found["3.4"].status == "ok" and "not compared" in found["3.4"].found


@pytest.mark.skipif(not (SHARED / "written-by-pixi").exists(), reason="../shared is not here")
def test_what_pixis_own_commands_write(tmp_path):
    """The platform passes. The feature is empty there: Pixi cannot solve it beside the Python of exercise 2."""
    found = answers(EXERCISE, SHARED / "written-by-pixi" / "ex3", tmp_path)
    assert found["3.1"].status == "ok"
    assert found["3.2"].status == "fail" and found["3.2"].found == "none"


def test_in_an_environment_without_jax_the_script_is_not_judged(learner, tmp_path, without):
    without("jax")
    found = answers(EXERCISE, learner.folder, tmp_path)
    assert [found[f"3.{k}"].status for k in range(4, 8)] == ["ok", "skip", "skip", "skip"], found
