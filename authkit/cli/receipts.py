"""What came of a revocation or its lifting, for people or as JSON lines."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from authkit.interfaces import Revocation, RevocationReceipt, RevocationScope

__all__ = ["named", "receipt_line", "receipt_text", "terms_lines"]


def receipt_line(order: Revocation, receipt: RevocationReceipt, *, is_lift: bool) -> str:
    """The receipt as one line of JSON in ASCII; what has no meaning is null."""
    kept = receipt.revocation
    return json.dumps(
        {
            "scope": order.scope.value,
            "issuer": order.issuer,
            "id": order.id,
            "is_lifted": is_lift,
            "issued_until": None if is_lift else kept.issued_until,
            "minimum_version": None if is_lift else kept.minimum_version,
            "expires_at": None if is_lift else kept.expires_at,
            "effective_at": receipt.effective_at,
        }
    )


def receipt_text(order: Revocation, receipt: RevocationReceipt, *, is_lift: bool) -> str:
    """The receipt for people to read."""
    effective = _moment(receipt.effective_at)
    if is_lift:
        return f"lifted: {named(order)}\n  not refused for it from {effective} on"
    return "\n".join(
        (
            f"revoked: {named(order)}",
            *terms_lines(receipt.revocation),
            f"  in every process from   {effective} on",
        )
    )


def terms_lines(revocation: Revocation) -> list[str]:
    """Which tokens it is about, and for how long it is remembered."""
    lines = []
    if revocation.issued_until is not None:
        lines.append(f"  issued until            {_moment(revocation.issued_until)}")
    if revocation.minimum_version is not None:
        lines.append(f"  of a version below      {revocation.minimum_version}")
    if revocation.expires_at is not None:
        lines.append(f"  remembered until        {_moment(revocation.expires_at)}")
    return lines


def named(revocation: Revocation) -> str:
    """What a revocation is about."""
    if revocation.scope is RevocationScope.ISSUER:
        return f"all tokens of {_shown(revocation.issuer)}"
    return f"{revocation.scope.value} {_shown(revocation.id)} of {_shown(revocation.issuer)}"


def _moment(seconds: float) -> str:
    """A moment in UTC."""
    try:
        time = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return f"{seconds:.0f} seconds since the epoch"
    return time.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def _shown(text: str) -> str:
    """The text with nothing in it that a terminal would act on."""
    return "".join(
        one if one.isprintable() and one != "\\" else one.encode("unicode_escape").decode("ascii")
        for one in text
    )
