"""`container-check` without an engine: each kind of mistake in a Dockerfile or a definition has its finding."""

import json
import random
import re
import shutil
import subprocess
from pathlib import Path

import in_process
import pytest
from conftest import ROOT, changing
from mutations.exercise_5 import BROKEN
from mutations.exercise_5.image import CMD, COPY, INSTALL

from workshop import exercises, workflows
from workshop.checking import checks
from workshop.containers import (
    RULES,
    apptainer,
    build_rules,
    check,
    definition_rules,
    dockerfile,
    image_checks,
    shellwords,
)
from workshop.errors import WorkshopError
from workshop.support.files import sha256_of

FOLDER = ROOT / "exercise-5-container"
SOLUTION = FOLDER / "solution"
EXERCISE = next(e for e in exercises.find_all(ROOT) if e.number == 5)


@pytest.fixture
def clone(tmp_path):
    """The solution in a separate workspace: change("Dockerfile", find, replace), change.folder."""
    for name in ("pixi.toml", "pixi.lock"):
        shutil.copy(ROOT / name, tmp_path / name)
    folder = tmp_path / "solution"
    shutil.copytree(SOLUTION, folder)

    return changing(folder)


OTHER = """\
# syntax=docker/dockerfile:1
ARG WHICH=cpu
FROM --platform=linux/amd64 example.org/tools/pixi:1.0@sha256:{a} AS installed
ARG WHICH=cpu
ENV CONDA_OVERRIDE_CUDA=13
WORKDIR /srv/app
COPY ["pixi.*", "./"]
RUN <<EOF
set -e
pixi --no-progress install --locked -e ${{WHICH}}
EOF
FROM --platform=linux/amd64 example.org/small@sha256:{a} AS unused

FROM --platform=linux/amd64 example.org/small:2@sha256:{a} AS for-cpu

FROM for-cpu AS for-cuda12
ENV WORKSHOP_DEVICE=cuda

FROM for-${{WHICH}}
ARG WHICH=cpu
ARG REVISION
ENV P=/srv/app/.pixi/envs/${{WHICH}}
ENV CONDA_PREFIX=$P PATH="$P/bin:$PATH" PYTHONPATH=/srv/app/common NVIDIA_VISIBLE_DEVICES=all \\
    # a comment inside a continued line

    NVIDIA_DRIVER_CAPABILITIES=all
COPY --from=0 /srv/app /srv/app
LABEL org.opencontainers.image.revision=$REVISION lock.sha256=""
USER 4711
HEALTHCHECK CMD python -c "import torch"
ENTRYPOINT ["tini", "--"]
"""


OF_CONTAINERS = tuple(check for check in EXERCISE.checks if check.number in ("5.1", "5.2", "5.3", "5.4", "5.5"))


def failed_checks(folder, text, name="Containerfile"):
    """The checks that fail with this text as the folder's container file: (number, result)."""
    if name != "apptainer.def":
        (folder / "Dockerfile").unlink(missing_ok=True)
    (folder / name).write_text(text)
    results = checks.run_checks(OF_CONTAINERS, checks.Workspace(folder))
    return [(check.number, answer) for check, answer in results if answer.status != "ok"]


@pytest.mark.slow
def test_other_correct_files_pass(clone):
    ours = (SOLUTION / "Dockerfile").read_text()
    other = OTHER.format(a="0" * 64).replace("example.org/small@", "example.org/small:1@")
    bound = ours.replace("COPY pixi.toml pixi.lock ./\n# The label", "# The label").replace(
        "RUN --mount=type=cache",
        "RUN --mount=type=bind,source=pixi.toml,target=pixi.toml "
        "--mount=type=bind,source=pixi.lock,target=pixi.lock --mount=type=cache",
    )
    in_run = ours.replace("WORKDIR /workshop\n# These", "# These").replace(
        "pixi.lock ./\n# The label", "pixi.lock /workshop/\n# The label"
    )
    in_run = in_run.replace("    pixi install", "    cd /workshop && pixi install").replace(
        'pixi.lock" >', '/workshop/pixi.lock" >'
    )
    for text in (
        ours,
        other,
        bound,
        in_run,
        ours.replace("ENVIRONMENT", "NAME"),
        ours.replace("\n", "\r\n"),
        ours.replace("ARG CONDA_OVERRIDE_CUDA=12.0", "").replace(
            "    pixi install", "    CONDA_OVERRIDE_CUDA=12.4 pixi install"
        ),
        ours.replace("FROM ${BASE_IMAGE} AS runtime-cpu", "FROM --platform=linux/amd64 ${BASE_IMAGE} AS runtime-cpu"),
        ours.replace(
            "pixi install --locked --environment", "bash -c 'pixi install --locked -e cpu' && pixi install --locked -e"
        ),
        "\ufeff"
        + ours.lower().replace("${environment}", "${ENVIRONMENT}").replace("arg environment", "ARG ENVIRONMENT"),
    ):
        if text.startswith("\ufeff"):
            text = ours.replace("FROM ", "from ").replace("RUN ", "run ").replace("COPY ", "Copy ")
        assert failed_checks(clone.folder, text) == []


