"""Makes schedules: which revocations, liftings and faults, at which moments, all from a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Any

from tests.redis.fleet.history import Token

__all__ = ["TOPOLOGIES", "Schedule", "Step", "make_schedule"]

SECONDS = 4.0
"""How long things are done to the fleet, before it is left alone to settle."""

A, B, C = "https://a.example", "https://b.example", "https://c.example"

_NAMES: tuple[tuple[str, str, str], ...] = (
    ("token", A, "t1"),
    ("token", A, "t2"),
    ("token", B, "t1"),
    ("session", A, "s1"),
    ("session", B, "s1"),
    ("subject", A, "u1"),
    ("subject", B, "u1"),
    ("client", A, "c1"),
    ("version", A, "u2"),
    ("key", B, "k1"),
    ("issuer", C, ""),
)
"""Few, so that revocations of the same name meet, and are lifted and made again."""

_TOPOLOGY_FAULTS: dict[str, dict[str, int]] = {
    "single": {
        "restart_empty": 4,
        "restart_kept": 2,
        "restart_older": 3,
        "flush": 3,
        "promote": 4,
        "fork": 3,
        "delete_log": 2,
        "step_clock": 2,
        "freeze_server": 3,
        "kill_connections": 2,
        "flush_scripts": 2,
        "cut_off": 5,
    },
    "sentinel": {
        "fail_over": 4,
        "flush": 1,
        "freeze_server": 1,
        "kill_connections": 2,
        "flush_scripts": 1,
    },
    "cluster": {
        "fail_over": 4,
        "flush": 1,
        "freeze_server": 1,
        "kill_connections": 2,
        "flush_scripts": 1,
    },
}

TOPOLOGIES = tuple(_TOPOLOGY_FAULTS)

_FOLLOWED = {"freeze_worker", "cut_off", "start_worker", "step_clock"}
"""Faults that are followed by revocations: what is revoked just then is where mistakes show."""

_LOSSES = {"restart_empty", "restart_older", "flush", "promote", "fork", "delete_log", "fail_over"}
"""Faults that follow a revocation and a lifting closely, and are met by a new process."""

_WORKER_FAULTS = {"freeze_worker": 5, "kill_worker": 3, "start_worker": 2}


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do, so many seconds after the start."""

    at: float
    what: str
    words: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.at:5.2f} {self.what} {self.words or ''}"


@dataclass(frozen=True, slots=True)
class Schedule:
    """What one seed stands for."""

    seed: int
    topology: str
    workers: int
    tokens: tuple[Token, ...]
    steps: tuple[Step, ...]


def make_schedule(seed: int, topology: str, base: float) -> Schedule:
    """The schedule of a seed.

    Args:
        seed: the same seed makes the same schedule.
        topology: one of TOPOLOGIES.
        base: a moment of the past, in seconds since the epoch; issue times lie around it.
    """
    chance = random.Random(f"{topology}-{seed}")
    steps = [
        *(_revoke(chance, base) for _ in range(chance.randint(10, 18))),
        *(_lift(chance) for _ in range(chance.randint(2, 6))),
        *(_fault(chance, _WORKER_FAULTS) for _ in range(chance.randint(0, 3))),
        *(_fault(chance, _TOPOLOGY_FAULTS[topology]) for _ in range(chance.randint(1, 3))),
    ]
    for step in steps[:]:
        if step.what in _FOLLOWED:
            at = step.at + chance.uniform(0.05, 0.4)
            steps += [replace(_revoke(chance, base), at=at) for _ in range(2)]
        if step.what in _LOSSES:
            before = step.at - chance.uniform(0.0, 0.05)
            steps.append(replace(_revoke(chance, base), at=before))
            steps.append(replace(_lift(chance), at=before - chance.uniform(0.0, 0.05)))
            if chance.random() < 0.4:
                steps.append(Step(step.at + chance.uniform(0.0, 0.5), "start_worker"))
    steps.sort(key=lambda step: step.at)
    return Schedule(seed, topology, chance.randint(2, 4), _tokens(base), tuple(steps))


