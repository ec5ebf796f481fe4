"""Whatever a learner's script, files and folders do: nothing of the learner's is lost, and nothing is left behind."""

import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import attack
import ctrl_c
import learner
import pytest

from workshop import exercises
from workshop.checking import check, checks, fork_server, originals, scripts, starter, watch
from workshop.errors import WorkshopError
from workshop.support.files import list_files, remove_folder

LINUX = sys.platform == "linux"
linux = pytest.mark.skipif(not LINUX, reason="only Linux has subreapers")
WAYS = [(), ("json",)] if LINUX else [()]  # in an interpreter of its own, and forked from a warm one
NUMBERS = itertools.count()


@pytest.fixture(
    params=[pytest.param(WAYS[0], id="fresh", marks=pytest.mark.slow), *(pytest.param(w, id="warm") for w in WAYS[1:])]
)
def root(request, tmp_path, monkeypatch):
    """The folder of a workshop; its script runs both ways."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(checks.preload, "modules_for", lambda _: request.param)
    monkeypatch.setattr(originals, "_known", {})
    return tmp_path


def some_fast(names, *fast):
    """The names as parameters; all but those in `fast` are for the slow tests."""
    return [name if name in fast else pytest.param(name, marks=pytest.mark.slow) for name in names]


# ---------------------------------------------------------------- the learner's files

HERE = "import os, shutil, sys, subprocess, time\nfrom pathlib import Path\nhere = Path(__file__).parent\n"
REMOVED = "removed or emptied, and restored now"
CHANGED = "note: "
# Each attack: the script, and a word that the check must print ("" if nothing need be said).
HARM = {
    "truncates its script": ("open(__file__, 'w').close()", ""),
    "removes its script": ("os.remove(__file__)", "removed"),
    "removes its folder": ("shutil.rmtree(here)", "removed"),
    "removes the folder above": ("shutil.rmtree(here.parent)", "removed"),
    "replaces its folder by a link": ("shutil.rmtree(here); here.symlink_to('/')", ""),
    "replaces its script by a link": ("os.remove(__file__); os.symlink({mine!r}, __file__)", ""),
    "writes through a link of the learner's": ("open('link.txt', 'w').write('x')", ""),
    "writes through a linked folder": ("open('linked/other.txt', 'w').write('x')", ""),
    "removes what a link leads to": ("shutil.rmtree('linked')", "removed"),
    "changes modes": ("for p in [*here.rglob('*'), here]: p.chmod(0)", ""),
    "edits the checks beside it": ("open('../checks.py', 'w').write('CHECKS = []')", ""),
    "edits the package of the workshop": ("open('../../common/workshop/__init__.py', 'w').write('1 / 0')", ""),
    "removes the package of the workshop": ("shutil.rmtree('../../common')", ""),
    "empties everything above": ("for p in here.parents[1].rglob('*'):\n    if p.is_file(): open(p, 'w').close()", ""),
    "removes its folder and fails": ("shutil.rmtree(here); 1 / 0", "removed"),
    "removes its folder and leaves a loop": ("shutil.rmtree(here); os.mkdir(here); os.symlink('x', here / 'x')", ""),
    # With the full path of the original.
    "truncates the original": ("open({mine!r}, 'w').close()", REMOVED),
    "removes the original": ("os.remove({mine!r})", REMOVED),
    "removes the learner's folder": ("shutil.rmtree(os.path.dirname({mine!r}))", REMOVED),
    "removes the exercise": ("shutil.rmtree({exercise!r})", REMOVED),
    "removes the solution": ("shutil.rmtree({exercise!r} + '/solution')", REMOVED),
    "removes the checks": ("os.remove({exercise!r} + '/checks.py')", REMOVED),
    "empties the settings": ("open({exercise!r} + '/exercise.toml', 'w').close()", REMOVED),
    "removes the progress": ("os.remove({root!r} + '/.workshop/progress-7.json')", REMOVED),
    "overwrites the original": ("open({mine!r}, 'w').write('other')", CHANGED),
    "overwrites it by the same number of bytes": (
        "s = os.stat({mine!r}); open({mine!r}, 'r+').write('X'); os.utime({mine!r}, ns=(s.st_atime_ns, s.st_mtime_ns))",
        CHANGED,
    ),
    "overwrites the checks": ("open({exercise!r} + '/checks.py', 'w').write('CHECKS = []')", CHANGED),
    "overwrites the progress": ("open({root!r} + '/.workshop/progress-7.json', 'w').write('x')", CHANGED),
    "replaces the original by a link": ("os.remove({mine!r}); os.symlink('/etc/passwd', {mine!r})", CHANGED),
    "replaces the original by a folder": ("os.remove({mine!r}); os.mkdir({mine!r})", CHANGED),
}


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
@pytest.mark.parametrize("harm", some_fast(HARM, *list(HARM)[::2]))
def test_no_file_of_the_learner_is_lost(root, harm):
    text, said = HARM[harm]
    mine = root / "exercise-7-x" / "starter" / "script.py"
    folder = learner.workshop(root, HERE + text.format(mine=str(mine), exercise=str(mine.parents[1]), root=str(root)))
    (root / "outside").mkdir()
    (root / "outside" / "other.txt").write_text("other")
    (folder / "link.txt").symlink_to(root / "outside" / "other.txt")
    (folder / "linked").symlink_to(root / "outside")
    (root / ".workshop").mkdir()
    (root / ".workshop" / "progress-7.json").write_text('{"version": 1, "checks": {}}')
    before = learner.content_of(root)
    with pytest.MonkeyPatch.context() as patched:  # which would write the progress
        patched.setattr(check.progress, "record_results", lambda *_: None)
        done = attack.call("check", 7, cwd=root)
    attack.answered(done, said)
    after = learner.content_of(root)
    lost = {path for path, content in before.items() if after.get(path) != content}
    kept = [content for path, content in after.items() if ".workshop/backups" in path]
    if said == CHANGED:
        assert all(before[path] in kept for path in lost) and len(lost) <= 1, lost
    else:
        assert not lost and not kept
    common = attack.ROOT / "common" / "workshop" / "__init__.py"
    assert "__version__" in common.read_text(encoding="utf-8")


def test_a_save_during_a_check_stays(root):
    """The learner saves while the script runs: the new content stays, and the check is not failed for it."""
    mark = root / "mark"
    folder = learner.workshop(root, f"import time\nopen({str(mark)!r}, 'w').close()\ntime.sleep(0.3)\n")

    def save():
        while not mark.exists():
            time.sleep(0.005)
        (folder / "script.py").write_text("print('saved')\n")

    saving = threading.Thread(target=save)
    saving.start()
    done = attack.call("check", 7, cwd=root)
    saving.join()
    assert done.returncode == 0 and (folder / "script.py").read_text() == "print('saved')\n"
    assert "note: " in done.stderr


def test_the_progress_of_a_check_in_a_second_terminal_is_not_reported(root, capsys):
    folder = learner.workshop(root, "")
    progress = root / ".workshop" / "progress-7.json"
    progress.parent.mkdir()
    progress.write_text('{"version": 1, "checks": {}}')
    with originals.protected(folder / "script.py"):
        progress.write_text('{"version": 1, "checks": {"7.1": {}}}')
    assert capsys.readouterr().err == "" and "7.1" in progress.read_text()


# ---------------------------------------------------------------- processes and folders that stay behind

START = "import os, signal, subprocess, sys, time\nfile = {pids!r}\ndef note(): open(file, 'a').write(f'{{os.getpid()}}\\n')\n"
DAEMONS = {
    "a child": "if os.fork() == 0: note(); time.sleep(600)",
    "a child in a session of its own": "if os.fork() == 0: os.setsid(); note(); time.sleep(600)",
    "a daemon": "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: note(); time.sleep(600)\n    os._exit(0)\nos.wait()",
    "a daemon without its environment": (
        "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        note()\n"
        "        os.execve('/bin/sleep', ['sleep', '600'], {{}})\n    os._exit(0)\nos.wait()"
    ),
    "a stopped child": "if os.fork() == 0: note(); os.kill(os.getpid(), signal.SIGSTOP)\ntime.sleep(0.1)",
    "a stopped parent of a running child": (
        "if os.fork() == 0:\n    os.setsid(); note()\n    if os.fork() == 0: note(); time.sleep(600)\n"
        "    os.kill(os.getpid(), signal.SIGSTOP)\ntime.sleep(0.1)"
    ),
    "a child that ignores signals": (
        "if os.fork() == 0:\n    [signal.signal(n, signal.SIG_IGN) for n in (1, 2, 15)]; note(); time.sleep(600)"
    ),
    "a child that starts others": (
        "if os.fork() == 0:\n    os.setsid()\n    while True:\n        if os.fork() == 0: note(); time.sleep(0.05); continue\n"
        "        time.sleep(600)"
    ),
    "200 children": "for _ in range(200):\n    if os.fork() == 0: os.setsid(); note(); time.sleep(600)",
    "a shell in the background": "subprocess.Popen(['sh', '-c', 'echo $$ >> ' + file + '; sleep 600 & sleep 600'])\ntime.sleep(0.1)",
    "a daemon, and then it crashes": "if os.fork() == 0: os.setsid(); note(); time.sleep(600)\ntime.sleep(0.05)\n1 / 0",
    "a daemon, and then it kills itself": (
        "if os.fork() == 0: os.setsid(); note(); time.sleep(600)\ntime.sleep(0.05)\nos.kill(os.getpid(), 9)"
    ),
}


def ended(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(") ")[2][0] in "ZX"
    except OSError:
        return True


@linux
@pytest.mark.parametrize("left", some_fast(DAEMONS, "a daemon without its environment", "a child that starts others"))
def test_no_process_stays_behind(root, left):
    pids = root / "pids"
    pids.touch()
    learner.workshop(root, START.format(pids=str(pids)) + DAEMONS[left].replace("{{}}", "{}"))
    begin = time.monotonic()
    attack.answered(attack.call("check", 7, cwd=root))
    assert time.monotonic() - begin < 20
    assert all(ended(pid) for pid in pids.read_text().split())


@linux
@pytest.mark.slow
@pytest.mark.parametrize("left", ["a daemon", "200 children", "a stopped parent of a running child"])
def test_no_process_of_an_endless_script_stays_behind(root, monkeypatch, left):
    monkeypatch.setattr(scripts, "TIME_LIMIT", 1)
    pids = root / "pids"
    pids.touch()
    learner.workshop(root, START.format(pids=str(pids)) + DAEMONS[left] + "\nwhile True: pass")
    attack.answered(attack.call("check", 7, cwd=root), "still running")
    assert all(ended(pid) for pid in pids.read_text().split())


FOLDERS = {
    "a temporary folder": "import tempfile\ntempfile.mkdtemp()",
    "a temporary file": "import tempfile\ntempfile.mkstemp()",
    "1,300 nested folders": "import os\nfor _ in range(1300): os.mkdir('d'); os.chdir('d')",
    "1,300 nested temporary folders": (
        "import os, tempfile\nos.chdir(tempfile.mkdtemp())\nfor _ in range(1300): os.mkdir('d'); os.chdir('d')"
    ),
    "folders without rights": "import os\nos.makedirs('a/b/c')\nos.chmod('a/b', 0)\nos.chmod('a', 0)",
    "2,000 files": "for k in range(2_000): open(f'f{k}', 'w').close()",
    "a pipe": "import os\nos.mkfifo('pipe')",
    "a socket": "import socket\nsocket.socket(socket.AF_UNIX).bind('s')",
    "a name that is not UTF-8": "open(b'\\xff', 'w').close()",
    "links in a circle": "import os\nos.symlink('a', 'b'); os.symlink('b', 'a')",
}


@pytest.mark.skipif(os.name == "nt", reason="pipes and links")
@pytest.mark.parametrize("left", some_fast(FOLDERS, "a temporary folder", "folders without rights", "a pipe"))
def test_no_folder_stays_behind(root, monkeypatch, left):
    scratch = root / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    monkeypatch.setenv("WORKSHOP_CACHE", str(scratch / "cache"))
    learner.workshop(root, FOLDERS[left])
    attack.answered(attack.call("check", 7, cwd=root), "1 passed")
    assert os.listdir(scratch) == ["cache"] and os.listdir(scratch / "cache" / "scratch") == []


# ---------------------------------------------------------------- the server, the supervisor, the check itself

BLOCK = {
    "stops its supervisor": "os.kill(os.getppid(), signal.SIGSTOP)",
    "stops its supervisor again and again": (
        "supervisor = os.getppid()\nif os.fork() == 0:\n    os.setsid()\n"
        "    while True: os.kill(supervisor, signal.SIGSTOP); time.sleep(0.01)"
    ),
    "kills its supervisor": "os.kill(os.getppid(), signal.SIGKILL); time.sleep(60)",
    "asks its supervisor to end": "os.kill(os.getppid(), signal.SIGTERM); time.sleep(60)",
    "stops the server": "os.kill(server, signal.SIGSTOP)",
    "kills the server": "os.kill(server, signal.SIGKILL)",
    "stops both": "os.kill(server, signal.SIGSTOP); os.kill(os.getppid(), signal.SIGSTOP)",
    "closes all that it inherited": "os.closerange(0, 4096)",
    "writes to all that it inherited": ("for f in range(3, 64):\n    try: os.write(f, b'0')\n    except OSError: pass"),
}


@linux
@pytest.mark.parametrize("block", some_fast(BLOCK, "stops both"))
def test_a_script_that_blocks_the_server_does_not_hang_the_next_check(tmp_path, monkeypatch, block):
    monkeypatch.chdir(tmp_path)
    modules = ("json", f"no_such_module_{next(NUMBERS)}")  # a server of its own
    monkeypatch.setattr(checks.preload, "modules_for", lambda _: modules)
    monkeypatch.setattr(fork_server, "SERVER_SECONDS", 5)
    text = "import os, signal, sys, time\nwith open(f'/proc/{os.getppid()}/stat') as f: server = int(f.read().rpartition(') ')[2].split()[1])\n"
    folder = learner.workshop(tmp_path, text + BLOCK[block])
    begin = time.monotonic()
    attack.answered(attack.call("check", 7, cwd=tmp_path))
    (folder / "script.py").write_text(learner.SCRIPT)
    attack.answered(attack.call("check", 7, cwd=tmp_path), "1 passed")
    assert time.monotonic() - begin < 20


@linux
def test_a_server_that_does_not_answer_is_replaced_by_a_new_interpreter(tmp_path, monkeypatch):
    monkeypatch.setattr(fork_server, "SERVER_SECONDS", 0.5)
    (tmp_path / "slow.py").write_text("import time\ntime.sleep(60)\n")
    (tmp_path / "starter").mkdir()
    (tmp_path / "starter" / "script.py").write_text("print('here')")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(attack.ROOT / "common")])}
    for _ in range(2):
        done = scripts.run(tmp_path / "starter" / "script.py", (), environment, (), ("slow",))
        assert done.stdout == "here\n"


CHECK = "import sys\nfrom workshop import cli\nfrom workshop.checking import checks\nchecks.preload.modules_for = lambda _: {modules}\nsys.exit(cli.main(['check', '7']))"


@linux
@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGINT", "SIGHUP"])
@pytest.mark.parametrize("left", ["nothing", "a daemon", "a stopped parent of a running child"])
def test_a_check_that_is_stopped_leaves_nothing_behind(root, name, left, monkeypatch):
    """Neither the script, nor what it started, nor the copy of its folder."""
    pids, scratch = root / "pids", root / "scratch"
    pids.touch()
    scratch.mkdir()
    more = DAEMONS.get(left, "pass")
    learner.workshop(root, START.format(pids=str(pids)) + f"{more}\nnote()\nwhile True: pass")
    modules = checks.preload.modules_for(None)
    process = subprocess.Popen(
        ctrl_c.python("-c", CHECK.format(modules=modules)),
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(attack.ROOT / "common"), "WORKSHOP_CACHE": str(scratch)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    expected = {"nothing": 1, "a daemon": 2}.get(left, 3)
    _until(lambda: len(pids.read_text().split()) == expected)
    process.send_signal(signal.Signals[name])
    _, err = process.communicate(timeout=60)
    if name == "SIGINT":
        assert (process.returncode, err) == (130, "interrupted\n")
    _until(lambda: all(ended(pid) for pid in pids.read_text().split()))
    _until(lambda: not list(scratch.glob("scratch/workshop-copy-*")))


def _until(holds, seconds=30):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


# ---------------------------------------------------------------- reset


def on_copy(action):
    """What happens while `reset` copies the learner's files."""

    def patch(monkeypatch, folder):
        copy = starter._back_up

        def and_act(*arguments):
            kept = copy(*arguments)
            action(folder)
            return kept

        monkeypatch.setattr(starter, "_back_up", and_act)

    return patch


