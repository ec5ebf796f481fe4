"""Typical Dockerfiles of public workspaces: what `container-check` must report about them, and what not."""

import json
import subprocess

import pytest

from workshop.containers import check, dockerfile, shellwords
from workshop.errors import WorkshopError

MANIFEST = """[workspace]
name = "app"
channels = ["conda-forge"]
platforms = ["linux-64"]
[dependencies]
python = "*"
uvicorn = "*"
[feature.dev.dependencies]
pytest = "*"
[environments]
prod = []
dev = ["dev"]
"""
# From Pixi's documentation (deployment/container.md), without its comments.
DOCUMENTED = """FROM ghcr.io/prefix-dev/pixi:0.77.0 AS build
WORKDIR /app
COPY . .
RUN pixi install --locked -e prod
RUN pixi shell-hook -e prod -s bash > /shell-hook
RUN echo "#!/bin/bash" > /app/entrypoint.sh
RUN cat /shell-hook >> /app/entrypoint.sh
RUN echo 'exec "$@"' >> /app/entrypoint.sh

FROM ubuntu:24.04 AS production
WORKDIR /app
COPY --from=build /app/.pixi/envs/prod /app/.pixi/envs/prod
COPY --from=build --chmod=0755 /app/entrypoint.sh /app/entrypoint.sh
COPY ./my_project /app/my_project
EXPOSE 8000
ENTRYPOINT [ "/app/entrypoint.sh" ]
CMD [ "uvicorn", "my_project:app", "--host", "0.0.0.0" ]
"""
SHELL_HOOK = """FROM ghcr.io/prefix-dev/pixi:0.77.0 AS build
WORKDIR /app
COPY pixi.toml pixi.lock ./
RUN pixi install --locked
RUN printf '#!/bin/sh\\n%s\\nexec "$@"' "$(pixi shell-hook --locked -e prod)" > /entrypoint.sh

FROM ubuntu:24.04
COPY --from=build /app/.pixi/envs/prod /app/.pixi/envs/prod
COPY --from=build /entrypoint.sh /entrypoint.sh
ENTRYPOINT ["/entrypoint.sh"]
"""


@pytest.fixture
def findings(tmp_path):
    """findings(text) checks this Dockerfile in a folder with MANIFEST and a lock of version 7."""
    (tmp_path / "pixi.toml").write_text(MANIFEST)
    (tmp_path / "pixi.lock").write_text("version: 7\n")

    def of(text):
        (tmp_path / "Dockerfile").write_text(text)
        return check.check_file(tmp_path / "Dockerfile", None)

    return of


def named(findings, name):
    return [finding for finding in findings if finding.name == name]


def test_pixis_documented_dockerfile_gets_advice_and_no_errors(findings):
    result = findings(DOCUMENTED)
    assert {finding.level for finding in result} == {"advice"}
    assert {"base-digest", "whole-context", "entrypoint", "root-user"} <= {finding.name for finding in result}
    assert "apptainer exec" in named(result, "entrypoint")[0].expected
    assert "repeats the installation" in named(result, "whole-context")[0].found
    assert "only by the entry point" in named(result, "path")[0].found


def test_an_environment_installed_in_a_command_substitution(findings):
    result = findings(SHELL_HOOK)
    assert not named(result, "prefix-not-copied")
    assert [finding.level for finding in result if finding.level == "error"] == []
    for name in ("path", "conda-prefix"):
        assert "/app/.pixi/envs/prod" in named(result, name)[0].expected


