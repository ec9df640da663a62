"""Takes tokens back, or takes that back, and puts on record what came of it."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Collection

from authkit.audit import AuditTrail, ControlFields
from authkit.errors import ConfigurationError
from authkit.interfaces import (
    RequestContext,
    Revocation,
    RevocationLifting,
    RevocationReceipt,
    RevocationStore,
)
from authkit.verifier.backend_errors import BackendErrors

__all__ = ["RevocationChanges"]

_NO_CONTEXT = RequestContext()


class RevocationChanges:
    """Changes a RevocationStore; every attempt that may have changed it is a control event.

    Args:
        store: is changed.
        issuers: those whose tokens are accepted.
        trail: where it is put on record.
        errors: where the store's exceptions are counted.
    """

    __slots__ = ("_errors", "_issuers", "_store", "_trail")

    def __init__(
        self,
        store: RevocationStore,
        issuers: Collection[str],
        trail: AuditTrail,
        errors: BackendErrors,
    ) -> None:
        self._store = store
        self._issuers = issuers
        self._trail = trail
        self._errors = errors

    async def revoke(
        self, revocation: Revocation, context: RequestContext | None
    ) -> RevocationReceipt:
        """As `Verifier.revoke`."""
        if not isinstance(revocation, Revocation):
            raise ConfigurationError("give a Revocation, such as Revocation.of(principal)")
        if revocation.issuer not in self._issuers:
            raise ConfigurationError(
                f"no token of {revocation.issuer} is accepted here, so nothing would be taken "
                f"back; the trusted issuers are {', '.join(self._issuers)}"
            )
        return await self._change("token.revoked", self._store.revoke, revocation, context)

    async def lift(
        self, revocation: Revocation, context: RequestContext | None
    ) -> RevocationReceipt:
        """As `Verifier.lift`."""
        if not isinstance(self._store, RevocationLifting):
            raise ConfigurationError("this RevocationStore cannot lift revocations")
        return await self._change("revocation.lifted", self._store.lift, revocation, context)

    async def _change(
        self,
        kind: str,
        change: Callable[[Revocation], Awaitable[RevocationReceipt]],
        revocation: Revocation,
        context: RequestContext | None,
    ) -> RevocationReceipt:
        try:
            receipt = await change(revocation)
            fields = _fields(receipt.revocation, context)
        except ConfigurationError:
            raise
        except CancelledError:
            fields = _fields(revocation, context)
            self._trail.append_control_nowait(kind, "cancelled", **fields)
            raise
        except Exception as error:
            outage = self._errors.outage("revocations", error)
            fields = _fields(revocation, context, outage.code)
            await self._trail.append_control(kind, "unavailable", **fields)
            if outage is error:
                raise
            raise outage from error
        await self._trail.append_control(kind, "accepted", **fields)
        return receipt


def _fields(
    revocation: Revocation, context: RequestContext | None, code: str | None = None
) -> ControlFields:
    known = context or _NO_CONTEXT
    return ControlFields(
        code=code,
        issuer=revocation.issuer,
        client_address=known.client_address,
        request_id=known.request_id,
        trace_id=known.trace_id,
        data={
            "scope": revocation.scope.value,
            "id": revocation.id,
            "issued_until": revocation.issued_until,
            "minimum_version": revocation.minimum_version,
            "expires_at": revocation.expires_at,
            "reason": revocation.reason,
        },
    )
