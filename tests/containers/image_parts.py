"""Create the two base images of exercise 5's Dockerfile locally, because tests cannot pull images.

The base is a Debian from debootstrap. The other one contains a **stand-in for pixi**: a shell script that copies the
Python of these tests, with everything that the training needs, to the path where Pixi would install an environment. So
the tests cover the Dockerfile (stages, paths, users, variables, digests), but not Pixi. Large libraries are links to
the packages of this machine, which every container gets as a read-only volume: PyTorch for CUDA loads 3.6 GB of them.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

import room
from packaging.requirements import Requirement

# The distributions that a training run on `digits` and its run record import.
NEEDED = (
    "torch",
    "numpy",
    "matplotlib",
    "scikit-learn",
    "safetensors",
    "rich",
    "filelock",
    "packaging",
    "tomli",
    "py-rattler",
)
BASE, STAND_IN = "localhost/debian-by-debootstrap:12", "localhost/pixi-stand-in:1"
PIXI = """\
#!/bin/sh
# Stand-in for pixi: `install --locked --environment NAME` copies a prepared environment.
set -eu
[ "$1" = install ] || { echo "stand-in: only install, not $1" >&2; exit 2; }
locked= name=default
while [ $# -gt 0 ]; do
  case "$1" in --locked) locked=yes ;; --environment) name=$2; shift ;; esac
  shift
