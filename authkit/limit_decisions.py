"""A limiter's answers, made faster than by their constructors."""

from __future__ import annotations

from typing import Any

from authkit.interfaces import LimitDecision, LimitState

__all__ = ["limit_decision", "limit_state", "one_granted"]

# The constructor of a frozen dataclass takes as long as the decision itself.  So a value is written
# into a plain object with the same slots, which then becomes what it is: 0.7 µs less for both.


class _State:
    __slots__ = ("name", "remaining", "reset_after_seconds", "retry_after_seconds")


class _Decision:
    __slots__ = ("allowed", "is_degraded", "states")


def limit_state(
    name: str, remaining: int, retry_after_seconds: float, reset_after_seconds: float
) -> LimitState:
    """A LimitState, made faster than by its constructor."""
    written: Any = _State()
    written.name = name
    written.remaining = remaining
    written.retry_after_seconds = retry_after_seconds
    written.reset_after_seconds = reset_after_seconds
    written.__class__ = LimitState
    state: LimitState = written
    return state


def limit_decision(
    allowed: bool, states: tuple[LimitState, ...], *, is_degraded: bool = False
) -> LimitDecision:
    """A LimitDecision, made faster than by its constructor."""
    written: Any = _Decision()
    written.allowed = allowed
    written.states = states
    written.is_degraded = is_degraded
    written.__class__ = LimitDecision
    decision: LimitDecision = written
    return decision


def one_granted(name: str, remaining: int, reset_after_seconds: float) -> LimitDecision:
    """The LimitDecision that grants a call with one limit; both of the above in one."""
    state: Any = _State()
    state.name = name
    state.remaining = remaining
    state.retry_after_seconds = 0.0
    state.reset_after_seconds = reset_after_seconds
    state.__class__ = LimitState
    decision: Any = _Decision()
    decision.allowed = True
    decision.states = (state,)
    decision.is_degraded = False
    decision.__class__ = LimitDecision
    granted: LimitDecision = decision
    return granted
