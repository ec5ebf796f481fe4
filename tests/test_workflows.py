"""GitHub's workflows: valid, safe, and about tasks and environments that exist. Each rule catches a broken workflow.

No test here asks GitHub anything. Where a linter is not installed, its tests are skipped; `pixi run lint` has them all.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from conftest import ROOT, module_of, record_of

from pixi_workspace import lock_slice, manifest
from workshop import exercises
from workshop.errors import WorkshopError
from workshop.support.files import sha256_of

yaml = pytest.importorskip("ruamel.yaml", reason="the workflows are read with ruamel.yaml: install the extra test")

GITHUB = ROOT / ".github"
PIXI = "v0.76.2"  # one version everywhere: in the workflows and in the image of exercise 5
PINNED = re.compile(r"^\s*(?:- )?uses: ([\w.-]+/[\w./-]+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)$")
# The pages show what this version prints, and use a command that is new in it.
BOOK_PIXI = {("docs.yml", "commands"): "v0.77.0"}
# The jobs that may write, and what. All others can only read the repository.
WRITERS = {
    ("container.yml", "publish"): {"packages", "id-token", "attestations"},
    ("docs.yml", "publish"): {"pages", "id-token"},
    ("docs.yml", "release"): {"contents"},
    ("relock.yml", "propose"): {"contents", "pull-requests"},
    ("relock.yml", "try"): {"actions"},
}


def load(path: Path) -> dict:
    """A workflow by YAML 1.2, in which `on` is a word."""
    return yaml.YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))


def jobs_of(folder: Path):
    """(file name, workflow, name of the job, job), for every job."""
    for path in sorted((folder / "workflows").glob("*.yml")):
        workflow = load(path)
        for name, job in workflow["jobs"].items():
            yield path.name, workflow, name, job


def steps_of(folder: Path):
    """(file name, name of the job, step), for every step."""
    for file, _, name, job in jobs_of(folder):
        for step in job["steps"]:
            yield file, name, step


# ---------------------------------------------------------------- the rules; each returns its complaints


def pins(folder: Path) -> list[str]:
    """Every action by a full commit, with its version beside it, and one version of each."""
    found, commits = [], {}
    for path in sorted((folder / "workflows").glob("*.yml")):
        for line in path.read_text(encoding="utf-8").splitlines():
            if "uses:" not in line:
                continue
            if not (pin := PINNED.match(line)):
                found.append(f"{path.name}: no full commit with its version: {line.strip()}")
            elif commits.setdefault(pin[1], pin.group(2, 3)) != pin.group(2, 3):
                found.append(f"{path.name}: {pin[1]} is pinned to two versions")
    return found


def permissions(folder: Path) -> list[str]:
    """By default a workflow reads; who writes stands in WRITERS; no credentials stay in a checkout."""
    found = []
    for file, workflow, name, job in jobs_of(folder):
        if workflow.get("permissions") != {"contents": "read"}:
            found.append(f"{file}: permissions at the top are {workflow.get('permissions')}")
        asked = job.get("permissions", {})
        asked = {scope for scope, kind in asked.items() if kind == "write"} if isinstance(asked, dict) else {asked}
        if asked != WRITERS.get((file, name), set()):
            found.append(f"{file}: the job {name} writes {sorted(asked)}")
        for trigger in {"pull_request_target", "workflow_run", "issue_comment"} & set(workflow["on"]):
            found.append(f"{file}: {trigger} gives a stranger's change the rights of the repository")
    for file, name, step in steps_of(folder):
        if "actions/checkout" in step.get("uses", "") and step.get("with", {}).get("persist-credentials") is not False:
            found.append(f"{file}: the checkout of {name} keeps its credentials")
        if "${{" in step.get("run", ""):
            found.append(f"{file}: a script of {name} is written by an expression: take it from env")
    return found


def pixi_calls(folder: Path) -> list[str]:
    """What Pixi is asked to do exists, from the lock as it is."""
    root, found = manifest.load(ROOT / "pixi.toml"), []
    for file, name, step in steps_of(folder):
        given, where = step.get("with", {}), f"{file}: {name}"
        if "setup-pixi" in step.get("uses", ""):
            expected = BOOK_PIXI.get((file, name), PIXI)
            if given.get("pixi-version") != expected:
                found.append(f"{where}: Pixi {given.get('pixi-version')}, and {expected} elsewhere")
            if given.get("locked") is not True and given.get("run-install") is not False:
                found.append(f"{where}: Pixi installs without locked: true")
            for environment in given.get("environments", "").split():
                if environment not in root.environments:
                    found.append(f"{where}: no environment {environment}")
                if environment.startswith(("cuda", "pypi")):
                    found.append(f"{where}: {environment} is gigabytes for a GPU that is not there")
        for words in re.findall(r"\bpixi run (.*)", step.get("run", "")):
            environment, task = re.match(r"(?:--locked )?(?:-e (\S+) )?(\S+)", words).groups()
            if environment and environment not in root.environments:
                found.append(f"{where}: no environment {environment}")
            if not words.startswith("--locked "):
                found.append(f"{where}: `pixi run {words}` without --locked may solve anew, in silence")
            if task != "python" and task not in root.tasks():
                found.append(f"{where}: no task {task}")
        if "build-push-action" in step.get("uses", ""):
            arguments = dict(line.split("=", 1) for line in given["build-args"].splitlines())
            names = {"ENVIRONMENT", "CONDA_OVERRIDE_CUDA", "REVISION", "LOCK_SHA256", "SOURCE_DATE_EPOCH"}
            if set(arguments) != names:
                found.append(f"{where}: the build arguments are {sorted(arguments)}")
            chosen = arguments["ENVIRONMENT"]
            matrix = load(folder / "workflows" / file)["jobs"][name].get("strategy", {}).get("matrix", {})
            for environment in [row["environment"] for row in matrix.get("include", [])] or [chosen]:
                if environment not in root.environments:
                    found.append(f"{where}: no environment {environment}")
    return found


def frame(folder: Path) -> list[str]:
    """Each job ends by itself, on a named system, in one shell, whatever became of the others."""
    found = []
    for file, workflow, name, job in jobs_of(folder):
        if not isinstance(job.get("timeout-minutes"), int):
            found.append(f"{file}: {name} has no timeout")
        systems = job.get("strategy", {}).get("matrix", {}).get("runner", [job["runs-on"]])
        found += [f"{file}: {name} runs on {s}, which moves" for s in systems if s.endswith("-latest")]
        if "strategy" in job and job["strategy"].get("fail-fast") is not False:
            found.append(f"{file}: {name} stops all systems when one fails")
        if workflow.get("defaults", {}).get("run", {}).get("shell") != "bash":
            found.append(f"{file}: the shell is another one on Windows, and does not see a broken pipe")
        group = workflow.get("concurrency", {})
        by_hand = "pull_request" in workflow["on"] and "pull_request" not in str(group.get("cancel-in-progress"))
        if not group.get("group") or by_hand:
            found.append(f"{file}: a newer push does not end the older run")
    return found


def tool(name: str) -> str:
    """The linter, from this Python's environment or the PATH; skips where there is none."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    found = shutil.which(name, path=path)
    if not found:
        # actionlint: its package on PyPI downloads the program when it is installed; conda-forge has it (pixi run lint)
        # shellcheck: PyPI has no wheel of it for Linux on ARM
        pytest.skip(f"{name} is not installed here, and PyPI does not have it for every system: pixi run lint")
    return found


