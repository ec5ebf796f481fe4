"""Mutate a module of the checker and see which mutants no test notices, with Cosmic Ray (of PyPI).

    pip install cosmic-ray==8.7.0
    python tests/mutations/mutate.py exercise-2-pytorch-cu12/checks.py --lines 1-130
    python tests/mutations/mutate.py common/workshop/jobs/slurm_rules.py --sample 40

A mutant is one small change of the source: another comparison or constant, `and` for `or`, an inverted condition, a
deleted break. It is killed if one of the module's tests fails, or if a broken solution gets another result. SURVIVORS.md
in this folder explains how to judge a mutant that survives. Replaced sums and products are left out: nearly all of them
join texts, so that the mutant raises a TypeError at once.

It works on a clone of what is committed, so it does not touch the checkout. A mutant takes as long as its tests: some
seconds where no script is run, up to a minute elsewhere.
"""

import argparse
import re
import shlex
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
LEFT_OUT = "core/ReplaceBinaryOperator"
# The tests of a module: the broken and the other correct solutions, and of the exercise's own tests those that train
# nothing.
QUICK = {
    1: "pixi_writes or commands_write or without_its_script or two_builds or one_environment or no_version_meets",
    2: "pixi_writes or pixis_commands or without_torch or command_line or newer_cuda",
    3: "pixi_locks or pixis_own or elsewhere or without_jax or old_platform or is_exercise_2",
    4: "pixis_own or both_sources or index_for",
}
OF_CONTAINERS = "tests/containers/test_container_check.py tests/checking/test_solutions.py tests/checking/test_mutations.py -k 'container or 5- or 5.'"
OF_JOBS = "tests/jobs/test_jobs.py tests/checking/test_solutions.py tests/checking/test_mutations.py -m '' -k 'jobs or 5- or 5.'"


def tests_of(module: str) -> str:
    """pytest's words for a module, by its path in the repository."""
    if found := re.match(r"exercise-([1-4])-", module):
        n = found[1]
        files = (
            f"tests/checking/test_solutions.py tests/checking/test_mutations.py tests/exercises/test_exercise_{n}.py"
        )
        return f"{files} -k '{n}- or {n}] or ({n}. and solutions) or {QUICK[int(n)]}'"
    return OF_JOBS if "jobs" in module or "rehearsal" in module else OF_CONTAINERS


def limited(session: Path, lines: str | None, sample: int | None) -> int:
    """Remove the mutants that are not to be tried from the session; returns how many are left."""
    first, last = map(int, (lines or "1-1000000").split("-"))
    with sqlite3.connect(session) as database:
        rows = database.execute(
            "select job_id, operator_name, start_pos_row from mutation_specs order by rowid"
        ).fetchall()
        kept = [job for job, operator, row in rows if first <= row <= last and not operator.startswith(LEFT_OUT)]
        if sample is not None and sample < len(kept):
            kept = sorted(np.random.default_rng(0).choice(kept, sample, replace=False).tolist())
        for job in {job for job, _, _ in rows} - set(kept):
            for table in ("mutation_specs", "work_items", "work_results"):
                database.execute(f"delete from {table} where job_id = ?", (job,))
    return len(kept)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("module", help="as in exercise-2-pytorch-cu12/checks.py")
    parser.add_argument("--lines", metavar="A-B", help="only mutants of these lines")
    parser.add_argument("--sample", type=int, metavar="N", help="this many mutants, drawn at random")
    parser.add_argument(
        "--folder", type=Path, help="the folder to work in; name it again to continue after Ctrl-C (default: a new one)"
    )
    args = parser.parse_args()
    if not (ROOT / args.module).is_file():
        parser.error(f"no {args.module} in {ROOT}")
    folder = args.folder or Path(tempfile.mkdtemp(prefix="workshop-mutants-"))
    clone, session, config = folder / "clone", folder / "session.sqlite", folder / "cosmic-ray.toml"
    if not clone.exists():
        subprocess.run(["git", "clone", "-q", ROOT, clone], check=True)
    python = shlex.quote(sys.executable)
    command = f"env PYTHONPATH=common PYTHONDONTWRITEBYTECODE=1 {python} -m pytest -q -x -n0 -p no:cacheprovider {tests_of(args.module)}"
    config.write_text(
        f"[cosmic-ray]\nmodule-path = '{args.module}'\ntimeout = 300.0\nexcluded-modules = []\n"
        f'test-command = "{command}"\n[cosmic-ray.distributor]\nname = "local"\n'
    )
    if not session.exists():
        subprocess.run(["cosmic-ray", "init", config, session], cwd=clone, check=True)
        print(f"{limited(session, args.lines, args.sample)} mutants of {args.module}, in {folder}", flush=True)
        subprocess.run(shlex.split(command), cwd=clone, check=True, stdout=subprocess.DEVNULL)  # unchanged, it passes
    subprocess.run(["git", "-C", clone, "checkout", "-q", "--", "."], check=True)  # a mutant that Ctrl-C left there
    subprocess.run(["cosmic-ray", "exec", config, session], cwd=clone, check=True)
    with sqlite3.connect(session) as database:
        counts = dict(database.execute("select test_outcome, count(*) from work_results group by 1").fetchall())
        left = database.execute(
            "select s.operator_name, s.start_pos_row, r.diff from mutation_specs s join work_results r using (job_id) "
            "where r.test_outcome = 'SURVIVED' order by 2"
        ).fetchall()
    print(", ".join(f"{count} {outcome.lower()}" for outcome, count in sorted(counts.items())))
    for operator, row, difference in left:
        changed = [line for line in difference.splitlines() if re.match(r"[+-](?![+-]{2} )", line)]
        print(f"\nline {row}, {operator.removeprefix('core/')}", *changed, sep="\n  ")
    return 0


if __name__ == "__main__":
    sys.exit(main())
