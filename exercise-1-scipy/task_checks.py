"""What the checks of exercise 1 require of the tasks: draw the experiment, compute the limits, draw the figure (step 1.4)."""

from pathlib import Path

from pixi_workspace.manifest import Task
from workshop.checking.checks import Result, Workspace, edit, fail
from workshop.checking.steps import calls, requirements, tasks
from workshop.checking.steps.calls import Call
from workshop.support.files import read_text
from workshop.support.text import closest_match

DRAW = "draw.py"  # draws the experiment, in a task before that of the limits
SCRIPT = "exclusion.py"
FIGURE = "figure.py"  # draws the figure, in a task after that of the limits
FIGURES = ("contour.png", "contour.svg")  # the files that figure.py writes
LOCK = "pixi.lock"  # an input of the limits


def has_task(workspace: Workspace, pairs: list[tuple[str, str]]) -> Result:
    """Whether tasks run the scripts, in this order, where you work. pairs: environments to work in and to test in."""
    work, test = ({pair[n] for pair in pairs} for n in (0, 1))

    def unsuitable(environment: str, is_default: bool) -> str | None:
        only_for_tests = environment in test - work
        return (
            f"it exists only in {environment}, and not in {', '.join(work)}, where you work" if only_for_tests else None
        )

    result = requirements.has_task_running(workspace, ("exclusion", "scan"), "1.4", unsuitable)
    return problem_with_order(workspace) or result if result.status == "ok" else result


def problem_with_order(workspace: Workspace) -> Result | None:
    """The failed result unless tasks draw the experiment, compute the limits and draw the figure, in this order.

    Scripts that a workspace does not contain need no task.
    """
    root, defined = workspace.manifest.path.parent, tasks.all_tasks(workspace.manifest)
    if not (root / DRAW).is_file():
        return None
    starts = {task.name: {started.name for started in tasks.started_by(task, root)} for task, _ in defined}

    draws = [task for task, _ in defined if Path(DRAW).stem in starts[task.name]]
    limits = [task for task, _ in defined if any(s in ("exclusion", "scan") or "{{" in s for s in starts[task.name])]
    figures = [task for task, _ in defined if Path(FIGURE).stem in starts[task.name]]
    problem = problem_with_dependency(workspace, limits, draws, DRAW)
    problem = problem or problem_with_outputs(workspace, draws, (DRAW, SCRIPT))
    if problem or not (root / FIGURE).is_file():
        return problem or problem_with_calls(workspace, chosen(limits, draws))
    if not figures:
        return fail(
            looked_at=f"{workspace.at('tasks', limits[0].name)}: the tasks",
            expected=f"a third task, which runs {FIGURE} after the limits",
            found=f"tasks that run {FIGURE}: none",
            next_step=edit(workspace, "1.4"),
        )
    return (
        problem_with_dependency(workspace, figures, limits, SCRIPT)
        or problem_with_outputs(workspace, limits, (SCRIPT, LOCK))
        or problem_with_outputs(workspace, figures, (FIGURE,), FIGURES)
        or problem_with_calls(workspace, chosen(figures, limits))
    )


def chosen(later: list[Task], earlier: list[Task]) -> Task:
    """One of the `later` tasks that depends on an `earlier` one, or is one. Of variants for systems, the one with the most keys."""
    names = {task.name for task in earlier}
    fitting = [task for task in later if task.name in names or names & set(tasks.required_tasks(task))]
    return max(fitting, key=lambda task: len(task.table))


def problem_with_calls(workspace: Workspace, last: Task) -> Result | None:
    """The failed result unless a seed for the last task reaches all others, and each reads what the one before writes."""
    defined = sorted((task for task, _ in tasks.all_tasks(workspace.manifest)), key=lambda task: len(task.table))
    by_name = {task.name: task for task in defined} | {last.name: last}
    defaults = calls.arguments_of(last)
    seeds = {name: str(90 + n) for n, name in enumerate(defaults) if str(defaults[name]).isdigit()}
    values = {name: default for name, default in defaults.items() if default is not None} | seeds
    made = list(calls.calls(last, values, by_name))
    for call in made:
        if problem := problem_with_arguments(workspace, call.task):
            return problem
    typed = " ".join(["pixi run", last.name, *(values[name] for name in defaults)])
    for call in made:
        for script in (DRAW, SCRIPT):
            options = call.options(Path(script).stem)
            if options is None:
                continue
            if not any("$" in options.get("--seed", "") or options.get("--seed") == seed for seed in seeds.values()):
                number = next(iter(seeds.values()), "{{ seed }}")
                return fail(
                    looked_at=f"{workspace.at('tasks', call.task.name)}: the task {call.task.name}, after `{typed}`",
                    expected=f"--seed {number}: every task takes the seed, and passes it on to the task before",
                    found=call.command if seeds else f"{call.command}; {last.name} has no argument for the seed",
                    next_step=edit(workspace, "1.4"),
                )
    return problem_with_defaults(workspace, last, made, by_name) or problem_with_files(workspace, made)


