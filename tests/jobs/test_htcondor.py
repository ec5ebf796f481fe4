"""Exercise 5's submit files, compared with HTCondor's bindings; with --system --run-htcondor, also in a real pool.

The pool (tests/jobs/install_htcondor.sh) has neither Apptainer nor a GPU, so jobs run in the vanilla universe, on the
CPU, with the interpreter of the tests. Everything else is as in the solution.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import room
from conftest import ROOT, SOLUTION, record_of, sha_of

from workshop.errors import WorkshopError
from workshop.jobs import batch_files
from workshop.runs.records import record

FOLDER = ROOT / "exercise-5-container"
SUBMIT = FOLDER / "solution" / "train.sub"
SCRIPT = ROOT / "tests" / "jobs" / "install_htcondor.sh"
POOL = Path("/var/tmp/workshop-htcondor")  # kept between test runs, since it takes minutes to install
ROOM = 2 * 2**30  # bytes of the pool's system, with a margin
LIMIT = 600  # seconds after which the test of a job that hangs fails

in_a_pool = pytest.mark.system("installs and starts a pool of HTCondor")


@pytest.mark.parametrize(
    "name", ["starter/train.sub", "solution/train.sub", "starter/seeds.sub", "solution/seeds.sub", "starter/first.sub"]
)
def test_submit_files_are_parsed_as_htcondors_bindings_parse_them(name):
    """Every key with its value. The bindings expand $(NAME) only on request, so the keys are requested one by one."""
    bindings = pytest.importorskip("htcondor2", reason="HTCondor's bindings are for Linux (the extra test brings them)")
    path = FOLDER / name
    our_file, bindings_file = batch_files.read_submit(path), bindings.Submit(path.read_text())
    bindings_keys = {key.lower(): bindings_file.expand(key) for key in bindings_file if not key.startswith(("$", "_"))}
    assert set(bindings_keys) == set(our_file.keys)
    for key, value in our_file.keys.items():
        value = value.replace("$(ClusterId)", "1")  # the bindings' value without a job
        assert re.sub(r"\$\(\w+\)", "", value) == re.sub(r"\$\(\w+\)", "", bindings_keys[key]), key


@pytest.mark.parametrize(
    "queue",
    [
        "seed in (0, 1, 2, 3)",
        "seed in (1 2)",
        "in (7 8)",
        "seed in (\n 3\n 5\n)",
        "2 seed in (1, 2)",
        "seed, x in (1, 2)",
    ],
)
def test_the_jobs_of_a_list_are_those_of_the_bindings(queue, tmp_path):
    bindings = pytest.importorskip("htcondor2", reason="HTCondor's bindings are for Linux (the extra test brings them)")
    path = tmp_path / "a.sub"
    path.write_text(f"executable = /bin/true\nqueue {queue}\n")
    repeats = int(queue[0]) if queue[0].isdecimal() else 1
    listed = [item for item in bindings.Submit(path.read_text()).itemdata() for _ in range(repeats)]
    jobs = batch_files.queued_jobs(batch_files.read_submit(path).queue)
    assert jobs is not None and len(jobs) == len(listed)
    for job, item in zip(jobs, listed, strict=True):
        assert {name: value for name, value in item.items() if value}.items() <= job.items()


@pytest.mark.parametrize("name", ["starter", "solution"])
def test_variables_on_the_command_line_override_the_file(name):
    """`condor_submit seed=4 run=results/mine train.sub` puts these lines before those of the file."""
    bindings = pytest.importorskip("htcondor2", reason="HTCondor's bindings are for Linux (the extra test brings them)")
    text = (FOLDER / name / "train.sub").read_text()
    environment = bindings.Submit("seed = 4\nrun = results/mine\n" + text).expand("environment")
    assert " RUN=results/mine " in environment and " SEED=4 " in environment


def test_a_misspelt_key_is_refused_although_the_bindings_accept_it(tmp_path):
    bindings = pytest.importorskip("htcondor2", reason="HTCondor's bindings are for Linux (the extra test brings them)")
    text = SUBMIT.read_text().replace("request_gpus", "requst_gpus")
    assert bindings.Submit(text)["requst_gpus"] == "1"
    (tmp_path / "train.sub").write_text(text)
    with pytest.raises(WorkshopError) as caught:
        batch_files.read_submit(tmp_path / "train.sub")
    assert "requst_gpus" in caught.value.found and "request_gpus" in caught.value.next_step


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("request_memory", "requestmemory"), "request_memory = ..."),
        (("universe        =", "univers ="), "universe = ..."),
        (("log    =", "logs   ="), "log = ..."),
        (("queue\n", ""), "condor_submit would submit no job"),
        (("SEED=$(seed)", "SEED=$(sead)"), "$(sead)"),
        (("universe        = container", "universe container"), "key = value"),
    ],
)
def test_mistakes_that_condor_submit_accepts(tmp_path, change, message):
    text = SUBMIT.read_text()
    assert change[0] in text
    (tmp_path / "train.sub").write_text(text.replace(*change))
    with pytest.raises(WorkshopError) as caught:
        batch_files.read_submit(tmp_path / "train.sub")
    assert message in str(caught.value)


def test_submit_file_syntax(tmp_path):
    path = tmp_path / "job.sub"
    path.write_text(
        '# a comment\nN = 3\nexecutable = $(N).sh\nArguments = a \\\n  b $(item) $(extra:none)\n+ProjectName = "x"\n'
        "MY.WantX = true\nrequest_fpgas = 1\nif $(is_linux)\n  request_cpus = 2\nendif\ntransfer_input_files @=end\n a,\n b\n@end\n"
        "queue item from list.txt\n"
    )
    submit = batch_files.read_submit(path)
    assert submit.keys["executable"] == "3.sh" and submit.keys["arguments"] == "a b $(item) none"
    assert submit.keys["+projectname"] == '"x"' and submit.keys["transfer_input_files"].split() == ["a,", "b"]
    assert submit.queue == "item from list.txt" and submit.keys["request_cpus"] == "2"
    path.write_text('environment = "A=1 B=\'two words\' C=""x"""\nqueue\n')
    assert batch_files.environment_variables(batch_files.read_submit(path)) == {"A": "1", "B": "two words", "C": "x"}


