"""Exercise 5: mistakes in the training in several processes, and in its job."""

SHARE = "train_step(batch[run.rank :: run.world])"
TOGETHER = "DistributedDataParallel(network) if dist.is_initialized() else network"
SRUN = 'exec srun "${python[@]}" -m torch.distributed.run --nnodes "$SLURM_NNODES"'
GPU_LINE = "#SBATCH --gres=gpu:1\n"

# What people do, the check that has to notice it first, and words that its answer must contain.
MISTAKES = {
    "every process trains with the whole batch": (
        "5.15",
        "(shares)",
        [("train_distributed.py", SHARE, "train_step(batch)")],
    ),
    "both processes take the first half": (
        "5.15",
        "16 of them in both (shares)",
        [("train_distributed.py", SHARE, "train_step(batch[: len(batch) // run.world])")],
    ),
    "the gradients are not averaged": ("5.15", "(averaged)", [("train_distributed.py", TOGETHER, "network")]),
    "a name that is not defined": (
        "5.15",
        "NameError",
        [("train_distributed.py", SHARE, "train_step(batch[rank :: run.world])")],
    ),
    "the two numbers are swapped": (
        "5.15",
        "slice step cannot be zero",
        [("train_distributed.py", "run.rank :: run.world", "run.world :: run.rank")],
    ),
    "one image for each process": (
        "5.15",
        "RuntimeError",
        [("train_distributed.py", SHARE, "train_step(batch[run.rank])")],
    ),
    "the step uses the other network": (
        "5.15",
        "(averaged)",
        [("train_distributed.py", "make_train_step(shared,", "make_train_step(network,")],
    ),
    "the class for one process": (
        "5.15",
        "(averaged)",
        [("train_distributed.py", " DistributedDataParallel(network)", " torch.nn.DataParallel(network)")],
    ),
    "a group of processes even without torchrun": (
        "5.15",
        "(alone)",
        [("train_distributed.py", TOGETHER, "DistributedDataParallel(network)")],
    ),
    "one node": ("5.16", "no --nodes, so one", [("multi.sbatch", "#SBATCH --nodes=2\n", "")]),
    "two tasks on each node": ("5.16", "(task-per-node)", [("multi.sbatch", "per-node=1", "per-node=2")]),
    "no GPU on the nodes": ("5.16", "(gpu-per-node)", [("multi.sbatch", GPU_LINE, "")]),
    "the first node alone": ("5.16", "(every-node)", [("multi.sbatch", "exec srun ", "exec ")]),
    "each node by itself": ("5.16", "(launcher)", [("multi.sbatch", SRUN, 'exec srun "${python[@]}"')]),
    "each node is told that it is the only one": (
        "5.16",
        "(group)",
        [("multi.sbatch", '--nnodes "$SLURM_NNODES"', "--nnodes 1")],
    ),
    "each node meets at itself": ("5.16", "localhost", [("multi.sbatch", '"$first:', '"localhost:')]),
    "the script for one process": (
        "5.16",
        "(trains-together)",
        [
            (
                "multi.sbatch",
                "exercise-5-container/solution/train_distributed.py",
                "exercise-2-pytorch-cu12/solution/train.py",
            )
        ],
    ),
    "a script in a folder that does not exist": (
        "5.16",
        "solutions/train_distributed.py: no such file (trains-together)",
        [("multi.sbatch", "solution/train_distributed.py", "solutions/train_distributed.py")],
    ),
    "a script without its folder": (
        "5.16",
        "train_distributed.py: no such file (trains-together)",
        [("multi.sbatch", "exercise-5-container/solution/train_distributed.py", "train_distributed.py")],
    ),
    "two nodes on the CPU": ("5.16", "(gpu-required)", [("multi.sbatch", "DEVICE:-cuda", "DEVICE:-auto")]),
    "a failed group does not fail the job": (
        "5.16",
        "(failure)",
        [("multi.sbatch", "exec srun", "srun"), ("multi.sbatch", '"${options[@]}"\n', '"${options[@]}" || true\n')],
    ),
    "more processes than GPUs": (
        "5.16",
        "1, a process for each GPU of a node",
        [("multi.sbatch", '"${SLURM_GPUS_ON_NODE:-1}"', "2")],
    ),
    "srun on one node": ("5.16", "srun --nodes=1", [("multi.sbatch", "exec srun", "exec srun --nodes=1")]),
    "srun with one task": ("5.16", "srun -n 1", [("multi.sbatch", "exec srun", "exec srun -n 1")]),
    "a module that does not exist": ("5.16", "-m torchrun", [("multi.sbatch", "torch.distributed.run", "torchrun")]),
    "the list of nodes as the meeting point": (
        "5.16",
        "n[1-2]:",
        [("multi.sbatch", '"$first:', '"$SLURM_JOB_NODELIST:')],
    ),
}
