"""Which buckets a caller is charged in."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv6Address, ip_address

from authkit.errors import ConfigurationError, RateLimited
from authkit.interfaces import LimitDecision, LimitRequest, RateLimit, RequestContext
from authkit.principal import Principal
from authkit.token_cache import ProvenToken

__all__ = ["CallerLimits", "network_of", "refusal"]


class CallerLimits:
    """The limits of a Verifier, by what they count.

    Args:
        limits: each with a name of its own.

    Attributes:
        by_address: those that count by address.

    Raises:
        ConfigurationError: two limits share a name.
    """

    __slots__ = ("_by_caller", "by_address")

    def __init__(self, limits: Sequence[RateLimit]) -> None:
        names = [limit.name for limit in limits]
        if len(set(names)) != len(names):
            raise ConfigurationError("every RateLimit needs a name of its own")
        self._by_caller = tuple(limit for limit in limits if limit.by != "address")
        self.by_address: tuple[RateLimit, ...] = tuple(
            limit for limit in limits if limit.by == "address"
        )

    def of_principal(self, principal: Principal) -> tuple[LimitRequest, ...]:
        """What every request of this caller costs, its address aside."""
        if not self._by_caller:
            return ()
        return tuple(
            LimitRequest(limit=limit, key=_key(limit, principal)) for limit in self._by_caller
        )

    def of_request(
        self, proven: ProvenToken, context: RequestContext | None
    ) -> Sequence[LimitRequest]:
        """What this request costs: what any of its caller does, and its address if it is known."""
        if not self.by_address or context is None or context.client_address is None:
            return proven.limits
        network = network_of(context.client_address)
        return (
            *proven.limits,
            *(
                LimitRequest(limit=limit, key=f"{proven.facts.issuer} address {network}")
                for limit in self.by_address
            ),
        )


def _key(limit: RateLimit, principal: Principal) -> str:
    # An issuer holds no space, so no two callers share a key.
    if limit.by == "issuer":
        return f"{principal.issuer} issuer"
    subject, client = ("subject", principal.subject), ("client", principal.client_id)
    for kind, id in (subject, client) if limit.by == "subject" else (client, subject):
        if id is not None:
            return f"{principal.issuer} {kind} {id}"
    return f"{principal.issuer} token {principal.token_id}"


@lru_cache(maxsize=4096)
def network_of(address: str) -> str:
    """What an address is counted as: an IPv6 one by its /64, since a host has all of it."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return f"{IPv6Address(int(parsed) >> 64 << 64)}/64"
    return str(parsed)


def refusal(decision: LimitDecision) -> RateLimited:
    """The error for a decision that does not allow the call."""
    over = [state for state in decision.states if state.retry_after_seconds > 0]
    return RateLimited(
        [state.name for state in over or decision.states],
        max((state.retry_after_seconds for state in over), default=1.0),
    )
