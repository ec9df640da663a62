"""Judges a history: what the promise says must have happened, and where it did not.

The promise: a revocation acknowledged at *t* is refused by every process from *t* + the bound on,
or answered as unavailable.  It covers an acknowledged revocation (and an acknowledged lifting) as
long as the server that acknowledged it keeps it; where the server loses it, as long as a process
that knows it reaches the server that is left within the settle time after the first one did.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

from tests.redis.fleet.history import Call, Check, History, Interval, Life, Loss
from tests.redis.fleet.worker import FOUND, NONE, OTHER_ERROR

__all__ = ["Oracle", "Promise", "Verdict"]


@dataclass(frozen=True, slots=True)
class Promise:
    """The figures of the promise.

    Attributes:
        max_staleness_seconds: the bound.
        timeout_seconds: within which each call ends.
        slack_seconds: by which a busy machine may be later than that.
    """

    max_staleness_seconds: float
    timeout_seconds: float
    slack_seconds: float = 1.0

    @property
    def settle_seconds(self) -> float:
        """How long those who know have to write back what a server lost."""
        return 0.4 * self.max_staleness_seconds


@dataclass(slots=True)
class Verdict:
    """What is wrong, and how much was looked at."""

    violations: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def blame(self, kind: str, words: str, *, at_most: int = 5) -> None:
        """Adds a violation; of many of one kind the first few say enough."""
        self.counts[f"violation: {kind}"] += 1
        if self.counts[f"violation: {kind}"] <= at_most:
            self.violations.append(f"{kind}: {words}")


class Oracle:
    """Judges one history."""

    def __init__(self, history: History, promise: Promise) -> None:
        self.history = history
        self.promise = promise
        self.verdict = Verdict()
        self.revokes = [call for call in history.calls if call.kind == "revoke"]
        self.lifts = [call for call in history.calls if call.kind == "lift"]
        self.lost_at = {
            id(call): self._lost_at(call) for call in history.calls if call.is_acknowledged
        }

    def judge(self) -> Verdict:
        """All that is wrong."""
        self._judge_calls()
        for index in range(len(self.history.tokens)):
            self._judge_token(index)
        self._count()
        return self.verdict

    # What the promise covers ----------------------------------------------------------------------

    def _lost_at(self, call: Call) -> float:
        """From when on the promise does not cover an acknowledged call, or infinity."""
        for loss in self.history.losses:
            if loss.loses(call) and not self._is_carried_over(call, loss):
                return loss.start
        return math.inf

    def _is_carried_over(self, call: Call, loss: Loss) -> bool:
        """Whether a process that knew of it was there to tell the server that is left."""
        start, end = loss.reachable_from - 0.1, loss.reachable + self.settle_end
        outages = (out for out in self.history.outages if out.end > loss.reachable)
        if any(outage.meets(loss.reachable, end) for outage in outages):
            return False
        return any(
            self._knows(life, call, loss)
            and life.died > end
            and life.runs_throughout(max(start, life.born), end)
            for life in self.history.lives.values()
            if life.born <= loss.start
        )

    @property
    def settle_end(self) -> float:
        """After this long, what the processes know is on the server: noticing it takes a while."""
        return self.promise.settle_seconds + 0.3 * self.promise.max_staleness_seconds

    def _knows(self, life: Life, call: Call, loss: Loss) -> bool:
        """Whether a process had surely learned of it: it did it, or was fresh long enough after."""
        if life.name == call.worker:
            return True
        known_from = call.end + self.promise.max_staleness_seconds
        return any(known_from <= at <= loss.start for at in life.fresh_at)

    def _is_in_force(self, revoke: Call, at: float, until: float) -> bool:
        """Whether it surely holds all through this time, the bound being over."""
        if at <= revoke.end + self.promise.max_staleness_seconds:
            return False
        return until < self.lost_at[id(revoke)] and not any(
            lift.key == revoke.key and self._end(lift) > revoke.start and lift.start <= until
            for lift in self.lifts
        )

    def _is_surely_lifted(self, revoke: Call) -> bool:
        """Whether a lifting of it was acknowledged, and nothing excuses that it is refused.

        Where the server loses something, the fleet goes on refusing rather than accepting: a
        lifting may lift nothing when it reaches a server before those who know the revocation
        have written it back, and it may be lost with the server when the same name was revoked
        again later.
        """
        return revoke.is_acknowledged and any(
            lift.key == revoke.key
            and lift.is_acknowledged
            and revoke.end < lift.start
            and self.lost_at[id(lift)] == math.inf
            and not any(self._excuses(loss, revoke, lift) for loss in self.history.losses)
            for lift in self.lifts
        )

    def _excuses(self, loss: Loss, revoke: Call, lift: Call) -> bool:
        settled = loss.reachable + self.settle_end
        if loss.loses(revoke) and loss.start <= lift.end and lift.start <= settled:
            return True
        return loss.loses(lift) and any(
            again.key == lift.key and lift.start < again.end and again.start <= settled
            for again in self.revokes
        )

    @staticmethod
    def _end(call: Call) -> float:
        """A call that was not acknowledged may take effect at any time, or never."""
        return call.end if call.is_acknowledged else math.inf

    # Judging --------------------------------------------------------------------------------------

    def _judge_calls(self) -> None:
        for call in self.history.calls:
            if call.outcome == "error":
                self.verdict.blame("foreign error", str(call))
            self._judge_duration(call.worker, call.start, call.end, str(call))
            if call.kind == "revoke" and call.effective_in > self.promise.max_staleness_seconds:
                self.verdict.blame("receipt beyond the bound", str(call))
        for check in (*self.history.checks, *self.history.final_checks):
            if check.answer == OTHER_ERROR:
                self.verdict.blame("foreign error", f"find of token {check.token}")
            self._judge_duration(check.worker, check.start, check.end, f"find {check.token}")

    def _judge_duration(self, worker: str, start: float, end: float, what: str) -> None:
        if not math.isfinite(end):
            return
        allowed = self.promise.timeout_seconds + self.promise.slack_seconds
        life = self.history.lives[worker]
        for gap in _united([*life.gaps, *life.lags, *self.history.lags]):
            allowed += max(0.0, min(end, gap.end) - max(start, gap.start))
        if end - start > allowed:
            took = f"{end - start:.2f} s from {start:.3f}"
            self.verdict.blame("call beyond its timeout", f"{what} by {worker} took {took}")

    def _judge_token(self, index: int) -> None:
        token = self.history.tokens[index]
        covering = [revoke for revoke in self.revokes if token.is_covered(revoke)]
        for check in self.history.checks:
            if check.token == index:
                self._judge_check(check, covering)
        for check in self.history.final_checks:
            if check.token == index:
                self._judge_final(check, covering)

    def _judge_check(self, check: Check, covering: list[Call]) -> None:
        if check.answer == FOUND:
            if not any(revoke.start <= check.end for revoke in covering):
                self.verdict.blame("found what nobody revoked", self._words(check))
            return
        if check.answer == NONE:
            for revoke in covering:
                if revoke.is_acknowledged and self._is_in_force(revoke, check.start, check.end):
                    late = check.start - revoke.end
                    words = f"{self._words(check)} {late:.3f} s after {revoke}"
                    self.verdict.blame("accepted after acknowledgement plus bound", words)
                    return

    def _judge_final(self, check: Check, covering: list[Call]) -> None:
        if check.answer not in (FOUND, NONE):
            self.verdict.blame("unavailable at the end", self._words(check))
            return
        must = [
            revoke
            for revoke in covering
            if revoke.is_acknowledged and self._is_in_force(revoke, math.inf, check.end)
        ]
        may = [revoke for revoke in covering if not self._is_surely_lifted(revoke)]
        if check.answer == NONE and must:
            self.verdict.blame("lost", f"{self._words(check)}: {must[0]}")
        if check.answer == FOUND and not may:
            was = f", which was lifted: {covering[-1]}" if covering else ""
            self.verdict.blame("refused at the end", f"{self._words(check)}{was}")
        self.verdict.counts["final: must be found"] += bool(must)
        self.verdict.counts["final: must not be found, was lifted"] += bool(covering and not may)
        self.verdict.counts["final: checks"] += 1

    def _words(self, check: Check) -> str:
        answer = {NONE: "accepted", FOUND: "refused"}.get(check.answer, "unavailable")
        return f"token {check.token} {answer} by {check.worker} at {check.start:.3f}"

    def _count(self) -> None:
        counts = self.verdict.counts
        counts["checks"] = len(self.history.checks)
        answered = sum(check.answer in (NONE, FOUND) for check in self.history.checks)
        counts["checks unavailable"] = len(self.history.checks) - answered
        counts["losses"] = len(self.history.losses)
        for call in self.history.calls:
            counts[f"{call.kind}: {call.outcome}"] += 1
            if call.is_acknowledged:
                counts[f"{call.kind}: covered to the end"] += self.lost_at[id(call)] == math.inf
                lost = any(loss.loses(call) for loss in self.history.losses)
                counts[f"{call.kind}: lost by the server"] += lost


def _united(gaps: list[Interval]) -> list[Interval]:
    """The same stretches of time without overlaps."""
    united: list[Interval] = []
    for gap in sorted(gaps, key=lambda gap: gap.start):
        if united and gap.start <= united[-1].end:
            united[-1] = Interval(united[-1].start, max(gap.end, united[-1].end), gap.what)
        else:
            united.append(gap)
    return united
