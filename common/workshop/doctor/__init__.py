"""`workshop doctor`: is this machine ready? It needs nothing but Python, and takes ten seconds at most.

doctor.py    the report and its exit code
machine.py   this machine as Pixi sees it; network.py: servers, asked with a deadline
"""

from workshop.doctor.doctor import main

__all__ = ["main"]
