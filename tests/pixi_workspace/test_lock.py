"""The lock's reader: records, platforms by content, old formats, and what is no lock."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml

from pixi_workspace import lock as locks
from pixi_workspace import lock_entries, platforms
from pixi_workspace import manifest as manifests

URL = "https://conda.anaconda.org/conda-forge/noarch/tzdata-2025c-hc9c84f9_1.conda"
RECORD = (
    f"- conda: {URL}\n  sha256: {'a' * 64}\n  md5: {'b' * 32}\n  license: LicenseRef-Public-Domain\n  size: 119135\n"
)
CHANNELS = "    channels:\n    - url: https://conda.anaconda.org/conda-forge/\n"
ENVIRONMENT = f"environments:\n  default:\n{CHANNELS}    packages:\n      linux-64:\n      - conda: {URL}\n"
VERSION_6 = f"version: 6\n{ENVIRONMENT}packages:\n{RECORD}"


def read(folder: Path, text: str) -> locks.Lock:
    (folder / "pixi.lock").write_text(text, encoding="utf-8", newline="")
    return locks.read(folder / "pixi.lock")


@pytest.fixture(scope="module")
def sketch(written_by_pixi) -> locks.Lock:
    return locks.read(written_by_pixi / "sketch" / "pixi.lock")


def test_records(sketch):
    found = {p.name: p for p in sketch.environments["pypi-mixed"].packages["p1"]}
    python, torch = found["python"], found["torch"]
    assert (python.kind, python.channel, python.subdir) == (
        "conda",
        "https://conda.anaconda.org/conda-forge/",
        "linux-64",
    )
    assert python.build.endswith("_cpython") and len(python.sha256) == 64 and python.size > 0 and python.license
    assert (torch.kind, torch.version, torch.index) == ("pypi", "2.6.0+cu124", "https://download.pytorch.org/whl/cu124")
    assert found["sympy"].purls == ("pkg:pypi/sympy?source=hash-mapping",)
    assert any(line.startswith("filelock") for line in torch.requires_dist)
    assert sketch.environments["pypi-mixed"].indexes == ("https://download.pytorch.org/whl/cu124",)
    assert sketch.environments["cpu"].indexes is None and sketch.version == 7


def test_platforms_are_found_by_content_not_by_name(sketch):
    manifest = manifests.load(sketch.path.with_name("pixi.toml"))
    assert {p.name for p in sketch.platforms} >= {"p1", "p2", "linux-64"}
    aligned = locks.align(sketch, manifest.platforms)
    cuda12, cuda118 = manifest.platforms[:2]
    assert locks.row_for(aligned, cuda12).name == "linux-64-cuda12"
    builds = {p.name: p.build for p in locks.packages(aligned, "cuda118-jax", cuda118)}
    assert builds["jaxlib"].startswith("cuda118")
    other = platforms.build("gpu", "linux-64", [platforms.VirtualPackage("__cuda", "12.4")])
    assert locks.row_for(aligned, other) is None and locks.packages(aligned, "cuda12", other) == ()


def test_version_6_has_bare_platforms(tmp_path):
    lock = read(tmp_path, VERSION_6)
    package = lock.environments["default"].packages["linux-64"][0]
    assert lock.version == 6 and lock.platforms[0].virtual_packages == ()
    assert (package.name, package.version, package.build, package.size) == ("tzdata", "2025c", "hc9c84f9_1", 119135)
    rich = platforms.build("gpu", "linux-64", [platforms.VirtualPackage("__cuda", "12.0")])
    assert locks.row_for(lock, rich).name == "linux-64"  # without virtual packages a row is trusted


@pytest.mark.parametrize(
    "text",
    [
        "",
        "version: 7\n",
        "{}",
        "- 1\n",
        "version: 7\nenvironments: [\n",
        VERSION_6 + "<<<<<<< HEAD\n",
        "\ufeff" + VERSION_6,
        VERSION_6[:-200],
    ],
)
def test_what_is_no_lock(text, tmp_path):
    with pytest.raises(locks.LockError, match="pixi lock"):
        read(tmp_path, text)


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "pixi.lock").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(locks.LockError):
        locks.read(tmp_path / "pixi.lock")


def test_a_lock_of_a_later_pixi(tmp_path):
    with pytest.raises(locks.LockTooNew, match="version 99"):
        read(tmp_path, VERSION_6.replace("version: 6", "version: 99"))


def test_crlf_and_other_styles_of_yaml(tmp_path):
    expected = read(tmp_path, VERSION_6).environments
    crlf = read(tmp_path, VERSION_6.replace("\n", "\r\n")).environments
    indented = VERSION_6.replace("      - conda", "        - conda").replace("    - url", '      - "url"')
    for found in (crlf, read(tmp_path, indented).environments):
        assert [str(p) for p in found["default"].packages["linux-64"]] == ["tzdata 2025c hc9c84f9_1"]
        assert found["default"].channels == expected["default"].channels == ("https://conda.anaconda.org/conda-forge/",)


def test_options_and_indexes(tmp_path):
    head = "    indexes:\n    - https://download.pytorch.org/whl/cpu\n    find-links:\n    - path: ./wheels\n"
    head += "    options:\n      strategy: lowest-version\n"
    text = VERSION_6.replace("    packages:\n      linux-64", head + "    packages:\n      linux-64")
    found = read(tmp_path, text).environments["default"]
    assert found.indexes == ("https://download.pytorch.org/whl/cpu",) and found.find_links == ("./wheels",)
    assert found.option("strategy", "highest") == "lowest-version"


WHEEL = "https://files.example.org/flask-3.0.3-py3-none-any.whl"
PYPI = f"- pypi: {WHEEL}\n  name: flask\n  version: 3.0.3\n  sha256: {'c' * 64}\n"
TWO_INDEXES = "    indexes:\n    - https://wheels.example.org/simple\n    - https://other.example.org/simple\n"


def with_wheel(entry: str, version: int = 7) -> str:
    rows = f"      linux-64:\n      - conda: {URL}\n      - pypi: {entry.split()[2]}\n"
    platforms = "platforms:\n- name: linux-64\n" if version == 7 else ""
    environment = f"environments:\n  default:\n{CHANNELS}{TWO_INDEXES}    packages:\n{rows}"
    return f"version: {version}\n{platforms}{environment}packages:\n{RECORD}{entry}"


def flask_of(lock: locks.Lock) -> locks.LockedPackage:
    return next(p for p in lock.environments["default"].packages["linux-64"] if p.kind == "pypi")


def test_the_index_of_a_wheel(tmp_path):
    """A lock of version 7 leaves it out where it is the environment's first index; older locks never contain one."""
    assert flask_of(read(tmp_path, with_wheel(PYPI))).index == "https://wheels.example.org/simple"
    assert flask_of(read(tmp_path, with_wheel(PYPI, version=6))).index is None
    named = flask_of(read(tmp_path, with_wheel(PYPI + "  index: https://other.example.org/simple\n")))
    assert named.index == "https://other.example.org/simple"


