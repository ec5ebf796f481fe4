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

from histfactory import HistFactoryError, digest, inference, minimise
from workshop import cli
from workshop.errors import WorkshopError
from workshop.runs import search
from workshop.runs.search import contour
from workshop.scan import command, fitting, published

pytest.importorskip("jsonpatch")
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
    real = fitting.fit_chunk

    def broken(*words):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(words)
        return real(*words)

    monkeypatch.setattr(fitting, "fit_chunk", broken)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, output="c")
    assert not (tmp_path / "c").exists() and list(tmp_path.glob(".scan-*.jsonl"))
    monkeypatch.setattr(fitting, "fit_chunk", real)
    assert run(tmp_path, output="c") == first
    assert not list(tmp_path.glob(".scan-*.jsonl"))


def die_once(which: int, members: list[int], mu: float) -> list[dict]:
    marker = Path(os.environ["DIE_ONCE"])
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return REAL(which, members, mu)


REAL = fitting.fit_chunk


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_a_killed_worker_loses_nothing(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("DIE_ONCE", str(tmp_path / "died"))
    monkeypatch.setattr(fitting, "fit_chunk", die_once)
    document = run(tmp_path, "--workers", "2", "--only", "signal_4*")
    assert "chunks again" in capsys.readouterr().err
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
    ],
)
def test_bad_options(words: list[str], part: str, tmp_path: Path, message_of_command) -> None:
    assert part in message_of_command(*words, "--output", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


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
    monkeypatch.setattr(minimise, "MAX_STEPS", 2)
    monkeypatch.setattr(minimise, "NEWTON_STEPS", 0)
    document = run(tmp_path, "--only", "signal_500_*")
    jsonschema.validate(document, json.loads(SCHEMA.read_text()))
    lost = [e for e in document["hypotheses"] if not e["converged"]]
    assert lost and all(e["cls_obs"] is None and e["cls_exp"] is None for e in lost)
    printed = capsys.readouterr().err
    assert all(f"not converged, no number given: {e['name']}" in printed for e in lost)


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
        (f"{address}/gone", f"{address}/archive"), "BkgOnly.json", "patchset.json", digest(workspace)
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
    other = dataclasses.replace(likelihood, sha256="0" * 64)
    monkeypatch.setitem(published.LIKELIHOODS, "1Lbb", other)
    with pytest.raises(WorkshopError, match="the published workspace"):
        command.main([*words, "--output", str(tmp_path / "third")])
    assert list((tmp_path / "cache" / "1Lbb").iterdir()) == []


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
