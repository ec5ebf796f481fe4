"""Imports go one way, and no package is a heap: the structure that README.md describes, read off the code."""

import ast
import functools
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]  # not from conftest.py: the hook that runs this file has pytest alone
COMMON = ROOT / "common"
FILES = {
    p: ".".join(p.relative_to(COMMON).with_suffix("").parts).removesuffix(".__init__") for p in COMMON.rglob("*.py")
}
MODULES = set(FILES.values())
# What each package may import besides itself. Small modules at the top of `workshop` are `workshop`.
MAY_IMPORT = {
    "pixi_workspace": set(),
    "histfactory": set(),
    "workshop": {"workshop.support"},
    "workshop.support": {"workshop"},
    "workshop.runs": {"workshop", "workshop.support", "histfactory"},
    "workshop.scan": {"workshop", "workshop.support", "workshop.runs", "histfactory"},
    "workshop.checking": {"workshop", "workshop.support", "workshop.runs", "workshop.containers", "pixi_workspace"},
    "workshop.containers": {"workshop", "workshop.support", "pixi_workspace"},
    "workshop.audit": {"workshop", "workshop.support", "workshop.containers", "pixi_workspace"},
    "workshop.verification": {"workshop", "workshop.support", "workshop.runs"},
    "workshop.jobs": {"workshop", "workshop.support"},
    "workshop.packages": {"workshop", "workshop.support", "pixi_workspace"},
    "workshop.workflows": {"workshop", "workshop.support"},
    "workshop.doctor": {"workshop", "workshop.support", "pixi_workspace"},
    "workshop.new": {"workshop", "workshop.support", "pixi_workspace"},  # it copies modules, and imports none of them
}
COMMANDS = {"workshop.cli", "workshop.__main__", "workshop.workspaces"}  # they may use everything


def statements(node):
    """The statements inside a module or a statement, at any depth."""
    for part in ("body", "orelse", "handlers", "finalbody", "cases"):
        for inner in getattr(node, part, ()):
            yield inner
            yield from statements(inner)


def imports(path, module):
    """The modules of `common/` that a file imports, wherever in it."""
    found = set()
    for node in statements(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in MODULES else node.module)
    return {name for name in found if name in MODULES and name != module}


def package_of(module):
    parts = module.split(".")
    return ".".join(parts[:2]) if ".".join(parts[:2]) in MAY_IMPORT else parts[0]


@functools.cache
def arrows():
    """What each module imports."""
    return {module: imports(path, module) for path, module in FILES.items()}


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_go_one_way(package):
    allowed = MAY_IMPORT[package] | {package}
    for module, targets in arrows().items():
        if package_of(module) == package and module not in COMMANDS:
            wrong = {target for target in targets if package_of(target) not in allowed}
            assert not wrong, f"{module} imports {', '.join(sorted(wrong))}"


def test_no_import_goes_round_in_a_circle():
    @functools.cache
    def longest(module, above=()):
        assert module not in above, " -> ".join([*above, module])
        return 1 + max(
            (longest(target, (*above, module)) for target in arrows()[module] if not is_package(target)), default=0
        )

    assert max(longest(module) for module in MODULES) <= 15


def is_package(module):
    """A package's own file hands out names of its modules, which may import one another by way of it."""
    return any(path.name == "__init__.py" for path, name in FILES.items() if name == module)


@pytest.mark.parametrize(
    "folder", sorted({p.parent.relative_to(COMMON).as_posix() for p in FILES if p.parent != COMMON})
)
def test_at_most_twelve_files_at_the_top_of_a_package(folder):
    if folder.startswith("pixi_workspace"):
        pytest.skip("its files mirror Pixi's rules, one subject each")
    assert len(list((COMMON / folder).glob("*.py"))) <= 12


def test_scripts_are_short_and_import_little_of_ours():
    for name in ("1-scipy/{}/exclusion", "2-pytorch-cu12/{}/train", "3-jax-cu118/{}/train", "4-pypi-mix/{}/predict"):
        for side in ("starter", "solution"):
            text = (ROOT / f"exercise-{name.format(side)}.py").read_text(encoding="utf-8")
            ours = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.ImportFrom | ast.Import)]
            names = [getattr(n, "module", None) or n.names[0].name for n in ours]
            assert len(text.splitlines()) <= 130, name
            assert sum(n.split(".")[0] in ("workshop", "histfactory") for n in names) <= 3, name
