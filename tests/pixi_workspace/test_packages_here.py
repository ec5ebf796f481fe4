"""`workshop lock-check` on packages whose sources lie in the workspace: conda packages and PyPI packages.

`tests/data/pixi-verdicts-*-packages.json` hold what the real `pixi lock --check` of Pixi 0.77.0 said after each edit.
The cases below them follow from its source (crates/pixi_core/src/lock_file/satisfiability/source_record.rs and
pypi_metadata.rs, crates/pixi_build_python/src/main.rs).
"""

import json
import shutil
from pathlib import Path

import pytest

from pixi_workspace.fit import lockcheck, markers
from pixi_workspace.fit.build_backend import ask
from pixi_workspace.fit.requirement_text import difference, expand_own_extras, parse
from pixi_workspace.manifest.package import read_package

DATA = Path(__file__).resolve().parents[1] / "data"
UP, OUT, UNKNOWN, MANIFEST = "up-to-date", "out-of-date", "cannot-tell", "manifest-error"
SOURCE = json.loads((DATA / "pixi-verdicts-source-packages.json").read_text())
LOCAL = json.loads((DATA / "pixi-verdicts-local-packages.json").read_text())


def edited(folder, files, edits):
    """Write a workspace with some edits: each replaces a text in a file, or deletes a folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for edit in edits:
        path = folder / edit["file"]
        if edit.get("delete"):
            shutil.rmtree(path)
            continue
        text = path.read_text()
        assert edit["find"] in text, edit
        path.write_text(text.replace(edit["find"], edit["replace"]))
    return lockcheck.judge(folder)


def check(folder, files, edits, verdict):
    found = edited(folder, files, edits)
    assert found.verdict == verdict, lockcheck.to_text(found)
    return found


@pytest.mark.parametrize("case", SOURCE["cases"], ids=lambda case: case["id"])
def test_agrees_with_the_real_pixi_on_source_packages(case, tmp_path):
    check(tmp_path, SOURCE["files"], case["edits"], case["verdict"])


@pytest.mark.parametrize("case", LOCAL["cases"], ids=lambda case: case["id"])
def test_agrees_with_the_real_pixi_on_local_packages(case, tmp_path):
    check(tmp_path, LOCAL["files"], case["edits"], case["verdict"])


WIDGET, GADGET, ROOT, LOCK = "widget/pixi.toml", "gadget/pixi.toml", "pixi.toml", "pixi.lock"
HOST = "[package.host-dependencies]\nhatchling"
SOURCE_CASES = [
    ("the version alone", WIDGET, 'version = "0.1.0"', 'version = "0.9.0"', UP),
    ("another name", WIDGET, 'name = "widget"', 'name = "gizmo"', OUT),
    ("a table that is none", WIDGET, "[package.run-dependencies]", "[package.run-dependency]", OUT),
    ("broken TOML", WIDGET, "[package]", "[package", OUT),
    ("requires-python", "widget/pyproject.toml", ">=3.12", ">=3.11", OUT),
    ("requires-python with another number of zeros", "widget/pyproject.toml", ">=3.12", ">=3.12.0", OUT),
    ("a bound in other words", WIDGET, 'numpy = ">=2"', 'numpy = { version = ">=2" }', UP),
    ("a bound and a build", WIDGET, 'numpy = ">=2"', 'numpy = { version = ">=2", build = "py*" }', OUT),
    ("a dependency that is locked already", WIDGET, 'numpy = ">=2"', 'numpy = ">=2"\nrich = "*"', OUT),
    ("the same python twice", WIDGET, 'numpy = ">=2"', 'numpy = ">=2"\npython = ">=3.12"', UP),
    ("a host dependency that is locked", WIDGET, HOST, f'[package.host-dependencies]\neditables = "*"\n{HOST[28:]}', UP),
    ("a host dependency that is not", WIDGET, HOST, f'[package.host-dependencies]\nscipy = "*"\n{HOST[28:]}', OUT),
    ("a build dependency", WIDGET, HOST, f'[package.build-dependencies]\ncmake = "*"\n\n{HOST}', OUT),
    ("a constraint", WIDGET, HOST, f'[package.run-constraints]\nscipy = ">=1"\n\n{HOST}', OUT),
    ("an extra", WIDGET, HOST, f'[package.extra-dependencies.plot]\nrich = "*"\n\n{HOST}', OUT),
    ("a run export", WIDGET, HOST, f'[package.run-exports.weak]\nrich = "*"\n\n{HOST}', OUT),
    ("a table for Windows alone", WIDGET, HOST, f'[package.run-dependencies."if(win)"]\nrich = "*"\n\n{HOST}', UP),
    ("under another condition", WIDGET, 'numpy = ">=2"', 'numpy = ">=2"\n"if(win)" = { rich = "*" }', UP),
    ("under this condition", WIDGET, 'numpy = ">=2"', 'numpy = ">=2"\n"if(linux and not win)" = { rich = "*" }', OUT),
    ("under a strange condition", WIDGET, 'numpy = ">=2"', 'numpy = ">=2"\n"if(cuda > 1)" = { rich = "*" }', UNKNOWN),
    ("for another target", WIDGET, 'numpy = ">=2"', 'numpy = ">=2"\n[package.target.win-64.run-dependencies]\nrich = "*"', UP),
    ("for this target", WIDGET, 'numpy = ">=2"', 'numpy = ">=2"\n[package.target.linux.run-dependencies]\nrich = "*"', OUT),
    ("installed by pip", WIDGET, HOST, f'[package.build.config]\ninstaller = "pip"\n\n{HOST}', OUT),
    ("an unknown option of the backend", WIDGET, HOST, f"[package.build.config]\nnoarc = true\n\n{HOST}", OUT),
    ("an option that changes nothing", WIDGET, HOST, f'[package.build.config]\nextra-args = ["-v"]\n\n{HOST}', UP),
    ("the PyPI mapping", WIDGET, HOST, f"[package.build.config]\nignore-pypi-mapping = false\n\n{HOST}", UNKNOWN),
    ("a compiler", WIDGET, HOST, f'[package.build.config]\ncompilers = ["c"]\n\n{HOST}', OUT),
    ("another backend", WIDGET, "pixi-build-python", "pixi-build-mojo", UNKNOWN),
    ("a dependency of another backend", GADGET, 'rich = "*"', 'rich = "*"\nscipy = "*"', OUT),
    ("a pyproject.toml that cannot be read", "widget/pyproject.toml", "[project]", "[[project", OUT),
    ("a version that the sources do not have", ROOT, 'gadget = { path = "gadget" }', 'gadget = { path = "gadget", version = ">=9" }', OUT),
    ("a version that the sources have", ROOT, 'gadget = { path = "gadget" }', 'gadget = { path = "gadget" }\nwidget = "0.1.*"', UP),
    ("another place", ROOT, 'path = "gadget"', 'path = "widget"', OUT),
    ("from git", ROOT, 'path = "gadget"', 'git = "https://example.org/gadget"', OUT),
    ("from a channel", ROOT, 'gadget = { path = "gadget" }', 'gadget = "*"', OUT),
    ("without the preview", ROOT, 'preview = ["pixi-build"]\n', "", MANIFEST),
    ("a build variant that nobody uses", ROOT, "[dependencies]", '[workspace.build-variants]\nzlib = ["1.*"]\n\n[dependencies]', UP),
    ("a build variant of what is used", ROOT, "[dependencies]", '[workspace.build-variants]\nhatchling = ["1.*"]\n\n[dependencies]', OUT),
    ("the platform among the variants", LOCK, "target_platform: noarch", "target_platform: linux-64", UP),
    ("another variant", LOCK, "    target_platform: noarch", "    target_platform: noarch\n    python: 3.12.*", OUT),
    ("a dependency edited in the lock", LOCK, "  - numpy >=2\n", "  - numpy >=1\n", OUT),
    ("host packages removed from the lock", LOCK, "/noarch/hatchling-1.31.0", "/noarch/hatchlink-1.31.0", OUT),
]  # fmt: skip


@pytest.mark.parametrize(("what", "file", "find", "replace", "verdict"), SOURCE_CASES, ids=[c[0] for c in SOURCE_CASES])
def test_what_a_backend_would_answer(what, file, find, replace, verdict, tmp_path):
    check(tmp_path, SOURCE["files"], [{"file": file, "find": find, "replace": replace}], verdict)


def test_a_package_needs_its_pyproject(tmp_path):
    for name, text in SOURCE["files"].items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "widget/pyproject.toml").unlink()
    assert lockcheck.judge(tmp_path).verdict == OUT


def test_a_changed_dependency_is_named(tmp_path):
    edits = [{"file": WIDGET, "find": 'numpy = ">=2"', "replace": 'numpy = ">=1"\nscipy = "*"'}]
    reasons = edited(tmp_path, SOURCE["files"], edits).reasons
    changed = {reason.message for reason in reasons if reason.package == "widget"}
    assert changed == {"what the package depends on changed: added numpy >=1, scipy; removed numpy >=2"}


def test_the_reason_for_not_knowing_is_given(tmp_path):
    found = edited(tmp_path, SOURCE["files"], [{"file": WIDGET, "find": "-python", "replace": "-mojo"}])
    assert found.reasons[0].message == "only its build backend pixi-build-mojo knows all that it depends on"
    assert json.loads(lockcheck.to_json(found))["verdict"] == UNKNOWN


HEAD = (
    "version: 7\nplatforms:\n- name: linux-64\n  virtual-packages:\n  - __unix=0=0\n  - __linux=4.18\n  - __glibc=2.28\n"
    "  - __archspec=0=x86_64\nenvironments:\n  default:\n    channels:\n"
    "    - url: https://conda.anaconda.org/conda-forge/\n    packages:\n      linux-64:\n"
)
ALPHA = "- conda: https://conda.anaconda.org/conda-forge/linux-64/libalpha-1.2-0.conda\n"
RECORD = f"packages:\n{ALPHA}  sha256: {'a' * 64}\n  md5: {'b' * 32}\n"
SMALL = '[workspace]\nchannels = ["conda-forge"]\nplatforms = ["linux-64"]\npreview = ["pixi-build"]\n\n'
PACKAGE = (
    '[package]\nname = "{name}"\nversion = "0.1.0"\n\n[package.build]\nbackend = {{ name = "{backend}" }}\n\n'
    "[package.run-dependencies]\n{run}\n"
)


def package(name, run, backend="pixi-build-python"):
    return PACKAGE.format(name=name, run=run, backend=backend)


def test_a_development_package_brings_its_dependencies(tmp_path):
    """An environment with only `[dev]` is not an error. What the package depends on has to be locked, and nothing else."""
    lock = f"{HEAD}      {ALPHA}{RECORD}"
    develop = SMALL + '[dev]\nwidget = { path = "." }\n\n'
    for run, backend, verdict in (
        ('libalpha = ">=1"', "pixi-build-python", UP),
        ('libalpha = ">=2"', "pixi-build-python", OUT),
        ("", "pixi-build-python", OUT),
        ('libalpha = ">=1"', "pixi-build-mojo", UNKNOWN),
    ):
        files = {"pixi.toml": develop + package("widget", run, backend), "pixi.lock": lock}
        found = check(tmp_path / verdict / backend, files, [], verdict)
        if verdict == UP:
            assert any("development packages widget" in note for note in found.notes)


BUILT = """\
packages:
- conda: {channel}/libcxx-16.0-h_0.conda
  sha256: {hash}
