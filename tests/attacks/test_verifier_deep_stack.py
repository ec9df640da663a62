"""Verifying where the stack is all but used up: no foreign error, no wrong yes, no lasting harm.

Would have caught the class of CVE-2019-12995 (a token that ends the process), in a caller that
recurses.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from authkit.errors import AuthkitError
from authkit.principal import Principal
from authkit.verifier import Verifier
from tests.attacks.forging import segment
from tests.attacks.playbook import ALGS, OTHER, Service, key
from tests.properties.test_jose import with_frames_left

pytestmark = pytest.mark.anyio

# With fewer there is no room for `verify` itself, least of all where coverage is measured.
FRAMES = range(8, 75)

Attack = Callable[[Service], str]
GOOD: dict[str, Attack] = {
    **{alg: lambda s, alg=alg: s.token(alg=alg) for alg in ALGS},  # type: ignore[misc] # bound
    "another issuer": lambda s: s.token(owner=OTHER, iss=OTHER, aud="billing"),
    "nested": lambda s: s.token(x=[{"a": [[{}]]}], y={"b": {"c": [1]}}),
    "spaced": lambda s: key("ES256").sign(b'{ "alg": "ES256" }', s.claims(x=[{"a": [[{}]]}])),
}
BAD: dict[str, Attack] = {
    "forged": lambda s: s.token(owner="attacker"),
    "unsigned": lambda s: s.token({"alg": "none"}).rpartition(".")[0] + ".",
    "for somebody else": lambda s: s.token(aud="billing"),
    "expired": lambda s: s.token(exp=1),
    "brackets": lambda _: f"{segment(b'[' * 380)}.{segment(b'[' * 5000)}.AAAA",
    "garbage": lambda _: "garbage",
}


def with_frames(frames: int, verifier: Verifier, text: str) -> Principal | AuthkitError | None:
    """What comes of it with so many calls left; None where there was no room to call `verify`."""

    def verify() -> Principal:
        call = verifier.verify(text)
        try:
            call.send(None)
        except StopIteration as done:
            return done.value
        finally:
            call.close()
        raise AssertionError("backends in memory never suspend")

    try:
        return with_frames_left(frames, verify)  # type: ignore[return-value] # what verify returns
    except AuthkitError as error:
        return error
    except RecursionError as error:
        trace = error.__traceback__
        while trace is not None:
            assert trace.tb_frame.f_code is not Verifier.verify.__code__
            trace = trace.tb_next
        return None


async def warm(service: Service) -> None:
    """Every key has been used once."""
    for make in GOOD.values():
        await service.verifier.verify(make(service))


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_token_is_accepted_at_no_depth(name: str) -> None:
    """It ends in the family, or was never begun; and the good ones pass afterwards."""
    service = Service(token_cache_entries=0)
    async with service.verifier:
        await warm(service)
        text = BAD[name](service)
        for frames in FRAMES:
            found = with_frames(frames, service.verifier, text)
            assert found is None or isinstance(found, AuthkitError)
        await warm(service)


@pytest.mark.parametrize("name", GOOD)
async def test_a_good_token_is_good_again_afterwards(name: str) -> None:
    """Whatever it ended in at the end of the stack, the next request with it is served."""
    service = Service(token_cache_entries=0)
    async with service.verifier:
        await warm(service)
        text = GOOD[name](service)
        accepted = 0
        for frames in FRAMES:
            found = with_frames(frames, service.verifier, text)
            accepted += isinstance(found, Principal)
            assert isinstance(await service.verifier.verify(text), Principal)
        assert accepted > len(FRAMES) // 2