def on_set_aside(action):
    """What happens between the move of a file and the new one in its place."""

    def patch(monkeypatch, folder):
        move, calls = starter._set_aside, itertools.count()

        def and_act(path, kept):
            move(path, kept)
            if path.name == "script.py" and next(calls) < 3:
                action(folder)

        monkeypatch.setattr(starter, "_set_aside", and_act)

    return patch


def save(folder):
    (folder / "script.py").write_text("the last save")


def replace(folder):
    (folder / "new").write_text("the last save")
    os.replace(folder / "new", folder / "script.py")


def save_another(folder):
    (folder / "another.py").write_text("the last save")


def remove(folder):
    (folder / "script.py").unlink(missing_ok=True)


def make_folder(folder):
    (folder / "script.py").unlink(missing_ok=True)
    (folder / "script.py").mkdir()
    (folder / "script.py" / "inside").write_text("the last save")


MOMENTS = {"after the copy": on_copy, "between two files": on_set_aside}
SAVES = {
    "saves": save,
    "saves in a new file": replace,
    "saves another file": save_another,
    "removes the file": remove,
    "puts a folder in its place": make_folder,
}


@pytest.mark.parametrize("action", SAVES)
@pytest.mark.parametrize("moment", MOMENTS)
def test_reset_loses_no_save(tmp_path, monkeypatch, moment, action):
    folder = learner.workshop(tmp_path, "the first save")
    MOMENTS[moment](SAVES[action])(monkeypatch, folder)
    # The shipped text must be found elsewhere than in the starter: there is no git.
    monkeypatch.setattr(starter, "shipped_files", lambda _: {"script.py": learner.SCRIPT.encode()})
    attack.answered(attack.call("reset", 7, "--yes", cwd=tmp_path))
    everything = learner.content_of(tmp_path).values()
    assert b"the first save" in everything or action != "removes the file"
    assert action == "removes the file" or b"the last save" in everything
    assert (folder / "script.py").read_text() == learner.SCRIPT