DOCKERFILE = (SOLUTION / "Dockerfile").read_text()
DEFINITION = (SOLUTION / "apptainer.def").read_text()
GPU = """ENV WORKSHOP_DEVICE=cuda \\
    NVIDIA_VISIBLE_DEVICES=all \\
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
"""
# A stage beside the others, of which nothing goes into the image.
BESIDE = "FROM build AS tested\nRUN pixi install --locked -e dev\n\n# hadolint ignore=DL3006\n"
INTERMEDIATE = f"""FROM scratch AS through
COPY --from=build /workshop/.pixi /workshop/.pixi
FROM through AS further
{BESIDE.replace("dev", "docs")}"""
CASE = "case {{ ENVIRONMENT }} in cuda*) export WORKSHOP_DEVICE=cuda ;; esac"
# (difference from the solution, file, pairs of find and replace)
CORRECT = {
    "a version in one number": ("Dockerfile", [("CUDA=12.0", "CUDA=12")]),
    "a base of NVIDIA's, which sets its own variables": (
        "Dockerfile",
        [
            (
                "FROM ${BASE_IMAGE} AS runtime-cuda12",
                f"FROM docker.io/nvidia/cuda:12.9.0-base-ubuntu24.04@sha256:{'0' * 64} AS runtime-cuda12",
            ),
            (GPU, "ENV WORKSHOP_DEVICE=cuda\n"),
        ],
    ),
    "an entry point that is the environment's python": (
        "Dockerfile",
        [
            (
                CMD,
                'ENTRYPOINT ["/workshop/.pixi/envs/cpu/bin/python", "/workshop/exercise-2-pytorch-cu12/solution/train.py"]',
            )
        ],
    ),
    "an entry point for another stage than the last": (
        "Dockerfile",
        [("AS build\n", 'AS build\nENTRYPOINT ["pixi", "run"]\nCMD ["pixi", "run"]\n')],
    ),
    "a command for another entry point": (
        "Dockerfile",
        [
            ("AS runtime-cpu\n", 'AS runtime-cpu\nCMD ["pixi", "run"]\n'),
            ("AS runtime-cuda12\n", 'AS runtime-cuda12\nCMD ["pixi", "run"]\n'),
            (CMD, 'ENTRYPOINT ["python", "exercise-2-pytorch-cu12/solution/train.py"]'),
        ],
    ),
    "a stage beside": ("Dockerfile", [("# hadolint ignore=DL3006\n", BESIDE)]),
    "a stage beside, whose report is taken": (
        "Dockerfile",
        [
            ("# hadolint ignore=DL3006\n", BESIDE),
            ("COPY common/workshop", "COPY --from=tested /report.xml /report.xml\nCOPY common/workshop"),
        ],
    ),
    "by way of other stages": (
        "Dockerfile",
        [("COPY --from=build /", "COPY --from=further /"), ("# hadolint ignore=DL3006\n", INTERMEDIATE)],
    ),
    "options of the command that Pixi runs": (
        "Dockerfile",
        [("# Byte", "RUN pixi run --locked -e cpu python -m compileall -q -e lib --manifest-path=no\n# Byte")],
    ),
    "options of a command that Pixi runs, and no install": (
        "Dockerfile",
        [(INSTALL, 'pixi run --locked -e "${ENVIRONMENT}" python -m compileall -e nothing')],
    ),
    "all environments": ("Dockerfile", [(INSTALL, "pixi install --locked --all")]),
    "all environments, taken as a folder": (
        "Dockerfile",
        [(INSTALL, "pixi install --locked -a"), (COPY, "COPY --from=build /workshop/.pixi /workshop/.pixi")],
    ),
    "several environments": ("Dockerfile", [(INSTALL, 'pixi install --locked -e docs -e "${ENVIRONMENT}" -e dev')]),
    "options before the command of Pixi": ("Dockerfile", [(INSTALL, f"pixi -v --color never {INSTALL[5:]}")]),
    "options in one word": (
        "Dockerfile",
        [(INSTALL, 'pixi install --locked -qe"${ENVIRONMENT}" -m=/workshop/pixi.toml')],
    ),
    "what looks like a heredoc, in quotes": (
        "Dockerfile",
        [("mkdir -p", "echo \"cat <<EOF here\" '<<EOF' && mkdir -p")],
    ),
    "certificates and public keys": (
        "Dockerfile",
        [("COPY common/workshop", "COPY corporate-ca.pem id_rsa.pub public-key.pem /etc/ssl/\nCOPY common/workshop")],
    ),
    "a mount from a stage, and one from an image by digest": (
        "Dockerfile",
        [
            (
                "RUN --mount=type=cache",
                f"RUN --mount=type=bind,from=runtime-cpu,target=/a --mount=from=b:1@sha256:{'0' * 64},target=/b --mount=type=cache",
            )
        ],
    ),
    "PATH exported after it is set": (
        "apptainer.def",
        [("export PATH=", "PATH="), ("    export PYTHONPATH", "    export PATH\n    export PYTHONPATH")],
    ),
    "PATH set, which is exported already": ("apptainer.def", [("export PATH=", "PATH=")]),
    "exported before it is set": (
        "apptainer.def",
        [("    export PYTHONPATH=", "    export PYTHONPATH\n    PYTHONPATH=")],
    ),
    "the manifest by its path": (
        "apptainer.def",
        [("    cd /workshop\n", ""), ("install --locked", "install --locked --manifest-path /workshop/pixi.toml")],
    ),
    "all environments, by a definition": ("apptainer.def", [("--environment {{ ENVIRONMENT }}", "--all")]),
    "the device by if": (
        "apptainer.def",
        [(CASE, "if [ {{ ENVIRONMENT }} = cuda12 ]; then export WORKSHOP_DEVICE=cuda; fi")],
    ),
    "the device by if, over several lines": (
        "apptainer.def",
        [
            (
                CASE,
                'if [ "$PIXI_ENVIRONMENT_NAME" = cpu ]\n    then\n        true\n    elif [[ {{ ENVIRONMENT }} == cuda* ]]; then\n'
                "        export WORKSHOP_DEVICE=cuda\n    else\n        export WORKSHOP_DEVICE=none\n    fi",
            )
        ],
    ),
    "the device by a test": ("apptainer.def", [(CASE, "test {{ ENVIRONMENT }} = cpu || export WORKSHOP_DEVICE=cuda")]),
    "the device by a test that must hold": (
        "apptainer.def",
        [(CASE, "[ {{ ENVIRONMENT }} != cpu ] && export WORKSHOP_DEVICE=cuda")],
    ),
    "the device by case, over several lines": (
        "apptainer.def",
        [
            (
                CASE,
                'case "{{ ENVIRONMENT }}" in\n      cpu|docs) ;;\n      (cuda12)\n        export WORKSHOP_DEVICE=cuda\n        ;;\n'
                "      *) echo unknown ;;\n    esac",
            )
        ],
    ),
    "the code as a folder": (
        "apptainer.def",
        [
            ("    common/workshop /workshop/common/workshop\n", "    common /workshop/common\n"),
            (
                "    exercise-2-pytorch-cu12/solution/train.py /workshop/exercise-2-pytorch-cu12/solution/train.py\n",
                "    exercise-2-pytorch-cu12 /workshop/exercise-2-pytorch-cu12\n",
            ),
        ],
    ),
    "the code by git": (
        "apptainer.def",
        [
            ("    common/workshop /workshop/common/workshop\n", ""),
            ("    mkdir -p /workshop/results", "    git clone https://example.org/workshop.git /workshop"),
        ],
    ),
    "another name of the argument": (
        "apptainer.def",
        [("{{ ENVIRONMENT }}", "{{WHICH}}"), ("    ENVIRONMENT=cpu", "    WHICH=cpu")],
    ),
}