def said(*line, **more) -> list[str]:
    """What a linter says, by line; nothing where it is content."""
    done = subprocess.run([str(word) for word in line], capture_output=True, text=True, **more)
    text = done.stdout + done.stderr
    assert done.returncode == 0 or text.strip(), line
    return text.splitlines() if done.returncode else []


def zizmor(folder: Path) -> list[str]:
    return said(tool("zizmor"), "--offline", "--no-progress", "--persona", "pedantic", "--format", "plain", folder)


def schema(folder: Path) -> list[str]:
    pytest.importorskip("check_jsonschema", reason="check-jsonschema is not installed: install the extra test")
    check = (sys.executable, "-m", "check_jsonschema", "--builtin-schema")
    found = said(*check, "vendor.github-workflows", *sorted((folder / "workflows").glob("*.yml")))
    return found + said(*check, "vendor.dependabot", folder / "dependabot.yml")


def shellcheck(folder: Path) -> list[str]:
    found, program = [], tool("shellcheck")
    for file, name, step in steps_of(folder):
        if "run" in step:
            script = f"set -eo pipefail\n{step['run']}"
            found += [f"{file}: {name}: {line}" for line in said(program, "--shell=bash", "-", input=script)]
    return found


def actionlint(folder: Path) -> list[str]:
    return said(tool("actionlint"), *sorted((folder / "workflows").glob("*.yml")))


