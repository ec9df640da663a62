"""What happened in one schedule; every time is of the one monotonic clock of the machine."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Call", "Check", "History", "Interval", "Key", "Life", "Loss", "Token"]

Key = tuple[str, str, str]
"""Scope, issuer and id: what a revocation and its lifting have in common."""


@dataclass(frozen=True, slots=True)
class Token:
    """What the oracle knows of a token; the same fields as its TokenFacts."""

    facts: dict[str, Any]

    def is_covered(self, call: Call) -> bool:
        """Whether the revocation of this call covers the token, by its words alone."""
        scope, issuer, id = call.key
        if issuer != self.facts["issuer"]:
            return False
        match scope:
            case "token":
                return bool(self.facts["token_id"] == id)
            case "session":
                return bool(self.facts["session_id"] == id)
            case "key":
                return bool(self.facts["key_thumbprint"] == id)
            case "version":
                version = self.facts["token_version"]
                return self.facts["subject"] == id and (
                    version is None or version < call.revocation["minimum_version"]
                )
        name = {"subject": self.facts["subject"], "client": self.facts["client_id"], "issuer": ""}
        until = call.revocation.get("issued_until")
        issued = self.facts["issued_at"]
        return name[scope] == id and (issued is None or until is None or issued <= until)


@dataclass(slots=True)
class Call:
    """One revoke or lift; `end` is infinite while its outcome is unknown."""

    kind: str
    worker: str
    revocation: dict[str, Any]
    start: float
    end: float = math.inf
    outcome: str = "unknown"
    effective_in: float = 0.0

    @property
    def key(self) -> Key:
        words = self.revocation
        return words["scope"], words["issuer"], words["id"]

    @property
    def is_acknowledged(self) -> bool:
        return self.outcome == "done"

    def __str__(self) -> str:
        more = {
            name: value
            for name, value in self.revocation.items()
            if name not in ("scope", "issuer", "id") and value is not None
        }
        return f"{self.kind} {' '.join(self.key)} {more or ''} by {self.worker}: {self.outcome}"


@dataclass(frozen=True, slots=True)
class Check:
    """One answer to `find`, see the numbers in worker.py."""

    worker: str
    token: int
    start: float
    end: float
    answer: int


@dataclass(frozen=True, slots=True)
class Interval:
    """A stretch of time in which somebody did not run, or could not be reached."""

    start: float
    end: float
    what: str

    def meets(self, start: float, end: float) -> bool:
        return self.start <= end and start <= self.end


@dataclass(slots=True)
class Loss:
    """The server lost what it had acknowledged after `kept_until` and before `end`.

    Attributes:
        kept_until: what was acknowledged before is still there.
        start: when it began.
        end: what is sent from here on goes to the server that is left.
        reachable_from: when that one could be reached at the earliest.
        reachable: when it could be reached by all.
    """

    what: str
    kept_until: float
    start: float
    end: float
    reachable_from: float
    reachable: float

    def loses(self, call: Call) -> bool:
        return call.end > self.kept_until and call.start <= self.end


@dataclass(slots=True)
class Life:
    """One process: when it lived, when it did not run, and when it called itself fresh."""

    name: str
    born: float
    died: float = math.inf
    gaps: list[Interval] = field(default_factory=list)
    lags: list[Interval] = field(default_factory=list)
    fresh_at: list[float] = field(default_factory=list)

    def runs_throughout(self, start: float, end: float) -> bool:
        if not (self.born <= start and end <= self.died):
            return False
        return not any(gap.meets(start, end) for gap in (*self.gaps, *self.lags))


@dataclass(slots=True)
class History:
    """All that the oracle judges."""

    tokens: list[Token]
    calls: list[Call] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    outages: list[Interval] = field(default_factory=list)
    lives: dict[str, Life] = field(default_factory=dict)
    notes: list[tuple[float, str]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    lags: list[Interval] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    final_checks: list[Check] = field(default_factory=list)