@pytest.mark.parametrize("case", CORRECT)
def test_other_correct_variants_pass(clone, case):
    file, changes = CORRECT[case]
    text = {"Dockerfile": DOCKERFILE, "apptainer.def": DEFINITION}[file]
    for find, replace in changes:
        assert find in text, find
        text = text.replace(find, replace)
    assert failed_checks(clone.folder, *((text,) if file == "Dockerfile" else (text, file))) == []


def test_a_variable_set_over_nvidias_base_image_counts(clone):
    _, changes = CORRECT["a base of NVIDIA's, which sets its own variables"]
    for find, replace in (*changes, ("WORKSHOP_DEVICE=cuda\n", "WORKSHOP_DEVICE=cuda NVIDIA_VISIBLE_DEVICES=void\n")):
        clone("Dockerfile", find, replace)
    findings = check.check_file(clone.folder / "Dockerfile", "cuda12")
    assert [(finding.name, finding.found) for finding in findings] == [("gpu-variables", "void")]


def test_a_definition_that_only_converts_an_image_fails(clone):
    (clone.folder / "apptainer-image.def").replace(clone.folder / "apptainer.def")
    findings = [
        answer
        for _, answer in checks.run_checks(OF_CONTAINERS, checks.Workspace(clone.folder))
        if answer.status == "fail"
    ]
    assert [answer.found for answer in findings] == ["no call of Pixi in %post"]