RULES = (pins, permissions, pixi_calls, frame, zizmor, schema, shellcheck, actionlint)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_workflows_are_in_order(rule):
    assert rule(GITHUB) == []


@pytest.mark.parametrize(
    "rule", (pins, pixi_calls, frame, zizmor, shellcheck, actionlint), ids=lambda rule: rule.__name__
)
def test_the_workflow_of_exercise_5_is_in_order(rule, tmp_path):
    github = tmp_path / ".github"
    (github / "workflows").mkdir(parents=True)
    shutil.copy(ROOT / "exercise-5-container" / "solution" / "image.yml", github / "workflows")
    assert rule(github) == []


def test_the_image_has_the_pixi_of_the_workflows():
    """One version everywhere, and one that the manifests accept."""
    folder = ROOT / "exercise-5-container"
    for name in ("solution/Dockerfile", "solution/apptainer.def", "README.md"):
        found = re.findall(r"prefix-dev/pixi:(\d+\.\d+\.\d+)", (folder / name).read_text(encoding="utf-8"))
        assert set(found) == {PIXI.removeprefix("v")}, name
    for path in (ROOT / "pixi.toml", *ROOT.glob("exercise-*/*/pixi.toml")):
        accepted = tomllib.loads(path.read_text(encoding="utf-8"))["workspace"]["requires-pixi"]
        assert accepted == ">=0.74", path
    assert tuple(map(int, PIXI.removeprefix("v").split("."))) >= (0, 74)


# ---------------------------------------------------------------- broken in the ways of the world, and caught

