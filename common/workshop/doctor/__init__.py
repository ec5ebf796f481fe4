"""`workshop doctor`: is this machine ready for the tutorial? Run it in advance, and paste the report into an e-mail.

Each line of the report has a status: `ok`; `note` for something that is missing or unusual but not needed; `fail` for
something that prevents the tutorial from running; `skip` for something that could not be checked. The exit code is 0 if
one of the two routes is open (the environment `cpu` with Pixi, or Python alone), else 1. No line contains a user name,
a host name or a path of this machine; the servers in the report are those of the manifest. The command needs nothing
but Python, and reports what it could not check. It takes at most ten seconds, even when a server or a driver hangs.

doctor.py          the command: all checks run at once, with a deadline
row.py             one line of the report
checkout.py        the workshop's own manifests and lock
machine.py         this machine as Pixi sees it
tools.py           Pixi, git, Python
network.py         servers
environments.py    free disk space, and the environments that this machine can run
routes.py          which routes are open, and what to type next
printing.py        the report for people and for machines
"""

from workshop.doctor.doctor import main

__all__ = ["main"]
