"""Things that are not the file that a command expects: pipes, devices, endless links, huge files, folders, bad bytes."""

import shutil

import attack
import pytest
from conftest import ROOT

from pixi_workspace import disk
from pixi_workspace import files as files_of_workspaces
from workshop import exercises
from workshop.containers import check
from workshop.jobs import batch_files
from workshop.support import files

KINDS = {kind.__name__: kind for kind in attack.NO_FILES}
MANIFEST = '[workspace]\nname = "x"\nchannels = ["conda-forge"]\nplatforms = ["linux-64"]\n'
PACKAGE = (
    '[package]\nname = "x"\nversion = "1"\n[package.build]\nbackend = { name = "pixi-build-python", version = "*" }\n'
)
LOCK = "version: 7\nplatforms: []\nenvironments: {}\npackages: []\n"
# The command, the file that is replaced, and the other files beside it.
COMMANDS = {
    "lock-check, pixi.toml": (("lock-check",), "pixi.toml", {}),
    "lock-check, pyproject.toml": (("lock-check",), "pyproject.toml", {}),
    "lock-check, pixi.lock": (("lock-check",), "pixi.lock", {"pixi.toml": MANIFEST}),
    "lock-check, the workspace above": (("lock-check", "member"), "pixi.toml", {"member/pixi.toml": PACKAGE}),
    "environments, pixi.toml": (("environments",), "pixi.toml", {}),
    "environments, pixi.lock": (("environments",), "pixi.lock", {"pixi.toml": MANIFEST}),
    "audit, pixi.toml": (("audit",), "pixi.toml", {}),
    "audit, pixi.lock": (("audit",), "pixi.lock", {"pixi.toml": MANIFEST}),
    "lock-slice, pixi.toml": (("lock-slice",), "pixi.toml", {}),
    "container-check, Dockerfile": (("container-check", "Dockerfile"), "Dockerfile", {"pixi.toml": MANIFEST}),
    "container-check, a definition": (("container-check", "x.def"), "x.def", {"pixi.toml": MANIFEST}),
    "container-check, its folder": (("container-check",), "Dockerfile", {"pixi.toml": MANIFEST}),
    "container-check, its manifest": (("container-check", "Dockerfile"), "pixi.toml", {"Dockerfile": "FROM a\n"}),
    "container-check, its lock": (
        ("container-check", "Dockerfile"),
        "pixi.lock",
        {"Dockerfile": "FROM ghcr.io/prefix-dev/pixi:0.77.0\nCOPY . .\nRUN pixi install\n", "pixi.toml": MANIFEST},
    ),
    "progress, exercise.toml": (("progress",), "exercise-1-x/exercise.toml", {"exercise-1-x/checks.py": ""}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", COMMANDS)
def test_commands(tmp_path, monkeypatch, name, kind):
    """They end with a message, or as if the file were not there; never with an answer about its content."""
    monkeypatch.setattr(check, "hadolint", lambda file: "not installed")
    words, file, others = COMMANDS[name]
    for other, text in others.items():
        (tmp_path / other).parent.mkdir(exist_ok=True)
        (tmp_path / other).write_text(text)
    (tmp_path / file).parent.mkdir(exist_ok=True)
    KINDS[kind](tmp_path / file)
    done = attack.call(*words, *((tmp_path,) if len(words) == 1 and words != ("progress",) else ()), cwd=tmp_path)
    # A folder is searched for files only, so a link that leads nowhere is not found there; `audit` ends with 2 where there is nothing to look at.
    attack.answered(done, codes=(0, 1, 2) if kind == "endless_link" else (1, 2))
    assert done.stderr.startswith("looked at:") or done.stdout, done.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_readers(tmp_path, kind):
    path = KINDS[kind](tmp_path / "x")
    for read in (files.read_bytes, files_of_workspaces.read_bytes):
        if kind != "latin_1":
            with pytest.raises(OSError) as error:
                read(path)
            assert error.value.strerror and error.value.filename == str(path)
    for read in (files.read_toml, files_of_workspaces.read_toml, files_of_workspaces.read_text):
        with pytest.raises((OSError, ValueError)):
            read(path)
    assert files.is_safe_file(path) == (kind == "latin_1")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("read", [batch_files.read_batch, batch_files.read_submit])
def test_job_files(tmp_path, read, kind):
    done = attack.call(KINDS[kind](tmp_path / "x"), function=_as_command(read))
    attack.refused(done, "x")


def _as_command(read):
    from workshop.errors import errors_as_messages

    def command(*words):
        with errors_as_messages():
            read(*words)
        return 0

    return command


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", [".pixi/config.toml", "home/.pixi/config.toml", "home/.config/pixi/config.toml"])
def test_pixis_own_configuration(tmp_path, monkeypatch, place, kind):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for variable in ("PIXI_HOME", "XDG_CONFIG_HOME", "APPDATA"):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / place).parent.mkdir(parents=True)
    KINDS[kind](tmp_path / place)
    done = attack.call(tmp_path, function=disk.environments_folder)
    assert done.returncode == tmp_path / ".pixi/envs"


CONFIGURATIONS = {
    "no such user": 'detached-environments = "~nouser-here/x"\n',
    "deep": "a = " + "[" * 100_000 + "\n",
    "deep tables": "a = " + "{a=" * 100_000 + "\n",
    "a long key": "a." * 100_000 + "a = 1\n",
    "a long key in quotes": '"a".' * 100_000 + "a = 1\n",
    "a long header": "[" + "a." * 100_000 + "a]\n",
    "a zero byte": 'detached-environments = "\\u0000"\n',
    "a long path": f'detached-environments = "/{"a" * 100_000}"\n',
    "a number": "detached-environments = 7\n",
    "a list": "detached-environments = [true]\n",
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_content_of_pixis_configuration(tmp_path, monkeypatch, name):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".pixi").mkdir()
    (tmp_path / ".pixi/config.toml").write_text(CONFIGURATIONS[name])
    folder = attack.call(tmp_path, function=disk.environments_folder).returncode
    attack.call(folder, function=disk.free)


def test_a_link_to_a_file_is_a_file(tmp_path):
    (tmp_path / "link").symlink_to(ROOT / "pixi.toml")
    assert files.read_bytes(tmp_path / "link") == (ROOT / "pixi.toml").read_bytes()
    assert files_of_workspaces.read_toml(tmp_path / "link")["workspace"]


def test_a_file_that_grows_while_it_is_read(tmp_path, monkeypatch):
    """Files under /proc have the size 0."""
    path = tmp_path / "x"
    path.write_text("123456789")
    monkeypatch.setattr(files, "_check", lambda *_: None)
    with pytest.raises(OSError, match="more than"):
        files.read_bytes(path, 8)


def test_exercises_of_another_folder(tmp_path):
    for name in ("exercise-1-a", "exercise-2-b"):
        shutil.copytree(ROOT / "exercise-1-scipy", tmp_path / name, ignore=lambda *_: {"starter", "solution"})
    assert [e.number for e in exercises.find_all(tmp_path)] == [1, 2]
