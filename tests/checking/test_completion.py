"""The words that the shell offers when you press Tab."""

import shutil
import subprocess
import sys

import pytest
from conftest import ROOT

pytest.importorskip("shtab", reason="completion is written by shtab")
TRY = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
_shtab_workshop workshop "${@: -1}" "${@: -2:1}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    path = tmp_path_factory.mktemp("completion") / "workshop.bash"
    done = subprocess.run(
        [sys.executable, "-m", "workshop", "completion", "bash"], capture_output=True, text=True, cwd=ROOT / "common"
    )
    assert done.returncode == 0, done.stderr
    path.write_text(done.stdout)
    return path


@pytest.mark.skipif(not shutil.which("bash"), reason="bash is not here")
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["ch"], {"check", "check-all"}),
        (["check", "--"], {"--help", "--all", "--hint", "--json"}),
        (["slurm-train", ""], {"image", "packed", "python"}),
        (["lock-check", "exercise-2"], {"exercise-2-pytorch-cu12"}),
    ],
)
def test_bash_completes_words(script, typed, offered):
    words = ["bash", "-c", TRY, "bash", script, "workshop", *typed]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and set(done.stdout.split()) == offered, (done.stdout, done.stderr)


def test_zsh_gets_its_own_script():
    line = [sys.executable, "-m", "workshop", "completion", "zsh"]
    done = subprocess.run(line, capture_output=True, text=True, cwd=ROOT / "common")
    assert done.returncode == 0 and done.stdout.startswith("#compdef workshop")
