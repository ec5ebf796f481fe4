"""`workshop reproduce-readme`: commands run once, and old figures are compared with new ones."""

import json
import sys

import pytest
from conftest import ROOT, module_of

from workshop import cli
from workshop.errors import WorkshopError
from workshop.verification import figures

SCRIPT = """import json, sys
open("count", "a").write("x")
json.dump({"rows": [{"name": "a", "s": 2.2}, {"name": "b", "s": float(sys.argv[1])}]}, open(sys.argv[2], "w"))
"""
TOLERANCE = {"relative": 0.5, "reason": "a reason"}


@pytest.fixture
def document(tmp_path):
    """The figures of a script that writes 2.2 and its first argument."""
    (tmp_path / "measure.py").write_text(SCRIPT)
    (tmp_path / "print.py").write_text("print(4)")
    recorded = {"machine": {"cpu": "another"}, "rows": [{"name": "a", "s": 2.0}, {"name": "b", "s": 2.0}]}
    (tmp_path / "recorded.json").write_text(json.dumps(recorded))

    def figure(name, row, **more):
        key = ["rows", {"name": row}, "s"]
        return {
            "name": name,
            "page": "README.md",
            "command": "measure",
            "text": "{:.1f} s",
            "value": 2.0,
            "key": key,
        } | more

    return {
        "commands": {
            "measure": {
                "command": "python measure.py $(python print.py) {output}",
                "file": "recorded.json",
                "minutes": 1,
            },
            "broken": {"command": "python absent.py {output}", "file": "recorded.json", "minutes": 1},
            "gpu": {"command": "python absent.py {output}", "file": "recorded.json", "minutes": 1, "needs": "gpu"},
        },
        "figures": [
            figure("near", "a", tolerance=TOLERANCE),
            figure("far", "b", tolerance=TOLERANCE),
            figure("of the processor", "b", tolerance=TOLERANCE, of_processor=True),
            figure("absent", "c", tolerance=TOLERANCE),
            figure("broken", "a", tolerance=TOLERANCE, command="broken"),
            figure("gpu", "a", tolerance=TOLERANCE, command="gpu"),
        ],
    }


def test_old_against_new(document, tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "nvidia_smi", dict)
    rows = {row.name: row for row in figures.reproduce(tmp_path, document, document["figures"])}
    assert (rows["near"].recorded, rows["near"].here, rows["near"].state) == ("2.0 s", "2.2 s", "ok")
    assert rows["near"].note == "differs by 10%, tolerance 50%: a reason"
    assert (rows["far"].here, rows["far"].state) == ("4.0 s", "fail")
    assert rows["of the processor"].state == "note" and "measured on another" in rows["of the processor"].note
    assert rows["absent"].state == "note" and rows["absent"].here is None
    assert rows["broken"].state == "fail" and "absent.py" in rows["broken"].note
    assert rows["gpu"].state == "skip" and "no" in rows["gpu"].note
    assert (tmp_path / "count").read_text() == "x"  # once for all figures


def test_some_figures_only(document):
    assert [f["name"] for f in figures.chosen(document, ["far"])] == ["far"]
    assert len(figures.chosen(document, ["measure"])) == 4 and len(figures.chosen(document, [])) == 6
    with pytest.raises(WorkshopError, match="did you mean measure"):
        figures.chosen(document, ["mesure"])


def test_the_list_names_each_command(capsys):
    assert cli.main(["reproduce-readme", "--list"]) == 0
    printed = capsys.readouterr().out
    for name, command in json.loads((ROOT / figures.RESULTS).read_text())["commands"].items():
        assert f"{name}: {command['command']}" in printed
        script = command["command"].split()[1]
        assert (ROOT / script).is_file()


def test_each_figure_has_a_tolerance_with_a_reason():
    document = json.loads((ROOT / figures.RESULTS).read_text())
    names = [figure["name"] for figure in document["figures"]]
    assert len(set(names)) == len(names)
    for figure in document["figures"]:
        assert 0 < figure["tolerance"]["relative"] <= 1 and len(figure["tolerance"]["reason"]) > 20, figure["name"]


def test_the_ways_to_move_an_environment(tmp_path, monkeypatch):
    """A file with two names counts once, and a machine without any of the programs states what it lacks."""
    moving = module_of(ROOT / "benchmarks/moving.py")
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside/one").write_bytes(b"x" * 5000)
    whole = moving.used(tmp_path)["bytes"]
    (tmp_path / "two").hardlink_to(tmp_path / "inside/one")
    assert whole >= 5000 and moving.used(tmp_path) == {"bytes": whole, "files": 3}
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    for name, reason in {
        "Python alone": "not in a virtual environment",
        "pixi-pack": "installs nothing",
        "image": "docker: not on the PATH",
        "Apptainer": "apptainer is not on the PATH",
    }.items():
        row = moving.measure(name, short=True)
        assert reason in row["cannot_tell"] and "cannot tell here" in moving.printed(row)
