"""The rules for a workflow that publishes an image: other correct workflows, unusual files, and the linters."""

import json
import re
import textwrap

import pytest
from conftest import ROOT

from workshop import workflows
from workshop.errors import WorkshopError
from workshop.support.rules import findings_of
from workshop.workflows import linters

SOLUTION = ROOT / "exercise-5-container" / "solution" / "image.yml"
RULES = (*workflows.RIGHTS_RULES, *workflows.ORDER_RULES, *workflows.PUBLISH_RULES)

# Another correct one: one job, another engine for the first image, and rights for nothing at the top.
ONE_JOB = f"""
on: push
permissions: {{}}
jobs:
  all:
    runs-on: ubuntu-24.04
    permissions: {{contents: read, packages: write, id-token: write, attestations: write}}
    steps:
      - uses: actions/checkout@{1:040x}
        with: {{persist-credentials: false}}
      - uses: prefix-dev/setup-pixi@{2:040x}
        with: {{run-install: false}}
      - run: pixi install --locked && pixi run --locked pytest
      - uses: docker/build-push-action@{3:040x}
        with: {{load: true, tags: "test:1"}}
      - run: podman run test:1
      - uses: docker/build-push-action@{3:040x}
        id: push
        with: {{outputs: "type=registry,name=name,push-by-digest=true"}}
      - run: docker run "$IMAGE"
        env: {{IMAGE: "name@${{{{ steps.push.outputs.digest }}}}"}}
      - uses: actions/attest-build-provenance@{4:040x}
        with: {{subject-digest: "${{{{ steps.push.outputs.digest }}}}"}}
      - run: |
          # apptainer build train.sif docker://name:latest
          apptainer build train.sif \\
            docker://$IMAGE
          oras push ghcr.io/me/train:sif train.sif
        env: {{IMAGE: "name@${{{{ steps.push.outputs.digest }}}}"}}
"""


@pytest.fixture
def names(tmp_path):
    """The names of the findings about a workflow with some text."""

    def read(text, rules=RULES):
        path = tmp_path / "image.yml"
        path.write_text(text)
        return [finding.name for finding in findings_of([workflows.read_workflow(path)], rules)]

    return read


def test_other_correct_workflows_pass(names):
    text = SOLUTION.read_text()
    assert names(text) == [] and names(ONE_JOB) == []
    assert names(text.replace("\n", "\r\n")) == []
    assert names(text.replace("on:\n", '"on":\n')) == []
    between = "    needs: middle\n    if:"
    job = "  middle:\n    needs: [test]\n    runs-on: ubuntu-24.04\n    steps: [{run: ls}]\n\n  publish:"
    assert names(text.replace("    needs: test\n    if:", between).replace("  publish:", job)) == []


def test_our_own_workflow_has_the_least_rights(names):
    text = (ROOT / ".github" / "workflows" / "container.yml").read_text()
    assert names(text, workflows.RIGHTS_RULES) == []


def test_every_rule_has_a_name_of_its_own(names):
    listed = [rule.name for rule in RULES]
    assert len(set(listed)) == len(listed)


def test_a_line_is_named(tmp_path):
    path = tmp_path / "image.yml"
    path.write_text(ONE_JOB.replace(f"setup-pixi@{2:040x}", "setup-pixi@v0"))
    (finding,) = findings_of([workflows.read_workflow(path)], RULES)
    line = int(re.search(r"image.yml, line (\d+)", finding.looked_at)[1])
    assert "setup-pixi@v0" in path.read_text().splitlines()[line - 1]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "no jobs"),
        ("jobs: []", "no jobs"),
        ("jobs: {a: b}", "no jobs"),
        ("jobs: {a: {steps: text}}", "steps of the job a"),
        ("jobs: {a: {steps: [text]}}", "steps of the job a"),
        ("\x00", "not allowed"),
        ("[" * 5000, ""),
        ("x" * (workflows.workflow.LARGEST + 1), "more than"),
    ],
)
def test_files_that_are_not_workflows(tmp_path, text, found):
    path = tmp_path / "image.yml"
    path.write_text(text)
    with pytest.raises(WorkshopError) as caught:
        workflows.read_workflow(path)
    assert found in caught.value.found and caught.value.looked_at == "image.yml"


@pytest.mark.parametrize(
    ("text", "line", "found"),
    [
        (
            SOLUTION.read_text().replace("    needs: test", "      needs: test"),
            53,
            "mapping values are not allowed here: needs: test",
        ),
        ("jobs:\n\ta: 1", 2, "found character '\\t' that cannot start any token: a: 1"),
        ("a: [", 1, ""),
        ("a: *b", 1, "undefined alias"),
        ("a: &a [*a]", 1, ""),
        (f"a: [{'x' * 100}: :", 1, ""),
    ],
)
def test_files_that_are_not_yaml(tmp_path, text, line, found):
    path = tmp_path / "image.yml"
    path.write_text(text)
    with pytest.raises(WorkshopError) as caught:
        workflows.read_workflow(path)
    assert caught.value.looked_at == f"image.yml, line {line}" and caught.value.expected == "valid YAML"
    assert found in caught.value.found and len(caught.value.found) < 160
    assert "indentation" in caught.value.next_step and "tabs" in caught.value.next_step


PUSHED = '"oras://$IMAGE:$GITHUB_REF_NAME-sif"'
READ = '"$IMAGE:$GITHUB_REF_NAME-sif"'


