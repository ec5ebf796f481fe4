"""Exercise 5: mistakes in the jobs of HTCondor."""

SEED_RUN = "run = results/exercise-2-pytorch-cu12/htcondor-$(ClusterId)-seed$(seed)\n"
HOLD = "on_exit_hold        = ExitBySignal == false && ExitCode == 1\n"

# What people do, the check that has to notice it first, and words that its answer must contain.
MISTAKES = {
    "one GPU, in the singular": (
        "5.13",
        "did you mean request_gpus?",
        [("train.sub", "request_gpus ", "request_gpu ")],
    ),
    "memory of HTCondor without its unit": (
        "5.13",
        "request_memory = 4, which is 4 MiB",
        [("train.sub", "request_memory          = 4GB", "request_memory          = 4")],
    ),
    "disk of HTCondor without its unit": (
        "5.13",
        "request_disk = 20, which is",
        [("train.sub", "request_disk            = 20GB", "request_disk            = 20")],
    ),
    "a misspelt key": ("5.13", "requst_gpus", [("train.sub", "request_gpus ", "requst_gpus ")]),
    "an undefined name": ("5.13", "$(sed)", [("train.sub", "SEED=$(seed)", "SEED=$(sed)")]),
    "nothing is queued": ("5.13", "condor_submit would submit no job", [("train.sub", "\nqueue\n", "\n")]),
    "no image": ("5.13", "image none (container)", [("train.sub", "container_image = train-cuda12.sif\n", "")]),
    "the tag latest": (
        "5.13",
        "docker://example.org/train:latest",
        [("train.sub", "train-cuda12.sif", "docker://example.org/train:latest")],
    ),
    "no GPU on HTCondor": ("5.13", "none requested (gpu)", [("train.sub", "request_gpus            = 1\n", "")]),
    "any GPU, even an old one": ("5.13", "any (capability)", [("train.sub", "gpus_minimum_capability = 7.5\n", "")]),
    "any driver, even an old one": (
        "5.13",
        "any driver (driver)",
        [("train.sub", "gpus_minimum_runtime    = 12.0\n", "")],
    ),
    "a driver that is too old": ("5.13", "runtime = 11.8 (driver)", [("train.sub", "= 12.0", "= 11.8")]),
    "the code is not transferred": (
        "5.13",
        "(input-files)",
        [("train.sub", "= common, exercise-2-pytorch-cu12", "= common")],
    ),
    "the results are not transferred back": (
        "5.13",
        "(output-files)",
        [("train.sub", "transfer_output_files     = results\n", "")],
    ),
    "another folder is transferred back": (
        "5.13",
        "output (run-comes-back)",
        [
            ("train.sub", "files     = results", "files     = output"),
            ("train.sub", "transfer_checkpoint_files = results\n", ""),
        ],
    ),
    "an eviction loses the checkpoint": ("5.13", "(eviction)", [("train.sub", "ON_EXIT_OR_EVICT", "ON_EXIT")]),
    "85 ends the job": ("5.13", "(checkpoint-code)", [("train.sub", "checkpoint_exit_code      = 85\n", "")]),
    "another code means a checkpoint": ("5.13", "77 (checkpoint-code)", [("train.sub", "= 85\n", "= 77\n")]),
    "a job that failed with a message is retried": ("5.13", "no on_exit_hold", [("train.sub", HOLD, "")]),
    "a job that failed with a message is removed": (
        "5.13",
        "ExitCode == 85 (hold)",
        [("train.sub", HOLD, HOLD.replace("ExitCode == 1", "ExitCode == 85"))],
    ),
    "a finished job is held": ("5.13", "on_exit_hold = true (hold)", [("train.sub", HOLD, "on_exit_hold = true\n")]),
    "results misspelt": (
        "5.13",
        "result (run-comes-back)",
        [("train.sub", "transfer_output_files     = results", "transfer_output_files = result")],
    ),
    "another folder's script": (
        "5.13",
        "nowhere/train.sh (executable)",
        [("train.sub", "exercise-5-container/solution/train.sh", "nowhere/train.sh")],
    ),
    "the folder's contents without the folder": (
        "5.13",
        "common/, which transfers the contents",
        [("train.sub", "= common, ", "= common/, ")],
    ),
    "a GPU that is too old": ("5.13", "gpus_minimum_capability = 3.5", [("train.sub", "= 7.5", "= 3.5")]),
    "an invalid capability": ("5.13", "gpus_minimum_capability = 7,5", [("train.sub", "= 7.5", "= 7,5")]),
    "a Docker image without a digest": (
        "5.13",
        "pytorch/pytorch",
        [
            ("train.sub", "container_image = train-cuda12.sif", "docker_image = pytorch/pytorch"),
            ("train.sub", "= container\n", "= docker\n"),
        ],
    ),
    "one job for all seeds": (
        "5.14",
        "which submits one job (several-jobs)",
        [("seeds.sub", "queue seed in (0, 1, 2, 3)", "queue"), ("seeds.sub", SEED_RUN, "seed = 0\n" + SEED_RUN)],
    ),
    "seeds from a file that the check does not read": (
        "5.14",
        "queue seed from seeds.txt",
        [("seeds.sub", "queue seed in (0, 1, 2, 3)", "queue seed from seeds.txt")],
    ),
    "four jobs with one seed": (
        "5.14",
        "--seed 0 in jobs 0 and 1 (own-values)",
        [("seeds.sub", "SEED=$(seed)", "SEED=0")],
    ),
    "four jobs in one folder": (
        "5.14",
        "in jobs 0 and 1 (own-values)",
        [("seeds.sub", SEED_RUN, SEED_RUN.replace("-seed$(seed)", ""))],
    ),
    "four jobs with one log": (
        "5.14",
        "for jobs 0 and 1 (own-logs)",
        [("seeds.sub", "$(ClusterId)-seed$(seed).out", "$(ClusterId).out")],
    ),
    "an image that each machine fetches by a tag": (
        "5.14",
        "(fixed-image)",
        [("seeds.sub", "image = train-cuda12.sif", "image = oras://ghcr.io/me/train:latest")],
    ),
    "a capability without its point": ("5.13", "75, more than any GPU has", [("train.sub", "= 7.5", "= 75")]),
    "a comment after a value": ("5.13", "4GB # enough", [("train.sub", "= 4GB", "= 4GB # enough")]),
    "a list with semicolons": ("5.13", "(input-files)", [("train.sub", "common, ex", "common; ex")]),
    "results with a slash": (
        "5.13",
        "results/, which transfers",
        [("train.sub", "files     = results", "files = results/")],
    ),
    "one equals sign in an expression": (
        "5.13",
        "ExitCode = 1 (hold)",
        [("train.sub", "ExitCode == 1", "ExitCode = 1")],
    ),
    "another name in queue": ("5.14", "$(seed), which is not", [("seeds.sub", "queue seed in", "queue seeds in")]),
    "four jobs of one item": (
        "5.14",
        "(own-logs)",
        [("seeds.sub", "queue seed in (0, 1, 2, 3)", "queue 4 seed in (0)")],
    ),
    "a missing executable": ("5.13", "run.sh (executable)", [("train.sub", "solution/train.sh", "solution/run.sh")]),
}
