"""The scripts that count, by a clock that the tests set, against exact fractions."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from authkit.gcra import GcraTable
from authkit.interfaces import LimitRequest, RateLimit
from authkit_redis.limits.charging import Charge, Outcome
from authkit_redis.limits.plans import Keys, Plan
from authkit_redis.limits.scripts import GIVE_BACK, TAKE, TAKE_ONE
from authkit_redis.link import Script
from tests.redis.connection import Connection
from tests.redis.servers import RedisServer

TIME = "local time = redis.call('TIME')\nlocal now = time[1] * 1000000 + time[2]\n"
EXPIRY = "math.ceil(used / scale / 1000) + 1"
BEGIN = 1_700_000_000_000_000
CUT = 2**53 - 1
"""What the scripts take for any amount that is more."""

Answer = tuple[bool, list[Outcome]]


def limit(rate: int, per_seconds: float, burst: int, name: str = "a") -> RateLimit:
    return RateLimit(name=name, rate=rate, per_seconds=per_seconds, burst=burst, by="subject")


LIMITS = (
    limit(7, 3.3, 4),
    limit(1_000_000, 1.0, 3),
    limit(3, 86_400.0, 2),
    limit(999_983, 0.1, 20),
    limit(10, 1.0, 5),
    limit(1, 1 / 3, 1),
    limit(10**12, 60.0, 10**6),
    limit(1, 1e8, 40),
)
PAUSES = st.sampled_from([0, 1, 2, 1_000, 471_428, 471_429, 10**6, 10**9]) | st.integers(0, 10**7)
STEPS_BACK = st.sampled_from([-1, -471_428, -(10**6), -(10**12)])
KEYS = Keys("test", None)


def named(of: RateLimit, name: str) -> RateLimit:
    return replace(of, name=name)


@st.composite
def requests(draw: st.DrawFn, names: Sequence[str] = ("a", "b")) -> list[tuple[RateLimit, int]]:
    """Limits with costs; those of one name share their bucket, whatever their numbers are."""
    asked = []
    for _ in range(draw(st.integers(1, 4))):
        of = draw(st.sampled_from(LIMITS))
        cost = draw(st.sampled_from([0, 1, 1, 2, of.burst // 2, of.burst]))
        asked.append((named(of, draw(st.sampled_from(names))), min(cost, of.burst)))
    return asked


class Bench:
    """Runs the scripts on a server at moments that it is given; nothing expires meanwhile."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.now = BEGIN
        self.plans: dict[RateLimit, Plan] = {}

    def begin(self) -> None:
        """Forgets all."""
        self.connection.command("FLUSHALL")
        self.now = BEGIN

    def charge(self, of: RateLimit, cost: int = 1, key: str = "alice") -> Charge:
        plan = self.plans.setdefault(of, Plan(of, KEYS, 0))
        return Charge(plan, plan.key(key), cost, cost)

    def take(self, *charges: Charge, script: Script | None = None) -> Answer:
        reply = self.reply(script or (TAKE_ONE if len(charges) == 1 else TAKE), charges)
        rows = list(zip(reply[1::3], reply[2::3], reply[3::3], strict=False))
        return reply[0] == 1, [Outcome(*row) for row in rows]

    def reply(self, script: Script, charges: Sequence[Charge]) -> list[int]:
        arguments = [argument for charge in charges for argument in charge.arguments]
        answer: list[int] = self.run(script, [charge.key for charge in charges], arguments)
        return answer

    def give_back(self, charge: Charge, used: int, moment: int) -> None:
        plan = charge.plan
        self.run(GIVE_BACK, [charge.key], [plan.interval, plan.scale, charge.cost, used, moment])

    def run(self, script: Script, keys: Sequence[bytes], arguments: Sequence[bytes | int]) -> list:  # type: ignore[type-arg] # ints, or nothing
        assert script.source.count(TIME) == 1
        assert script.source.count(EXPIRY) == 1
        source = script.source.replace(TIME, "local now = tonumber(table.remove(ARGV))\n")
        source = source.replace(EXPIRY, f"{EXPIRY} + 3600000")
        return self.connection.command("EVAL", source, len(keys), *keys, *arguments, self.now)  # type: ignore[no-any-return] # as above

    def dump(self, charge: Charge) -> bytes | None:
        value: bytes | None = self.connection.command("GET", charge.key)
        return value


@pytest.fixture
def bench(redis_server: RedisServer) -> Iterator[Bench]:
    with redis_server.connect() as connection:
        yield Bench(connection)