def _revoke(chance: random.Random, base: float) -> Step:
    scope, issuer, id = chance.choice(_NAMES)
    revocation: dict[str, Any] = {"scope": scope, "issuer": issuer, "id": id}
    if scope in ("subject", "client", "issuer"):
        revocation["issued_until"] = chance.choice((base + 10, base + 20, None))
    if scope == "version":
        revocation["minimum_version"] = chance.randint(2, 4)
    # Early ones too, so that what the faults meet has been known for long.
    at = chance.choice((0.1, 1.0)) * SECONDS * chance.random()
    return Step(at, "revoke", {"slot": chance.randrange(12), "revocation": revocation})


def _lift(chance: random.Random) -> Step:
    scope, issuer, id = chance.choice(_NAMES)
    revocation = {"scope": scope, "issuer": issuer, "id": id}
    if scope == "version":
        revocation["minimum_version"] = 9  # type: ignore[assignment] # which is lifted goes by the name
    words = {"slot": chance.randrange(12), "revocation": revocation}
    return Step(SECONDS * chance.uniform(0.15, 1.0), "lift", words)


def _fault(chance: random.Random, weights: dict[str, int]) -> Step:
    what = chance.choices([*weights], [*weights.values()])[0]
    words: dict[str, Any] = {}
    match what:
        case "freeze_worker" | "freeze_server" | "cut_off":
            # Shorter than the bound, about as long, and longer.
            words["seconds"] = round(chance.choice((0.3, 0.9, 2.5)) * chance.uniform(0.7, 1.3), 2)
        case "restart_empty" | "restart_kept" | "restart_older":
            words["seconds"] = round(chance.choice((0.0, 0.2, 1.5)) * chance.uniform(0.5, 1.5), 2)
    if what in ("promote", "fork", "restart_older"):
        words["lag"] = round(chance.choice((0.0, 0.1, 0.8)) * chance.uniform(0.5, 1.5), 2)
    if what == "step_clock":
        words.update(revocation={"scope": "token", "issuer": A, "id": "t2"})
    if what == "fork":
        words["is_whole"] = chance.random() < 0.5
    if what == "cut_off":
        words["is_broken"] = chance.random() < 0.5
    if what in ("freeze_worker", "kill_worker", "cut_off"):
        words["slot"] = chance.randrange(12)
    return Step(SECONDS * chance.uniform(0.1, 0.95), what, words)


def _tokens(base: float) -> tuple[Token, ...]:
    tokens = [
        _token(base, A, token_id="t1"),
        _token(base, A, token_id="t2"),
        _token(base, B, token_id="t1"),
        _token(base, A, session_id="s1"),
        _token(base, B, session_id="s1"),
        _token(base, A, client_id="c1", issued_at=base + 5),
        _token(base, A, client_id="c1", issued_at=base + 15),
        _token(base, B, key_thumbprint="k1"),
        _token(base, C, subject="u9", issued_at=base + 5),
        _token(base, C, subject="u9", issued_at=base + 15),
        *(_token(base, A, subject="u2", token_version=version) for version in (1, 2, 3, None)),
        # One that nobody revokes, and one that many revoke.
        _token(base, A, subject="u3"),
        _token(base, B, token_id="t1", session_id="s1", subject="u1", key_thumbprint="k1"),
    ]
    for issuer in (A, B):
        for issued_at in (base + 5, base + 15, None):
            tokens.append(_token(base, issuer, subject="u1", issued_at=issued_at))
    return tuple(tokens)


def _token(base: float, issuer: str, **facts: Any) -> Token:
    named = {
        "issuer": issuer,
        "token_id": "another",
        "subject": None,
        "client_id": None,
        "session_id": None,
        "issued_at": base,
        "expires_at": base + 40_000.0,
        "token_version": 5,
        "key_thumbprint": "another",
    }
    return Token({**named, **facts})
