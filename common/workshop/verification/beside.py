"""`workshop compare A B`: two runs side by side."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from workshop.support.report import print_lines
from workshop.verification import received
from workshop.verification.comparing import comparison, drawing
from workshop.verification.comparing.row import Row
from workshop.verification.verify import short


def main(a: str, b: str, figure: str | None, as_json: bool) -> int:
    """Print metrics, outputs and everything else that differs between two runs. Exit code 0: the same outputs; 1: others.

    figure: the file for their figures, side by side.
    """
    with ExitStack() as stack:
        first, second = (received.read(stack.enter_context(received.opened(Path(path)))) for path in (a, b))
        outputs, metrics = comparison.outputs(first, second), comparison.metrics(first, second)
        differences = comparison.differences(first, second)
        if figure:
            drawing.draw(Path(figure), (first.folder, second.folder), ("A", "B"))
    problems = [f"{path}: {problem}" for path, run in ((a, first), (b, second)) for problem in run.problems]
    same = all(row.same for row in outputs) and not problems
    if as_json:
        tables = {"outputs": outputs, "metrics": metrics, "differences": differences}
        rows = {name: [asdict(row) for row in table] for name, table in tables.items()}
        print(json.dumps({"same_outputs": same, "problems": problems, **rows}, indent=2, ensure_ascii=False))
        return 0 if same else 1
    lines = [f"A: {a}", f"B: {b}", *(f"  fail {problem}" for problem in problems)]
    for row in (*outputs, *metrics):
        state = {True: "ok", False: "fail", None: "note"}[row.same]
        lines.append(f"  {state:5}{row.name}: {_both(row)}")
    lines += ["Besides, these differ:"] if differences else ["Nothing else differs."]
    lines += [f"  {row.name}: {_both(row)}" for row in differences]
    lines += [f"Their figures, and what differs between them: {figure}"] if figure else []
    print_lines(lines)
    return 0 if same else 1


def _both(row: Row) -> str:
    return f"{short(row.recorded)} | {short(row.here)}" + (f"; {row.note}" if row.note else "")
