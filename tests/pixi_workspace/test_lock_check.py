"""`workshop lock-check` against the verdicts of the real `pixi lock --check`, and against Pixi's source.

Pixi 0.77.0 gave the verdicts in tests/data/pixi-verdicts.json. The cases below them were decided by reading the source
of that version; each names the file and line that settles it (paths below `crates/`).
"""

# ruff: noqa: E501 - the cases are tables, one case a line

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import in_process
import pytest
from conftest import DATA, ROOT
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pixi_workspace import platforms
from pixi_workspace.errors import WorkspaceError
from pixi_workspace.fit import lockcheck, satisfy_pypi
from pixi_workspace.fit.satisfy_pypi import DEFAULT_INDEX_FILES
from pixi_workspace.lock import DEFAULT_INDEX

# Edits that Pixi accepts and `lock-check` warns about, with a word of the warning.
WARNED = {"lock-sha-dropped": "sha256", "lock-url-other": "channels"}
VERDICTS = json.loads((DATA / "pixi-verdicts.json").read_text(encoding="utf-8"))
WORDS = {"up-to-date", "out-of-date", "manifest-error", "lock-error", "pixi-too-old", "cannot-tell"}

UP, OUT, MANIFEST, LOCK, OLD = "up-to-date", "out-of-date", "manifest-error", "lock-error", "pixi-too-old"
SAT = "pixi_core/src/lock_file/satisfiability"
TOML = "pixi_manifest/src/toml"

PIXI_TOML = """\
[workspace]
name = "small"
channels = ["conda-forge"]
platforms = ["linux-64", { name = "gpu", platform = "linux-64", cuda = "12.0" }]

[dependencies]
python = "3.12.*"
numpy = ">=2"

[tasks]
hello = { cmd = "echo hello", description = "Say hello" }

[feature.gpu]
platforms = ["gpu"]

[feature.gpu.dependencies]
cuda-tool = { version = "1.*", build = "cuda12*" }

[feature.web.pypi-dependencies]
flask = ">=3"

[environments]
gpu = ["gpu"]
web = { features = ["web"], solve-group = "web" }
"""
CONDA = "https://conda.anaconda.org/conda-forge"
DEFAULTS = "  - __unix=0=0\n  - __linux=4.18\n  - __glibc=2.28\n  - __archspec=0=x86_64\n"
BASE = ("libblas-3.9.0-5_h", "numpy-2.1.0-py312_0", "python-3.12.4-h_0_cpython")
FLASK = f"https://{DEFAULT_INDEX_FILES}/packages/flask-3.0.3-py3-none-any.whl"
CLICK = f"https://{DEFAULT_INDEX_FILES}/packages/click-8.1.7-py3-none-any.whl"


def rows(indent: str, packages: tuple[str, ...], wheels: tuple[str, ...] = ()) -> str:
    conda = [f"{indent}- conda: {CONDA}/linux-64/{p}.conda\n" for p in packages]
    return "".join(conda + [f"{indent}- pypi: {w}\n" for w in wheels])


def environment(name: str, indexes: str, **platforms: str) -> str:
    body = "".join(f"      {p.replace('_', '-')}:\n{found}" for p, found in platforms.items())
    return f"  {name}:\n    channels:\n    - url: {CONDA}/\n{indexes}    packages:\n{body}"


def record(name: str, depends: str = "", more: str = "") -> str:
    needs = "".join(f"  - {d.strip()}\n" for d in depends.split(";") if d.strip())
    sha = "".join(f"{ord(c) % 16:x}" for c in name * 64)[:64]
    listed = f"  depends:\n{needs}" if needs else "  depends: []\n"
    return f"- conda: {CONDA}/linux-64/{name}.conda\n  sha256: {sha}\n{listed}{more}  timestamp: 1750000000000\n"


def pixi_lock() -> str:
    plain, both = rows("      ", BASE), rows("      ", BASE, (CLICK, FLASK))
    index = f"    indexes:\n    - {DEFAULT_INDEX}\n"
    return (
        "version: 7\nplatforms:\n"
        f"- name: linux-64\n  virtual-packages:\n{DEFAULTS}"
        f"- name: p1\n  subdir: linux-64\n  virtual-packages:\n  - __cuda=12.0\n{DEFAULTS}environments:\n"
        + environment("default", "", linux_64=plain, p1=plain)
        + environment("gpu", "", p1=rows("      ", (*BASE, "cuda-tool-1.4.0-cuda120_0")))
        + environment("web", index, linux_64=both, p1=both)
        + "packages:\n"
        + record("cuda-tool-1.4.0-cuda120_0", "__cuda; python >=3.12")
        + record("libblas-3.9.0-5_h", "", "  purls: []\n")
        + record(
            "numpy-2.1.0-py312_0",
            "libblas >=3.9.0,<4.0a0; python >=3.12,<3.13.0a0",
            "  license: BSD-3-Clause\n  purls:\n  - pkg:pypi/numpy?source=hash-mapping\n",
        )
        + record("python-3.12.4-h_0_cpython", "__glibc >=2.17,<3.0.a0", "  purls: []\n")
        + f"- pypi: {CLICK}\n  name: click\n  version: 8.1.7\n  sha256: {'c' * 64}\n"
        f"  requires_dist:\n  - colorama ; sys_platform == 'win32'\n  requires_python: '>=3.7,<3.12'\n"
        f"- pypi: {FLASK}\n  name: flask\n  version: 3.0.3\n  sha256: {'f' * 64}\n"
        "  requires_dist:\n  - click>=8.1.3\n  - importlib-metadata>=3.6 ; python_full_version < '3.10'\n"
        "  - asgiref>=3.2 ; extra == 'async'\n  requires_python: '>=3.8'\n"
    )


def workspace(folder: Path, manifest: str = PIXI_TOML, lock: str | None = None, name: str = "pixi.toml") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(manifest, encoding="utf-8", newline="")
    (folder / "pixi.lock").write_text(pixi_lock() if lock is None else lock, encoding="utf-8", newline="")
    return folder


def edited(text: str, find: str, replace: str) -> str:
    assert find in text, f"the edit finds nothing: {find!r}"
    return text.replace(find, replace)


def report_of(folder: Path) -> str:
    return lockcheck.to_text(lockcheck.judge(folder))


