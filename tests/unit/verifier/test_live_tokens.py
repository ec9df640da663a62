"""A token in use is asked for again at each sign of a revocation, and ends when it is revoked."""

from __future__ import annotations

import asyncio
import math
import pickle
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

import pytest

from authkit.errors import BackendUnavailable, ConfigurationError, TokenExpired, TokenRevoked
from authkit.interfaces import Revocation, RevocationScope, TokenFacts
from authkit.policy.claim_reader import facts_of
from authkit.principal import Principal
from authkit.revocations import Feed
from authkit.testing import ManualClock, make_principal
from authkit.verifier import NoRevocation, TokenWatch, recheck
from authkit.verifier.backend_errors import BackendErrors
from authkit.verifier.live_tokens import LiveTokens
from authkit_memory import MemoryRevocationStore
from tests.unit.verifier.bench import ISSUER, Bench

pytestmark = pytest.mark.anyio

CLOCK = ManualClock()
REQUEST: ContextVar[str] = ContextVar("REQUEST")


def principal(name: str = "alice", **fields: Any) -> Principal:
    return make_principal(name, **{"token_id": f"of {name}", "issued_at": CLOCK.time(), **fields})


def of_token(name: str) -> Revocation:
    return Revocation(scope=RevocationScope.TOKEN, issuer="https://issuer.test", id=f"of {name}")


class ScriptedStore:
    """A store and its feed that do what a test tells them.

    Attributes:
        revoked: the subjects whose tokens are revoked.
        asked: the subjects that `find` was asked for.
        failures: raised by `find`, one after the other, before it answers.
        feed_failures: raised by `subscribe`, likewise.
        subscriptions: how many there have been.
        in_find: is awaited by `find` between looking and answering.
    """

    max_token_lifetime_seconds = math.inf

    def __init__(self) -> None:
        self.revoked: set[str | None] = set()
        self.asked: list[str | None] = []
        self.failures: list[BaseException] = []
        self.feed_failures: list[BaseException] = []
        self.subscriptions = 0
        self.in_find: Callable[[], Awaitable[None]] | None = None
        self.feed = Feed()

    async def revoke(self, revocation: Revocation) -> Any: ...

    def sign(self) -> None:
        self.feed.publish(of_token("somebody"))

    async def find(self, token: TokenFacts) -> Revocation | None:
        self.asked.append(token.subject)
        found = of_token("x") if token.subject in self.revoked else None
        if self.in_find is not None:
            await self.in_find()
        if self.failures:
            raise self.failures.pop(0)
        return found

    def subscribe(self) -> Any:
        self.subscriptions += 1
        if self.feed_failures:
            raise self.feed_failures.pop(0)
        return self.feed.subscribe()


@pytest.fixture
def store() -> ScriptedStore:
    return ScriptedStore()


@pytest.fixture
def errors() -> BackendErrors:
    return BackendErrors()


