"""What `workshop lock-check` prints: each thing once, with what changed and advice that works."""

import subprocess

import pytest

from pixi_workspace import lock as locks
from pixi_workspace.fit import lockcheck

PLATFORM = (
    "version: 7\nplatforms:\n- name: linux-64\n  virtual-packages:\n  - __unix=0=0\n  - __linux=4.18\n  - __glibc=2.28\n"
    "  - __archspec=0=x86_64\nenvironments:\n"
)
FORGE, MIRROR = "https://conda.anaconda.org/conda-forge", "https://mirror.example/conda-forge"
HEAD = '[workspace]\nchannels = ["conda-forge"]\nplatforms = ["linux-64"]\n\n'


def workspace(folder, manifest, channels, environments=("default",), sha=True, md5=True):
    """A workspace whose lock holds lib0, lib1, ... of the given channels in every environment."""
    urls = [f"{channel}/linux-64/lib{number}-1.0-0.conda" for number, channel in enumerate(channels)]
    lock = PLATFORM
    for name in environments:
        lock += f"  {name}:\n    channels:\n    - url: {FORGE}/\n    packages:\n      linux-64:\n"
        lock += "".join(f"      - conda: {url}\n" for url in urls)
    lock += "packages:\n" + "".join(
        f"- conda: {u}\n" + f"  sha256: {'a' * 64}\n" * sha + f"  md5: {'b' * 32}\n" * md5 for u in urls
    )
    (folder / "pixi.toml").write_text(HEAD + manifest)
    (folder / "pixi.lock").write_text(lock)
    return lockcheck.judge(folder)


def needs(count):
    return "[dependencies]\n" + "".join(f'lib{number} = "*"\n' for number in range(count))


def test_a_mirror_is_one_line(tmp_path):
    verdict = workspace(tmp_path, needs(9), [MIRROR] * 9)
    assert [warning.message for warning in verdict.warnings] == [
        f"all 9 packages of the channel conda-forge come from the mirror {MIRROR}/, not from {FORGE}/ as in the manifest"
    ]
    mixed = workspace(tmp_path, needs(9), [MIRROR] * 8 + [FORGE])
    assert [warning.message[:10] for warning in mixed.warnings] == ["8 packages"]


def test_a_strange_channel_is_one_line(tmp_path):
    verdict = workspace(tmp_path, needs(9), ["https://example.org/other"] * 9)
    assert [warning.message for warning in verdict.warnings] == [
        "9 packages come from https://example.org/other/, none of the environment's channels: lib0, lib1, lib2 and 6 more"
    ]


def test_missing_hashes_are_one_line(tmp_path):
    verdict = workspace(tmp_path, needs(9), [FORGE] * 9, sha=False, md5=False)
    assert [warning.message.split(",")[0] for warning in verdict.warnings] == ["9 locked packages have no sha256"]
    verdict = workspace(tmp_path, needs(9), [FORGE] * 9, sha=False)
    assert [warning.message.split(":")[0] for warning in verdict.warnings] == [
        "9 locked packages have an md5 instead of a sha256"
    ]


def test_a_few_packages_are_named_with_their_address(tmp_path):
    verdict = workspace(tmp_path, needs(3), [FORGE, MIRROR, MIRROR])
    assert [(w.package, w.record) for w in verdict.warnings] == [
        (f"lib{number}", f"{MIRROR}/linux-64/lib{number}-1.0-0.conda") for number in (1, 2)
    ]


def test_a_solve_group_gives_each_reason_once(tmp_path):
    group = '\n[environments]\ndefault = { solve-group = "all" }\na = { solve-group = "all" }\nb = { solve-group = "all" }\n'
    manifest = '[dependencies]\nlib0 = ">=2"\n' + group
    verdict = workspace(tmp_path, manifest, [FORGE], ("default", "a", "b"))
    assert [(r.package, r.environment) for r in verdict.reasons] == [("lib0", "default, a, b")]
    alone = workspace(tmp_path, manifest.replace('{ solve-group = "all" }', "[]"), [FORGE], ("default", "a", "b"))
    assert [r.environment for r in alone.reasons] == ["default", "a", "b"]


def test_no_note_for_an_unused_extra(tmp_path):
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "x"\n\n[project.optional-dependencies]\nplot = ["matplotlib"]\n\n[dependency-groups]\n'
        'dev = ["six"]\n\n[tool.pixi.workspace]\nchannels = []\nplatforms = []\n\n'
        '[tool.pixi.feature.a.dependencies]\npython = "*"\n\n[tool.pixi.feature.b.dependencies]\npython = "*"\n'
    )
    assert lockcheck.judge(tmp_path).notes == ("in no environment, so nothing checks them: feature a, b",)


def test_a_git_lfs_pointer_is_called_one(tmp_path):
    (tmp_path / "pixi.toml").write_text(HEAD)
    (tmp_path / "pixi.lock").write_text(
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 512\n"
    )
    verdict = lockcheck.judge(tmp_path)
    assert verdict.verdict == "lock-error" and "Git LFS pointer" in verdict.reasons[0].message
    assert verdict.next_step == "git lfs pull"


def test_the_advice_for_merge_markers_works_on_an_unmerged_file(tmp_path):
    """`git checkout -- pixi.lock` fails there: "path is unmerged"."""

    def git(*arguments, code=0):
        author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        found = subprocess.run(["git", *author, *arguments], cwd=tmp_path, capture_output=True, text=True)
        assert found.returncode == code, found.stderr

    lock = tmp_path / "pixi.lock"
    git("init", "-q", "-b", "main")
    lock.write_text("version: 7\n")
    git("add", "pixi.lock")
    git("commit", "-q", "-m", "main")
    for branch in ("one", "two"):
        git("checkout", "-q", "-b", branch, "main")
        lock.write_text(f"version: 7\n# {branch}\n")
        git("commit", "-q", "-a", "-m", branch)
    git("checkout", "-q", "one")
    git("merge", "-q", "two", code=1)
    with pytest.raises(locks.LockError) as caught:
        locks.read(lock)
    assert "merge markers" in caught.value.found
    command = caught.value.next_step.partition(" && pixi lock")[0]
    assert command.startswith("git checkout --ours")
    git(*command.split()[1:])
    assert lock.read_text() == "version: 7\n# one\n"
