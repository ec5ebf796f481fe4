"""The tutorial's own package.

    runs/         what an exercise's script imports: data, device, one run = one folder, checkpoints, figures
    checking/     check, hint, progress, watch, reset, diff, check-all
    containers/   Dockerfiles and Apptainer definitions read; images built and run
    jobs/         Slurm and HTCondor: job files read, rehearsed, submitted
    doctor/       is this machine ready?
    scan/         exercise 1's command: CLs for any pyhf workspace
    support/      small modules that several packages use
    cli.py        the command `workshop`; errors.py its messages; exercises.py the exercises; shell.py commands to type;
                  workspaces.py `lock-check`, `environments` and `lock-slice`

A workspace's manifest and lock are read by `pixi_workspace`, likelihoods are fitted by `histfactory`; both lie beside
this package and import nothing from it.
"""

__version__ = "0.2.0"