@pytest.mark.parametrize(
    ("dockerfile_start", "version"),
    [
        ("FROM ghcr.io/prefix-dev/pixi:0.47.0 AS build\n", "0.47.0"),
        ("FROM ghcr.io/prefix-dev/pixi:0.67.2-noble AS build\n", "0.67.2"),
        ("FROM debian:13\nCOPY --from=ghcr.io/prefix-dev/pixi:0.50.1 /usr/local/bin/pixi /bin/pixi\n", "0.50.1"),
        ("FROM debian:13\nRUN curl -fsSL https://pixi.sh/install.sh | PIXI_VERSION=v0.41.4 bash\n", "0.41.4"),
        ("FROM debian:13\nENV PIXI_VERSION=0.41.4\nRUN curl -fsSL https://pixi.sh/install.sh | bash\n", "0.41.4"),
        (
            "FROM debian:13\nARG V=0.60.0\nADD x y\nRUN curl -L https://h/releases/download/v$V/pixi-x | tar xz\n",
            "0.60.0",
        ),
        ("FROM ghcr.io/prefix-dev/pixi:0.68.0 AS build\n", None),
        ("FROM ghcr.io/prefix-dev/pixi:noble AS build\n", None),
        ("FROM debian:13\nRUN curl -fsSL https://pixi.sh/install.sh | bash\n", None),
    ],
)
def test_a_pixi_that_cannot_read_the_lock(findings, tmp_path, dockerfile_start, version):
    text = f"{dockerfile_start}COPY pixi.toml pixi.lock ./\nRUN pixi install --locked -e prod\n"
    result = named(findings(text), "pixi-too-old")
    assert [(finding.level, finding.found) for finding in result] == ([("error", f"Pixi {version}")] if version else [])
    (tmp_path / "pixi.lock").write_text("version: 6\n")
    assert not named(check.check_file(tmp_path / "Dockerfile", None), "pixi-too-old")


@pytest.mark.parametrize(
    ("instruction", "environments"),
    [
        ("RUN cat <<EOF > notes\npixi install -e data\nEOF", []),
        ("RUN <<EOF\npixi install -e script\nEOF", ["script"]),
        ("RUN bash -e <<EOF\npixi install -e script\nEOF", ["script"]),
        ("RUN cat <<EOF | sh\npixi install -e script\nEOF", ["script"]),
        ("RUN true && cat <<EOF > notes && bash notes\npixi install -e data\nEOF", []),
        ("RUN python3 <<EOF\npixi install -e data\nEOF", []),
        ("RUN <<EOF\n#!/usr/bin/env python3\npixi install -e data\nEOF", []),
        ("RUN <<EOF\n#!/bin/bash -e\npixi install -e script\nEOF", ["script"]),
        ("RUN <<EOF\ncat <<'X' > notes\npixi install -e data\nX\npixi install -e script\nEOF", ["script"]),
        ('RUN eval "$(pixi shell-hook -e inner)" && pixi run -e outer x', ["inner", "outer"]),
        ("RUN echo `pixi install -e inner`", ["inner"]),
        ("RUN echo $(cd /a && echo $(pixi install -e inner))", ["inner"]),
        ("RUN echo '$(pixi install -e quoted)'", []),
        ("RUN true # $(pixi install -e comment)", []),
        ("RUN printf '#!/bin/sh\\n' && pixi install -e script", ["script"]),
    ],
)
def test_commands_are_distinguished_from_data(tmp_path, instruction, environments):
    run = dockerfile.parse(instruction, tmp_path / "Dockerfile")[0]
    assert [call.environment for call in shellwords.pixi_calls(run.script, {})] == environments


def test_a_folder_changed_in_a_substitution_is_not_that_of_the_script():
    script = 'HERE=$(cd "$(dirname "$0")" && pwd) && cd /app && pixi install'
    assert [call.folder for call in shellwords.pixi_calls(script, {})] == ["/app"]
    assert [call.folder for call in shellwords.pixi_calls("echo $(cd /a && pwd) && pixi install", {})] == [""]


@pytest.mark.parametrize("instruction", ["ENV NAME", "ENV A=1 NAME", "LABEL NAME"])
def test_a_variable_without_a_value_is_refused_as_docker_refuses_it(tmp_path, instruction):
    with pytest.raises(WorkshopError, match="a value for NAME"):
        dockerfile.parse(f"FROM a\n{instruction}\n", tmp_path / "Dockerfile")


def test_variables_with_a_value_in_each_form(tmp_path):
    text = 'ENV A b c\nENV A=\nENV A= B="c d"\nARG A\n'
    pairs = [dockerfile.pairs(instruction) for instruction in dockerfile.parse(text, tmp_path / "Dockerfile")]
    assert pairs == [[("A", "b c")], [("A", "")], [("A", ""), ("B", '"c d"')], [("A", None)]]


