"""Manifests that need a later Pixi than the one whose rules are mirrored: another Pixi decides, or a note says so."""

import os
import sys

import pytest

from pixi_workspace.fit import lockcheck

MANIFEST = '[workspace]\nchannels = ["conda-forge"]\nplatforms = ["linux-64"]\nrequires-pixi = "{}"\n{}'
LOCK = (
    "version: 7\nplatforms:\n- name: linux-64\n  virtual-packages:\n  - __unix=0=0\n  - __linux=4.18\n  - __glibc=2.28\n"
    "  - __archspec=0=x86_64\nenvironments:\n  default:\n    channels:\n"
    "    - url: https://conda.anaconda.org/conda-forge/\n    packages: {}\npackages: []\n"
)


@pytest.fixture(autouse=True)
def no_pixi(monkeypatch, tmp_path):
    """No Pixi on the PATH, whatever this machine has."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path / "bin"


def workspace(folder, requires=">=0.71", more="", lock=LOCK):
    (folder / "pixi.toml").write_text(MANIFEST.format(requires, more))
    (folder / "pixi.lock").write_text(lock)
    return folder


def put_pixi(folder, version, code, printed):
    """A `pixi` that states its version, and answers `pixi lock --check --dry-run` with a code and a text."""
    path = folder / "pixi"
    path.write_text(
        f"#!{sys.executable}\nimport sys\nif '--version' in sys.argv: print('pixi {version}'); sys.exit(0)\n"
        f"assert '--dry-run' in sys.argv and '--check' in sys.argv\nprint({printed!r}, file=sys.stderr)\nsys.exit({code})\n"
    )
    path.chmod(0o755)


def test_a_later_pixi_of_the_series_is_no_error(tmp_path):
    verdict = lockcheck.judge(workspace(tmp_path, ">=0.78"))
    assert verdict.verdict == "up-to-date" and any("'>=0.78'" in note for note in verdict.notes)


def test_its_new_keys_are_named_in_the_note(tmp_path):
    verdict = lockcheck.judge(
        workspace(tmp_path, ">=0.80,<0.90", 'colour = "red"\n\n[tasks]\na = { cmd = "a", when = "b" }\n')
    )
    assert verdict.verdict == "up-to-date"
    assert any("[workspace] colour, [tasks] a when" in note for note in verdict.notes)


@pytest.mark.parametrize(
    ("requires", "more", "word"),
    [(">=9", "", "pixi-too-old"), ("<0.70", "", "pixi-too-old"), (">=0.71", 'colour = "red"\n', "manifest-error")],
)
def test_what_no_later_pixi_of_the_series_changes(requires, more, word, tmp_path):
    assert lockcheck.judge(workspace(tmp_path, requires, more)).verdict == word


@pytest.mark.skipif(os.name == "nt", reason="the stand-in is a script with a shebang line")
@pytest.mark.parametrize(
    ("code", "printed", "word"),
    [
        (0, "Dry-run: lock file would not change", "up-to-date"),
        (1, "Error:   × lock file not up-to-date with the workspace", "out-of-date"),
        (1, "Error:   × failed to solve the pypi requirements of environment 'default'", "out-of-date"),
        (1, "Error:   × Failed to load lock file from `pixi.lock`", "lock-error"),
        (1, "Error:   × Unexpected keys\n   ╭─[/work/pixi.toml:2:1]", "manifest-error"),
        (1, "Error:   × the disk is full", "cannot-tell"),
    ],
)
def test_a_newer_pixi_on_the_path_decides(code, printed, word, tmp_path, no_pixi):
    put_pixi(no_pixi, "0.81.2", code, printed)
    for requires, more, lock in (
        (">=0.78", "", LOCK),
        (">=9", "", LOCK),
        (">=0.71", 'colour = "red"\n', LOCK),
        (">=0.71", "", LOCK.replace("version: 7", "version: 8")),
    ):
        verdict = lockcheck.judge(workspace(tmp_path, requires, more, lock))
        assert verdict.verdict == word and "this is the verdict of pixi 0.81.2 on the PATH" in verdict.notes
    assert "on the PATH" not in str(lockcheck.judge(workspace(tmp_path)).notes)  # nothing newer is needed


@pytest.mark.skipif(os.name == "nt", reason="the stand-in is a script with a shebang line")
def test_an_older_pixi_on_the_path_does_not(tmp_path, no_pixi):
    put_pixi(no_pixi, "0.70.0", 0, "")
    assert lockcheck.judge(workspace(tmp_path, ">=9")).verdict == "pixi-too-old"
