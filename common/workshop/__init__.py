"""The tutorial's own package.

    runs/         what an exercise's script imports: data, device, one run = one folder, checkpoints, figures
    checking/     check, hint, progress, watch, reset, diff, check-all
    containers/   reads Dockerfiles and Apptainer definitions; builds and runs images
    audit/        on which machines is a workspace reproducible?
    verification/ is a recorded run reproducible?
    jobs/         Slurm and HTCondor: reads, rehearses and submits job files
    doctor/       is this machine ready?
    new/          an exercise as a project of its own
    scan/         exercise 1's command: CLs for any pyhf workspace
    support/      small modules that several packages use
    cli.py        the command `workshop`; errors.py its messages; exercises.py the exercises; shell.py commands to type;
                  workspaces.py `lock-check`, `environments` and `lock-slice`

`pixi_workspace` reads a workspace's manifest and lock, and `histfactory` fits likelihoods. Both are next to this
package and import nothing from it.
"""

import os
import sys
from types import TracebackType

__version__ = "0.2.0"

_report = sys.excepthook


def _report_unless_interrupted(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Replaces Python's report of Ctrl-C, a traceback, by one line and exit code 130: the modules of a command may
    still be loading.
    """
    if not issubclass(kind, KeyboardInterrupt):
        _report(kind, error, trace)
        return
    print("interrupted", file=sys.stderr, flush=True)
    os._exit(130)


sys.excepthook = _report_unless_interrupted
