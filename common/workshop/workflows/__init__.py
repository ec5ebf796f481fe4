"""Checks for a GitHub workflow that tests a workspace, builds its image and publishes it, without asking GitHub.

workflow.py   parser: the jobs of a workflow, their steps, and what a step does
rules.py      the rules of checks 5.7 to 5.9 (workshop.support.rules)
linters.py    the findings of zizmor and actionlint, where they are installed
"""

from workshop.workflows.linters import linter_findings
from workshop.workflows.rules import ORDER_RULES, PUBLISH_RULES, RIGHTS_RULES
from workshop.workflows.workflow import Workflow, find_workflow, read_workflow

__all__ = [
    "ORDER_RULES",
    "PUBLISH_RULES",
    "RIGHTS_RULES",
    "Workflow",
    "find_workflow",
    "linter_findings",
    "read_workflow",
]
