"""`workshop audit`: its rules, the lines that findings name, JSON, SARIF and exit codes, on workspaces made by Pixi."""

import json
import re
import shutil
import subprocess
from dataclasses import replace as replace_fields
from pathlib import Path

import jsonschema
import pytest
from conftest import DATA, ROOT

from pixi_workspace import WorkspaceError, needs
from pixi_workspace.fit import lockcheck, satisfy, satisfy_environment, suspicions
from pixi_workspace.fit.satisfy_environment import Reason
from workshop import cli
from workshop.audit import builds, findings, images, locks, places, report, sarif
from workshop.containers import check

SCHEMA = json.loads((DATA / "sarif-schema-2.1.0.json").read_text(encoding="utf-8"))
WITH_LOCK = ("exercise-1", "exercise-2", "exercise-3", "exercise-1-inline", "sketch", "exercise-2-starter-by-hand")


@pytest.fixture
def workspace(written_by_pixi, tmp_path):
    """A copy of the workspace of exercise 2, which Pixi wrote."""
    return shutil.copytree(written_by_pixi / "exercise-2", tmp_path / "workspace")


def replace(path, old, new):
    text = path.read_text()
    assert old in text, old
    path.write_text(text.replace(old, new))


def rules_of(found):
    return [each.rule for each in found.findings]


# ---------------------------------------------------------------- the answer


@pytest.mark.parametrize("name", WITH_LOCK)
def test_a_workspace_that_pixi_locked_is_reproducible(written_by_pixi, name):
    found = report.audit(written_by_pixi / name)
    assert found.exit_code == 0 and found.machines, rules_of(found)
    assert all(machine.reproducible for machine in found.machines)


def test_machines_come_with_what_they_need(workspace):
    found = report.audit(workspace)
    gpu = next(machine for machine in found.machines if machine.needs.get("__cuda"))
    assert gpu.driver in needs.LINUX_DRIVERS.values()
    assert "an NVIDIA driver" in "\n".join(report.lines_of(found))


def test_a_changed_manifest_is_found_with_its_line(workspace):
    manifest = workspace / "pixi.toml"
    replace(manifest, "[dependencies]", '[dependencies]\nzlib = ">=1"')
    line = manifest.read_text().splitlines().index('zlib = ">=1"') + 1
    found = report.audit(workspace)
    assert found.exit_code == 1 and not any(machine.reproducible for machine in found.machines)
    [first] = [each for each in found.findings if each.rule == "lock-out-of-date" and "zlib" in each.reason]
    assert (first.path.name, first.line, first.fix) == ("pixi.toml", line, "pixi lock")


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda folder: (folder / "pixi.lock").unlink(), "lock-missing"),
        (lambda folder: (folder / "pixi.lock").write_text("<<<<<<< HEAD\n"), "lock-error"),
        (lambda folder: replace(folder / "pixi.toml", "channels = [", "chanels = ["), "manifest-error"),
        (lambda folder: replace(folder / "pixi.toml", "[workspace]", "[workspace]\n= 3"), "manifest-error"),
        (lambda folder: replace(folder / "pixi.toml", "[workspace]", '[workspace]\nrequires-pixi = ">=9"'), None),
        (lambda folder: replace(folder / "pixi.lock", "version: 7", "version: 99"), "lock-out-of-date"),
    ],
)
def test_files_that_pixi_refuses(workspace, monkeypatch, change, rule):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")  # without a newer Pixi
    change(workspace)
    found = report.audit(workspace)
    if rule is None:  # `requires-pixi`: nothing is known to be wrong
        assert found.exit_code == 2 and rules_of(found) == ["pixi-too-old"]
        assert all(machine.reproducible is None for machine in found.machines)
    else:
        assert found.exit_code == 1 and rules_of(found)[0] == rule
        assert not any(machine.reproducible for machine in found.machines)


def test_an_invalid_line_of_the_manifest_is_named(workspace):
    replace(workspace / "pixi.toml", "[workspace]", "[workspace]\n= 3")
    [found] = report.audit(workspace).findings
    assert (workspace / "pixi.toml").read_text().splitlines()[found.line - 1] == "= 3"