def test_a_local_project_has_no_version_and_no_index(tmp_path):
    found = flask_of(read(tmp_path, with_wheel("- pypi: ./project\n  name: flask\n")))
    assert (found.url, found.version, found.index) == ("./project", None, None)


def test_purls_that_are_absent_and_purls_that_are_empty(tmp_path):
    def purls_of(lines: str) -> tuple[str, ...] | None:
        return read(tmp_path, VERSION_6 + lines).environments["default"].packages["linux-64"][0].purls

    assert purls_of("") is None and purls_of("  purls: []\n") == ()
    assert purls_of("  purls:\n  - pkg:pypi/tzdata\n") == ("pkg:pypi/tzdata",)


def test_pyyaml_without_libyaml_reads_the_same(sketch, monkeypatch):
    class Slow(yaml.BaseLoader):
        resolve = lock_entries._Loader.resolve

    monkeypatch.setattr(lock_entries, "_Loader", Slow)
    text = sketch.path.read_text(encoding="utf-8")
    slow = lock_entries.read_entries(text)
    monkeypatch.undo()
    assert slow == lock_entries.read_entries(text) and slow.indexes and slow.purls


ALIASES = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)


@pytest.mark.parametrize(
    "text",
    [
        ALIASES + VERSION_6,
        VERSION_6 + "more: &more [*more]\n",
        VERSION_6 + "more: " + "[" * 200_000 + "]" * 200_000 + "\n",
        VERSION_6 + "more: " + "{a: " * 100_000,
        VERSION_6 + "".join(f"{' ' * i}k{i}:\n" for i in range(2000)),
        "[" * 1_000_000,
        "\0" * 1_000_000,
    ],
    ids=["aliases", "an alias of itself", "lists", "mappings", "indentation", "brackets alone", "zero bytes"],
)
def test_hostile_yaml_ends_soon_in_a_message(text, tmp_path):
    began = time.monotonic()
    with pytest.raises(locks.LockError, match="pixi lock"):
        read(tmp_path, text)
    assert time.monotonic() - began < 20  # seconds; without limits: a minute, or all memory


def test_a_tag_runs_no_code(tmp_path):
    target = tmp_path / "made"
    read(tmp_path, VERSION_6 + f"more: !!python/object/apply:os.mkdir ['{target}']\n")
    assert not target.exists()