# --- what the real Pixi said -------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", VERDICTS["cases"], ids=lambda case: case["id"])
def test_agrees_with_the_real_pixi(case, written_by_pixi, tmp_path):
    folder = written_by_pixi.parent / VERDICTS["workspace"]
    files = {name: (folder / name).read_text(encoding="utf-8") for name in ("pixi.toml", "pixi.lock")}
    for edit in case["edits"]:
        if "find" in edit:
            files[edit["file"]] = edited(files[edit["file"]], edit["find"], edit["replace"])
        elif edit["keep"] is None:
            del files[edit["file"]]
        else:
            files[edit["file"]] = files[edit["file"]][: int(len(files[edit["file"]]) * edit["keep"])]
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    verdict = lockcheck.judge(tmp_path)
    assert verdict.verdict == case["verdict"], lockcheck.to_text(verdict)
    assert bool(verdict.reasons) == (verdict.verdict != UP)
    warnings = " ".join(warning.message for warning in verdict.warnings)
    if case["id"] in WARNED:
        assert WARNED[case["id"]] in warnings, lockcheck.to_text(verdict)
    elif verdict.verdict == UP:
        assert not warnings, lockcheck.to_text(verdict)


WITH_LOCK = sorted({folder.name for folder in (DATA / "written-by-pixi").iterdir() if folder.is_dir()} - {"exercise-4"})


@pytest.mark.parametrize("name", WITH_LOCK)
def test_what_pixi_wrote_is_up_to_date(written_by_pixi, name):
    verdict = lockcheck.judge(written_by_pixi / name)
    assert (verdict.verdict, verdict.warnings) == (UP, ()), lockcheck.to_text(verdict)


def test_the_manifest_with_pypi_index_is_read(written_by_pixi):
    verdict = lockcheck.judge(written_by_pixi / "exercise-4")  # without a lock
    assert verdict.verdict == OUT and "no pixi.lock" in verdict.reasons[0].message


# --- what follows from its source ----------------------------------------------------------------------------------------
# (what, file, find, replace, verdict, where Pixi decides it)