def test_a_lock_that_is_not_in_git(workspace):
    def git(*words):
        subprocess.run(["git", "-C", workspace, *words], check=True, capture_output=True)

    git("init")
    assert "lock-not-in-git" not in rules_of(report.audit(workspace))  # neither is the manifest
    (workspace / ".gitignore").write_text("*.lock\n")
    git("add", "pixi.toml")
    found = next(each for each in report.audit(workspace).findings if each.rule == "lock-not-in-git")
    assert found.blocks and ".gitignore:1:*.lock" in found.reason and found.fix == "git add --force pixi.lock"
    git("add", "--force", "pixi.lock")
    assert "lock-not-in-git" not in rules_of(report.audit(workspace))


def test_a_package_without_a_checksum(workspace):
    lock = workspace / "pixi.lock"
    text = re.sub(r"(- conda: \S+/bzip2-\S+\n)  sha256: \w+\n  md5: \w+\n", r"\1", lock.read_text())
    assert text != lock.read_text()
    lock.write_text(text)
    found = report.audit(workspace)
    first = next(each for each in found.findings if each.rule == "package-without-hash")
    assert "bzip2" in lock.read_text().splitlines()[first.line - 1] and first.line > 100
    assert found.exit_code == 1 and {m.reproducible for m in found.machines} == {False}


def test_findings_that_differ_in_their_place_alone_are_one(workspace):
    replace(workspace / "pixi.toml", "[dependencies]", '[dependencies]\nzlib = ">=1"')
    found = [each for each in report.audit(workspace).findings if "zlib" in each.reason]
    assert len(found) == 1 and len(found[0].places) > 1


def test_a_rule_that_is_ignored(workspace):
    (workspace / "pixi.lock").unlink()
    found = report.audit(workspace, ("lock-missing",))
    assert found.exit_code == 0 and found.ignored == 1 and "ignored 1" in "\n".join(report.lines_of(found))


def test_where_there_is_no_workspace(tmp_path, capsys):
    assert cli.main(["audit", str(tmp_path)]) == 2
    assert "pixi init" in capsys.readouterr().err
    with pytest.raises(WorkspaceError):
        report.audit(tmp_path)


# ---------------------------------------------------------------- what public workspaces contain

FORGE = f"{satisfy_environment.CHANNEL_ALIAS}conda-forge"
MANIFEST = """[workspace]
name = "public"
channels = ["conda-forge"]
platforms = ["linux-64"]
[dependencies]
pytorch = "*"
[pypi-dependencies]
delta-lib = "*"
sdist = "*"
"""
PUBLIC_LOCK = f"""version: 7
platforms:
- name: linux-64
  virtual-packages: [__unix=0=0, __linux=4.18, __glibc=2.28, __archspec=0=x86_64]
environments:
  default:
    channels:
    - url: {FORGE}/
    indexes:
    - https://index.example/simple
    packages:
      linux-64:
      - conda: {FORGE}/linux-64/pytorch-2.6.0-py3.12_cuda12.4_cudnn9_0.conda
      - pypi: https://index.example/torch-2.6.0-cp312-cp312-manylinux1_x86_64.whl
      - pypi: https://index.example/delta_lib-1.0.1-py3-none-any.whl
      - pypi: https://index.example/sdist-1.0.tar.gz
packages:
- conda: {FORGE}/linux-64/pytorch-2.6.0-py3.12_cuda12.4_cudnn9_0.conda
  sha256: {"a" * 64}
  depends: [__glibc >=2.17]
- pypi: https://index.example/torch-2.6.0-cp312-cp312-manylinux1_x86_64.whl
  name: torch
  version: 2.6.0
  sha256: {"b" * 64}
- pypi: https://index.example/delta_lib-1.0.1-py3-none-any.whl
  name: delta-lib
  version: 1.0.1
  sha256: {"c" * 64}
  requires_dist: [torch>=2]
- pypi: https://index.example/sdist-1.0.tar.gz
  name: sdist
  version: "1.0"
  sha256: {"d" * 64}
"""


@pytest.fixture
def public(tmp_path):
    """The lock of a workspace with torch twice, a build for CUDA on a plain platform, and a source archive."""
    (tmp_path / "pixi.toml").write_text(MANIFEST)
    (tmp_path / "pixi.lock").write_text(PUBLIC_LOCK)
    return tmp_path


