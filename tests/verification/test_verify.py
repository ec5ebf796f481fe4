"""A run folder as somebody else receives it: what is noticed, and which of the verdicts it gets."""

import copy
import json
import shutil
import stat
import subprocess
import tempfile

import jsonschema
import pytest
from changed import archive, other_bytes, rewrite
from conftest import ROOT, SOLUTION, record_of

from workshop.errors import WorkshopError
from workshop.runs.records import record
from workshop.verification import checkout, listing, pack, received, rerun, verify
from workshop.verification.comparing import comparison

IN_GIT = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True).returncode == 0
needs_git = pytest.mark.skipif(not IN_GIT, reason="the recorded revision is found with git, and this is no clone")


@pytest.fixture
def run(one_epoch, tmp_path):
    """A copy of a finished run of exercise 2."""
    return shutil.copytree(one_epoch, tmp_path / "received")


# ---------------------------------------------------------------- the files


def test_an_untouched_run_is_intact(run):
    answer = verify.judge(received.read(run), no_rerun=True)
    assert answer.verdict == "intact" and not answer.record and not answer.remarks


@pytest.mark.parametrize("name", ["run.json", "weights.safetensors", "learning_curve.png", "confusion_matrix.svg"])
@pytest.mark.parametrize("where", [0.0, 0.5, 1.0])
def test_one_changed_byte_is_noticed(run, name, where):
    content = bytearray((run / name).read_bytes())
    index = int(where * (len(content) - 1))
    content[index] = content[index] ^ 1 if name != "run.json" else ord(" ") if content[index] != 32 else ord("7")
    (run / name).write_bytes(content)
    try:
        answer = verify.judge(received.read(run))
    except WorkshopError as error:
        assert name == "run.json" and "run.json" in error.looked_at
    else:
        assert answer.verdict == "not reproduced" and name in " ".join(answer.record)


def test_one_changed_byte_of_the_crate_is_noticed(run):
    path = run / "ro-crate-metadata.json"
    path.write_text(path.read_text().replace("CreateAction", "CreateActiom"))
    answer = verify.judge(received.read(run), no_rerun=True)
    assert answer.verdict == "not reproduced" and "changed after the run" in answer.record[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda run: (run / "weights.safetensors").unlink(), "weights.safetensors: missing"),
        (lambda run: (run / "notes.txt").write_text("mine"), "notes.txt: not in the record"),
        (lambda run: (run / "ro-crate-metadata.json").unlink(), "ro-crate-metadata.json: missing"),
        (lambda run: (run / "ro-crate-metadata.json").write_text('{"@graph": []}'), "written by another tool"),
        (lambda run: (run / "ro-crate-metadata.json").write_text("[" * 10_000), "not a crate of this workshop"),
    ],
    ids=["missing", "added", "no crate", "another tool's crate", "a nested crate"],
)
def test_files_that_are_not_as_recorded(run, change, words):
    change(run)
    answer = verify.judge(received.read(run))
    assert answer.verdict == "not reproduced" and words in " ".join(answer.record)


def test_a_link_is_not_an_output(run, tmp_path):
    secret = tmp_path / "secret"
    (run / "weights.safetensors").rename(secret)
    (run / "weights.safetensors").symlink_to(secret)
    assert "weights.safetensors: missing" in received.read(run).problems


def test_a_record_that_names_files_elsewhere(run):
    document = record_of(run)
    document["outputs"][0]["path"] = "../../secret"
    (run / "run.json").write_text(json.dumps(document))
    assert "outside the folder" in " ".join(received.read(run).problems)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[]", "a list instead of an object"),
        ("{}", "no 'schema'"),
        ('{"schema": "another/tool/1"}', "another/tool/1"),
    ],
)
def test_what_is_no_record(run, text, words):
    (run / "run.json").write_text(text)
    with pytest.raises(WorkshopError, match=".") as caught:
        received.read(run)
    assert words in caught.value.found and not isinstance(caught.value, received.CannotTell)


def test_a_record_of_a_newer_workshop_gets_no_verdict(run, capsys):
    document = record_of(run)
    document["schema"] = "reproducible-ml-workflows/run/2"
    (run / "run.json").write_text(json.dumps(document))
    assert verify.main(str(run), no_rerun=False, as_json=False) == 2
    assert "newer workshop" in capsys.readouterr().err


def test_the_schema_is_read_as_jsonschema_reads_it(run):
    """Every value of a record replaced in turn by one of another kind, and every key left out."""
    schema = json.loads(record.SCHEMA_FILE.read_text())
    oracle = jsonschema.Draft202012Validator(schema)
    document = record_of(run)
    changed = []
    for path in paths(document):
        for value in (None, -1, 1.5, "", "x", [], {}, True, ...):
            copied = copy.deepcopy(document)
            place = copied
            for key in path[:-1]:
                place = place[key]
            if value is ...:
                del place[path[-1]]
            else:
                place[path[-1]] = value
            changed.append(copied)
    assert len(changed) > 300
    wrong = [c for c in changed if bool(list(received.schema_violations(c))) == oracle.is_valid(c)]
    assert not wrong


