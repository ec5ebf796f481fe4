#!/usr/bin/env bash
# Prepare a bare Ubuntu machine with an NVIDIA driver: Pixi, the repository at one commit, one environment, a kernel.
#
#   bash gpu-machine.sh https://github.com/OWNER/REPOSITORY.git COMMIT cuda12
#
# OWNER and REPOSITORY are the names in the address of the repository.
set -euo pipefail
repository=$1 commit=$2 environment=$3
pixi_version=v0.77.0

nvidia-smi --query-gpu=name,driver_version,compute_cap --format=csv # stops here if there is no driver

if ! command -v git >/dev/null || ! command -v curl >/dev/null; then
  sudo apt-get update && sudo apt-get install --yes git curl ca-certificates
fi
curl -fsSL https://pixi.sh/install.sh | PIXI_VERSION=$pixi_version sh
export PATH="$HOME/.pixi/bin:$PATH"

git clone "$repository" workspace
cd workspace
git checkout --quiet "$commit"
pixi install --locked --environment "$environment"

# A kernel for Jupyter and VS Code, if the environment contains ipykernel
if pixi run --locked --environment "$environment" python -c "import ipykernel" 2>/dev/null; then
  folder="$HOME/.local/share/jupyter/kernels/workspace-$environment"
  mkdir -p "$folder"
  cat >"$folder/kernel.json" <<JSON
{
  "argv": ["$HOME/.pixi/bin/pixi", "run", "--locked", "--manifest-path", "$PWD", "-e", "$environment",
           "python", "-m", "ipykernel_launcher", "-f", "{connection_file}"],
  "display_name": "workspace ($environment)",
  "language": "python"
}
JSON
fi
echo "ready: cd workspace && pixi run --locked -e $environment ..."