@pytest.mark.parametrize(
    ("pushed", "read"),
    [
        ('"oras://${IMAGE}:${GITHUB_REF_NAME}-sif"', READ),
        ("oras://$IMAGE:${GITHUB_REF#refs/tags/}-sif", READ),
        (PUSHED, "$IMAGE:${{ github.ref_name }}-sif"),
        ('"oras://$IMAGE:sif"', '"$IMAGE:sif"'),
        ('"oras://$IMAGE:$(cat tag)"', READ),
        ('"oras://$IMAGE:$tag"', READ),
        ('"oras://$file"', READ),
        ('"oras://$IMAGE:$tag"', f"$sif; tag=1\n          sif={READ}\n          tag=$GITHUB_REF_NAME-sif"),
        ('"oras://$IMAGE:latest"', '"$IMAGE@$DIGEST"'),
        ('"oras://$IMAGE:latest"', "debian:13-slim"),
    ],
)
def test_other_tags_of_the_file_pass(names, pushed, read):
    assert names(SOLUTION.read_text().replace(PUSHED, pushed).replace(READ, read)) in ([], ["script-injection"])


@pytest.mark.parametrize(
    "outputs",
    ['for name in lock epoch image; do echo "$name=1"; done >> "$GITHUB_OUTPUT"', "python .github/outputs.py"],
)
def test_outputs_of_other_scripts_pass(names, outputs):
    text = re.sub(r"(id: source\n        run: )\|\n(?: {10}.*\n)+", rf"\g<1>{outputs}\n", SOLUTION.read_text())
    assert outputs in text and names(text) == []


def test_unusual_values_give_findings_and_no_exception(names):
    """Values of other kinds, jobs that need one another, and aliases that double."""
    assert "action-pinned" in names(
        "on: [push]\njobs: {a: {needs: b, steps: [{uses: x}]}, b: {needs: [a, c], steps: []}}"
    )
    assert "tested" in names(
        "on: {push: null}\npermissions: [a]\njobs: {a: {permissions: x, steps: [{run: [1], with: 3, env: 4}]}}"
    )
    doubled = "".join(f"a{k}: &a{k} [*a{k - 1}, *a{k - 1}]\n" for k in range(1, 40))
    assert "read-only" in names(f"a0: &a0 [x]\n{doubled}jobs: {{a: {{steps: []}}}}")


def test_variables_that_double_end_soon(names):
    text = "".join(f"          a{k}=$a{k + 1}$a{k + 1}\n" for k in range(60))
    names(SOLUTION.read_text().replace("          apptainer build", f"{text}          apptainer build $a0"))


def test_the_workflow_of_a_folder(tmp_path):
    assert workflows.find_workflow(tmp_path) is None
    (tmp_path / ".github" / "workflows").mkdir(parents=True)
    (tmp_path / ".github" / "workflows" / "ci.yml").write_text("jobs: {a: {steps: [{run: pytest}]}}")
    assert workflows.find_workflow(tmp_path) is None
    image = tmp_path / ".github" / "workflows" / "image.yaml"
    image.write_text("jobs: {a: {steps: [{run: docker build .}]}}")
    assert workflows.find_workflow(tmp_path) == image


ZIZMOR = [
    {
        "ident": "unpinned-uses",
        "desc": "unpinned action reference",
        "url": "https://docs.zizmor.sh/audits/#unpinned-uses",
        "locations": [{"concrete": {"location": {"start_point": {"row": 34, "column": 8}}}}],
    }
]
ACTIONLINT = 'image.yml:7:3: unexpected key "step" for "job" section [syntax-check]\nimage.yml:9:1: more [expression]\n'


def test_findings_of_linters(monkeypatch):
    answers = {"zizmor": json.dumps(ZIZMOR), "actionlint": ACTIONLINT}
    monkeypatch.setattr(linters, "_output", lambda name, *words: answers[name])
    first, second = workflows.linter_findings(SOLUTION)
    assert (first.name, first.looked_at) == ("zizmor: unpinned-uses", "image.yml, line 35")
    assert (second.name, second.looked_at) == ("actionlint: syntax-check", "image.yml, line 7")
    assert 'unexpected key "step"' in second.found
    for text in ("", "[]", "{}", "not JSON", '[{"ident": 1}]'):
        answers.update(zizmor=text, actionlint="")
        assert workflows.linter_findings(SOLUTION) == []


def test_linters_that_are_missing_or_broken(monkeypatch, tmp_path):
    monkeypatch.setattr(linters, "_program", lambda name: None)
    assert workflows.linter_findings(SOLUTION) == [] and linters.installed() == []
    broken = tmp_path / "zizmor"
    broken.write_bytes(b"\0")
    broken.chmod(0o755)
    monkeypatch.setattr(linters, "_program", lambda name: str(broken))
    assert workflows.linter_findings(SOLUTION) == []


def test_zizmor_finds_what_our_rules_do_not_look_for(tmp_path):
    if "zizmor" not in linters.installed():
        pytest.skip("zizmor is not installed: install the extra test")
    path = tmp_path / "image.yml"
    path.write_text(
        SOLUTION.read_text().replace("    timeout-minutes: 60\n    steps", "    container: debian\n    steps", 1)
    )
    assert [finding.name for finding in workflows.linter_findings(path)] == ["zizmor: unpinned-images"]
    path.write_text(textwrap.dedent(SOLUTION.read_text()))
    assert workflows.linter_findings(path) == []