# ---------------------------------------------------------------- the reading


def test_dockerfiles_are_parsed_as_docker_parses_them(tmp_path):
    text = (
        '# escape=`\nARG A=1 B="two words"\nFROM x:${A:-9} as One\nARG A\nENV C=${A} D=\'$A\' E="${B:-none}" F=${A:+yes}\n'
        "run <<-ONE cat && <<'TWO' sh `\n  more\n\tin one $A\n\tONE\nin two\nTWO\nCOPY <<X /etc/x\nFROM none\nX\n"
        "FROM one\nWORKDIR a/../b\nWORKDIR c\nUSER ${C}\nCMD []\n"
    )
    path = tmp_path / "Dockerfile"
    instructions = dockerfile.parse(text, path)
    assert [i.name for i in instructions] == "ARG FROM ARG ENV RUN COPY FROM WORKDIR WORKDIR USER CMD".split()
    assert [i.line for i in instructions] == [2, 3, 4, 5, 6, 12, 15, 16, 17, 18, 19]
    run = instructions[4]
    assert run.heredocs == ("in one $A", "in two") and run.text.endswith("sh   more")
    one, two = dockerfile.stages(instructions, {"A": "5"}, path)
    assert one.base == "x:5" and two.parent is one and two.env == {"C": "5", "D": "$A", "E": "none", "F": "yes"}
    assert (two.workdir, two.user) == ("/b/c", "5")


@pytest.mark.parametrize(
    "word, value",
    [
        ("${V#a}", "b.a.b"),
        ("${V##*.}", "b"),
        ("${V%.*}", "ab.a"),
        ("${V%%.*}", "ab"),
        ("${V/a/x}", "xb.a.b"),
        ("${V//a/x}", "xb.x.b"),
        ("${V/b*/x}", "ax"),
        ("${V//?/x}", "xxxxxx"),
        ("${V//a*/x}", "x"),
        ("${V/*/x}", "x"),
        ("${V//*/x}", "x"),
        ("${V/[ab]/x}", "xb.a.b"),
        ("${V//b./}", "aa.b"),
        ("${V/none/x}", "ab.a.b"),
        ("${N-x}", "x"),
        ("${E:-x}", "x"),
        ("${E-x}", ""),
        ("\\$V", "$V"),
        ("$V-$N", "ab.a.b-"),
    ],
)
def test_variables_expand_as_in_the_shell(word, value):
    """The values are those that `dash` and `bash` print."""
    values = {"V": "ab.a.b", "E": ""}
    assert dockerfile.expand(word, values) == value
    if shutil.which("bash"):
        process = subprocess.run(["bash", "-c", f"printf %s {word}"], env=values, capture_output=True, text=True)
        assert process.stdout == value


def test_hadolint_finds_nothing_in_the_solution(tmp_path):
    messages = check.hadolint(SOLUTION / "Dockerfile")
    if messages == "not installed":
        pytest.skip(
            "hadolint is not installed: the extra test has it, except for Windows, where PyPI has no wheel of it"
        )
    assert messages == []
    (tmp_path / "Dockerfile").write_text("FROM debian:latest\n")
    [message] = check.hadolint(tmp_path / "Dockerfile")
    assert "DL3007" in str(message)


