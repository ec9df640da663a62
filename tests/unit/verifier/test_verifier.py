"""The Verifier's steps, their order, and its single exit."""

from __future__ import annotations

import asyncio
import logging
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from authkit.audit import AuditTrail, RequestRecord
from authkit.errors import (
    AlgorithmNotAllowed,
    AudienceMismatch,
    AuthkitError,
    BackendUnavailable,
    ConfigurationError,
    CredentialMalformed,
    CredentialMissing,
    InsufficientScope,
    IssuerNotTrusted,
    KeyNotFound,
    RateLimited,
    SignatureInvalid,
    TokenExpired,
    TokenMalformed,
    TokenRevoked,
)
from authkit.interfaces import (
    LimitDecision,
    LimitRequest,
    RateLimit,
    RequestContext,
    Revocation,
    RevocationReceipt,
    RevocationScope,
    StateChange,
    TokenFacts,
)
from authkit.jose.signing import SigningKey
from authkit.policy import ClaimMapping, Requirement, TrustedIssuer
from authkit.verifier import NoRevocation, Verifier
from authkit_memory import MemoryKeyProvider, MemoryRateLimiter, MemoryRevocationStore
from tests.unit.verifier.bench import ISSUER, OTHER_KEY, SIGNING_KEY, Bench, ScriptedKeys

pytestmark = pytest.mark.anyio

PER_SUBJECT = RateLimit(name="api", rate=60, per_seconds=60, burst=2, by="subject")


class FailingStore:
    """A RevocationStore that raises what it is given."""

    max_token_lifetime_seconds = 86_400.0

    def __init__(self, failure: BaseException) -> None:
        self.failure = failure

    async def revoke(self, revocation: Revocation) -> Any:
        raise self.failure

    async def find(self, token: TokenFacts) -> Revocation | None:
        raise self.failure


class FailingLimiter:
    """A RateLimiter that raises what it is given."""

    def __init__(self, failure: BaseException) -> None:
        self.failure = failure

    async def acquire(self, requests: Any) -> LimitDecision:
        raise self.failure


class TestAccepting:
    """Good tokens pass, the first time and from the cache."""

    async def test_a_good_token_gives_its_principal(self, bench: Bench) -> None:
        """The caller is who the token says."""
        async with bench.verifier() as verifier:
            caller = await verifier.verify(bench.token(scope="a b"))
        assert (caller.subject, caller.issuer, caller.scopes) == ("alice", ISSUER, {"a", "b"})

    async def test_a_token_is_proven_once(self, bench: Bench) -> None:
        """The second request with it asks for no key and gives the same object."""
        token = bench.token()
        async with bench.verifier() as verifier:
            first = await verifier.verify(token)
            bench.keys.failure = RuntimeError("must not be asked")
            again = await verifier.verify(token)
        assert again is first
        assert bench.keys.finds == 1

    async def test_tokens_of_one_key_share_its_header(self, bench: Bench) -> None:
        """Another token with the same header asks for no key either."""
        async with bench.verifier() as verifier:
            await verifier.verify(bench.token())
            await verifier.verify(bench.token(jti="t-2"))
        assert bench.keys.finds == 1

    async def test_without_a_cache_every_token_is_proven_anew(self, bench: Bench) -> None:
        """`token_cache_entries=0` turns it off."""
        token = bench.token()
        async with bench.verifier(token_cache_entries=0) as verifier:
            assert await verifier.verify(token) is not await verifier.verify(token)

    async def test_the_cache_can_hold_hashes(self, bench: Bench) -> None:
        """In the hardened mode no bearer token stays in memory."""
        token = bench.token()
        async with bench.verifier(hashes_cached_tokens=True) as verifier:
            assert await verifier.verify(token) is await verifier.verify(token)
            assert all(token not in map(str, cache._entries) for cache in verifier._caches)

    async def test_several_issuers_keep_to_their_own_policies(self, bench: Bench) -> None:
        """Keys, audience, algorithms and mapping are each issuer's own."""
        rsa = SigningKey.generate("RS256", kid="k1")
        other = TrustedIssuer(
            "https://other.example.com",
            "billing",
            keys=ScriptedKeys(rsa),
            algorithms=["RS256"],
            mapping=ClaimMapping(roles=("groups",)),
        )
        async with bench.verifier(bench.issuer(), other) as verifier:
            token = bench.token(key=rsa, iss=other.issuer, aud="billing", groups=["g"])
            for _ in range(2):
                assert (await verifier.verify(token)).roles == {"g"}
                assert (await verifier.verify(bench.token())).issuer == ISSUER
            with pytest.raises(AudienceMismatch):
                await verifier.verify(bench.token(key=rsa, iss=other.issuer))
            with pytest.raises(AlgorithmNotAllowed):
                await verifier.verify(bench.token(iss=other.issuer, aud="billing"))
            with pytest.raises(SignatureInvalid):
                await verifier.verify(bench.token(key=OTHER_KEY))

    async def test_a_requirement_is_checked_on_every_request(self, bench: Bench) -> None:
        """A cached token does not carry over what another route asked."""
        token = bench.token(scope="a")
        async with bench.verifier() as verifier:
            await verifier.verify(token, require=Requirement(scopes=["a"]))
            with pytest.raises(InsufficientScope):
                await verifier.verify(token, require=Requirement(scopes=["b"]))


