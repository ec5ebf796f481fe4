"""`workshop lock-check` against the verdicts of the real `pixi lock --check`, and what the command prints.

Pixi 0.77.0 gave the verdicts in tests/data/pixi-verdicts.json.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import in_process
import pytest
from conftest import DATA, ROOT
from small_workspace import (
    BASE,
    CLICK,
    CONDA,
    DEFAULTS,
    MANIFEST,
    NP,
    OUT,
    PIXI_TOML,
    UP,
    edited,
    environment,
    pixi_lock,
    record,
    report_of,
    rows,
    workspace,
)

from pixi_workspace.errors import WorkspaceError
from pixi_workspace.fit import lockcheck
from pixi_workspace.fit.satisfy_pypi import DEFAULT_INDEX_FILES

# Edits that Pixi accepts and `lock-check` warns about, with a word of the warning.
WARNED = {"lock-sha-dropped": "sha256", "lock-url-other": "channels"}
VERDICTS = json.loads((DATA / "pixi-verdicts.json").read_text(encoding="utf-8"))


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


def test_nothing_of_the_machine_is_loaded():
    """A check has to answer at once: no torch, jax or numpy comes in with it."""
    code = "import sys, pixi_workspace.fit.lockcheck; sys.exit(bool({'torch', 'jax', 'numpy', 'scipy'} & set(sys.modules)))"
    assert (
        subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT / "common")}).returncode
        == 0
    )