done
[ "$locked" ] || { echo "stand-in: without --locked Pixi would solve anew" >&2; exit 1; }
[ -f pixi.lock ] || { echo "stand-in: no pixi.lock here" >&2; exit 1; }
grep -q "^$name = " pixi.toml || { echo "stand-in: unknown environment '$name'" >&2; exit 1; }
case "$name" in cuda*) [ "${CONDA_OVERRIDE_CUDA:-}" ] || { echo "stand-in: no __cuda here" >&2; exit 1; } ;; esac
mkdir -p .pixi/envs
cp -a /stand-in "$PWD/.pixi/envs/$name"
"""

# Code files; the others are data that a library reads, such as fonts, colours and licences.
CODE = re.compile(r"\.(py|pyi|pth|a|h|hpp|cpp|cu|cuh|bc|so)$|\.so[.\d]*$")
LIBRARY = re.compile(r"\.so[.\d]*$")
# Of larger distributions, only the files that a training loads are copied: torch and its requirements take up to 6 GB.
SMALL = 4 * 2**20  # bytes
LARGE_LIBRARY = 2**20  # bytes; larger libraries are linked instead of copied
PACKAGES = Path(sysconfig.get_path("platlib")).resolve()  # of this environment
MOUNTED = "/mnt/packages"  # its path in the containers
INTERPRETER = 150 * 2**20  # bytes of Python and its standard library, with a margin
# Largest number of copies of the environment in the storage (measured: 7.5): the stand-in's image, a running build (its
# container, its last stage, the new image) and the images of the tests.
COPIES = 8


class CannotBeMade(Exception):
    """The images cannot be created here; the message is one line."""


def say(*words, **more) -> str:
    process = subprocess.run(list(map(str, words)), capture_output=True, text=True, **more)
    if process.returncode:
        raise CannotBeMade(f"{words[0]} {words[1]}: {(process.stderr or process.stdout).strip().splitlines()[-1:]}")
    return process.stdout.strip()


def configured(folder: Path) -> dict[str, str]:
    """Environment variables that keep buildah and podman inside `folder`, in a way that also works in a container."""
    (folder / "storage.conf").write_text(
        f'[storage]\ndriver = "overlay"\nrunroot = "{folder}/run"\ngraphroot = "{folder}/graph"\n'
    )
    limits = '["nofile=1024:1024", "nproc=1024:1024"]'
    (folder / "containers.conf").write_text(
        f'[containers]\ndefault_ulimits = {limits}\nvolumes = ["{PACKAGES}:{MOUNTED}:ro"]\n[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\n'
        'events_logger = "file"\n'
    )
    (folder / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    return {
        "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
        "CONTAINERS_CONF": str(folder / "containers.conf"),
        "BUILDAH_ISOLATION": "chroot",
        "TMPDIR": str(folder),
    }


def debian(cache: Path, folder: Path) -> Path:
    """A tar archive of a minimal Debian, created once in `folder` and kept in `cache`."""
    release = platform.freedesktop_os_release() if Path("/etc/os-release").exists() else {}
    if release.get("ID") != "debian" or os.geteuid() != 0:
        raise CannotBeMade("debootstrap makes the base image on Debian, as root")
    suite = release["VERSION_CODENAME"]
    tar = cache / f"debootstrap-{suite}.tar"
    if not tar.exists():
        cache.mkdir(parents=True, exist_ok=True)
        root = folder / f"root-{suite}"
        # --foreign unpacks without configuring: only the dynamic loader, a shell and coreutils are needed.
        say("debootstrap", "--foreign", "--variant=minbase", suite, root)
        shutil.rmtree(root / "var/cache/apt", ignore_errors=True)
        shutil.rmtree(root / "debootstrap", ignore_errors=True)
        if (root / "proc").is_symlink():  # in a container, debootstrap creates a link that would point to itself
            (root / "proc").unlink()
            (root / "proc").mkdir()
        for name in ("passwd", "group"):
            shutil.copy(root / f"usr/share/base-passwd/{name}.master", root / "etc" / name)
        part = tar.with_name(f"{tar.name}.{os.getpid()}")
        say("tar", "-C", root, "-cf", part, ".")
        part.rename(tar)
        shutil.rmtree(root, ignore_errors=True)
    return tar


def files_of(distributions: tuple[str, ...], loaded: set[Path]) -> list[Path]:
    """The installed files of these distributions and of their requirements; of large ones only those in `loaded`."""
    waiting, seen, paths = list(distributions), set(), []
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # for another system, or not needed here
        for text in distribution.requires or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)
        files = [Path(distribution.locate_file(file)).resolve() for file in distribution.files or ()]
        files = [path for path in files if path.is_file() and path.suffix != ".pyc"]
        small = sum(path.stat().st_size for path in files) <= SMALL
        paths += [path for path in files if small or path in loaded or not CODE.search(path.name)]
    # torch looks for this helper when it is imported; the other files in bin/ are torch's tests.
    unused = {"include", "tests", "bin"}
    return sorted({p for p in paths if p.name == "torch_shm_manager" or not unused & set(p.parts[-6:])})


# When it ends, the training prints the code files that it opened.
LOADED = """
import atexit, importlib.util, sys
opened = set()
sys.addaudithook(lambda event, args: event == "open" and isinstance(args[0], str) and opened.add(args[0]))
def say():
    import rattler, sklearn.datasets, workshop.runs.records.record
    sources = {importlib.util.source_from_cache(p) for p in opened if p.endswith(".pyc") and "__pycache__" in p}
    mapped = {line.split(None, 5)[-1].strip() for line in open("/proc/self/maps")}
    with open(sys.argv[-1] + ".loaded", "w") as file:
        print(*opened, *sources, *mapped, sep="\\n", file=file)
atexit.register(say)
import runpy
sys.path[0] = ""
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def loaded(root: Path, folder: Path) -> set[Path]:
    """The code files that a training run on `digits` loads, including the creation of its data set."""
    script, output = root / "exercise-2-pytorch-cu12/solution/train.py", folder / "training"
    words = ("--data", "digits", "--epochs", "1", "--device", "cpu", "--output", output)
    variables = {
        "PYTHONPATH": str(root / "common"),
        "WORKSHOP_CACHE": str(folder / "cache"),
        "WORKSHOP_DEVICE": "",
        "PIXI_ENVIRONMENT_NAME": "cpu",
        "PIXI_PROJECT_ROOT": str(root),
    }
    say(sys.executable, "-c", LOADED, script, *words, env=os.environ | variables)
    return {Path(line).resolve() for line in Path(f"{output}.loaded").read_text().splitlines() if line.startswith("/")}