def test_definitions_are_parsed_as_spython_parses_them(tmp_path):
    """Compare stages, images, files and commands with another parser.

    It takes words in comments for headers, so these go.
    """
    parsers = pytest.importorskip("spython.main.parse.parsers", reason="spython is not installed here")
    for number, path in enumerate((*SOLUTION.glob("*.def"), FOLDER / "starter" / "apptainer.def")):
        bare = tmp_path / f"{number}.def"
        bare.write_text(re.sub(r"(?m)^\s*#.*\n", "", path.read_text()).replace("{{ ENVIRONMENT }}", "cpu"))
        recipe = parsers.get_parser("singularity")(str(bare)).recipe
        ours = apptainer.read(bare)
        assert [r.fromHeader for r in recipe.values()] == [stage.header["from"].lower() for stage in ours]
        for theirs, stage in zip(recipe.values(), ours, strict=True):
            taken = [line for lines in theirs.layer_files.values() for line in lines]
            assert [line.split() for line in [*theirs.files, *taken]] == sorted(
                ([source, target] for _, source, target in stage.copies()),
                key=lambda pair: pair in [t.split() for t in taken],
            )
            lines = [line.strip() for line in stage.text("post").splitlines() if line.strip()]
            assert theirs.install[: len(lines)] == lines


def test_stages_and_sections_of_a_definition_know_their_lines():
    lines = (SOLUTION / "apptainer.def").read_text().splitlines()
    stages = apptainer.read(SOLUTION / "apptainer.def")
    assert stages and all(lines[stage.line - 1].startswith("Bootstrap:") for stage in stages)
    sections = [section for stage in stages for section in stage.sections]
    assert sections and all(lines[section.line - 1].startswith(f"%{section.name}") for section in sections)


# ---------------------------------------------------------------- the command


def workshop(*words, cwd=ROOT):
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT / "common")}
    return in_process.workshop(words, cwd, environment)


def test_text_and_json_report_the_same_findings(clone, refused):
    clone("Dockerfile", "USER 1000:1000", "")
    process = workshop("container-check", clone.folder / "Dockerfile")
    assert process.returncode == 0 and "advice  root-user" in process.stdout
    assert "errors: 0, advice: 1" in process.stdout
    script = "exercise-2-pytorch-cu12/solution/train.py"
    clone("Dockerfile", f"COPY {script} {script}\n", "")
    process = workshop("container-check", clone.folder / "Dockerfile")
    assert process.returncode == 1 and "error  code-not-copied" in process.stdout
    assert "errors: 1, advice: 1" in process.stdout
    json_process = workshop("container-check", clone.folder, "--json", "--environment", "cuda12")
    report = json.loads(json_process.stdout)
    assert json_process.returncode == 1 and report["passed"] is False
    assert [f["name"] for file in report["files"] for f in file["findings"]] == ["root-user", "code-not-copied"]
    assert workshop("container-check", SOLUTION).returncode == 0
    refused(workshop("container-check", clone.folder, "--environment", "nope"), "one of default, cpu")
    refused(workshop("container-check", clone.folder / "none"), "no such file or folder")
    definition = clone.folder / "apptainer.def"
    assert workshop("container-check", definition, "--environment", "cuda12").returncode == 0
    refused(workshop("container-check", definition, "--environment", "nope"), "one of default, cpu")
    for find, replace, name in (
        ("CUDA=12.0", "CUDA=11.8", "def-cuda-override"),
        ("export WORKSHOP_DEVICE=cuda", "true", "def-activation"),
    ):
        definition.write_text(DEFINITION.replace(find, replace))
        assert workshop("container-check", definition).returncode == 0
        process = workshop("container-check", definition, "--environment", "cuda12")
        assert process.returncode == 1 and f"error  {name}" in process.stdout and "errors: 1," in process.stdout
        definition.write_text(DEFINITION.replace(find, replace).replace("--environment {{ ENVIRONMENT }}", "--all"))
        assert f"error  {name}" in workshop("container-check", definition, "--environment", "cuda12").stdout
    definition.write_text(DEFINITION.replace("--environment {{ ENVIRONMENT }}", "--environment cpu"))
    refused(workshop("container-check", definition, "--environment", "cuda12"), "always cpu", "in %arguments")
    fixed = clone.folder / "Dockerfile"
    fixed.write_text(fixed.read_text().replace('"${ENVIRONMENT}"\n# Byte', "cpu\n# Byte"))
    refused(
        workshop("container-check", fixed, "--environment", "cuda12"), "a build argument that chooses the environment"
    )