class TestRefusing:
    """Bad tokens are refused with their code, at the step they fail."""

    async def test_no_credential_is_missing(self, bench: Bench) -> None:
        """The first of the four outcomes."""
        async with bench.verifier() as verifier:
            with pytest.raises(CredentialMissing):
                await verifier.verify(None)

    async def test_a_malformed_credential_is_raised_as_it_came(self, bench: Bench) -> None:
        """After it is on record."""
        malformed = CredentialMalformed("two headers")
        async with bench.verifier() as verifier:
            with pytest.raises(CredentialMalformed) as caught:
                await verifier.verify(malformed)
        assert caught.value is malformed
        assert [event.code for event in bench.sink.requests()] == ["credential_malformed"]

    @pytest.mark.parametrize(
        "credential",
        ["", ".", "..", "a.b", "a.b.c.d.e", "opaque", 5, b"a.b.c", [], {}, "é.é.é", "\ud800"],
    )
    async def test_garbage_is_malformed(self, bench: Bench, credential: Any) -> None:
        """Whatever it is, of whatever type."""
        async with bench.verifier() as verifier:
            with pytest.raises(TokenMalformed):
                await verifier.verify(credential)

    @pytest.mark.parametrize(
        "issuer",
        ["https://login.example.com/", "http://login.example.com", "LOGIN", "", None, 5, ["x"]],
    )
    async def test_an_issuer_is_compared_exactly(self, bench: Bench, issuer: Any) -> None:
        """No normalisation, no substring (CVE-2024-53861)."""
        async with bench.verifier() as verifier:
            with pytest.raises(IssuerNotTrusted):
                await verifier.verify(bench.token(iss=issuer))
        assert bench.keys.finds == 0

    async def test_a_wrong_signature_is_refused(self, bench: Bench) -> None:
        """The right header and claims, by another key."""
        async with bench.verifier() as verifier:
            for _ in range(2):
                with pytest.raises(SignatureInvalid):
                    await verifier.verify(bench.token(key=OTHER_KEY))
            await verifier.verify(bench.token())
            with pytest.raises(SignatureInvalid):
                await verifier.verify(bench.token(key=OTHER_KEY))
            assert (await verifier.verify(bench.token())).subject == "alice"

    async def test_an_unknown_key_is_refused(self, bench: Bench) -> None:
        """The provider knows its keys, and this is none of them."""
        async with bench.verifier() as verifier:
            with pytest.raises(KeyNotFound):
                await verifier.verify(bench.token({"kid": "k2"}))
        (event,) = bench.sink.requests()
        assert event.outcome == "refused"
        assert event.issuer == ISSUER
        assert set(event.data) == {"kid_hash"}
        assert "k2" not in str(event)

    async def test_an_expired_token_leaves_the_cache(self, bench: Bench) -> None:
        """Time is read on every hit, up to the very end of the leeway."""
        token = bench.token()
        async with bench.verifier() as verifier:
            await verifier.verify(token)
            bench.clock.advance(309.9)
            await verifier.verify(token)
            bench.clock.advance(0.1)
            with pytest.raises(TokenExpired):
                await verifier.verify(token)

    async def test_a_withdrawn_key_ends_its_cached_tokens(self, bench: Bench) -> None:
        """The next request asks the provider, which no longer has the key."""
        token = bench.token()
        async with bench.verifier() as verifier:
            await verifier.verify(token)
            bench.keys.lease.withdrawn = True
            bench.keys.keys.clear()
            with pytest.raises(KeyNotFound):
                await verifier.verify(token)

    async def test_a_second_key_with_the_same_id_is_found(self, bench: Bench) -> None:
        """A header seen before must not hide a key that was published since."""
        async with bench.verifier() as verifier:
            await verifier.verify(bench.token())
            bench.keys.keys.extend(ScriptedKeys(OTHER_KEY).keys)
            await verifier.verify(bench.token(key=OTHER_KEY, jti="t-2"))
            await verifier.verify(bench.token(jti="t-3"))

    async def test_slow_keys_do_not_stretch_a_token(self, bench: Bench) -> None:
        """The claims are checked at the time when the keys are there."""
        token = bench.token()
        find = bench.keys.find

        async def slow(kid: str | None, alg: str) -> Any:
            bench.clock.advance(600)
            return await find(kid, alg)

        bench.keys.find = slow  # type: ignore[method-assign] # scripted
        async with bench.verifier() as verifier:
            with pytest.raises(TokenExpired):
                await verifier.verify(token)