WS, DEPS, ENVS, WEB = "[workspace]\n", "[dependencies]\n", "[environments]\n", 'flask = ">=3"\n'
PY, NP = 'python = "3.12.*"', 'numpy = ">=2"'
T, L = "pixi.toml", "pixi.lock"
CASES = [
    ("nothing changed", T, WS, WS, UP, f"{SAT}/platform.rs:1253"),
    # environments as a whole
    (
        "channel twice, by name and URL",
        T,
        '["conda-forge"]',
        f'["conda-forge", "{CONDA}"]',
        OUT,
        f"{SAT}/environment.rs:60",
    ),
    (
        "channel with a priority",
        T,
        '["conda-forge"]',
        '[{ channel = "conda-forge", priority = 3 }]',
        UP,
        "pixi_manifest/src/features_ext.rs:54",
    ),
    (
        "a feature adds a channel",
        T,
        "[feature.gpu]\n",
        '[feature.gpu]\nchannels = ["nvidia"]\n',
        OUT,
        "pixi_manifest/src/features_ext.rs:49",
    ),
    (
        "a feature repeats the channel",
        T,
        "[feature.gpu]\n",
        '[feature.gpu]\nchannels = ["conda-forge"]\n',
        UP,
        "pixi_manifest/src/features_ext.rs:58",
    ),
    (
        "channel URL without a slash in the lock",
        L,
        f"url: {CONDA}/\n",
        f"url: {CONDA}\n",
        UP,
        f"{SAT}/environment.rs:51",
    ),
    ("channel-priority", T, WS, WS + 'channel-priority = "disabled"\n', OUT, f"{SAT}/environment.rs:225"),
    ("channel-priority as it is", T, WS, WS + 'channel-priority = "strict"\n', UP, f"{SAT}/environment.rs:220"),
    (
        "channel-priority in the lock",
        L,
        f"    - url: {CONDA}/\n",
        f"    - url: {CONDA}/\n    options:\n      channel-priority: disabled\n",
        OUT,
        f"{SAT}/environment.rs:225",
    ),
    ("solve-strategy", T, WS, WS + 'solve-strategy = "lowest"\n', OUT, f"{SAT}/environment.rs:213"),
    (
        "solve-strategy of a feature",
        T,
        "[feature.gpu]\n",
        '[feature.gpu]\nsolve-strategy = "lowest-direct"\n',
        OUT,
        f"{SAT}/environment.rs:213",
    ),
    (
        "prerelease-mode",
        T,
        ENVS,
        '[pypi-options]\nprerelease-mode = "allow"\n\n' + ENVS,
        OUT,
        f"{SAT}/environment.rs:240",
    ),
    ("exclude-newer before the packages", T, WS, WS + 'exclude-newer = "2025-01-01"\n', OUT, f"{SAT}/errors.rs:180"),
    ("exclude-newer after them", T, WS, WS + 'exclude-newer = "2026-01-01"\n', UP, f"{SAT}/errors.rs:180"),
    (
        "exclude-newer, one package let through",
        T,
        WS,
        '[exclude-newer]\nnumpy = "2025-01-01"\n\n' + WS,
        OUT,
        "pixi_manifest/src/features_ext.rs:430",
    ),
    (
        "exclude-newer of a channel",
        T,
        '["conda-forge"]',
        '[{ channel = "conda-forge", exclude-newer = "2025-01-01" }]',
        OUT,
        "pixi_manifest/src/features_ext.rs:411",
    ),
    (
        "environment order",
        T,
        'gpu = ["gpu"]\nweb',
        'web2 = { features = ["web"], solve-group = "web" }\ngpu = ["gpu"]\nweb',
        OUT,
        "pixi_core/src/lock_file/outdated.rs:277",
    ),
    (
        "default environment without the default feature",
        T,
        ENVS,
        ENVS + "default = { features = [], no-default-feature = true }\n",
        OUT,
        f"{SAT}/platform.rs:827",
    ),
    # platforms
    ("a platform renamed in one place only", T, 'name = "gpu"', 'name = "p1"', MANIFEST, f"{TOML}/manifest.rs:744"),
    (
        "cuda written as 12: the same version in other letters",
        T,
        'cuda = "12.0"',
        'cuda = "12"',
        OUT,
        f"{SAT}/environment.rs:164",
    ),
    (
        "glibc declared on a named platform",
        T,
        'cuda = "12.0"',
        'cuda = "12.0", glibc = "2.17"',
        OUT,
        f"{SAT}/platform.rs:105",
    ),
    (
        "glibc declared at its default",
        T,
        'cuda = "12.0"',
        'cuda = "12.0", glibc = "2.28"',
        UP,
        "pixi_manifest/src/platform.rs:803",
    ),
    (
        "virtual packages in another order",
        L,
        "  - __cuda=12.0\n  - __unix=0=0\n",
        "  - __unix=0=0\n  - __cuda=12.0\n",
        UP,
        f"{SAT}/environment.rs:164",
    ),
    ("lock without default virtual packages", L, DEFAULTS, "", UP, f"{SAT}/environment.rs:130"),
    ("cuda as a table", T, 'cuda = "12.0"', 'cuda = { driver = "12.0" }', UP, f"{TOML}/platform.rs:468"),
    (
        "cuda with a compute capability",
        T,
        'cuda = "12.0"',
        'cuda = { driver = "12.0", arch = "8.6" }',
        OUT,
        f"{TOML}/platform.rs:480",
    ),
    ("cuda as a raw virtual package", T, 'cuda = "12.0"', '__cuda = "12.0"', UP, f"{TOML}/platform.rs:246"),
    (
        "the environment keeps fewer platforms of one subdir",
        T,
        "[feature.web.pypi-dependencies]",
        '[feature.web]\nplatforms = ["gpu"]\n\n[feature.web.pypi-dependencies]',
        UP,
        f"{SAT}/environment.rs:100",
    ),
    (
        "a target for the named platform",
        T,
        ENVS,
        '[target.gpu.dependencies]\nnumpy = "*"\nnot-there = "*"\n\n' + ENVS,
        OUT,
        "pixi_manifest/src/target.rs:675",
    ),
    (
        "a target for no platform at all",
        T,
        ENVS,
        '[target.win.dependencies]\nnot-there = "*"\n\n' + ENVS,
        UP,
        f"{TOML}/manifest.rs:241",
    ),
    (
        "a target replaces the constraint",
        T,
        NP,
        'numpy = ">=99"\n\n[target.linux.dependencies]\nnumpy = ">=2"',
        UP,
        "pixi_manifest/src/feature.rs:307",
    ),
    (
        "a later target goes before an earlier one",
        T,
        ENVS,
        '[target.linux-64.dependencies]\nnumpy = ">=99"\n\n[target.unix.dependencies]\nnumpy = "*"\n\n' + ENVS,
        UP,
        "pixi_manifest/src/target.rs:892",
    ),
    (
        "a glob over platform names",
        T,
        ENVS,
        '[target."g*".dependencies]\nnumpy = ">=99"\n\n' + ENVS,
        OUT,
        "pixi_manifest/src/target.rs:678",
    ),
    (
        "a feature tightens the default feature",
        T,
        "[feature.gpu.dependencies]\n",
        '[feature.gpu.dependencies]\nnumpy = ">=99"\n',
        OUT,
        "pixi_manifest/src/features_ext.rs:308",
    ),
    # conda constraints
    ("a bare version is exact", T, NP, 'numpy = "2.1"', UP, "pixi_spec/src/toml.rs:1485"),
    ("a bare version that is not it", T, NP, 'numpy = "2"', OUT, "pixi_spec/src/toml.rs:1485"),
    ("build number met", T, NP, 'numpy = { build-number = ">=0" }', UP, "pixi_spec/src/detailed.rs:80"),
    ("build number unmet", T, NP, 'numpy = { build-number = ">=1" }', OUT, "pixi_spec/src/detailed.rs:80"),
    (
        "another channel on a dependency is not looked at",
        T,
        NP,
        'numpy = { version = ">=2", channel = "nvidia" }',
        UP,
        "rattler_conda_types MatchSpec matches RepoDataRecord: url and record only",
    ),
    (
        "a subdir on a dependency is not looked at",
        T,
        NP,
        'numpy = { version = ">=2", subdir = "noarch" }',
        UP,
        "rattler_conda_types NamelessMatchSpec matches PackageRecord",
    ),
    (
        "a sha256 that is not the locked one",
        T,
        NP,
        f'numpy = {{ sha256 = "{"0" * 64}" }}',
        OUT,
        "pixi_spec/src/detailed.rs:96",
    ),
    (
        "a licence that is the locked one",
        T,
        NP,
        'numpy = { license = "BSD-3-Clause" }',
        UP,
        "pixi_spec/src/detailed.rs:97",
    ),
    (
        "a URL that is the locked one",
        T,
        NP,
        f'numpy = {{ url = "{CONDA}/linux-64/numpy-2.1.0-py312_0.conda" }}',
        UP,
        "pixi_spec/src/url.rs",
    ),
    (
        "a URL that is not",
        T,
        NP,
        f'numpy = {{ url = "{CONDA}/linux-64/numpy-2.2.0-py312_0.conda" }}',
        OUT,
        "pixi_spec/src/url.rs",
    ),
    ("a virtual package as dependency, met", T, DEPS, DEPS + '__glibc = ">=2.17"\n', UP, f"{SAT}/platform.rs:1412"),
    ("a virtual package as dependency, unmet", T, DEPS, DEPS + '__cuda = "*"\n', OUT, f"{SAT}/platform.rs:1409"),
    (
        "a `when` that does not hold",
        T,
        DEPS,
        DEPS + 'gone = { version = "*", when = "python>=3.13" }\n',
        UP,
        f"{SAT}/platform.rs:863",
    ),
    (
        "a `when` that holds",
        T,
        DEPS,
        DEPS + 'gone = { version = "*", when = { any = ["python>=3.13", "numpy"] } }\n',
        OUT,
        f"{SAT}/platform.rs:1363",
    ),
    ("a constraint that is kept", T, ENVS, '[constraints]\nlibblas = "<4"\n\n' + ENVS, UP, f"{SAT}/platform.rs:793"),
    ("a constraint that is broken", T, ENVS, '[constraints]\nlibblas = "<3"\n\n' + ENVS, OUT, f"{SAT}/platform.rs:793"),
    (
        "a constraint on what is not locked",
        T,
        ENVS,
        '[constraints]\npolars = "<1"\n\n' + ENVS,
        UP,
        f"{SAT}/platform.rs:785",
    ),
    (
        "host-dependencies count too",
        T,
        DEPS,
        '[host-dependencies]\ngone = "*"\n\n' + DEPS,
        OUT,
        "pixi_manifest/src/target.rs:309",
    ),
    (
        "build goes before run for one name",
        T,
        DEPS,
        '[build-dependencies]\nnumpy = ">=2"\n\n' + DEPS,
        UP,
        "pixi_manifest/src/target.rs:338",
    ),
    (
        "content on the environment itself",
        T,
        'gpu = ["gpu"]',
        'gpu = { features = ["gpu"], dependencies = { numpy = ">=99" } }',
        OUT,
        f"{TOML}/manifest.rs:409",
    ),
    (
        "a transitive constraint that the record breaks",
        L,
        "libblas >=3.9.0,<4.0a0",
        "libblas >=4",
        OUT,
        f"{SAT}/platform.rs:1399",
    ),
    (
        "a dependency with a build that the record breaks",
        L,
        "libblas >=3.9.0,<4.0a0",
        "libblas * *mkl",
        OUT,
        f"{SAT}/platform.rs:1399",
    ),
    (
        "`constrains` is not looked at",
        L,
        "  purls:\n  - pkg:pypi/numpy",
        "  constrains:\n  - python <3\n  purls:\n  - pkg:pypi/numpy",
        UP,
        f"{SAT}/platform.rs:1060",
    ),
    (
        "the platform has less than a package requires",
        L,
        "__glibc >=2.17,<3.0.a0",
        "__glibc >=2.35",
        OUT,
        f"{SAT}/platform.rs:1411",
    ),
    (
        "a newer package for the same platform",
        L,
        "      p1:\n" + rows("      ", BASE),
        "      p1:\n" + rows("      ", BASE[:2]),
        OUT,
        f"{SAT}/platform.rs:1410",
    ),
    # PyPI
    (
        "a marker that does not hold here",
        T,
        WEB,
        WEB + 'gone = { version = "*", env-markers = "sys_platform == \'win32\'" }\n',
        UP,
        f"{SAT}/platform.rs:725",
    ),
    (
        "a marker that holds",
        T,
        WEB,
        WEB + 'gone = { version = "*", env-markers = "sys_platform == \'linux\'" }\n',
        OUT,
        f"{SAT}/platform.rs:1030",
    ),
    (
        "an extra that wants more",
        T,
        WEB,
        'flask = { version = ">=3", extras = ["async"] }\n',
        OUT,
        f"{SAT}/platform.rs:1234",
    ),
    (
        "an extra that the package does not know",
        T,
        WEB,
        'flask = { version = ">=3", extras = ["none"] }\n',
        UP,
        f"{SAT}/platform.rs:1234",
    ),
    (
        "the default index written out",
        T,
        WEB,
        WEB + f'\n[feature.web.pypi-options]\nindex-url = "{DEFAULT_INDEX}"\n',
        UP,
        f"{SAT}/environment.rs:477",
    ),
    (
        "an extra index",
        T,
        WEB,
        WEB + '\n[feature.web.pypi-options]\nextra-index-urls = ["https://download.pytorch.org/whl/cpu"]\n',
        OUT,
        f"{SAT}/environment.rs:477",
    ),
    (
        "an index where nothing comes from PyPI",
        T,
        "[feature.gpu]\n",
        '[feature.gpu.pypi-options]\nindex-url = "https://download.pytorch.org/whl/cpu"\n\n[feature.gpu]\n',
        UP,
        f"{SAT}/environment.rs:185",
    ),
    ("the lock names no index", L, f"    indexes:\n    - {DEFAULT_INDEX}\n", "", OUT, f"{SAT}/environment.rs:464"),
    (
        "an index pinned on a wheel of the default one",
        T,
        WEB,
        'flask = { version = ">=3", index = "https://download.pytorch.org/whl/cpu" }\n',
        UP,
        "rattler_lock v7/pypi_package_data.rs: no index in the lock is None, so pypi.rs:245 compares nothing",
    ),
    (
        "a wheel of another index",
        L,
        "  requires_python: '>=3.8'",
        "  index: https://download.pytorch.org/whl/cpu\n  requires_python: '>=3.8'",
        OUT,
        f"{SAT}/pypi.rs:200",
    ),
    ("requires-python: an upper limit is ignored", L, "'>=3.7,<3.12'", "'>=3.7,<3.9'", UP, f"{SAT}/platform.rs:1208"),
    ("requires-python: the lower limit is not", L, "'>=3.7,<3.12'", "'>=3.13'", OUT, f"{SAT}/platform.rs:1208"),
    ("a requirement of a wheel that the lock breaks", L, "click>=8.1.3", "click>=9", OUT, f"{SAT}/pypi.rs:171"),
    (
        "a wheel for another system",
        L,
        "flask-3.0.3-py3-none-any",
        "flask-3.0.3-cp312-cp312-win_amd64",
        OUT,
        f"{SAT}/environment.rs:331",
    ),
    (
        "a wheel for a newer glibc",
        L,
        "flask-3.0.3-py3-none-any",
        "flask-3.0.3-cp312-cp312-manylinux_2_34_x86_64",
        OUT,
        f"{SAT}/environment.rs:331",
    ),
    (
        "a wheel for an older glibc and the stable ABI",
        L,
        "flask-3.0.3-py3-none-any",
        "flask-3.0.3-cp38-abi3-manylinux2014_x86_64",
        UP,
        f"{SAT}/environment.rs:331",
    ),
    (
        "no-build with wheels only",
        T,
        WEB,
        WEB + "\n[feature.web.pypi-options]\nno-build = true\n",
        UP,
        f"{SAT}/environment.rs:433",
    ),
    (
        "no-build with a source archive",
        L,
        "flask-3.0.3-py3-none-any.whl",
        "flask-3.0.3.tar.gz",
        UP,
        f"{SAT}/environment.rs:356",
    ),
    ("a URL where the lock has an index", T, WEB, f'flask = {{ url = "{FLASK}" }}\n', OUT, f"{SAT}/pypi.rs:234"),
    (
        "a path that does not exist",
        T,
        WEB,
        'flask = { path = "./flask" }\n',
        OUT,
        "pixi_uv_conversions/src/requirements.rs:165",
    ),
    (
        "a git repository where the lock has an index",
        T,
        WEB,
        'flask = { git = "https://example.org/flask.git" }\n',
        OUT,
        f"{SAT}/pypi.rs:390",
    ),
    ("numpy from PyPI too: conda has it", T, WEB, WEB + 'numpy = ">=2"\n', UP, f"{SAT}/platform.rs:943"),
    ("numpy from PyPI in a version that conda has not", T, WEB, WEB + 'numpy = ">=3"\n', OUT, f"{SAT}/platform.rs:982"),
    (
        "numpy for PyPI only, locked from conda",
        T,
        WEB,
        WEB + 'numpy = ">=2"\n\n[feature.web.target.linux.dependencies]\npython = "*"\n',
        UP,
        f"{SAT}/platform.rs:1553",
    ),
    (
        "the last requirement leaves",
        T,
        "[feature.web.pypi-dependencies]\n" + WEB,
        "[feature.web]\n",
        OUT,
        f"{SAT}/platform.rs:742",
    ),
    (
        "an override of what a wheel requires",
        T,
        WEB,
        WEB + '\n[feature.web.pypi-options.dependency-overrides]\nclick = ">=99"\n',
        OUT,
        f"{SAT}/platform.rs:999",
    ),
    # the lock as a file
    (
        "version 6 with the rows of version 7",
        L,
        "version: 7\n",
        "version: 6\n",
        LOCK,
        "rattler_lock: version 6 knows bare subdirs only",
    ),
    ("version 8: treated as missing", L, "version: 7\n", "version: 8\n", OUT, "pixi_core/src/lock_file/update.rs:202"),
    ("version in words", L, "version: 7\n", "version: seven\n", LOCK, "rattler_lock/src/parse/mod.rs"),
    (
        "a row without its package",
        L,
        "- conda: " + f"{CONDA}/linux-64/libblas-3.9.0-5_h.conda\n  sha256",
        "- conda: https://example.org/x-1-0.conda\n  sha256",
        LOCK,
        "rattler_lock/src/parse/deserialize.rs",
    ),
    (
        "a comment in the lock",
        L,
        "environments:\n",
        "# by hand\nenvironments:\n",
        UP,
        "pixi_core/src/lock_file/update.rs:435",
    ),
    (
        "the build numbers of a package changed",
        L,
        "numpy-2.1.0-py312_0",
        "numpy-2.1.0-py313_0",
        UP,
        f"{SAT}/platform.rs:1396",
    ),
    # the manifest as a file
    ("name missing", T, 'name = "small"\n', "", UP, f"{TOML}/workspace.rs:97"),
    ("channels missing", T, 'channels = ["conda-forge"]\n', "", MANIFEST, f"{TOML}/workspace.rs:332"),
    ("the table under its old name", T, WS, "[project]\n", UP, f"{TOML}/manifest.rs:880"),
    ("both names", T, DEPS, "[project]\nchannels = []\n\n" + DEPS, MANIFEST, f"{TOML}/manifest.rs:874"),
    (
        "workspace on one line",
        T,
        PIXI_TOML,
        'workspace = { channels = ["conda-forge"], platforms = ["linux-64"] }\n',
        MANIFEST,
        "pixi_manifest/src/discovery.rs:461",
    ),
    ("a subdir that is none", T, '"linux-64",', '"linux-65",', MANIFEST, f"{TOML}/platform.rs:211"),
    ("a platform twice", T, '"linux-64", {', '"linux-64", "linux-64", {', MANIFEST, f"{TOML}/workspace.rs:51"),
    (
        "a platform called after a family",
        T,
        'name = "gpu"',
        'name = "linux"',
        MANIFEST,
        "pixi_manifest/src/platform.rs:116",
    ),
    ("cuda without quotes", T, 'cuda = "12.0"', "cuda = 12.0", MANIFEST, f"{TOML}/platform.rs:505"),
    (
        "a compute capability alone",
        T,
        'cuda = "12.0"',
        '__cuda_arch = "8.6"',
        MANIFEST,
        "pixi_manifest/src/platform.rs:426",
    ),
    ("an unknown processor", T, 'cuda = "12.0"', 'archspec = "x86-64"', MANIFEST, "pixi_manifest/src/platform.rs:856"),
    (
        "a feature called default",
        T,
        "[feature.gpu]\n",
        "[feature.default.dependencies]\n\n[feature.gpu]\n",
        MANIFEST,
        f"{TOML}/manifest.rs:327",
    ),
    (
        "a feature twice in an environment",
        T,
        '["gpu"]\nweb',
        '["gpu", "gpu"]\nweb',
        MANIFEST,
        f"{TOML}/manifest.rs:469",
    ),
    (
        "an environment in capitals",
        T,
        'gpu = ["gpu"]',
        'GPU = ["gpu"]',
        MANIFEST,
        "pixi_manifest/src/environment.rs:128",
    ),
    ("an empty environment", T, ENVS, ENVS + "empty = {}\n", MANIFEST, f"{TOML}/environment.rs:220"),
    (
        "a dependency twice, in capitals",
        T,
        NP,
        NP + '\nNumPy = "*"',
        MANIFEST,
        "pixi_manifest/src/utils/package_map.rs:249",
    ),
    ("a version as a number", T, NP, "numpy = 2", MANIFEST, "pixi_spec/src/toml.rs:1458"),
    ("a version that is cut off", T, NP, 'numpy = ">="', MANIFEST, "pixi_spec/src/toml.rs:1485"),
    ("an unknown key of a dependency", T, NP, 'numpy = { versoin = "2" }', MANIFEST, "pixi_spec/src/toml.rs:1247"),
    (
        "a source dependency without the preview",
        T,
        NP,
        'numpy = { path = "./numpy" }',
        MANIFEST,
        "pixi_manifest/src/utils/package_map.rs:51",
    ),
    ("an empty dependency table", T, NP, "numpy = {}", MANIFEST, "pixi_spec/src/toml.rs:740"),
    (
        "a PyPI version without an operator",
        T,
        WEB,
        'flask = "3.0.3"\n',
        MANIFEST,
        "pixi_pypi_spec/src/version_or_star.rs:23",
    ),
    (
        "a PyPI version beside a path",
        T,
        WEB,
        'flask = { version = "*", path = "." }\n',
        MANIFEST,
        "pixi_pypi_spec/src/toml.rs:119",
    ),
    (
        "two features, two indexes",
        T,
        ENVS,
        '[feature.a.pypi-options]\nindex-url = "https://a.org/simple"\n\n[feature.b.pypi-options]\nindex-url = "https://b.org/simple"\n\n'
        + ENVS
        + 'ab = ["a", "b"]\n',
        MANIFEST,
        f"{TOML}/manifest.rs:518",
    ),
    (
        "a task with an unknown key",
        T,
        'description = "Say hello"',
        'describe = "Say hello"',
        MANIFEST,
        f"{TOML}/task.rs:260",
    ),
    (
        "an argument with a dash",
        T,
        'description = "Say hello"',
        'args = ["a-b"]',
        MANIFEST,
        "pixi_manifest/src/task.rs:396",
    ),
    (
        "a default outside its choices",
        T,
        'description = "Say hello"',
        'args = [{ arg = "a", default = "x", choices = ["y"] }]',
        MANIFEST,
        f"{TOML}/task.rs:80",
    ),
    ("a date without quotes", T, WS, WS + "exclude-newer = 2026-01-01\n", MANIFEST, "toml-span 0.7 de.rs: no dates"),
    ("a date that is none", T, WS, WS + 'exclude-newer = "soon"\n', MANIFEST, "pixi_spec/src/exclude_newer.rs:177"),
    ("a readme that does not exist", T, WS, WS + 'readme = "NONE.md"\n', MANIFEST, f"{TOML}/workspace.rs:172"),
    ("a licence that is none", T, WS, WS + 'license = "Mine own"\n', MANIFEST, f"{TOML}/workspace.rs:157"),
    (
        "a package table without the preview",
        T,
        DEPS,
        '[package]\nname = "x"\n\n' + DEPS,
        MANIFEST,
        f"{TOML}/manifest.rs:595",
    ),
    ("requires-pixi met", T, WS, WS + 'requires-pixi = ">=0.71,<1"\n', UP, "pixi_manifest/src/discovery.rs:276"),
    (
        "requires-pixi too high goes before other errors",
        T,
        WS,
        WS + 'requires-pixi = ">=1"\nnonsense = 1\n',
        OLD,
        "pixi_manifest/src/discovery.rs:490",
    ),
    ("requires-pixi too low", T, WS, WS + 'requires-pixi = "<0.70"\n', OLD, "pixi_manifest/src/discovery.rs:276"),
    (
        "requires-pixi without an operator",
        T,
        WS,
        WS + 'requires-pixi = "0.77"\n',
        MANIFEST,
        "pixi_manifest/src/discovery.rs:262",
    ),
    ("CRLF in the manifest", T, "\n", "\r\n", UP, "toml-span 0.7 tokens.rs: CrlfFold"),
    ("CRLF in the lock", L, "\n", "\r\n", UP, "rattler_lock/src/parse/mod.rs: YAML"),
    (
        "a byte order mark that hides [workspace]",
        T,
        PIXI_TOML,
        "\ufeff" + PIXI_TOML,
        MANIFEST,
        "pixi_manifest/src/discovery.rs:461",
    ),
    (
        "a byte order mark before a comment",
        T,
        PIXI_TOML,
        "\ufeff# mine\n" + PIXI_TOML,
        UP,
        "toml-span 0.7 tokens.rs: eats the mark",
    ),
    ("an escape of TOML 1.1", T, '"echo hello"', '"echo \\e[1m"', UP, "toml-span 0.7.1 tokens.rs:387"),
]