def paths(value, above=()):
    """The path of every value in a document; of a long list, of its first item only."""
    items = value.items() if isinstance(value, dict) else list(enumerate(value))[:1] if isinstance(value, list) else ()
    for key, item in items:
        yield (*above, key)
        yield from paths(item, (*above, key))


# ---------------------------------------------------------------- zips


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (("../evil", b"x", 0o644), "leaves the folder"),
        (("/etc/evil", b"x", 0o644), "leaves the folder"),
        (("C:\\evil", b"x", 0o644), "leaves the folder"),
        (("a/..\\..\\evil", b"x", 0o644), "leaves the folder"),
        (("run.json", b"/etc/passwd", stat.S_IFLNK | 0o777), "symbolic link"),
    ],
)
def test_a_zip_that_would_write_elsewhere(tmp_path, entry, words):
    path = archive(tmp_path / "run.zip", [entry])
    with pytest.raises(WorkshopError) as caught, received.opened(path):
        pass
    assert words in caught.value.found and sorted(p.name for p in tmp_path.iterdir()) == ["run.zip"]


def test_a_zip_that_would_fill_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(received, "LARGEST_ARCHIVE", 10_000)
    path = archive(tmp_path / "run.zip", [("zeros", bytes(20_000), 0o644)])
    with pytest.raises(WorkshopError, match="unpacked"), received.opened(path):
        pass


def test_what_is_neither_folder_nor_zip(tmp_path):
    (tmp_path / "run.zip").write_bytes(b"PK but no zip")
    for name in ("run.zip", "nothing"):
        with pytest.raises(WorkshopError), received.opened(tmp_path / name):
            pass


@needs_git
def test_a_packed_run_is_intact_and_brings_its_sources(run, tmp_path):
    content = pack.packed(received.read(run))
    assert content == pack.packed(received.read(run))
    (tmp_path / "run.zip").write_bytes(content)
    with received.opened(tmp_path / "run.zip") as folder:
        answer = verify.judge(received.read(folder), no_rerun=True)
        assert answer.verdict == "intact" and not answer.remarks
        assert (folder / "sources/train.py").read_bytes() == (
            ROOT / "exercise-2-pytorch-cu12/solution/train.py"
        ).read_bytes()
        (folder / "sources/train.py").write_text("changed")
        assert verify.judge(received.read(folder), no_rerun=True).verdict == "not reproduced"


# ---------------------------------------------------------------- verdicts


def again(run, tmp_path, change=lambda document: None, name="again"):
    """A rerun as it might have come out."""
    folder = shutil.copytree(run, tmp_path / name)
    rewrite(folder, change)
    return received.read(folder)


def test_the_same_outputs_are_bitwise(run, tmp_path):
    answer = verify.compare(received.read(run), again(run, tmp_path), [])
    assert answer.verdict == "bitwise" and not answer.differences


def compared(run, tmp_path, change):
    shutil.copytree(run, tmp_path / "other")
    other_bytes(tmp_path / "other")
    rewrite(tmp_path / "other", change)
    return verify.compare(received.read(run), received.read(tmp_path / "other"), [])


def test_other_bits_on_another_device_are_within_the_tolerance(run, tmp_path):
    def change(document):
        document["device"]["name"] = "another processor"
        document["metrics"][0]["value"] += 0.01
        document["metrics"][1]["value"] *= 1.1

    answer = compared(run, tmp_path, change)
    assert answer.verdict == "within tolerance" and "device: name" in answer.reason
    assert [row.same for row in answer.metrics] == [True, None]


def test_an_accuracy_outside_the_tolerance(run, tmp_path):
    def change(document):
        document["device"]["name"] = "another processor"
        document["metrics"][0]["value"] -= 0.2

    answer = compared(run, tmp_path, change)
    assert answer.verdict == "not reproduced" and "test_accuracy" in answer.reason


def test_other_bits_without_a_reason(run, tmp_path):
    answer = compared(run, tmp_path, lambda document: None)
    assert answer.verdict == "not reproduced" and "not deterministic" in answer.reason


def test_other_data_come_first(run, tmp_path):
    def change(document):
        document["dataset"]["sha256"] = "0" * 64
        document["device"]["name"] = "another processor"
        document["packages"]["torch"] = "1.0"

    answer = compared(run, tmp_path, change)
    assert answer.verdict == "not reproduced" and "another experiment: data" in answer.reason
    assert answer.differences[0].name == "data"


