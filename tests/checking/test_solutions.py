"""The results of the checks of manifests, locks and files on the solutions: the text that a learner reads after `ok`."""

import pytest
from conftest import ROOT

from workshop import exercises
from workshop.checking import checks
from workshop.jobs import rehearsal

SAYS = {
    "1.1": "linux-64, linux-aarch64, osx-arm64, win-64",
    "1.2": "exclusion.py has all packages that it imports",
    "1.3": "default and test in the solve group default",
    "1.4": "limits: python exclusion.py --experiment experiment.json --limits limits.json --seed {{ seed }}",
    "1.5": "pixi.lock is up to date, and both environments contain the same builds",
    "2.1": "linux-64-cuda12 (cuda 12.0), linux-aarch64-cuda12 (cuda 12.0), win-64-cuda12 (cuda 12.0)",
    "2.2": "for the CPU in cpu, for the GPU in cuda12",
    "2.3": "cuda12 on linux-64-cuda12, cpu on linux-64",
    "2.4": "train: python train.py",
    "2.5": "pixi.lock is up to date, with builds for CUDA 12 and for the CPU",
    "3.1": "linux-64-cuda118 (cuda 11.8)",
    "3.2": "jaxlib cuda118* in cuda118",
    "3.3": "cuda118-jax on linux-64-cuda118",
    "3.4": "jaxlib 0.4.23 cuda118py311h63154d8_200; the packages of default, cpu, cuda12, jax are unchanged",
    "4.1": "pypi-mixed: cu124",
    "4.2": "torch ==2.6.0, torchvision ==0.21.0",
    "4.3": "no package is requested from both sources",
    "4.4": "torch 2.6.0+cu124: 16 wheels, each with its sha256; no package from both sources",
    "5.1": "ghcr.io/prefix-dev/pixi:0.76.2-noble, debian:13-slim",
    "5.2": "pixi install --locked for cpu or cuda12",
    "5.3": "the environment at its original path, user 1000:1000, no Pixi",
    "5.4": "ENV sets PATH, CONDA_PREFIX and the manifest's variables, and cuda12 uses the host's driver",
    "5.5": "apptainer.def",
    "5.6": "reproducible-ml-cpu.tar from docker-archive, for each environment; nothing is installed again",
    "5.7": "every action is a commit; the token reads, and writes only in the job that publishes",
    "5.8": "--locked everywhere; tests, the build and a run in the image come before the push",
    "5.9": "pushed by digest, run, attested, and converted for Apptainer",
    "5.10": "gpu:1, 00:30:00, 4G; the training requires its GPU, and the job fails if the training fails",
    "5.11": "B:USR1@120 reaches the training, exit code 85 requeues the job, and it continues from its checkpoint",
    "5.12": "4 tasks: seed 0 in results/exercise-2-pytorch-cu12/slurm-12-seed0, seed 1 in results/exercise-2-pytorch-cu12/slurm-12-seed1",
    "5.13": "after an eviction results/exercise-2-pytorch-cu12/htcondor-12-seed0 comes back and the job continues from it; an error puts the job on hold",
    "5.14": "4 jobs: seed 0 in results/exercise-2-pytorch-cu12/htcondor-12-seed0, seed 1 in results/exercise-2-pytorch-cu12/htcondor-12-seed1",
    "5.16": "2 nodes with gpu:1 each: srun starts a torchrun on each, and they meet at the first",
}


@pytest.mark.parametrize("number", SAYS)
def test_ok_lines_contain_the_names_of_the_solution(number, tmp_path):
    if len(number) > 3 and not rehearsal.bash():
        pytest.skip("this check tries a job script, by bash")
    exercise = next(e for e in exercises.find_all(ROOT) if e.number == int(number[0]))
    check = next(check for check in exercise.checks if check.number == number)
    answer = check.run(checks.Workspace(exercise.folder / "solution", tmp_path / "scratch"))
    assert (answer.status, answer.found) == ("ok", SAYS[number])
