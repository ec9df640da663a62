"""Why a connection could not be made, in words that hold no address and no secret."""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Iterator

__all__ = ["chain_of", "reason_of"]

_LONGEST_CHAIN = 10
# asyncio and redis-py merge several failures into one text, and keep their numbers only.
_NUMBER = re.compile(r"\b(?:Errno|Error) (-?\d{1,5})\b")
_TIMED_OUT = "timed out"
_IS_IT_TLS = "; does the server speak TLS on this port?"
_ADDRESS_WORDS = " is not valid for "


def chain_of(error: BaseException) -> Iterator[BaseException]:
    """An exception, then what it came from, and so on."""
    current: BaseException | None = error
    for _ in range(_LONGEST_CHAIN):
        if current is None:
            return
        yield current
        current = current.__cause__ or current.__context__


def reason_of(error: BaseException, *, is_tls: bool = False) -> str:
    """The reason, as far as the exception and what it came from tell; else nothing."""
    # What the system has said comes first: redis-py's own texts hold less, or anything.
    for tell in (_reason, _by_text):
        for each in chain_of(error):
            reason = tell(each)
            if reason:
                # A server without TLS waits for more where a TLS handshake begins.
                is_silent = is_tls and reason == _TIMED_OUT
                return reason + _IS_IT_TLS if is_silent else reason
    return ""


def _reason(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        # The text quotes the host's name behind these words.
        told, words, _ = str(error.verify_message).partition(_ADDRESS_WORDS)
        return f"certificate verify failed: {told}{words and words + 'this host'}"
    if isinstance(error, ssl.SSLError):
        said = str(getattr(error, "reason", None) or type(error).__name__)
        return f"TLS failed: {said.lower().replace('_', ' ')}{_IS_IT_TLS}"
    if isinstance(error, socket.gaierror):
        return f"host name not known ({error.strerror})"
    if isinstance(error, TimeoutError) or type(error).__name__ == "TimeoutError":
        return _TIMED_OUT
    if type(error).__name__ == "InvalidResponse":
        return "the server does not speak the protocol of Redis; rediss:// speaks TLS"
    if isinstance(error, OSError) and error.errno is not None:
        return _texts([error.errno])
    return ""


def _by_text(error: BaseException) -> str:
    if isinstance(error, OSError) or type(error).__name__ == "ConnectionError":
        if str(error).startswith("Connection closed by server"):
            return "the server closed it"
        return _texts([int(number) for number in _NUMBER.findall(str(error))])
    return ""


def _texts(numbers: list[int]) -> str:
    # Not `strerror`: asyncio writes the address into it.
    texts = [os.strerror(number) for number in numbers if number > 0]
    return " and ".join(dict.fromkeys(text[:1].lower() + text[1:] for text in texts))