class TestRevocation:
    """What was revoked is refused at once."""

    @pytest.mark.parametrize(
        ("scope", "id"),
        [
            (RevocationScope.TOKEN, "t-1"),
            (RevocationScope.SESSION, "s-1"),
            (RevocationScope.SUBJECT, "alice"),
            (RevocationScope.CLIENT, "web"),
            (RevocationScope.ISSUER, ""),
        ],
    )
    async def test_every_scope_ends_a_cached_token(
        self, bench: Bench, scope: RevocationScope, id: str
    ) -> None:
        """Revocation is asked on every hit."""
        token = bench.token(sid="s-1")
        store = MemoryRevocationStore(clock=bench.clock)
        async with bench.verifier(revocations=store) as verifier:
            await verifier.verify(token)
            receipt = await verifier.revoke(Revocation(scope=scope, issuer=ISSUER, id=id))
            assert receipt.effective_at == bench.clock.time()
            with pytest.raises(TokenRevoked) as caught:
                await verifier.verify(token)
        assert caught.value.scope == scope.value

    async def test_a_distrusted_key_ends_its_tokens(self, bench: Bench) -> None:
        """By the key's thumbprint."""
        (key,) = bench.keys.keys
        store = MemoryRevocationStore(clock=bench.clock)
        async with bench.verifier(revocations=store) as verifier:
            await verifier.revoke(
                Revocation(scope=RevocationScope.KEY, issuer=ISSUER, id=key.thumbprint)
            )
            with pytest.raises(TokenRevoked):
                await verifier.verify(bench.token())

    async def test_a_minimum_version_ends_older_tokens(self, bench: Bench) -> None:
        """Tokens of the new version pass."""
        store = MemoryRevocationStore(clock=bench.clock)
        issuer = bench.issuer(mapping=ClaimMapping(token_version=("ver",)))
        async with bench.verifier(issuer, revocations=store) as verifier:
            await verifier.revoke(
                Revocation(
                    scope=RevocationScope.VERSION, issuer=ISSUER, id="alice", minimum_version=2
                )
            )
            with pytest.raises(TokenRevoked):
                await verifier.verify(bench.token(ver=1))
            await verifier.verify(bench.token(ver=2))

    async def test_revoking_the_principal_ends_its_token_alone(self, bench: Bench) -> None:
        """`Revocation.of` names the token that was presented."""
        store = MemoryRevocationStore(clock=bench.clock)
        async with bench.verifier(revocations=store) as verifier:
            caller = await verifier.verify(bench.token())
            await verifier.revoke(Revocation.of(caller, reason="logout"))
            with pytest.raises(TokenRevoked):
                await verifier.verify(bench.token())
            await verifier.verify(bench.token(jti="t-2"))

    async def test_lifting_brings_the_token_back(self, bench: Bench) -> None:
        """And both acts are on record."""
        store = MemoryRevocationStore(clock=bench.clock)
        context = RequestContext(request_id="r-1")
        async with bench.verifier(revocations=store) as verifier:
            caller = await verifier.verify(bench.token())
            await verifier.revoke(Revocation.of(caller), context=context)
            await verifier.lift(Revocation.of(caller))
            await verifier.verify(bench.token())
        acts = [
            event
            for event in bench.sink.events
            if event.type in ("token.revoked", "revocation.lifted")
        ]
        assert [event.type for event in acts] == ["token.revoked", "revocation.lifted"]
        assert acts[0].request_id == "r-1"
        assert acts[0].data["scope"] == "token"
        assert acts[0].data["id"] == "t-1"
        assert acts[0].issuer == ISSUER

    async def test_nothing_can_be_revoked_without_a_store(self, bench: Bench) -> None:
        """It would have no effect, so it is an error."""
        revocation = Revocation(scope=RevocationScope.SUBJECT, issuer=ISSUER, id="alice")
        async with bench.verifier() as verifier:
            with pytest.raises(ConfigurationError, match="RevocationStore"):
                await verifier.revoke(revocation)
            with pytest.raises(ConfigurationError, match="lift"):
                await verifier.lift(revocation)

    async def test_a_revocation_that_would_take_nothing_back_is_refused(self, bench: Bench) -> None:
        """An issuer that is not trusted exactly so, or no Revocation at all."""
        store = MemoryRevocationStore(clock=bench.clock)
        async with bench.verifier(revocations=store) as verifier:
            caller = await verifier.verify(bench.token())
            other = Revocation(scope=RevocationScope.SUBJECT, issuer=f"{ISSUER}/", id="alice")
            with pytest.raises(ConfigurationError, match=ISSUER):
                await verifier.revoke(other)
            with pytest.raises(ConfigurationError, match=r"Revocation\.of"):
                await verifier.revoke(caller)  # type: ignore[arg-type] # a slip of the pen

    @pytest.mark.parametrize(
        "failure", [BackendUnavailable("revocations"), OSError("secret")], ids=repr
    )
    async def test_a_revocation_that_may_be_lost_is_on_record(
        self, bench: Bench, failure: Exception
    ) -> None:
        """Whoever revoked learns of it, and so does the trail."""
        store = FailingStore(failure)
        async with bench.verifier(revocations=store) as verifier:
            with pytest.raises(BackendUnavailable) as caught:
                await verifier.revoke(
                    Revocation(scope=RevocationScope.SUBJECT, issuer=ISSUER, id="alice")
                )
        assert caught.value.interface == "revocations"
        assert "secret" not in str(caught.value)
        (act,) = [event for event in bench.sink.events if event.type == "token.revoked"]
        assert (act.outcome, act.code) == ("unavailable", "backend_unavailable")

    async def test_a_revocation_that_is_cancelled_half_way_is_on_record(self, bench: Bench) -> None:
        """The store may have kept it all the same."""

        class Hanging(MemoryRevocationStore):
            async def revoke(self, revocation: Revocation) -> RevocationReceipt:
                await asyncio.Event().wait()
                raise AssertionError

        async with bench.verifier(revocations=Hanging(clock=bench.clock)) as verifier:
            revocation = Revocation(scope=RevocationScope.SUBJECT, issuer=ISSUER, id="alice")
            half_way = asyncio.create_task(verifier.revoke(revocation))
            await asyncio.sleep(0)
            half_way.cancel()
            with pytest.raises(asyncio.CancelledError):
                await half_way
        (act,) = [event for event in bench.sink.events if event.type == "token.revoked"]
        assert (act.outcome, act.data["id"]) == ("cancelled", "alice")


class TestKeysGiven:
    """What is no KeyProvider, or that of somebody else, is refused when the Verifier is made."""

    @pytest.mark.parametrize("keys", [object(), MemoryKeyProvider, "https://login.example.com"])
    def test_what_finds_no_keys_is_refused(self, keys: Any) -> None:
        """The message names the issuer."""
        trusted = TrustedIssuer(ISSUER, audience="orders", keys=keys)
        with pytest.raises(ConfigurationError, match=f"keys of {ISSUER} must be a KeyProvider"):
            Verifier(trusted, revocations=NoRevocation())

    def test_the_keys_of_another_issuer_are_refused(self) -> None:
        """With them, that issuer could sign in the name of this one."""

        class OfAnother:
            issuer = "https://other.example.com"

            async def find(self, kid: str | None, alg: str) -> tuple[()]:
                return ()

        keys = OfAnother()
        trusted = TrustedIssuer(ISSUER, audience="orders", keys=keys)
        with pytest.raises(ConfigurationError, match="were made for another issuer"):
            Verifier(trusted, revocations=NoRevocation())


