"""`workshop container-test`: check a built image: its user, its content, its health check, and a training run."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from workshop.containers import dockerfile, images
from workshop.containers.engine import (
    IMAGE_NAME,
    RESULTS,
    SCRIPT,
    Engine,
    dockerfile_path,
    engine_with_image,
    gpu_flags,
    labels_of,
    last_line,
    results_folder,
    run_command,
)
from workshop.errors import WorkshopError
from workshop.support.files import sha256_of
from workshop.support.timeouts import failure_reason


@dataclass(frozen=True)
class Container:
    """An image and the options to run it. results: the folder on this machine that is mounted at RESULTS."""

    engine: Engine
    tag: str
    flags: list[str]
    results: Path

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command in a new container."""
        return self.engine.call(*run_command(self.engine, self.tag, self.results, self.flags, list(words))[1:])

    def problem_with(self, *words: str, expected: Callable[[str], bool]) -> str | None:
        """Why a command fails, or its output if that is not as expected; None if it is."""
        process = self.run(*words)
        output = process.stdout.strip()
        if process.returncode:
            return last_line(process.stderr)
        return None if expected(output) else output[:200]


def main(environment: str, tag: str | None, engine_name: str | None, file: str | None) -> int:
    """Print the checks of an image; return exit code 1 if one fails, else 0. Raises WorkshopError as `image_checks`."""
    rows = image_checks(environment, tag, engine_name, file)
    for name, problem in rows:
        print(f"{'ok  ' if problem is None else 'fail'}  {name}" + (f": {problem}" if problem else ""), flush=True)
    failed = sum(problem is not None for _, problem in rows)
    print(f"{len(rows) - failed} passed, {failed} failed")
    return 1 if failed else 0


def image_checks(
    environment: str, tag: str | None, engine_name: str | None, file: str | None
) -> list[tuple[str, str | None]]:
    """(requirement, problem or None) of each check. Raises WorkshopError if there is no engine or no image."""
    path = dockerfile_path(file)
    workspace = images.nearest_manifest(path.parent)
    tag = tag or f"{IMAGE_NAME}:{environment}"
    engine = engine_with_image(tag, engine_name)
    flags = gpu_flags(engine, environment, workspace)
    health = health_words(path, environment)
    lock = sha256_of(workspace.path.with_name("pixi.lock")) if workspace else ""
    with tempfile.TemporaryDirectory(prefix="workshop-container-") as scratch:
        container = Container(engine, tag, flags, results_folder(str(Path(scratch) / "results")))
        Path(scratch).chmod(0o711)  # so that the image's user can reach the folder inside
        python = ("python", "-c", "import sys; print(sys.prefix)")
        prefix = f"/.pixi/envs/{environment}"
        search = ("sh", "-c", "command -v pixi || echo none")
        return [
            ("its label has the sha256 of this pixi.lock", _wrong_lock(container, lock)),
            ("its user is not root", container.problem_with("id", "-u", expected=lambda user: user != "0")),
            ("it does not contain Pixi", container.problem_with(*search, expected=lambda pixi: pixi == "none")),
            (
                "`python` is the environment's Python",
                container.problem_with(*python, expected=lambda p: p.endswith(prefix)),
            ),
            ("its health check passes", _unhealthy(container, health)),
            ("it trains without network on a read-only file system and writes results", _training_fails(container)),
        ]


def health_words(path: Path, environment: str) -> list[str]:
    """The command of a Dockerfile's health check; empty if there is none.

    Raises WorkshopError if the command is in an invalid form.
    """
    healthcheck = dockerfile.stages(dockerfile.read(path), {"ENVIRONMENT": environment}, path)[-1].healthcheck
    if healthcheck is None:
        return []
    command = dockerfile.health_command(healthcheck)
    words = command.exec_form
    if words is None and command.text.startswith("["):
        raise WorkshopError(
            looked_at=f"{path}, line {command.line}",
            expected="a list in JSON, each word in double quotes",
            found=command.text[:80],
            next_step='HEALTHCHECK CMD ["python", "-c", "import torch"]',
        )
    return ["sh", "-c", command.text] if words is None else words


def _wrong_lock(container: Container, lock: str) -> str | None:
    label = labels_of(container.engine, container.tag).get("workshop.lock.sha256", "")
    return None if label == lock else f"{label[:12] or 'no label'} instead of {lock[:12]}"


def _unhealthy(container: Container, health: list[str]) -> str | None:
    return (
        container.problem_with(*health, expected=lambda output: True) if health else "no HEALTHCHECK in the Dockerfile"
    )


def _training_fails(container: Container) -> str | None:
    process = container.run("python", SCRIPT, "--data", "digits", "--epochs", "1", "--output", f"{RESULTS}/trial")
    run = container.results / "trial"
    record = run / "run.json"
    if process.returncode or not record.is_file():
        return failure_reason(process)
    outputs = json.loads(record.read_text())["outputs"]
    wrong = [output["path"] for output in outputs if sha256_of(run / output["path"]) != output["sha256"]]
    return f"the sha256 differs from the record: {', '.join(wrong)}" if wrong else None