def test_a_run_of_another_environment_is_named(run, monkeypatch):
    rewrite(run, lambda d: d["environment"].update(kind="pixi", name="cuda12", platform="linux-64", lock=d["script"]))
    monkeypatch.setenv("PIXI_ENVIRONMENT_NAME", "cpu")
    clone = checkout.Checkout(ROOT, ROOT / "train.py", [], ROOT, ROOT / "common")
    assert "pixi run -e cuda12 verify" in verify._environment_remarks(received.read(run), clone)[0]
    monkeypatch.setenv("PIXI_ENVIRONMENT_NAME", "cuda12")
    assert verify._environment_remarks(received.read(run), clone) == []
    mine = checkout.Checkout(run, run / "train.py", [], run, None)  # a repository of its own: it has other environments
    assert "pixi run -e cuda12 python -m workshop verify" in verify._environment_remarks(received.read(run), mine)[0]
    monkeypatch.setenv("PIXI_PROJECT_ROOT", str(run))
    assert verify._environment_remarks(received.read(run), mine) == []


def test_a_figure_is_compared_by_its_pixels(run, tmp_path):
    import matplotlib.image

    folder = shutil.copytree(run, tmp_path / "figure")
    path = folder / "learning_curve.png"
    pixels = matplotlib.image.imread(path)
    matplotlib.image.imsave(path, pixels, metadata={"Software": "another version"})
    path.with_suffix(".svg").write_text("<svg/>")  # of another version as well
    rewrite(folder, lambda document: None)
    rows = {row.name: row for row in comparison.outputs(received.read(run), received.read(folder))}
    assert rows["learning_curve.png"].same and "pixels" in rows["learning_curve.png"].note
    assert rows["learning_curve.svg"].same and "learning_curve.png has" in rows["learning_curve.svg"].note
    pixels[0, 0] = 1 - pixels[0, 0]
    matplotlib.image.imsave(path, pixels)
    rewrite(folder, lambda document: None)
    rows = {row.name: row for row in comparison.outputs(received.read(run), received.read(folder))}
    assert not rows["learning_curve.png"].same and not rows["learning_curve.svg"].same


def test_a_record_of_a_project_of_ones_own(run):
    """`workshop new` gives the records its own name, and calls the exercise a project, also in that of the parent."""
    document = record_of(run)
    exercise = document.pop("exercise")
    parent = {"project": exercise, "run": "earlier", "sha256": "0" * 64}
    (run / "run.json").write_text(
        json.dumps(document | {"schema": "my-tool/run/1", "project": exercise, "parent": parent})
    )
    found = received.read(run)
    assert found.package == "my_tool" and found.record["exercise"] == found.record["parent"]["exercise"] == exercise


# ---------------------------------------------------------------- the rerun


@needs_git
def test_the_command_line_of_a_rerun(run, tmp_path):
    """The folder of the first run is left out; a run on a GPU is repeated on the CPU where there is no GPU."""
    rewrite(run, lambda d: d.update(argv=["train.py", "--output", "/there", "--seed", "3", "--resume", "--output=/x"]))
    there = checkout.Checkout(tmp_path, tmp_path / "train.py", [], ROOT, tmp_path)
    line = rerun.command_line(received.read(run), there, tmp_path / "new")
    assert line[1:] == [str(tmp_path / "train.py"), "--seed", "3", "--output", str(tmp_path / "new")]
    rewrite(run, lambda d: d["device"].update(type="cuda"))
    if not rerun.nvidia_smi().get("gpu"):
        assert rerun.command_line(received.read(run), there, tmp_path / "new")[-2:] == ["--device", "cpu"]


@needs_git
def test_a_commit_that_this_clone_lacks(run):
    rewrite(run, lambda document: document.update(git={"commit": "0" * 40, "dirty": False}))
    with pytest.raises(received.CannotTell, match="no such commit"), checkout.at_recorded_revision(received.read(run)):
        pass