@dataclass(slots=True)
class Level:
    """What is used up of a bucket in microseconds: at least `low`, at most `high`."""

    at: int
    low: Fraction
    high: Fraction
    scale: int

    def at_moment(self, now: int) -> Level:
        if now < self.at:
            self.at = now  # nothing came back, and the time counts from here
        passed = now - self.at
        level = Level(now, max(Fraction(0), self.low - passed), self.high - passed, self.scale)
        level.high = max(Fraction(0), level.high)
        return level

    def in_units(self, scale: int) -> Level:
        """Whoever reckons in other units rounds up, and adds one."""
        if scale == self.scale or not self.high:
            return Level(self.at, self.low, self.high, scale)
        slack = Fraction(2, scale) + self.high / 2**50
        return Level(self.at, self.low, self.high + slack, scale)


class Model:
    """Buckets in fractions, each with what it is at least and at most."""

    def __init__(self) -> None:
        self.levels: dict[bytes, Level] = {}

    def check(self, now: int, charges: Sequence[Charge], answer: Answer) -> None:
        """Fails if an answer is not what it must be; follows it."""
        is_granted, outcomes = answer
        tried: dict[bytes, Level] = {}
        must_fit = can_fit = True
        lacks: list[tuple[Fraction, Fraction]] = []
        for charge in charges:
            plan = charge.plan
            before = tried.get(charge.key) or self._level(charge, now)
            level = before.in_units(plan.scale)
            price = Fraction(plan.interval, plan.scale)
            assert exact_price(plan.limit) <= price
            low = level.low + charge.cost * exact_price(plan.limit)
            high = level.high + charge.cost * price
            lack = (low - plan.burst * price, high - plan.burst * price)
            lacks.append(lack if charge.cost else (Fraction(0), Fraction(0)))
            if charge.cost:
                can_fit = can_fit and low <= plan.burst * price
                must_fit = must_fit and high <= plan.burst * price
                tried[charge.key] = Level(now, low, high, plan.scale)
            else:
                tried.setdefault(charge.key, before)
        assert can_fit or not is_granted, "more is granted than is allowed"
        assert is_granted or not must_fit, "what is allowed is refused"
        if is_granted:
            self.levels |= {
                key: level
                for key, level in tried.items()
                if any(charge.cost for charge in charges if charge.key == key)
            }
        for charge, outcome, lack in zip(charges, outcomes, lacks, strict=True):
            scale = charge.plan.scale
            level = tried[charge.key] if is_granted else self._level(charge, now)
            level = level.in_units(scale)
            used = Fraction(outcome.used, scale)
            assert used <= level.high
            assert level.low <= used or outcome.used == CUT
            assert (outcome.lacking > 0) <= (not is_granted)
            # Sums beyond 2**53 are not exact, and never those of a call that is granted.
            units = 2 * len(charges) if outcome.lacking > CUT // 2 else 0
            assert Fraction(outcome.lacking - units, scale) <= max(Fraction(0), lack[1])
            in_one_unit = {each.plan.scale for each in charges if each.key == charge.key} == {scale}
            if not is_granted and in_one_unit and outcome.lacking < CUT // 2:
                assert Fraction(outcome.lacking, scale) >= lack[0]
            state = charge.plan.state(outcome.used, outcome.lacking)
            assert 0 <= state.remaining <= charge.plan.burst
            assert state.retry_after_seconds >= outcome.lacking / scale / 1e6

    def _level(self, charge: Charge, now: int) -> Level:
        level = self.levels.get(charge.key)
        if level is None:
            return Level(now, Fraction(0), Fraction(0), charge.plan.scale)
        return level.at_moment(now)


def exact_price(of: RateLimit) -> Fraction:
    """A call in microseconds."""
    return Fraction(repr(of.per_seconds)) * 10**6 / of.rate


WITH_THE_SERVER = settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@WITH_THE_SERVER
@given(steps=st.lists(st.tuples(PAUSES | STEPS_BACK, requests()), min_size=1, max_size=25))
def test_decides_as_fractions_do_and_rounds_against_the_caller(
    bench: Bench, steps: list[tuple[int, list[tuple[RateLimit, int]]]]
) -> None:
    """Whatever the rates, several limits in a call, one name with several numbers, clocks set."""
    bench.begin()
    model = Model()
    for pause, asked in steps:
        bench.now += pause
        charges = [bench.charge(of, cost) for of, cost in asked]
        model.check(bench.now, charges, bench.take(*charges))


DIFFERENT = [named(of, f"limit-{number}") for number, of in enumerate(LIMITS)]


