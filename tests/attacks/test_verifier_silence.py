"""What a refusal gives away: one record, one code, and not a word of what the caller sent.

Would have caught credentials in logs (CWE-532), log lines and headers forged by a caller (CWE-117,
CWE-113), and error texts that repeat a claim, a key id or a piece of the token to whoever asks.

The `Service` looks at every exception with its causes, every log record of every logger, every
audit event, and every response with its headers; here, each kind of refusal is brought about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from authkit import errors
from authkit.errors import (
    AuthkitError,
    BackendUnavailable,
    ConfigurationError,
    CredentialMalformed,
    CredentialMissing,
    RateLimited,
    RequirementNotMet,
    StepUpRequired,
    TokenRefused,
)
from authkit.interfaces import RateLimit, Revocation, VerificationKey
from authkit.policy import Requirement
from authkit.principal import Principal
from tests.attacks.forging import segment
from tests.attacks.playbook import OTHER, Service, key, login, other

pytestmark = pytest.mark.anyio

MARK = "MARK-7f3a"
FORGING = [
    f'{MARK}"',
    f"{MARK}\r\nSet-Cookie: a=1",
    f"{MARK}\n{{}}",
    f"{MARK}\x1b[2J",
    f"{MARK}\u2028",
]

# A mark in everything that nothing may repeat.  Subject, client and ids are left: once a token is
# verified, the audit trail names its caller.
MARKED_HEADER = {
    "cty": MARK,
    "jku": f"https://{MARK}.example",
    "x5t": MARK,
    MARK: MARK,
    "nonce": [MARK],
}
MARKED_CLAIMS: dict[str, Any] = {
    "name": MARK, "email": f"{MARK}@example.com", "scope": MARK, "roles": [MARK], "acr": MARK,
    "nonce": MARK, MARK: {MARK: [MARK]},
}  # fmt: skip

Refusal = Callable[[Service], str]

TOKENS: dict[str, Refusal] = {
    "TokenMalformed": lambda s: s.token({"crit": [MARK], **MARKED_HEADER}, **MARKED_CLAIMS),
    "AlgorithmNotAllowed": lambda s: s.token({"alg": MARK, **MARKED_HEADER}, **MARKED_CLAIMS),
    "IssuerNotTrusted": lambda s: s.token(MARKED_HEADER, **{**MARKED_CLAIMS, "iss": MARK}),
    "KeyNotFound": lambda s: s.token({"kid": MARK, **MARKED_HEADER}, **MARKED_CLAIMS),
    "SignatureInvalid": lambda s: s.token(MARKED_HEADER, owner="attacker", **MARKED_CLAIMS),
    "ClaimRejected": lambda s: s.token(MARKED_HEADER, **MARKED_CLAIMS, sid={MARK: MARK}),
    "TokenExpired": lambda s: s.token(MARKED_HEADER, **MARKED_CLAIMS, exp=1),
    "TokenNotYetValid": lambda s: s.token(MARKED_HEADER, **MARKED_CLAIMS, nbf=2e9),
    "TokenLifetimeTooLong": lambda s: s.token(MARKED_HEADER, **MARKED_CLAIMS, exp=3e9),
    "AudienceMismatch": lambda s: s.token(MARKED_HEADER, **MARKED_CLAIMS, aud=[MARK]),
    "TokenTypeNotAllowed": lambda s: s.token({**MARKED_HEADER, "typ": MARK}, **MARKED_CLAIMS),
    "TokenRevoked": lambda s: s.token(MARKED_HEADER, **MARKED_CLAIMS),
}


def families(kind: type[AuthkitError]) -> Iterator[type[AuthkitError]]:
    yield kind
    for inner in kind.__subclasses__():
        if inner.__module__ == errors.__name__:
            yield from families(inner)


def test_every_kind_of_refusal_is_brought_about() -> None:
    """A new kind of error fails here until it is looked at, too."""
    elsewhere = {
        AuthkitError, TokenRefused, ConfigurationError, BackendUnavailable, CredentialMalformed,
        CredentialMissing, RateLimited, RequirementNotMet, StepUpRequired, errors.InsufficientScope,
    }  # fmt: skip
    assert {kind.__name__ for kind in set(families(AuthkitError)) - elsewhere} == set(TOKENS)


@pytest.mark.parametrize("kind", TOKENS)
async def test_a_refused_token_is_quoted_nowhere(kind: str) -> None:
    """Neither a piece of its text nor a text that it carries, whatever it is refused for."""
    async with Service() as service:
        service.hostile.append(MARK)
        if kind == "TokenRevoked":
            caller = await service.verifier.verify(service.token())
            service.expect_request(None, "accepted")
            await service.verifier.revoke(Revocation.of(caller))
        for _ in range(2):
            error = await service.refused(TOKENS[kind](service))
            assert type(error).__name__ == kind


@pytest.mark.parametrize("mark", FORGING, ids=repr)
async def test_a_text_that_forges_lines_gets_nowhere(mark: str) -> None:
    """In each place of a token that a message, a header or a log line might want to name."""
    async with Service() as service:
        service.hostile += [MARK, "Set-Cookie"]
        for place in ("kid", "alg", "typ", "cty", "jku", "crit"):
            await service.refused(service.token({place: mark}, owner="attacker"))
            await service.refused(service.token({place: mark}, iss=OTHER))
            await service.refused(service.token({place: mark}, iss=mark))
        for claim in ("iss", "aud", "exp", "nbf", "iat", "token_use"):
            await service.refused(service.token(**{claim: mark}))
            await service.refused(service.token(**{claim: [mark]}))
        for claim in ("jti", "sid", "sub", "client_id", "scope", "roles"):
            await service.refused(service.token(**{claim: {mark: mark}}))
        for text in (mark, f"{mark}.{mark}.{mark}", f"{segment({mark: mark})}.{mark}.AAAA"):
            await service.refused(text)


async def test_what_is_no_token_at_all_is_quoted_nowhere_either() -> None:
    """Opaque tokens and passwords are secrets too, and end up in this header by mistake."""
    async with Service() as service:
        for text in ("correct-horse-battery-staple", "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
                     "AKIAIOSFODNN7EXAMPLE.wJalrXUtnFEMIK7MDENG", "x" * 17_000):  # fmt: skip
            await service.refused(text)
            assert (await service.request(f"Bearer\t{text}")).status_code == 400
            service.expect_request("credential_malformed")
            assert (await service.request(f"Basic {text}")).status_code == 401
            service.expect_request("credential_missing", "missing")
            service.hostile.append(text)


REQUIREMENTS = {
    "insufficient_scope": Requirement(scopes=["orders:write"]),
    "requirement_not_met": Requirement(claims={"sub": "nobody"}),
    "step_up_required": Requirement(max_age_seconds=60, acr_values=["high"]),
}


@pytest.mark.parametrize("code", REQUIREMENTS)
async def test_a_good_token_that_is_not_enough_is_quoted_nowhere(code: str) -> None:
    """What the route asks for may be said; what the caller has instead may not."""
    async with Service() as service:
        service.hostile.append(MARK)
        token = service.token(MARKED_HEADER, **MARKED_CLAIMS)
        for _ in range(2):
            error = await service.verify(token, require=REQUIREMENTS[code])
            assert isinstance(error, AuthkitError)
            assert error.code == code
        answer = await service.request(f"Bearer {token}", path="/scoped")
        assert answer.status_code == 403
        service.expect_request("insufficient_scope")


async def test_a_caller_over_the_limit_is_quoted_nowhere() -> None:
    """The limit's name is said, and not whose bucket it is."""
    limit = RateLimit(name="api", rate=1, per_seconds=60, burst=1, by="subject")
    async with Service(limits=[limit]) as service:
        service.hostile.append(MARK)
        token = service.token(MARKED_HEADER, **MARKED_CLAIMS)
        assert isinstance(await service.verify(token), Principal)
        assert isinstance(await service.verify(token), RateLimited)
        assert (await service.request(f"Bearer {token}")).status_code == 429
        service.expect_request("rate_limited")