CHECKOUT = "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1"
SETUP_PIXI = "prefix-dev/setup-pixi@5185adfbffb4bd703da3010310260805d89ebb11"
READ = "permissions:\n  contents: read\n"
CI, CONTAINER, RELOCK = "workflows/ci.yml", "workflows/container.yml", "workflows/relock.yml"
BROKEN = [
    ("no version at all", CI, f"uses: {CHECKOUT}", "uses: actions/checkout", pins, "no full commit"),
    ("a tag for a pin", CI, f"uses: {CHECKOUT}", "uses: actions/checkout@v7", pins, "no full commit"),
    ("a tag for a pin, by zizmor", CI, f"uses: {CHECKOUT}", "uses: actions/checkout@v7", zizmor, "unpinned-uses"),
    ("a short commit", CI, CHECKOUT, "actions/checkout@3d3c42e # v7.0.1", pins, "no full commit"),
    ("a commit without its version", CI, CHECKOUT, CHECKOUT.split(" #")[0], pins, "no full commit"),
    ("two commits of one action", RELOCK, SETUP_PIXI, SETUP_PIXI.replace("5185", "5186"), pins, "two versions"),
    (
        "a container of a moving tag",
        CI,
        "runs-on: ubuntu-24.04\n",
        "runs-on: ubuntu-24.04\n    container: debian\n",
        zizmor,
        "unpinned-images",
    ),
    ("everything may be written", CI, READ, "permissions: write-all\n", zizmor, "excessive-permissions"),
    ("no permissions said", CI, READ, "", permissions, "permissions at the top are None"),
    ("no permissions said, by zizmor", CI, READ, "", zizmor, "excessive-permissions"),
    (
        "one permission more",
        RELOCK,
        "      actions: write",
        "      contents: write\n      actions: write",
        permissions,
        "try writes",
    ),
    (
        "a build that may publish",
        CONTAINER,
        "    timeout-minutes: 60\n",
        "    timeout-minutes: 60\n    permissions:\n      packages: write\n",
        permissions,
        "build writes",
    ),
    (
        "a stranger's change with our rights",
        CI,
        "  pull_request:\n",
        "  pull_request_target:\n",
        zizmor,
        "dangerous-triggers",
    ),
    (
        "a stranger's words in a script",
        CI,
        "run: bash .ci/run",
        "run: echo ${{ github.event.pull_request.title }} && bash .ci/run",
        zizmor,
        "template-injection",
    ),
    (
        "an expression in a script",
        CONTAINER,
        '"$IMAGE:$GITHUB_REF_NAME-$ENVIRONMENT"',
        '"$IMAGE:${{ github.ref_name }}"',
        permissions,
        "take it from env",
    ),
    ("credentials left behind", CI, "        with:\n          persist-credentials: false\n", "", zizmor, "artipacked"),
    (
        "credentials kept on purpose",
        CI,
        "persist-credentials: false",
        "persist-credentials: true",
        permissions,
        "keeps its credentials",
    ),
    ("an install that may solve", CI, "          locked: true\n", "", pixi_calls, "without locked: true"),
    ("a run that may solve", CI, "pixi run --locked check-all", "pixi run check-all", pixi_calls, "without --locked"),
    ("a task that is not there", CI, "--locked check-all", "--locked chek-all", pixi_calls, "no task chek-all"),
    (
        "an environment that is not there",
        CI,
        "environments: default cpu cpu-jax",
        "environments: default cpus",
        pixi_calls,
        "no environment cpus",
    ),
    (
        "a run in an environment that is not there",
        CI,
        "--locked -e cpu check-all",
        "--locked -e cpus check-all",
        pixi_calls,
        "no environment cpus",
    ),
    (
        "CUDA for nobody",
        CI,
        "environments: default cpu cpu-jax",
        "environments: default cuda12",
        pixi_calls,
        "GPU that is not there",
    ),
    ("another Pixi", RELOCK, "pixi-version: v0.76.2", "pixi-version: v0.60.0", pixi_calls, "Pixi v0.60.0"),
    ("an image of no environment", CONTAINER, "ENVIRONMENT=cpu", "ENVIRONMENT=cpus", pixi_calls, "no environment cpus"),
    (
        "an image without its lock's digest",
        CONTAINER,
        "            LOCK_SHA256=${{ steps.source.outputs.lock }}\n",
        "",
        pixi_calls,
        "build arguments",
    ),
    ("a job without an end", CI, "    timeout-minutes: 20\n", "", frame, "no timeout"),
    ("a system that moves", CI, "macos-15,", "macos-latest,", frame, "which moves"),
    ("one failure stops all", CI, "      fail-fast: false # what", "      # what", frame, "stops all systems"),
    (
        "a shell that Windows lacks",
        CI,
        "    shell: bash # everywhere",
        "    shell: pwsh # everywhere",
        frame,
        "another one on Windows",
    ),
    (
        "older runs go on",
        CI,
        "  cancel-in-progress: ${{ github.event_name == 'pull_request' }}\n",
        "",
        frame,
        "does not end the older run",
    ),
    ("no job at all", CI, "\njobs:\n", "\njob:\n", schema, "'jobs' is a required property"),
    ("a number that is a word", CI, "timeout-minutes: 20", "timeout-minutes: soon", schema, "timeout-minutes"),
    (
        "a word left open to the shell",
        CONTAINER,
        '.github/try_image.py "$IMAGE"',
        ".github/try_image.py $IMAGE",
        shellcheck,
        "SC2086",
    ),
    (
        "pins renewed on the day",
        "dependabot.yml",
        "    cooldown:\n      default-days: 7 # time for others to find out about a bad release\n",
        "",
        zizmor,
        "dependabot-cooldown",
    ),
    ("an ecosystem that Dependabot lacks", "dependabot.yml", "github-actions", "pixi", schema, "'pixi' is not one of"),
    (
        "a result that no step gives",
        CONTAINER,
        "${{ steps.push.outputs.digest }}",
        "${{ steps.pushed.outputs.digest }}",
        actionlint,
        "pushed",
    ),
]


