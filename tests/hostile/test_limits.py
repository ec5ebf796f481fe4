"""The largest files that are accepted: each command stays within its limits of time and memory, in its own process."""

import attack
import pytest
from test_workspaces import HEAD, LOCK, URL

from pixi_workspace import lock as locks
from workshop.containers import dockerfile
from workshop.jobs import batch_files

pytestmark = pytest.mark.slow


def large_lock(count):
    """A valid lock of `count` packages, all of one environment."""
    names = [f"{URL}/p{number}-1-0.conda" for number in range(count)]
    head = "version: 7\nplatforms:\n- name: linux-64\nenvironments:\n  default:\n    channels:\n"
    head += "    - url: https://conda.anaconda.org/conda-forge/\n    packages:\n      linux-64:\n"
    listed = "".join(f"      - conda: {name}\n" for name in names)
    package = "  sha256: {0}\n  md5: {1}\n  depends:\n  - python >=3.11,<3.12.0a0\n  license: MIT\n  size: 1\n"
    records = "".join(f"- conda: {name}\n" + package.format("0" * 64, "0" * 32) for name in names)
    return f"{head}{listed}packages:\n{records}"


def test_the_largest_lock(tmp_path):
    text = large_lock(locks.MOST_ENTRIES // 10)
    assert 0.8 < sum(map(text.count, "\n,")) / locks.MOST_ENTRIES <= 1
    (tmp_path / "pixi.toml").write_text(f"{HEAD}[dependencies]\np1 = '*'\n")
    (tmp_path / "pixi.lock").write_text(text)
    for command in ("lock-check", "environments"):
        attack.answered(attack.start(command, tmp_path))


@pytest.mark.parametrize("size", [7 * 2**20, 9 * 2**20])
def test_the_largest_manifest(tmp_path, size):
    values = "".join(f"p{number} = '*'\n" for number in range(40_000))
    (tmp_path / "pixi.toml").write_text(
        f"{HEAD}[dependencies]\n{values}{('#' * 99 + chr(10)) * ((size - len(values)) // 100)}"
    )
    (tmp_path / "pixi.lock").write_text(LOCK)
    attack.answered(attack.start("lock-check", tmp_path), "out-of-date" if size < 8 * 2**20 else "8 MiB")


def test_the_largest_dockerfile(tmp_path):
    count = dockerfile.MOST_INSTRUCTIONS - 2
    each = dockerfile.MOST_TEXT // count - 40
    steps = "".join(f"ENV A{n}={'a' * 40}\nRUN pixi install {'x ' * (each - 30)}\n" for n in range(count // 2))
    (tmp_path / "pixi.toml").write_text(HEAD)
    (tmp_path / "Dockerfile").write_text(f"FROM debian:12\n{steps}")
    attack.answered(attack.start("container-check", tmp_path), "errors:")


def test_the_largest_script_in_a_dockerfile(tmp_path):
    (tmp_path / "pixi.toml").write_text(HEAD)
    for part in ("a $(b) ", "A=1 ", "${A#*/} "):
        script = part * ((dockerfile.LONGEST_INSTRUCTION - 100) // len(part))
        (tmp_path / "Dockerfile").write_text(f"FROM debian:12\nRUN {script} pixi install\n")
        attack.answered(attack.start("container-check", tmp_path))


def test_the_largest_job_file(tmp_path):
    lines = "".join(f"a{n} = {'x' * 700}\n" for n in range(batch_files.MOST_LINES - 5))
    used = "".join(f"$(a{n})" for n in range(100))
    (tmp_path / "train.sub").write_text(f"{lines}arguments = {used}\nqueue\n")
    code = (
        "import sys; from pathlib import Path; from workshop.errors import *; from workshop.jobs import batch_files\n"
    )
    code += "with errors_as_messages(): batch_files.read_submit(Path(sys.argv[1]))"
    attack.refused(attack.start(tmp_path / "train.sub", interpreter=("-c", code)))