@pytest.mark.parametrize(("what", "file", "find", "replace", "verdict", "source"), CASES, ids=[c[0] for c in CASES])
def test_agrees_with_pixis_source(what, file, find, replace, verdict, source, tmp_path):
    manifest, lock = PIXI_TOML, pixi_lock()
    if file == T:
        manifest = edited(manifest, find, replace)
    else:
        lock = edited(lock, find, replace)
    workspace(tmp_path, manifest, lock)
    assert lockcheck.judge(tmp_path).verdict == verdict, f"{source}\n{report_of(tmp_path)}"


# --- system requirements, the deprecated way ---------------------------------------------------------------------

LEGACY = '[workspace]\nchannels = ["conda-forge"]\nplatforms = ["linux-64"]\n\n[dependencies]\npython = "*"\n'
CUDA = '\n[feature.gpu.system-requirements]\ncuda = "12.0"\n\n[environments]\ngpu = ["gpu"]\n'


def legacy_lock(gpu: bool) -> str:
    found = rows("      ", BASE[2:])
    text = f"version: 7\nplatforms:\n- name: linux-64\n  virtual-packages:\n{DEFAULTS}"
    if gpu:
        text += f"- name: p1\n  subdir: linux-64\n  virtual-packages:\n  - __cuda=12.0\n{DEFAULTS}"
    text += "environments:\n" + environment("default", "", linux_64=found)
    if gpu:
        text += environment("gpu", "", p1=found)
    return text + "packages:\n" + record(BASE[2], "__glibc >=2.17,<3.0.a0")


