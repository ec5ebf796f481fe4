"""Every file of a new project except its lock, by its path."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from workshop.new import modules, wording, workspace
from workshop.new.recipe import Names, Recipe

TEMPLATES = Path(__file__).with_name("templates")
PACKAGE = '''"""The code that the scripts of @project@ import: runs, their records, and what these need."""

__version__ = "0.1.0"
'''


def project(recipe: Recipe, names: Names) -> dict[str, bytes]:
    """The files of the project by their relative path, without pixi.lock and requirements.txt."""
    texts = {
        "pixi.toml": workspace.manifest(recipe, names),
        **{path: template(path.removeprefix(".")) for path in (".gitignore", ".gitattributes", "pytest.ini")},
        "LICENSE": (recipe.root / "LICENSE").read_text(encoding="utf-8"),
        **scripts(recipe, names),
        **package(recipe, names),
        **tests(recipe, names),
        **image(recipe, names),
        **jobs(recipe, names),
        "README.md": readme(recipe, names),
    }
    return {path: text.encode() for path, text in texts.items()}


def template(name: str) -> str:
    """The text of a file in templates/."""
    return (TEMPLATES / name).read_text(encoding="utf-8")


def scripts(recipe: Recipe, names: Names) -> dict[str, str]:
    """The scripts, and the other files of the exercise that they need."""
    return {path.name: _rewritten(path, recipe, names) for path in (*recipe.scripts, *recipe.data)}


def package(recipe: Recipe, names: Names) -> dict[str, str]:
    """The package of the project: the modules of common/ that the scripts need."""
    common = recipe.root / "common"
    found = modules.reached(recipe.scripts, common)
    files = {}
    for path in (*found.values(), *modules.data_files(found)):
        text = _rewritten(path, recipe, names)
        if path.name == "__init__.py":
            text = wording.without_missing_modules(text, set(found), ".".join(path.relative_to(common).parent.parts))
        relative = path.relative_to(common).as_posix()
        inside = relative.removeprefix("workshop/")  # histfactory/ becomes a part of the package
        files[f"{names.package}/{inside}"] = text
    return files | {f"{names.package}/__init__.py": wording.fill(PACKAGE, names)}


def tests(recipe: Recipe, names: Names) -> dict[str, str]:
    """The tests of the exercise, and one that runs the first script twice."""
    name = "test_training.py" if trains(recipe) else "test_script.py"
    copied = {f"tests/{path.name}": _rewritten(path, recipe, names) for path in recipe.tests}
    return copied | {f"tests/{name}": template(name).replace("SCRIPT_NAME", recipe.scripts[0].name)}


def image(recipe: Recipe, names: Names) -> dict[str, str]:
    """Dockerfile, Apptainer definition, and the workflow that builds and publishes the image: those of exercise 5."""
    scripts = "".join(f"!{path.name}\n" for path in recipe.scripts)
    ignored = f"# Only the files that the image needs.\n*\n!pixi.toml\n!pixi.lock\n!{names.package}\n{scripts}**/__pycache__\n"
    folder = recipe.root / wording.IMAGE_FOLDER
    places = {"Dockerfile": "Dockerfile", "apptainer.def": "apptainer.def", "image.yml": ".github/workflows/image.yml"}
    return {path: _rewritten(folder / name, recipe, names) for name, path in places.items()} | {
        ".dockerignore": ignored
    }


def jobs(recipe: Recipe, names: Names) -> dict[str, str]:
    """The jobs of Slurm and HTCondor: those of exercise 5 for a training, otherwise short ones without checkpoints."""
    folder = recipe.root / wording.IMAGE_FOLDER if trains(recipe) else TEMPLATES
    stem = stem_of(recipe)
    listed = ["array.sbatch", *(f"{stem}.{suffix}" for suffix in ("sh", "sbatch", "sub"))]
    if trains(recipe):
        listed.append("seeds.sub")
    if any(path.name == "train_distributed.py" for path in recipe.scripts):
        listed.append("multi.sbatch")
    return {f"jobs/{name}": _rewritten(folder / name, recipe, names) for name in listed}


def readme(recipe: Recipe, names: Names) -> str:
    """The README, one screen."""
    task = workspace.task_of(recipe)
    on_gpu = f"\nOn a machine with an NVIDIA GPU, type `pixi run -e {recipe.gpu} {task}`.\n" if recipe.gpu else ""
    resume = "If a training is interrupted, the same command with `--resume` continues it.\n" if trains(recipe) else ""
    has_library = "histfactory" in modules.reached(recipe.scripts, recipe.root / "common")
    values = placeholders(recipe) | {
        "@title@": recipe.exercise.settings["title"] + ".",
        "@task@": task,
        "@gpu-line@": on_gpu,
        "@resume@": resume,
        "@library@": "; `@package@/histfactory/` does the fits" if has_library else "",
        "@scripts@": ", ".join(f"`{path.name}`" for path in recipe.scripts),
    }
    return wording.fill(template("README.md"), names, values)


def trains(recipe: Recipe) -> bool:
    """Whether the first script trains a network, so that it has epochs and checkpoints."""
    return bool(re.search(r"\brun\.epochs\(", recipe.scripts[0].read_text(encoding="utf-8")))


def stem_of(recipe: Recipe) -> str:
    """The name of the jobs, without the suffix."""
    return "train" if trains(recipe) else "run"


def placeholders(recipe: Recipe) -> dict[str, str]:
    """What stands for the scripts and environments of the project in the texts of its files."""
    script, names = recipe.scripts[0], [path.name for path in recipe.scripts]
    roots = [name for name in modules.roots_at_the_top(script) if name not in ("workshop", "histfactory")]
    options = ("--data", "digits") if trains(recipe) else ()
    stem = stem_of(recipe)
    return {
        "@script@": script.name,
        "@scripts@": " ".join(names),
        "@script-list@": ", ".join(names),
        "@script-files@": "".join(f"    {name} /project/{name}\n" for name in names),
        "@imports@": ", ".join(name for name in roots if name not in sys.stdlib_module_names),
        "@command@": ", ".join(f'"{word}"' for word in (script.name, *options)),
        "@options@": "".join(f" {word}" for word in options),
        "@stem@": stem,
        "@image@": f"{stem}-{recipe.gpu}.sif" if recipe.gpu else f"{stem}.sif",
        "@build-arg@": f"--build-arg ENVIRONMENT={recipe.gpu} " if recipe.gpu else "",
        "@cpu@": recipe.cpu,
        "@gpu@": recipe.gpu,
    }


def _rewritten(path: Path, recipe: Recipe, names: Names) -> str:
    source = path.relative_to(recipe.root).as_posix()
    text = path.read_text(encoding="utf-8")
    return wording.rewrite(text, source, names, placeholders(recipe), has_gpu=bool(recipe.gpu))
