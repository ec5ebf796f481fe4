"""`workshop doctor`: is this machine ready for the tutorial? Run it before, and paste the report into an e-mail.

Each line names what was looked at and what is there: `ok`; `note`, missing or different, while the tutorial works all
the same; `fail`, it stands in the way; `skip`, it could not be looked at. Exit code 0 where one of the two routes is
open (the environment `cpu` with Pixi, or Python alone), else 1. No line names a user, a host or a path of this machine;
the servers that are named are those of the manifest. It works with nothing but Python, too, and then reports what it
could not look at. It takes at most ten seconds, even when a server or a driver does not answer.

doctor.py          the command: it looks at everything at once, with a deadline
row.py             one line of the report
checkout.py        the workshop's own manifests and lock
machine.py         this machine as Pixi sees it
tools.py           Pixi, git, Python
network.py         servers
environments.py    the disk, and which environments run here
judgement.py       which route is open, and what to type next
printing.py        the report for people and for machines
"""

from workshop.doctor.doctor import main

__all__ = ["main"]
