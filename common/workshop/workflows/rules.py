"""Rules for a workflow that publishes an image, in order. A check stops at the first problem.

RIGHTS_RULES: what runs, and what it may do. ORDER_RULES: lock, test, build and run before anything is published.
PUBLISH_RULES: by digest, attested, and as a file for Apptainer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

from workshop.support.rules import ERROR, Problem, Rule
from workshop.support.text import closest_match
from workshop.workflows.workflow import LARGEST, Job, Step, Workflow

COMMIT = re.compile(r"@[0-9a-f]{40}$")
DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
# With these events, GitHub runs the workflow with the rights of the repository on a change from a stranger.
DANGEROUS = {"pull_request_target", "workflow_run", "issue_comment"}
# What a job needs that publishes an image, and why.
PUBLISHING = {
    "packages": "to push the image",
    "id-token": "to identify the workflow to the service that signs",
    "attestations": "to store the signed record of the build",
}
# The names of permissions that image workflows need, for advice about a misspelt one.
PERMISSIONS = ("contents", "packages", "id-token", "attestations", "actions", "checks", "pull-requests", "deployments")
INSTALLS = re.compile(r"\bpixi (?:run|install|shell-hook|exec)\b[^\n;&|]*")
# A condition that is false for a pull request, and one with which a job starts although another one has failed.
FOR_A_PUSH = re.compile(
    r"event_name\s*==\s*'(?!pull_request)|event_name\s*!=\s*'pull_request'|github\.ref|ref_(?:type|name)"
)
ADDRESS_FIRST = re.compile(r"\bapptainer (?:build|push)\b[^\n;&|]*://\S+[ \t]+[^\s-]\S*\.sif\b")
STEP_OUTPUT = re.compile(r"\bsteps\.([\w-]+)\.")
NAMED_OUTPUT = re.compile(r"\bsteps\.([\w-]+)\.outputs\.([\w-]+)")
# A digest in a name, as in NAME@${{ steps.push.outputs.digest }} or NAME@$DIGEST.
AFTER_AT = re.compile(r"@[\"']*(?:sha256:)?(?:\$\{\{[^}]{0,200}digest|\$\{?\w*digest|\$\()", re.I)
# The commands that give an image or a file a tag, and the one that reads a tag.
TAGGING = re.compile(
    r"\b(?:apptainer|oras|docker|podman) push\b([^\n;&|]*)|\bimagetools create\b[^\n;&|]{0,300}?(?:--tag|-t)[ =](\S+)"
)
# NAME=VALUE on a line of its own, in which VALUE is short and not the output of a command.
ASSIGNMENT = re.compile(r"(?m)^[ \t]*(\w+)=([^\s$(]\S{0,99}|\$\w\S{0,98})[ \t]*$")
MOST_ASSIGNMENTS = 50  # of a script; each is replaced in the whole script
READING = re.compile(r"\bimagetools inspect\b([^\n;&|]*)")
AFTER_A_FAILURE = re.compile(r"\b(?:always|failure|cancelled)\s*\(")


def _first(steps: Iterator[Step] | tuple[Step, ...], does: Callable[[Step], bool]) -> Step | None:
    return next((step for step in steps if does(step)), None)


def _without_expressions(text: str) -> str:
    """Text with X in place of each ${{ ... }}, which may contain spaces and colons."""
    return re.sub(r"\$\{\{.*?\}\}", "X", text)


def _pushing_job(workflow: Workflow) -> Job | None:
    return next((job for job in workflow.jobs if job.pushes), None)


def _writes(permissions: object) -> set[str]:
    """The names of what a token may write."""
    if isinstance(permissions, str):
        return {permissions} if permissions == "write-all" else set()
    return (
        {str(name) for name, kind in permissions.items() if kind == "write"} if isinstance(permissions, dict) else set()
    )


# ---------------------------------------------------------------- 5.7: what runs, and what it may do


def _pinned(workflow: Workflow) -> Iterator[Problem]:
    for step in workflow.steps:
        is_fixed = COMMIT.search(step.uses) or DIGEST.search(step.uses)
        if step.uses and not step.uses.startswith("./") and not is_fixed:
            yield Problem(
                looked_at=step.location,
                expected="an action with the 40 digits of a commit, which nobody can move",
                found=step.uses,
                next_step=f"uses: {step.uses.partition('@')[0]}@COMMIT # {step.uses.partition('@')[2] or 'vX.Y.Z'}",
            )


def _own_commit(workflow: Workflow) -> Iterator[Problem]:
    repositories: dict[str, str] = {}
    for step in workflow.steps:
        action, _, commit = step.uses.partition("@")
        repository = "/".join(action.lower().split("/")[:2])
        if COMMIT.search(step.uses) and repositories.setdefault(commit, repository) != repository:
            yield Problem(
                looked_at=step.location,
                expected="a commit of its own for each action, because a commit belongs to one repository",
                found=f"{commit[:12]}... for {repositories[commit]} and for {action}",
                next_step="look up the commits of both actions",
            )


def _valid_permissions(workflow: Workflow) -> Iterator[Problem]:
    """Only what GitHub certainly refuses, since it adds names from time to time."""
    places = [("at the top", workflow.settings), *((f"of the job {job.name}", job.settings) for job in workflow.jobs)]
    for place, settings in places:
        given = settings.get("permissions", "read-all")
        if isinstance(given, str):
            wrong = [] if given in ("read-all", "write-all") else [f"permissions: {given}"]
        else:
            names = given if isinstance(given, dict) else {}
            wrong = [f"{name}: {names[name]}" for name in names if names[name] not in ("read", "write", "none")]
            for name in names:
                meant = closest_match(str(name).replace("_", "-"), PERMISSIONS, cutoff=0.8)
                if meant and meant != name and meant not in names:
                    wrong.append(f"{name}; did you mean {meant}?")
        if wrong:
            yield Problem(
                looked_at=f"permissions {place} {'in' if place != 'at the top' else 'of'} {workflow.path.name}",
                expected="read-all, write-all, or names of permissions that GitHub knows, each with read, write or none",
                found=wrong[0],
                next_step="permissions: with contents: read",
            )


def _read_only(workflow: Workflow) -> Iterator[Problem]:
    given = workflow.settings.get("permissions")
    if given is None or isinstance(given, str) or _writes(given):
        found = "none, so the repository's setting applies" if given is None else _all_rights(given)
        yield Problem(
            looked_at=f"permissions at the top of {workflow.path.name}",
            expected="a token that may only read, and no more than it needs (contents), unless a job states otherwise",
            found=found,
            next_step="permissions: with contents: read",
        )


def _all_rights(given: object) -> str:
    return (
        "read-all, so the token also reads packages, issues and everything else" if given == "read-all" else f"{given}"
    )


def _least_rights(workflow: Workflow) -> Iterator[Problem]:
    for job in workflow.jobs:
        if job.settings.get("permissions") == "read-all":
            yield Problem(
                looked_at=f"permissions of the job {job.name} in {workflow.path.name}",
                expected="the names of the permissions that the job needs",
                found=_all_rights("read-all"),
                next_step="permissions: with contents: read",
            )
        unused = _writes(job.settings.get("permissions")) - (set(PUBLISHING) if job.pushes else set())
        if unused:
            reason = "" if job.pushes else ", and it publishes nothing"
            yield Problem(
                looked_at=f"permissions of the job {job.name} in {workflow.path.name}",
                expected=f"write for {', '.join(PUBLISHING)} alone, in the job that publishes",
                found=f"write for {', '.join(sorted(unused))}{reason}",
                next_step=f"remove these permissions from the job {job.name}",
            )


def _missing_rights(workflow: Workflow) -> Iterator[Problem]:
    for job in workflow.jobs:
        given = job.settings.get("permissions")
        checks_out = any(step.action == "actions/checkout" for step in job.steps)
        if isinstance(given, dict) and checks_out and "contents" not in given:
            yield Problem(
                looked_at=f"permissions of the job {job.name} in {workflow.path.name}",
                expected="contents: read, to check out the repository: these permissions replace those at the top",
                found="no contents: read",
                next_step="contents: read",
            )
    job = _pushing_job(workflow)
    if job is None:
        return
    for name, reason in PUBLISHING.items():
        if name not in _writes(job.settings.get("permissions")):
            yield Problem(
                looked_at=f"permissions of the job {job.name} in {workflow.path.name}",
                expected=f"{name}: write, {reason}",
                found=f"no {name}: write",
                next_step=f"{name}: write",
            )


def _credentials(workflow: Workflow) -> Iterator[Problem]:
    for step in workflow.steps:
        if step.action == "actions/checkout" and step.inputs.get("persist-credentials") != "false":
            is_beside = "persist-credentials" in step.settings
            given = step.inputs.get("persist-credentials", "true (default)")
            yield Problem(
                looked_at=step.location,
                expected="persist-credentials: false as an input of the action, indented below with:"
                if is_beside
                else "a checkout that does not leave the token in the folder, where every later step can read it",
                found="persist-credentials: beside uses:, where GitHub refuses it"
                if is_beside
                else f"persist-credentials: {given}",
                next_step="with: persist-credentials: false",
            )


def _dangerous_trigger(workflow: Workflow) -> Iterator[Problem]:
    for trigger in sorted(workflow.triggers & DANGEROUS):
        yield Problem(
            looked_at=f"on: in {workflow.path.name}",
            expected="events that run a stranger's change without the rights of the repository",
            found=trigger,
            next_step="pull_request",
        )


def _injection(workflow: Workflow) -> Iterator[Problem]:
    for step in workflow.steps:
        if "${{" in step.written_script:
            yield Problem(
                looked_at=step.location,
                expected="commands in which GitHub replaces nothing: a branch's name could contain a command",
                found=re.findall(r"\$\{\{.*?(?:\}\}|$)", step.written_script)[0],
                next_step="put the value into env: of the step, and use the variable",
            )


RIGHTS_RULES = (
    Rule("action-pinned", ERROR, _pinned),
    Rule("action-commit", ERROR, _own_commit),
    Rule("permissions-valid", ERROR, _valid_permissions),
    Rule("read-only", ERROR, _read_only),
    Rule("least-rights", ERROR, _least_rights),
    Rule("missing-rights", ERROR, _missing_rights),
    Rule("credentials-kept", ERROR, _credentials),
    Rule("dangerous-trigger", ERROR, _dangerous_trigger),
    Rule("script-injection", ERROR, _injection),
)

# ---------------------------------------------------------------- 5.8: first the lock, the tests and the image


def _locked(workflow: Workflow) -> Iterator[Problem]:
    for step in workflow.steps:
        given = step.inputs
        is_setup = step.action == "prefix-dev/setup-pixi"
        if is_setup and given.get("locked") != "true" and given.get("run-install") != "false":
            yield Problem(
                looked_at=step.location,
                expected="an installation that stops if the lock does not fit",
                found="frozen: true, which does not compare" if given.get("frozen") == "true" else "no locked: true",
                next_step="locked: true",
            )
        for call in INSTALLS.findall(step.script):
            if not call.startswith("pixi exec") and not _is_locked(call):
                too_late = "--locked" in call.split()
                yield Problem(
                    looked_at=step.location,
                    expected="--locked, so that Pixi does not solve again without a message",
                    found=f"{call.strip()}, which passes --locked to the task" if too_late else call.strip(),
                    next_step="pixi run --locked ...",
                )


def _is_locked(call: str) -> bool:
    """Whether a call of Pixi has the option --locked; of `pixi run`, before the name of the task."""
    _, command, *words = call.split()
    if "--locked" not in words or command != "run":
        return "--locked" in words
    before = words[: words.index("--locked")]
    valued = ("-e", "--environment", "-p", "--platform", "-m", "--manifest-path", "-w", "--workspace")
    return all(word.startswith("-") or before[max(k - 1, 0)] in valued for k, word in enumerate(before))


def _tested(workflow: Workflow) -> Iterator[Problem]:
    if not any(step.tests for step in workflow.steps):
        yield Problem(
            looked_at=workflow.path.name,
            expected="a step that tests the scripts",
            found="none",
            next_step="run: pixi run --locked test",
        )


def _image_run(workflow: Workflow) -> Iterator[Problem]:
    build = _first(workflow.steps, lambda step: step.builds)
    if build is None:
        yield Problem(
            looked_at=workflow.path.name,
            expected="a step that builds the image",
            found="none",
            next_step="run: pixi run --locked container-build cpu",
        )
    elif not any(_runs_built_image(workflow, step) for step in workflow.steps):
        yield Problem(
            looked_at=build.location,
            expected="a later step that runs the image: an image that was built need not work",
            found="none",
            next_step="run: pixi run --locked container-run cpu",
        )


def _runs_built_image(workflow: Workflow, step: Step) -> bool:
    """Whether a step runs an image after an earlier step has built it."""
    return step.runs_image and any(other.builds and workflow.comes_before(other, step) for other in workflow.steps)


def _known_jobs(workflow: Workflow) -> Iterator[Problem]:
    """GitHub refuses a workflow in which a job waits for one that does not exist."""
    names = [job.name for job in workflow.jobs]
    for job in workflow.jobs:
        for name in (name for name in job.needs if name not in names):
            written = ", ".join(job.needs)
            titled = (other.name for other in workflow.jobs if other.settings.get("name") in (name, written))
            meant = next(titled, None) or closest_match(name, names)
            yield Problem(
                looked_at=f"needs: of the job {job.name} in {workflow.path.name}",
                expected=f"a key below jobs: ({', '.join(names)}), not the text after name:",
                found=f"needs: {written[:80]}, which names no job" + (f"; did you mean {meant}?" if meant else ""),
                next_step=f"needs: {meant or names[0]}",
            )
            break


def _tested_before_push(workflow: Workflow) -> Iterator[Problem]:
    for job in (job for job in workflow.jobs if job.pushes):
        if AFTER_A_FAILURE.search(condition := str(job.settings.get("if", ""))):
            yield Problem(
                looked_at=f"the job {job.name} in {workflow.path.name}",
                expected="a job that publishes only if the jobs under needs have succeeded",
                found=f"if: {condition}, which starts the job after a failed test as well",
                next_step="if: github.event_name == 'push'",
            )
    for push in (step for step in workflow.steps if step.pushes):
        for does, what in (
            (lambda s: s.tests, "tests the scripts"),
            (lambda s: _runs_built_image(workflow, s), "runs the image after its build"),
        ):
            if not any(does(step) and workflow.comes_before(step, push) for step in workflow.steps):
                yield Problem(
                    looked_at=f"{push.location}: the job {push.job} pushes the image",
                    expected=f"a step that {what}, before the push: in the same job, or in a job under needs",
                    found=f"no step before the push that {what}",
                    next_step=f"needs: with the job that {what}",
                )


def _on_demand(workflow: Workflow) -> Iterator[Problem]:
    job = _pushing_job(workflow)
    condition = str(job.settings.get("if", "")) if job else ""
    if job is not None and "pull_request" in workflow.triggers and not FOR_A_PUSH.search(condition):
        has_double_quotes = '"' in condition
        yield Problem(
            looked_at=f"the job {job.name} in {workflow.path.name}",
            expected="text in single quotes, as in 'push': GitHub's expressions know no double quotes"
            if has_double_quotes
            else "a job that publishes for a tag alone, and for no pull request",
            found=f"if: {condition}" if condition else "no if:",
            next_step="if: github.event_name == 'push'",
        )


ORDER_RULES = (
    Rule("locked", ERROR, _locked),
    Rule("tested", ERROR, _tested),
    Rule("image-run", ERROR, _image_run),
    Rule("needs-unknown", ERROR, _known_jobs),
    Rule("tested-before-push", ERROR, _tested_before_push),
    Rule("published-on-demand", ERROR, _on_demand),
)

# ---------------------------------------------------------------- 5.9: by digest, attested, and for Apptainer


def _known_steps(workflow: Workflow) -> Iterator[Problem]:
    """GitHub silently replaces the output of a step that does not exist with an empty text."""
    for job in workflow.jobs:
        ids: list[str] = []
        for step in job.steps:
            unknown = [name for name in STEP_OUTPUT.findall(json.dumps(step.settings)) if name not in ids]
            if unknown:
                meant = closest_match(unknown[0], ids)
                yield Problem(
                    looked_at=step.location,
                    expected=f"the id of a step above it in the job {job.name}",
                    found=f"steps.{unknown[0]}" + (f"; did you mean steps.{meant}?" if meant else ""),
                    next_step=f"id: {unknown[0]} in that step",
                )
            ids.append(str(step.settings.get("id", "")))


def _known_outputs(workflow: Workflow) -> Iterator[Problem]:
    """GitHub also replaces an output that a step does not have with an empty text."""
    for job in workflow.jobs:
        by_id = {step.settings["id"]: step for step in job.steps if isinstance(step.settings.get("id"), str)}
        for step in job.steps:
            for identifier, output in NAMED_OUTPUT.findall(json.dumps(step.settings)):
                source = by_id.get(identifier)
                if source is not None and not _may_have_output(source, output):
                    pushes = next(
                        (f"; did you mean steps.{i}.outputs.{output}?" for i, s in by_id.items() if s.pushes), ""
                    )
                    yield Problem(
                        looked_at=step.location,
                        expected=f"an output of the step {identifier} ({source.location})",
                        found=f"steps.{identifier}.outputs.{output}, which does not exist{pushes}",
                        next_step=f'echo "{output}=..." >> "$GITHUB_OUTPUT" in the step {identifier}',
                    )


def _may_have_output(step: Step, output: str) -> bool:
    """Whether a step may have an output. A script that writes outputs contains their names; most actions are unknown."""
    if step.builds_by_action:
        return output in ("digest", "imageid", "metadata")
    return "GITHUB_OUTPUT" not in step.script or bool(re.search(rf"(?i)\b{re.escape(output)}\b", step.script))


def _by_digest(workflow: Workflow) -> Iterator[Problem]:
    push = _first(workflow.steps, lambda step: step.pushes and step.builds)
    unpushed = _first(workflow.steps, lambda step: "push-by-digest=true" in step.inputs.get("outputs", ""))
    if push is None and unpushed:
        yield Problem(
            looked_at=unpushed.location,
            expected="push=true in outputs",
            found="push-by-digest=true, which names the image by its digest but does not push it",
            next_step="outputs: type=image,name=...,push-by-digest=true,name-canonical=true,push=true",
        )
    elif push is None:
        push = _first(workflow.steps, lambda step: step.pushes)
        yield Problem(
            looked_at=push.location if push else workflow.path.name,
            expected="a step that builds the image and pushes it by its digest: docker/build-push-action",
            found=f"{push.settings.get('name', 'a push')}" if push else "no step that pushes",
            next_step="outputs: type=image,name=...,push-by-digest=true,name-canonical=true,push=true",
        )
    elif "push-by-digest=true" not in f"{push.inputs.get('outputs', '')} {push.script}":
        tags = " ".join(push.inputs.get("tags", "").split())
        yield Problem(
            looked_at=push.location,
            expected="an image that gets a tag only after it has run: until then, its digest is its name",
            found=f"pushed under the tag {tags}" if tags else "no push-by-digest=true",
            next_step="outputs: type=image,name=...,push-by-digest=true,name-canonical=true,push=true",
        )
    elif push.builds_by_action:
        tags, outputs = push.inputs.get("tags", ""), push.inputs.get("outputs", "")
        has_tag = re.search(r":[^/\s]+\s*$", _without_expressions(tags), re.M)
        if has_tag or not (tags or re.search(r"\bname=[^,\s]", outputs)):
            yield Problem(
                looked_at=push.location,
                expected="the name of the image in outputs (name=...), and no tag: an image is pushed by digest or by tag",
                found=f"tags: {tags.strip()}" if has_tag else "no name=...",
                next_step="outputs: type=image,name=...,push-by-digest=true,name-canonical=true,push=true",
            )


def _pushed_image_run(workflow: Workflow) -> Iterator[Problem]:
    job = _pushing_job(workflow)
    push = _first(job.steps, lambda step: step.pushes) if job else None
    if job is None or push is None:
        return
    runs = [s for s in job.steps if s.runs_image and "digest" in s.script and workflow.comes_before(push, s)]
    if runs and not any(AFTER_AT.search(step.script) for step in runs):
        yield Problem(
            looked_at=runs[0].location,
            expected="NAME@DIGEST: an @ between the name of the image and its digest",
            found="no @ before the digest",
            next_step="IMAGE: NAME@${{ steps.push.outputs.digest }}",
        )
    elif not runs:
        yield Problem(
            looked_at=f"{push.location}, and the steps below it",
            expected="a step that runs the image which was pushed, by the digest that the push returned",
            found="none",
            next_step="docker run NAME@DIGEST, with DIGEST: ${{ steps.push.outputs.digest }} in env:",
        )


def _attested(workflow: Workflow) -> Iterator[Problem]:
    job = _pushing_job(workflow)
    if job is None:
        return
    attest = _first(job.steps, lambda step: step.action.startswith("actions/attest"))
    where = attest.location if attest else f"the job {job.name} in {workflow.path.name}"
    digest = attest.inputs.get("subject-digest", "") if attest else ""
    sources = [step for step in job.steps if step.settings.get("id") in STEP_OUTPUT.findall(digest)]
    # A step with commands may look the digest up; an action with another purpose does not return it.
    is_of_push = all(step.pushes or step.script for step in sources)
    if attest is None or "digest" not in digest or not is_of_push:
        yield Problem(
            looked_at=where,
            expected="a signed record of where and from which commit the image was built, for its digest",
            found="no action actions/attest" if attest is None else "no subject-digest of the push",
            next_step="uses: actions/attest, with subject-digest: ${{ steps.push.outputs.digest }}",
        )


def _for_apptainer(workflow: Workflow) -> Iterator[Problem]:
    scripts = [(step, step.script) for step in workflow.steps if "apptainer" in step.script]
    build = next((pair for pair in scripts if re.search(r"\bapptainer build\b", pair[1])), None)
    push = next((step for step, script in scripts if re.search(r"\b(apptainer|oras) push\b", script)), None)
    if build is None or push is None or "oras" not in push.script:
        yield Problem(
            looked_at=workflow.path.name,
            expected="a file for Apptainer, pushed through ORAS (a protocol for any file in a registry of images)",
            found="no apptainer build" if build is None else "no apptainer push to oras://",
            next_step="apptainer build train.sif docker://NAME@DIGEST && apptainer push train.sif oras://NAME:$GITHUB_REF_NAME-sif",
        )
    elif not re.search(r"docker://[^\s\"']*@", _without_expressions(build[1])):
        yield Problem(
            looked_at=build[0].location,
            expected="a file that is built from the digest which was pushed",
            found="docker:// without a digest",
            next_step='apptainer build train.sif "docker://$IMAGE@$DIGEST"',
        )


def _file_first(workflow: Workflow) -> Iterator[Problem]:
    for step in workflow.steps:
        if call := ADDRESS_FIRST.search(_without_expressions(step.script)):
            yield Problem(
                looked_at=step.location,
                expected="first the file and then the address, for apptainer build and for apptainer push",
                found=call[0],
                next_step="apptainer build FILE docker://NAME@DIGEST; apptainer push FILE oras://NAME:TAG",
            )


def _plain(text: str) -> str:
    """A script in which every way to write an expression or the name of the git tag is the same, without quotes."""
    text = re.sub(r"\$\{\{([^{}]*)\}\}", lambda found: f"<{''.join(found[1].split())}>", text)
    text = re.sub(r"<github\.ref_name>|\$\{GITHUB_REF(?:#refs/tags/|##\*/)\}", "$GITHUB_REF_NAME", text)
    text = re.sub(r"\$\{(\w+)\}", r"$\1", text)
    for name, value in ASSIGNMENT.findall(text)[:MOST_ASSIGNMENTS]:
        if len(text) < LARGEST:
            text = re.sub(rf"\${name}\b", lambda _, v=value: v, text)
    return re.sub(r"[\"']|\b(?:oras|docker)://", "", text)


def _references(pattern: re.Pattern[str], text: str) -> list[tuple[str, str]]:
    """The names with a tag in the commands that match, as (name, tag)."""
    words = (word for match in pattern.finditer(text) for group in match.groups() for word in (group or "").split())
    return [(name, tag) for name, _, tag in (word.rpartition(":") for word in words) if name and "/" not in tag]


def _read_tag(workflow: Workflow) -> Iterator[Problem]:
    """A later step reads the tag of the file, so the file must be pushed under this tag."""
    scripts = [(step, _plain(step.script)) for step in workflow.steps]
    tagged = {reference for _, text in scripts for reference in _references(TAGGING, text)}
    push = next(((step, text) for step, text in scripts if re.search(r"\b(apptainer|oras) push\b", text)), None)
    pushed = _references(TAGGING, push[1]) if push else []
    is_known = all(re.fullmatch(r"(?:[\w.-]|\$GITHUB_\w+)+", tag) for _, tag in pushed)
    names = {name for name, _ in tagged}
    for name, tag in (reference for step, text in scripts for reference in _references(READING, text)):
        if push and pushed and is_known and name in names and (name, tag) not in tagged:
            yield Problem(
                looked_at=push[0].location,
                expected=f"a file that is pushed under the tag {tag}, which a later step reads",
                found=f"pushed under the tag {pushed[0][1]}",
                next_step=f"apptainer push FILE oras://NAME:{tag}",
            )


PUBLISH_RULES = (
    Rule("step-unknown", ERROR, _known_steps),
    Rule("output-unknown", ERROR, _known_outputs),
    Rule("by-digest", ERROR, _by_digest),
    Rule("pushed-image-run", ERROR, _pushed_image_run),
    Rule("attested", ERROR, _attested),
    Rule("sif", ERROR, _for_apptainer),
    Rule("sif-order", ERROR, _file_first),
    Rule("sif-tag", ERROR, _read_tag),
)
