"""The load generator: worker processes that send pre-built requests and take the time of each answer.

Guarded here: a closed loop sends the next request when the last one is answered; an open loop sends when
the schedule says, and latency counts from the scheduled time, so a slow server cannot hide behind the
requests it kept from being sent. Nothing is built, parsed as JSON or allocated at length while it runs.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import resource
import time
from array import array
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import uvloop

from benchmarks import judge
from benchmarks.bodies import Envelope, Traffic, build
from benchmarks.nouns import Plan
from benchmarks.outcome import Outcome, write_acknowledged
from benchmarks.wire import Wire, address_of

_TICK_S: Final = 0.001
"""An open loop looks at its schedule so often; it can make a latency look longer, never shorter."""

_CONNECT_AT_ONCE: Final = 64
_ANSWER_WAIT_S: Final = 60.0
"""After the end of a run, how long to wait for the answers still out."""


class Generator:
    """One worker's connections and its place in the traffic."""

    def __init__(self, traffic: Traffic, plan: Plan, url: str, count: Callable[[int], None]) -> None:
        requests = len(traffic.requests)
        self._traffic, self._plan, self._url, self._count = traffic, plan, url, count
        self._next = 0
        self._open = 0
        self._stop_at = float("inf")
        self._place: dict[Wire, tuple[int, int]] = {}
        self._idle: list[Wire] = []
        self._late: deque[int] = deque()
        self._finished: asyncio.Future[None] | None = None
        self._judge_batch = judge.binary if plan.form == "binary" else judge.batch
        self.outcome = Outcome(
            array("d", bytes(8 * requests)), array("d", bytes(8 * requests)), traffic.transfers, bytearray(requests)
        )

    async def connect(self) -> None:
        """Open every connection before the clock starts."""
        host, port = address_of(self._url)
        loop = asyncio.get_running_loop()
        wanted = self._plan.connections
        while self._open < wanted:
            some = min(_CONNECT_AT_ONCE, wanted - self._open)
            made = await asyncio.gather(
                *(loop.create_connection(lambda: Wire(self._answered, self._lost), host, port) for _ in range(some))
            )
            self._idle += [wire for _, wire in made]
            self._open += some

    async def run(self) -> Outcome:
        """Send everything, or as much as fits into the time, and wait for the answers."""
        loop = asyncio.get_running_loop()
        self._finished = loop.create_future()
        cpu, start = time.process_time(), time.perf_counter()
        self._stop_at = start + self._plan.seconds_max
        if self._traffic.due_s:
            ticking = loop.create_task(self._keep_schedule(start))
        else:
            ticking = None
            wires, self._idle = self._idle, []
            for wire in wires:
                self._claim(wire)
        self._check_end()
        try:
            async with asyncio.timeout(self._plan.seconds_max + _ANSWER_WAIT_S):
                await self._finished
        except TimeoutError:
            self._note("unanswered", len(self._place))
        if ticking:
            ticking.cancel()
        self.outcome.cpu_s, self.outcome.wall_s = time.process_time() - cpu, time.perf_counter() - start
        for wire in [*self._place, *self._idle]:
            wire.close()
        return self.outcome

    async def _keep_schedule(self, start: float) -> None:
        due, requests = self._traffic.due_s, len(self._traffic.requests)
        while self._next < requests:
            now = time.perf_counter()
            while self._next < requests and start + due[self._next] <= now:
                index, self._next = self._next, self._next + 1
                self.outcome.began[index] = start + due[index]
                if self._idle:
                    self._send(self._idle.pop(), index, index + 1)
                else:
                    self._late.append(index)
            await asyncio.sleep(_TICK_S)
        self._check_end()

    def _claim(self, wire: Wire) -> None:
        """Give a connection the next request of a closed loop, or let it rest."""
        now = time.perf_counter()
        if self._next >= len(self._traffic.requests) or now >= self._stop_at:
            self._idle.append(wire)
            self._check_end()
            return
        first = self._next
        self._next += self._traffic.group
        self.outcome.began[first] = now
        self._send(wire, first, self._next)

    def _send(self, wire: Wire, index: int, stop: int) -> None:
        self._place[wire] = (index, stop)
        wire.send(self._traffic.requests[index])

    def _answered(self, wire: Wire, answer: bytes) -> None:
        now = time.perf_counter()
        index, stop = self._place.pop(wire)
        self.outcome.ended[index] = now
        if index + 1 < stop:
            self.outcome.began[index + 1] = now
            self._send(wire, index + 1, stop)
        elif self._late:
            late = self._late.popleft()
            self._send(wire, late, late + 1)
        elif self._traffic.due_s:
            self._idle.append(wire)
            self._check_end()
        else:
            self._claim(wire)
        self._judge(index, answer)

    def _judge(self, index: int, answer: bytes) -> None:
        outcome, transfers = self.outcome, self._traffic.transfers[index]
        outcome.answer_bytes += len(answer)
        try:
            if self._plan.form == "single" and self._traffic.group == 1:
                outcome.verdicts[index] = judge.single(answer)
            else:
                mixed = self._judge_batch(answer, len(self._traffic.ids[index]) // 16)
                outcome.verdicts[index] = judge.ACCEPTED
                if mixed is not None:
                    outcome.mixed[index] = mixed
        except judge.Wrong as wrong:
            outcome.verdicts[index] = judge.REFUSED
            self._note(str(wrong), 1)
        self._count(transfers)

    def _lost(self, wire: Wire) -> None:
        self._open -= 1
        if self._place.pop(wire, None) is not None:
            self._note("connection lost", 1)
        elif wire in self._idle:
            self._idle.remove(wire)
        if self._open == 0:
            self._next = len(self._traffic.requests)
            self._late.clear()
        self._check_end()

    def _check_end(self) -> None:
        sent = self._next >= len(self._traffic.requests) or (
            not self._traffic.due_s and time.perf_counter() >= self._stop_at
        )
        if sent and not self._place and not self._late and self._finished and not self._finished.done():
            self._finished.set_result(None)

    def _note(self, error: str, times: int) -> None:
        if times:
            self.outcome.errors[error] = self.outcome.errors.get(error, 0) + times


@dataclass(frozen=True, slots=True)
class Order:
    """What a worker process is told."""

    plan: Plan
    url: str
    key: str
    acknowledged: Path


def work(order: Order, sent: Any, pipe: Connection) -> None:
    """A worker process, from building to the last answer. `sent` counts the transfers answered so far."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    def count(transfers: int) -> None:
        sent.value += transfers

    host, port = address_of(order.url)
    traffic = build(order.plan, Envelope(f"{host}:{port}", order.key))
    generator = Generator(traffic, order.plan, order.url, count)

    async def main() -> None:
        await generator.connect()
        # The requests live as long as the process: looking through them for garbage would cost time.
        gc.freeze()
        gc.disable()
        pipe.send("ready")
        await asyncio.to_thread(pipe.recv)
        await generator.run()

    # Its result is nothing, for asyncio writes the result out as text at the end: minutes and gigabytes of it.
    uvloop.run(main())
    write_acknowledged(order.acknowledged, traffic, generator.outcome)
    pipe.send(generator.outcome)


def worker_processes(connections: int) -> int:
    """Worker processes to use: one on a small machine, so that the server keeps its core."""
    return max(1, min((os.cpu_count() or 1) // 4, connections))


async def drive(
    plan: Plan,
    url: str,
    key: str,
    scratch: Path,
    tell: Callable[[str, int], None],
) -> tuple[list[Outcome], list[Path]]:
    """Run a plan in worker processes. `tell(phase, transfers so far)` is called often.

    Returns what each worker saw and where its ids are written."""
    spawn = multiprocessing.get_context("spawn")
    workers = worker_processes(plan.connections)
    sent = [spawn.Value("q", 0, lock=False) for _ in range(workers)]
    pipes, processes, files = [], [], []
    for worker in range(workers):
        ours, theirs = spawn.Pipe()
        files.append(scratch / f"acknowledged_{plan.case}_{worker}.copy")
        process = spawn.Process(
            target=work,
            args=(Order(plan.share(worker, workers), url, key, files[-1]), sent[worker], theirs),
            daemon=True,
        )
        process.start()
        theirs.close()
        pipes.append(ours)
        processes.append(process)
    try:
        await _receive(pipes, lambda: tell("build", 0))
        for pipe in pipes:
            pipe.send("go")
        outcomes = await _receive(pipes, lambda: tell("run", sum(each.value for each in sent)))
    except asyncio.CancelledError:
        for process in processes:
            process.terminate()
        raise
    finally:
        for process in processes:
            process.join(timeout=10)
            if process.is_alive():
                process.terminate()
    return outcomes, files


async def _receive(pipes: list[Any], waiting: Callable[[], None]) -> list[Any]:
    """One message from each worker."""
    received: dict[int, Any] = {}
    while len(received) < len(pipes):
        for index, pipe in enumerate(pipes):
            if index not in received and pipe.poll():
                try:
                    received[index] = pipe.recv()
                except EOFError:
                    raise RuntimeError("a worker of the load generator died; its error is above") from None
        waiting()
        await asyncio.sleep(0.05)
    return [received[index] for index in range(len(pipes))]