def test_what_is_odd_about_the_builds(public):
    found = {each.rule: each for each in report.audit(public).findings}
    for rule, line, fix in (
        ("package-twice", "pytorch", "require one of them only"),
        ("cuda-build-without-cuda", "pytorch", '{ name = "linux-64-cuda", platform = "linux-64", cuda = "12" }'),
        ("built-on-installation", "sdist", "pixi add sdist"),
    ):
        assert fix in found[rule].fix, found[rule]
        assert MANIFEST.splitlines()[found[rule].line - 1].startswith(line)
    (public / "pixi.toml").write_text(MANIFEST.replace('sdist = "*"\n', 'other = "*"\n'))  # only a wheel requires it
    transitive = next(each for each in report.audit(public).findings if each.rule == "built-on-installation")
    assert transitive.path.name == "pixi.lock" and PUBLIC_LOCK.splitlines()[transitive.line - 1].endswith(".tar.gz")
    [machine] = report.audit(public).machines
    assert machine.reproducible is False and set(machine.why) >= {"package-twice", "built-on-installation"}


def test_a_lock_of_an_older_pixi_installs_the_same(workspace, monkeypatch):
    old = Reason(f"{locks.OLD_FORMAT} 6; `pixi lock` rewrites it as 7")
    verdict = replace_fields(lockcheck.judge(workspace), verdict="out-of-date", reasons=(old,), next_step="pixi lock")
    monkeypatch.setattr(report.pixi_workspace, "judge", lambda path: verdict)
    found = report.audit(workspace)
    assert rules_of(found) == ["lock-old-format"] and found.exit_code == 0
    assert all(machine.reproducible for machine in found.machines)


def test_a_local_package_whose_folder_is_missing(public):
    replace(public / "pixi.toml", 'sdist = "*"', 'sdist = { path = "./deps/sdist" }')
    found = [each for each in report.audit(public).findings if "./deps/sdist" in each.reason and each.level == "error"]
    assert any(each.fix.startswith("git submodule update --init") for each in found), found


# ---------------------------------------------------------------- container files

DOCKERFILE = "FROM ghcr.io/prefix-dev/pixi:0.77.0\nCOPY . .\nRUN pixi install\nCMD pixi run train\n"


def test_container_files_that_call_pixi(workspace):
    (workspace / "docker").mkdir()
    (workspace / "docker" / "Dockerfile").write_text(DOCKERFILE)
    (workspace / "Dockerfile").write_text("FROM debian\n")  # has nothing to do with the environments
    other = workspace / "other"
    other.mkdir()
    (other / "pixi.toml").write_text("[workspace]\nchannels = []\nplatforms = []\n")
    (other / "Dockerfile").write_text(DOCKERFILE)  # belongs to another workspace
    third = workspace / "third"
    third.mkdir()
    (third / "pyproject.toml").write_text("[tool.pixi.workspace]\n")
    (third / "Dockerfile").write_text(DOCKERFILE)
    assert images.container_files(workspace) == [workspace / "docker/Dockerfile"]
    found = report.audit(workspace)
    not_locked = next(each for each in found.findings if each.rule == "container/not-locked")
    assert (not_locked.level, not_locked.line) == ("error", 3) and found.exit_code == 1
    assert all(machine.reproducible for machine in found.machines)  # that is about the image alone
    assert "container/healthcheck" not in rules_of(found)


def test_an_image_to_develop_in(workspace):
    (workspace / "Dockerfile").write_text(
        "FROM debian:13\nCOPY --from=ghcr.io/prefix-dev/pixi:0.77.0 /bin/pixi /bin/pixi\n"
    )
    found = report.audit(workspace)
    assert found.exit_code == 0 and "container/no-install" in rules_of(found), rules_of(found)


def test_a_container_file_that_cannot_be_read(workspace):
    (workspace / "Dockerfile").write_text("FROM debian\nRUNN pixi install\n")
    found = next(each for each in report.audit(workspace).findings)
    assert (found.rule, found.level) == ("container-unreadable", "warning")


def test_every_rule_of_container_check_has_its_level():
    names = {rule.name for rule in check.RULES}
    assert not {*images.SIZE, *images.IN_USE, *images.LEFT_OUT, images.NO_INSTALL} - names


# ---------------------------------------------------------------- rules, pages, lines


def test_every_rule_has_a_section_on_its_page():
    page = (ROOT / findings.PAGE).read_text(encoding="utf-8")
    headings = {re.sub(r"[^a-z0-9 -]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.*)$", page, re.M)}
    for rule in (*findings.RULES, "container/path", "hadolint/DL3008"):
        path, _, section = findings.page_of(rule).partition("#")
        assert path == findings.PAGE and section in headings, rule