@pytest.mark.parametrize(
    ("file", "find", "replace", "rule", "words"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN]
)
def test_a_broken_workflow_is_caught(file, find, replace, rule, words, tmp_path):
    folder = tmp_path / ".github"
    shutil.copytree(GITHUB, folder)
    text = (folder / file).read_text(encoding="utf-8")
    assert find in text
    (folder / file).write_text(text.replace(find, replace, 1), encoding="utf-8")
    assert words in "\n".join(rule(folder))


def test_every_build_argument_is_one_of_the_dockerfile():
    path = ROOT / "exercise-5-container" / "solution" / "Dockerfile"
    known = re.findall(r"^ARG (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    for _, _, step in steps_of(GITHUB):
        if "build-push-action" in step.get("uses", ""):
            assert (ROOT / step["with"]["file"]) == path
            asked = {line.split("=")[0] for line in step["with"]["build-args"].splitlines()}
            assert asked - {"SOURCE_DATE_EPOCH"} <= set(known)  # BuildKit itself takes the time


# ---------------------------------------------------------------- the scripts of the steps, run


def step_named(file: str, job: str, name: str) -> str:
    """The script of one step."""
    return next(s["run"] for f, j, s in steps_of(GITHUB) if (f, j, s["name"]) == (file, job, name))


@pytest.fixture
def runner(tmp_path, variables):
    """A runner in small: runner(script, name=program...) runs a step's script as GitHub does, with stand-ins for programs."""
    folder, programs = tmp_path / "runner", tmp_path / "programs"
    folder.mkdir(), programs.mkdir()

    def run(script, cwd, **stand_ins):
        for name, text in stand_ins.items():
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        (folder / "output").write_text("")
        known = {
            "RUNNER_TEMP": str(folder),
            "GITHUB_OUTPUT": str(folder / "output"),
            "GITHUB_REF_NAME": "main",
            "GITHUB_STEP_SUMMARY": str(folder / "summary"),
            "BODY": str(folder / "words" / "body.md"),
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        }
        line = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
        return subprocess.run(line, cwd=cwd, env=variables | known, capture_output=True, text=True)

    run.folder, run.programs = folder, programs
    if os.name == "nt" or not shutil.which("git") or not shutil.which("bash"):
        pytest.skip("these scripts are for the Linux runners: bash and git are needed")
    return run


def git(folder: Path, *words: str) -> str:
    line = [
        "git",
        "-c",
        "user.name=a person",
        "-c",
        "user.email=person@example.org",
        "-c",
        "commit.gpgsign=false",
        *words,
    ]
    return subprocess.run(line, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A clone of an origin with two locks on main, marked as the repository marks them."""
    git(tmp_path, "init", "-q", "--bare", "-b", "main", "origin")
    git(tmp_path, "clone", "-q", "origin", "clone")
    clone = tmp_path / "clone"
    git(clone, "switch", "-q", "-c", "main")
    for place in ("pixi.lock", "exercise-1-scipy/solution/pixi.lock"):
        (clone / place).parent.mkdir(parents=True, exist_ok=True)
        (clone / place).write_text("as it was\n")
    (clone / ".github").mkdir()
    shutil.copy(GITHUB / "relock.md", clone / ".github")
    shutil.copy(ROOT / ".gitattributes", clone)
    git(clone, "add", "-A")
    git(clone, "commit", "-q", "-m", "first")
    git(clone, "push", "-q", "origin", "main")
    return clone


WORDS = ("relock.yml", "solve", "Describe what changed")
PROPOSE = ("relock.yml", "propose", "Open or update the pull request")
GH = """#!/bin/sh
echo "$@" >> "{log}"
case "$1 $2" in "pr list") echo {open};; esac
"""


def test_nothing_new_opens_nothing(runner, checkout):
    done = runner(step_named(*WORDS), checkout)
    assert done.returncode == 0, done.stderr
    assert (runner.folder / "output").read_text() == "" and "as new as" in (runner.folder / "summary").read_text()


def test_the_pull_request_says_what_changed_and_what_a_person_does(runner, checkout):
    (checkout / "pixi.lock").write_text("solved anew\n")
    (runner.folder / "changes.md").write_text("| numpy | 2.4.6 → 2.5.0 |\n" + "→" * 70_000)
    done = runner(step_named(*WORDS), checkout)
    assert done.returncode == 0, done.stderr
    assert (runner.folder / "output").read_text() == "changed=true\n"
    body = (runner.folder / "words" / "body.md").read_text(encoding="utf-8")
    assert "- `pixi.lock`\n" in body and "exercise-1-scipy" not in body and "2.4.6 → 2.5.0" in body
    assert 50_000 < len(body) < 65_536  # GitHub takes no more
    for name in ("test_the_shipped_starter_is_pinned", "test_the_sizes_in_exercise_toml_are_those_of_the_lock"):
        assert name in body and f"def {name}(" in (ROOT / "tests" / "exercises" / "test_exercises.py").read_text(
            encoding="utf-8"
        )


def test_a_branch_is_pushed_and_renewed_and_no_person_loses_a_commit(runner, checkout):
    log, script = runner.folder / "gh.log", step_named(*PROPOSE)
    (checkout / "pixi.lock").write_text("solved anew\n")
    (checkout / "other.txt").write_text("not a lock\n")
    done = runner(script, checkout, gh=GH.format(log=log, open=0))
    assert done.returncode == 0, done.stderr
    assert git(checkout, "ls-tree", "-r", "--name-only", "origin/relock").count("\n") == 3  # without other.txt
    assert git(checkout, "show", "origin/relock:pixi.lock") == "solved anew"
    assert "pr create --base main --head relock" in log.read_text()

    git(checkout, "switch", "-q", "main"), git(checkout, "branch", "-q", "-D", "relock")  # the next week's checkout
    (checkout / "pixi.lock").write_text("solved a week later\n")
    done = runner(script, checkout, gh=GH.format(log=log, open=1))
    assert done.returncode == 0, done.stderr
    assert git(checkout, "show", "origin/relock:pixi.lock") == "solved a week later"
    assert git(checkout, "rev-list", "--count", "main..origin/relock") == "1" and "pr edit relock" in log.read_text()

    (checkout / "exercise-1-scipy" / "exercise.toml").write_text("a person's figures\n")
    git(checkout, "add", "exercise-1-scipy"), git(checkout, "commit", "-q", "-m", "Mend the figures")
    git(checkout, "push", "-q", "origin", "relock")
    theirs = git(checkout, "rev-parse", "relock")
    git(checkout, "switch", "-q", "main"), git(checkout, "branch", "-q", "-D", "relock")
    (checkout / "pixi.lock").write_text("solved two weeks later\n")
    done = runner(script, checkout, gh=GH.format(log=log, open=1))
    assert done.returncode == 1 and "a person's commit" in done.stdout
    assert git(checkout, "ls-remote", "origin", "refs/heads/relock").split()[0] == theirs


PIXI_STAND_IN = """#!/bin/sh
case "$*" in
  "lock --check" | "run --locked lock-check") exit 0;; # test_workspace.py asks that of the root's lock
  "run --locked lock-check "*) shift 2; exec "{python}" -m workshop "$@";;
  "run --locked python "*) shift 3; exec "{python}" "$@";;