def linked_folder(root, folder):
    shutil.move(folder, root / "elsewhere")
    folder.symlink_to(root / "elsewhere")


def linked_file(root, folder):
    (root / "elsewhere").mkdir()
    os.replace(folder / "script.py", root / "elsewhere" / "script.py")
    (folder / "script.py").symlink_to(root / "elsewhere" / "script.py")


def broken_link(root, folder):
    (folder / "script.py").unlink()
    (folder / "script.py").symlink_to(root / "elsewhere")


def folder_for_file(root, folder):
    os.replace(folder / "script.py", folder / "mine")
    (folder / "script.py").mkdir()
    os.replace(folder / "mine", folder / "script.py" / "mine")


def pipe(root, folder):
    (folder / "script.py").unlink()
    attack.fifo(folder / "script.py")


def device(root, folder):
    (folder / "script.py").unlink()
    attack.device(folder / "script.py")


def missing(root, folder):
    shutil.rmtree(folder)


def nested(root, folder):
    here = os.getcwd()
    os.chdir(folder)
    for _ in range(1300):
        os.mkdir("d")
        os.chdir("d")
    os.chdir(here)


def other_disk(root, folder):
    (root / ".workshop").symlink_to(tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None))


STATES = (linked_folder, linked_file, broken_link, folder_for_file, pipe, device, missing, nested, other_disk)


