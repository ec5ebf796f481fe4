"""`workshop environments`: builds, drivers and sizes from a lock; and `needs`, which the doctor uses too."""

import json
import os
import re
import shutil
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import in_process
import pytest
from conftest import ROOT
from hypothesis import example, given
from hypothesis import strategies as st

from pixi_workspace import disk, environments, needs, platforms
from pixi_workspace.lock import LockedPackage
from pixi_workspace.needs import PlatformEnvironment
from workshop import workspaces

SOLUTION = ROOT / "exercise-2-pytorch-cu12/solution"


@pytest.fixture(scope="module")
def root() -> dict[tuple[str, str], PlatformEnvironment]:
    return {(env.environment, env.platform.name): env for env in environments.locked_environments(ROOT)[1]}


def run(*words, cwd=ROOT, **more):
    variables = os.environ | {"PYTHONPATH": str(ROOT / "common"), "COLUMNS": "80"} | more
    return in_process.workshop(("environments", *words), cwd, variables)


def conda(name, version, build="0", depends=()):
    return LockedPackage("conda", name, version, f"https://c/{name}-{version}-{build}.conda", build, depends=depends)


def wheel(name, version, tag="py3-none-any"):
    return LockedPackage("pypi", name, version, f"https://w/{name}-{version}-{tag}.whl")


def env(*packages, cuda=None, subdir="linux-64") -> PlatformEnvironment:
    if cuda is None:
        return PlatformEnvironment("e", platforms.bare(subdir), packages)
    declared = [platforms.VirtualPackage("__cuda", cuda)]
    return PlatformEnvironment("e", platforms.build("gpu", subdir, declared), packages)


# ---------------------------------------------------------------- the root's own lock


def test_builds_and_drivers_of_the_workshop(root):
    found = {key: environments.summary(one, None) for key, one in root.items()}
    gpu = found["cuda12", "linux-64-cuda12"]
    builds = {b["name"]: b for b in gpu["builds"]}
    assert builds["pytorch"]["build"].startswith("cuda129") and builds["pytorch"]["variant"] == "cuda 12.9"
    assert (gpu["platform_cuda"], gpu["cuda_version"], gpu["built_for_cuda"]) == ("12.0", "12.9", "12.9")
    assert (gpu["lowest_cuda_of_driver"], gpu["lowest_linux_driver"]) == ("12.0", "525.60.13")
    assert gpu["linux_driver_for_all_features"] == "575.51.03"
    frozen = found["cuda118-jax", "linux-64-cuda118"]
    assert (frozen["lowest_linux_driver"], frozen["built_for_cuda"]) == ("520.61.05", "11.8")
    assert [b["variant"] for b in frozen["builds"]] == ["cuda 11.8"]
    mixed = found["pypi-mixed", "linux-64-cuda12"]
    assert {b["name"]: b["variant"] for b in mixed["builds"]} == {"torch": "cuda 12.4", "torchvision": "cuda 12.4"}
    assert mixed["download_unknown"] == 16  # no lock holds the size of a wheel
    for name in ("linux-64", "linux-aarch64", "osx-arm64", "win-64"):
        cpu = found["cpu", name]
        assert {b["variant"] for b in cpu["builds"]} == {"cpu"} and cpu["lowest_cuda_of_driver"] is None
    assert not any(one["odd"] for one in found.values())  # on its own; what differs between platforms is below


def test_sizes_are_the_sums_of_the_lock(root):
    """Held against the text of the lock: rattler's records are not asked."""
    text = (ROOT / "pixi.lock").read_text()
    blocks = re.split(r"\n- (?=conda|pypi)", text.split("\npackages:\n")[1])
    sizes = {}
    for block in blocks:
        url = re.match(r"(?:- )?\w+: (\S+)", block)
        size = re.search(r"\n  size: (\d+)", block)
        sizes[url[1]] = int(size[1]) if size else None
    for one in root.values():
        held = [sizes[package.url] for package in one.packages]
        assert needs.download(one) == (sum(s or 0 for s in held), sum(s is None for s in held)), one.environment


