"""Runs schedules: gives the orders to the processes, does the faults, and writes the history."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from tests.redis.fleet.ground import Ground
from tests.redis.fleet.history import Call, Check, History, Interval, Life
from tests.redis.fleet.oracle import Oracle, Promise, Verdict
from tests.redis.fleet.processes import ANSWER_SECONDS, Fleet, Worker, WorkerLost
from tests.redis.fleet.schedules import SECONDS, Schedule, Step
from tests.redis.fleet.worker import UNAVAILABLE

__all__ = ["Outcome", "run_schedule"]

_PATIENCE = 6
"""How many bounds the fleet may take to be well after the faults, on a machine that is busy."""


@dataclass(slots=True)
class Outcome:
    """What came of a schedule."""

    schedule: Schedule
    history: History
    verdict: Verdict

    def trace(self) -> str:
        """What happened, in order."""
        history, lines = self.history, list(self.history.notes)
        lines += [(call.start, f"begins  {call}") for call in history.calls]
        lines += [(call.end, f"ends    {call}") for call in history.calls]
        lines += [(loss.start, f"LOSS    {loss}") for loss in history.losses]
        lines += [(out.start, f"OUTAGE  {out}") for out in history.outages]
        for life in history.lives.values():
            lines.append((life.born, f"BORN    {life.name}"))
            lines.append((life.died, f"DIED    {life.name}"))
            lines += [(gap.start, f"GAP     {life.name} {gap}") for gap in life.gaps]
        zero = min((at for at, _ in lines), default=0.0)
        ordered = [f"{at - zero:8.3f} {at:12.3f}  {words}" for at, words in sorted(lines)]
        return "\n".join([*ordered, *self.history.errors[:3]])


@dataclass(slots=True)
class _Run:
    """One schedule on its way."""

    fleet: Fleet
    ground: Ground
    schedule: Schedule
    promise: Promise
    options: dict[str, Any]
    history: History
    workers: list[Worker] = field(default_factory=list)
    server_faults: asyncio.Lock = field(default_factory=asyncio.Lock)
    open_calls: list[tuple[Worker, asyncio.Task[None]]] = field(default_factory=list)

    def note(self, words: str) -> None:
        self.history.notes.append((time.monotonic(), words))

    async def start_worker(self) -> None:
        worker = await self.fleet.borrow()
        worker.life = Life(worker.name, time.monotonic())
        worker.history = self.history
        self.history.lives[worker.name] = worker.life
        url = await self.ground.url_for(worker.name)
        tokens = [token.facts for token in self.schedule.tokens]
        await worker.ask("begin", url=url, tokens=tokens, seed=self.schedule.seed, **self.options)
        self.workers.append(worker)

    def pick(self, slot: int) -> Worker | None:
        running = [w for w in self.workers if w.is_usable and not w.is_frozen]
        return running[slot % len(running)] if running else None

    async def do(self, step: Step, zero: float) -> None:
        await asyncio.sleep(zero + step.at - time.monotonic())
        words = dict(step.words)
        if step.what == "start_worker":
            await self.start_worker()
            return
        if "slot" not in words:
            async with self.server_faults:
                self.note(f"{step.what} {words} begins")
                revocation = words.pop("revocation", None)
                await getattr(self.ground, step.what)(**words)
                if revocation is not None and (worker := self.pick(0)) is not None:
                    await self._change(worker, "revoke", revocation)
                self.note(f"{step.what} {words} is over")
            return
        worker = self.pick(words.pop("slot"))
        if worker is None:
            return
        if step.what in ("revoke", "lift"):
            task = asyncio.create_task(self._change(worker, step.what, words["revocation"]))
            self.open_calls.append((worker, task))
            return
        self.note(f"{step.what} {words} {worker.name}")
        match step.what:
            case "kill_worker":
                worker.kill()
            case "freeze_worker":
                await self._freeze(worker, words["seconds"])
            case "cut_off":
                await self.ground.cut_off(worker.life, **words)  # type: ignore[attr-defined] # single only

    async def _change(self, worker: Worker, kind: str, revocation: dict[str, Any]) -> None:
        call = Call(kind, worker.name, revocation, time.monotonic())
        self.history.calls.append(call)
        try:
            answer = await worker.ask(kind, revocation=revocation)
        except WorkerLost:
            return
        for name in ("start", "end", "outcome", "effective_in"):
            if name in answer:
                setattr(call, name, answer[name])

    async def _freeze(self, worker: Worker, seconds: float) -> None:
        start = time.monotonic()
        gap = Interval(start, float("inf"), "frozen")
        worker.life.gaps.append(gap)
        worker.freeze()
        await asyncio.sleep(seconds)
        worker.thaw()
        worker.life.gaps.remove(gap)
        worker.life.gaps.append(Interval(start, time.monotonic() + 0.3, "frozen"))

    async def run(self) -> None:
        for _ in range(self.schedule.workers):
            await self.start_worker()
        zero = time.monotonic() + 0.3
        await asyncio.gather(*(self.do(step, zero) for step in self.schedule.steps))
        await asyncio.sleep(max(0.0, zero + SECONDS - time.monotonic()))
        self.note("faults are over")
        await self._settle()

    async def _settle(self) -> None:
        """Everybody becomes fresh, a process started anew too, and then answers for every token."""
        pending = [task for worker, task in self.open_calls if worker.is_usable]
        if pending:
            await asyncio.wait(pending, timeout=self.promise.timeout_seconds * 2)
        await self._become_fresh()
        await self.start_worker()
        await self._become_fresh()
        await asyncio.sleep(self.promise.max_staleness_seconds)
        self.note("the last checks")
        self.history.final_checks = await self._last_checks()

    async def _last_checks(self) -> list[Check]:
        """The answers of all; where some cannot tell, all are asked again, but not for ever."""
        deadline = time.monotonic() + _PATIENCE * self.promise.timeout_seconds
        while True:
            checks = [
                Check(worker.name, *check)
                for worker, answer in await self._sweep()
                for check in answer["checks"]
            ]
            unknown = any(check.answer == UNAVAILABLE for check in checks)
            if not unknown or time.monotonic() > deadline:
                return checks
            await asyncio.sleep(0.1)

    async def _sweep(self) -> list[tuple[Worker, dict[str, Any]]]:
        usable = [worker for worker in self.workers if worker.is_usable]
        answers = await asyncio.gather(*(worker.ask("sweep") for worker in usable))
        return list(zip(usable, answers, strict=True))

    async def _become_fresh(self) -> None:
        promise, start = self.promise, time.monotonic()
        deadline = start + _PATIENCE * (promise.max_staleness_seconds + promise.timeout_seconds)
        while True:
            late = [worker.name for worker, answer in await self._sweep() if not answer["fresh"]]
            if not late:
                self.note(f"all are fresh after {time.monotonic() - start:.2f} s")
                return
            if time.monotonic() > deadline:
                self.history.faults.append(f"not fresh long after the faults: {', '.join(late)}")
                return
            await asyncio.sleep(0.05)

    async def close(self) -> None:
        for worker in self.workers:
            if worker.is_frozen:
                worker.thaw()
            if worker.is_usable:
                try:
                    answer = await asyncio.wait_for(
                        worker.ask("end", within_seconds=5.0), ANSWER_SECONDS
                    )
                    if answer.get("outcome") == "error":
                        self.history.errors.append(f"{worker.name} did not close")
                        worker.kill()
                except (WorkerLost, TimeoutError):
                    self.history.errors.append(f"{worker.name} did not answer at the end")
                    worker.kill()
            self.fleet.give_back(worker)


async def run_schedule(
    fleet: Fleet,
    ground: Ground,
    schedule: Schedule,
    promise: Promise,
) -> Outcome:
    """Runs one schedule, and judges it."""
    history = History(list(schedule.tokens))
    prefix = f"fleet-{schedule.seed}"
    options = {
        "prefix": prefix,
        "secret": secrets.token_hex(16),
        "max_staleness_seconds": promise.max_staleness_seconds,
        "timeout_seconds": promise.timeout_seconds,
    }
    run = _Run(fleet, ground, schedule, promise, options, history)
    start = time.monotonic()
    await ground.begin(history, {step.what for step in schedule.steps}, prefix)
    try:
        await run.run()
    finally:
        await run.close()
        await ground.end()
    history.lags = [lag for lag in fleet.outages if lag.end >= start]
    history.outages += history.lags
    verdict = Oracle(history, promise).judge()
    for fault in history.faults:
        verdict.blame("never fresh", fault)
    for error in history.errors:
        verdict.blame("error", error)
    return Outcome(schedule, history, verdict)
