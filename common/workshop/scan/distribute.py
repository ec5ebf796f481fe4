"""The fits of a scan, in this process or through any executor of `concurrent.futures`.

    from concurrent.futures import ThreadPoolExecutor
    from workshop.scan.distribute import fit_all

    with ThreadPoolExecutor(2) as executor:
        failed = fit_all(scans, names, mu=1.0, executor=executor, report=lambda entries, worker: print(len(entries)))

Executors of the standard library, Parsl, Globus Compute and Dask (`client.get_executor()`) work: `fit_all` only
calls `submit`, with bytes and numbers, and waits for the futures. The results are the same bytes with all of them.
"""

from __future__ import annotations

import hashlib
import math
import queue
import statistics
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from histfactory import Scan, chunk_size
from workshop.errors import WorkshopError
from workshop.scan import job_logs, parts, worker
from workshop.scan.worker import fit_request

ATTEMPTS = 3  # for a hypothesis whose worker dies
LARGEST_OVERHEAD = 0.1  # of a worker's time: what the executor may need between two chunks
LONGEST_CHUNK = 60.0  # seconds of work that are lost with a worker, and between two lines of the journal
# A chunk without a result after this many times the expected seconds, and at least LATE_SECONDS, is also sent to another
# worker. Parsl needs this: a worker that is killed while it waits for work keeps a lock, and blocks the next one.
LATE, LATE_SECONDS = 10.0, 30.0
MOST_COPIES = 5
TICK = 1.0  # seconds between two calls of `report` while no result arrives
NO_RESULT = 8  # failures in a row without any result: then nothing works, and trying again would not help

Report = Callable[[list[worker.Entry], str], None]


@dataclass
class Chunk:
    """Hypotheses that are fitted together: the index of their scan, and their positions in it.

    sent: when it was handed out last. copies: how often it was.
    """

    scan: int
    members: list[int]
    sent: float = 0.0
    copies: int = 0