def test_files_outside_the_tutorial(tmp_path):
    """A workspace with only a manifest, and a file without a workspace."""
    (tmp_path / "pixi.toml").write_text('[workspace]\nname = "a"\nchannels = []\nplatforms = ["osx-arm64"]\n')
    (tmp_path / "Dockerfile").write_text("FROM a:1\nCOPY pixi.toml pixi.lock ./\nRUN pixi install --locked\n")
    names = [finding.name for finding in check.check_file(tmp_path / "Dockerfile", None)]
    assert "environment-platform" in names and "one-stage" in names and "environment-fixed" not in names
    (tmp_path / "pixi.toml").unlink()
    names = [finding.name for finding in check.check_file(tmp_path / "Dockerfile", None)]
    assert "environment-platform" not in names and "one-stage" in names


def test_arbitrary_bytes_cause_no_traceback(tmp_path):
    rng = random.Random(20261121)
    ours = [(SOLUTION / name).read_bytes() for name in ("Dockerfile", "apptainer.def")]
    samples = [
        b"",
        b"\xff\xfe\x00",
        b"\x00" * 50,
        b"FROM",
        b"FROM \n",
        b"ENV\n",
        b"FROM a\nENV =\n",
        b"FROM a\nRUN <<E\n",
        b"FROM $",
        b"FROM ${",
        b"FROM a AS\n",
        b"FROM a\nCOPY [\n",
        b'FROM a\nCOPY ["a"]\n',
        b'FROM a\nLABEL "\n',
        b"FROM a\nRUN pixi install -e\n",
        b"FROM a\nRUN '\n",
        b"Bootstrap:",
        b"Bootstrap: docker\n%",
        b"%post\n",
        b"FROM a\nCOPY --from=9 a b\n",
        b"FROM a\nARG\n",
        b"FROM a\n" + b"[" * 5000,
    ]
    for text in ours:
        for _ in range(150):
            at, length = rng.randrange(len(text)), rng.randrange(1, 40)
            piece = bytes(rng.randrange(256) for _ in range(rng.randrange(4)))
            samples.append(text[:at] + piece + text[at + length :])
    for number, sample in enumerate(samples):
        for name in ("Dockerfile", "a.def"):
            path = tmp_path / name
            path.write_bytes(sample)
            try:
                for finding in check.check_file(path, None):
                    assert finding.looked_at and finding.expected and finding.next_step, (number, finding)
            except WorkshopError as error:
                assert str(error).count("\n") >= 3


MALFORMED = (
    "",
    "--x=y",
    "--x",
    "--from=x",
    "--from=1",
    "--mount=from=",
    "--mount=,",
    "--mount=type=bind,src=",
    "--platform=",
    "[]",
    '[""]',
    "[1]",
    "[[]]",
    '["a"]',
    '["", ""]',
    '""',
    "''",
    '"',
    "$",
    "${",
    "${A",
    "${A:-",
    "${A%}",
    "$A",
    "=",
    "==",
    "=a",
    "a=",
    '""=""',
    "a",
    "0",
    "0:0",
    ":",
    "@",
    "a@",
    "a:@",
    "AS",
    "as b",
    "a AS b",
    "a AS 0",
    "CMD",
    "CMD []",
    "CMD [1]",
    "CMD ''",
    "NONE",
    "none",
    "<<",
    "<<E",
    "\\",
    "\\\\",
    "a b",
    "../..",
    "/",
    "*",
    "pixi",
    "pixi run -e",
    "pixi -m",
    "pixi install --all",
    "sh -c",
    "bash -c ''",
    "cd",
    "export",
    "env",
    "--",
    "-",
    "#",
    "|",
    "( )",
)