@pytest.mark.parametrize(
    ("manifest", "lock", "verdict"),
    [
        (LEGACY, legacy_lock(False), UP),
        (LEGACY + '\n[system-requirements]\nlibc = "2.28"\n', legacy_lock(False), UP),  # the default, said aloud
        (LEGACY + '\n[system-requirements]\nmacos = "12.0"\n', legacy_lock(False), UP),  # not for Linux
        (LEGACY + '\n[system-requirements]\ncuda = "12"\n', legacy_lock(False), OUT),
        (LEGACY + '\n[system-requirements]\ncudaa = "12"\n', legacy_lock(False), MANIFEST),
        (LEGACY + CUDA, legacy_lock(True), UP),
        (LEGACY + CUDA.replace("12.0", "12.4"), legacy_lock(True), OUT),
        (LEGACY.replace('"linux-64"', '"linux-64", "osx-64"') + CUDA, legacy_lock(True), OUT),
    ],
)
def test_system_requirements_become_platforms(manifest, lock, verdict, tmp_path):
    workspace(tmp_path, manifest, lock)
    assert lockcheck.judge(tmp_path).verdict == verdict, report_of(tmp_path)


# --- pyproject.toml ----------------------------------------------------------------------------------------------

PYPROJECT = """\
[project]
name = "small"
version = "0.1.0"
requires-python = ">=3.12"
dependencies = ["flask>=3"]

[project.optional-dependencies]
Fast_Lane = ["click>=8"]

[dependency-groups]
dev = ["click", { include-group = "web" }]
web = ["flask"]

[tool.pixi.workspace]
channels = ["conda-forge"]
platforms = ["linux-64"]

[tool.pixi.pypi-dependencies]
small = { path = ".", editable = true }

[tool.pixi.environments]
dev = ["dev", "Fast_Lane"]
"""


