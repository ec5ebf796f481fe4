"""`workshop scan`: output, schema, resumption, worker processes, and one message for every invalid input."""

from __future__ import annotations

import copy
import dataclasses
import functools
import gzip
import http.server
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from histfactory import HistFactoryError, digest, inference, read_json
from histfactory import workspace as workspace_module
from workshop import cli
from workshop.errors import WorkshopError
from workshop.runs import search
from workshop.runs.search import contour
from workshop.scan import command, distribute, journal, published, worker

pytest.importorskip("jsonpatch")
SHARED = Path(os.environ.get("WORKSHOP_SHARED", ROOT.parent / "shared")) / "data" / "1Lbb"
SCHEMA = ROOT / "exercise-1-scipy" / "limits.schema.json"


def generated() -> tuple[dict, dict]:
    return copy.deepcopy(search.generate(np.random.default_rng(1)))


def run(tmp_path: Path, *words: str, output: str = "out") -> dict:
    assert command.main([*words, "--output", str(tmp_path / output)]) == 0
    return json.loads((tmp_path / output / "limits.json").read_text())


def write(tmp_path: Path, workspace: object, patchset: object) -> list[str]:
    (tmp_path / "w.json").write_text(json.dumps(workspace))
    (tmp_path / "p.json").write_text(json.dumps(patchset))
    return ["--workspace", str(tmp_path / "w.json"), "--patchset", str(tmp_path / "p.json")]


def test_output_and_schema(tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    document = run(tmp_path)
    jsonschema.validate(document, json.loads(SCHEMA.read_text()))
    assert len(document["hypotheses"]) == 125 and all(e["converged"] for e in document["hypotheses"])
    assert (tmp_path / "out" / "contour.png").stat().st_size > 10_000


def test_same_bits_again_with_two_workers_and_after_an_interruption(tmp_path: Path, monkeypatch) -> None:
    first = run(tmp_path, output="a")
    assert run(tmp_path, "--workers", "2", output="b") == first
    monkeypatch.setattr(inference, "NUMBERS_PER_CHUNK", 3000)  # several chunks
    calls = []
    real = worker.fit_members

    def broken(*words):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(words)
        return real(*words)

    monkeypatch.setattr(worker, "fit_members", broken)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, output="c")
    assert not (tmp_path / "c").exists() and list(tmp_path.glob(".scan-*.jsonl"))
    monkeypatch.setattr(worker, "fit_members", real)
    assert run(tmp_path, output="c") == first
    assert not list(tmp_path.glob(".scan-*"))


