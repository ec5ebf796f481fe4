"""The root workspace: `pixi.toml` and `pixi.lock` belong together.

With py-rattler alone, without a network.
"""

from __future__ import annotations

import json
import tomllib
from urllib.parse import urlsplit

import jsonschema
import pytest
from conftest import DATA, ROOT
from rattler import LockFile, MatchSpec, Version

from pixi_workspace import lock as locks
from pixi_workspace import manifest as manifests
from pixi_workspace.fit import lockcheck
from pixi_workspace.manifest.platforms import platforms_of

MANIFESTS = [ROOT / "pixi.toml", *sorted(ROOT.glob("exercise-*/*/pixi.toml"))]
CONDA_FORGE = "https://conda.anaconda.org/conda-forge/"
CUDA_OF = {"cuda12": "cuda12", "cuda12-torch": "cuda12", "cuda118-jax": "cuda118"}
BUILDS = {"cuda12": ("pytorch", "libtorch"), "cuda12-torch": ("pytorch", "libtorch"), "cuda118-jax": ("jaxlib",)}


@pytest.fixture(scope="module")
def manifest() -> manifests.Manifest:
    return manifests.load(ROOT / "pixi.toml")


@pytest.fixture(scope="module")
def lock(manifest) -> locks.Lock:
    return locks.align(locks.read(ROOT / "pixi.lock"), manifest.platforms)


def everywhere(manifest):
    for environment in manifest.environments.values():
        for platform in platforms_of(manifest, environment.features):
            yield environment.name, platform


def test_the_lock_is_up_to_date_and_nothing_is_suspicious():
    verdict = lockcheck.judge(ROOT)
    assert (verdict.verdict, verdict.reasons, verdict.warnings) == ("up-to-date", (), ()), lockcheck.to_text(verdict)


def test_every_environment_is_locked_on_every_platform(manifest, lock):
    assert set(lock.environments) == set(manifest.environments)
    for environment, platform in everywhere(manifest):
        assert locks.packages(lock, environment, platform), f"{environment} on {platform.name}"


def test_every_constraint_is_met(manifest, lock):
    """Written against rattler alone, so that a mistake in the checker cannot hide a stale lock."""
    for environment, platform in everywhere(manifest):
        found = {p.name: p for p in locks.packages(lock, environment, platform)}
        for name, specs in manifests.conda_specs(manifest, environment, platform).items():
            for spec in specs:
                text = f"{name} {spec.fields.get('version', '*')} {spec.fields.get('build', '')}".strip()
                where = f"{environment} on {platform.name}: {text} and {found.get(name)}"
                assert name in found and MatchSpec(text).matches(found[name].record), where
        for name in manifests.pypi_specs(manifest, environment, platform):
            assert found[name].kind == "pypi", f"{environment} on {platform.name}: {name}"


def test_every_record_has_a_hash_and_comes_from_where_it_should(manifest, lock):
    for environment, platform in everywhere(manifest):
        for package in locks.packages(lock, environment, platform):
            where = f"{environment} on {platform.name}: {package.url}"
            assert package.sha256 and len(package.sha256) == 64, where
            if package.kind == "conda":
                assert package.url.startswith(CONDA_FORGE), where
            else:
                index = lock.environments[environment].indexes[0]
                assert package.index == index, where
                assert urlsplit(package.url).hostname.split(".")[-2:] == urlsplit(index).hostname.split(".")[-2:], where


def test_cuda_environments_hold_cuda_builds_and_cpu_none(manifest, lock):
    for environment, platform in everywhere(manifest):
        packages = locks.packages(lock, environment, platform)
        if environment in CUDA_OF:
            builds = {p.name: p.build for p in packages}
            for name in BUILDS[environment]:
                assert builds[name].startswith(CUDA_OF[environment]), f"{environment}: {name} {builds[name]}"
        elif environment in ("cpu", "default", "docs", "dev"):
            of_nvidia = ("cuda-", "cudnn", "nccl", "libcublas", "libcudnn", "libcufft", "libcusparse")
            wrong = [str(p) for p in packages if p.build.startswith("cuda") or p.name.startswith(of_nvidia)]
            assert not wrong, f"{environment} on {platform.name}: {wrong}"


