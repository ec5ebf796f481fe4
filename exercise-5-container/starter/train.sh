#!/usr/bin/env bash
# Trains the classifier of exercise 2 in the environment that TRAIN_IN names, from the checkpoint where there is one.
# The jobs of Slurm (train.sbatch, array.sbatch) and HTCondor (train.sub) call it in the root of the clone, or of what
# was sent along of it.
#
# Exit codes: 0 trained; 1 a message says what to mend; 85 stopped by a signal, the finished epochs are kept.
set -euo pipefail

# The environment: image (IMAGE, run by Apptainer), packed (PACKED, made by pixi-pack), python (PYTHON, an interpreter).
TRAIN_IN=${TRAIN_IN:-image}
IMAGE=${IMAGE:-train-cuda12.sif}
PACKED=${PACKED:-environment.tar}
PYTHON=${PYTHON:-.venv/bin/python}
# TODO(5.6): a job that was given no GPU would train on the CPU, for a week. Insist on the GPU: cuda.
DEVICE=${DEVICE:-auto}
DATA=${DATA:-digits-60k}
SEED=${SEED:-0}
# With more threads, the order of the additions and with it the last digits change: a run that is resumed needs as many.
THREADS=${THREADS:-1}
EPOCHS=${EPOCHS:-} # empty: as many as the data set asks for
RUN=${RUN:?name the folder of the run, as in RUN=results/exercise-2-pytorch-cu12/first}
# HTCondor brings a checkpoint to safety when the job ends with 85; after so many seconds the job does.
CHECKPOINT_AFTER=${CHECKPOINT_AFTER:-}

export PYTHONPATH=$PWD/common
mkdir -p "$(dirname "$RUN")"
# HTCondor starts an evicted job again, also one that was just done. It sends no results along but those of this job.
if [ -n "${_CONDOR_SCRATCH_DIR:-}" ] && [ -e "$RUN/run.json" ]; then
  echo "$RUN was finished before the job was started again"
  exit 0
fi

case $TRAIN_IN in
  image) # --nv brings the host's NVIDIA driver into the image; the script is this clone's, and so is what the record says
    revision=$(git rev-parse HEAD 2>/dev/null || true)
    [ -z "$(git status --porcelain 2>/dev/null || true)" ] || revision+=-dirty
    command=(apptainer exec --nv --bind "$PWD" --pwd "$PWD" --env "PYTHONPATH=$PYTHONPATH"
      --env "WORKSHOP_REVISION=$revision" --env "PIXI_PROJECT_ROOT=$PWD"
      --env "PIXI_PROJECT_MANIFEST=$PWD/pixi.toml" "$IMAGE" python)
    ;;
  packed) # every package lies in the file: no network is needed
    place=${SCRATCH:-${_CONDOR_SCRATCH_DIR:-$PWD}}
    pixi-unpack --output-directory "$place" "$PACKED"
    set +eu # the packages' own activation scripts know nothing of these
    # shellcheck disable=SC1091
    source "$place/activate.sh"
    set -eu
    command=(python)
    ;;
  python) command=("$PYTHON") ;;
  *)
    echo "TRAIN_IN is one of image, packed and python; found: $TRAIN_IN" >&2
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
# TODO(5.7): a job that starts again finds $RUN.partial/checkpoint.safetensors: then, and only then, add --resume.
exec "${command[@]}" # in the place of this script, so that signals reach the training
