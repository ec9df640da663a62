"""The revocation store against the simplest store there can be: a list that is never cleaned up."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authkit.errors import BackendUnavailable
from authkit.interfaces import Revocation, RevocationScope, TokenFacts
from authkit.testing import ManualClock
from authkit_memory import MemoryRevocationStore

pytestmark = pytest.mark.anyio

NOW = 1_800_000_000.0
LIFETIME = 1000.0
UNTIL = (RevocationScope.SUBJECT, RevocationScope.CLIENT, RevocationScope.ISSUER)
FIELD = {
    RevocationScope.TOKEN: "token_id",
    RevocationScope.SESSION: "session_id",
    RevocationScope.SUBJECT: "subject",
    RevocationScope.CLIENT: "client_id",
    RevocationScope.VERSION: "subject",
    RevocationScope.KEY: "key_thumbprint",
}
TEXTS = st.sampled_from(["x", "y"])
ISSUERS = st.sampled_from(["https://i.example", "https://j.example"])


@dataclass
class Model:
    """Every revocation ever made, merged by scope, issuer and id."""

    kept: dict[tuple[RevocationScope, str, str], Revocation] = field(default_factory=dict)

    def live(self, now: float) -> dict[tuple[RevocationScope, str, str], Revocation]:
        return {key: it for key, it in self.kept.items() if now <= (it.expires_at or 0) + 120}

    def revoke(self, it: Revocation, now: float) -> None:
        expires_at = now + LIFETIME if it.expires_at is None else it.expires_at
        issued_until = it.issued_until
        if it.scope in UNTIL:
            issued_until = now if issued_until is None else issued_until
            expires_at = max(expires_at, issued_until + LIFETIME)
        it = replace(it, issued_until=issued_until, expires_at=expires_at)
        old = self.live(now).get((it.scope, it.issuer, it.id))
        if old is not None:
            it = replace(
                it,
                expires_at=max(it.expires_at or 0, old.expires_at or 0),
                issued_until=max(it.issued_until or 0, old.issued_until or 0)
                if it.scope in UNTIL
                else None,
                minimum_version=max(it.minimum_version or 0, old.minimum_version or 0)
                if it.scope is RevocationScope.VERSION
                else None,
            )
        self.kept[it.scope, it.issuer, it.id] = it

    def lift(self, it: Revocation) -> None:
        self.kept.pop((it.scope, it.issuer, it.id), None)

    def scopes_that_cover(self, token: TokenFacts, now: float) -> list[RevocationScope]:
        found = []
        for it in self.live(now).values():
            id = "" if it.scope is RevocationScope.ISSUER else getattr(token, FIELD[it.scope])
            if (it.issuer, it.id) != (token.issuer, id):
                continue
            if it.issued_until is not None and token.issued_at is not None:
                if token.issued_at > it.issued_until:
                    continue
            if it.minimum_version is not None and token.token_version is not None:
                if token.token_version >= it.minimum_version:
                    continue
            found.append(it.scope)
        return found


@st.composite
def revocations(draw: st.DrawFn) -> Revocation:
    scope = draw(st.sampled_from(RevocationScope))
    ahead = st.sampled_from([-5000, -121, -120, -50, 0, 10, 500, 1000, 1120])
    moment = draw(st.none() | ahead.map(lambda seconds: NOW + seconds))
    until = draw(st.none() | st.sampled_from([-2000, -100, -1, 0, 1, 60]))
    return Revocation(
        scope=scope,
        issuer=draw(ISSUERS),
        id="" if scope is RevocationScope.ISSUER else draw(TEXTS),
        issued_until=NOW + until if until is not None and scope in UNTIL else None,
        minimum_version=draw(st.integers(0, 4)) if scope is RevocationScope.VERSION else None,
        expires_at=moment,
    )


TOKENS = st.builds(
    TokenFacts,
    issuer=ISSUERS,
    token_id=TEXTS,
    subject=st.none() | TEXTS,
    client_id=st.none() | TEXTS,
    session_id=st.none() | TEXTS,
    issued_at=st.none() | st.sampled_from([NOW - 2000, NOW - 100, NOW - 1, NOW, NOW + 60]),
    expires_at=st.just(NOW + 100),
    token_version=st.none() | st.integers(0, 4),
    key_thumbprint=TEXTS,
)
STEPS = st.lists(
    st.tuples(st.just("revoke"), revocations())
    | st.tuples(st.just("lift"), revocations())
    | st.tuples(st.just("find"), TOKENS)
    | st.tuples(st.just("wait"), st.sampled_from([0.25, 1.0, 64.0, 121.0, 1000.0, 5000.0])),
    max_size=60,
)
ORDER = list(RevocationScope)


@given(steps=STEPS)
async def test_answers_as_a_list_that_forgets_nothing(steps: list[tuple[str, object]]) -> None:
    """Every question is answered as if nothing was ever cleaned up, with the first scope."""
    clock, model = ManualClock(NOW), Model()
    store = MemoryRevocationStore(max_token_lifetime_seconds=LIFETIME, clock=clock)
    for name, what in steps:
        match what:
            case Revocation() as revocation if name == "revoke":
                receipt = await store.revoke(revocation)
                model.revoke(revocation, clock.time())
                key = (revocation.scope, revocation.issuer, revocation.id)
                assert receipt.revocation == model.kept[key]
            case Revocation() as revocation:
                await store.lift(revocation)
                model.lift(revocation)
            case TokenFacts() as token:
                found = await store.find(token)
                covering = model.scopes_that_cover(token, clock.time())
                assert (found and found.scope) == min(covering, key=ORDER.index, default=None)
            case float() as seconds:
                clock.advance(seconds)


@given(steps=STEPS, max_entries=st.integers(1, 6))
async def test_a_bounded_store_loses_nothing_that_it_took(
    steps: list[tuple[str, object]], max_entries: int
) -> None:
    """It refuses exactly what is new while it is full of live ones."""
    clock, model = ManualClock(NOW), Model()
    store = MemoryRevocationStore(
        max_token_lifetime_seconds=LIFETIME, max_entries=max_entries, clock=clock
    )
    for name, what in steps:
        if isinstance(what, Revocation) and name == "revoke":
            live = model.live(clock.time())
            try:
                await store.revoke(what)
            except BackendUnavailable:
                assert len(live) == max_entries
                assert (what.scope, what.issuer, what.id) not in live
            else:
                model.revoke(what, clock.time())
                assert len(model.live(clock.time())) <= max_entries
        elif isinstance(what, Revocation):
            await store.lift(what)
            model.lift(what)
        elif isinstance(what, TokenFacts):
            found = await store.find(what)
            assert bool(found) == bool(model.scopes_that_cover(what, clock.time()))
        elif isinstance(what, float):
            clock.advance(what)


@given(
    steps=st.lists(
        st.tuples(st.just("wait"), st.sampled_from([0.25, 64.0, 1000.0]))
        | st.tuples(st.just("set"), st.sampled_from([-5000.0, -10.0, 10.0, 5000.0, 10.0**8]))
        | st.tuples(st.just("revoke"), st.sampled_from([0.0, 100.0, 1000.0]))
        | st.tuples(st.just("find"), st.just(0.0)),
        max_size=80,
    )
)
async def test_no_clock_set_to_and_fro_loses_a_live_revocation(
    steps: list[tuple[str, float]],
) -> None:
    """It is over only once it was by the earliest clock seen since it was made."""
    clock = ManualClock(NOW)
    store = MemoryRevocationStore(max_token_lifetime_seconds=LIFETIME, clock=clock)
    longest = 2 * (LIFETIME + 120) + 120
    made: list[Made] = []
    for name, amount in steps:
        if name == "wait":
            clock.advance(amount)
        elif name == "set":
            clock.set_time(clock.time() + amount)
        elif name == "revoke":
            id, expires_at = str(len(made)), clock.time() + amount
            await store.revoke(
                Revocation(scope=RevocationScope.TOKEN, issuer="i", id=id, expires_at=expires_at)
            )
            made.append(Made(id, expires_at + 120, clock.monotonic()))
        for one in made:
            one.note(clock.time(), clock.monotonic())
            is_revoked = await store.find(replace(ANY_TOKEN, token_id=one.id)) is not None
            is_old = clock.monotonic() - one.made_at >= longest
            assert is_revoked or one.is_over or is_old


@dataclass
class Made:
    """A revocation, and how the clocks stood at their earliest since it was made."""

    id: str
    until: float
    made_at: float
    least: float = float("inf")
    is_over: bool = False

    def note(self, wall: float, monotonic: float) -> None:
        self.least = min(self.least, wall - monotonic)
        self.is_over = self.is_over or monotonic + self.least > self.until - 1e-3


ANY_TOKEN = TokenFacts(
    issuer="i",
    token_id="0",
    subject=None,
    client_id=None,
    session_id=None,
    issued_at=None,
    expires_at=NOW,
    token_version=None,
    key_thumbprint="k",
)