def test_the_command_prints_every_environment_plainly(root):
    done = run()
    assert done.returncode == 1 and "1 odd" in done.stdout, done.stderr
    assert all(name in done.stdout for name, _ in root)
    assert "cuda12, cuda12-torch" in done.stdout  # one solve group, one block
    for words in (
        "525.60.13",
        "575.51.03",
        "520.61.05",
        "CUDA 12.9",
        "3,811 MiB in 187 packages",
        "16 of unknown size",
    ):
        assert words in done.stdout, words
    assert "\x1b" not in done.stdout and done.stdout.isascii()
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "Installed size: unknown" in done.stdout


def test_json_is_the_same_for_machines(root):
    done = run("--json")
    document = json.loads(done.stdout)
    # cpu-jax holds NumPy and PyTorch back on a Mac, as the comment in pixi.toml says.
    odd = [(e["environment"], e["platform"]) for e in document["environments"] if e["odd"]]
    assert done.returncode == 1 and document["odd"] is True and odd == [("cpu-jax", "osx-arm64")]
    assert [(e["environment"], e["platform"]) for e in document["environments"]] == list(root)
    assert all(e["installed_bytes"] is None or e["installed_bytes"] > 0 for e in document["environments"])


# ---------------------------------------------------------------- what a build is made for


@pytest.mark.parametrize(
    ("package", "kind"),
    [
        (conda("pytorch", "2.10.0", "cuda129_mkl_py312_h9ac99b3_303"), "cuda 12.9"),
        (conda("pytorch", "2.10.0", "cpu_generic_py312_h01a09e4_3"), "cpu"),
        (conda("pytorch", "1.11.0", "cuda111py310h385535d_1"), "cuda 11.1"),
        (conda("jaxlib", "0.4.23", "cuda118py311h63154d8_200"), "cuda 11.8"),
        (conda("jaxlib", "0.7.2", "cpu_py312h9a1a051_2"), "cpu"),
        (conda("pytorch", "2.0.1", "py3.10_cuda11.7_cudnn8.5.0_0"), "cuda 11.7"),
        (conda("pytorch", "2.0.1", "py3.10_cpu_0"), "cpu"),
        (conda("triton", "3.6.0", "cuda130py312h811769c_1"), "cuda 13.0"),
        (conda("x", "1", "cuda12_h0"), "cuda 12"),
        (conda("numpy", "2.5.2", "py312h33ff503_0"), None),
        (conda("libcublas", "12.9.1.4", "h9ab20c4_0"), None),
        (wheel("torch", "2.6.0+cu124"), "cuda 12.4"),
        (wheel("torch", "2.6.0+cpu"), "cpu"),
        (wheel("numpy", "2.5.2"), None),
    ],
)
def test_the_variant_of_a_build(package, kind):
    assert needs.variant(package) == kind


@given(st.text(max_size=60), st.text(max_size=20), st.sampled_from(["conda", "pypi"]))
def test_any_build_and_version_has_a_variant_or_none(build, version, kind):
    package = LockedPackage(kind, "torch", version, "https://w/x.whl", build)
    found = needs.variant(package)
    assert found is None or re.fullmatch(r"cpu|cuda( \d+(\.\d+)?)?", found), found
    odd = env(package, cuda="12.0")
    environments.summary(odd, None), workspaces.report_lines([odd], {"e": None})


def test_wheels_without_cuda_in_their_version_are_known_by_what_is_beside_them():
    plain = wheel("torch", "2.13.0")
    runtime = wheel("nvidia-cuda-runtime-cu12", "12.4.127")
    assert env(plain, runtime).variants == [(plain, "cuda 12.4")]
    assert env(plain).variants == [(plain, "cpu")]
    jaxlib = wheel("jaxlib", "0.10.2")
    assert env(jaxlib, wheel("jax-cuda12-plugin", "0.10.2")).variants[0][1].startswith("cuda")


# ---------------------------------------------------------------- what a machine has to have


