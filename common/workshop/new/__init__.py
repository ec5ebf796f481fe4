"""`workshop new DIR --from N`: an exercise as a project of its own, which needs nothing from this repository.

command.py    the command: what it refuses, and the folder, complete or not at all
recipe.py     what an exercise contributes (`[new]` in its exercise.toml), and the names of the project
modules.py    the modules of common/ that the scripts import, found by following the imports
wording.py    the words that change: names everywhere, and sentences about the tutorial in single files
workspace.py  pixi.toml, pixi.lock and requirements.txt
files.py      every file of the project, by its path
templates/    README.md, the tests and git's settings of a project, and jobs for a script that does not train

Scripts and modules are copied as they are in the repository, so that a project contains the code that its tests test.
"""
