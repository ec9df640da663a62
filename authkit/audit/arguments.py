"""Checks of the arguments of an AuditTrail."""

from __future__ import annotations

import math

from authkit.errors import ConfigurationError
from authkit.interfaces import AuditSink

__all__ = ["check_chain_key", "check_numbers", "check_producer", "check_sinks"]

_MAX_PRODUCER = 64


def _check_sink(sink: AuditSink) -> None:
    """Raises ConfigurationError if it is no sink."""
    if not callable(getattr(sink, "write", None)):
        raise ConfigurationError(f"an AuditSink has a method write; {type(sink).__name__} has none")


def check_sinks(sink: AuditSink, anchor_sink: AuditSink | None, chain_key: bytes | None) -> None:
    """Raises ConfigurationError if one is no sink, or there can be no anchors in the other."""
    _check_sink(sink)
    if anchor_sink is None:
        return
    _check_sink(anchor_sink)
    if chain_key is None:
        raise ConfigurationError("anchor_sink needs a chain_key: without a chain it has no anchors")
    if anchor_sink is sink:
        raise ConfigurationError("anchor_sink must be another place than the sink itself")


def check_chain_key(chain_key: bytes | None) -> None:
    """Raises ConfigurationError if it is no key for a chain."""
    if chain_key is None:
        return
    if not isinstance(chain_key, bytes) or not 32 <= len(chain_key) <= 64:
        raise ConfigurationError(
            "chain_key must be 32 to 64 bytes, such as secrets.token_bytes(32)"
        )


def check_producer(producer: str | None) -> None:
    """Raises ConfigurationError if a producer's name cannot begin like this."""
    if producer is None:
        return
    if not isinstance(producer, str) or not producer or not producer.isprintable():
        raise ConfigurationError("producer must be printable text; leave it out for none")
    if len(producer) > _MAX_PRODUCER:
        raise ConfigurationError(f"producer has more than {_MAX_PRODUCER} characters")


def check_numbers(**numbers: float) -> None:
    """Raises ConfigurationError, which names the argument, if one makes no sense."""
    for name, value in numbers.items():
        if isinstance(value, bool) or not math.isfinite(value) or value <= 0:
            raise ConfigurationError(f"{name} must be a positive number")
        if not name.endswith("_seconds") and not isinstance(value, int):
            raise ConfigurationError(f"{name} must be a whole number")
