"""`workshop lock-check` on a workspace in pyproject.toml, and on any bytes in any of the three files."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from small_workspace import (
    BASE,
    CLICK,
    CONDA,
    DEFAULTS,
    FLASK,
    MANIFEST,
    OLD,
    OUT,
    PIXI_TOML,
    UP,
    edited,
    environment,
    pixi_lock,
    report_of,
    rows,
    workspace,
)

from pixi_workspace.errors import WorkspaceError
from pixi_workspace.fit import lockcheck
from pixi_workspace.lock import DEFAULT_INDEX

WORDS = {"up-to-date", "out-of-date", "manifest-error", "lock-error", "pixi-too-old", "cannot-tell"}

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