def die_once(marker: Path, request: dict) -> dict:
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return worker.fit_request(request)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_a_killed_worker_loses_nothing(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(distribute, "fit_request", functools.partial(die_once, tmp_path / "died"))
    document = run(tmp_path, "--workers", "2", "--only", "signal_4*")
    assert "hypotheses again" in capsys.readouterr().err
    assert all(e["converged"] for e in document["hypotheses"])


def test_only(tmp_path: Path) -> None:
    names = [e["name"] for e in run(tmp_path, "--only", "signal_500_*")["hypotheses"]]
    assert names and all(name.startswith("signal_500_") for name in names)


def test_contour_of_a_plane_by_hand() -> None:
    """CLs = x / 10 on a grid is linear, so it crosses 0.05 exactly at x = 0.5."""
    x, y = (a.ravel() for a in np.meshgrid(np.linspace(0, 1, 4), np.linspace(0, 2, 5)))
    lines = contour.crossing(contour.triangulate(x, y), x / 10)
    points = np.concatenate(lines)
    np.testing.assert_allclose(points[:, 0], 0.5, atol=1e-12)
    assert points[:, 1].min() == pytest.approx(0) and points[:, 1].max() == pytest.approx(2)


@pytest.fixture
def message_of_command(capsys, monkeypatch):
    """Run `workshop scan WORDS`, assert exit code 1 and one message of four lines, and return the message."""

    def look(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["workshop", "scan", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        text = capsys.readouterr().err
        assert ended.value.code == 1, text
        assert [line.split(":")[0] for line in text.splitlines()] == ["looked at", "expected", "found", "next"], text
        return text

    return look


def broken(case: str, tmp_path: Path) -> list[str]:
    workspace, patchset = generated()
    background = workspace["channels"][0]["samples"][0]
    first = patchset["patches"][0]
    sign = True
    if case == "schema":
        del workspace["observations"]
    elif case == "other workspace":
        sign, patchset["metadata"]["digests"] = False, {"sha256": "0" * 64}
    elif case == "failing path":
        first["patch"][0]["path"] = "/channels/9/samples/0"
    elif case == "duplicate names":
        patchset["patches"][1]["metadata"]["name"] = first["metadata"]["name"]
    elif case == "nan":
        background["data"][3] = float("nan")
    elif case == "infinite":
        first["patch"][0]["value"]["data"][0] = float("inf")
    elif case == "beyond floats":
        first["patch"][0]["value"]["data"][0] = 10**400
    elif case == "too long to read":
        background["data"][3] = 123456789
    elif case == "negative":
        background["data"][3] = -1.0
    elif case == "zero expectation":
        background["data"][3] = 0.0
        shape = background["modifiers"][1]["data"]
        shape["hi_data"][3] = shape["lo_data"][3] = 0.0
    elif case == "no signal":
        for patch in patchset["patches"]:
            patch["patch"][0]["value"]["data"] = [0.0] * 10
    elif case == "unknown poi":
        workspace["measurements"][0]["config"]["poi"] = "nothing"
    elif case == "no poi":
        workspace["measurements"][0]["config"]["poi"] = ""
    elif case == "modifier":
        background["modifiers"].append({"name": "x", "type": "custom", "data": None})
    if sign:
        patchset["metadata"]["digests"] = {"sha256": digest(workspace)}
    words = write(tmp_path, workspace, patchset)
    if case == "too long to read":
        text = (tmp_path / "w.json").read_text()
        (tmp_path / "w.json").write_text(text.replace("123456789", "1" * 5000))
    return words


@pytest.mark.parametrize(
    ("case", "part"),
    [
        ("schema", "observations"),
        ("other workspace", "made for another workspace"),
        ("failing path", "/channels/9"),
        ("duplicate names", "again"),
        ("nan", "/channels/0/samples/0/data/3"),
        ("infinite", "inf"),
        ("beyond floats", "a finite number"),
        ("too long to read", "numbers in the range of a float"),
        ("negative", "-1.0"),
        ("zero expectation", "no background expected"),
        ("no signal", "CLs is 1"),
        ("unknown poi", "nothing"),
        ("no poi", "parameter of interest"),
        ("modifier", "custom"),
    ],
)
def test_bad_input_gives_one_message(case: str, part: str, tmp_path: Path, message_of_command) -> None:
    text = message_of_command(*broken(case, tmp_path), "--output", str(tmp_path / "out"))
    assert part in text
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--mu", "0"], "--mu"),
        (["--mu", "-1"], "--mu"),
        (["--mu", "nan"], "--mu"),
        (["--mu", "11"], "bounds"),
        (["--only", "nothing*"], "--only"),
        (["--only", ""], "--only"),
        (["--workers", "0"], "--workers"),
        (["--measurement", "none"], "the measurement 'none'"),
        (["--patchset", "p.json"], "no --workspace"),
        (["--likelihood", "1Lbb", "--workspace", "w.json"], "both"),
        (["--seed", "-1"], "--seed"),
        (["--mu", "abc"], "'abc'"),
        (["--workers", "abc"], "'abc'"),
        (["--seed", "x"], "'x'"),
        (["--seed", "1" + "0" * 22], "at most"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
        (["--likelihood", "foo"], "invalid choice: 'foo'"),
        (["--work", "2"], "unrecognized"),
        (["--backend", "jax", "--workers", "2"], "either --backend jax or --workers 2"),
        (["--backend", "jax", "--executor", "parsl"], "either --backend jax or --executor parsl"),
    ],
)
def test_bad_options(words: list[str], part: str, tmp_path: Path, message_of_command) -> None:
    assert part in message_of_command(*words, "--output", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_the_backend_jax_without_jax(tmp_path: Path, monkeypatch, message_of_command) -> None:
    monkeypatch.setitem(sys.modules, "jax", None)
    assert "pixi run -e cpu-jax" in message_of_command("--backend", "jax", "--output", str(tmp_path / "out"))
    assert command.settings_of("numpy")["determinism"]["backend"] == "numpy"


@pytest.mark.slow
def test_the_backend_jax_and_its_record(tmp_path: Path, monkeypatch, capsys) -> None:
    """The CLs of NumPy, except for rounding (the tolerance of test_on_jax.py), and a note that NumPy is faster here."""
    pytest.importorskip("jax")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    words = "--only", "signal_900_*"
    theirs = run(tmp_path, *words, output="a")
    ours = run(tmp_path, *words, "--backend", "jax", output="b")
    assert "the backend numpy is usually faster" in capsys.readouterr().err
    for entry, other in zip(ours["hypotheses"], theirs["hypotheses"], strict=True):
        assert entry["name"] == other["name"] and entry["converged"]
        assert [entry["cls_obs"], *entry["cls_exp"]] == pytest.approx([other["cls_obs"], *other["cls_exp"]], abs=1e-6)
    record = json.loads((tmp_path / "b" / "run.json").read_text())
    assert record["determinism"]["backend"] == "jax" and {"jax", "jaxlib"} <= record["packages"].keys()


def test_help_lists_the_options(capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["scan", "--help"])
    printed = capsys.readouterr().out
    assert ended.value.code == 0 and all(option in printed for option in ("--workspace", "--likelihood", "--workers"))


def test_files_that_are_not_workspaces(tmp_path: Path, message_of_command) -> None:
    good = gzip.compress(json.dumps(generated()[0]).encode())
    (tmp_path / "cut.json.gz").write_bytes(good[: len(good) // 2])
    (tmp_path / "text.json").write_text("not json")
    (tmp_path / "other.json").write_text('{"a": 1}')
    (tmp_path / "list.json").write_text("[1, 2]")
    (tmp_path / "empty.json").write_text("")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    for name, part in (
        ("cut.json.gz", "truncated"),
        ("text.json", "not JSON"),
        ("other.json", "channels"),
        ("list.json", "a list"),
        ("empty.json", "not JSON"),
        ("bytes.json", "UTF-8"),
        ("gone.json", "No such file"),
    ):
        assert part in message_of_command("--workspace", str(tmp_path / name)), name


def test_bad_input_in_a_separate_process(tmp_path: Path, refused, variables) -> None:
    """One invalid input with a new interpreter."""
    words = [sys.executable, "-m", "workshop", "scan", *broken("negative", tmp_path), "--output", str(tmp_path / "out")]
    refused(subprocess.run(words, capture_output=True, text=True, env=variables), "-1.0")


@pytest.mark.parametrize("seed", range(60))
def test_damaged_documents_never_end_in_a_traceback(seed: int, tmp_path: Path) -> None:
    """With a random part of the workspace or patch set replaced by something invalid: one message, or limits."""
    rng = np.random.default_rng(seed)
    workspace, patchset = generated()
    patchset["patches"] = patchset["patches"][:2]
    document = (workspace, patchset)[seed % 2]
    junk = [None, [], {}, "", "x", -1, 0, 1e308, float("nan"), True, [[]], {"a": 1}, ["x"], 10**400]
    node, steps = document, int(rng.integers(1, 9))
    for _ in range(steps):
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = keys[int(rng.integers(len(keys)))]
        if steps == 1 or not isinstance(node[key], (dict, list)) or not node[key]:
            break
        parent, last, node = node, key, node[key]
    else:
        node, key = parent, last
    if rng.random() < 0.3:
        del node[key]
    else:
        node[key] = junk[int(rng.integers(len(junk)))]
    if isinstance(patchset.get("metadata"), dict) and seed % 2 == 0:
        patchset["metadata"]["digests"] = {"sha256": digest(workspace)}
    try:
        assert command.main([*write(tmp_path, workspace, patchset), "--output", str(tmp_path / "out")]) == 0
    except (WorkshopError, HistFactoryError):
        assert not (tmp_path / "out").exists()


def test_a_failure_after_the_fits_leaves_the_journal_alone(tmp_path: Path, monkeypatch) -> None:
    """There is no run folder, the fits are kept, and the same command continues with them."""

    def full(*_):
        raise OSError(28, "No space left on device", "contour.png")

    monkeypatch.setattr(contour, "draw", full)
    with pytest.raises(OSError, match="No space left"):
        command.main(["--only", "signal_9*", "--output", str(tmp_path / "out")])
    assert [path.suffix for path in tmp_path.iterdir()] == [".jsonl"]


def test_a_fit_that_did_not_converge_is_named_and_null(tmp_path: Path, monkeypatch, capsys) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    monkeypatch.setattr("histfactory.minimise.quasi_newton.MAX_STEPS", 2)
    monkeypatch.setattr("histfactory.minimise.saddle_free.NEWTON_STEPS", 0)
    document = run(tmp_path, "--only", "signal_500_*")
    jsonschema.validate(document, json.loads(SCHEMA.read_text()))
    lost = [e for e in document["hypotheses"] if not e["converged"]]
    assert lost and all(e["cls_obs"] is None and e["cls_exp"] is None for e in lost)
    printed = capsys.readouterr().err
    assert all(f"not converged, no number given: {e['name']}" in printed for e in lost)


def test_upper_limits_and_what_they_were_computed_from(tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    plain = run(tmp_path, "--only", "signal_900_*", output="a")
    document = run(tmp_path, "--only", "signal_900_*", "--upper-limit", output="b")
    jsonschema.validate(document, json.loads(SCHEMA.read_text()))
    assert document["upper_limit_level"] == 0.05
    for entry, without in zip(document["hypotheses"], plain["hypotheses"], strict=True):
        assert entry["upper_limit_exp"] == sorted(entry["upper_limit_exp"])
        assert (entry["upper_limit_obs"] < 1) == (entry["cls_obs"] < 0.05)
        assert without == {key: value for key, value in entry.items() if not key.startswith("upper_limit")}
        q = 2 * (entry["log_l"]["at_mu_hat"] - entry["log_l"]["at_mu"]) if entry["mu_hat"] <= 1 else 0
        assert entry["q"] == pytest.approx(q, abs=1e-9)


def test_a_bound_below_zero_gets_a_warning(tmp_path: Path, capsys) -> None:
    workspace, patchset = generated()
    workspace["measurements"][0]["config"]["parameters"][0]["bounds"] = [[-1.0, 10.0]]
    patchset["metadata"]["digests"] = {"sha256": digest(workspace)}
    document = run(tmp_path, *write(tmp_path, workspace, patchset), "--only", "signal_900_0")
    assert "'mu' has the lower bound -1, but q-tilde" in document["warnings"][0]
    assert document["warnings"][0] in capsys.readouterr().err


def test_a_plain_patch(tmp_path: Path, message_of_command) -> None:
    workspace, patchset = generated()
    first = patchset["patches"][0]
    words = write(tmp_path, workspace, patchset)
    (tmp_path / "one.json").write_text(json.dumps(first["patch"]))
    [entry] = run(tmp_path, *words[:2], "--patch", str(tmp_path / "one.json"))["hypotheses"]
    [same] = run(tmp_path, *words, "--only", first["metadata"]["name"], output="same")["hypotheses"]
    assert entry["name"] == "one" and entry["labels"] == {}
    # The start of the fits is that of the first hypothesis of the set, so that only rounding differs.
    assert entry["cls_obs"] == pytest.approx(same["cls_obs"], rel=1e-6)
    for wrong, part in (
        ([*words[:2], "--patchset", str(tmp_path / "one.json")], "--patch "),
        ([*words[:2], "--patch", str(tmp_path / "p.json")], "--patchset "),
        ([*words, "--patch", str(tmp_path / "one.json")], "both"),
        (["--patch", str(tmp_path / "one.json")], "no --workspace"),
    ):
        assert part in message_of_command(*wrong, "--output", str(tmp_path / "no"))


@pytest.mark.parametrize(
    ("path", "value", "part"),
    [
        (["metadata"], None, "/metadata"),
        (["metadata", "labels"], None, "/metadata/labels"),
        (["metadata", "labels", 1], "m1_GeV", "/metadata/labels/1"),
        (["metadata", "digests"], [], "/metadata/digests"),
        (["metadata", "digests"], {"sha1": ""}, "'sha1'"),
        (["metadata", "digests", "sha256"], 5, "/metadata/digests/sha256"),
        (["patches", 2, "metadata", "name"], 5, "/patches/2/metadata/name"),
        (["patches", 2, "metadata", "values"], {}, "/patches/2/metadata/values"),
        (["patches", 2, "metadata"], {"values": [1, 2]}, "the key 'name'"),
        (["patches", 2, "metadata", "name"], "\ud800", "surrogate"),
    ],
)
def test_a_message_names_the_faulty_part_of_a_patch_set(path, value, part, tmp_path: Path, message_of_command) -> None:
    workspace, patchset = generated()
    node = patchset
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    assert part in message_of_command(*write(tmp_path, workspace, patchset), "--output", str(tmp_path / "out"))


def test_pyhf_accepts_the_generated_patch_set() -> None:
    pyhf = pytest.importorskip("pyhf")
    workspace, patchset = generated()
    pyhf.PatchSet(patchset).verify(pyhf.Workspace(workspace))


def damaged_journals(lines: list[bytes]) -> dict[str, bytes]:
    """Journals that no scan wrote, by what is wrong with them."""
    checksum, _, text = lines[0].partition(b" ")
    entry = json.loads(text)

    def signed(new: dict) -> bytes:
        return journal.line_of(new, "KEY").strip().encode()

    return {
        "an edited digit": lines[0].replace(b'"cls_obs": 0.', b'"cls_obs": 0.9', 1),
        "a flipped bit": bytes([*lines[0][:-3], lines[0][-3] ^ 1, *lines[0][-2:]]),
        "no checksum": text,
        "checksum of another": lines[1].partition(b" ")[0] + b" " + text,
        "not UTF-8": b"\xff\xfe" + lines[0],
        "nested": b"[" * 100_000,
        "two values": checksum + b" " + text.strip() + b" " + text,
        "cut off": lines[0][:-20],
        "NaN": signed(entry | {"cls_obs": float("nan")}),
        "text": signed(entry | {"cls_obs": "0.5"}),
        "too large": signed(entry | {"cls_obs": 5.0}),
        "another shape": signed(entry | {"cls_exp": [0.5]}),
        "no name": signed({key: value for key, value in entry.items() if key != "name"}),
        "another key": signed(entry | {"more": 1}),
        "not converged but with numbers": signed(entry | {"converged": False}),
        "a list": b"[]",
    }


def test_a_damaged_line_of_the_journal_is_ignored(tmp_path: Path) -> None:
    entries = [
        {
            "name": name,
            "cls_obs": 0.25,
            "cls_exp": [0.1, 0.2, 0.3, 0.4, 0.5],
            "converged": True,
            "mu_hat": 0.0,
            "q": 1.0,
            "q_asimov": 2.0,
            "log_l": {"at_0": -1.0, "at_mu": -2.0, "at_mu_hat": -1.0},
        }
        for name in ("a", "b")
    ]
    path = tmp_path / "journal"
    lines = [journal.line_of(entry, "KEY").encode() for entry in entries]
    path.write_bytes(b"".join(lines))
    assert journal.read(path, "KEY") == {entry["name"]: entry for entry in entries}
    assert journal.read(path, "another scan") == {}
    for what, line in damaged_journals(lines).items():
        path.write_bytes(line + b"\n" + lines[1])
        assert journal.read(path, "KEY").keys() == {"b"}, what


@pytest.mark.skipif(os.name == "nt", reason="no named pipes")
def test_files_that_would_never_end_are_refused(tmp_path: Path, message_of_command) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    assert "a pipe" in message_of_command("--workspace", str(tmp_path / "pipe.json"))
    with pytest.raises(WorkshopError, match="a named pipe, not a file"):
        journal.read(tmp_path / "pipe.json", "KEY")


def test_a_gz_bomb_is_refused(tmp_path: Path, message_of_command, monkeypatch) -> None:
    monkeypatch.setattr(workspace_module, "SMALL_FILE", 1 << 20)
    (tmp_path / "bomb.json.gz").write_bytes(gzip.compress(b"[" + b"0," * (1 << 20) + b"0]"))
    assert "times its size" in message_of_command("--workspace", str(tmp_path / "bomb.json.gz"))


def test_copies_that_double_are_refused(tmp_path: Path, message_of_command, monkeypatch) -> None:
    monkeypatch.setattr(workspace_module, "MOST_COPIED", 100_000)
    workspace, patchset = generated()
    copying = {"op": "copy", "from": "/channels", "path": "/channels/-"}
    patchset["patches"][0]["patch"] = [copying] * 60
    text = message_of_command(*write(tmp_path, workspace, patchset), "--output", str(tmp_path / "out"))
    assert "copy more than" in text


@pytest.mark.parametrize("digits", [99, 300])
def test_long_integers_are_read_or_refused(digits: int, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("histfactory.minimise.saddle_free.NEWTON_STEPS", 3)
    workspace, patchset = generated()
    patchset["patches"] = patchset["patches"][:1]
    workspace["channels"][0]["samples"][0]["data"][3] = 10**digits
    patchset["metadata"]["digests"] = {"sha256": digest(workspace)}
    words = [*write(tmp_path, workspace, patchset), "--output", str(tmp_path / "out")]
    if digits > 100:
        with pytest.raises(HistFactoryError, match="1e100"):
            command.main(words)
    else:
        assert command.main(words) == 0


def test_dollars_and_other_scripts_in_names_and_labels(tmp_path: Path) -> None:
    workspace, patchset = generated()
    patchset["patches"] = patchset["patches"][:20]
    patchset["metadata"]["labels"] = ["$m_1", "\u4e00\x1b[2J $\\frac{"]
    patchset["patches"][0]["metadata"]["name"] = "$\\undefined{"
    words = write(tmp_path, workspace, patchset)
    (tmp_path / "w$^.json").write_text(json.dumps(workspace))
    document = run(tmp_path, "--workspace", str(tmp_path / "w$^.json"), *words[2:])
    assert document["labels"] == patchset["metadata"]["labels"] and (tmp_path / "out" / "contour.png").exists()


def test_a_missing_network_gives_one_message(tmp_path: Path, monkeypatch) -> None:
    requests = pytest.importorskip("requests")

    def offline(*words, **options):
        raise requests.exceptions.ConnectionError("Name or service not known")

    monkeypatch.setenv("WORKSHOP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(requests, "get", offline)
    with pytest.raises(WorkshopError) as error:
        command.main(["--likelihood", "1Lbb", "--output", str(tmp_path / "out")])
    assert "from the network" in error.value.expected and "Name or service not known" in error.value.found
    assert not (tmp_path / "out").exists()


@pytest.fixture
def server(tmp_path: Path):
    """A folder that is served over HTTP, and its address."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()
        thread.join()


def test_a_published_likelihood_is_downloaded_once_and_checked(tmp_path: Path, monkeypatch, server) -> None:
    pytest.importorskip("pooch")
    served, address = server
    workspace, patchset = generated()
    with tarfile.open(served / "archive", "w:gz") as tar:
        for name, document in (("BkgOnly.json", workspace), ("patchset.json", patchset), ("README", "not needed")):
            content = json.dumps(document).encode()
            member = tarfile.TarInfo(f"folder/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    likelihood = published.Likelihood(
        (f"{address}/gone", f"{address}/archive"),
        "BkgOnly.json",
        "patchset.json",
        digest(workspace),
        published.digest_of_patches(patchset),
    )
    monkeypatch.setitem(published.LIKELIHOODS, "1Lbb", likelihood)
    monkeypatch.setenv("WORKSHOP_CACHE", str(tmp_path / "cache"))
    words = ["--likelihood", "1Lbb", "--only", "signal_500_*"]
    first = run(tmp_path, *words, output="first")
    assert sorted(path.name for path in (tmp_path / "cache" / "1Lbb").iterdir()) == [
        "BkgOnly.json",
        "archive.tar.gz",
        "patchset.json",
    ]
    (served / "archive").unlink()
    assert run(tmp_path, *words, output="second") == first
    other = dataclasses.replace(likelihood, patches_sha256="0" * 64)
    monkeypatch.setitem(published.LIKELIHOODS, "1Lbb", other)
    copies = {path: path.read_bytes() for path in (tmp_path / "cache" / "1Lbb").iterdir()}
    with pytest.raises(WorkshopError, match="the published patch set"):
        command.main([*words, "--output", str(tmp_path / "third")])
    for path, content in copies.items():
        path.write_bytes(content)
    other = dataclasses.replace(likelihood, sha256="0" * 64)
    monkeypatch.setitem(published.LIKELIHOODS, "1Lbb", other)
    with pytest.raises(WorkshopError, match="the published workspace"):
        command.main([*words, "--output", str(tmp_path / "third")])
    assert list((tmp_path / "cache" / "1Lbb").iterdir()) == []


def test_the_digest_of_patches_covers_every_number_but_no_description() -> None:
    patchset = generated()[1]
    pinned = published.digest_of_patches(patchset)
    patchset["metadata"]["description"] = "another"
    assert published.digest_of_patches(patchset) == pinned
    patchset["patches"][7]["patch"][0]["value"]["data"][2] += 1e-9
    assert published.digest_of_patches(patchset) != pinned
    assert published.digest_of_patches([]) != pinned


@pytest.mark.slow
def test_the_pinned_patch_set_is_the_one_of_the_tests() -> None:
    path = SHARED / "patchset.json.gz"
    if not path.exists():
        pytest.skip("the published likelihood is not here")
    assert published.digest_of_patches(read_json(path)) == published.LIKELIHOODS["1Lbb"].patches_sha256


def test_an_invalid_archive_is_removed(tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "cache" / "1Lbb"
    folder.mkdir(parents=True)
    (folder / "archive.tar.gz").write_text("a landing page")
    monkeypatch.setenv("WORKSHOP_CACHE", str(tmp_path / "cache"))
    with pytest.raises(WorkshopError, match="a tar archive"):
        command.main(["--likelihood", "1Lbb", "--output", str(tmp_path / "out")])
    assert list(folder.iterdir()) == []


def test_the_scan_uses_the_common_cache(monkeypatch, message_of_command) -> None:
    monkeypatch.setenv("WORKSHOP_CACHE", "~nobody-of-this-name/cache")
    assert "WORKSHOP_CACHE" in message_of_command("--likelihood", "1Lbb")


def test_the_command_line_in_the_record_can_be_repeated(tmp_path: Path, variables) -> None:
    words = [sys.executable, "-m", "workshop", "scan", "--only", "signal_500_*", "--output"]
    subprocess.run([*words, tmp_path / "first"], check=True, env=variables, cwd=ROOT, capture_output=True)
    argv = json.loads((tmp_path / "first" / "run.json").read_text())["argv"]
    assert argv[1:2] == ["scan"]
    again = [sys.executable, *argv[:-1], tmp_path / "second"]
    subprocess.run(again, check=True, env=variables, cwd=ROOT, capture_output=True)
    first, second = ((tmp_path / name / "limits.json").read_bytes() for name in ("first", "second"))
    assert first == second


def test_contour_of_a_counting_experiment_by_hand(tmp_path: Path) -> None:
    """If the observation equals the background, the expected limit is where Phi(-a) = 0.025, with a = sqrt(q_A) in closed form."""
    from scipy.optimize import brentq
    from scipy.stats import norm

    background = 100.0
    yields, heights = np.linspace(5, 45, 81), np.linspace(0, 1, 3)
    factor = {"name": "mu", "type": "normfactor", "data": None}
    workspace = {
        "channels": [{"name": "c", "samples": [{"name": "b", "data": [background], "modifiers": []}]}],
        "observations": [{"name": "c", "data": [background]}],
        "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": []}}],
        "version": "1.0.0",
    }
    patches = []
    for s in yields:
        for y in heights:
            value = {"name": "s", "data": [float(s)], "modifiers": [factor]}
            patch = [{"op": "add", "path": "/channels/0/samples/-", "value": value}]
            patches.append({"metadata": {"name": f"{s}_{y}", "values": [float(s), float(y)]}, "patch": patch})
    digests = {"sha256": digest(workspace)}
    metadata = {"labels": ["s", "y"], "digests": digests, "description": "", "references": {}}
    patchset = {"metadata": metadata, "patches": patches, "version": "1.0.0"}
    entries = run(tmp_path, *write(tmp_path, workspace, patchset))["hypotheses"]
    x, y = np.array([[e["labels"]["s"], e["labels"]["y"]] for e in entries]).T
    median = np.array([e["cls_exp"][2] for e in entries])

    def by_hand(s: float) -> float:
        root = np.sqrt(2 * (s - background * np.log1p(s / background)))
        return 2 * norm.sf(root) - contour.LEVEL

    points = np.concatenate(contour.crossing(contour.triangulate(x, y), median))
    # Linear interpolation over half a unit of yield: the curvature of CLs causes an error below 1e-2.
    np.testing.assert_allclose(points[:, 0], brentq(by_hand, 5, 45), atol=1e-2)
