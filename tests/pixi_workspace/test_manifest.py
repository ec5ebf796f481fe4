"""The manifest's reader: what it gives, and what it says where Pixi refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import DATA

from pixi_workspace import manifest as manifests
from pixi_workspace.manifest.platforms import platforms_of

HEAD = '[workspace]\nchannels = ["conda-forge"]\nplatforms = ["linux-64", "win-64"]\n'


def load(folder: Path, text: str, name: str = "pixi.toml") -> manifests.Manifest:
    (folder / name).write_text(text, encoding="utf-8", newline="")
    return manifests.load(folder / name)


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(manifests.ManifestError) as caught:
        load(folder, text)
    return str(caught.value)


def names(manifest: manifests.Manifest, environment: str) -> list[str]:
    return [p.name for p in platforms_of(manifest, manifest.environments[environment].features)]


def test_the_sketch():
    manifest = manifests.load(DATA / "written-by-pixi" / "sketch" / "pixi.toml")
    assert manifest.name == "reproducible-ml-workflows" and manifest.notes == ()
    assert names(manifest, "cuda12") == ["linux-64-cuda12"]
    assert names(manifest, "cpu") == ["linux-64", "linux-aarch64", "osx-arm64", "win-64"]
    assert [f.name for f in manifest.environments["cuda12"].features] == ["science", "cuda12", "default"]
    assert [e.name for e in manifest.solve_groups()["cuda12"]] == ["cuda12", "cuda12-torch"]
    gpu = manifest.platforms[0]
    assert (gpu.subdir, gpu.version_of("__cuda"), gpu.version_of("__glibc")) == ("linux-64", "12.0", "2.28")
    asked = manifests.conda_specs(manifest, "cuda118-jax", manifest.platforms[1])
    assert [str(s) for s in asked["jaxlib"]] == ['jaxlib { version = "0.4.*", build = "cuda118*" }']
    assert [str(s) for s in asked["python"]] == ["python 3.11.*", "python >=3.11,<3.14"]
    assert str(manifests.pypi_specs(manifest, "pypi-mixed", gpu)["torch"][0]) == "torch ==2.6.0"
    assert manifest.tasks()["train-torch"].default_environment == "cpu"


def test_targets_replace_within_a_feature_and_features_add_up(tmp_path):
    manifest = load(
        tmp_path,
        HEAD + '[dependencies]\na = "1.*"\nb = "1.*"\n[target.win.dependencies]\na = "2.*"\n'
        '[feature.x.dependencies]\nb = ">=1.5"\n'
        '[environments]\nx = ["x"]\n',
    )
    linux, windows = manifest.platforms
    on_windows = manifests.conda_specs(manifest, "x", windows)
    assert [str(s) for s in on_windows["a"]] == ["a 2.*"]
    assert [str(s) for s in manifests.conda_specs(manifest, "x", linux)["a"]] == ["a 1.*"]
    assert [str(s) for s in on_windows["b"]] == ["b >=1.5", "b 1.*"]


def test_names_that_pixi_derives_for_platforms(tmp_path):
    manifest = load(
        tmp_path,
        '[workspace]\nchannels = []\nplatforms = [{ platform = "linux-64", cuda = { driver = "12.0", arch = "8.6" } }, '
        '{ platform = "osx-arm64", osx = "14.0" }, { name = "win-64" }]\n',
    )
    assert [p.name for p in manifest.platforms] == [
        "linux-64-cuda-12-0-cuda-arch-8-6",
        "osx-arm64-macos-14-0",
        "win-64",
    ]


def test_system_requirements_become_platforms(tmp_path):
    manifest = load(tmp_path, HEAD + '[feature.gpu.system-requirements]\ncuda = "12"\n[environments]\ngpu = ["gpu"]\n')
    assert names(manifest, "gpu") == ["linux-64-cuda-12", "win-64-cuda-12"]
    assert names(manifest, "default") == ["linux-64", "win-64"]
    assert "deprecated" in manifest.notes[0]


def test_toml_1_1_is_read_with_a_note(tmp_path):
    manifest = load(tmp_path, HEAD + "[dependencies]\na = {\n  version = '*',\n}\n")
    assert "a" in manifests.conda_specs(manifest, "default", manifest.platforms[0])
    assert "other TOML readers refuse" in manifest.notes[0]


def test_workspace_dependencies_are_inherited(tmp_path):
    text = HEAD + '[workspace.dependencies]\na = "1.*"\n[dependencies]\na = { workspace = true, build = "h*" }\n'
    manifest = load(tmp_path, text)
    found = manifests.conda_specs(manifest, "default", manifest.platforms[0])["a"][0]
    assert found.fields == {"version": "1.*", "build": "h*"}


def test_pyproject(tmp_path):
    manifest = load(
        tmp_path,
        '[project]\nname = "My.Project"\nversion = "1"\nrequires-python = "==3.12.*"\n'
        "dependencies = [\"NumPy>=2; os_name == 'nt'\"]\n"
        '[project.optional-dependencies]\nplot = ["matplotlib[svg]>=3"]\nall = ["my-project[plot]", "rich"]\n'
        '[dependency-groups]\ntest = ["pytest", { include-group = "lint" }]\nlint = ["ruff @ https://example.org/ruff-1-py3-none-any.whl"]\n'
        '[tool.pixi.workspace]\nchannels = ["conda-forge"]\nplatforms = ["linux-64"]\n'
        '[tool.pixi.environments]\nall = ["all"]\ntest = ["test"]\n',
        "pyproject.toml",
    )
    here = manifest.platforms[0]
    assert str(manifests.conda_specs(manifest, "default", here)["python"][0]) == "python 3.12.*"
    default = manifests.pypi_specs(manifest, "default", here)
    assert list(default) == ["numpy"] and default["numpy"][0].marker == 'os_name == "nt"'
    everything = manifests.pypi_specs(manifest, "all", here)
    assert list(everything) == ["matplotlib", "rich", "numpy"] and everything["matplotlib"][0].extras == ("svg",)
    tested = manifests.pypi_specs(manifest, "test", here)
    assert tested["ruff"][0].url == "https://example.org/ruff-1-py3-none-any.whl" and "pytest" in tested


def test_pyproject_without_requires_python_takes_any_python(tmp_path):
    text = '[project]\nname = "x"\n[tool.pixi.workspace]\nchannels = []\nplatforms = ["linux-64"]\n'
    manifest = load(tmp_path, text, "pyproject.toml")
    assert str(manifests.conda_specs(manifest, "default", manifest.platforms[0])["python"][0]) == "python *"


REFUSED = [
    (HEAD.replace("channels", "chanels"), "did you mean 'channels'?"),
    (HEAD.replace('"]\n', "]\n", 1), "line 2, column"),
    (HEAD + "[dependencies]\na = 1\n", "[dependencies] a"),
    (HEAD + '[dependencies]\n"a b" = "*"\n', "'a b'"),
    (HEAD + '[dependencies]\na = "=>1"\n', "'=>1'"),
    (HEAD + '[target.lunix.dependencies]\na = "*"\n[environments]\nx = ["y"]\n', "'y'"),
    (HEAD + '[feature.cpu]\n[environments]\nx = ["cpus"]\n', "did you mean 'cpu'?"),
    (HEAD + '[feature.x]\nplatforms = ["osx"]\n', "family of systems"),
    (HEAD + '[feature.x]\nplatforms = ["linux-46"]\n', "platforms of the workspace: linux-64, win-64"),
    (HEAD.replace('"win-64"', '{ name = "win-64", cuda = "12" }'), "another name"),
    (
        HEAD.replace('"win-64"', '{ platform = "win-64", cuda = "12" }') + '[system-requirements]\nlinux = "5"\n',
        'cuda = "12.0"',
    ),
    (HEAD.replace('"win-64"', '"win-64", "win-64"'), "'win-64' twice"),
    (HEAD.replace('"win-64"', '"windows"'), "conda subdirs"),
    (HEAD + "[tasks]\nx = { command = 'y' }\n", "unknown key 'command'"),
    (HEAD + "[pypi-options]\nindex-url = 'no url'\n", "absolute URL"),
    (HEAD + '[pypi-dependencies]\na = "1.0"\n', 'write "==" before'),
    (HEAD + "[environments]\nx = 'y'\n", "list of features"),
    (HEAD + "[environmnets]\n", "did you mean 'environments'?"),
    ("", "[workspace]"),
]


@pytest.mark.parametrize(("text", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_refusals_say_where_and_what(text, said, tmp_path):
    message = refusal(tmp_path, text)
    assert said in message and message.count("\n") == 3, message


def test_a_manifest_of_another_pixi(tmp_path):
    with pytest.raises(manifests.PixiTooOld, match="self-update"):
        load(tmp_path, HEAD.replace("channels", 'requires-pixi = ">=99"\nchannels'))


def member_of(folder):
    """A package below a workspace, without a workspace of its own."""
    member = folder / "packages" / "member"
    member.mkdir(parents=True)
    (folder / "pixi.toml").write_text('[workspace]\nchannels = []\nplatforms = ["linux-64"]\n')
    (member / "pixi.toml").write_text('[package]\nname = "member"\n')
    return member


def test_a_package_belongs_to_the_workspace_above_it(tmp_path):
    member = member_of(tmp_path)
    for path in (member, member / "pixi.toml"):
        assert manifests.find(path) == tmp_path / "pixi.toml"
    (member / "pyproject.toml").write_text("[tool.pixi.package]\n")
    assert manifests.find(member / "pyproject.toml") == tmp_path / "pixi.toml"


def test_a_package_without_a_workspace_above_it_stays(tmp_path):
    member = member_of(tmp_path)
    (member / "pixi.toml").write_text('[package]\nname = "member"\n[workspace]\nchannels = []\n')
    assert manifests.find(member) == member / "pixi.toml"
    (tmp_path / "pixi.toml").unlink()
    (member / "pixi.toml").write_text('[package]\nname = "member"\n')
    assert manifests.find(member) == member / "pixi.toml"
