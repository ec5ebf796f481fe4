"""`workshop lock-check` on packages from PyPI: the verdicts that Pixi's source gives, and the wheels that uv accepts.

Each case names the file and line of Pixi 0.77.0 that decides it (paths below `crates/`).
"""

from __future__ import annotations

import pytest
import small_workspace
from small_workspace import FLASK, OUT, SAT, UP, WEB, L, T, report_of

from pixi_workspace import platforms
from pixi_workspace.fit import lockcheck, satisfy_pypi
from pixi_workspace.lock import DEFAULT_INDEX

# (what, file, find, replace, verdict, where Pixi decides it)
CASES = [
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
]


@pytest.mark.parametrize(("what", "file", "find", "replace", "verdict", "source"), CASES, ids=[c[0] for c in CASES])
def test_agrees_with_pixis_source(what, file, find, replace, verdict, source, tmp_path):
    small_workspace.write_edited(tmp_path, file, find, replace)
    assert lockcheck.judge(tmp_path).verdict == verdict, f"{source}\n{report_of(tmp_path)}"


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
