"""`authkit revoke`: takes tokens back in every process of a fleet, or takes that back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from time import sleep
from typing import TYPE_CHECKING, Annotated

import typer

from authkit.audit import AuditTrail, LoggingAuditSink
from authkit.cli.given import moment, read_ids
from authkit.cli.receipts import named, receipt_line, receipt_text, terms_lines
from authkit.cli.settings import redis_backends
from authkit.clock import SystemClock
from authkit.errors import BackendUnavailable, ConfigurationError
from authkit.interfaces import Revocation, RevocationReceipt, RevocationScope
from authkit.revocations import filled_in
from authkit.verifier.backend_errors import BackendErrors
from authkit.verifier.revocation_changes import RevocationChanges

if TYPE_CHECKING:
    from authkit_redis import RedisBackends

__all__ = ["revoke"]

_UNKNOWN = 1
_MISUSED = 2
_INTERRUPTED = 130

_UNKNOWN_MEANS = (
    "Whatever has no receipt may or may not have been done; doing all of it again is safe."
)

# Changes under way at once: enough that the way to Redis and back hardly counts.
_AT_ONCE = 100

_DRAIN_SECONDS = 5.0

_Scope = Annotated[RevocationScope, typer.Argument(help="What the id is of.", show_default=False)]
_Issuer = Annotated[
    str, typer.Option(metavar="ISS", help="Whose tokens: the iss, exactly as the apps trust it.")
]
_IdFile = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Where the ids are, one a line; - is standard input."),
]
_IssuedUntil = Annotated[
    float | None,
    typer.Option(
        parser=moment,
        metavar="TIME",
        help="Subject, client, issuer: tokens issued until then; now if left out.",
    ),
]
_MinimumVersion = Annotated[
    int | None, typer.Option(metavar="N", help="Version: tokens of a lower version.")
]
_ExpiresAt = Annotated[
    float | None,
    typer.Option(
        parser=moment,
        metavar="TIME",
        help="Until when it is remembered; as long as a token can live if left out.",
    ),
]
_Reason = Annotated[str, typer.Option(help="Free text for the audit trail.", show_default=False)]
_Lift = Annotated[
    bool, typer.Option("--lift", help="Take back a revocation of this scope, issuer and id.")
]
_Yes = Annotated[bool, typer.Option("--yes", help="Needed to revoke a whole issuer.")]
_Wait = Annotated[bool, typer.Option("--wait", help="Do not end before it holds in every process.")]
_Json = Annotated[bool, typer.Option("--json", help="Print each receipt as one line of JSON.")]
_MaxTokenLifetime = Annotated[
    float,
    typer.Option(
        envvar="AUTHKIT_MAX_TOKEN_LIFETIME_SECONDS",
        metavar="SECONDS",
        help="The longest life of a token, as the apps have it.",
    ),
]
_MaxStaleness = Annotated[
    float,
    typer.Option(
        envvar="AUTHKIT_MAX_STALENESS_SECONDS",
        metavar="SECONDS",
        help="How soon a revocation holds in every app, as the apps have it.",
    ),
]


def revoke(
    context: typer.Context,
    scope: _Scope,
    issuer: _Issuer,
    id_file: _IdFile = None,
    issued_until: _IssuedUntil = None,
    minimum_version: _MinimumVersion = None,
    expires_at: _ExpiresAt = None,
    reason: _Reason = "",
    is_lift: _Lift = False,
    is_sure: _Yes = False,
    is_to_wait: _Wait = False,
    is_json: _Json = False,
    max_token_lifetime_seconds: _MaxTokenLifetime = 86_400.0,
    max_staleness_seconds: _MaxStaleness = 5.0,
) -> None:
    """Take tokens back in all apps that share a Redis, or take that back with --lift.

    The id is that of a token (jti), session (sid), subject (sub) or client, of the subject for a
    version, or the RFC 7638 thumbprint of a key; an issuer has none. It is read from standard
    input or a file, never from an argument, which others could see and the shell would remember.
    Several ids stand one to a line. A TIME is in seconds since the epoch or like
    2026-03-01T09:30:00Z.

    AUTHKIT_REDIS_URL is the address of the apps' Redis, AUTHKIT_REDIS_PREFIX the prefix of their
    keys; both must be set. AUTHKIT_SECRET_FILE is a file that holds their secret, if they have one.

    What was done goes on record in the audit trail, as JSON lines on standard error. Exits with
    0 when it is done; with 1 when that is not known, and then doing it again is safe; with 2 when
    something is missing or wrong and nothing was done.
    """
    try:
        if context.args:
            raise ConfigurationError("ids come from standard input or --id-file, not as arguments")
        _check(is_lift, issued_until, minimum_version, expires_at)
        # Before ids are asked for: somebody may be about to type them in.
        backends = redis_backends(
            max_token_lifetime_seconds=max_token_lifetime_seconds,
            max_staleness_seconds=max_staleness_seconds,
        )
        if is_lift and scope is RevocationScope.VERSION:
            # Lifting ignores the number, but there is no revocation of this scope without one.
            minimum_version = 0
        revocation = partial(
            Revocation,
            scope=scope,
            issuer=issuer,
            issued_until=issued_until,
            minimum_version=minimum_version,
            expires_at=expires_at,
            reason=reason,
        )
        # All of them are made, and so found to make sense, before anything is done.
        orders = [revocation(id=id) for id in read_ids(scope, id_file)]
        if scope is RevocationScope.ISSUER and not (is_lift or is_sure):
            raise ConfigurationError(_meaning(orders[0], max_token_lifetime_seconds))
        show = partial(_show, is_lift, is_json)
        unshown = asyncio.run(_change(orders, backends, show, is_lift=is_lift))
    except ConfigurationError as error:
        typer.echo(f"authkit revoke: {error}", err=True)
        raise typer.Exit(_MISUSED) from error
    except BackendUnavailable as error:
        typer.echo(f"authkit revoke: {error}. {_UNKNOWN_MEANS}", err=True)
        raise typer.Exit(_UNKNOWN) from error
    except KeyboardInterrupt as error:
        typer.echo(f"authkit revoke: interrupted. {_UNKNOWN_MEANS}", err=True)
        raise typer.Exit(_INTERRUPTED) from error
    if unshown:
        typer.echo(
            f"authkit revoke: all is done, but {unshown} receipts could not be written", err=True
        )
        raise typer.Exit(_UNKNOWN)
    if is_to_wait:
        # Counted from the last answer, so no clock of another machine plays a part.
        sleep(max_staleness_seconds)


def _check(
    is_lift: bool,
    issued_until: float | None,
    minimum_version: int | None,
    expires_at: float | None,
) -> None:
    if is_lift and (issued_until, minimum_version, expires_at) != (None, None, None):
        raise ConfigurationError(
            "--lift takes the whole revocation back: leave out --issued-until, "
            "--minimum-version and --expires-at"
        )
    if expires_at is not None and expires_at <= SystemClock().time():
        raise ConfigurationError("--expires-at has passed: it would be forgotten at once")


def _meaning(order: Revocation, max_token_lifetime_seconds: float) -> str:
    """What it means to revoke a whole issuer."""
    full = filled_in(order, SystemClock().time(), max_token_lifetime_seconds)
    return "\n".join(
        (
            f"this refuses {named(full)}, of every user and every service,",
            "in every app with this Redis and this prefix:",
            *terms_lines(full),
            "Who asks the issuer for a newer token gets in with that one.",
            "The same command with --lift takes it back.",
            "Nothing was done: say --yes to do it.",
        )
    )


async def _change(
    orders: Sequence[Revocation],
    backends: RedisBackends,
    show: Callable[[Sequence[tuple[Revocation, RevocationReceipt]]], None],
    *,
    is_lift: bool,
) -> int:
    """Makes the changes, puts them on record, and shows each receipt as it comes.

    Returns:
        How many receipts could not be shown: whoever reads them has gone, or the disk is full.

    Raises:
        ConfigurationError: nothing was done.
        BackendUnavailable: something may or may not have been done, or is not on record.
    """
    trail = AuditTrail(LoggingAuditSink(), drain_seconds=_DRAIN_SECONDS)
    done = unshown = 0
    async with trail, backends as redis:
        changes = RevocationChanges(redis.revocations, [orders[0].issuer], trail, BackendErrors())
        change = changes.lift if is_lift else changes.revoke
        for start in range(0, len(orders), _AT_ONCE):
            some = orders[start : start + _AT_ONCE]
            results = await asyncio.gather(
                *(change(order, None) for order in some), return_exceptions=True
            )
            receipts = [
                (order, result)
                for order, result in zip(some, results, strict=True)
                if isinstance(result, RevocationReceipt)
            ]
            done += len(receipts)
            try:
                # Whoever reads the output may be slow.
                await asyncio.to_thread(show, receipts)
            except OSError:
                unshown += len(receipts)  # that all are revoked matters more
            _raise_first(results, done)
    if trail.stats()["lost_total"]:
        raise BackendUnavailable("audit", "not everything is on record")
    return unshown


def _raise_first(results: Sequence[RevocationReceipt | BaseException], done: int) -> None:
    for result in results:
        if isinstance(result, ConfigurationError) and done:
            # Something was done, so this must not pass for a mistake that was found before.
            raise BackendUnavailable("revocations", str(result)) from result
        if isinstance(result, BaseException):
            raise result


def _show(
    is_lift: bool, is_json: bool, receipts: Sequence[tuple[Revocation, RevocationReceipt]]
) -> None:
    shown = receipt_line if is_json else receipt_text
    for order, receipt in receipts:
        typer.echo(shown(order, receipt, is_lift=is_lift))
