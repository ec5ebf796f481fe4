#!/usr/bin/env bash
# Run @script@ in the environment that RUN_IN names. The jobs of Slurm (run.sbatch, array.sbatch) and HTCondor (run.sub)
# call this script in the folder of the project. On HTCondor, this is the folder with the transferred files.
set -euo pipefail

# The environment: image (the file IMAGE, run by Apptainer), packed (the file PACKED, written by pixi-pack) or python
# (the interpreter PYTHON).
RUN_IN=${RUN_IN:-image}
IMAGE=${IMAGE:-run.sif}
PACKED=${PACKED:-environment.tar}
PYTHON=${PYTHON:-.venv/bin/python}
SEED=${SEED:-0}
RUN=${RUN:?name the folder of the run, as in RUN=results/@project@/first}

export PYTHONPATH=$PWD
mkdir -p "$(dirname "$RUN")"
if [ -e "$RUN/run.json" ]; then
  echo "$RUN was finished before the job was started again"
  exit 0
fi

case $RUN_IN in
  image) # script and revision are those of this folder
    revision=$(git rev-parse HEAD 2>/dev/null || true)
    [ -z "$(git status --porcelain 2>/dev/null || true)" ] || revision+=-dirty
    command=(apptainer exec --bind "$PWD" --pwd "$PWD" --env "PYTHONPATH=$PYTHONPATH"
      --env "@VARIABLE@_REVISION=$revision" --env "PIXI_PROJECT_ROOT=$PWD"
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
    echo "RUN_IN must be image, packed or python; found: $RUN_IN" >&2
    exit 1
    ;;
esac
exec "${command[@]}" @script@ --seed "$SEED" --output "$RUN"
