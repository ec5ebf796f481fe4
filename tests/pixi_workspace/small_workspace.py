"""A workspace of three environments whose lock fits its manifest: tests edit one of the two and judge the result."""

from __future__ import annotations

from pathlib import Path

from pixi_workspace.fit import lockcheck
from pixi_workspace.fit.satisfy_pypi import DEFAULT_INDEX_FILES
from pixi_workspace.lock import DEFAULT_INDEX

UP, OUT, MANIFEST, LOCK, OLD = "up-to-date", "out-of-date", "manifest-error", "lock-error", "pixi-too-old"

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

# What the tests' edits replace, and the two files they replace it in.
WS, DEPS, ENVS, WEB = "[workspace]\n", "[dependencies]\n", "[environments]\n", 'flask = ">=3"\n'
PY, NP = 'python = "3.12.*"', 'numpy = ">=2"'
T, L = "pixi.toml", "pixi.lock"

# Folders of Pixi's source.
SAT = "pixi_core/src/lock_file/satisfiability"
TOML = "pixi_manifest/src/toml"


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


def write_edited(folder: Path, file: str, find: str, replace: str) -> Path:
    """Write the workspace with one edit in `file`, which is pixi.toml or pixi.lock."""
    if file == T:
        return workspace(folder, manifest=edited(PIXI_TOML, find, replace))
    return workspace(folder, lock=edited(pixi_lock(), find, replace))