def test_a_digest_fixes_the_tag_latest(findings):
    digest = "@sha256:" + "0" * 64
    for base, level in (
        (f"debian:latest{digest}", "advice"),
        ("debian:latest", "error"),
        ("debian:latest@sha256:0", "error"),
    ):
        assert [finding.level for finding in named(findings(f"FROM {base}\n"), "base-latest")] == [level]


def test_copying_everything_is_reported_for_its_drawbacks_alone(findings):
    start, install = "FROM ghcr.io/prefix-dev/pixi:0.77.0 AS build\n", "RUN pixi install --locked -e prod\n"
    copied = "COPY pixi.toml pixi.lock ./\n"
    end = "FROM debian:13\nCOPY --from=build /.pixi/envs/prod /.pixi/envs/prod\n"
    after = findings(f"{start}{copied}{install}COPY . .\nRUN make\n{end}")
    assert not named(after, "whole-context")
    in_image = named(findings(f"{start}{copied}{install}{end}COPY . .\n"), "whole-context")
    assert "the image contains every file" in in_image[0].found and "repeats" not in in_image[0].found
    before = named(findings(f"{start}COPY . .\n{install}{end}"), "whole-context")
    assert "repeats the installation" in before[0].found and "every file" not in before[0].found


@pytest.mark.parametrize(
    "step",
    [
        "COPY pixi.toml pixi.lock ./",
        "COPY . /app",
        "COPY *.toml *.lock ./",
        "ADD pixi.toml pixi.lock ./",
        "COPY config/lock-of-today pixi.lock\nCOPY config/workspace pixi.toml",
        "RUN git clone https://example.org/app .",
        "RUN curl -O https://example.org/pixi.toml -O https://example.org/pixi.lock",
    ],
)
def test_files_that_exist_before_the_installation(findings, step):
    result = findings(f"FROM ghcr.io/prefix-dev/pixi:0.77.0\nWORKDIR /app\n{step}\nRUN pixi install --locked -e prod\n")
    assert not named(result, "manifest-not-copied") and not named(result, "lock-not-copied")


def test_the_health_check_imports_an_installed_package(findings, tmp_path):
    for dependencies, command in (
        ('python = "*"\nuvicorn = "*"', '["python", "-c", "import uvicorn"]'),
        ('pytorch-gpu = "*"\nnumpy = "*"', '["python", "-c", "import torch"]'),
        ('scikit-learn = "*"', '["python", "-c", "import sklearn"]'),
        ('python = "*"\nsomething = "*"', '["python", "-c", "import PACKAGE"]'),
        ('samtools = "*"', '["samtools", "--version"]'),
    ):
        manifest = MANIFEST.replace('python = "*"\nuvicorn = "*"', dependencies)
        findings(DOCUMENTED)
        (tmp_path / "pixi.toml").write_text(manifest)
        [advice] = named(check.check_file(tmp_path / "Dockerfile", None), "healthcheck")
        assert advice.next_step == f"HEALTHCHECK CMD {command}"


def test_hadolints_errors_count_and_its_parse_error_does_not(findings, tmp_path, monkeypatch, capsys):
    def hadolint_prints(*messages):
        entries = [
            {"code": code, "level": "error", "line": 3, "message": "x", "file": "-", "column": 1} for code in messages
        ]
        process = subprocess.CompletedProcess([], 0, json.dumps(entries).encode(), b"")
        monkeypatch.setattr(check.subprocess, "run", lambda *_, **__: process)

    monkeypatch.setattr(check.shutil, "which", lambda name: f"/bin/{name}")
    findings(DOCUMENTED)
    hadolint_prints("DL3004", "DL3020")
    assert check.main(str(tmp_path / "Dockerfile"), None, as_json=False) == 1
    assert "errors: 2, advice: " in capsys.readouterr().out
    hadolint_prints("DL1000")
    assert check.main(str(tmp_path / "Dockerfile"), None, as_json=False) == 0
    output = capsys.readouterr().out
    assert "cannot parse line 3" in output and "errors: 0, advice: " in output and "DL1000" not in output
