"""Exercise 5: mistakes in the jobs of Slurm."""

GPU_LINE = "#SBATCH --gres=gpu:1\n"
TRAP = "trap 'signal_received=yes; kill \"$training\" 2>/dev/null || true' USR1\n"
RESUME = 'if [ -e "$RUN.partial/checkpoint.safetensors" ]; then\n  command+=(--resume)\nfi\n'

# What people do, the check that has to notice it first, and words that its answer must contain.
MISTAKES = {
    "a misspelt option": ("5.10", "--memm", [("train.sbatch", "--mem=4G", "--memm=4G")]),
    "a short option without its value": (
        "5.10",
        "--cpus-per-task",
        [("train.sbatch", "#SBATCH --mem=4G", "#SBATCH --mem=4G -c")],
    ),
    "options below the first command": (
        "5.10",
        "set -euo pipefail",
        [("train.sbatch", GPU_LINE, ""), ("train.sbatch", "set -euo pipefail\n", "set -euo pipefail\n" + GPU_LINE)],
    ),
    "an option in a comment": (
        "5.10",
        "# SBATCH --gres=gpu:1",
        [("train.sbatch", GPU_LINE, "# SBATCH --gres=gpu:1\n")],
    ),
    "no interpreter": ("5.10", "# Exercise 5", [("train.sbatch", "#!/usr/bin/env bash\n", "")]),
    "Windows line endings": ("5.10", "Windows line endings", [("train.sbatch", "\n", "\r\n")]),
    "no GPU requested": ("5.10", "none requested (gpu)", [("train.sbatch", GPU_LINE, "")]),
    "zero GPUs requested": ("5.10", "gpu:0 (gpu)", [("train.sbatch", "gpu:1", "gpu:0")]),
    "no time limit": (
        "5.10",
        "none, so the site's default applies",
        [("train.sbatch", "#SBATCH --time=00:30:00\n", "")],
    ),
    "an invalid time": ("5.10", "half-an-hour", [("train.sbatch", "00:30:00", "half-an-hour")]),
    "a space in a time": ("5.10", "--time=30 min", [("train.sbatch", "--time=00:30:00", "--time=30 min")]),
    "a device that does not exist": (
        "5.10",
        "--device gpu, which train.py refuses",
        [("train.sh", "DEVICE:-cuda", "DEVICE:-gpu")],
    ),
    "a quote of a later step that is not closed": (
        "5.11",
        "train.sbatch: line ",
        [("train.sbatch", "|| true' USR1\n", "|| true USR1\n")],
    ),
    "a condition of a later step that is not finished": (
        "5.11",
        "train.sh: line 71: syntax error",
        [("train.sh", 'checkpoint.safetensors" ]; then', 'checkpoint.safetensors" ] then')],
    ),
    "half a minute": ("5.10", "30 seconds", [("train.sbatch", "--time=00:30:00", "--time=0:30")]),
    "one minute": ("5.10", "60 seconds", [("train.sbatch", "--time=00:30:00", "--time=00:01:00")]),
    "the option is in the script, and not passed on": (
        "5.11",
        "why the training does not get the --resume",
        [("train.sh", "  command+=(--resume)\n", "  more=--resume\n")],
    ),
    "no memory": ("5.10", "none requested (memory)", [("train.sbatch", "#SBATCH --mem=4G\n", "")]),
    "four tasks of one training": ("5.10", "--ntasks=4", [("train.sbatch", "--ntasks=1", "--ntasks=4")]),
    "a training that falls back to the CPU": ("5.10", "--device auto", [("train.sh", "DEVICE:-cuda", "DEVICE:-auto")]),
    "an image without the driver": (
        "5.10",
        "--nv, which makes the host's GPU visible",
        [("train.sh", "apptainer exec --nv", "apptainer exec")],
    ),
    "a failed training does not fail the job": ("5.10", "(failure)", [("train.sbatch", 'exit "$code"', "exit 0")]),
    "another script is run": ("5.10", "solution/main.py", [("train.sh", "solution/train.py", "solution/main.py")]),
    "a script of the training that does not exist": (
        "5.10",
        "exercise-2/solution/train.py: no such file (training)",
        [("train.sh", "exercise-2-pytorch-cu12/solution/train.py", "exercise-2/solution/train.py")],
    ),
    "no signal": ("5.11", "no --signal", [("train.sbatch", "#SBATCH --signal=B:USR1@120\n", "")]),
    "a signal that the training does not handle": (
        "5.11",
        "USR2 to the batch script",
        [
            ("train.sbatch", "B:USR1@120", "B:USR2@120"),
            ("train.sbatch", TRAP, TRAP.replace("USR1", "USR2").replace("kill ", "kill -USR2 ")),
        ],
    ),
    "a signal that scancel sends too": (
        "5.11",
        "(own-signal)",
        [("train.sbatch", "B:USR1@120", "B:TERM@120"), ("train.sbatch", TRAP, TRAP.replace("' USR1", "' TERM"))],
    ),
    "a cancelled job is requeued": (
        "5.11",
        "(stays-cancelled)",
        [
            ("train.sbatch", TRAP, TRAP.replace("' USR1", "' USR1 TERM")),
            ("train.sbatch", "trap 'kill ", "# trap 'kill "),
        ],
    ),
    "one second for an epoch": ("5.11", "B:USR1@1 (signal-time)", [("train.sbatch", "@120", "@1")]),
    "a signal at the start": ("5.11", "--time=2", [("train.sbatch", "--time=00:30:00", "--time=2")]),
    "a signal to a missing job step": ("5.11", "(job-step)", [("train.sbatch", "B:USR1@120", "USR1@120")]),
    "no --requeue": ("5.11", "(requeue-option)", [("train.sbatch", "#SBATCH --requeue\n", "")]),
    "a log that is overwritten": ("5.11", "(log-kept)", [("train.sbatch", "#SBATCH --open-mode=append\n", "")]),
    "the training in the foreground": (
        "5.11",
        "(signal-passed-on)",
        [
            ("train.sbatch", "train.sh &\ntraining=$!", "train.sh && code=0 || code=$?\ntraining=999999"),
            ("train.sbatch", 'code=0\nwait "$training" || code=$?\nwhile', "while"),
        ],
    ),
    "the signal is not passed on": (
        "5.11",
        "(signal-passed-on)",
        [("train.sbatch", TRAP, "trap 'signal_received=yes' USR1\n")],
    ),
    "never requeued": (
        "5.11",
        "(requeue)",
        [
            (
                "train.sbatch",
                '    scontrol requeue "$SLURM_JOB_ID" || echo "scontrol requeue failed: submit the job again, with RUN=$RUN" >&2\n',
                "",
            )
        ],
    ),
    "requeued whatever happens": (
        "5.11",
        "(stays-cancelled)",
        [
            (
                "train.sbatch",
                'if [ -n "$signal_received" ] && { [ "$code" -eq 85 ] || [ "$code" -gt 128 ]; }',
                'if [ "$code" -ne 0 ]',
            )
        ],
    ),
    "always from the beginning": ("5.11", "(resume)", [("train.sh", RESUME, "")]),
    "always from a checkpoint": (
        "5.11",
        "(resume-without-checkpoint)",
        [("train.sh", RESUME, "command+=(--resume)\n")],
    ),
    "a new folder at each start": (
        "5.11",
        "(resume)",
        [("train.sbatch", "slurm-$SLURM_JOB_ID}", "slurm-$RANDOM$RANDOM}")],
    ),
    "no array": ("5.12", "no --array", [("array.sbatch", "#SBATCH --array=0-3\n", "")]),
    "an array of one": ("5.12", "--array=3", [("array.sbatch", "0-3", "3")]),
    "one log for all tasks": (
        "5.12",
        "slurm-%A.log (own-log)",
        [("array.sbatch", "slurm-%A-seed%a.log", "slurm-%A.log")],
    ),
    "one seed for all tasks": (
        "5.12",
        "in tasks 0 and 1 (own-seed)",
        [("array.sbatch", "SEED=$SLURM_ARRAY_TASK_ID", "SEED=0")],
    ),
    "one folder for all tasks": ("5.12", "in tasks 0 and 1 (own-run)", [("array.sbatch", "-seed$SEED", "")]),
    "no limit, written as 0": ("5.10", "0: no limit", [("train.sbatch", "00:30:00", "0")]),
    "memory in an unknown unit": ("5.10", "4Gi", [("train.sbatch", "--mem=4G", "--mem=4Gi")]),
    "memory without its unit": ("5.10", "4 MiB", [("train.sbatch", "--mem=4G", "--mem=4")]),
    "Windows line endings in the other script": ("5.10", "train.sh", [("train.sh", "\n", "\r\n")]),
    "requeued after the signal, whatever the code": (
        "5.11",
        "(requeue-without-end)",
        [("train.sbatch", '&& { [ "$code" -eq 85 ] || [ "$code" -gt 128 ]; }', "")],
    ),
    "it does not wait again": (
        "5.11",
        "(waits-again)",
        [
            ("train.sbatch", 'while kill -0 "$training" 2>/dev/null; do', "while false; do"),
            ("train.sbatch", '|| [ "$code" -gt 128 ]; }', "|| false; }"),
        ],
    ),
    "the run's folder means a checkpoint": (
        "5.11",
        "(resume-without-checkpoint)",
        [("train.sh", '-e "$RUN.partial/checkpoint.safetensors"', '-d "$RUN.partial"')],
    ),
    "two seeds for four tasks": (
        "5.12",
        "in tasks 0 and 2 (own-seed)",
        [
            ("array.sbatch", "SEED=$SLURM_ARRAY_TASK_ID", "SEED=$((SLURM_ARRAY_TASK_ID % 2))"),
            ("array.sbatch", "-seed$SEED", "-seed$SLURM_ARRAY_TASK_ID"),
        ],
    ),
    "a resource that is no GPU": ("5.10", "--gres=gpus:1, which is not a GPU", [("train.sbatch", "gpu:1", "gpus:1")]),
    "a number for a GPU": ("5.10", "--gres=1, which is not a GPU", [("train.sbatch", "gpu:1", "1")]),
    "a space in a GPU": ("5.10", "#SBATCH --gres=gpu:1", [("train.sbatch", "--gres=gpu:1", "--gres gpu 1")]),
    "spaces around an equals sign": ("5.10", "#SBATCH --mem=4G", [("train.sbatch", "--mem=4G", "--mem = 4G")]),
    "minutes with a letter": ("5.10", "30m (time-limit)", [("train.sbatch", "00:30:00", "30m")]),
    "one dash": ("5.10", "'-gres=gpu:1'", [("train.sbatch", "--gres", "-gres")]),
    "a failure that is hidden": (
        "5.10",
        "(failure)",
        [("train.sbatch", "solution/train.sh &", "solution/train.sh || true &")],
    ),
    "the number of another process": ("5.10", "(success)", [("train.sbatch", "training=$!", "training=$$")]),
    "seconds with a unit": ("5.11", "B:USR1@2m (signal-time)", [("train.sbatch", "@120", "@2m")]),
    "a signal that cannot be handled": ("5.11", "(signal-passed-on)", [("train.sbatch", 'kill "$', 'kill -9 "$')]),
    "requeue without the job's number": (
        "5.11",
        "without a number (requeue)",
        [("train.sbatch", 'requeue "$SLURM_JOB_ID"', "requeue")],
    ),
    "the checkpoint in another folder": ("5.11", "(resume)", [("train.sh", "RUN.partial/", "RUN/")]),
    "an option added to the program's name": ("5.11", "(resume)", [("train.sh", "+=(--resume)", "+=--resume")]),
    "an array with a colon": ("5.12", "--array=0:3 (array)", [("array.sbatch", "0-3", "0:3")]),
    "a seed without its dollar": (
        "5.12",
        "--seed SLURM_ARRAY_TASK_ID in tasks 0 and 1",
        [("array.sbatch", "SEED=$SLURM", "SEED=SLURM")],
    ),
    "a seed that is not exported": ("5.12", "(own-seed)", [("array.sbatch", "export SEED=", "SEED=")]),
    "a variable that Slurm does not set": (
        "5.12",
        "SLURM_TASK_ID: unbound variable",
        [("array.sbatch", "-seed$SEED", "-seed$SLURM_TASK_ID")],
    ),
}
