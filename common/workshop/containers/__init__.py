"""Dockerfiles and Apptainer definitions, read as BuildKit reads them; images, built and run.

dockerfile.py, shellwords.py    the two parsers: instructions and stages; the words of a shell command
images.py, apptainer.py         what a Dockerfile or a definition makes: stages, install step, activation
findings.py, content.py, last_stage.py    the rules, each by name
check.py, engine.py             `container-check`; `container-build`, `-run` and `-test`
"""
