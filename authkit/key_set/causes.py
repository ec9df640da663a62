"""Says in a few fixed words why something failed, without repeating anybody's message."""

from __future__ import annotations

import errno
import re
import socket
import ssl
from collections.abc import Iterator
from typing import Final

__all__ = ["failure"]

_MAX_LINKS: Final = 32
"""How many exceptions of a chain are looked at; chains of real clients have some five."""

_RESOLVER_CODES: Final = {
    getattr(socket, name): name for name in sorted(dir(socket), reverse=True) if name[:4] == "EAI_"
}
_REASON: Final = re.compile(r"[A-Z0-9_]{1,64}")
_VERDICT: Final = re.compile(r"[A-Za-z0-9 -]{1,64}")


def failure(error: BaseException) -> str:
    """The error's type, and what the system or TLS said of it: `ConnectError (ECONNREFUSED)`.

    The facts are names of codes and the standing words for a certificate that is refused.  They
    are looked for in all errors that this one came from.  No other text of an error is used,
    since a message may hold what a server sent, or an address with a password.
    """
    facts = dict.fromkeys(fact for link in _chain(error) for fact in _facts(link))
    name = type(error).__name__
    return f"{name} ({', '.join(facts)})" if facts else name


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and those that it came from, nearest first, each once."""
    waiting, seen = [error], set[int]()
    while waiting and len(seen) < _MAX_LINKS:
        link = waiting.pop(0)
        if id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        origin = link.__cause__ or link.__context__
        if origin is not None:
            waiting.append(origin)
        if isinstance(link, BaseExceptionGroup):  # One for each address of a host, for instance.
            waiting += link.exceptions


def _facts(error: BaseException) -> Iterator[str]:
    if isinstance(error, ssl.SSLError):  # Its errno is not one of the system's.
        reason = getattr(error, "reason", None)
        if isinstance(reason, str) and _REASON.fullmatch(reason):
            yield reason
        if isinstance(error, ssl.SSLCertVerificationError):
            yield from _verdict(error)
    elif isinstance(error, OSError) and error.errno is not None:
        is_resolver = isinstance(error, socket.gaierror)
        name = (_RESOLVER_CODES if is_resolver else errno.errorcode).get(error.errno)
        if name is not None:
            yield name


def _verdict(error: ssl.SSLCertVerificationError) -> Iterator[str]:
    """Of `Hostname mismatch, certificate is not valid for 'x'` only what is before the comma."""
    words = str(getattr(error, "verify_message", "")).partition(",")[0]
    if _VERDICT.fullmatch(words):
        yield words
    code = getattr(error, "verify_code", None)
    if isinstance(code, int):
        yield f"verify code {code}"