def environment(environment_folder: Path, root: Path) -> list[Path]:
    """Create an environment with the Python and the packages of these tests; return its libraries.

    Raises CannotBeMade where the images of it would not fit beside it.
    """
    code = {path for path in loaded(root, environment_folder.parent) if path.suffix != ".pyc"}
    paths = {path for path in (*files_of(NEEDED, code), *code) if path.is_relative_to(PACKAGES) and path.is_file()}
    large = {path for path in paths if LIBRARY.search(path.name) and path.stat().st_size > LARGE_LIBRARY}
    size = INTERPRETER + sum(path.stat().st_size for path in paths - large)
    if problem := room.problem(environment_folder.parent, COPIES * size):
        raise CannotBeMade(f"{COPIES} copies of an environment of {size / room.GIB:.1f} GiB: {problem}")
    stdlib, version = Path(sysconfig.get_path("stdlib")), f"python{sys.version_info[0]}.{sys.version_info[1]}"
    leave = (
        "site-packages",
        "dist-packages",
        "test",
        "tests",
        "idlelib",
        "tkinter",
        "turtledemo",
        "ensurepip",
        "lib2to3",
        "__pycache__",
        "config-*",
        "*.pyc",
    )
    shutil.copytree(stdlib, environment_folder / "lib" / version, ignore=shutil.ignore_patterns(*leave), symlinks=True)
    (environment_folder / "bin").mkdir()
    shutil.copy(Path(sys.executable).resolve(), environment_folder / "bin" / version)
    for name in ("python", "python3"):
        (environment_folder / "bin" / name).symlink_to(version)
    for path in paths:
        name = path.relative_to(PACKAGES)
        target = environment_folder / "lib" / version / "site-packages" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if path in large:
            target.symlink_to(f"{MOUNTED}/{name}")
        else:
            shutil.copy2(path, target)
    return [path for path in paths if LIBRARY.search(path.name)] + [
        *(environment_folder / "lib" / version).rglob("lib-dynload/*.so")
    ]


def needed_by(binaries: list[Path]) -> list[Path]:
    """The shared libraries of this machine, and not of its Python packages, that these files need."""
    paths = set()
    for start in range(0, len(binaries), 200):
        listed = subprocess.run(["ldd", *binaries[start : start + 200]], capture_output=True, text=True).stdout
        paths |= {Path(name) for name in re.findall(r"=> (/\S+)", listed)}
    return [path for path in sorted(paths) if "site-packages" not in path.parts]


def images(folder: Path, cache: Path, variables: dict[str, str], root: Path) -> None:
    """Create the images BASE and STAND_IN in the storage of `variables`."""
    more = {"env": os.environ | variables, "cwd": folder}
    binaries = environment(folder / "stand-in", root)
    extra = folder / "libraries"
    extra.mkdir()
    for path in needed_by([*binaries, Path(sys.executable).resolve()]):
        shutil.copy(path, extra / path.name)
    (folder / "empty").mkdir()
    base = say("buildah", "from", "scratch", **more)
    say("buildah", "add", base, debian(cache, folder), "/", **more)
    have = {path.name for path in Path(say("buildah", "mount", base, **more)).glob("*lib/*-linux-gnu/*")}
    have |= {path.name for path in Path(say("buildah", "mount", base, **more)).glob("usr/lib/*-linux-gnu/*")}
    for path in extra.iterdir():
        if path.name in have:
            path.unlink()
    say("buildah", "add", base, extra, "/usr/lib", **more)
    say("buildah", "add", base, folder / "empty", MOUNTED, **more)
    say("buildah", "config", "--env", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", base, **more)
    say("buildah", "commit", "-q", base, BASE, **more)
    (folder / "pixi").write_text(PIXI)
    say("buildah", "add", base, folder / "stand-in", "/stand-in", **more)
    say("buildah", "add", "--chmod", "755", base, folder / "pixi", "/usr/local/bin/pixi", **more)
    say("buildah", "commit", "-q", "--rm", base, STAND_IN, **more)
    shutil.rmtree(folder / "stand-in")