class Pool:
    """A pool with one machine, and a clone that belongs to the pool's user."""

    def __init__(self, clone):
        self.clone = clone

    def run(self, *words):
        line = [SCRIPT, "inside", POOL, "bash", "-c", 'cd ~learner/clone && exec "$@"', "bash", *words]
        return subprocess.run(line, capture_output=True, text=True)

    def status(self):
        """The output of condor_status; empty before the pool runs."""
        return subprocess.run([SCRIPT, "inside", POOL, "condor_status"], capture_output=True, text=True).stdout

    def submit(self, name, **changes):
        """Submit train.sub, adapted to this pool and with changed variables of the training; return the job's number."""
        text = SUBMIT.read_text()
        for find, replace in (
            (r"universe +=.*", "universe = vanilla"),
            (r"container_image.*", ""),
            (r"request_gpus.*", ""),
            (r"gpus_minimum.*", ""),
            (r"(?m)^# What this PyTorch.*", ""),
            (r"request_disk.*", "request_disk = 1GB"),
            (r"request_memory.*", "request_memory = 1GB"),
            (r"request_cpus.*", "request_cpus = 1"),
        ):
            text = re.sub(find, replace, text)
        environment = (
            batch_files.environment_variables(batch_files.read_submit(SUBMIT)) | {"WORKSHOP_CACHE": "cache"} | changes
        )
        environment |= {"RUN": "$(run)", "SEED": "$(seed)"}
        line = " ".join(f"{key}={value}" for key, value in environment.items())
        text = re.sub(r"(?m)^environment .*", lambda _: f'environment = "{line}"', text)
        (self.clone / f"{name}.sub").write_text(text)
        process = self.run("condor_submit", "seed=3", f"run=results/{name}", f"{name}.sub")
        assert process.returncode == 0 and "WARNING" not in process.stderr, process.stderr
        return re.search(r"cluster (\d+)", process.stdout)[1]

    def log(self, job):
        path = self.clone / f"htcondor-{job}.log"
        return path.read_text() if path.exists() else ""

    def wait(self, job, until, what):
        deadline = time.monotonic() + LIMIT
        while not until():
            assert time.monotonic() < deadline, f"{what}\n{self.log(job)}"
            time.sleep(0.2)

    def checkpoints(self):
        return list((POOL / "var/lib/condor/execute").glob(f"dir_*/results/*.partial/{record.CHECKPOINT}"))


