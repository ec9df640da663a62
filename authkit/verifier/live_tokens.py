"""The tokens of the connections that are open now, and who asks for them."""

from __future__ import annotations

import asyncio
from types import TracebackType

from authkit.clock import Clock
from authkit.errors import ConfigurationError
from authkit.interfaces import RevocationFeed, RevocationStore
from authkit.policy.claim_reader import facts_of
from authkit.principal import Principal
from authkit.verifier.backend_errors import BackendErrors
from authkit.verifier.recheck import Recheck
from authkit.verifier.token_watch import TokenWatch

__all__ = ["LiveTokens"]


class LiveTokens:
    """Ends what runs for a token when the store tells that it was revoked.

    It is an async context manager.  Before it is entered, after it is left, and where the store
    tells of nothing, tokens only expire.

    Args:
        store: what was revoked; a RevocationFeed, or it tells of nothing.
        clock: tells when tokens have expired.
        errors: counts the questions that the store does not answer.
    """

    __slots__ = ("_clock", "_errors", "_feed", "_is_open", "_recheck", "_revoked_total", "_store")

    def __init__(self, store: RevocationStore, clock: Clock, errors: BackendErrors) -> None:
        self._store = store
        self._feed = store if isinstance(store, RevocationFeed) else None
        self._clock = clock
        self._errors = errors
        self._is_open = False
        self._recheck: Recheck | None = None
        self._revoked_total = 0

    def __len__(self) -> int:
        return 0 if self._recheck is None else len(self._recheck.tokens)

    @property
    def revoked_total(self) -> int:
        """How many connections a revocation has ended."""
        current = 0 if self._recheck is None else self._recheck.revoked_total
        return self._revoked_total + current

    async def __aenter__(self) -> None:
        self._is_open = True

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_open = False
        if self._recheck is not None:
            recheck = self._recheck
            self._retire(recheck)
            await recheck.stop()

    def watch(self, principal: Principal) -> TokenWatch:
        """Watches the token of `principal`, once what is returned is put to use."""
        return TokenWatch(facts_of(principal), self._clock, self._enrol, self._dismiss)

    def _enrol(self, token: TokenWatch) -> None:
        if self._feed is None or not self._is_open:
            return
        recheck = self._recheck
        if recheck is not None and recheck.loop is not asyncio.get_running_loop():
            if not recheck.loop.is_closed():
                raise ConfigurationError(
                    "this Verifier watches tokens in another event loop: make one for each"
                )
            # Its connections have gone with the loop.
            self._retire(recheck)
        if self._recheck is None:
            self._recheck = Recheck(self._store, self._feed, self._errors)
        self._recheck.add(token)

    def _dismiss(self, token: TokenWatch) -> None:
        if self._recheck is not None:
            self._recheck.discard(token)

    def _retire(self, recheck: Recheck) -> None:
        self._recheck = None
        self._revoked_total += recheck.revoked_total
