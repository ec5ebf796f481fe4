"""Exercise 5: container files and the workflow (each mistake with the name of its finding), and the files of jobs."""

ITS_CHECKS = ("5.10", "5.11", "5.12", "5.13", "5.14", "5.15", "5.16")  # they try a script out

CHECKOUT = "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1"
INSTALL = 'pixi install --locked --environment "${ENVIRONMENT}"'
PREFIX = "/workshop/.pixi/envs/${ENVIRONMENT}"
CMD = 'CMD ["python", "exercise-2-pytorch-cu12/solution/train.py", "--data", "digits"]'
TRAIN = "FROM runtime-${ENVIRONMENT} AS train\n"
# A stage beside the others, of which nothing goes into the image.
BESIDE = "FROM build AS tested\nRUN pixi install --locked -e dev\n\n# hadolint ignore=DL3006\n"
COPY = f"COPY --from=build {PREFIX} {PREFIX}"

# (file, find, replace, name of the finding, number of the check)
BROKEN = [
    ("Dockerfile", "debian:13-slim@", "debian:latest@", "base-latest", "5.1"),
    ("Dockerfile", "debian:13-slim@", "debian@", "base-untagged", "5.1"),
    (
        "Dockerfile",
        "debian:13-slim@sha256:a29215f6a35e51e22adffa17f89e9d2ef06214e64a2bad10d765c46aea49f11f",
        "debian:13-slim",
        "base-digest",
        "5.1",
    ),
    ("Dockerfile", "8b206ef57005a902", "8b206ef5", "base-digest", "5.1"),
    ("Dockerfile", "ARG BASE_IMAGE=debian", "ARG BASE=debian", "base-argument", "5.1"),
    (
        "Dockerfile",
        "COPY common/workshop",
        "COPY --from=busybox /bin/true /bin/\nCOPY common/workshop",
        "base-untagged",
        "5.1",
    ),
    (
        "Dockerfile",
        "RUN --mount=type=cache",
        "RUN --mount=type=bind,from=busybox:latest,target=/b --mount=type=cache",
        "base-latest",
        "5.1",
    ),
    (
        "Dockerfile",
        "RUN --mount=type=cache",
        "RUN --mount=from=busybox:1.37,target=/b --mount=type=cache",
        "base-digest",
        "5.1",
    ),
    ("Dockerfile", "COPY pixi.toml pixi.lock ./", "COPY . .", "whole-context", "5.2"),
    ("Dockerfile", "COPY common/workshop", "COPY .git .git\nCOPY common/workshop", "git-copied", "5.2"),
    (
        "Dockerfile",
        "COPY pixi.toml pixi.lock ./\n# The label",
        "COPY pixi.toml ./\n# The label",
        "lock-not-copied",
        "5.2",
    ),
    (
        "Dockerfile",
        "COPY pixi.toml pixi.lock ./\n# The label",
        "COPY pixi.lock ./\n# The label",
        "manifest-not-copied",
        "5.2",
    ),
    ("Dockerfile", INSTALL, INSTALL.replace(" --locked", ""), "not-locked", "5.2"),
    ("Dockerfile", INSTALL, INSTALL.replace("--locked", "--frozen"), "frozen", "5.2"),
    ("Dockerfile", INSTALL, f"pixi update && {INSTALL}", "lock-changed", "5.2"),
    ("Dockerfile", INSTALL, f"pixi run true && {INSTALL}", "not-locked", "5.2"),
    ("Dockerfile", INSTALL, INSTALL.replace("install --locked", "run") + " python --locked", "not-locked", "5.2"),
    (
        "Dockerfile",
        TRAIN,
        f"FROM build AS again\nRUN {INSTALL.replace(' --locked', '')}\n{TRAIN}COPY --from=again /workshop/.pixi /workshop/.pixi\n",
        "not-locked",
        "5.2",
    ),
    (
        "Dockerfile",
        TRAIN,
        f"FROM build AS again\nRUN pixi lock && {INSTALL}\nFROM again AS more\nARG ENVIRONMENT\nRUN {INSTALL}\n"
        f"{TRAIN}COPY --from=more /workshop/.pixi /workshop/.pixi\n",
        "lock-changed",
        "5.2",
    ),
    ("Dockerfile", INSTALL, "true", "no-install", "5.2"),
    ("Dockerfile", "ARG ENVIRONMENT=cpu", "ARG ENVIRONMENT=gpu", "environment-unknown", "5.2"),
    ("Dockerfile", '"${ENVIRONMENT}"\n# Byte', "cpu\n# Byte", "environment-fixed", "5.2"),
    ("Dockerfile", "AS build\nARG ENVIRONMENT\n", "AS build\n", "environment-argument", "5.2"),
    ("Dockerfile", "ARG CONDA_OVERRIDE_CUDA=12.0", "", "cuda-override", "5.2"),
    ("Dockerfile", "ARG CONDA_OVERRIDE_CUDA=12.0", "ARG CONDA_OVERRIDE_CUDA=11.8", "cuda-override", "5.2"),
    ("Dockerfile", "ARG REVISION=", "ARG REVISION=\nARG GITHUB_TOKEN", "secret", "5.2"),
    ("Dockerfile", "ENV PYTHONNOUSERSITE=1", "ENV API_KEY=1234 PYTHONNOUSERSITE=1", "secret", "5.2"),
    ("Dockerfile", "COPY common/workshop", "COPY .netrc /root/.netrc\nCOPY common/workshop", "secret", "5.2"),
    ("Dockerfile", "COPY common/workshop", "COPY tls/server-key.pem /etc/ssl/\nCOPY common/workshop", "secret", "5.2"),
    ("Dockerfile", "COPY common/workshop", "COPY me.p12 /etc/ssl/\nCOPY common/workshop", "secret", "5.2"),
    (
        "Dockerfile",
        "mkdir -p /workshop/results",
        "mkdir -p /workshop/results https://me:hunter2@host/x",
        "secret",
        "5.2",
    ),
    ("Dockerfile", "FROM runtime-${ENVIRONMENT} AS", "FROM build AS", "pixi-in-final", "5.3"),
    (
        "Dockerfile",
        "COPY common/workshop",
        "COPY --from=build /usr/local/bin/pixi /bin/pixi\nCOPY common/workshop",
        "pixi-in-final",
        "5.3",
    ),
    ("Dockerfile", COPY, f"COPY --from=build {PREFIX} /opt/env", "prefix-moved", "5.3"),
    ("Dockerfile", COPY, "", "prefix-not-copied", "5.3"),
    ("Dockerfile", "mkdir -p /workshop/results", "apt-get install -y build-essential", "build-tools", "5.3"),
    ("Dockerfile", "debian:13-slim@", "alpine:3.22@", "base-musl", "5.3"),
    ("Dockerfile", "debian:13-slim@", "python:3.13-alpine@", "base-musl", "5.3"),
    ("Dockerfile", "USER 1000:1000", "", "root-user", "5.3"),
    ("Dockerfile", "USER 1000:1000", "USER 0:0", "root-user", "5.3"),
    ("Dockerfile", "USER 1000:1000", "USER 0000", "root-user", "5.3"),
    ("Dockerfile", "USER 1000:1000", "USER 00:1000", "root-user", "5.3"),
    ("Dockerfile", "USER 1000:1000", "USER learner", "user-by-name", "5.3"),
    ("Dockerfile", "HEALTHCHECK --interval=5m --timeout=60s CMD", "# CMD", "healthcheck", "5.3"),
    ("Dockerfile", "workshop.lock.sha256=", "workshop.other=", "labels", "5.3"),
    ("Dockerfile", "AS runtime-cuda12", "AS runtime-cuda", "stage-unknown", "5.3"),
    ("Dockerfile", "ARG LOCK_SHA256=\nARG REVISION=\n", "", "label-empty", "5.3"),
    (
        "Dockerfile",
        "COPY exercise-2-pytorch-cu12/solution/train.py exercise-2-pytorch-cu12/solution/train.py\n",
        "",
        "code-not-copied",
        "5.3",
    ),
    ("Dockerfile", "WORKDIR /workshop\n# To", "# To", "workdir", "5.3"),
    ("Dockerfile", "PYTHONPATH=/workshop/common", "PYTHONPATH=/workshop/code", "python-path", "5.4"),
    ("Dockerfile", "PYTHONPATH=/workshop/common", "PYTHONPATH=common", "python-path", "5.4"),
    ("Dockerfile", "USER 1000:1000", 'USER 1000:1000\nENTRYPOINT ["/entrypoint.sh"]', "entrypoint", "5.4"),
    ("Dockerfile", "USER 1000:1000", 'USER 1000:1000\nENTRYPOINT ["sh", "-c", "pixi run train"]', "entrypoint", "5.4"),
    ("Dockerfile", "USER 1000:1000", "USER 1000:1000\nENTRYPOINT . /opt/activate && exec python", "entrypoint", "5.4"),
    ("Dockerfile", CMD, 'CMD ["sh", "-c", "pixi run train"]', "command", "5.4"),
    ("Dockerfile", CMD, "CMD cd /workshop && exec pixi run train", "command", "5.4"),
    ("Dockerfile", CMD, 'CMD ["tini", "--", "pixi", "run", "train"]', "command", "5.4"),
    ("Dockerfile", 'CMD ["python", "-c",', 'CMD ["pixi", "run", "python", "-c",', "command", "5.4"),
    ("Dockerfile", f"PATH={PREFIX}/bin:", "PATH=", "path", "5.4"),
    ("Dockerfile", f"ENV CONDA_PREFIX={PREFIX} \\\n    PATH", "ENV PATH", "conda-prefix", "5.4"),
    ("Dockerfile", "    PYTHONPATH=/workshop/common \\\n", "", "activation-variable", "5.4"),
    ("Dockerfile", "WORKSHOP_DEVICE=cuda", "WORKSHOP=cuda", "activation-variable", "5.4"),
    # The device of the other image, in the stage that both share.
    (
        "Dockerfile",
        "ENV PYTHONNOUSERSITE=1",
        "ENV WORKSHOP_DEVICE=cuda NVIDIA_VISIBLE_DEVICES=all PYTHONNOUSERSITE=1",
        "activation-variable",
        "5.4",
    ),
    ("Dockerfile", "NVIDIA_VISIBLE_DEVICES=all", "NVIDIA=all", "gpu-variables", "5.4"),
    ("Dockerfile", "=compute,utility", "=utility", "gpu-variables", "5.4"),
    ("Dockerfile", "NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_VISIBLE_DEVICES=void", "gpu-variables", "5.4"),
    ("apptainer.def", "Bootstrap: docker\nFrom: debian", "Bootstrap: dokcer\nFrom: debian", "def-bootstrap", "5.5"),
    ("apptainer.def", "%environment", "%enviroment", "def-section", "5.5"),
    ("apptainer.def", "Stage: train", "Stge: train", "def-header", "5.5"),
    (
        "apptainer.def",
        "debian@sha256:a29215f6a35e51e22adffa17f89e9d2ef06214e64a2bad10d765c46aea49f11f",
        "debian:13-slim",
        "def-base-digest",
        "5.5",
    ),
    ("apptainer.def", "install --locked", "install", "def-not-locked", "5.5"),
    ("apptainer.def", "install --locked", "install --frozen", "def-frozen", "5.5"),
    ("apptainer.def", "    export PYTHONNOUSERSITE=1\n", "", "def-user-packages", "5.5"),
    ("apptainer.def", "From: debian@", "From: alpine@", "def-musl", "5.5"),
    (
        "apptainer.def",
        "    pixi.lock /workshop/pixi.lock\n\n%post\n    cd",
        "\n%post\n    cd",
        "def-lock-not-copied",
        "5.5",
    ),
    ("apptainer.def", "ENVIRONMENT=cpu\n", "ENVIRONMENT=gpu\n", "def-environment-unknown", "5.5"),
    ("apptainer.def", "    ENVIRONMENT=cpu\n", "", "def-argument", "5.5"),
    ("apptainer.def", "envs/{{ ENVIRONMENT }}\n\n%files", "env\n\n%files", "def-prefix-moved", "5.5"),
    ("apptainer.def", "%files from build", "%files from other", "def-prefix-not-copied", "5.5"),
    ("apptainer.def", "export PATH=/workshop", "export PATH=/opt", "def-path", "5.5"),
    ("apptainer.def", "export PYTHONPATH", "export PYTHON", "def-activation", "5.5"),
    ("apptainer.def", "    export CONDA_OVERRIDE_CUDA=12.0\n", "", "def-cuda-override", "5.5"),
    ("apptainer.def", "export WORKSHOP_DEVICE=cuda", "true", "def-activation", "5.5"),
    ("apptainer.def", "    export PYTHONPATH=", "    PYTHONPATH=", "def-activation", "5.5"),
    (
        "apptainer.def",
        "CONDA_PREFIX=/workshop/.pixi/envs/{{ ENVIRONMENT }}",
        "CONDA_PREFIX=/opt/nothing",
        "def-activation",
        "5.5",
    ),
    (
        "apptainer.def",
        "    case {{ ENVIRONMENT }} in cuda*) export WORKSHOP_DEVICE=cuda ;; esac\n",
        "    export WORKSHOP_DEVICE=cuda\n",
        "def-activation",
        "5.5",
    ),
    ("apptainer.def", "in cuda*) export", "in cpu*) export", "def-activation", "5.5"),
    ("apptainer.def", "WORKSHOP_DEVICE=cuda ;;", "WORKSHOP_DEVICE=gpu ;;", "def-activation", "5.5"),
    ("apptainer.def", "    common/workshop /workshop/common/workshop\n", "", "def-code-not-copied", "5.5"),
    (
        "apptainer.def",
        "    exercise-2-pytorch-cu12/solution/train.py /workshop/exercise-2-pytorch-cu12/solution/train.py\n",
        "",
        "def-code-not-copied",
        "5.5",
    ),
    ("apptainer.def", " /workshop/common/workshop\n", " /opt/common/workshop\n", "def-code-not-copied", "5.5"),
    ("Dockerfile", "ENV WORKSHOP_DEVICE=cuda", "ENV WORKSHOP_DEVICE=gpu", "activation-variable", "5.4"),
    (
        "Dockerfile",
        "ENV CONDA_PREFIX=/workshop/.pixi/envs/${ENVIRONMENT}",
        "ENV CONDA_PREFIX=/opt/nothing",
        "conda-prefix",
        "5.4",
    ),
    ("apptainer.def", "%runscript", "    export HF_TOKEN=abc\n\n%runscript", "def-secret", "5.5"),
    # ------------------------------------------------------------ 5.6: the definition that converts an image
    ("apptainer-image.def", "Bootstrap: docker-archive", "Bootstrap: docker-archiv", "def-bootstrap", "5.6"),
    ("apptainer-image.def", "Bootstrap: docker-archive", "Bootstrap: docker", "def-base-digest", "5.6"),
    ("apptainer-image.def", "Bootstrap: docker-archive", "Bootstrap: debootstrap", "def-not-an-image", "5.6"),
    ("apptainer-image.def", "-{{ ENVIRONMENT }}.tar", "-cpu.tar", "def-one-environment", "5.6"),
    ("apptainer-image.def", "%arguments\n    ENVIRONMENT=cpu\n", "", "def-one-environment", "5.6"),
    ("apptainer-image.def", "%runscript", "%post\n    pip install torch\n\n%runscript", "def-installs-again", "5.6"),
    (
        "apptainer-image.def",
        "%runscript",
        "%post\n    pixi install --locked\n\n%runscript",
        "def-installs-again",
        "5.6",
    ),
    ("apptainer-image.def", "%test", "%help", "def-untested", "5.6"),
    ("apptainer-image.def", "%runscript", "%environment\n    export API_KEY=1\n\n%runscript", "def-secret", "5.6"),
    # ------------------------------------------------------------ 5.7: what the workflow may do
    ("image.yml", CHECKOUT, "actions/checkout@v7", "action-pinned", "5.7"),
    ("image.yml", CHECKOUT, "actions/checkout@3d3c42e", "action-pinned", "5.7"),
    ("image.yml", CHECKOUT, "actions/checkout", "action-pinned", "5.7"),
    ("image.yml", "permissions:\n  contents: read\n\n", "permissions: write-all\n\n", "read-only", "5.7"),
    ("image.yml", "permissions:\n  contents: read\n\n", "", "read-only", "5.7"),
    ("image.yml", "  contents: read\n\nconc", "  contents: read\n  packages: write\n\nconc", "read-only", "5.7"),
    (
        "image.yml",
        "      contents: read\n      packages",
        "      contents: write\n      packages",
        "least-rights",
        "5.7",
    ),
    (
        "image.yml",
        "    timeout-minutes: 60\n    steps",
        "    timeout-minutes: 60\n    permissions:\n      packages: write\n    steps",
        "least-rights",
        "5.7",
    ),
    ("image.yml", "        with:\n          persist-credentials: false\n", "", "credentials-kept", "5.7"),
    ("image.yml", "  pull_request:\n", "  pull_request_target:\n", "dangerous-trigger", "5.7"),
    (
        "image.yml",
        "pixi run --locked test",
        'pixi run --locked test "${{ github.head_ref }}"',
        "script-injection",
        "5.7",
    ),
    # ------------------------------------------------------------ 5.8: in which order
    ("image.yml", "          locked: true\n", "", "locked", "5.8"),
    ("image.yml", "          locked: true\n", "          frozen: true\n", "locked", "5.8"),
    ("image.yml", "pixi run --locked test", "pixi run test", "locked", "5.8"),
    ("image.yml", "pixi run --locked container-build cpu", "pixi run container-build cpu", "locked", "5.8"),
    ("image.yml", "pixi run --locked test", "pixi run --locked train-torch", "tested", "5.8"),
    (
        "image.yml",
        "        run: pixi run --locked container-run cpu\n",
        "        run: echo\n",
        "tested-before-push",
        "5.8",
    ),
    ("image.yml", "    needs: test\n", "", "tested-before-push", "5.8"),
    ("image.yml", "    needs: test\n", "    needs: tests\n", "tested-before-push", "5.8"),
    (
        "image.yml",
        "    if: github.event_name == 'push' # a tag: no pull request publishes anything\n",
        "",
        "published-on-demand",
        "5.8",
    ),
    # ------------------------------------------------------------ 5.9: what is published
    ("image.yml", "push-by-digest=true,name-canonical=true,", "", "by-digest", "5.9"),
    ("image.yml", '--tmpfs /workshop/results:mode=1777 "$IMAGE"', "--tmpfs /results debian", "pushed-image-run", "5.9"),
    ("image.yml", "uses: actions/attest@", "uses: actions/attach@", "attested", "5.9"),
    ("image.yml", "          subject-digest: ${{ steps.push.outputs.digest }}\n", "", "attested", "5.9"),
    ("image.yml", "      id-token: write", "      id-token: read", "missing-rights", "5.7"),
    ("image.yml", "      packages: write", "      packages: read", "missing-rights", "5.7"),
    ("image.yml", "apptainer build train.sif", "ls", "sif", "5.9"),
    ("image.yml", 'apptainer push train.sif "oras://$IMAGE:$GITHUB_REF_NAME-sif"', "ls", "sif", "5.9"),
    (
        "image.yml",
        'build train.sif "docker://$IMAGE@$DIGEST"',
        'build train.sif "docker://$IMAGE:latest"',
        "sif",
        "5.9",
    ),
]