- conda: {channel}/cmake-4.3.4-h_0.conda
  sha256: {hash}
  run_exports: {{}}
- conda: {channel}/gxx_linux-64-15.1.0-h_0.conda
  sha256: {hash}
  run_exports:
    strong:
    - libcxx >=15
- conda: {channel}/ninja-1.13.2-h_0.conda
  sha256: {hash}
- conda: {channel}/sysroot_linux-64-2.28-h_0.conda
  sha256: {hash}
  run_exports:
    strong:
    - __glibc >=2.28,<3.0.a0
- conda_source: tool[0a1b2c3d] @ .
  variants:
    c_stdlib: sysroot
    c_stdlib_version: '2.28'
    target_platform: linux-64
  depends:
  - libcxx >=15
  - __glibc >=2.28,<3.0.a0
  build_packages:
  - conda: {channel}/cmake-4.3.4-h_0.conda
  - conda: {channel}/gxx_linux-64-15.1.0-h_0.conda
  - conda: {channel}/ninja-1.13.2-h_0.conda
  - conda: {channel}/sysroot_linux-64-2.28-h_0.conda
"""
CHANNEL = "https://conda.anaconda.org/conda-forge/linux-64"
CMAKE_CASES = [
    ("nothing changed", "pixi.toml", "[package]", "[package]", UP),
    ("a dependency", "pixi.toml", "[package.run-dependencies]", '[package.run-dependencies]\nlibcxx = "*"', OUT),
    ("a host dependency", "pixi.toml", "[package.run", '[package.host-dependencies]\nsdl2 = "*"\n\n[package.run', OUT),
    ("no compiler", "pixi.toml", "[package.run", "[package.build.config]\ncompilers = []\n\n[package.run", OUT),
    ("another compiler", "pixi.toml", "[package.run", '[package.build.config]\ncompilers = ["c"]\n\n[package.run', OUT),
    ("another C library", "pixi.toml", "[dependencies]", '[workspace.build-variants]\nc_stdlib_version = ["2.34"]\n\n[dependencies]', OUT),
    ("an export of the compiler", "pixi.lock", "    - libcxx >=15", "    - libcxx >=16", OUT),
    ("a build tool that is not locked", "pixi.lock", "ninja-", "ninjo-", OUT),
]  # fmt: skip


@pytest.mark.parametrize(("what", "file", "find", "replace", "verdict"), CMAKE_CASES, ids=[c[0] for c in CMAKE_CASES])
def test_a_compiled_package_exports_what_its_compiler_exports(what, file, find, replace, verdict, tmp_path):
    rows = f"      - conda: {CHANNEL}/libcxx-16.0-h_0.conda\n      - conda_source: tool[0a1b2c3d] @ .\n"
    files = {
        "pixi.toml": f'{SMALL}[dependencies]\ntool = {{ path = "." }}\n\n{package("tool", "", "pixi-build-cmake")}',
        "pixi.lock": HEAD + rows + BUILT.format(channel=CHANNEL, hash="a" * 64),
    }
    check(tmp_path, files, [{"file": file, "find": find, "replace": replace}], verdict)


def test_a_rust_package_takes_its_version_from_cargo(tmp_path):
    """From Cargo.toml, or from the workspace of Cargo above it."""
    (tmp_path / "crates" / "a").mkdir(parents=True)
    (tmp_path / "Cargo.toml").write_text('[workspace.package]\nversion = "1.2.3"\n')
    (tmp_path / "crates" / "a" / "Cargo.toml").write_text('[package]\nname = "A"\nversion.workspace = true\n')
    manifest = tmp_path / "crates" / "a" / "pixi.toml"
    manifest.write_text('[package]\n[package.build]\nbackend = { name = "pixi-build-rust" }\n')
    answer = ask(read_package(manifest.parent, {}, tmp_path), "linux-64", None, {})
    assert (answer.name, answer.version) == ("a", "1.2.3")
    assert [spec.name for spec in answer.build] == ["rust_linux-64", "gcc_linux-64"]


def test_a_package_without_a_version_is_followed(tmp_path):
    """The lock gives neither a version nor a record, and the dependencies of the package come from its entry."""
    row = "      - conda_source: widget[0a1b2c3d] @ .\n"
    entry = (
        "- conda_source: widget[0a1b2c3d] @ .\n  variants:\n    target_platform: noarch\n  depends:\n  - libalpha >=1\n"
    )
    files = {
        "pixi.toml": f'{SMALL}[dependencies]\nwidget = {{ path = "." }}\n\n{package("widget", chr(10) + "libalpha = " + chr(34) + ">=1" + chr(34))}',
        "pixi.lock": f"{HEAD}      {ALPHA}{row}{RECORD}{entry}",
    }
    check(tmp_path, files, [], UP)


def test_what_a_source_package_builds_from_source_is_a_source(tmp_path):
    rows = "      - conda_source: inner[33334444] @ inner\n      - conda_source: outer[11112222] @ outer\n"
    entries = (
        "packages:\n- conda_source: inner[33334444] @ inner\n- conda_source: outer[11112222] @ outer\n"
        "  depends:\n  - inner\n  source_depends:\n    inner:\n      path: ../inner\n"
    )
    files = {
        "pixi.toml": SMALL + '[dependencies]\nouter = { path = "outer" }\n',
        "pixi.lock": HEAD + rows + entries,
        "inner/pixi.toml": package("inner", ""),
        "outer/pixi.toml": package("outer", 'inner = { path = "../inner" }'),
    }
    check(tmp_path, files, [], UP)
    files["pixi.lock"] = files["pixi.lock"].replace("path: ../inner", "path: ../other")
    check(tmp_path, files, [], OUT)


def test_a_source_from_git_with_its_record_is_trusted(tmp_path):
    url = "git+https://example.org/widget?branch=main#" + "c" * 40
    entry = f"packages:\n- conda_source: widget[0a1b2c3d] @ {url}\n"
    files = {
        "pixi.toml": SMALL + '[dependencies]\nwidget = { git = "https://example.org/widget", branch = "main" }\n',
        "pixi.lock": f"{HEAD}      - conda_source: widget[0a1b2c3d] @ {url}\n{entry}  version: 0.1.0\n  subdir: noarch\n",
    }
    check(tmp_path, files, [], UP)
    check(tmp_path, {**files, "pixi.toml": files["pixi.toml"].replace('"main"', '"next"')}, [], OUT)
    check(tmp_path, {**files, "pixi.lock": files["pixi.lock"].replace("  version: 0.1.0\n", "")}, [], UNKNOWN)


APP = "app/pyproject.toml"
LOCAL_CASES = [
    ("the version", APP, 'version = "0.1.0"', 'version = "7"', UP),
    ("a dependency group", APP, '["six"]', '["six", "attrs"]', UP),
    ("spaces", APP, "iniconfig>=2", "iniconfig  >= 2", UP),
    ("another spelling of the version", APP, "iniconfig>=2", "iniconfig>=02", UP),
    ("a zero more", APP, "iniconfig>=2", "iniconfig>=2.0", OUT),
    ("an upper bound", APP, "iniconfig>=2", "iniconfig>=2,<9", OUT),
    ("a marker that says the same", APP, "sys_platform == 'win32'", "'win32' == sys_platform", UP),
    ("a marker that adds nothing", APP, "sys_platform == 'win32'", "sys_platform == 'win32' and sys_platform != 'linux'", UP),
    ("a marker for more", APP, "sys_platform == 'win32'", "sys_platform != 'linux'", OUT),
    ("an extra written out", APP, '"app[plot]", ', '"mdurl", ', UP),
    ("an extra that names nothing", APP, '"app[plot]", ', '"app", ', OUT),
    ("an extra renamed", APP, "plot = [", "draw = [", OUT),
    ("the capitals of an extra", APP, "plot = [", "Plot = [", UP),
    ("the same twice", APP, '["iniconfig>=2",', '["iniconfig>=2", "iniconfig>=2",', UP),
    ("no requires-python", APP, 'requires-python = ">=3.10"\n', "", OUT),
    ("requires-python with a zero more", APP, 'requires-python = ">=3.10"', 'requires-python = ">=3.10.0"', UP),
    ("dynamic requirements", APP, 'dependencies = ["iniconfig>=2", "colorama; sys_platform == \'win32\'"]', 'dynamic = ["dependencies"]', UP),
    ("broken TOML", APP, "[project]", "[project", UP),
    ("a source of uv", APP, "[build-system]", '[tool.uv.sources]\niniconfig = { git = "https://example.org/i" }\n\n[build-system]', OUT),
    ("a source of uv for nothing here", APP, "[build-system]", '[tool.uv.sources]\nsix = { path = "../six" }\n\n[build-system]', UP),
    ("an index of uv", APP, "[build-system]", '[tool.uv.sources]\niniconfig = { index = "here" }\n\n[[tool.uv.index]]\nname = "here"\nurl = "https://wheels.example/simple"\n\n[build-system]', UP),
    ("an index that is not declared", APP, "[build-system]", '[tool.uv.sources]\niniconfig = { index = "here" }\n\n[build-system]', OUT),
    ("a member of a uv workspace that is not there", APP, "[build-system]", "[tool.uv.sources]\niniconfig = { workspace = true }\n\n[build-system]", OUT),
    ("a source of uv under a condition", APP, "[build-system]", '[tool.uv.sources]\niniconfig = { index = "x", marker = "os_name == \'nt\'" }\n\n[build-system]', UNKNOWN),
    ("another name", APP, 'name = "app"\n', 'name = "ap"\n', UP),
    ("another word for Windows", APP, "sys_platform == 'win32'", "platform_system == 'Windows'", UP),
    ("a requirement that is none", APP, '"iniconfig>=2"', '"iniconfig=>2"', UP),
    ("a slip that uv forgives", APP, '"iniconfig>=2"', '"iniconfig>=2.*"', UP),
    ("a version that is none", APP, 'version = "0.1.0"', 'version = "x y"', UP),
    ("requires-python that is none", APP, 'requires-python = ">=3.10"', 'requires-python = "3.10 or so"', OUT),
]  # fmt: skip


@pytest.mark.parametrize(("what", "file", "find", "replace", "verdict"), LOCAL_CASES, ids=[c[0] for c in LOCAL_CASES])
def test_what_a_local_package_requires(what, file, find, replace, verdict, tmp_path):
    check(tmp_path, LOCAL["files"], [{"file": file, "find": find, "replace": replace}], verdict)


SAME_MARKERS = [
    ("python_version >= '3.10'", "python_full_version >= '3.10'", True),
    ("python_version >= '3.10'", "python_version > '3.9'", True),
    ("python_version >= '3.10'", "python_version >= '3.11'", False),
    ("sys_platform == 'linux' or sys_platform != 'linux'", "python_version >= '0'", True),
    ("extra == 'A_b' and os_name == 'nt'", "os_name == 'nt' and extra == 'a-b'", True),
    ("extra == 'a' or extra == 'b'", "extra == 'a'", False),
    ("sys_platform in 'linux darwin'", "sys_platform == 'linux' or sys_platform == 'darwin'", False),
    ("(os_name == 'nt' and extra == 'a') or (os_name != 'nt' and extra == 'a')", "extra == 'a'", True),
    ("platform_machine not in 'x86_64 arm64'", "platform_machine not in 'x86_64 arm64'", True),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other", "same"), SAME_MARKERS)
def test_markers_are_compared_by_what_they_mean(one, other, same):
    assert markers.same(markers.parse(one), markers.parse(other)) is same


def test_extras_that_lead_round_in_a_circle_end(tmp_path):
    lines = ["app[b] ; extra == 'a'", "app[a] ; extra == 'b'", "numpy ; extra == 'b'", "app"]
    found = expand_own_extras([parse(line, tmp_path) for line in lines], "app")
    assert [one.name for one in found] == ["numpy", "numpy", "numpy"]
    wanted = [parse("numpy ; extra == 'a'", tmp_path), parse("numpy ; extra == 'b'", tmp_path)]
    assert difference(found, wanted) == ([], [])


def test_extras_that_all_name_one_another_end_soon(tmp_path):
    names = [f"e{number}" for number in range(14)]
    lines = [f"app[{','.join(names)}] ; extra == '{name}'" for name in names]
    with pytest.raises(ValueError, match="name one another"):
        expand_own_extras([parse(line, tmp_path) for line in lines], "app")
