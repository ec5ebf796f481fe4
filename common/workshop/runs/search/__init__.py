"""A small search to analyse, and the two files of a result.

generate        a workspace with observed counts, and 125 signal hypotheses            (example.py)
write_experiment, read_experiment   what was drawn, as a file, so that one task can draw it and another one fit it
write_limits    limits.json (exercise-1-scipy/limits.schema.json) and its figure       (limits.py, contour.py)
draw_limits     the figure of a limits.json; draw_contour: of some of its hypotheses
SCHEMA, LEVEL   the schema's name; CLs below this level excludes a hypothesis
CLS_TOLERANCE   how much CLs may differ in a rerun on another machine, with its reason in CLS_REASON
"""

from workshop.runs.search.contour import LEVEL
from workshop.runs.search.example import generate, read_experiment, write_experiment
from workshop.runs.search.limits import CLS_REASON, CLS_TOLERANCE, SCHEMA, draw_contour, draw_limits, write_limits

__all__ = [
    "CLS_REASON",
    "CLS_TOLERANCE",
    "LEVEL",
    "SCHEMA",
    "draw_contour",
    "draw_limits",
    "generate",
    "read_experiment",
    "write_experiment",
    "write_limits",
]