@pytest.mark.parametrize(
    ("versions", "lowest"),
    [
        ([">=12"], "12"),
        (["*"], None),
        ([">=2.17,<3.0.a0"], "2.17"),
        (["12.*"], "12"),
        (["<13"], None),
        ([">=11.2|>=12.4"], "11.2"),
        ([">=11", ">=12.1,<13", "*"], "12.1"),
        (["==12.4"], "12.4"),
        ([">=9", ">=10"], "10"),
    ],
)
def test_the_lowest_version_that_meets_all(versions, lowest):
    found = needs.least([needs.Need("__cuda", version, "x") for version in versions])
    assert found == lowest
    if lowest and "|" not in versions[0]:
        assert all(needs.meets(lowest, version) for version in versions)


@example(["୦"])  # a digit, but not one of Pixi's versions
@given(st.lists(st.text(max_size=20), max_size=3))
def test_no_constraint_breaks_the_search_for_the_lowest(texts):
    for text in texts:
        assert isinstance(needs.meets("12.4", text), bool)
        assert not needs.meets(None, text)
    needs.least([needs.Need("__cuda", text, "x") for text in texts])


def test_the_lowest_cuda_is_the_highest_that_anything_requires():
    asks = conda("pytorch", "2", "cuda124_0", depends=("__cuda >=12.4", "python"))
    assert needs.lowest_cuda(env(asks, cuda="12.0")) == "12.4"
    assert needs.lowest_cuda(env(asks, cuda="12.8")) == "12.8"
    assert needs.lowest_cuda(env(asks)) == "12.4"
    assert needs.lowest_cuda(env(conda("pytorch", "2", "cuda124_0", depends=("__cuda",)))) == "0"
    assert needs.lowest_cuda(env(conda("numpy", "2"))) is None


def test_nvidias_table_only_goes_up():
    rows = list(needs.LINUX_DRIVERS.items())
    numbers = [(tuple(map(int, cuda.split("."))), tuple(map(int, driver.split(".")))) for cuda, driver in rows]
    assert numbers == sorted(numbers) and [d for _, d in numbers] == sorted(d for _, d in numbers)
    for major, driver in needs.MINOR_VERSION_COMPATIBILITY.items():
        # CUDA 11.0 came with a driver that was too early for the promise; all others came with the one that keeps it
        assert major == "11" or driver == needs.driver_for(f"{major}.0")
    assert needs.driver_for("12.7") == needs.LINUX_DRIVERS["12.8"]  # no toolkit of that number: the next one
    assert needs.driver_for("12") == "525.60.13" and needs.driver_for("99.0") is None


@pytest.mark.parametrize(
    ("tag", "glibc"),
    [
        ("cp312-cp312-manylinux_2_28_x86_64", "2.28"),
        ("cp312-cp312-manylinux2014_x86_64", "2.17"),
        ("cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64", "2.17"),
        ("cp312-cp312-manylinux_2_27_x86_64.manylinux_2_28_x86_64", "2.27"),
        ("py3-none-any", None),
        ("cp312-cp312-win_amd64", None),
    ],
)
def test_the_glibc_of_a_wheel(tag, glibc):
    assert needs.glibc_of_wheel(f"https://w/torch-2.6.0%2Bcu124-{tag}.whl") == glibc


# ---------------------------------------------------------------- what is odd


def test_a_silent_cpu_build_on_a_cuda_platform():
    cpu = conda("pytorch", "2.10.0", "cpu_generic_py312_0")
    assert needs.oddities(env(cpu, cuda="12.0"))[0].startswith("CPU BUILD")
    assert not needs.oddities(env(cpu))
    # beside a framework for the GPU, one for the CPU is somebody's choice
    assert not needs.oddities(env(cpu, conda("jaxlib", "0.7", "cuda129_0", ("__cuda",)), cuda="12.0"))


def test_a_cuda_build_on_a_platform_without_cuda():
    old = conda("pytorch", "1.11.0", "cuda111py310h385535d_1")
    assert needs.oddities(env(old))[0].startswith("CUDA BUILD")
    assert not needs.oddities(env(old, cuda="11.1"))