esac
exit 9
"""


@pytest.mark.slow
def test_every_lock_of_an_exercise_is_cut_anew(runner, tmp_path):
    """From the root's lock as it is, so each comes back byte for byte after it was lost."""
    clone = tmp_path / "clone"
    for folder in ("common", *(path.name for path in ROOT.glob("exercise-*"))):
        shutil.copytree(ROOT / folder, clone / folder, ignore=shutil.ignore_patterns("__pycache__", ".pixi"))
    for name in ("pixi.toml", "pixi.lock"):
        shutil.copy(ROOT / name, clone)
    slices = sorted(clone.glob("exercise-*/*/pixi.lock"))
    for path in slices:
        path.write_text("lost\n")
    done = runner(
        step_named("relock.yml", "solve", "Cut the exercises' locks out of it"),
        clone,
        pixi=PIXI_STAND_IN.format(python=sys.executable),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    whole = manifest.load(ROOT / "pixi.toml")
    assert len(slices) >= 5
    for path in slices:
        assert path.read_bytes() == lock_slice.cut(whole, manifest.load(path.with_name("pixi.toml"))), path


# ---------------------------------------------------------------- what container.yml asks of an image

TRY = GITHUB / "try_image.py"
# Stands in for docker: the same options are insisted on, then the command runs in this environment, with the volume's
# folder in the place of /results. Not seen here: the image itself, its user, its read-only root.
DOCKER = """#!{python}
import os, subprocess, sys
words = sys.argv[1:]
assert words[:7] == ["run", "--rm", "--read-only", "--network", "none", "--tmpfs", "/tmp"], words
assert words[7] == "--volume" and words[8].endswith(":/results"), words
folder, words, variables = words[8].removesuffix(":/results"), words[9:], {{"WORKSHOP_DEVICE": "{device}"}}
while words[0] == "--env":
    name, _, value = words[1].partition("=")
    variables[name], words = value, words[2:]
assert words.pop(0) == "workshop:test"
if words[0] == "printenv":
    print(variables[words[1]])
    sys.exit(0)
assert words[0] == "python"
words = [word.replace("/results", folder) for word in words[1:]]
{before}
sys.exit(subprocess.run([sys.executable, *words], env=os.environ | variables, cwd={root!r}).returncode)
"""


@pytest.fixture(scope="module")
def try_image(command, variables, tmp_path_factory):
    """try_image(device="cuda", before="...") -> the finished command, and the folder of its results.

    device: that the image is made for. before: lines of the stand-in, which run before the script would.
    """
    if os.name == "nt":
        pytest.skip("the stand-in for docker is a script with a first line")

    def run(device="", before=""):
        folder = tmp_path_factory.mktemp("image")
        text = DOCKER.format(python=sys.executable, device=device, before=before, root=str(ROOT))
        (folder / "docker").write_text(text)
        (folder / "docker").chmod(0o755)
        changed = {"PATH": f"{folder}{os.pathsep}{variables['PATH']}"}
        return command(TRY, "workshop:test", folder / "results", fresh=True, **changed), folder / "results"

    return run


@pytest.fixture(scope="module")
def tried(try_image):
    return try_image()


@pytest.mark.slow
def test_an_image_that_trains_is_taken(tried):
    done, results = tried
    assert done.returncode == 0, done.stdout + done.stderr
    assert "workshop:test: test_accuracy 0.9" in done.stdout and sorted(p.name for p in results.iterdir()) == ["run"]
    assert record_of(results / "run")["argv"][1:5] == ["--data", "digits", "--device", "cpu"]


@pytest.mark.slow
def test_an_image_for_a_gpu_has_to_refuse_first(try_image, refused, tried):
    if shutil.which("nvidia-smi"):
        pytest.skip("this machine has a GPU")
    as_before = (  # the training on the CPU is that of the image above
        f"if 'cpu' in words: import shutil; shutil.copytree({str(tried[1] / 'run')!r}, folder + '/run'); sys.exit(0)"
    )
    done, results = try_image(device="cuda", before=as_before)
    assert done.returncode == 0 and "looked at: the GPU" in done.stdout, done.stdout + done.stderr
    # It says that it was made for a GPU, and trains all the same.
    done, results = try_image(device="cuda", before="sys.exit(0)")
    refused(done, "on a machine without a GPU", "exit code 0", "WORKSHOP_DEVICE=cuda")


def test_an_image_that_does_not_train_is_refused(try_image, refused):
    refused(try_image(before="sys.exit(127)")[0], "the training in workshop:test", "exit code 127")
    refused(try_image(before="sys.exit(0)")[0], "run.json", "no such file")


@pytest.fixture(scope="module")
def recorded(command, tmp_path_factory):
    """The folder of a run that is like the one of an image."""
    run = tmp_path_factory.mktemp("recorded") / "run"
    script = "exercise-2-pytorch-cu12/solution/train.py"
    done = command(script, "--data", "digits", "--device", "cpu", "--epochs", "3", "--output", run)
    assert done.returncode == 0, done.stderr
    return run


def edit(run: Path, **changed) -> None:
    (run / "run.json").write_text(json.dumps(record_of(run) | changed))


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (lambda run: (run / "weights.safetensors").write_bytes(b"others"), "weights.safetensors"),
        (lambda run: (run / "learning_curve.png").unlink(), "learning_curve.png"),
        (lambda run: edit(run, metrics=[{"name": "test_accuracy", "value": 0.5}]), "0.97 or more"),
        (lambda run: edit(run, metrics=[{"name": "test_accuracy", "value": float("nan")}]), "0.97 or more"),
        (lambda run: edit(run, metrics=[{"name": "loss", "value": 1.0}]), "0.97 or more"),
        (lambda run: edit(run, device={"type": "cuda", "name": "?"}), "a training on digits on the CPU"),
        (lambda run: edit(run, exit_status=1), "with exit status 0"),
        (lambda run: edit(run, outputs=[]), "weights.safetensors among"),
    ],
)
def test_a_run_that_is_not_what_it_says_is_refused(recorded, tmp_path, broken, words):
    run = tmp_path / "run"
    shutil.copytree(recorded, run)
    look_at = module_of(TRY).look_at
    assert "test_accuracy" in look_at(run)
    broken(run)
    with pytest.raises(WorkshopError, match=words):
        look_at(run)