@dataclass
class Pace:
    """What the results so far tell about the speed of the fits and of the executor."""

    workers: set[str] = field(default_factory=set)
    each: deque[float] = field(default_factory=lambda: deque(maxlen=30))  # seconds for a hypothesis
    gaps: deque[float] = field(default_factory=lambda: deque(maxlen=100))  # seconds of a worker between two chunks

    def note(self, result: dict[str, Any], n: int) -> None:
        """Learn from the result of a chunk of n hypotheses."""
        self.each.append(max(result["busy"] / n, 1e-6))
        if result["gap"] is not None:
            self.gaps.append(result["gap"])

    def seconds_each(self) -> float | None:
        """The usual seconds for a hypothesis; None before the first result."""
        return statistics.median(self.each) if self.each else None

    def size(self, natural: int, left: int, expected_workers: int) -> int:
        """The number of hypotheses for the next chunk.

        natural: how many fit the processor's caches. left: how many are waiting. A chunk is so long that the gaps stay
        below LARGEST_OVERHEAD, but every worker gets a share, and no chunk takes much longer than LONGEST_CHUNK.
        """
        n_workers = max(len(self.workers), expected_workers, 1)
        size = min(natural, -(-left // (2 * n_workers)))
        if each := self.seconds_each():
            if self.gaps:
                size = max(size, int(statistics.median(self.gaps) / LARGEST_OVERHEAD / each) + 1)
            size = min(size, max(1, int(LONGEST_CHUNK / each)))
        return max(1, min(size, -(-left // n_workers)))


def fit_all(
    scans: Sequence[Scan],
    names: Iterable[str],
    mu: float,
    executor: Executor | None,
    report: Report,
    *,
    upper_limit: bool = False,
    workers: int = 1,
    time_limit: float | None = None,
    restart: Callable[[], Executor] | None = None,
    logs: Path | None = None,
) -> dict[str, str]:
    """Fit the named hypotheses, and return the reasons of those that failed permanently, by name.

    executor: None fits in this process. report: called with new entries and the worker that sent them; while nothing
    arrives, once a second with no entries. workers: how many are expected; more may come. time_limit: seconds for a
    hypothesis, where workers are processes. restart: makes a new executor after this one is broken (a process pool is,
    if one of its processes dies). logs: a folder with the logs of jobs, for messages.

    A hypothesis fails if it raises, if it exceeds the limit, or if its worker dies ATTEMPTS times while it fits this
    hypothesis alone. Raises WorkshopError if a worker has other versions, or if none works.
    """
    wanted = set(names)
    chunks = [
        Chunk(s, [h for h, name in enumerate(scan.model.names) if name in wanted]) for s, scan in enumerate(scans)
    ]
    chunks = [chunk for chunk in chunks if chunk.members]
    if executor is None:
        return _fit_here(scans, chunks, mu, report, upper_limit, time_limit)
    settings = {"mu": mu, "upper_limit": upper_limit, "time_limit": time_limit}
    return _Distribution(scans, chunks, settings, executor, report, workers, restart, logs).run()


def _fit_here(
    scans: Sequence[Scan], chunks: list[Chunk], mu: float, report: Report, upper_limit: bool, time_limit: float | None
) -> dict[str, str]:
    failures: dict[str, str] = {}
    for chunk in chunks:
        for members in scans[chunk.scan].chunks(chunk.members):
            entries, failed = worker.fit_members(scans[chunk.scan], members.tolist(), mu, upper_limit, time_limit)
            failures |= failed
            report(entries, "this process")
    return failures


class _Distribution:
    """Hands out chunks until every hypothesis has a result or has failed."""

    def __init__(
        self,
        scans: Sequence[Scan],
        chunks: list[Chunk],
        settings: dict[str, Any],
        executor: Executor,
        report: Report,
        workers: int,
        restart: Callable[[], Executor] | None,
        logs: Path | None,
    ) -> None:
        self.scans, self.settings, self.executor, self.report = scans, settings, executor, report
        self.expected_workers, self.restart, self.logs = workers, restart, logs
        self.waiting = deque(chunks)  # not handed out yet; to be cut
        self.again: deque[Chunk] = deque()  # handed out before, and lost
        self.running: dict[Future, Chunk] = {}
        self.finished: queue.SimpleQueue[Future] = queue.SimpleQueue()
        self.backgrounds = [parts.background(scan) for scan in scans]
        self.keys = [hashlib.sha256(background).hexdigest() for background in self.backgrounds]
        self.to_send = [workers] * len(scans)  # how often to send a background before a worker misses it
        self.deaths: Counter[str] = Counter()  # of workers, by the hypothesis that they fitted alone
        self.failures: dict[str, str] = {}
        self.failed_in_a_row, self.pace = 0, Pace()
        self.one_at_a_time = False  # after the executor has broken: which hypothesis breaks it?
        self.simd, self.crowded = {worker.simd()}, {""}

    def run(self) -> dict[str, str]:
        while self.waiting or self.again or self.running:
            self._hand_out()
            try:
                future = self.finished.get(timeout=TICK)
            except queue.Empty:
                self.report([], "")
                self._send_late_ones_again()
                continue
            if future in self.running:  # else it belonged to an executor that has broken
                self._take_back(future, self.running.pop(future))
        return self.failures

    def _hand_out(self) -> None:
        # Twice as many chunks as there are workers, so that no worker waits; not all, so that memory stays constant.
        window = 1 if self.one_at_a_time else 2 * max(len(self.pace.workers), self.expected_workers)
        while len(self.running) < window and (self.again or (self.waiting and not self.one_at_a_time)):
            self._submit(self.again.popleft() if self.again else self._cut())
        if not self.again and not self.running:
            self.one_at_a_time = False

    def _send_late_ones_again(self) -> None:
        """Also give chunks that are late to other workers. The first result counts."""
        each = self.pace.seconds_each()
        for chunk in list({id(chunk): chunk for chunk in self.running.values()}.values()):
            allowed = max(LATE_SECONDS, LATE * len(chunk.members) * (each or math.inf)) * chunk.copies
            if time.monotonic() - chunk.sent > allowed and chunk.copies < MOST_COPIES:
                self._submit(chunk)

    def _cut(self) -> Chunk:
        first = self.waiting[0]
        left = sum(len(chunk.members) for chunk in self.waiting)
        n = self.pace.size(chunk_size(self.scans[first.scan].model), left, self.expected_workers)
        chunk = Chunk(first.scan, first.members[:n])
        first.members = first.members[n:]
        if not first.members:
            self.waiting.popleft()
        return chunk

    def _submit(self, chunk: Chunk, with_background: bool = False) -> None:
        if self.to_send[chunk.scan] > 0:
            self.to_send[chunk.scan] -= 1
            with_background = True
        request = self.settings | {
            "identity": worker.identity(),
            "key": self.keys[chunk.scan],
            "background": self.backgrounds[chunk.scan] if with_background else None,
            "part": parts.part(self.scans[chunk.scan].model, chunk.members),
        }
        try:
            future = self.executor.submit(fit_request, request)
        except (BrokenExecutor, RuntimeError) as error:  # it broke after the last result
            future = Future()
            future.set_exception(error if isinstance(error, BrokenExecutor) else BrokenExecutor(str(error)))
        self.running[future] = chunk
        chunk.sent, chunk.copies = time.monotonic(), chunk.copies + 1
        future.add_done_callback(self.finished.put)

    def _take_back(self, future: Future, chunk: Chunk) -> None:
        try:
            result = future.result()
        except BrokenExecutor as error:
            self._start_again(error, chunk)
        except Exception as error:  # each engine has its own exceptions for a lost worker
            self._lost(error, chunk)
        else:
            self._use(result, chunk)

    def _use(self, result: dict[str, Any], chunk: Chunk) -> None:
        if "identity" in result:
            raise _other_versions(result)
        self.pace.workers.add(result["worker"])
        if "missing" in result:
            self._submit(chunk, with_background=True)
            return
        self.failed_in_a_row = 0
        self.running = {future: other for future, other in self.running.items() if other is not chunk}
        self.pace.note(result, len(chunk.members))
        self.failures |= result["failed"]
        self.report(result["entries"], result["worker"])
        if result["simd"] not in self.simd:
            self.simd.add(result["simd"])
            print(
                f"\nworker {result['worker'].partition(':')[0]} has a processor with other instruction sets: the last digits "
                "of its CLs may differ from those of this machine",
                file=sys.stderr,
            )
        if result["crowded"] not in self.crowded:
            self.crowded.add(result["crowded"])
            print(f"\n{result['worker'].partition(':')[0]}: {result['crowded']}", file=sys.stderr)

    def _start_again(self, error: Exception, chunk: Chunk) -> None:
        """The executor has broken, as a process pool does when one of its processes dies."""
        lost = list({id(c): c for c in (chunk, *self.running.values())}.values())
        self.running.clear()
        if self.restart is None:
            raise _nothing_works(error, 1, self.logs) from error
        print(f"\na worker died; fitting {sum(len(c.members) for c in lost)} hypotheses again", file=sys.stderr)
        self.executor = self.restart()
        self.to_send = [max(self.expected_workers, 1)] * len(self.scans)
        if len(lost) == 1:  # it broke while it fitted this chunk alone
            self._lost(error, chunk)
        else:
            self.again.extend(lost)
        self.one_at_a_time = True

    def _lost(self, error: Exception, chunk: Chunk) -> None:
        """Divide a chunk that got no result; a hypothesis that is alone in its chunk fails after ATTEMPTS."""
        if any(other is chunk for other in self.running.values()):
            return  # another worker has it too
        self.failed_in_a_row += 1
        nothing_yet = not self.pace.each and self.failed_in_a_row >= NO_RESULT
        if type(error).__name__ == "BadStateException" or nothing_yet:  # Parsl's word for an engine that has given up
            raise _nothing_works(error, self.failed_in_a_row, self.logs) from error
        if len(chunk.members) > 1:
            middle = len(chunk.members) // 2
            self.again.extend(Chunk(chunk.scan, half) for half in (chunk.members[:middle], chunk.members[middle:]))
            return
        name = self.scans[chunk.scan].model.names[chunk.members[0]]
        self.deaths[name] += 1
        if self.deaths[name] < ATTEMPTS:
            self.again.append(chunk)
        else:
            self.failures[name] = f"no result from {ATTEMPTS} workers; the last one: {type(error).__name__}: {error}"


def _other_versions(result: dict[str, Any]) -> WorkshopError:
    """The message about a worker that does not have the driver's versions."""
    here, there = worker.identity(), result["identity"]
    different = [name for name in here if here[name] != there.get(name)]
    return WorkshopError(
        looked_at=f"the versions of the worker {result['worker']}",
        expected=", ".join(f"{name} {here[name]}" for name in different),
        found=", ".join(f"{name} {there.get(name, 'missing')}" for name in different),
        next_step="start the workers from this clone and this environment (worker_init in the configuration), and run the "
        "same command again: finished fits are kept",
    )


def _nothing_works(error: Exception, n: int, logs: Path | None) -> WorkshopError:
    """The message if the executor gives no results at all. logs: the folder with the logs of its jobs."""
    text = f"{type(error).__name__}: {' '.join(str(error).split()) or 'no text'}"
    advice = "read the logs of the workers, and correct the configuration"
    if type(error).__name__ == "BadStateException":
        text = text.partition(" Error 2: ")[0]  # Parsl lists every job that it could not submit
        advice = (
            "is the job system running, and are partition and account right (`sinfo`, `condor_status`)? Correct the "
        )
        advice += "configuration"
        written = job_logs.last_error(logs) if logs else ""
        if written or (logs and "failed to register" in text):  # the jobs started, but no worker in them
            text = "jobs that end before their workers are ready"
            text += f"; the last one wrote: {written}" if written else f", and no logs of them in {logs}"
            advice = "correct what the job wrote" if written else "choose an --output in a folder that all nodes share"
            advice += f"; the logs are in {logs}" if written else ", such as your home folder"
    if "AF_UNIX path too long" in text:
        advice = "set TMPDIR to a folder with a short path (in worker_init), where the workers put their sockets"
    if "No module named" in text:
        advice = "set PYTHONPATH and activate the environment in worker_init, in folders that the workers can read"
    return WorkshopError(
        looked_at="the workers",
        expected="workers that fit hypotheses and send results",
        found=f"{n} failure{'s' * (n != 1)} in a row; the last one: {text}",
        next_step=f"{advice}; then run the same command again: finished fits are kept",
    )
