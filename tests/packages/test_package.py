"""`workshop package`: archives of both formats, Pixi's cache and the lock, and what is not a package."""

import io
import json
import shutil
import tarfile
import zipfile

import pytest
from conftest import ROOT

from workshop import cli
from workshop.errors import WorkshopError
from workshop.packages import cache, command, contents

INDEX = {
    "name": "tool",
    "version": "1.2",
    "build": "cuda129_0",
    "build_number": 0,
    "subdir": "linux-64",
    "license": "MIT",
    "depends": ["python >=3.12"],
    "constrains": ["tool-data >=3"],
}
PATHS = [
    {"_path": "bin/tool", "path_type": "hardlink", "size_in_bytes": 30, "sha256": "0" * 64}
    | {"prefix_placeholder": "/home/build/place", "file_mode": "text"},
    {"_path": "lib/tool.so", "path_type": "hardlink", "size_in_bytes": 2000, "sha256": "0" * 64},
    {"_path": "lib/tool.so.1", "path_type": "softlink"},
]
FILES = {
    "info/index.json": INDEX,
    "info/paths.json": {"paths_version": 1, "paths": PATHS},
    "info/run_exports.json": {"weak": ["tool >=1.2,<2"], "strong_constrains": ["old-tool <0"]},
}


def tar(files, compressed=False):
    """The bytes of a tar file with these JSON files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:bz2" if compressed else "w") as archive:
        for name, value in files.items():
            content = json.dumps(value).encode()
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def zstd(content):
    """A frame of Zstandard that holds the content without compressing it, in one block (RFC 8878)."""
    assert len(content) < 2**17
    header = b"\x28\xb5\x2f\xfd\xa0" + len(content).to_bytes(4, "little")
    return header + (len(content) << 3 | 1).to_bytes(3, "little") + content


@pytest.fixture
def conda_file(tmp_path):
    path = tmp_path / "tool-1.2-cuda129_0.conda"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", '{"conda_pkg_format_version": 2}')
        archive.writestr("pkg-tool-1.2-cuda129_0.tar.zst", zstd(tar({})))
        archive.writestr("info-tool-1.2-cuda129_0.tar.zst", zstd(tar(FILES)))
    return path


@pytest.fixture
def bz2_file(tmp_path):
    path = tmp_path / "tool-1.2-cuda129_0.tar.bz2"
    path.write_bytes(tar(FILES, compressed=True))
    return path


@pytest.fixture
def package_cache(tmp_path, monkeypatch):
    """A package cache with two builds of `tool`, the folder of one with a checksum, and a folder without a package."""
    folder = tmp_path / "pkgs"
    for name, build in (("tool-1.2-cuda129_0", "cuda129_0"), ("tool-1.2-cpu_0-0123abcd", "cpu_0")):
        (folder / name / "info").mkdir(parents=True)
        for path, value in FILES.items():
            value = value | {"build": build} if path == "info/index.json" else value
            (folder / name / path).write_text(json.dumps(value))
    (folder / "tool-box-2-0").mkdir()
    monkeypatch.setenv("PIXI_CACHE_CONDA_PACKAGES_DIR", str(folder))
    return folder


def printed(capsys, *words):
    """What the command prints, on one line."""
    assert cli.main(["package", *map(str, words)]) == 0
    return " ".join(capsys.readouterr().out.split())


def test_a_conda_file(capsys, conda_file):
    text = printed(capsys, conda_file)
    assert "package tool 1.2, build cuda129_0; licence MIT" in text
    assert "a zip of metadata.json (31 bytes), pkg-tool-1.2-cuda129_0.tar.zst" in text
    assert "noarch no, built for linux-64 alone" in text
    assert "depends python >=3.12 constrains tool-data >=3" in text
    assert "weak: tool >=1.2,<2; strong_constrains: old-tool <0" in text
    assert "files 3, 1 of them links, 2,030 bytes: lib/tool.so, bin/tool, lib/tool.so.1" in text
    assert "prefix in 1 text: Pixi writes the path of the environment into bin/tool" in text


def test_both_formats_and_the_cache_hold_the_same(conda_file, bz2_file, package_cache):
    def about(package):
        return vars(package) | {"source": "", "size": 0, "members": ()}

    first, second = contents.read(conda_file), contents.read(bz2_file)
    assert second.members == () and second.size == bz2_file.stat().st_size
    assert about(first) == about(second) == about(contents.read(package_cache / "tool-1.2-cuda129_0"))


def test_several_packages_of_one_name_are_listed(capsys, package_cache):
    text = printed(capsys, "tool")
    assert "2 packages are called tool: tool-1.2-cpu_0 (linux-64) tool-1.2-cuda129_0 (linux-64) next: " in text
    assert "build cpu_0" in printed(capsys, "tool-1.2-cpu_0")
    with pytest.raises(WorkshopError, match="none called 'tol', but one called tool"):
        command.in_cache("tol")


@pytest.mark.parametrize("noarch", ["python", "generic"])
def test_noarch_and_a_package_of_metadata_alone(capsys, tmp_path, noarch):
    path = tmp_path / "meta-1-0.tar.bz2"
    index = INDEX | {"noarch": noarch, "subdir": "noarch", "depends": [], "constrains": []}
    path.write_bytes(
        tar({"info/index.json": index, "info/paths.json": {"paths_version": 1, "paths": []}}, compressed=True)
    )
    text = printed(capsys, path)
    assert f"noarch {noarch}: the same file for every platform" in text
    assert "depends nothing constrains nothing run-exports nothing files none" in text


def test_the_lock_of_this_workspace(capsys, monkeypatch):
    monkeypatch.chdir(ROOT / "exercise-1-scipy/solution")
    found = command.in_lock("tzdata")
    assert [(one.noarch, one.files, one.run_exports) for one in found] == [("generic", None, None)]
    text = " ".join(" ".join(command.lines_about(found[0])).split())
    assert "KiB, at https://conda.anaconda.org/conda-forge/noarch/tzdata-" in text
    assert "files and prefix are only in the package itself, not in the lock" in text
    with pytest.raises(WorkshopError, match="next: +workshop package --locked numpy"):
        command.in_lock("nmpy")


def test_json(capsys, conda_file):
    assert cli.main(["package", "--json", str(conda_file)]) == 0
    [found] = json.loads(capsys.readouterr().out)
    assert found["prefix"] == {"bin/tool": "text"} and found["run_exports"]["weak"] == ["tool >=1.2,<2"]


def broken(path, kind):
    content = path.read_bytes()
    path.write_bytes({"empty": b"", "half": content[: len(content) // 2], "text": b"hello" * 100}[kind])


@pytest.mark.parametrize("kind", ["empty", "half", "text"])
@pytest.mark.parametrize("file", ["conda_file", "bz2_file"])
def test_a_broken_file_is_one_message(request, file, kind):
    path = request.getfixturevalue(file)
    broken(path, kind)
    with pytest.raises(WorkshopError, match="a complete file NAME-VERSION-BUILD"):
        contents.read(path)


def test_what_is_not_a_package(tmp_path, conda_file):
    shutil.copy(conda_file, tmp_path / "tool.zip")
    for path, found in ((tmp_path / "tool.zip", "another kind"), (tmp_path / "no.conda", "no such file")):
        with pytest.raises(WorkshopError, match=found):
            contents.read(path)
    with pytest.raises(WorkshopError, match="info/index.json|index.json|No such file"):
        contents.read(tmp_path)


def test_the_cache_is_where_pixi_looks(monkeypatch, tmp_path):
    for name in ("PIXI_CACHE_CONDA_PACKAGES_DIR", "PIXI_CACHE_DIR", "RATTLER_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda: str(tmp_path))
    assert cache.folder() == tmp_path / "rattler" / "cache" / "pkgs" and cache.unpacked() == []
    (tmp_path / "pixi").mkdir()
    assert cache.folder() == tmp_path / "pixi" / "pkgs"
    monkeypatch.setenv("RATTLER_CACHE_DIR", str(tmp_path / "b"))
    monkeypatch.setenv("PIXI_CACHE_DIR", str(tmp_path / "a"))
    assert cache.folder() == tmp_path / "a" / "pkgs"