def test_a_build_of_a_later_major_than_the_platform_lets_in():
    new = [wheel("torch", "2.13.0+cu130"), wheel("nvidia-cuda-runtime", "13.0.96")]
    assert any(text.startswith("BUILT FOR CUDA 13.0") for text in needs.oddities(env(*new, cuda="12.0")))
    assert not needs.oddities(env(*new, cuda="13.0"))
    guarded = conda("pytorch", "2.13", "cuda130_0", ("__cuda >=13",))
    assert not needs.oddities(env(guarded, cuda="12.0"))


def test_a_cuda_wheel_gets_the_text_of_a_wheel():
    """A wheel cannot require a driver; no solver chose an old build for want of one."""
    found = needs.oddities(env(wheel("torch", "2.6.0+cu124")))
    assert len(found) == 1 and found[0].startswith("CUDA WHEEL") and "years old" not in found[0]


@pytest.mark.parametrize(
    ("held", "wheel_of_it", "twice"),
    [
        (conda("pytorch", "2.6.0", "cpu_0"), wheel("torch", "2.6.0"), True),
        (conda("libtorch", "2.6.0", "cpu_0"), wheel("torch", "2.6.0"), True),
        (conda("cudnn", "9.1.0"), wheel("nvidia-cudnn-cu12", "9.1.0.70"), True),
        (conda("jaxlib", "0.7.2", "cpu_0"), wheel("jaxlib", "0.7.2"), True),
        (conda("pytorch", "2.6.0", "cpu_0"), wheel("torchvision", "0.21.0"), False),
        (wheel("torch", "2.6.0"), wheel("nvidia-cudnn-cu12", "9.1.0.70"), False),
    ],
)
def test_a_package_from_conda_and_as_a_wheel(held, wheel_of_it, twice):
    assert any(text.startswith("TWICE") for text in needs.oddities(env(held, wheel_of_it))) is twice


@pytest.mark.parametrize(
    ("package", "kind"),
    [
        (conda("cupy", "14.0.1", "py312h0_0", ("cuda-version >=13.0,<14", "__cuda >=13")), "cuda 13.0"),
        (conda("gromacs", "2025.1", "nompi_h0_0", ("__cuda",)), "cuda 13.0"),
        (conda("cuda-cudart", "13.0.48", "h0_0", ("cuda-version >=13.0,<14",)), None),
        (conda("libcublas", "13.0.0", "h0_0", ("cuda-version >=13.0,<14",)), None),
        (conda("libmagma", "2.9.0", "h0_0", ("cuda-version >=13.0,<14",)), None),
        (wheel("cupy-cuda12x", "13.3.0"), "cuda 12"),
        (wheel("nvidia-cuda-runtime-cu12", "12.4.127"), None),
    ],
)
def test_what_needs_cuda_without_the_word_in_its_build(package, kind):
    found = dict((p.name, k) for p, k in env(package, conda("cuda-version", "13.0")).variants)
    assert found.get(package.name) == kind


def dated(name, version, day, build="cpu_0"):
    return replace(conda(name, version, build), timestamp=datetime.fromisoformat(f"{day}T00:00:00+00:00"))


@pytest.mark.parametrize(
    ("here", "there", "old"),
    [
        (dated("pytorch", "2.2.2", "2024-03-01"), dated("pytorch", "2.10.0", "2026-01-29"), True),
        (dated("pytorch", "2.9.0", "2025-11-01"), dated("pytorch", "2.10.0", "2026-01-29"), False),
        (dated("pytorch", "2.10.0", "2024-03-01"), dated("pytorch", "2.10.1", "2026-01-29"), False),
        (dated("numpy", "1.26.4", "2024-02-06"), dated("numpy", "2.5.2", "2026-08-10"), True),
        (dated("urllib3", "2.0.3", "2023-06-07"), dated("urllib3", "2.7.0", "2026-05-07"), False),  # nobody requires it
        (wheel("torch", "2.2.2"), wheel("torch", "2.6.0"), True),
        (wheel("torch", "2.5.1"), wheel("torch", "2.6.0"), False),
    ],
)
def test_a_release_that_is_much_older_than_on_another_platform(here, there, old):
    mac = replace(env(here, subdir="osx-64"), required=frozenset({"numpy"}))
    found = needs.oddities(mac, [env(there)])
    assert any(text.startswith("MUCH OLDER") and "on linux-64" in text for text in found) is old
    assert not needs.oddities(env(there), [mac])


