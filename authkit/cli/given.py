"""What an operator gives to a command, read strictly: ids and moments."""

from __future__ import annotations

import re
import sys
from datetime import datetime
from pathlib import Path

import typer

from authkit.errors import ConfigurationError
from authkit.interfaces import RevocationScope
from authkit.jose.encoding import NotStrict, decode_base64url

__all__ = ["moment", "read_ids"]

_SECONDS = re.compile(r"[0-9]+(\.[0-9]+)?")
# The header of a JWS is a JSON object, and this is how `{"` begins in base64url.
_WHOLE_TOKEN = re.compile(r"eyJ[\w-]*\.[\w-]+\.[\w-]+", re.ASCII)
_THUMBPRINT_BYTES = 32


def read_ids(scope: RevocationScope, file: str | None) -> list[str]:
    """What is to be revoked: ids, one of each line, or the empty one of an issuer.

    Standard input that is a terminal is asked for a single id.

    Args:
        scope: what they name.
        file: a path; `-` or None for standard input.

    Raises:
        ConfigurationError: they cannot be read, there is none, or one is no id.
    """
    if scope is RevocationScope.ISSUER:
        if file is not None:
            raise ConfigurationError("a whole issuer has no id: leave out --id-file")
        return [""]
    ids = _from_standard_input(scope) if file is None or file == "-" else _from_file(file)
    _check(ids, scope)
    return ids


def _from_standard_input(scope: RevocationScope) -> list[str]:
    if sys.stdin is None:
        raise ConfigurationError("there is no standard input: give the id with --id-file")
    read = sys.stdin.buffer.read
    if sys.stdin.isatty():
        # A line of its own on standard error, where nothing but whole lines of JSON may follow.
        typer.echo(f"id of the {scope.value}:", err=True)
        read = sys.stdin.buffer.readline
    return _ids_of(read(), "standard input")


def _from_file(file: str) -> list[str]:
    try:
        return _ids_of(Path(file).read_bytes(), file)
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}") from error


def _ids_of(data: bytes, source: str) -> list[str]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{source} is not UTF-8 text") from error
    # Not splitlines: what else it takes for the end of a line may be part of an id.
    lines = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
    if lines == [""]:
        raise ConfigurationError(f"there is no id in {source}; nothing was done")
    if "" in lines:
        raise ConfigurationError(
            f"line {lines.index('') + 1} of {source} is empty; every line is one id, and "
            "nothing was done"
        )
    return lines


def _check(ids: list[str], scope: RevocationScope) -> None:
    """Refuses what is no such id: revoking it would do nothing, and look as if it had.

    Raises:
        ConfigurationError: a whole token, or no thumbprint; the message does not quote it.
    """
    for number, id in enumerate(ids, start=1):
        if _WHOLE_TOKEN.fullmatch(id):
            raise ConfigurationError(
                f"id {number} is a whole token; give its claim jti, or where it has none the "
                "SHA-256, in hex, of all that stands before its second dot"
            )
        if scope is RevocationScope.KEY and not _is_thumbprint(id):
            raise ConfigurationError(
                f"id {number} is no thumbprint of a key (RFC 7638: SHA-256 in base64url, 43 "
                "characters); a key's kid is another thing"
            )
    for number, id in enumerate(ids, start=1):
        if id != id.strip():
            typer.echo(
                f"authkit revoke: id {number} begins or ends with white space, which is taken "
                "for a part of it",
                err=True,
            )
            return


def _is_thumbprint(id: str) -> bool:
    try:
        return len(decode_base64url(id)) == _THUMBPRINT_BYTES
    except NotStrict:
        return False


def moment(text: str) -> float:
    """Seconds since the epoch, of a number of them or of an ISO 8601 time with its zone.

    Raises:
        typer.BadParameter: it is neither.
    """
    if _SECONDS.fullmatch(text):
        return float(text)
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise typer.BadParameter(
            "give seconds since the epoch, or a time with its zone, such as 2026-03-01T09:30:00Z"
        )
    return time.timestamp()