def pyproject_lock() -> str:
    found = rows("      ", BASE[2:], (CLICK, FLASK, "./"))
    index = f"    indexes:\n    - {DEFAULT_INDEX}\n"
    lock = pixi_lock()
    return (
        f"version: 7\nplatforms:\n- name: linux-64\n  virtual-packages:\n{DEFAULTS}environments:\n"
        + environment("default", index, linux_64=found)
        + environment("dev", index, linux_64=found)
        + "packages:\n"
        + lock[lock.index(f"\n- conda: {CONDA}/linux-64/python") + 1 :]
        + "- pypi: ./\n  name: small\n  requires_dist:\n  - flask>=3\n  - click>=8 ; extra == 'fast-lane'\n"
        "  requires_python: '>=3.12'\n"
    )


PYPROJECT_CASES = [
    ("nothing changed", "[project]\n", "[project]\n", UP),
    (
        "a dependency added that is locked",
        '"flask>=3"',
        '"flask>=3", "click"',
        OUT,
    ),  # the project's own metadata changed
    ("a dependency added that is not", '"flask>=3"', '"flask>=3", "polars"', OUT),
    ("a dependency tightened beyond the lock", '"flask>=3"', '"flask>=4"', OUT),
    ("requires-python beyond the lock", '">=3.12"', '">=3.13"', OUT),
    ("the version changed", '"0.1.0"', '"0.2.0"', UP),  # a source has no version in a lock of version 7
    ("a group wants more", '"click", {', '"polars", {', OUT),
    ("a group wants what is locked", '"click", {', '"click>=8", {', UP),
    ("a group in a circle", '["flask"]', '[{ include-group = "dev" }]', MANIFEST),
    ("a group that does not exist", '"web" }', '"wob" }', MANIFEST),
    ("an environment of an unknown group", '["dev", ', '["dove", ', MANIFEST),
    (
        "pixi's own python goes before requires-python",
        "[tool.pixi.environments]",
        '[tool.pixi.dependencies]\npython = "3.13.*"\n\n[tool.pixi.environments]',
        OUT,
    ),
    (
        "python in pixi as locked",
        "[tool.pixi.environments]",
        '[tool.pixi.dependencies]\npython = "3.12.*"\n\n[tool.pixi.environments]',
        UP,
    ),
    ("a requirement that is none", '"flask>=3"', '"flask=>3"', MANIFEST),
    (
        "a marker that leaves it out",
        '"flask>=3"',
        '"flask>=3", "gone; sys_platform == \'win32\'"',
        OUT,
    ),  # metadata again
    ("the project without a name", 'name = "small"\n', "", MANIFEST),
    ("an unknown key of the project", "dependencies = [", "depends = [", MANIFEST),
    ("an unknown key of tool.pixi", "[tool.pixi.environments]", "[tool.pixi.enviroments]", MANIFEST),
    ("workspace gone", "[tool.pixi.workspace]", "[tool.pixi.tasks]", MANIFEST),
    ("requires-pixi too high", "[tool.pixi.workspace]\n", '[tool.pixi.workspace]\nrequires-pixi = ">=1"\n', OLD),
    ("another tool's table", "[tool.pixi.workspace]", "[tool.ruff]\nline-length = 99\n\n[tool.pixi.workspace]", UP),
    ("dynamic dependencies: the lock is trusted", 'dependencies = ["flask>=3"]', 'dynamic = ["dependencies"]', UP),
]