class TestLimits:
    """Each caller is charged once per request, all limits or none."""

    async def test_a_caller_over_the_limit_is_refused_until_it_may_try_again(
        self, bench: Bench
    ) -> None:
        """The error names the limit and the wait; waiting it helps."""
        limiter = MemoryRateLimiter(clock=bench.clock)
        async with bench.verifier(limiter=limiter, limits=[PER_SUBJECT]) as verifier:
            for _ in range(2):
                await verifier.verify(bench.token())
            with pytest.raises(RateLimited) as caught:
                await verifier.verify(bench.token())
            assert caught.value.limits == ("api",)
            assert 0 < caught.value.retry_after_seconds <= 1
            await verifier.verify(bench.token(sub="bob"))
            bench.clock.advance(caught.value.retry_after_seconds)
            await verifier.verify(bench.token())

    @pytest.mark.parametrize(
        ("by", "same", "other"),
        [
            ("subject", {"sub": "alice", "client_id": "x"}, {"sub": "bob"}),
            ("client", {"sub": "bob", "client_id": "web"}, {"client_id": "cli"}),
            ("issuer", {"sub": "bob", "client_id": "cli"}, None),
        ],
    )
    async def test_calls_are_counted_by_what_the_limit_says(
        self, bench: Bench, by: Any, same: dict[str, str], other: dict[str, str] | None
    ) -> None:
        """Callers that share it share a bucket, others do not."""
        limit = RateLimit(name="one", rate=1, per_seconds=60, burst=1, by=by)
        limiter = MemoryRateLimiter(clock=bench.clock)
        async with bench.verifier(limiter=limiter, limits=[limit]) as verifier:
            await verifier.verify(bench.token())
            with pytest.raises(RateLimited):
                await verifier.verify(bench.token(**same))
            if other is not None:
                await verifier.verify(bench.token(**other))

    async def test_a_limit_that_cannot_be_counted_is_refused_at_the_start(
        self, bench: Bench
    ) -> None:
        """Not with the first request, as if it were an outage; and what was entered is left."""
        endless = RateLimit(name="ages", rate=1, per_seconds=1e9, burst=10**6, by="subject")
        verifier = bench.verifier(limiter=MemoryRateLimiter(clock=bench.clock), limits=[endless])
        with pytest.raises(ConfigurationError, match="RateLimit ages"):
            await verifier.__aenter__()

    async def test_a_limiter_that_is_down_does_not_keep_it_from_starting(
        self, bench: Bench
    ) -> None:
        """Waiting mends an outage."""
        limiter = FailingLimiter(BackendUnavailable("limiter"))
        async with bench.verifier(limiter=limiter, limits=[PER_SUBJECT]):
            pass

    async def test_a_token_without_a_subject_is_counted_by_client_or_token(
        self, bench: Bench
    ) -> None:
        """Each step back is a narrower one, never one bucket for all."""
        limit = RateLimit(name="one", rate=1, per_seconds=60, burst=1, by="subject")
        limiter = MemoryRateLimiter(clock=bench.clock)
        recorded: list[LimitRequest] = []
        acquire = limiter.acquire

        async def recording(requests: Any) -> LimitDecision:
            recorded.extend(requests)
            return await acquire(requests)

        limiter.acquire = recording  # type: ignore[method-assign] # recorded
        async with bench.verifier(limiter=limiter, limits=[limit]) as verifier:
            now = bench.clock.time()
            base = {"iss": ISSUER, "aud": "orders", "exp": now + 60}
            await verifier.verify(SIGNING_KEY.sign({}, {**base, "client_id": "web"}))
            await verifier.verify(SIGNING_KEY.sign({}, {**base, "jti": "t-9"}))
        assert [request.key for request in recorded if request.cost] == [
            f"{ISSUER} client web",
            f"{ISSUER} token t-9",
        ]

    async def test_calls_can_be_counted_by_address(self, bench: Bench) -> None:
        """IPv6 by /64; without an address the limit does not apply."""
        limit = RateLimit(name="one", rate=1, per_seconds=60, burst=1, by="address")
        limiter = MemoryRateLimiter(clock=bench.clock)
        async with bench.verifier(limiter=limiter, limits=[limit]) as verifier:

            async def call(address: str | None) -> None:
                await verifier.verify(bench.token(), context=RequestContext(client_address=address))

            await call("2001:db8::1")
            with pytest.raises(RateLimited):
                await call("2001:db8::2")
            await call("2001:db8:0:1::1")
            await call("192.0.2.1")
            with pytest.raises(RateLimited):
                await call("::ffff:192.0.2.1")
            await call("testclient")
            await call(None)
            await call(None)
            await verifier.verify(bench.token())

    async def test_a_refused_requirement_costs_like_an_accepted_call(self, bench: Bench) -> None:
        """A 403 is no free probe."""
        limiter = MemoryRateLimiter(clock=bench.clock)
        async with bench.verifier(limiter=limiter, limits=[PER_SUBJECT]) as verifier:
            for _ in range(2):
                with pytest.raises(InsufficientScope):
                    await verifier.verify(bench.token(), require=Requirement(scopes=["x"]))
            with pytest.raises(RateLimited):
                await verifier.verify(bench.token())

    async def test_a_revoked_token_costs_nothing(self, bench: Bench) -> None:
        """Revocation comes first: a thief cannot use up the owner's limit."""
        limiter = MemoryRateLimiter(clock=bench.clock)
        store = MemoryRevocationStore(clock=bench.clock)
        async with bench.verifier(
            limiter=limiter, limits=[PER_SUBJECT], revocations=store
        ) as verifier:
            caller = await verifier.verify(bench.token())
            await verifier.revoke(Revocation.of(caller))
            for _ in range(5):
                with pytest.raises(TokenRevoked):
                    await verifier.verify(bench.token())
            await verifier.verify(bench.token(jti="t-2"))