def test_cuda_environments_need_a_platform_with_cuda(manifest):
    for environment in CUDA_OF.keys() & manifest.environments.keys():
        for platform in platforms_of(manifest, manifest.environments[environment].features):
            assert platform.version_of("__cuda"), f"{environment} on {platform.name}"


def test_jax_holds_nothing_back_in_cpu(manifest, lock):
    """`cpu` has no JAX, a NumPy of today on every platform, and a newer PyTorch than `cpu-jax` where JAX costs one."""
    for platform in platforms_of(manifest, manifest.environments["cpu"].features):
        alone = {p.name: Version(p.version) for p in locks.packages(lock, "cpu", platform)}
        beside_jax = {p.name: Version(p.version) for p in locks.packages(lock, "cpu-jax", platform)}
        assert not {"jax", "jaxlib", "flax"} & alone.keys(), platform.name
        assert alone["numpy"] >= Version("2.5") and alone["pytorch"] >= Version("2.10"), platform.name
        assert alone["numpy"] >= beside_jax["numpy"] and alone["pytorch"] >= beside_jax["pytorch"], platform.name
        assert ("flax" in beside_jax) == (platform.subdir in ("linux-64", "osx-arm64")), platform.name


def test_cuda_12_is_for_linux_on_two_processors_and_for_windows(manifest, lock):
    versions = {}
    for platform in platforms_of(manifest, manifest.environments["cuda12"].features):
        packages = {p.name: p for p in locks.packages(lock, "cuda12", platform)}
        versions[platform.name] = packages["pytorch"].version
        assert packages["cuda-version"].version.startswith("12.") and "torchvision" not in packages
    assert set(versions) == {"linux-64-cuda12", "linux-aarch64-cuda12", "win-64-cuda12"}
    assert len(set(versions.values())) == 1, versions


def test_no_constraint_lets_everything_in(manifest):
    for environment, platform in everywhere(manifest):
        for specs in (manifests.conda_specs, manifests.pypi_specs):
            for name, several in specs(manifest, environment, platform).items():
                assert not all(str(spec).removeprefix(name).strip() in ("", "*") for spec in several), (
                    environment,
                    name,
                )


def test_every_task_says_what_it_does(manifest):
    assert manifest.tasks()
    for name, task in manifest.tasks().items():
        assert task.description and task.description[0].isupper(), name
        assert task.default_environment is None or task.default_environment in manifest.environments, name


def test_the_lock_is_written_as_pixi_writes_it(tmp_path):
    """rattler writes the file back byte for byte: nobody edited it by hand."""
    LockFile.from_path(ROOT / "pixi.lock").to_path(tmp_path / "pixi.lock")
    assert (tmp_path / "pixi.lock").read_bytes() == (ROOT / "pixi.lock").read_bytes()


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.parent.relative_to(ROOT).as_posix())
def test_every_manifest_fits_pixis_schema(path):
    """Read with tomllib, so that a manifest that needs TOML 1.1 fails, which Pixi reads and few other programs do."""
    validator = jsonschema.Draft7Validator(json.loads((DATA / "pixi-schema.json").read_text(encoding="utf-8")))
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    assert [error.message for error in validator.iter_errors(document)] == []


def test_the_schema_refuses_a_misspelt_key():
    validator = jsonschema.Draft7Validator(json.loads((DATA / "pixi-schema.json").read_text(encoding="utf-8")))
    document = tomllib.loads((ROOT / "pixi.toml").read_text(encoding="utf-8"))
    document["workspace"]["chanels"] = document["workspace"].pop("channels")
    assert any("chanels" in error.message for error in validator.iter_errors(document))