def test_the_wheel_that_needs_the_newest_glibc_is_named():
    torch = wheel("torch", "2.6.0", "cp312-cp312-manylinux_2_28_x86_64")
    older = wheel("numpy", "2.5.2", "cp312-cp312-manylinux2014_x86_64")
    python = conda("python", "3.12.7", depends=("__glibc >=2.17,<3.0.a0",))
    assert needs.wheel_for_glibc(env(torch, older, python)) == torch
    assert needs.wheel_for_glibc(env(torch, conda("x", "1", depends=("__glibc >=2.28",)))) is None
    assert needs.wheel_for_glibc(env(python)) is None
    printed = " ".join(" ".join(workspaces.report_lines([env(torch, python)], {"e": None})).split())
    assert "glibc 2.28 (the wheel torch 2.6.0)" in printed


def test_the_reason_for_a_source_archive():
    archive = LockedPackage("pypi", "fast", "1.0", "https://w/fast-1.0.tar.gz")
    here = env(archive)
    assert needs.source_archives(here, [here]) == [(archive, "its index has no wheel for this platform and Python")]
    newer = env(wheel("fast", "1.0", "cp312-cp312-manylinux_2_34_x86_64"))
    assert (
        needs.source_archives(here, [here, newer])[0][1] == "its wheel needs glibc 2.34, and the platform promises 2.28"
    )
    mac = env(wheel("fast", "1.0", "cp312-cp312-macosx_11_0_arm64"), subdir="osx-arm64")
    assert "the lock holds cp312-cp312-macosx_11_0_arm64 elsewhere" in needs.source_archives(here, [mac])[0][1]
    other = env(wheel("fast", "2.0", "cp312-cp312-macosx_11_0_arm64"), subdir="osx-arm64")
    assert needs.source_archives(here, [other])[0][1] == "its index has no wheel for this platform and Python"
    assert "fast 1.0 is built on installation" in " ".join(
        " ".join(workspaces.report_lines([here], {"e": None})).split()
    )


def test_a_lock_with_the_cpu_build_in_the_gpu_environment(tmp_path):
    """The whole way, by the command: exit code 1 and a word that nobody overlooks."""
    for name in ("pixi.toml", "pixi.lock"):
        shutil.copy(SOLUTION / name, tmp_path)
    assert run(tmp_path).returncode == 0
    lock = tmp_path / "pixi.lock"
    lock.write_text(lock.read_text().replace("-cuda129_mkl_", "-cpu_mkl_").replace("-cuda129_py", "-cpu_py"))
    done = run(tmp_path)
    assert done.returncode == 1 and done.stdout.count("CPU BUILD") == 1, done.stdout + done.stderr
    gpu = " ".join(done.stdout.split("\ncuda12")[1].split())
    assert "for the CPU; triton 3.6.0 cuda129py312h811769c_1: for CUDA 12.9" in gpu  # each for what it is built for
    assert json.loads(run(tmp_path, "--json").stdout)["odd"] is True


def test_an_environment_that_the_lock_lacks(tmp_path):
    shutil.copy(SOLUTION / "pixi.lock", tmp_path)
    text = (SOLUTION / "pixi.toml").read_text()
    (tmp_path / "pixi.toml").write_text(text.replace("[environments]", '[environments]\nextra = ["cpu"]'))
    done = run(tmp_path)
    assert done.returncode == 0 and "nothing is locked; next: pixi lock" in done.stdout, done.stdout + done.stderr


# ---------------------------------------------------------------- installed size, bad input