@pytest.mark.skipif(os.name == "nt", reason="links and pipes")
@pytest.mark.parametrize(
    "state",
    [pytest.param(state, marks=pytest.mark.slow) if state is nested else state for state in STATES],
    ids=lambda state: state.__name__.replace("_", " "),
)
def test_reset_writes_through_no_link_and_waits_for_no_pipe(tmp_path, monkeypatch, state):
    folder = learner.workshop(tmp_path, "the learner's text")
    state(tmp_path, folder)
    monkeypatch.setattr(starter, "shipped_files", lambda _: {"script.py": learner.SCRIPT.encode()})
    try:
        attack.answered(attack.call("reset", 7, "--yes", cwd=tmp_path))
        assert (folder / "script.py").read_text() == learner.SCRIPT
        assert not folder.is_symlink() and not (folder / "script.py").is_symlink()
        kept = [content for path, content in learner.content_of(tmp_path).items() if content == b"the learner's text"]
        assert kept or state in (broken_link, pipe, device, missing, other_disk)
        assert not (tmp_path / "elsewhere").exists() or (tmp_path / "elsewhere" / "script.py").exists()
        assert "nothing to do" in attack.call("reset", 7, "--yes", cwd=tmp_path).stdout or state is nested
    finally:
        if state is other_disk:
            assert any(
                b"the learner's text" == content for content in learner.content_of(tmp_path / ".workshop").values()
            )
            shutil.rmtree((tmp_path / ".workshop").resolve())
        remove_folder(tmp_path / "exercise-7-x")


