"""What `workshop verify` must refuse or survive: one message each, exit code 2, and nothing is left behind."""

import concurrent.futures
import errno
import json
import os
import shutil
import subprocess
import zipfile

import pytest
from changed import archive, rewrite
from conftest import ROOT, record_of

from workshop.errors import WorkshopError
from workshop.verification import checkout, listing, pack, received, rerun, verify

IN_GIT = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True).returncode == 0
pytestmark = pytest.mark.skipif(not IN_GIT, reason="the recorded revision is found with git, and this is no clone")


@pytest.fixture
def run(one_epoch, tmp_path):
    """A copy of a finished run of exercise 2."""
    return shutil.copytree(one_epoch, tmp_path / "received")


@pytest.fixture
def nothing_left(tmp_path, monkeypatch):
    """After the test, no temporary folder and no worktree are left, and git sees the same tree."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))

    def state():
        words = (["status", "--porcelain"], ["worktree", "list"])
        texts = [subprocess.run(["git", "-C", ROOT, *each], capture_output=True, text=True).stdout for each in words]
        return texts[0], [line for line in texts[1].splitlines() if str(temporary) in line]

    before = state()
    yield temporary
    assert [*temporary.iterdir()] == [] and state() == before


@pytest.fixture
def undecided(capsys, nothing_left):
    """Verify, and assert that there is one message of four lines and exit code 2; returns the message."""

    def look(path, *words, no_rerun=False):
        assert verify.main(str(path), no_rerun, as_json=False) == 2
        printed = capsys.readouterr()
        for start in ("looked at:", "expected:", "found:", "next:"):
            assert sum(line.startswith(start) for line in printed.err.splitlines()) == 1, printed.err
        assert printed.out.startswith("cannot tell: ") and "Traceback" not in printed.err
        for word in words:
            assert word in printed.err, (word, printed.err)
        assert verify.main(str(path), no_rerun, as_json=True) == 2
        assert json.loads(capsys.readouterr().out)["verdict"] == "cannot tell"

    return look


# ---------------------------------------------------------------- one byte changed


def one_byte_changed(path, most):
    """The content of a file with one byte changed, at up to `most` places from its beginning to its end."""
    content = path.read_bytes()
    for index in range(0, len(content), max(1, len(content) // most)):
        yield content[:index] + bytes([content[index] ^ 1]) + content[index + 1 :]
    yield content[:-1]
    yield content + b"\n"


@pytest.mark.parametrize(
    ("name", "most"),
    [("run.json", 150), ("weights.safetensors", 25), ("learning_curve.png", 25), ("confusion_matrix.png", 25)],
)
def test_one_changed_byte_is_never_bitwise(run, monkeypatch, name, most):
    """Not even where the rerun gives the recorded outputs."""
    monkeypatch.setattr(rerun, "again", lambda *_: pytest.fail("a changed file must not get as far as the rerun"))
    whole = (run / name).read_bytes()
    for content in one_byte_changed(run / name, most):
        (run / name).write_bytes(content)
        try:
            answer = verify.judge(received.read(run))
        except WorkshopError as error:
            assert name == "run.json", error  # no record any more
        else:
            assert answer.verdict == "not reproduced" and name in " ".join(answer.record)
    (run / name).write_bytes(whole)
    assert not received.read(run).problems


def test_one_changed_byte_of_the_crate_is_never_bitwise(run):
    path = run / "ro-crate-metadata.json"
    whole = path.read_bytes()
    for content in one_byte_changed(path, 150):
        path.write_bytes(content)
        found = received.read(run)
        assert found.problems or not received.crate_matches(found)
    path.write_bytes(whole)
    assert received.crate_matches(received.read(run))


def test_one_changed_byte_of_a_packed_source_is_never_bitwise(run, tmp_path):
    (tmp_path / "run.zip").write_bytes(pack.packed(received.read(run)))
    with received.opened(tmp_path / "run.zip") as folder:
        for path in (folder / received.SOURCES).iterdir():
            whole = path.read_bytes()
            for content in one_byte_changed(path, 10):
                path.write_bytes(content)
                assert not received.crate_matches(received.read(folder)), path.name
            path.write_bytes(whole)
        assert received.crate_matches(received.read(folder))


# ---------------------------------------------------------------- no verdict


def test_where_there_is_no_run(run, tmp_path, undecided):
    undecided(tmp_path / "nothing", "no such file or folder")
    (run / "run.json").unlink()  # what another tool's crate looks like
    undecided(run, "no file run.json in it")


def test_a_newer_schema(run, undecided):
    rewrite(run, lambda document: document.update(schema="reproducible-ml-workflows/run/2"))
    undecided(run, "newer workshop", "git pull")


def test_a_commit_that_this_clone_lacks(run, undecided):
    rewrite(run, lambda document: document.update(git={"commit": "0" * 40, "dirty": False}))
    undecided(run, "no such commit here", "git fetch")


def test_a_script_that_was_edited_before_the_run(run, undecided):
    def change(document):
        document["script"]["sha256"] = "0" * 64
        document["git"]["dirty"] = True

    rewrite(run, change)
    undecided(run, "edited before the run", "workshop pack")


def test_uncommitted_changes_elsewhere_are_a_remark(run):
    rewrite(run, lambda document: document["git"].update(dirty=True))
    with checkout.at_recorded_revision(received.read(run)) as there:
        assert there.remarks == ["the repository had uncommitted changes when the run was made"]


FAILS = """import sys
print("looked at: the data set mnist\\nexpected:  28x28 images\\nfound:     {found}\\nnext:      {step}", file=sys.stderr)
sys.exit(1)
"""


@pytest.mark.parametrize(
    ("found", "step", "words"),
    [
        ("no network, and nothing in the cache", "copy mnist.npz", ("no network", "copy mnist.npz")),
        ("No space left on device", "write elsewhere with --output", ("No space left", "TMPDIR=")),
    ],
    ids=["missing data", "disk full in the rerun"],
)
def test_a_rerun_that_fails(run, tmp_path, undecided, monkeypatch, found, step, words):
    """The rerun's own message is passed on, but not advice about an option that `verify` lacks."""
    script = tmp_path / "train.py"
    script.write_text(FAILS.format(found=found, step=step))
    find = checkout._script_in
    monkeypatch.setattr(checkout, "_script_in", lambda *where: find(*where) and script)
    undecided(run, *words)