class Chatty:
    """Keys of a careless backend: its exception repeats the key id."""

    async def find(self, kid: str | None, alg: str) -> tuple[VerificationKey, ...]:
        raise LookupError(f"no row for {kid!r}")


async def test_a_careless_backend_is_not_repeated() -> None:
    """Its own words stay in the cause of the error, for a debugger; nothing else holds them."""
    async with Service(login(keys=Chatty()), other()) as service:
        token = service.token({"kid": MARK})
        with pytest.raises(BackendUnavailable) as caught:
            await service.verifier.verify(token)
        service.expect_request("backend_unavailable", "unavailable")
        assert MARK not in f"{caught.value} {caught.value!r} {vars(caught.value)!r}"
        assert isinstance(caught.value.__cause__, LookupError)
        answer = await service.request(f"Bearer {token}")
        assert (answer.status_code, answer.json()["code"]) == (503, "backend_unavailable")
        service.expect_request("backend_unavailable", "unavailable")
        service.hostile += [MARK, "no row", "LookupError"]


@pytest.mark.parametrize("left", ["a piece of a token", "a hostile text", "on record"])
async def test_the_watch_itself_sees(left: str) -> None:
    """It finds what a test above would have to find, and a record that is missing."""
    token = key("ES256").sign({}, {"sub": "x"})
    said = {"a piece of a token": f"... {token[40:55]} ...", "a hostile text": f"... {MARK} ..."}

    async def leave_it() -> None:
        async with Service() as service:
            service.hostile.append(MARK)
            await service.refused(token)
            service.said.append(said.get(left, ""))
            if left == "on record":
                service.expect_request("token_expired")

    with pytest.raises(AssertionError, match=left):
        await leave_it()
