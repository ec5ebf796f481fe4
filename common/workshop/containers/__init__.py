"""Checks for Dockerfiles and Apptainer definitions, and the commands that build, run and test an image.

dockerfile.py, shellwords.py    parsers: instructions and stages; the commands in a shell script
apptainer.py                    parser: the stages and sections of an Apptainer definition
images.py                       the image that a Dockerfile describes: its stages, its install step, its environment
build_rules.py, last_stage_rules.py, content_rules.py, definition_rules.py    the rules (workshop.support.rules)
check.py, engine.py, image_checks.py  the commands: `container-check`; `container-build` and `-run`; `container-test`

`load_image` reads a Dockerfile and `read_definition` a definition. Each `..._findings` function applies some rules.
"""

from workshop.containers.apptainer import find_install, gpu_environment
from workshop.containers.apptainer import read as read_definition
from workshop.containers.build_rules import base_findings, lock_findings
from workshop.containers.check import RULES, check_file, is_container_file, is_definition
from workshop.containers.content_rules import content_findings, python_path_findings, record_findings
from workshop.containers.definition_rules import conversion_findings, definition_findings
from workshop.containers.images import Image, environment_argument, load_image
from workshop.containers.last_stage_rules import activation_findings, last_stage_findings
from workshop.support.rules import Finding

__all__ = [
    "RULES",
    "Finding",
    "Image",
    "activation_findings",
    "base_findings",
    "content_findings",
    "conversion_findings",
    "definition_findings",
    "environment_argument",
    "gpu_environment",
    "find_install",
    "is_container_file",
    "is_definition",
    "last_stage_findings",
    "load_image",
    "lock_findings",
    "check_file",
    "python_path_findings",
    "read_definition",
    "record_findings",
]