def test_the_installed_size_is_measured_or_unknown(tmp_path):
    folder = tmp_path / ".pixi" / "envs" / "cpu"
    assert disk.installed(tmp_path, "cpu") is None
    (folder / "conda-meta").mkdir(parents=True)
    (folder / "a").write_bytes(b"x" * 5000)
    (folder / "b").hardlink_to(folder / "a")
    (folder / "conda-meta" / "a.json").write_bytes(b"y" * 70)
    (folder / "nowhere").symlink_to("missing")
    assert disk.installed(tmp_path, "cpu") == 5070 + len("missing")


def test_detached_environments_are_followed(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("PIXI_HOME", "XDG_CONFIG_HOME", "APPDATA", "PIXI_CACHE_DIR", "RATTLER_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    assert disk.environments_folder(tmp_path) == tmp_path / ".pixi" / "envs"
    config = tmp_path / "home" / ".pixi" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text('detached-environments = "~/scratch"\n')
    assert disk.environments_folder(tmp_path) == tmp_path / "home" / "scratch"
    monkeypatch.setenv("PIXI_CACHE_DIR", str(tmp_path / "cache"))
    config.write_text("detached-environments = true\n")
    assert disk.environments_folder(tmp_path) == tmp_path / "cache"
    (tmp_path / ".pixi").mkdir()
    (tmp_path / ".pixi" / "config.toml").write_text("detached-environments = false\n")
    assert disk.environments_folder(tmp_path) == tmp_path / ".pixi" / "envs"
    (tmp_path / ".pixi" / "config.toml").write_bytes(b"\xff= [")  # broken: the next one speaks
    assert disk.environments_folder(tmp_path) == tmp_path / "cache"


BAD = {
    "no manifest": (lambda folder: (folder / "pixi.toml").unlink(), "neither of them"),
    "no lock": (lambda folder: (folder / "pixi.lock").unlink(), "no such file"),
    "broken manifest": (lambda folder: (folder / "pixi.toml").write_text("[workspace\n"), "pixi.toml"),
    "broken lock": (lambda folder: (folder / "pixi.lock").write_text("version: 7\nplatforms: 3\n"), "pixi.lock"),
    "merge markers": (lambda folder: (folder / "pixi.lock").write_text("<<<<<<< HEAD\n"), "merge markers"),
    "binary lock": (lambda folder: (folder / "pixi.lock").write_bytes(bytes(range(256))), "not UTF-8"),
    "a folder as lock": (lambda folder: ((folder / "pixi.lock").unlink(), (folder / "pixi.lock").mkdir()), "a folder"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_message(tmp_path, refused, name):
    spoil, words = BAD[name]
    folder = tmp_path / "work shop ä"
    folder.mkdir()
    for file in ("pixi.toml", "pixi.lock"):
        shutil.copy(SOLUTION / file, folder)
    spoil(folder)
    refused(run(folder), words)


def test_another_workspace_and_an_ascii_terminal(tmp_path):
    folder = tmp_path / "wörk"
    folder.mkdir()
    for file in ("pixi.toml", "pixi.lock"):
        shutil.copy(SOLUTION / file, folder)
    done = run(folder / "pixi.toml", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == 0 and "cuda129" in done.stdout, done.stderr
    assert run(Path("nowhere")).returncode == 1


def test_what_pixi_wrote_is_read(written_by_pixi):
    """No traceback, and every environment is listed."""
    for lock in written_by_pixi.glob("*/pixi.lock"):
        manifest, found = environments.locked_environments(lock.parent)
        assert {p.environment for p in found} == set(manifest.environments), lock


def test_the_table_of_drivers(capsys):
    from workshop import cli

    assert cli.main(["drivers"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "12.9   575.51.03              525.60.13             5.0 to 12.1" in lines and "  9.0  H100, H200" in lines
    assert cli.main(["drivers", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cuda"][-1]["compute_capabilities"] == ["7.5", "12.1"]
    assert needs.capabilities_of("10.2") is None and needs.capabilities_of("12.10") == ("5.0", "12.1")