@WITH_THE_SERVER
@given(
    steps=st.lists(
        st.tuples(
            PAUSES,
            st.lists(
                st.tuples(st.sampled_from(DIFFERENT[:5]), st.sampled_from("xy"), st.integers(0, 2)),
                min_size=1,
                max_size=4,
            ),
        ),
        max_size=25,
    )
)
def test_decides_as_the_limiter_in_memory_does(
    bench: Bench, steps: list[tuple[int, list[tuple[RateLimit, str, int]]]]
) -> None:
    """Where units are exact, both give the same answers and the same figures, for ever."""
    bench.begin()
    table = GcraTable(1_000)
    for pause, asked in steps:
        bench.now += pause
        charges = [bench.charge(of, cost, key) for of, key, cost in asked]
        is_granted, outcomes = bench.take(*charges)
        decision = table.acquire(
            [LimitRequest(limit=of, key=key, cost=cost) for of, key, cost in asked],
            (bench.now - BEGIN) / 1e6,
        )
        assert is_granted == decision.allowed
        for charge, outcome, expected in zip(charges, outcomes, decision.states, strict=True):
            state = charge.plan.state(outcome.used, outcome.lacking)
            assert state.remaining == expected.remaining
            assert state.reset_after_seconds == pytest.approx(
                expected.reset_after_seconds, abs=1.1e-6
            )
            assert (
                0
                <= state.retry_after_seconds - expected.retry_after_seconds + 1e-9
                <= 1.1e-6 + expected.retry_after_seconds * 1e-12
            )


class TestAllOrNothing:
    @pytest.mark.parametrize("count", [1, 2, 5, 20])
    def test_a_refused_call_changes_no_byte_and_no_expiry(self, bench: Bench, count: int) -> None:
        """Whichever of its limits refuses, all buckets are as they were."""
        limits = [limit(1, 3600.0, 3, f"limit-{number}") for number in range(count)]
        charges = [bench.charge(of) for of in limits]
        assert bench.take(*charges)[0]
        full = replace(charges[-1].plan.limit, burst=1)
        asked = [*charges[:-1], bench.charge(full)]
        before = [bench.connection.command("DUMP", charge.key) for charge in charges]
        expiry = [bench.connection.command("PEXPIRETIME", charge.key) for charge in charges]
        bench.now += 1_000
        is_granted, outcomes = bench.take(*asked)
        assert not is_granted
        assert [outcome.lacking > 0 for outcome in outcomes] == [False] * (count - 1) + [True]
        assert [outcome.taken for outcome in outcomes] == [0] * count
        assert [bench.connection.command("DUMP", charge.key) for charge in charges] == before
        assert [bench.connection.command("PEXPIRETIME", each.key) for each in charges] == expiry

    def test_a_bucket_expires_when_it_is_whole_again_and_not_before(
        self, redis_server: RedisServer
    ) -> None:
        """The key goes at most a few milliseconds after it has said nothing any more."""
        plan = Plan(limit(7, 3.3, 4), KEYS, 0)
        with redis_server.connect() as connection:
            for count in range(1, 5):
                arguments = plan.arguments(1, 1)
                _, used, _, _ = connection.command(
                    "EVAL", TAKE_ONE.source, 1, plan.key("alice"), *arguments
                )
                left = connection.command("PTTL", plan.key("alice"))
                assert used / plan.scale / 1000 - 200 < left <= used / plan.scale / 1000 + 2
                assert used <= count * plan.interval

    def test_asking_leaves_nothing(self, bench: Bench) -> None:
        """A cost of 0 makes no key, and touches none."""
        asked = bench.charge(limit(1, 3600.0, 3), 0)
        assert bench.take(asked)[0]
        assert bench.take(asked, asked)[0]
        assert bench.dump(asked) is None
        charged = bench.charge(limit(1, 3600.0, 3))
        bench.take(charged)
        before = bench.dump(charged)
        bench.now += 5_000_000
        assert bench.take(asked)[0]
        assert bench.take(asked, asked)[0]
        assert bench.dump(charged) == before

    def test_as_much_as_there_is_room_for_is_taken(self, bench: Bench) -> None:
        """A lease gets at most `most`, and at least what is asked for, or nothing."""
        charge = bench.charge(limit(1, 3600.0, 10))
        assert bench.take(charge._replace(most=6)) == (True, [Outcome(6 * 3_600_000_000, 0, 6)])
        assert bench.take(charge._replace(cost=2, most=6))[1][0].taken == 4
        assert bench.take(charge._replace(most=6))[0] is False