def test_a_disk_that_is_full_while_a_zip_is_unpacked(run, tmp_path, undecided, monkeypatch):
    (tmp_path / "run.zip").write_bytes(pack.packed(received.read(run)))

    def extract(self, folder):
        (received.Path(folder) / "half").write_bytes(b"half of it")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), f"{folder}/weights.safetensors")

    monkeypatch.setattr(zipfile.ZipFile, "extractall", extract)
    undecided(tmp_path / "run.zip", "No space left", "TMPDIR=")


def test_a_disk_that_is_full_before_the_checkout(run, undecided, monkeypatch):
    git = checkout.shell.git
    monkeypatch.setattr(checkout.shell, "git", lambda folder, *w: None if "add" in w else git(folder, *w))
    undecided(run, "`git worktree add` failed", "TMPDIR=")


def test_two_verifications_at_once(run, nothing_left):
    found = received.read(run)

    def look(_):
        with checkout.at_recorded_revision(found) as there:
            return there.folder, there.script.read_bytes()

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        results = list(pool.map(look, range(4)))
    assert len({folder for folder, _ in results}) == 4 and len({script for _, script in results}) == 1


# ---------------------------------------------------------------- zips


def with_size(path, size):
    """The zip with another size of its first file in the central directory, which the check reads."""
    content = bytearray(path.read_bytes())
    where = content.rindex(b"PK\x01\x02") + 24
    content[where : where + 4] = size.to_bytes(4, "little")
    path.write_bytes(content)


def test_a_zip_of_zeros(tmp_path, undecided):
    """4 GB, as its directory says; and the same file whose directory says that it is small."""
    path = archive(tmp_path / "run.zip", [("run.json", bytes(3 * 2**20), 0o644)])
    with_size(path, 2**32 - 2)
    undecided(path, "4.0 GiB, unpacked", "workshop pack")
    with_size(path, 2**10)
    undecided(path, "damaged")


def test_a_zip_of_ten_gigabytes_in_many_files(tmp_path, undecided):
    path = archive(tmp_path / "run.zip", [(f"zeros-{n}", bytes(2**20), 0o644) for n in range(3)])
    content = bytearray(path.read_bytes())
    where = 0
    while (where := content.find(b"PK\x01\x02", where + 1)) > 0:
        content[where + 24 : where + 28] = (3_600_000_000).to_bytes(4, "little")
    path.write_bytes(content)
    undecided(path, "10.1 GiB, unpacked")


def test_a_zip_with_more_files_than_a_run_has(tmp_path, undecided, monkeypatch):
    monkeypatch.setattr(received, "MOST_FILES", 10)
    undecided(archive(tmp_path / "run.zip", [(f"f{n}", b"", 0o644) for n in range(11)]), "11 files")


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil"])
def test_a_zip_with_a_path_that_leaves_its_folder(tmp_path, undecided, name):
    undecided(archive(tmp_path / "run.zip", [(name, b"x", 0o644)]), "leaves the folder")


def test_a_crate_of_another_tool(tmp_path, undecided):
    text = '{"@context": "https://w3id.org/ro/crate/1.1/context", "@graph": []}'
    undecided(archive(tmp_path / "run.zip", [("ro-crate-metadata.json", text, 0o644)]), "no file run.json")


# ---------------------------------------------------------------- what is kept


def test_a_verdict_is_listed_until_the_record_changes(run, tmp_path, monkeypatch):
    monkeypatch.setenv("WORKSHOP_CACHE", str(tmp_path / "cache"))
    assert listing.verdict_about(run) is None
    assert verify.main(str(run), no_rerun=True, as_json=True) == 0
    assert listing.verdict_about(run)["verdict"] == "intact"
    home = tmp_path / "results" / "exercise-2-pytorch-cu12"
    shutil.copytree(run, home / "moved")
    [described] = listing.runs_in(tmp_path / "results")
    assert "intact (20" in listing._lines(described)[-1]
    rewrite(home / "moved", lambda document: document.update(seed=4))
    [described] = listing.runs_in(tmp_path / "results")
    assert described["verified"] is None and listing._lines(described)[-1].strip() == "not verified"


def test_a_verdict_that_cannot_be_kept(run, tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setenv("WORKSHOP_CACHE", str(tmp_path / "cache"))
    assert verify.main(str(run), no_rerun=True, as_json=True) == 0
    assert record_of(run)["seed"] == 3