class TestOutages:
    """A backend that is down is neither a yes nor a no."""

    @pytest.mark.parametrize(
        "failure",
        [
            BackendUnavailable("x"),
            RuntimeError("boom"),
            TimeoutError(),
            KeyError("secret"),
            ConfigurationError("y"),
        ],
        ids=repr,
    )
    @pytest.mark.parametrize("interface", ["keys", "revocations", "limiter"])
    async def test_any_exception_of_a_backend_is_an_outage(
        self, bench: Bench, interface: str, failure: Exception
    ) -> None:
        """It is counted, on record, and quotes nothing of what the backend said."""
        options: dict[str, Any] = {}
        if interface == "keys":
            bench.keys.failure = failure
        elif interface == "revocations":
            options["revocations"] = FailingStore(failure)
        else:
            limiter = FailingLimiter(RuntimeError())
            options.update(limiter=limiter, limits=[PER_SUBJECT])
        async with bench.verifier(**options) as verifier:
            if interface == "limiter":
                limiter.failure = failure  # from now on
            with pytest.raises(BackendUnavailable) as caught:
                await verifier.verify(bench.token())
            assert verifier.stats()[f"{interface}_errors_total"] == 1
        if not isinstance(failure, BackendUnavailable):
            assert caught.value.__cause__ is failure
            assert caught.value.interface == interface
        assert "secret" not in str(caught.value)
        (event,) = bench.sink.requests()
        assert event.outcome == "unavailable"

    @pytest.mark.parametrize("interface", ["keys", "revocations", "limiter"])
    async def test_a_cancellation_that_nobody_asked_for_is_an_outage(
        self, bench: Bench, interface: str
    ) -> None:
        """Something inside the backend was cancelled: the request was not, and is answered."""
        failure = asyncio.CancelledError()
        options: dict[str, Any] = {}
        if interface == "keys":
            bench.keys.failure = failure
        elif interface == "revocations":
            options["revocations"] = FailingStore(failure)
        else:
            options.update(limiter=FailingLimiter(failure), limits=[PER_SUBJECT])
        async with bench.verifier(**options) as verifier:
            with pytest.raises(BackendUnavailable) as caught:
                await verifier.verify(bench.token())
        assert caught.value.interface == interface
        assert [event.outcome for event in bench.sink.requests()] == ["unavailable"]

    async def test_an_answer_of_another_type_is_no_yes(self, bench: Bench) -> None:
        """Neither from the keys, nor from the limiter, nor from the store."""

        class Vague:
            max_token_lifetime_seconds = 86_400.0

            async def acquire(self, requests: Any) -> Any:
                return LimitDecision(allowed="no", states=(), is_degraded=False)  # type: ignore[arg-type] # that is the point

            async def revoke(self, revocation: Revocation) -> Any:
                return None

            async def find(self, *_: Any) -> Any:
                return None

        vague = Vague()
        revocation = Revocation(scope=RevocationScope.SUBJECT, issuer=ISSUER, id="alice")
        async with bench.verifier(bench.issuer(keys=vague), revocations=vague) as verifier:
            with pytest.raises(BackendUnavailable):
                await verifier.verify(bench.token())
            with pytest.raises(BackendUnavailable):
                await verifier.revoke(revocation)
        async with bench.verifier(limiter=vague, limits=[PER_SUBJECT]) as verifier:
            with pytest.raises(RateLimited):
                await verifier.verify(bench.token())
            context = RequestContext(client_address="192.0.2.1")
            with pytest.raises(SignatureInvalid):
                await verifier.verify(bench.token(key=OTHER_KEY), context=context)

    @pytest.mark.parametrize("failure", [RuntimeError("down"), asyncio.CancelledError()], ids=repr)
    async def test_a_forged_token_does_not_look_like_an_outage(
        self, bench: Bench, failure: BaseException
    ) -> None:
        """The limiter that should count the attempt is down: it is refused all the same."""
        options = {"limiter": FailingLimiter(failure)}
        context = RequestContext(client_address="192.0.2.1")
        async with bench.verifier(**options) as verifier:
            with pytest.raises(SignatureInvalid):
                await verifier.verify(bench.token(key=OTHER_KEY), context=context)
            assert verifier.stats()["limiter_errors_total"] == 1

    async def test_a_fault_of_our_own_is_an_outage_too(
        self, bench: Bench, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Nothing but the family leaves `verify`; the log names the type, once."""

        class Broken(Requirement):
            __slots__ = ()

            def check(self, principal: Any, now: float) -> None:
                raise ValueError("secret text")

        async with bench.verifier() as verifier:
            for _ in range(2):
                with pytest.raises(BackendUnavailable) as caught:
                    await verifier.verify(bench.token(), require=Broken())
        assert caught.value.interface == "verifier"
        lines = [
            record.getMessage()
            for record in caplog.records
            if record.name == "authkit" and record.levelno >= logging.ERROR
        ]
        assert len(lines) == 1
        assert "ValueError" in lines[0]
        assert "secret" not in lines[0]

    async def test_a_caller_that_hangs_up_is_on_record(self, bench: Bench) -> None:
        """Cancelled is an outcome too, and the next caller is served."""
        started = asyncio.Event()
        find = bench.keys.find

        async def hanging(kid: str | None, alg: str) -> Any:
            started.set()
            await asyncio.Event().wait()

        bench.keys.find = hanging  # type: ignore[method-assign] # scripted
        async with bench.verifier() as verifier:
            task = asyncio.create_task(verifier.verify(bench.token()))
            await started.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            bench.keys.find = find  # type: ignore[method-assign] # scripted
            await verifier.verify(bench.token())
        assert [event.outcome for event in bench.sink.requests()] == ["cancelled", "accepted"]


class TestFailedAttempts:
    """Whoever keeps guessing is slowed down, and nobody else."""

    CONTEXT = RequestContext(client_address="192.0.2.1")
    LIMIT = RateLimit(name="failed_attempts", rate=3, per_seconds=60, burst=3, by="address")

    def options(self, bench: Bench) -> dict[str, Any]:
        return {"limiter": MemoryRateLimiter(clock=bench.clock), "failed_attempts": self.LIMIT}

    @pytest.mark.parametrize("kind", ["garbage", "issuer", "signature"])
    async def test_an_address_that_keeps_failing_is_refused_before_any_key_work(
        self, bench: Bench, kind: str
    ) -> None:
        """Until it may try again."""
        bad = {
            "garbage": "garbage",
            "issuer": bench.token(iss="https://unknown.example.com"),
            "signature": bench.token(key=OTHER_KEY),
        }[kind]
        async with bench.verifier(**self.options(bench)) as verifier:
            for _ in range(3):
                with pytest.raises((TokenMalformed, IssuerNotTrusted, SignatureInvalid)):
                    await verifier.verify(bad, context=self.CONTEXT)
            asked = bench.keys.finds
            with pytest.raises(RateLimited) as caught:
                await verifier.verify(bench.token(), context=self.CONTEXT)
            assert caught.value.limits == ("failed_attempts",)
            assert bench.keys.finds == asked
            await verifier.verify(bench.token(), context=RequestContext(client_address="192.0.2.2"))
            bench.clock.advance(caught.value.retry_after_seconds)
            await verifier.verify(bench.token(jti="t-2"), context=self.CONTEXT)

    async def test_a_cached_token_is_not_refused_for_its_neighbours(self, bench: Bench) -> None:
        """An office behind one address keeps working."""
        token = bench.token()
        async with bench.verifier(**self.options(bench)) as verifier:
            await verifier.verify(token, context=self.CONTEXT)
            for _ in range(3):
                with pytest.raises(TokenMalformed):
                    await verifier.verify("garbage", context=self.CONTEXT)
            await verifier.verify(token, context=self.CONTEXT)
            with pytest.raises(RateLimited):
                await verifier.verify(bench.token(jti="t-2"), context=self.CONTEXT)

    @pytest.mark.parametrize("claims", [{"exp": 1}, {"aud": "other"}])
    async def test_honest_mistakes_are_not_counted(
        self, bench: Bench, claims: dict[str, Any]
    ) -> None:
        """An expired token was given to somebody once."""
        async with bench.verifier(**self.options(bench)) as verifier:
            for _ in range(10):
                with pytest.raises(AuthkitError) as caught:
                    await verifier.verify(bench.token(**claims), context=self.CONTEXT)
                assert not isinstance(caught.value, RateLimited)
            for _ in range(10):
                with pytest.raises(KeyNotFound):
                    await verifier.verify(bench.token({"kid": "x"}), context=self.CONTEXT)

    @pytest.mark.parametrize("context", [None, RequestContext()])
    async def test_without_an_address_nobody_is_slowed_down(
        self, bench: Bench, context: RequestContext | None
    ) -> None:
        """There is nobody to tell apart."""
        async with bench.verifier(**self.options(bench)) as verifier:
            for _ in range(10):
                with pytest.raises(TokenMalformed):
                    await verifier.verify("garbage", context=context)

    @pytest.mark.parametrize("off", [{"failed_attempts": None}, {"limiter": None}])
    async def test_it_can_be_turned_off(self, bench: Bench, off: dict[str, Any]) -> None:
        """By `failed_attempts=None`, or by having no limiter."""
        async with bench.verifier(**{**self.options(bench), **off}) as verifier:
            for _ in range(10):
                with pytest.raises(TokenMalformed):
                    await verifier.verify("garbage", context=self.CONTEXT)

    async def test_the_table_of_addresses_is_bounded(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Many addresses do not make the process grow; the limiter still counts them."""
        monkeypatch.setattr("authkit.verifier.failed_attempts._MAX_ADDRESSES", 5)
        limit = RateLimit(name="f", rate=1, per_seconds=60, burst=1, by="address")
        async with bench.verifier(**{**self.options(bench), "failed_attempts": limit}) as verifier:
            for number in range(20):
                context = RequestContext(client_address=f"192.0.2.{number}")
                with pytest.raises(TokenMalformed):
                    await verifier.verify("garbage", context=context)
            assert len(verifier._attempts._waiting) == 5
            with pytest.raises(RateLimited):
                await verifier.verify("garbage", context=context)


class TestRecord:
    """Every verification leaves exactly one record, and no credential in it."""

    async def test_an_accepted_call_is_on_record(self, bench: Bench) -> None:
        """With who it was, and nothing of the token but its hash."""
        token = bench.token()
        context = RequestContext(client_address="192.0.2.1", request_id="r", trace_id="t")
        async with bench.verifier() as verifier:
            await verifier.verify(token, context=context)
        (event,) = bench.sink.requests()
        assert (event.outcome, event.code) == ("accepted", None)
        assert (event.issuer, event.subject, event.client_id) == (ISSUER, "alice", "web")
        assert (event.client_address, event.request_id, event.trace_id) == ("192.0.2.1", "r", "t")
        assert event.key_thumbprint == bench.keys.keys[0].thumbprint
        assert event.token_hash is not None
        assert len(event.token_hash) == 64
        assert not any(part in str(event) for part in token.split("."))

    async def test_each_outcome_is_counted_once(self, bench: Bench) -> None:
        """The counts and the trail cannot disagree: both come from the record."""
        async with bench.verifier() as verifier:
            await verifier.verify(bench.token())
            for credential in (None, "garbage", "x" * 20_000, bench.token(aud="other")):
                with pytest.raises(AuthkitError):
                    await verifier.verify(credential)
            bench.keys.failure = RuntimeError()
            with pytest.raises(BackendUnavailable):
                await verifier.verify(bench.token({"kid": "new"}))
            stats = verifier.stats()
        outcomes = [event.outcome for event in bench.sink.requests()]
        assert outcomes == ["accepted", "missing", "refused", "refused", "refused", "unavailable"]
        for outcome in set(outcomes):
            assert stats[f"verifications_{outcome}_total"] == outcomes.count(outcome)
        assert stats["token_cache_entries"] == 1
        assert stats["token_cache_bytes"] > 0

    async def test_a_token_that_is_too_long_is_not_even_hashed(self, bench: Bench) -> None:
        """A stranger orders no work."""
        async with bench.verifier() as verifier:
            with pytest.raises(TokenMalformed):
                await verifier.verify("x" * 20_000)
        assert bench.sink.requests()[0].token_hash is None

    async def test_a_refusal_says_what_was_wrong(self, bench: Bench) -> None:
        """In fields, taken from configuration or from a verified token alone."""
        async with bench.verifier() as verifier:
            with pytest.raises(AudienceMismatch):
                await verifier.verify(bench.token(aud="other"))
            with pytest.raises(InsufficientScope):
                await verifier.verify(bench.token(), require=Requirement(scopes=["b", "a"]))
            with pytest.raises(AuthkitError):
                await verifier.verify(bench.token(), require=Requirement(roles=["r"]))
        data = [dict(event.data) for event in bench.sink.requests()]
        assert data == [{"claim": "aud", "reason": "mismatch"}, {"scopes": "a b"}, {"roles": "r"}]

    async def test_a_backends_change_of_state_is_on_record(self, bench: Bench) -> None:
        """The operator reads it beside the refusals that it caused."""
        listeners: list[Any] = []

        class Observed(ScriptedKeys):
            def observe(self, listener: Any) -> None:
                listeners.append(listener)

            def stats(self) -> dict[str, float]:
                return {}

        keys = Observed(SIGNING_KEY)
        async with bench.verifier(bench.issuer(keys=keys)):
            listeners[0](
                StateChange(
                    interface="keys",
                    name=ISSUER,
                    old="fresh",
                    new="last_known_good",
                    code="x",
                    time=1.0,
                )
            )
        (event,) = [event for event in bench.sink.events if event.type == "backend.state_changed"]
        assert event.data["new"] == "last_known_good"
        assert (event.outcome, event.code) == ("unavailable", "x")

    async def test_a_rotation_of_keys_is_on_record(self, bench: Bench) -> None:
        """As a fact of its own, told from outages."""
        keys = MemoryKeyProvider.from_jwks({"keys": [SIGNING_KEY.public_jwk()]}, clock=bench.clock)
        async with bench.verifier(bench.issuer(keys=keys)):
            keys.replace({"keys": [OTHER_KEY.public_jwk()]})
        (event,) = [event for event in bench.sink.events if event.type == "keys.rotated"]
        assert (event.outcome, event.code) == ("accepted", None)
        assert event.data["old"] != event.data["new"]


class TestLife:
    """Entering, leaving, and being put together."""

    async def test_it_must_be_entered(self, bench: Bench) -> None:
        """The message says how."""
        verifier = bench.verifier(revocations=MemoryRevocationStore(clock=bench.clock))
        revocation = Revocation(scope=RevocationScope.SUBJECT, issuer=ISSUER, id="alice")
        for call in (verifier.verify(None), verifier.revoke(revocation), verifier.lift(revocation)):
            with pytest.raises(ConfigurationError, match="async with"):
                await call

    async def test_each_backend_is_entered_once_and_left_in_reverse(self, bench: Bench) -> None:
        """Also when two issuers share one, and when the Verifier is entered twice."""
        steps: list[str] = []

        class Part:
            def __init__(self, name: str) -> None:
                self.name = name

            async def __aenter__(self) -> Part:
                steps.append(f"+{self.name}")
                return self

            async def __aexit__(self, *_: object) -> None:
                steps.append(f"-{self.name}")

        class Keys(Part, ScriptedKeys):
            def __init__(self) -> None:
                Part.__init__(self, "keys")
                ScriptedKeys.__init__(self, SIGNING_KEY)

        class Store(Part, NoRevocation):
            pass

        keys = Keys()
        other = TrustedIssuer("https://other.example.com", "orders", keys=keys)
        verifier = bench.verifier(bench.issuer(keys=keys), other, revocations=Store("store"))
        async with verifier:
            async with verifier:
                assert steps == ["+keys", "+store"]
            await verifier.verify(bench.token())
        assert steps == ["+keys", "+store", "-store", "-keys"]
        async with verifier:
            await verifier.verify(bench.token())

    async def test_a_backend_that_cannot_be_entered_leaves_nothing_open(self, bench: Bench) -> None:
        """What was entered before it is left again, and its error says why."""
        left: list[str] = []

        class Keys(ScriptedKeys):
            async def __aenter__(self) -> None: ...

            async def __aexit__(self, *_: object) -> None:
                left.append("keys")

        class Store(NoRevocation):
            async def __aenter__(self) -> None:
                raise ConfigurationError("wrong password")

            async def __aexit__(self, *_: object) -> None:
                left.append("store")

        verifier = bench.verifier(bench.issuer(keys=Keys(SIGNING_KEY)), revocations=Store())
        with pytest.raises(ConfigurationError, match="wrong password"):
            await verifier.__aenter__()
        assert left == ["keys"]
        with pytest.raises(ConfigurationError, match="enter"):
            await verifier.verify(bench.token())

    async def test_doing_without_revocation_is_said_at_start(
        self, bench: Bench, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A reviewer sees every loosened option."""
        async with bench.verifier():
            pass
        assert "NoRevocation()" in caplog.text

    async def test_a_trail_of_ones_own_is_used_as_it_is(self, bench: Bench) -> None:
        """For those who set its options."""
        trail = AuditTrail(bench.sink, clock=bench.clock, producer="me")
        async with bench.verifier(audit=trail) as verifier:
            await verifier.verify(bench.token())
        assert {event.producer for event in bench.sink.events} == {trail.producer}
        kinds = [event.type for event in bench.sink.events]
        assert kinds[0] == "verifier.started"
        assert set(bench.sink.events[0].data) == {"host", "pid"}
        assert kinds[-1] == "verifier.stopped"

    def test_parts_that_do_not_fit_are_refused(self, bench: Bench) -> None:
        """At construction, with a message that says what to do."""
        store = MemoryRevocationStore(max_token_lifetime_seconds=60)
        with pytest.raises(ConfigurationError, match="at least one"):
            Verifier(revocations=NoRevocation())
        with pytest.raises(ConfigurationError, match="twice"):
            bench.verifier(bench.issuer(), bench.issuer())
        for wrong in (None, NoRevocation, MemoryRevocationStore, "memory"):
            with pytest.raises(ConfigurationError, match="NoRevocation"):
                bench.verifier(revocations=wrong)
        backends = SimpleNamespace(revocations=MemoryRevocationStore())
        with pytest.raises(ConfigurationError, match=r"give backends\.revocations"):
            bench.verifier(revocations=backends)
        for wrong in ([bench.issuer()], ISSUER):
            with pytest.raises(ConfigurationError, match="TrustedIssuer"):
                Verifier(wrong, revocations=NoRevocation())  # type: ignore[arg-type] # a slip of the pen
        with pytest.raises(ConfigurationError, match="RateLimiter"):
            bench.verifier(limiter=MemoryRateLimiter)
        with pytest.raises(ConfigurationError, match="list"):
            bench.verifier(limiter=MemoryRateLimiter(), limits=PER_SUBJECT)
        with pytest.raises(ConfigurationError, match="max_token_lifetime_seconds"):
            bench.verifier(revocations=store)
        with pytest.raises(ConfigurationError, match="limiter="):
            bench.verifier(limits=[PER_SUBJECT])
        with pytest.raises(ConfigurationError, match="name of its own"):
            bench.verifier(limits=[PER_SUBJECT, PER_SUBJECT], limiter=MemoryRateLimiter())
        with pytest.raises(ConfigurationError, match="by='address'"):
            bench.verifier(failed_attempts=PER_SUBJECT)

    def test_an_issuer_without_keys_fetches_them(self, bench: Bench) -> None:
        """By discovery from its own address; making it opens no socket."""
        verifier = bench.verifier(TrustedIssuer(ISSUER, "orders"))
        assert type(verifier._issuers[ISSUER].keys).__name__ == "RemoteKeyProvider"


async def test_nothing_but_the_family_escapes_at_any_stack_depth(bench: Bench) -> None:
    """Called near the end of the stack, a good or a bad token still ends in our own errors."""
    good = bench.token()
    hostile = SIGNING_KEY.sign({}, b'{"a":' * 20 + b"1" + b"}" * 20)

    async def descend(depth: int, token: str) -> None:
        if depth:
            await descend(depth - 1, token)
        else:
            await verifier.verify(token)
            raise _Accepted

    async with bench.verifier(token_cache_entries=0) as verifier:
        # With the smallest margins the call of `verify` itself has no room, which is not its doing.
        room = sys.getrecursionlimit() - _depth()
        for token in (good, hostile, "garbage", "." * 2):
            for margin in range(1, 60):
                with pytest.raises((AuthkitError, RecursionError)) as caught:
                    await descend(room - margin, token)
                assert isinstance(caught.value, AuthkitError) or _raised_outside(caught.value)


@pytest.mark.parametrize("credential", ["good", "garbage"])
async def test_without_room_for_a_record_nothing_is_accepted(bench: Bench, credential: str) -> None:
    """The stack may be used up at the very last step; then it is an outage, for good and bad."""

    def no_room(record: RequestRecord) -> None:
        raise RecursionError

    async with bench.verifier() as verifier:
        verifier._records._append = no_room
        with pytest.raises(BackendUnavailable) as caught:
            await verifier.verify(bench.token() if credential == "good" else credential)
    assert caught.value.interface == "verifier"


class _Accepted(AuthkitError):
    """What a good token ends in."""

    def __init__(self) -> None:
        super().__init__("accepted")


def _depth() -> int:
    frame, depth = sys._getframe(), 0
    while frame is not None:
        frame, depth = frame.f_back, depth + 1  # type: ignore[assignment] # None ends it
    return depth


def _raised_outside(error: BaseException) -> bool:
    """Whether no frame of `Verifier.verify` was running when it was raised."""
    traceback = error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code is Verifier.verify.__code__:
            return False
        traceback = traceback.tb_next
    return True