SEED_RUN = "run = results/exercise-2-pytorch-cu12/htcondor-$(ClusterId)-seed$(seed)\n"
SHARE = "train_step(batch[run.rank :: run.world])"
TOGETHER = "DistributedDataParallel(network) if dist.is_initialized() else network"
SRUN = 'exec srun "${python[@]}" -m torch.distributed.run --nnodes "$SLURM_NNODES"'
HOLD = "on_exit_hold        = ExitBySignal == false && ExitCode == 1\n"
LINE = "#SBATCH --gres=gpu:1\n"
TRAP = "trap 'signal_received=yes; kill \"$training\" 2>/dev/null || true' USR1\n"
RESUME = 'if [ -e "$RUN.partial/checkpoint.safetensors" ]; then\n  command+=(--resume)\nfi\n'

# What people do to job files, the check that has to notice it first, and words that its answer must contain.
JOB_MISTAKES = {
    "a misspelt option": ("5.10", "--memm", [("train.sbatch", "--mem=4G", "--memm=4G")]),
    "a short option without its value": (
        "5.10",
        "--cpus-per-task",
        [("train.sbatch", "#SBATCH --mem=4G", "#SBATCH --mem=4G -c")],
    ),
    "options below the first command": (
        "5.10",
        "set -euo pipefail",
        [("train.sbatch", LINE, ""), ("train.sbatch", "set -euo pipefail\n", "set -euo pipefail\n" + LINE)],
    ),
    "an option in a comment": ("5.10", "# SBATCH --gres=gpu:1", [("train.sbatch", LINE, "# SBATCH --gres=gpu:1\n")]),
    "no interpreter": ("5.10", "# Exercise 5", [("train.sbatch", "#!/usr/bin/env bash\n", "")]),
    "Windows line endings": ("5.10", "Windows line endings", [("train.sbatch", "\n", "\r\n")]),
    "no GPU requested": ("5.10", "none requested (gpu)", [("train.sbatch", LINE, "")]),
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
    "one GPU, in the singular": (
        "5.13",
        "did you mean request_gpus?",
        [("train.sub", "request_gpus ", "request_gpu ")],
    ),
    "an instruction of a later step that is misspelt": (
        "5.4",
        "'EVN'",
        [("Dockerfile", "ENV CONDA_PREFIX", "EVN CONDA_PREFIX")],
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
    "a workflow that is not YAML": ("5.7", "image.yml", [("image.yml", "permissions:\n", "permissions: [\n")]),
    "a workflow without jobs": ("5.7", "no jobs", [("image.yml", "jobs:\n", "job:\n")]),
    "an image that is built and never run": (
        "5.8",
        "(image-run)",
        [("image.yml", "container-run cpu", "ls"), ("image.yml", "run: docker run --rm", "run: docker inspect")],
    ),
    "no workflow": ("5.7", "none", [lambda folder: (folder / "image.yml").unlink()]),
    "no definition for the image": ("5.6", "none", [lambda folder: (folder / "apptainer-image.def").unlink()]),
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
    "one node": ("5.16", "no --nodes, so one", [("multi.sbatch", "#SBATCH --nodes=2\n", "")]),
    "two tasks on each node": ("5.16", "(task-per-node)", [("multi.sbatch", "per-node=1", "per-node=2")]),
    "no GPU on the nodes": ("5.16", "(gpu-per-node)", [("multi.sbatch", LINE, "")]),
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
    "two nodes on the CPU": ("5.16", "(gpu-required)", [("multi.sbatch", "DEVICE:-cuda", "DEVICE:-auto")]),
    "a failed group does not fail the job": (
        "5.16",
        "(failure)",
        [("multi.sbatch", "exec srun", "srun"), ("multi.sbatch", '"${options[@]}"\n', '"${options[@]}" || true\n')],
    ),
    "a missing executable": ("5.13", "run.sh (executable)", [("train.sub", "solution/train.sh", "solution/run.sh")]),
}

MISTAKES = {
    f"{place} {name}": (number, f"({name})", [(file, find, replace)])
    for place, (file, find, replace, name, number) in enumerate(BROKEN)
} | JOB_MISTAKES
# Other correct files replace the solution's as a whole: tests/containers/test_container_check.py and tests/jobs/test_jobs.py.
ALTERNATIVES = {}