def test_every_message_of_the_parts_has_a_rule():
    problems = (suspicions.NO_HASH, suspicions.MD5_ONLY, suspicions.OTHER_CHANNEL, suspicions.OTHER_HOST)
    together = [
        suspicions._together(suspicions.Problem(message, "https://x/forge/", "https://y/forge/"), ["a"] * 4, 4, set())
        for message in problems
    ]
    for message in (*problems, *together):
        assert any(part in message for part, _, _ in locks.RULE_OF_WARNING), message
    rules = {rule for _, rule, _ in locks.RULE_OF_WARNING} | {rule for rule, _ in builds.RULE_OF_ODDITY.values()}
    assert rules | set(locks.RULE_OF_VERDICT.values()) <= set(findings.RULES)
    text = (ROOT / "common/pixi_workspace/needs.py").read_text()
    assert all(f'"{words}' in text for words in builds.RULE_OF_ODDITY)
    assert locks.OLD_FORMAT in Path(satisfy.__file__).read_text()


@pytest.mark.parametrize(
    ("package", "features", "line"),
    [
        ("numpy", (), 3),
        ("Scikit.Learn", (), 4),
        ("pytorch", ("default",), 5),
        ("pytorch", ("gpu",), 8),
        ("scipy", (), 9),
        ("requests", (), 13),
        ("absent", (), None),
    ],
)
def test_the_line_of_a_dependency(tmp_path, package, features, line):
    manifest = tmp_path / "pixi.toml"
    manifest.write_text(
        '# numpy = "1"\n[dependencies]\nnumpy = "*"\nscikit_learn = "*"\npytorch.version = "2"\n'
        '[tasks]\n[feature.gpu.dependencies]\n"pytorch" = "2"\n[feature.gpu.target.linux.pypi-dependencies.scipy]\n'
        'version = "*"\n[project]\ndependencies = [\n  "requests>=2",\n]\n[environments]\ngpu = ["gpu"]\n'
    )
    assert places.line_of_dependency(manifest, package, features) == line
    assert places.line_of_environment(manifest, "gpu") == 16
    assert places.line_of_table(manifest, "[tasks] train") == 6
    assert places.line_of_table(manifest, "pixi.toml: expected TOML (at line 7, column 1)") == 7


# ---------------------------------------------------------------- for programs


def broken(workspace):
    """A workspace with findings of each level, in a git repository's subfolder."""
    subprocess.run(["git", "-C", workspace.parent, "init"], check=True, capture_output=True)
    replace(workspace / "pixi.toml", "[dependencies]", '[dependencies]\nzlib = ">=1"')
    (workspace / "Dockerfile with spaces.Dockerfile").write_text(DOCKERFILE)


def test_sarif_fits_its_schema(workspace, capsys):
    broken(workspace)
    assert cli.main(["audit", "--sarif", str(workspace)]) == 1
    log = json.loads(capsys.readouterr().out)
    jsonschema.validate(log, SCHEMA)
    [run] = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert len({rule["id"] for rule in rules}) == len(rules)
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        assert uri.startswith("workspace/") and " " not in uri  # relative to the root of the repository
    assert {result["level"] for result in run["results"]} == {"error", "warning", "note"}
    prints = [result["partialFingerprints"]["finding/v1"] for result in run["results"]]
    assert len(set(prints)) == len(prints)


def test_what_is_undecided_is_open_in_sarif(tmp_path):
    each = findings.finding("lock-undecided", tmp_path / "pixi.lock", 1, "a build backend", "pixi lock --check")
    log = sarif.log([each], tmp_path, 2)
    jsonschema.validate(log, SCHEMA)
    [result] = log["runs"][0]["results"]
    assert (result["kind"], result["level"]) == ("open", "none")


def test_json_has_every_finding(workspace, capsys):
    broken(workspace)
    assert cli.main(["audit", "--json", str(workspace)]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["exit_code"] == 1 and any("pixi-sbom" in text for text in document["not_covered"].values())
    assert {"rule", "level", "file", "line", "reason", "fix", "page", "places"} == set(document["findings"][0])
    assert all(machine["why"] == ["lock-out-of-date"] for machine in document["machines"])


def test_the_report_shows_some_findings_of_a_rule(workspace, capsys):
    replace(workspace / "pixi.toml", "[dependencies]", "[dependencies]\n" + "".join(f'x{n} = "*"\n' for n in range(15)))
    assert cli.main(["audit", str(workspace)]) == 1
    printed = capsys.readouterr().out
    assert printed.count("error lock-out-of-date") == report.SHOWN and "more of lock-out-of-date" in printed
    assert "pip install pixi-policy" in printed
