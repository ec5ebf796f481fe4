"""A stand-in for the commands that a job script calls in a rehearsal; stand_in.sh runs it.

    stand_in.py NAME WORD...    does what the command NAME WORD... would do, as far as a rehearsal needs it

Each call adds a line of JSON to the file `calls` in the folder REHEARSAL. The training ends as REHEARSAL_OUTCOME names:
success (exit code 0) or failure (1) at once; stopped (85) or stopped-failure (1) as soon as it receives SIGTERM or
SIGUSR1.
"""

import json
import os
import signal
import sys
import time

TASK = "train-torch"  # a task of the workspace: `pixi run train-torch` trains as well
# These start no other command.
SIMPLE_COMMANDS = ("scontrol", "sbatch", "scancel", "squeue", "nvidia-smi", "module", "ml", "hostname")
# The options of containers, srun, env and uv that name the folder in which a command runs.
FOLDER_OPTIONS = ("--pwd", "--cwd", "--workdir", "-w", "--chdir", "-D", "-C", "--directory")
EXIT_CODES = {"success": 0, "failure": 1, "stopped": 85, "stopped-failure": 1}


def main(name: str, words: list[str]) -> int:
    home = os.environ["REHEARSAL"]
    script = next((number for number, word in enumerate(words) if word.endswith(".sh")), None)
    trains = any(word.endswith(".py") or word == TASK for word in words)
    if name == "pixi-unpack":
        write_call(home, name, words)
        unpack(home, words)
    elif name == "timeout":  # a rehearsal never reaches a time limit
        while words and words[0].startswith("-"):
            words = words[2:] if words[0] in ("-s", "-k", "--signal", "--kill-after") else words[1:]
        os.execvp(words[1], words[1:])
    elif script is not None and name not in SIMPLE_COMMANDS:
        write_call(home, name, words, inside=True)
        os.execvp("bash", ["bash", *words[script:]])
    elif trains and name not in SIMPLE_COMMANDS:
        return train(home, name, words)
    else:
        write_call(home, name, words)
        if name == "scontrol" and words[:2] == ["show", "hostnames"]:
            print("n1\nn2")
        if name == "hostname":
            print(os.environ.get("SLURMD_NODENAME", "n1"))
    return 0


def write_call(home: str, name: str, words: list[str], **more: object) -> None:
    with open(os.path.join(home, "calls"), "a") as file:
        file.write(json.dumps({"name": name, "words": words, "pid": os.getpid(), **more}) + "\n")


def unpack(home: str, words: list[str]) -> None:
    """Create an environment like that of `pixi-unpack`, with a stand-in for Python."""
    target = next((b for a, b in zip(words, words[1:], strict=False) if a in ("-o", "--output-directory")), ".")
    target = next((word.split("=", 1)[1] for word in words if word.startswith("--output-directory=")), target)
    folder = os.path.join(target, "env", "bin")
    os.makedirs(folder, exist_ok=True)
    for python in ("python", "python3"):
        os.symlink(os.path.join(home, "bin", python), os.path.join(folder, python))
    with open(os.path.join(target, "activate.sh"), "w") as file:
        file.write(f'export PATH="{os.path.abspath(folder)}:$PATH"\n')


def missing_script(clone: str, words: list[str]) -> str:
    """The path of the script, if there is no such file in the clone; otherwise empty.

    It may be relative to the current folder, to the clone or to a folder that an option names. An absolute path outside
    the clone is not looked up: it belongs to the machine or the container that runs the job.
    """
    script = next((word for word in words if word.endswith(".py") and " " not in word), "")
    if os.path.isabs(script) and not script.startswith(os.path.join(clone, "")):
        return ""
    parts = [part for word in words for part in word.split("=", 1)]  # --pwd FOLDER or --pwd=FOLDER
    named = [folder for option, folder in zip(parts, parts[1:], strict=False) if option in FOLDER_OPTIONS]
    paths = (os.path.join(folder, script) for folder in (os.getcwd(), clone, *named))
    return "" if any(map(os.path.exists, paths)) else script


def train(home: str, name: str, words: list[str]) -> int:
    """Wait for a signal if REHEARSAL_OUTCOME requires one; return the exit code of the training."""
    received: list[int] = []
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, lambda number, _: received.append(number))
    missing = missing_script(os.path.join(os.path.dirname(home), "clone"), words)
    write_call(home, name, words, trains=True, device=os.environ.get("WORKSHOP_DEVICE", ""), missing=missing)
    outcome = os.environ["REHEARSAL_OUTCOME"]
    if outcome.startswith("stopped"):
        while not received and os.path.exists(home):
            time.sleep(0.02)
        write_call(home, name, words, received=[signal.Signals(number).name for number in received])
    return EXIT_CODES[outcome]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