@pytest.mark.parametrize(("what", "find", "replace", "verdict"), PYPROJECT_CASES, ids=[c[0] for c in PYPROJECT_CASES])
def test_pyproject(what, find, replace, verdict, tmp_path):
    workspace(tmp_path, edited(PYPROJECT, find, replace), pyproject_lock(), "pyproject.toml")
    assert lockcheck.judge(tmp_path).verdict == verdict, report_of(tmp_path)
    assert lockcheck.judge(tmp_path / "pyproject.toml").verdict == verdict


# --- the rest of the contract ------------------------------------------------------------------------------------


def test_pixi_toml_goes_before_pyproject(tmp_path):
    workspace(tmp_path)
    (tmp_path / "pyproject.toml").write_text("[tool.pixi.workspace]\nnonsense = 1\n")
    assert lockcheck.judge(tmp_path).verdict == UP


def test_no_manifest_is_one_message(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    for path in (tmp_path, tmp_path / "pixi.toml", tmp_path / "pixi.lock", tmp_path / "nowhere"):
        with pytest.raises(WorkspaceError, match="pixi init"):
            lockcheck.judge(path)


def test_an_old_lock_is_still_read(tmp_path):
    """A lock of version 6 has bare subdirs; what it holds satisfies, its format alone is out of date."""
    lock = legacy_lock(False)
    lock = "version: 6\n" + lock[lock.index("environments:") :]
    verdict = lockcheck.judge(workspace(tmp_path, LEGACY, lock))
    assert verdict.verdict == OUT and len(verdict.reasons) == 1 and "older format 6" in verdict.reasons[0].message


def test_a_platform_may_take_any_name_even_the_locks_alias(tmp_path):
    for name in ("p1", "p2", "box"):
        manifest = edited(
            edited(PIXI_TOML, 'name = "gpu"', f'name = "{name}"'), 'platforms = ["gpu"]', f'platforms = ["{name}"]'
        )
        assert lockcheck.judge(workspace(tmp_path / name, manifest)).verdict == UP, report_of(tmp_path / name)


def test_reasons_name_constraint_and_record(tmp_path):
    workspace(tmp_path, edited(PIXI_TOML, NP, 'numpy = ">=99"'))
    first = lockcheck.judge(tmp_path).reasons[0]
    assert (first.environment, first.platform, first.package) == ("default", "linux-64", "numpy")
    assert (first.constraint, first.record) == ("numpy >=99", "numpy 2.1.0 py312_0")


def test_warnings_leave_the_verdict_alone(tmp_path):
    lock = edited(pixi_lock(), f"{CONDA}/linux-64/libblas", "https://example.org/linux-64/libblas")
    lock = edited(lock, f"  sha256: {'f' * 64}\n", "")
    lock = edited(lock, CLICK, CLICK.replace(DEFAULT_INDEX_FILES, "example.org"))
    verdict = lockcheck.judge(workspace(tmp_path, PIXI_TOML, lock))
    assert verdict.verdict == UP, lockcheck.to_text(verdict)
    assert {w.package for w in verdict.warnings} == {"libblas", "flask", "click"}


def command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    env = {**os.environ, "PYTHONPATH": str(ROOT / "common"), "PYTHONIOENCODING": "utf-8"}
    return in_process.workshop(("lock-check", *arguments), cwd, env)


def test_the_command(tmp_path):
    workspace(tmp_path / "good")
    workspace(tmp_path / "bad", edited(PIXI_TOML, NP, 'numpy = ">=99"'))
    good = command(cwd=tmp_path / "good")
    assert (good.returncode, good.stdout.split(":")[0], good.stderr) == (0, UP, "")
    bad = command(str(tmp_path / "bad"), "--json", cwd=tmp_path)
    found = json.loads(bad.stdout)
    assert bad.returncode == 1 and found["verdict"] == OUT and found["next"] == "pixi lock"
    assert set(found) == {"verdict", "pixi", "manifest", "lock", "reasons", "warnings", "notes", "next"}
    assert set(found["reasons"][0]) == {"message", "environment", "platform", "package", "constraint", "record"}
    nothing = command(str(tmp_path), cwd=tmp_path)
    assert nothing.returncode == 1 and nothing.stdout == "" and nothing.stderr.startswith("looked at: ")


PIECES = st.sampled_from(
    [
        "[workspace]\n",
        "channels = []\n",
        "platforms = [",
        '"linux-64"',
        "]\n",
        "= {",
        "}",
        "[[x]]",
        "\x00",
        "\ufeff",
        "version: 7\n",
        "environments:\n",
        "packages:\n",
        "- conda: ",
        ": : [",
        "<<<<<<<",
        "[environments]\n",
        "a = {}\n",
        "[feature.x.dependencies]\n",
        "y = 1\n",
        "&a [*a]",
        "!!binary x",
    ]
)
ANY_BYTES = st.one_of(
    st.binary(max_size=200),
    st.lists(PIECES, max_size=12).map(lambda parts: "".join(parts).encode()),
    st.tuples(st.integers(0, len(PIXI_TOML)), st.binary(max_size=4)).map(
        lambda cut: PIXI_TOML.encode()[: cut[0]] + cut[1] + PIXI_TOML.encode()[cut[0] + 1 :]
    ),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=ANY_BYTES, which=st.sampled_from(["pixi.toml", "pixi.lock", "pyproject.toml"]))
@example(data=b"\xff\xfe", which="pixi.toml")
@example(data=b"a = " + b"[" * 5000, which="pixi.toml")
@example(data=b"[workspace]\nchannels = 1", which="pixi.toml")
@example(data=b"{" * 5000, which="pixi.lock")
def test_any_bytes_give_a_verdict_or_a_message(data, which, tmp_path):
    for name in ("pixi.toml", "pyproject.toml"):
        (tmp_path / name).unlink(missing_ok=True)
    workspace(tmp_path, *([PYPROJECT, pyproject_lock(), "pyproject.toml"] if which == "pyproject.toml" else []))
    (tmp_path / which).write_bytes(data)
    try:
        verdict = lockcheck.judge(tmp_path)
    except WorkspaceError as error:
        assert error.next_step
    else:
        assert verdict.verdict in WORDS and bool(verdict.reasons) == (verdict.verdict != UP)
        assert lockcheck.to_text(verdict) and json.loads(lockcheck.to_json(verdict))


def test_nothing_of_the_machine_is_loaded():
    """A check has to answer at once: no torch, jax or numpy comes in with it."""
    code = "import sys, pixi_workspace.fit.lockcheck; sys.exit(bool({'torch', 'jax', 'numpy', 'scipy'} & set(sys.modules)))"
    assert (
        subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT / "common")}).returncode
        == 0
    )