def problem_with_defaults(
    workspace: Workspace, last: Task, made: list[Call], by_name: dict[str, Task]
) -> Result | None:
    """The failed result unless every task that starts with an experiment draws the same one if you type no seed."""
    seeds = {}
    for name in dict.fromkeys(call.task.name for call in made):
        defaults = {key: value for key, value in calls.arguments_of(by_name[name]).items() if value is not None}
        for call in calls.calls(by_name[name], defaults, by_name):
            if options := call.options(Path(DRAW).stem):
                seeds[name] = options.get("--seed", "")
    wrong = [name for name, seed in seeds.items() if seed != seeds.get(last.name, seed)]
    if not wrong:
        return None
    return fail(
        looked_at=f"{workspace.at('tasks', wrong[0])}: the task {wrong[0]}, if you type no seed",
        expected="the same seed as in the other tasks: 20",
        found=", ".join(f"{name}: seed {seed}" for name, seed in seeds.items()),
        next_step=edit(workspace, "1.4"),
    )


def problem_with_arguments(workspace: Workspace, task: Task) -> Result | None:
    """The failed result unless a task has a description, a default for each argument, and no other name in braces."""
    names = calls.arguments_of(task)
    expected = "a description, which `pixi task list` prints"
    found = None if task.description else "no description"
    for name, default in names.items():
        if default is None:
            expected = f"a default for each argument, so that `pixi run {task.name}` works without a value"
            found = f"the argument {name} has no default"
    for name in calls.unknown_placeholders(task):
        near = closest_match(name, names)
        expected = "in {{ }} only names from the args of the task"
        found = f"{{{{ {name} }}}}; its args: {', '.join(names) or 'none'}" + (
            f"; did you mean '{near}'?" if near else ""
        )
    if found is None:
        return None
    where = f"{workspace.at('tasks', task.name)}: the task {task.name}"
    return fail(looked_at=where, expected=expected, found=found, next_step=edit(workspace, "1.4"))


def problem_with_files(workspace: Workspace, made: list[Call]) -> Result | None:
    """The failed result unless the limits read the file of the experiment, and the figure the file of the limits."""
    limits = next((call for call in made if call.options("exclusion") is not None), None)
    if limits is None:
        return None  # `workshop scan`, which takes other options
    draws = next(call for call in made if call.options(Path(DRAW).stem) is not None)
    figures = [call for call in made if call.options(Path(FIGURE).stem) is not None]
    options = limits.options("exclusion") or {}
    links = [("--experiment", DRAW, draws, draws, limits)]
    links += [("--limits", FIGURE, figure, limits, figure) for figure in figures]
    for option, script, named_in, writer, reader in links:
        file = options.get(option)
        found = None
        if file is None:
            found = f"{limits.command}: no {option}"
        elif not calls.covers(writer.files("outputs"), file):
            found = f"{option} {file}; outputs of {writer.task.name}: {', '.join(writer.files('outputs'))}"
        elif reader is not writer and not calls.covers(reader.files("inputs"), file):
            found = f"{option} {file}; inputs of {reader.task.name}: {', '.join(reader.files('inputs'))}"
        elif Path(file).name not in read_text(workspace.folder / script) + named_in.command:
            found = f"{option} {file}, a name that {script} does not use"
        if found:
            return fail(
                looked_at=f"{workspace.at('tasks', limits.task.name)}: the task {limits.task.name}",
                expected=f"{option} with one file, which {writer.task.name} writes and {reader.task.name} reads",
                found=found,
                next_step=edit(workspace, "1.4"),
            )
    return None


def problem_with_dependency(workspace: Workspace, later: list[Task], earlier: list[Task], script: str) -> Result | None:
    """The failed result unless one of the `later` tasks depends on an `earlier` one, which runs `script`, or is one."""
    names = {task.name for task in earlier}
    if any(task.name in names or names & set(tasks.required_tasks(task)) for task in later):
        return None
    task = later[0]
    return fail(
        looked_at=f"{workspace.at('tasks', task.name)}: the task {task.name}",
        expected=f"a task that runs {script}, on which this task depends",
        found=f"depends-on: {', '.join(tasks.required_tasks(task)) or 'nothing'}; "
        f"tasks that run {script}: {', '.join(sorted(names)) or 'none'}",
        next_step=edit(workspace, "1.4"),
    )


def problem_with_outputs(
    workspace: Workspace, either: list[Task], needed: tuple[str, ...] = (), written: tuple[str, ...] = ()
) -> Result | None:
    """The failed result unless one of these tasks names what it reads and writes, with the `needed` and `written` files."""
    missing: list[str] = []
    for task in either:
        inputs, outputs = Call(task, {}).files("inputs"), Call(task, {}).files("outputs")
        without = [key for key in ("inputs", "outputs") if not task.table.get(key)]
        lacks = [file for file in needed if inputs and not calls.covers(inputs, file)]
        without += [f"{file} among the inputs ({', '.join(inputs)})" for file in lacks]
        lacks = [file for file in written if outputs and not calls.covers(outputs, file)]
        without += [f"{file} among the outputs ({', '.join(outputs)})" for file in lacks]
        if not without:
            return None
        missing = missing or without
    expected = "inputs and outputs, so that Pixi skips the task if neither has changed"
    if LOCK in needed:
        expected += f"; {LOCK} is an input: with other packages, the task runs again"
    return fail(
        looked_at=f"{workspace.at('tasks', either[0].name)}: the task {either[0].name}",
        expected=expected,
        found=f"no {' and no '.join(missing)}",
        next_step=edit(workspace, "1.4"),
    )