@pytest.fixture(scope="module")
def pool(request):
    if not request.config.getoption("--run-htcondor"):
        pytest.skip("a pool of HTCondor takes minutes to install: --run-htcondor")
    pytest.importorskip("torch", reason="the jobs train: install the extra cpu")
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("the pool's system needs root")
    if not POOL.exists() and (problem := room.problem(POOL.parent, ROOM)):
        pytest.skip(f"no room for a pool: {problem}")
    installed = subprocess.run([SCRIPT, "install", POOL], capture_output=True, text=True)
    if installed.returncode:
        pytest.skip(f"no pool can be made here: {(installed.stderr or installed.stdout)[-500:]}")
    folders = dict.fromkeys((sys.base_prefix, sys.prefix))
    if sys.base_prefix in ("/usr", "/usr/local"):
        pytest.skip(
            f"the interpreter lies in {sys.base_prefix}, which the pool has too: use one in a folder of its own"
        )
    with open(POOL / "master.log", "w") as log:
        master = subprocess.Popen([SCRIPT, "run", POOL, *folders], stdout=log, stderr=log)
    try:
        result = Pool(POOL / "home/learner/clone")
        deadline = time.monotonic() + 120
        while "slot1" not in result.status():
            assert master.poll() is None and time.monotonic() < deadline, (POOL / "master.log").read_text()
            time.sleep(0.5)
        shutil.rmtree(result.clone, ignore_errors=True)
        for name in ("common", "exercise-2-pytorch-cu12", "exercise-5-container"):
            ignored = shutil.ignore_patterns("__pycache__", "*.lock")
            shutil.copytree(ROOT / name, result.clone / name, ignore=ignored)
        owner = (POOL / "home/learner").stat()
        for path in (result.clone, *result.clone.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid)
        yield result
    finally:
        subprocess.run([SCRIPT, "stop", POOL], check=True)
        master.wait()


@in_a_pool
def test_an_evicted_job_continues_to_the_same_weights(pool, command, tmp_path):
    """condor_vacate_job sends SIGTERM; the training ends its epoch, and another start continues from its checkpoint."""
    job = pool.submit("evicted", PYTHON=sys.executable, DEVICE="cpu", DATA="digits", EPOCHS="40")
    pool.wait(job, pool.checkpoints, "no checkpoint")
    assert pool.run("condor_vacate_job", job).returncode == 0
    pool.wait(job, lambda: "\n005 (" in pool.log(job), "not ended")
    log = pool.log(job)
    assert log.count("\n004 (") == 1 and log.count("\n001 (") == 2 and "(return value 0)" in log
    run = pool.clone / "results" / "evicted"
    run_record = record_of(run)
    assert (
        run_record["job"]["scheduler"] == "htcondor"
        and run_record["job"]["id"] == f"{job}.0"
        and run_record["job"]["restarts"] == 1
    )
    assert len(run_record["resumed_after_epochs"]) == 1 and 1 <= run_record["resumed_after_epochs"][0] < 40
    uninterrupted = command(
        SOLUTION,
        "--data",
        "digits",
        "--epochs",
        40,
        "--seed",
        3,
        "--device",
        "cpu",
        "--output",
        tmp_path / "w",
        timeout=LIMIT,
    )
    assert uninterrupted.returncode == 0 and sha_of(run) == sha_of(tmp_path / "w")


@in_a_pool
def test_each_checkpoint_is_transferred(pool, command, tmp_path):
    """Every 20 s the training ends with 85, and HTCondor transfers the checkpoint and starts it again."""
    job = pool.submit("often", PYTHON=sys.executable, DEVICE="cpu", DATA="digits", EPOCHS="60", CHECKPOINT_AFTER="20")
    pool.wait(job, lambda: "\n005 (" in pool.log(job), "not ended")
    run_record = record_of(pool.clone / "results" / "often")
    assert "(return value 0)" in pool.log(job) and run_record["resumed_after_epochs"]
    uninterrupted = command(
        SOLUTION,
        "--data",
        "digits",
        "--epochs",
        60,
        "--seed",
        3,
        "--device",
        "cpu",
        "--output",
        tmp_path / "w",
        timeout=LIMIT,
    )
    assert uninterrupted.returncode == 0 and sha_of(pool.clone / "results" / "often") == sha_of(tmp_path / "w")


@in_a_pool
def test_a_job_that_fails_with_a_message_is_held(pool):
    """Without the GPU that it requires, the training ends with 1, and HTCondor holds the job instead of restarting it."""
    job = pool.submit("held", PYTHON=sys.executable, DEVICE="cuda", DATA="digits")
    pool.wait(job, lambda: "\n012 (" in pool.log(job), "not held")
    assert "the training failed with a message" in pool.log(job) and pool.log(job).count("\n001 (") == 1
    pool.run("condor_rm", job)