# By the rules of uv, which Pixi calls: crates/uv-platform-tags/src/tags.rs, `from_env` and `compatible_tags`.
WHEEL_TAGS = [
    ("py3-none-any", "linux-64", "3.12.7", True),
    ("py3-none-win_amd64", "win-64", "3.12.7", True),
    ("py3-none-win_amd64", "win-arm64", "3.12.7", False),
    ("cp312-cp312-manylinux_2_28_x86_64", "linux-64", "3.12.7", True),
    ("cp312-cp312-manylinux_2_34_x86_64", "linux-64", "3.12.7", False),
    ("cp312-cp312-musllinux_1_2_x86_64", "linux-64", "3.12.7", False),
    ("cp312-cp312-manylinux2014_aarch64", "linux-aarch64", "3.12.7", True),
    ("cp312-cp312-manylinux2010_aarch64", "linux-aarch64", "3.12.7", False),  # no glibc for ARM is so old
    ("cp38-abi3-macosx_10_12_x86_64.macosx_11_0_arm64", "osx-arm64", "3.12.7", True),
    ("cp312-cp312-macosx_10_13_universal2", "osx-arm64", "3.12.7", True),
    ("cp312-cp312-macosx_12_3_arm64", "osx-arm64", "3.12.7", False),  # from macOS 11 on, tags end in _0
    ("cp312-cp312-macosx_14_0_arm64", "osx-arm64", "3.12.7", False),
    ("cp313-abi3-linux_x86_64", "linux-64", "3.12.7", False),
    ("cp312-cp312t-linux_x86_64", "linux-64", "3.12.7", False),
    ("cp312-cp312-any", "linux-64", "3.12.7", False),  # `any` is for wheels without an ABI
    ("cp37-cp37m-manylinux1_x86_64", "linux-64", "3.7.12", True),
    ("cp312-cp312-win_amd64", "wasi-wasm32", "3.12.7", True),  # nothing is known about its wheels
    ("cp312-cp312-win_amd64", "linux-64", "unreadable", True),
]


@pytest.mark.parametrize("tags, subdir, python, fits", WHEEL_TAGS, ids=lambda value: str(value))
def test_the_tags_of_wheels(tags, subdir, python, fits):
    assert satisfy_pypi.wheel_fits(f"name-1.0-{tags}.whl", platforms.bare(subdir), python, False) is fits


def test_the_tags_of_wheels_for_a_free_threaded_python():
    def fits(tags: str) -> bool:
        return satisfy_pypi.wheel_fits(f"name-1.0-{tags}.whl", platforms.bare("linux-64"), "3.13.1", True)

    assert fits("cp313-cp313t-linux_x86_64") and not fits("cp313-cp313-linux_x86_64")
    assert not fits("cp38-abi3-linux_x86_64") and fits("py3-none-any")


def test_the_tags_of_wheels_for_versions_that_do_not_exist():
    """They are stated in a manifest, and must not keep the reader busy."""
    for subdir, name in (("linux-64", "__glibc"), ("osx-arm64", "__osx")):
        odd = platforms.build("odd", subdir, [platforms.VirtualPackage(name, "2000000000.2000000000")])
        assert satisfy_pypi.wheel_fits("name-1.0-py3-none-any.whl", odd, "3.12.7", False)
    assert satisfy_pypi.wheel_fits("name-1.0-py3-none-any.whl", platforms.bare("linux-64"), "3.2000000000", False)