def test_results_of_before_are_not_touched(command, refused, tmp_path):
    (tmp_path / "results").mkdir()
    refused(command(TRY, "workshop:test", tmp_path / "results", fresh=True), "File exists")
    refused(command(TRY, fresh=True), "try_image.py IMAGE FOLDER")


# ---------------------------------------------------------------- what holds on the other systems


def test_a_checkout_on_windows_has_the_same_bytes(tmp_path):
    """Git for Windows turns line ends around where .gitattributes does not forbid it; the starters' sha256 would go."""
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("this copy is no git checkout")
    files = [p.relative_to(ROOT).as_posix() for p in ROOT.glob("exercise-*/starter/*") if p.is_file()]
    git(ROOT, "-c", "core.autocrlf=true", "checkout-index", f"--prefix={tmp_path}/", "--", *files, ".gitattributes")
    assert b"\r\n" not in (tmp_path / ".gitattributes").read_bytes()
    for path in sorted(tmp_path.glob("exercise-*/starter")):
        pinned = exercises.find(int(path.parent.name.split("-")[1])).settings["starter"]
        assert {name: sha256_of(path / name) for name in pinned} == pinned, path


NO_POSIX = """
import os, shutil, signal, subprocess, sys  # these, platformdirs and torch use what is taken away below on this system
import platformdirs
try:
    import torch
except ImportError:
    pass

class Windows:
    "What conda-forge and Python lack there cannot be imported."
    def find_spec(self, name, path=None, target=None):
        if name in ("fcntl", "grp", "pty", "pwd", "resource", "termios", "jax", "jaxlib", "flax", "optax"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Windows())
for name in ("fcntl", "grp", "pty", "pwd", "resource", "termios"):
    sys.modules.pop(name, None)
for name in ("SIGKILL", "SIGUSR1", "SIGHUP", "SIGALRM"):
    delattr(signal, name)
for name in ("fork", "geteuid", "getuid", "getpgid", "killpg", "setsid"):
    delattr(os, name)
"""


@pytest.mark.slow
def test_every_test_can_be_collected_without_posix(variables, tmp_path):
    """Windows runs the tests too: what needs POSIX is skipped there with its reason, not an error in the imports."""
    (tmp_path / "no_posix.py").write_text(NO_POSIX)
    path = os.pathsep.join([str(tmp_path), variables["PYTHONPATH"]])
    line = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no_posix",
        "-p",
        "no:cacheprovider",
        "-n",
        "0",
        "-q",
        "--collect-only",
        "-W",
        "ignore:only soft file lock",  # on Windows itself there is another one
    ]
    done = subprocess.run(line, cwd=ROOT, env=variables | {"PYTHONPATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
