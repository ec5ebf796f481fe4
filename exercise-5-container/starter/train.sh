#!/usr/bin/env bash
# Train the classifier of exercise 2 in the environment that TRAIN_IN names. If there is a checkpoint, continue from it.
# The jobs of Slurm (train.sbatch, array.sbatch) and HTCondor (train.sub) call this script in the root of the clone. On
# HTCondor, this is the folder with the transferred files.
#
# Exit codes: 0 trained; 1 failed, and a message says what to correct; 85 stopped by a signal, finished epochs are
# saved.
set -euo pipefail

# The environment: image (the file IMAGE, run by Apptainer), packed (the file PACKED, written by pixi-pack) or python
# (the interpreter PYTHON).
TRAIN_IN=${TRAIN_IN:-image}
IMAGE=${IMAGE:-train-cuda12.sif}
PACKED=${PACKED:-environment.tar}
PYTHON=${PYTHON:-.venv/bin/python}
# TODO(5.10): with auto, a job without a GPU would train on the CPU, for a week. Require the GPU: cuda.
DEVICE=${DEVICE:-auto}
DATA=${DATA:-digits-60k}
SEED=${SEED:-0}
# A different number of threads adds in a different order, which changes the last digits. Resume a run with the same
# number.
THREADS=${THREADS:-1}
EPOCHS=${EPOCHS:-} # empty: the script's default for the data set
RUN=${RUN:?name the folder of the run, as in RUN=results/exercise-2-pytorch-cu12/first}
# If this is a number of seconds, the training stops after that time with exit code 85, and HTCondor saves its
# checkpoint.
CHECKPOINT_AFTER=${CHECKPOINT_AFTER:-}

export PYTHONPATH=$PWD/common
mkdir -p "$(dirname "$RUN")"
# HTCondor also restarts an evicted job that had just finished. The only results here are those of this job.
if [ -n "${_CONDOR_SCRATCH_DIR:-}" ] && [ -e "$RUN/run.json" ]; then
  echo "$RUN was finished before the job was started again"
  exit 0
fi

case $TRAIN_IN in
  image) # --nv makes the host's NVIDIA driver available inside; script and revision are those of this clone
    revision=$(git rev-parse HEAD 2>/dev/null || true)
    [ -z "$(git status --porcelain 2>/dev/null || true)" ] || revision+=-dirty
    command=(apptainer exec --nv --bind "$PWD" --pwd "$PWD" --env "PYTHONPATH=$PYTHONPATH"
      --env "WORKSHOP_REVISION=$revision" --env "PIXI_PROJECT_ROOT=$PWD"
      --env "PIXI_PROJECT_MANIFEST=$PWD/pixi.toml" "$IMAGE" python)
    ;;
  packed) # the file contains all packages, so this needs no network
    folder=${SCRATCH:-${_CONDOR_SCRATCH_DIR:-$PWD}}
    pixi-unpack --output-directory "$folder" "$PACKED"
    set +eu # some packages have activation scripts that fail with these options
    # shellcheck disable=SC1091
    source "$folder/activate.sh"
    set -eu
    command=(python)
    ;;
  python) command=("$PYTHON") ;;
  *)
    echo "TRAIN_IN must be image, packed or python; found: $TRAIN_IN" >&2
    exit 1
    ;;
esac
if [ -n "$CHECKPOINT_AFTER" ]; then
  command=(timeout --foreground --preserve-status --signal=TERM "$CHECKPOINT_AFTER" "${command[@]}")
fi

command+=(exercise-2-pytorch-cu12/solution/train.py --data "$DATA" --seed "$SEED" --device "$DEVICE" --threads "$THREADS"
  --output "$RUN")
if [ -n "$EPOCHS" ]; then
  command+=(--epochs "$EPOCHS")
fi
# TODO(5.11): add --resume if $RUN.partial/checkpoint.safetensors exists, and only then.
exec "${command[@]}" # replaces this script, so that signals reach the training