# ---------------------------------------------------------------- watch


def away(folder):
    os.rename(folder, folder.with_name("away"))


def back(folder):
    os.rename(folder.with_name("away"), folder)


def exercise_away(folder):
    os.rename(folder.parent, folder.parent.with_name("away"))


def exercise_back(folder):
    os.rename(folder.parent.with_name("away"), folder.parent)


def broken_checks(folder):
    (folder.parent / "checks.py").write_text("def broken(:")


def mended_checks(folder):
    (folder.parent / "checks.py").write_text(learner.CHECKS)


@pytest.mark.parametrize(
    ("harm", "mend"),
    [(away, back), (exercise_away, exercise_back), (broken_checks, mended_checks)],
    ids=["folder", "exercise", "checks"],
)
def test_watch_survives_what_soon_passes(tmp_path, monkeypatch, capsys, harm, mend):
    folder = learner.workshop(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(watch, "POLL_INTERVAL", 0.001)
    monkeypatch.setattr(watch, "KEY_INTERVAL", 0.001)
    monkeypatch.setattr(watch, "SETTLE_TIME", 0.001)
    monkeypatch.setattr(checks.preload, "modules_for", lambda _: ("json",))
    steps = iter([harm, mend])
    looks = itertools.count()
    snapshot = watch._snapshot

    def look(of):
        if next(looks) % 8 == 7:
            step = next(steps, None)
            if step is None:
                raise KeyboardInterrupt
            step(folder)
            if step in (mended_checks, broken_checks):
                (folder / "saved").write_text(step.__name__)
        return snapshot(of)

    monkeypatch.setattr(watch, "_snapshot", look)
    with pytest.raises(KeyboardInterrupt):
        watch.main("7")
    printed = capsys.readouterr()
    assert "looked at:" in printed.err or "fail" in printed.out
    assert printed.out.rstrip().endswith("press Ctrl-C to stop") and "1 passed" in printed.out.split("--- ")[-1]


# ---------------------------------------------------------------- files that others broke

SETTINGS = {
    "no starter": learner.SETTINGS.split("[starter]")[0],
    "a starter that is no table": learner.SETTINGS.split("[starter]")[0] + "starter = 3",
    "no title": learner.SETTINGS.replace('title = "A title"', ""),
    "a title that is a number": learner.SETTINGS.replace('"A title"', "7"),
    "no environments": learner.SETTINGS.replace('environments = ["cpu"]', ""),
    "a sha256 that is a number": learner.SETTINGS.replace('"{sha256}"', "3"),
    "a file above the starter": learner.SETTINGS.replace('"script.py"', '"../script.py"'),
    "a file with a full path": learner.SETTINGS.replace('"script.py"', '"/tmp/script.py"'),
    "a table check_all without a script": learner.SETTINGS + "[check_all]\nmetric = 'x'",
    "a check_all that is no table": "check_all = 3\n" + learner.SETTINGS,
    "broken TOML": "title = ",
    "nested a thousand times": "a = " + "[" * 2000,
    "not UTF-8": "title = 'a\udcff'",
    "empty": "",
}
CHECKS_FILES = {
    "a syntax error": "def broken(:",
    "an exception": "1 / 0",
    "an exit": "raise SystemExit(3)",
    "no CHECKS": "x = 1",
    "CHECKS that is a number": "CHECKS = 3",
    "CHECKS of numbers": "CHECKS = [1, 2]",
    "no checks": "CHECKS = []",
    "endless recursion": "def f(): f()\nf()",
    "zero bytes": "\0\0",
    "not UTF-8": "x = '\udcff'",
    "a failed import": "from workshop.checking.checks import no_such_name",
}
COMMANDS = [("progress",), ("hint", 7), ("check", 7), ("reset", 7, "--yes"), ("diff", 7, "--spoil")]


@pytest.mark.parametrize("text", SETTINGS)
def test_broken_settings_get_a_message(tmp_path, text):
    folder = learner.workshop(tmp_path, "mine")
    (folder.parent / "exercise.toml").write_text(SETTINGS[text], errors="surrogateescape")
    for words in COMMANDS:
        attack.refused(attack.call(*words, cwd=tmp_path), "exercise.toml")
    assert (folder / "script.py").read_text() == "mine"


@pytest.mark.parametrize("text", CHECKS_FILES)
def test_broken_checks_get_a_message(tmp_path, text):
    folder = learner.workshop(tmp_path)
    (folder.parent / "checks.py").write_text(CHECKS_FILES[text], errors="surrogateescape")
    for words in COMMANDS[:3]:
        attack.refused(attack.call(*words, cwd=tmp_path), "checks.py")


@pytest.mark.parametrize("name", ["exercise.toml", "checks.py"])
@pytest.mark.parametrize("kind", attack.NO_FILES, ids=lambda kind: kind.__name__)
def test_something_else_than_a_file(tmp_path, name, kind):
    folder = learner.workshop(tmp_path)
    (folder.parent / name).unlink()
    kind(folder.parent / name)
    attack.refused(attack.call("check", 7, cwd=tmp_path))


SECRET = "hunter2"


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
@pytest.mark.parametrize("name", ["starter/script.py", "checks.py", "exercise.toml"])
@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_a_link_to_a_secret_is_not_quoted(tmp_path, monkeypatch, name, words):
    monkeypatch.setattr(checks.preload, "modules_for", lambda _: ("json",))
    folder = learner.workshop(tmp_path / "shop")
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    path = folder.parent / name
    path.unlink()
    path.symlink_to(secret)
    monkeypatch.setattr(starter, "shipped_files", lambda _: {"script.py": learner.SCRIPT.encode()})
    done = attack.call(*words, cwd=tmp_path / "shop")
    assert SECRET not in attack.answered(done) and secret.read_text() == SECRET


def test_a_current_folder_that_was_removed(tmp_path, monkeypatch):
    learner.workshop(tmp_path)
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    if os.name == "nt":
        pytest.skip("the current folder cannot be removed there")
    (tmp_path / "gone").rmdir()
    monkeypatch.setattr(exercises, "__file__", str(tmp_path / "common" / "workshop" / "exercises.py"))
    for words in (("progress",), ("hint", "7")):
        out = subprocess.run(  # attack.call returns to the current folder, which is not there
            [sys.executable, "-m", "workshop", *words],
            env=os.environ | {"PYTHONPATH": str(attack.ROOT / "common")},
            capture_output=True,
            text=True,
        )
        assert "Traceback" not in out.stderr and out.returncode in (0, 1), out.stderr


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="paths there are short")
def test_1300_nested_folders_are_listed_and_removed(tmp_path):
    folder = tmp_path / "deep"
    folder.mkdir()
    nested(tmp_path, folder)
    (folder / "file").write_text("x")
    assert list(list_files(folder)) == ["file"]
    remove_folder(folder)
    assert not folder.exists()


def test_a_link_to_another_kind_of_file_is_not_run(root):
    folder = learner.workshop(root)
    (root / "secret").write_text(SECRET)
    (folder / "script.py").unlink()
    (folder / "script.py").symlink_to(root / "secret")
    with pytest.raises(WorkshopError, match="a link to another kind of file"):
        scripts.run(folder / "script.py", (), dict(os.environ))
    assert Path(root / "secret").read_text() == SECRET