@pytest.mark.slow
@pytest.mark.parametrize("combined", [0, 20])
def test_malformed_arguments_cause_no_traceback(tmp_path, combined):
    """Every instruction, with arguments that people leave out, mistype or write in the wrong form."""
    (tmp_path / "pixi.toml").write_text('[workspace]\nname = "a"\nchannels = []\nplatforms = ["linux-64"]\n')
    path, rng = tmp_path / "Dockerfile", random.Random(20261122)
    endings = ("", "E\n", "FROM 0\nCOPY --from=0 a b\n", "RUN pixi install --locked\nFROM b\nCOPY --from=0 / /\n")
    for name in sorted(dockerfile.INSTRUCTIONS):
        for arguments in (*MALFORMED, *(f"{rng.choice(MALFORMED)} {rng.choice(MALFORMED)}" for _ in range(combined))):
            for start in ("", "FROM a AS b\n"):
                text = f"{start}{name} {arguments}\n{rng.choice(endings)}"
                path.write_text(text)
                try:
                    check.check_file(path, rng.choice((None, "default")))
                except WorkshopError as error:
                    assert str(error).count("\n") >= 3
                except Exception as error:
                    raise AssertionError(text) from error


@pytest.mark.parametrize("line", ["FROM --platform=linux/amd64", "FROM a\nLABEL --x=y", "FROM a\nRUN --network=none"])
def test_an_instruction_with_options_alone_gives_a_message(tmp_path, line):
    with pytest.raises(WorkshopError, match="something after (FROM|LABEL|RUN)"):
        dockerfile.parse(line, tmp_path / "Dockerfile")


def test_every_rule_is_broken_by_a_test():
    """Here, in tests/mutations or in test_public_dockerfiles.py."""
    of_workflows = (*workflows.RIGHTS_RULES, *workflows.ORDER_RULES, *workflows.PUBLISH_RULES)
    names = {rule.name for rule in (*RULES, *definition_rules.CONVERSION_RULES, *of_workflows)}
    broken = {entry[3] for entry in BROKEN} | {
        "one-stage",
        "image-run",  # in MISTAKES of workflow.py, since it takes two changes
        "environment-platform",
        "def-environment-platform",
        "pixi-too-old",  # tests/containers/test_public_dockerfiles.py
    }
    assert broken <= names
    assert names - broken <= {"def-manifest-not-copied", "def-pixi-in-final"}, names - broken


def test_a_test_that_cannot_be_decided_counts_as_met():
    """Of files, for example: what it guards is then checked as well."""
    for condition in ("[ -f pixi.lock ]", "test -d /cache", "[[ 3 -gt 2 ]]", "[ ! -f pixi.lock ]", "[ a ]"):
        assert ["export", "A=1"] in shellwords._executed(f"if {condition}; then export A=1; fi", {}), condition
    assert ["export", "A=1"] not in shellwords._executed("if [ a = b ]; then export A=1; fi", {})


def test_the_outputs_of_a_training_in_the_image_are_compared_with_their_record(tmp_path):
    class Container:
        results, returncode = tmp_path, 0

        def run(self, *words):
            return subprocess.CompletedProcess(words, self.returncode, "", "a reason")

    container = Container()
    assert "a reason" in str(image_checks._training_fails(container))  # it wrote no record
    (tmp_path / "trial").mkdir()
    (tmp_path / "trial/weights").write_bytes(b"x")
    for sha256, problem in (
        (sha256_of(tmp_path / "trial/weights"), None),
        ("0" * 64, "differs from the record: weights"),
    ):
        record = {"outputs": [{"path": "weights", "sha256": sha256}]}
        (tmp_path / "trial/run.json").write_text(json.dumps(record))
        found = image_checks._training_fails(container)
        assert found is None if problem is None else problem in str(found)
    container.returncode = 1
    assert "a reason" in str(image_checks._training_fails(container))


def test_a_dockerfile_that_is_too_long_names_the_line(tmp_path):
    path = tmp_path / "Dockerfile"
    text = f"FROM debian:12\n\nRUN true\nRUN {'x' * dockerfile.LONGEST_INSTRUCTION}\n"
    with pytest.raises(WorkshopError, match="Dockerfile, line 4"):
        dockerfile.parse(text, path)


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("ARG API_TOKEN", ["API_TOKEN"]),
        ("ENV PASSWORD=x", ["PASSWORD"]),
        ("ENV PASSWORD=", []),
        ("ARG TOKEN_FILE=/run/token", []),
        ("ENV SECRET_PATH=/run/secrets", []),
        ("RUN echo $PASSWORD", []),
    ],
)
def test_variables_that_hold_a_secret_and_those_that_name_its_file(line, names):
    (instruction,) = dockerfile.parse(f"{line}\n", Path("Dockerfile"))
    assert build_rules._secret_names(instruction) == names