@pytest.mark.skipif(shutil.which("git") is None, reason="no git")
@pytest.mark.parametrize("here", ["the run", "the current folder"])
def test_a_run_of_a_learners_own_repository(run, tmp_path, monkeypatch, here):
    """Its commit and lock are those of that repository, as in exercise-1-scipy/mine; the workshop's code is the clone's."""
    mine = tmp_path / "mine"
    mine.mkdir()
    shutil.copy(SOLUTION, mine)
    (mine / "pixi.lock").write_text("version: 7\n")
    git = ("git", "-C", str(mine), "-c", "user.name=A", "-c", "user.email=a@example.org")
    for words in (("init", "-q"), ("add", "."), ("commit", "-qm", "Begin")):
        subprocess.run([*git, *words], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    lock = {"path": "pixi.lock", "sha256": record.sha256_of(mine / "pixi.lock")}

    def change(document):
        document["git"] = {"commit": commit, "dirty": False}
        document["environment"].update(kind="pixi", name="default", platform="linux-64", lock=lock)

    rewrite(run, change)
    if here == "the run":
        run = run.rename(mine / "run")
    else:
        monkeypatch.chdir(mine)
    with checkout.at_recorded_revision(received.read(run)) as there:
        assert there.repository == mine and there.script.read_bytes() == SOLUTION.read_bytes()
        assert there.path.samefile(ROOT / "common") and "repository of its own" in there.remarks[0]
        assert len(there.remarks) == 1
    lock["sha256"] = "0" * 64
    rewrite(run, change)
    with checkout.at_recorded_revision(received.read(run)) as there:
        assert "does not contain the lock of the run, 0000" in there.remarks[1]


@needs_git
def test_a_script_that_was_edited_before_the_run(run, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # other tests have worktrees of this clone elsewhere
    rewrite(run, lambda document: document["script"].update(sha256="0" * 64))
    with pytest.raises(received.CannotTell, match="edited before"), checkout.at_recorded_revision(received.read(run)):
        pass
    worktrees = subprocess.run(["git", "-C", ROOT, "worktree", "list"], capture_output=True, text=True).stdout
    assert str(tmp_path) not in worktrees


@needs_git
@pytest.mark.parametrize("name", ["../precious.py", "linked.py"])
def test_a_packed_script_is_not_written_outside_the_checkout(run, tmp_path, name):
    """The path of a script comes from the record, which somebody else may have written."""
    precious, clone = tmp_path / "precious.py", tmp_path / "clone"
    precious.write_text("mine")
    clone.mkdir()
    (clone / "linked.py").symlink_to(precious)
    packed = tmp_path / "packed"
    packed.write_text("theirs")
    script = {"path": name, "sha256": record.sha256_of(packed)}
    found = checkout._script_in(clone, script, packed)
    assert precious.read_text() == "mine" and found.parent == clone and found.read_text() == "theirs"


@needs_git
def test_a_parent_that_is_not_here(run, tmp_path):
    parent = {"exercise": "exercise-2-pytorch-cu12", "run": "gone", "sha256": "0" * 64}
    rewrite(run, lambda document: document.update(parent=parent))
    with pytest.raises(received.CannotTell, match="gone"):
        rerun.parent_of(received.read(run), parent)


@needs_git
@pytest.mark.slow
def test_a_run_is_verified_from_its_folder_and_from_its_zip(command, one_epoch, tmp_path):
    before = subprocess.run(["git", "-C", ROOT, "status", "--porcelain"], capture_output=True, text=True).stdout
    done = command("-m", "workshop", "verify", one_epoch, "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["verdict"] == "bitwise", done.stdout + done.stderr
    packed = command("-m", "workshop", "pack", one_epoch, "--output", tmp_path / "run.zip")
    assert packed.returncode == 0, packed.stderr
    done = command("-m", "workshop", "verify", tmp_path / "run.zip", cwd=ROOT)
    assert done.returncode == 0 and done.stdout.startswith("bitwise"), done.stdout + done.stderr
    after = subprocess.run(["git", "-C", ROOT, "status", "--porcelain"], capture_output=True, text=True).stdout
    assert before == after


def test_two_runs_side_by_side(command, one_epoch, run):
    done = command("-m", "workshop", "compare", one_epoch, run)
    assert done.returncode == 0 and "Nothing else differs" in done.stdout
    other_bytes(run)
    rewrite(run, lambda document: document["packages"].update(torch="1.0"))
    done = command("-m", "workshop", "compare", one_epoch, run)
    assert done.returncode == 1 and "package torch" in done.stdout and "weights.safetensors" in done.stdout


def test_runs_are_listed_newest_first(tmp_path, one_epoch):

    home = tmp_path / "exercise-2-pytorch-cu12"
    for name, ended in (("old", "2026-01-01T00:00:00.000+00:00"), ("new", "2026-02-01T00:00:00.000+00:00")):
        shutil.copytree(one_epoch, home / name)
        rewrite(home / name, lambda document, ended=ended: document.update(ended=ended))
    (home / "cut.partial").mkdir()
    (home / "cut.partial" / record.CHECKPOINT).write_bytes(b"")
    (home / "odd").mkdir()
    (home / "odd/run.json").write_text("{")
    found = listing.runs_in(tmp_path)
    assert [run["run"].rpartition("/")[2] for run in found[:2]] == ["new", "old"]
    assert {run["state"] for run in found[2:]} == {"interrupted", "unreadable"}
    assert found[0]["metrics"]["test_accuracy"] == record_of(one_epoch)["metrics"][0]["value"]
    assert [run["run"].rpartition("/")[2] for run in listing.runs_in(home) if run["state"] == "finished"] == [
        "new",
        "old",
    ]