class TestClockOfTheServer:
    @pytest.mark.parametrize("script", [TAKE_ONE, TAKE], ids=["one", "several"])
    def test_set_back_nobody_waits_for_the_old_time(self, bench: Bench, script: Script) -> None:
        """A bucket that was emptied refills from the new time on, no sooner and no later."""
        charge = bench.charge(limit(10, 1.0, 5))
        for _ in range(5):
            assert bench.take(charge, script=script)[0]
        bench.now -= 86_400_000_000
        assert bench.take(charge, script=script)[0] is False
        bench.now += 99_999
        assert bench.take(charge, script=script)[0] is False
        bench.now += 1
        assert bench.take(charge, script=script)[0] is True
        assert bench.take(charge, script=script)[0] is False

    def test_set_back_again_and_again_nothing_is_won(self, bench: Bench) -> None:
        """Each step back loses what had come back since the last charge, and no more."""
        charge = bench.charge(limit(10, 1.0, 5))
        granted = 0
        for _ in range(50):
            granted += bench.take(charge)[0]
            bench.now += 10_000
            granted += bench.take(charge)[0]
            bench.now -= 10_000
        assert granted <= 5 + 10 * 0.5

    def test_set_forward_no_more_than_the_jump_comes_back(self, bench: Bench) -> None:
        """A jump of 0.3 s is 0.3 s of the rate, and one of a year the burst."""
        charge = bench.charge(limit(10, 1.0, 5))
        assert [bench.take(charge)[0] for _ in range(6)] == [True] * 5 + [False]
        bench.now += 300_000
        assert [bench.take(charge)[0] for _ in range(4)] == [True] * 3 + [False]
        bench.now += 365 * 86_400_000_000
        assert [bench.take(charge)[0] for _ in range(6)] == [True] * 5 + [False]

    def test_a_debt_in_other_units_survives_a_clock_set_back(self, bench: Bench) -> None:
        """A limit whose numbers changed does not forget what was used up under the old ones."""
        daily = bench.charge(limit(1_000, 86_400.0, 1_000), 1_000)
        fast = bench.charge(limit(999_983, 0.1, 20))
        assert bench.take(daily)[0]
        bench.now -= 1_000_000
        assert bench.take(fast)[0] is False
        assert bench.take(fast, fast._replace(cost=0, most=0))[0] is False
        bench.now += 86_000_000_000
        assert bench.take(daily)[0] is False
        bench.now += 400_000_000
        assert bench.take(daily)[0] is True


class TestGivingBack:
    def test_what_was_taken_is_there_again(self, bench: Bench) -> None:
        """As though it had never been asked for, but for the time that has passed."""
        charge = bench.charge(limit(1, 1.0, 5), 3)
        bench.take(charge)
        reply = bench.reply(TAKE, [charge._replace(cost=2, most=2)])
        bench.now += 1_000
        bench.give_back(charge._replace(cost=2), reply[1], reply[-1])
        assert bench.take(charge._replace(cost=0, most=0))[1][0].used == 3_000_000 - 1_000

    def test_what_others_have_used_since_is_not_given_back(self, bench: Bench) -> None:
        """A bucket that was whole meanwhile has forgotten the charge, and others begin anew."""
        charge = bench.charge(limit(1, 1.0, 5), 5)
        reply = bench.reply(TAKE, [charge])
        bench.now += 5_000_000
        assert bench.take(charge)[0]
        bench.give_back(charge, reply[1], reply[-1])
        assert bench.take(charge._replace(cost=1, most=1))[0] is False

    def test_a_clock_set_back_gives_nothing_back(self, bench: Bench) -> None:
        """Nobody can tell how much time has passed, so nothing is won."""
        charge = bench.charge(limit(1, 1.0, 5), 5)
        reply = bench.reply(TAKE, [charge])
        bench.now -= 1
        bench.give_back(charge, reply[1], reply[-1])
        assert bench.take(charge._replace(cost=1, most=1))[0] is False


class TestForeignBytes:
    @pytest.mark.parametrize("script", [TAKE_ONE, TAKE], ids=["one", "several"])
    @pytest.mark.parametrize(
        "value",
        [
            "",
            "1",
            "x" * 24,
            "\x00" * 24,
            "\xff" * 24,
            (0.0, 1.0, 0.0),
            (0.0, 0.5, 1.0),
            (0.0, -1.0, 1.0),
            (0.0, math.inf, 1.0),
            (math.nan, 1.0, 1.0),
            (0.0, 2.0**53, 1.0),
        ],
        ids=ascii,
    )
    def test_a_value_that_is_no_bucket_is_refused_and_kept(
        self, bench: Bench, script: Script, value: str | tuple[float, float, float]
    ) -> None:
        """The script says so, by the code that stands for it, and leaves it alone."""
        written = value.encode("latin-1") if isinstance(value, str) else struct.pack(">ddd", *value)
        charge = bench.charge(limit(1, 1.0, 5))
        bench.connection.command("SET", charge.key, written)
        with pytest.raises(Exception, match=r"^FOREIGN "):
            bench.take(charge, script=script)
        assert bench.dump(charge) == written