@pytest.fixture
async def live(store: ScriptedStore, errors: BackendErrors) -> Any:
    """In use from here on."""
    live = LiveTokens(store, CLOCK, errors)
    async with live:
        yield live


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Returns as soon as the condition holds."""
    for _ in range(int(seconds * 1000)):
        if condition():
            return
        await asyncio.sleep(0.001)
    pytest.fail("it never came true")


async def settled() -> None:
    """Lets the tasks that are ready run; no question takes longer here."""
    await asyncio.sleep(0.02)


class Connection:
    """A task that holds a token until that ends."""

    def __init__(self, live: LiveTokens, caller: Principal) -> None:
        self.watch: TokenWatch = live.watch(caller)
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async with self.watch:
            await asyncio.Event().wait()

    async def hang_up(self) -> None:
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task

    async def error(self) -> BaseException | None:
        await asyncio.wait({self.task}, timeout=5)
        return self.task.exception()


class TestRevocation:
    """What a revocation ends, and when."""

    async def test_a_sign_ends_the_revoked_and_nobody_else(
        self, live: LiveTokens, store: ScriptedStore
    ) -> None:
        """The block is cancelled, and the reason raised."""
        alice, bob = Connection(live, principal("alice")), Connection(live, principal("bob"))
        await settled()
        store.revoked.add("alice")
        store.sign()
        error = await alice.error()
        assert isinstance(error, TokenRevoked)
        assert error is alice.watch.ended
        assert error.scope == "token"
        assert bob.watch.ended is None
        assert (len(live), live.revoked_total) == (1, 1)
        await bob.hang_up()
        assert len(live) == 0

    async def test_what_was_revoked_before_the_watch_is_found(
        self, live: LiveTokens, store: ScriptedStore
    ) -> None:
        """Between the handshake and the block no revocation is lost."""
        first = Connection(live, principal("bob"))
        await settled()
        store.asked.clear()
        store.revoked.add("alice")
        assert isinstance(await Connection(live, principal("alice")).error(), TokenRevoked)
        assert store.asked == ["alice"]
        await first.hang_up()

    async def test_a_sign_that_comes_during_a_question_asks_it_again(
        self, live: LiveTokens, store: ScriptedStore
    ) -> None:
        """The answer under way may be from before."""
        alice = Connection(live, principal("alice"))
        await settled()
        is_answering, may_answer = asyncio.Event(), asyncio.Event()

        async def slowly() -> None:
            is_answering.set()
            await may_answer.wait()

        store.in_find = slowly
        store.sign()
        await is_answering.wait()
        store.revoked.add("alice")
        store.sign()
        await settled()
        may_answer.set()
        assert isinstance(await alice.error(), TokenRevoked)

    async def test_all_share_one_subscription(self, live: LiveTokens, store: ScriptedStore) -> None:
        """It ends with the Verifier, not with a connection."""
        connections = [Connection(live, principal(f"caller {number}")) for number in range(50)]
        await settled()
        assert (store.subscriptions, len(store.feed), len(live)) == (1, 1, 50)
        for connection in connections:
            await connection.hang_up()
        assert (store.subscriptions, len(store.feed), len(live)) == (1, 1, 0)

    async def test_a_caller_that_has_gone_is_asked_for_no_more(
        self, live: LiveTokens, store: ScriptedStore
    ) -> None:
        """Neither does it count as ended by a revocation, where it goes in the same moment."""
        may_answer = asyncio.Event()
        store.revoked.add("alice")

        async def slowly() -> None:
            await may_answer.wait()

        store.in_find = slowly
        alice = Connection(live, principal("alice"))
        await settled()
        await alice.hang_up()
        may_answer.set()
        await settled()
        assert alice.watch.ended is None
        assert live.revoked_total == 0
        store.asked.clear()
        store.sign()
        await settled()
        assert store.asked == []

    async def test_a_block_that_takes_its_time_to_end_has_ended_once(
        self, live: LiveTokens, store: ScriptedStore
    ) -> None:
        """It is asked for no more while it cleans up."""
        may_go = asyncio.Event()

        async def connection() -> None:
            async with live.watch(principal("alice")):
                try:
                    await asyncio.Event().wait()
                finally:
                    await may_go.wait()

        store.revoked.add("alice")
        task = asyncio.create_task(connection())
        await settled()
        store.asked.clear()
        store.sign()
        await settled()
        assert (store.asked, live.revoked_total) == ([], 1)
        may_go.set()
        with pytest.raises(TokenRevoked):
            await task

    async def test_many_signs_are_answered_together(
        self, live: LiveTokens, store: ScriptedStore
    ) -> None:
        """A flood of revocations is no flood of questions."""
        connections = [Connection(live, principal(f"caller {number}")) for number in range(20)]
        await settled()
        store.asked.clear()
        for _ in range(900):
            store.sign()
        await settled()
        assert len(store.asked) <= 3 * len(connections)
        for connection in connections:
            await connection.hang_up()

    async def test_it_rests_as_long_as_it_works(
        self, live: LiveTokens, store: ScriptedStore
    ) -> None:
        """Signs without end leave half of the time to others."""
        alice = Connection(live, principal("alice"))
        await settled()

        async def slowly() -> None:
            await asyncio.sleep(0.02)

        store.in_find = slowly
        store.asked.clear()
        until_seconds = asyncio.get_running_loop().time() + 0.4
        while asyncio.get_running_loop().time() < until_seconds:
            store.sign()
            await asyncio.sleep(0.001)
        assert 2 <= len(store.asked) <= 11
        await alice.hang_up()

    async def test_thousands_of_tokens_never_hold_the_loop(
        self, live: LiveTokens, store: ScriptedStore
    ) -> None:
        """Between any two of its turns only so many are asked for, and each once for one sign."""
        watches = [live.watch(principal(f"caller {number}")) for number in range(3_000)]
        for watch in watches:
            live._enrol(watch)
        await until(lambda: len(store.asked) >= 3_000)
        await settled()
        store.asked.clear()
        store.sign()
        most = before = 0
        while len(store.asked) < 3_000:
            await asyncio.sleep(0)
            most, before = max(most, len(store.asked) - before), len(store.asked)
        await settled()
        assert 0 < most <= 300
        assert len(store.asked) == 3_000

    async def test_it_carries_nothing_of_the_connection_it_began_with(
        self, live: LiveTokens, store: ScriptedStore
    ) -> None:
        """It outlives it: a trace or a request's id would be another's."""
        seen: list[str | None] = []

        async def look() -> None:
            seen.append(REQUEST.get(None))

        store.in_find = look
        REQUEST.set("of alice")
        alice = Connection(live, principal("alice"))
        await until(lambda: bool(seen))
        assert set(seen) == {None}
        await alice.hang_up()


class TestOutages:
    """Nobody is ended by an outage, and no question is forgotten in one."""

    @pytest.mark.parametrize(
        "failure",
        [BackendUnavailable("revocations"), RuntimeError("x"), asyncio.CancelledError()],
        ids=lambda failure: type(failure).__name__,
    )
    async def test_a_question_without_an_answer_is_asked_again(
        self,
        live: LiveTokens,
        store: ScriptedStore,
        errors: BackendErrors,
        failure: BaseException,
    ) -> None:
        """Soon, and without another sign."""
        alice = Connection(live, principal("alice"))
        await settled()
        store.asked.clear()
        store.failures = [failure, failure]
        store.revoked.add("alice")
        store.sign()
        await settled()
        assert alice.watch.ended is None
        assert isinstance(await alice.error(), TokenRevoked)
        assert store.asked == ["alice"] * 3
        assert errors.counts["revocations"] == 2

    async def test_only_the_unanswered_are_asked_for_again(
        self, live: LiveTokens, store: ScriptedStore
    ) -> None:
        """Those who were answered wait for the next sign; who has gone is asked for no more."""
        connections = [Connection(live, principal(name)) for name in ("a", "b", "c")]
        await settled()
        store.asked.clear()
        store.failures = [RuntimeError(), RuntimeError()]
        store.sign()
        await settled()
        first, second, third = store.asked
        gone = next(each for each in connections if each.watch.facts.subject == first)
        await gone.hang_up()
        await until(lambda: len(store.asked) > 3)
        await settled()
        assert store.asked == [first, second, third, second]
        for connection in connections:
            await connection.hang_up()

    async def test_who_goes_without_an_answer_is_asked_for_no_more(
        self, live: LiveTokens, store: ScriptedStore
    ) -> None:
        """The question goes with the connection."""
        may_answer = asyncio.Event()

        async def slowly() -> None:
            await may_answer.wait()

        store.in_find = slowly
        store.failures = [RuntimeError()]
        alice = Connection(live, principal("alice"))
        await settled()
        await alice.hang_up()
        may_answer.set()
        await asyncio.sleep(0.15)
        assert store.asked == ["alice"]

    async def test_pauses_of_the_feed_grow_until_it_works(
        self, live: LiveTokens, store: ScriptedStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A sign, or a while without a failure, and they begin anew."""
        pauses: list[int] = []

        def note(failures: int) -> float:
            pauses.append(failures)
            return 0.0

        monkeypatch.setattr(recheck, "_pause_seconds", note)
        store.feed_failures = [RuntimeError()] * 3
        alice = Connection(live, principal("alice"))
        await until(lambda: len(store.feed) == 1)
        assert pauses == [0, 1, 2]
        store.sign()
        await settled()
        store.feed_failures = [RuntimeError()]
        for _ in range(1_500):
            store.sign()
        await until(lambda: len(store.feed) == 1)
        assert pauses == [0, 1, 2, 0, 1]
        monkeypatch.setattr(recheck, "_LASTING_SECONDS", -1.0)
        for _ in range(1_500):
            store.sign()
        await until(lambda: len(store.feed) == 1)
        monkeypatch.setattr(recheck, "_LASTING_SECONDS", 1.0)
        for _ in range(1_500):
            store.sign()
        await until(lambda: len(store.feed) == 1)
        assert pauses == [0, 1, 2, 0, 1, 0]
        await alice.hang_up()

    async def test_pauses_grow_and_are_bounded(self) -> None:
        """An outage of days is asked about every two seconds."""
        pauses = [recheck._pause_seconds(failures) for failures in (0, 1, 2, 5, 6, 1_000_000)]
        assert pauses == [0.05, 0.1, 0.2, 1.6, 2.0, 2.0]

    async def test_who_falls_behind_subscribes_again_and_asks_for_all(
        self, errors: BackendErrors
    ) -> None:
        """Revocations that were lost with the queue are found by asking."""
        store = MemoryRevocationStore(clock=CLOCK)
        live = LiveTokens(store, CLOCK, errors)
        async with live:
            alice = Connection(live, principal("alice"))
            await settled()
            await store.revoke(of_token("alice"))
            for number in range(1_500):
                await store.revoke(of_token(f"x{number}"))
            assert store.stats()["feed_overflow_total"] == 1
            assert isinstance(await alice.error(), TokenRevoked)
            await until(lambda: store.stats()["subscribers"] == 1)

    @pytest.mark.parametrize(
        "failure",
        [BackendUnavailable("revocations"), RuntimeError("x"), asyncio.CancelledError()],
        ids=lambda failure: type(failure).__name__,
    )
    async def test_a_feed_that_fails_is_tried_again(
        self,
        live: LiveTokens,
        store: ScriptedStore,
        errors: BackendErrors,
        failure: BaseException,
    ) -> None:
        """Until it works, and not without a pause."""
        store.feed_failures = [failure] * 2
        alice = Connection(live, principal("alice"))
        await settled()
        assert store.subscriptions == 1
        store.revoked.add("alice")
        assert isinstance(await alice.error(), TokenRevoked)
        assert store.subscriptions == 3
        assert errors.counts["revocations"] == 2

    async def test_a_feed_that_ends_is_subscribed_to_again(
        self, live: LiveTokens, store: ScriptedStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """At once, where it had worked for a while; it needs no `aclose`."""
        ends: list[asyncio.Event] = []

        class Ending:
            def __init__(self) -> None:
                self.ended = asyncio.Event()
                ends.append(self.ended)

            def __aiter__(self) -> Ending:
                return self

            async def __anext__(self) -> Revocation:
                await self.ended.wait()
                raise StopAsyncIteration

        store.subscribe = Ending  # type: ignore[method-assign]
        monkeypatch.setattr(recheck, "_LASTING_SECONDS", -1.0)
        alice = Connection(live, principal("alice"))
        for number in range(1, 4):
            await until(lambda number=number: len(ends) == number)
            ends[-1].set()
        await until(lambda: len(ends) == 4)
        await alice.hang_up()


class TestLife:
    """From entering to leaving, in one event loop after the other."""

    async def test_a_store_that_feeds_nobody_is_not_asked(self, errors: BackendErrors) -> None:
        """Its tokens expire, and that is all."""
        clock = ManualClock()
        live = LiveTokens(NoRevocation(), clock, errors)
        async with live:
            alice = Connection(live, principal("alice", expires_at=clock.time() + 0.01))
            await settled()
            assert len(live) == 0
            clock.advance(1)
            assert isinstance(await alice.error(), TokenExpired)

    async def test_nothing_is_left_running(
        self, store: ScriptedStore, errors: BackendErrors
    ) -> None:
        """Neither a task nor a subscription; who is watched still expires afterwards."""
        clock = ManualClock()
        live = LiveTokens(store, clock, errors)
        before = asyncio.all_tasks()
        async with live:
            alice = Connection(live, principal("alice", expires_at=clock.time() + 0.03))
            await settled()
            assert len(asyncio.all_tasks() - before) > 1
        assert asyncio.all_tasks() - before == {alice.task}
        assert len(store.feed) == len(live) == 0
        store.revoked.add("alice")
        store.sign()
        clock.advance(1)
        assert isinstance(await alice.error(), TokenExpired)

    async def test_leaving_counts_on(self, store: ScriptedStore, errors: BackendErrors) -> None:
        """It can be entered again; what has been counted is kept."""
        live = LiveTokens(store, CLOCK, errors)
        store.revoked.add("alice")
        for entered in (1, 2):
            async with live:
                await Connection(live, principal("alice")).error()
                assert live.revoked_total == entered
        assert live.revoked_total == 2
        assert store.subscriptions == 2

    async def test_leaving_unused_is_nothing(
        self, store: ScriptedStore, errors: BackendErrors
    ) -> None:
        """Nobody subscribes before there is somebody to watch."""
        async with LiveTokens(store, CLOCK, errors):
            await settled()
        assert store.subscriptions == 0

    async def test_outside_of_it_nothing_is_started(
        self, store: ScriptedStore, errors: BackendErrors
    ) -> None:
        """There is nobody who would end it."""
        live = LiveTokens(store, CLOCK, errors)
        for _ in range(2):
            alice = Connection(live, principal("alice"))
            await settled()
            assert (store.subscriptions, len(live)) == (0, 0)
            await alice.hang_up()
            async with live:
                pass

    async def test_it_is_started_again_where_every_task_was_cancelled(
        self, live: LiveTokens, store: ScriptedStore
    ) -> None:
        """With the next connection; those before it are still watched."""
        alice = Connection(live, principal("alice"))
        await settled()
        for task in asyncio.all_tasks():
            if task.get_name() == "authkit-recheck":
                task.cancel()
        await settled()
        store.revoked.add("alice")
        store.sign()
        await settled()
        assert alice.watch.ended is None
        bob = Connection(live, principal("bob"))
        assert isinstance(await alice.error(), TokenRevoked)
        await bob.hang_up()

    def test_one_loop_after_the_other(self, store: ScriptedStore, errors: BackendErrors) -> None:
        """As under a test client, which gives each connection a loop of its own."""
        live = LiveTokens(store, CLOCK, errors)

        async def connection(name: str, is_revoked: bool) -> None:
            alice = Connection(live, principal(name))
            await settled()
            if is_revoked:
                store.revoked.add(name)
                store.sign()
                assert isinstance(await alice.error(), TokenRevoked)

        asyncio.run(live.__aenter__())
        asyncio.run(connection("alice", True))
        asyncio.run(connection("bob", False))
        asyncio.run(connection("carol", True))
        asyncio.run(live.__aexit__(None, None, None))
        assert live.revoked_total == 2
        assert len(live) == 0

    async def test_not_two_loops_at_once(self, live: LiveTokens) -> None:
        """What the first one watches must not get lost."""
        alice = Connection(live, principal("alice"))
        await settled()

        async def elsewhere() -> None:
            async with live.watch(principal("bob")):
                pass

        with pytest.raises(ConfigurationError, match="another event loop"):
            await asyncio.to_thread(asyncio.run, elsewhere())
        assert len(live) == 1
        await alice.hang_up()


class TestOfAVerifier:
    """What `Verifier.watch` makes of a principal."""

    async def test_the_token_is_asked_for_as_it_was_proven(self, bench: Bench) -> None:
        """Also by what a principal does not show: the signing key, the version."""
        store = ScriptedStore()
        async with bench.verifier(revocations=store) as verifier:
            caller = await verifier.verify(bench.token())
            watch = verifier.watch(caller)
            assert watch.facts is facts_of(caller)
            assert watch.facts.key_thumbprint == bench.keys.keys[0].thumbprint
            async with watch:
                assert verifier.stats()["live_tokens"] == 1
            assert verifier.stats()["live_tokens"] == 0
            store.revoked.add("alice")
            with pytest.raises(TokenRevoked):
                async with verifier.watch(caller):
                    await asyncio.Event().wait()
            assert verifier.stats()["live_tokens_revoked_total"] == 1

    async def test_it_must_be_entered(self, bench: Bench) -> None:
        """Else nobody would listen."""
        with pytest.raises(ConfigurationError, match="enter the Verifier"):
            bench.verifier().watch(principal())

    async def test_a_principal_made_by_hand_is_covered_by_what_it_says(self) -> None:
        """Its version is unknown, so that every revocation by version covers it."""
        caller = principal("alice", session_id="s-1", client_id="web")
        facts = facts_of(caller)
        assert facts.token_version is None
        assert facts.key_thumbprint == ""
        for name in ("issuer", "subject", "client_id", "session_id", "issued_at", "expires_at"):
            assert getattr(facts, name) == getattr(caller, name)
        store = MemoryRevocationStore(clock=CLOCK)
        issuer = "https://issuer.test"
        below = Revocation(
            scope=RevocationScope.VERSION, issuer=issuer, id="alice", minimum_version=-5
        )
        for revocation in (
            below,
            *(Revocation.of(caller, RevocationScope(scope)) for scope in ("token", "session")),
        ):
            await store.revoke(revocation)
            assert await store.find(facts) is not None
            await store.lift(revocation)
            assert await store.find(facts) is None

    async def test_the_facts_are_no_part_of_a_principals_value(self, bench: Bench) -> None:
        """It equals one that was made by hand, and leaves them behind when it is pickled."""
        async with bench.verifier() as verifier:
            caller = await verifier.verify(bench.token())
        again = pickle.loads(pickle.dumps(caller))
        assert again == caller
        assert facts_of(caller).key_thumbprint != facts_of(again).key_thumbprint == ""
        assert facts_of(caller).issuer == ISSUER
