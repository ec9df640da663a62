"""What is asked of a token and of a caller, against the plainest way to say it."""

from __future__ import annotations

import math
from contextlib import nullcontext
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from authkit.errors import (
    AuthkitError,
    ClaimRejected,
    InsufficientScope,
    RequirementNotMet,
    StepUpRequired,
    TokenExpired,
    TokenLifetimeTooLong,
    TokenNotYetValid,
)
from authkit.jose.jwk import JWK, KeyLease
from authkit.jose.jws import JoseHeader, SignedPayload
from authkit.jose.signing import SigningKey
from authkit.policy import ClaimMapping, Requirement, TrustedIssuer
from authkit.principal import Principal
from authkit_memory import MemoryKeyProvider

NOW = 1_800_000_000.0
ISSUER = "https://login.example.com"
PUBLIC = SigningKey.generate("ES256", kid="k").public_jwk()
KEY = JWK(PUBLIC).verification_key(KeyLease(0.0))
KEYS = MemoryKeyProvider.from_jwks({"keys": [PUBLIC]})

names = st.sampled_from(["a", "b", "c"])
some_names = st.lists(names, max_size=3)
scalars = st.sampled_from(["a", "b", "", 0, 1, 0.0, 1.0, True, False, "1", "True", -0.0, 2**60])
json_values = st.recursive(
    scalars | st.none(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner)
)


def payload(claims: dict[str, Any], typ: str | None = None) -> SignedPayload:
    """As if the issuer had signed it."""
    return SignedPayload(claims, JoseHeader(alg="ES256", kid="k", typ=typ), KEY, b"what was signed")


def good(**claims: Any) -> dict[str, Any]:
    return {"iss": ISSUER, "aud": "api", "exp": NOW + 60, **claims}


def caller_with(**fields: Any) -> Principal:
    return Principal(subject="s", issuer=ISSUER, token_id="t", expires_at=NOW, **fields)


# Requirement --------------------------------------------------------------------------------------

principals = st.builds(
    caller_with,
    scopes=some_names,
    roles=some_names,
    authenticated_at=st.none() | st.sampled_from([NOW, NOW - 60, NOW - 60.5, NOW + 60, NOW + 61]),
    claims=st.dictionaries(st.sampled_from(["a", "b", "acr"]), json_values, max_size=3),
)
requirements = st.fixed_dictionaries(
    {},
    optional={
        "scopes": some_names,
        "any_scope": some_names,
        "roles": some_names,
        "claims": st.dictionaries(st.sampled_from(["a", "b"]), scalars, max_size=2),
        "max_age_seconds": st.sampled_from([60, 60.0, 0.5, 1e18]),
        "acr_values": some_names,
    },
)


def is_same(found: Any, wanted: Any) -> bool:
    """JSON's own idea of equality: 1 is 1.0, and neither is true."""
    if isinstance(found, bool) or isinstance(wanted, bool):
        return found is wanted
    if isinstance(found, str) or isinstance(wanted, str):
        return type(found) is type(wanted) and found == wanted
    return isinstance(found, int | float) and found == wanted


def first_miss(asked: dict[str, Any], caller: Principal) -> type[AuthkitError] | None:
    """What a caller lacks first, in the order in which it would have to be mended."""
    any_scope, contexts = asked.get("any_scope", []), asked.get("acr_values", [])
    age = math.inf if caller.authenticated_at is None else NOW - caller.authenticated_at
    if not caller.scopes.issuperset(asked.get("scopes", [])):
        return InsufficientScope
    if any_scope and not caller.scopes.intersection(any_scope):
        return InsufficientScope
    if not caller.roles.issuperset(asked.get("roles", [])):
        return RequirementNotMet
    for name, wanted in asked.get("claims", {}).items():
        found = caller.claims.get(name)
        if not any(is_same(one, wanted) for one in (found if type(found) is tuple else [found])):
            return RequirementNotMet
    is_too_old = "max_age_seconds" in asked and not -60 <= age <= asked["max_age_seconds"]
    is_too_weak = contexts and caller.claims.get("acr") not in contexts
    return StepUpRequired if is_too_old or is_too_weak else None


@given(requirements, principals)
def test_a_requirement_is_met_by_whoever_has_all_of_it(asked: Any, caller: Principal) -> None:
    """And who has not learns what is asked for, and nothing of what it has instead."""
    missing = None
    try:
        Requirement(**asked).check(caller, NOW)
    except AuthkitError as error:
        missing = error
    assert (None if missing is None else type(missing)) == first_miss(asked, caller)
    if isinstance(missing, InsufficientScope):
        wanted = asked.get("any_scope" if missing.is_any else "scopes")
        assert missing.scopes == tuple(sorted(set(wanted)))
    elif isinstance(missing, RequirementNotMet):
        assert missing.names == tuple(sorted(set(asked[missing.requirement])))
    elif isinstance(missing, StepUpRequired):
        assert missing.max_age_seconds == asked.get("max_age_seconds")
        assert missing.acr_values == tuple(asked.get("acr_values", ()))


WANTED: list[Any] = ["a", "", "1", 0, 1, 0.0, 1.0, 1.5, True, False, 2**60]


@pytest.mark.parametrize("wanted", WANTED, ids=repr)
def test_a_claim_has_the_value_or_holds_it(wanted: Any) -> None:
    """JSON's own idea of equality, for the claim itself or a member of an array."""
    found = [*WANTED, -0.0, None, float(2**60), {}, {"a": wanted}, [wanted]]
    for one in (*found, *([value, "x"] for value in found), []):
        caller = caller_with(claims={"c": one})
        holds = any(is_same(m, wanted) for m in (one if isinstance(one, list) else [one]))
        with nullcontext() if holds else pytest.raises(RequirementNotMet):
            Requirement(claims={"c": wanted}).check(caller, NOW)


@pytest.mark.parametrize("age", [0.5, 60, 60.0, 1e18])
def test_an_authentication_may_be_exactly_as_old_as_asked(age: float) -> None:
    """And not a bit older; one of unknown age, or of a time to come, is too old (RFC 9470)."""
    edge = NOW - age
    for moment in (edge, math.nextafter(edge, 0), NOW, NOW + 60, NOW + 60.5, NOW * 1e3, None):
        caller = caller_with(authenticated_at=moment)
        missed = first_miss({"max_age_seconds": age}, caller)
        with nullcontext() if missed is None else pytest.raises(missed):
            Requirement(max_age_seconds=age).check(caller, NOW)


@given(requirements, requirements, principals)
def test_equal_requirements_decide_alike(one: Any, two: Any, caller: Principal) -> None:
    """Equality forgets order and repetition, and nothing that could make a difference."""
    first, second = Requirement(**one), Requirement(**two)
    shuffled = {name: v[::-1] * 2 if name == "scopes" else v for name, v in one.items()}
    again = Requirement(**shuffled)
    assert (again, hash(again)) == (first, hash(first))
    if first == second:
        assert (hash(first), first_miss(one, caller)) == (hash(second), first_miss(two, caller))


# Claim mappings -----------------------------------------------------------------------------------

paths = names | st.lists(names, min_size=1, max_size=3).map(tuple)
several = st.lists(paths, max_size=3).map(tuple)
FIRST = ("client_id", "scopes", "token_id", "session_id", "token_version")
mappings = st.fixed_dictionaries(dict.fromkeys((*FIRST, "roles"), several))


class Wrong(Exception):
    pass


def found_at(claims: dict[str, Any], mapped: Any) -> list[Any]:
    """What lies at the paths that lead somewhere, in their order."""
    found = []
    for path in mapped:
        value: Any = claims
        for name in [path] if isinstance(path, str) else path:
            value = value.get(name, Wrong) if isinstance(value, dict) else Wrong
        found += [] if value is Wrong else [value]
    return found


def a_text(values: list[Any]) -> str | None:
    if values and not (isinstance(values[0], str) and values[0]):
        raise Wrong
    return values[0] if values else None


def all_of(value: Any) -> list[str]:
    members = value if isinstance(value, list) else [value]
    if not all(isinstance(member, str) and member for member in members):
        raise Wrong
    return members


def read(claims: dict[str, Any], mapped: dict[str, Any]) -> tuple[Any, ...]:
    at = {name: found_at(claims, given) for name, given in mapped.items()}
    scopes = at["scopes"][0] if at["scopes"] else []
    version = at["token_version"][0] if at["token_version"] else None
    if at["token_version"] and type(version) is not int:
        raise Wrong
    return (
        a_text(at["client_id"]),
        set(scopes.split()) if isinstance(scopes, str) else set(all_of(scopes)),
        {role for value in at["roles"] for role in all_of(value)},
        a_text(at["token_id"]) or sha256(b"what was signed").hexdigest(),
        a_text(at["session_id"]),
        version,
    )


@given(mappings, st.dictionaries(names, json_values, max_size=3))
@example(
    dict.fromkeys((*FIRST, "roles"), (("a", "b"),)) | {"token_version": (("a", "c"),)},
    {"a": {"b": "x", "c": 7}},
)
def test_claims_are_read_where_the_mapping_says(mapped: Any, claims: dict[str, Any]) -> None:
    """A claim that is there and cannot be read refuses the token; an absent one does not."""
    trusted = TrustedIssuer(ISSUER, "api", keys=KEYS, mapping=ClaimMapping(**mapped))
    try:
        expected = read(claims, mapped)
    except Wrong:
        with pytest.raises(ClaimRejected):
            trusted.accept(payload(good(**claims)), NOW)
        return
    caller, facts = trusted.accept(payload(good(**claims)), NOW)
    seen = (caller.client_id, caller.scopes, caller.roles, caller.token_id, caller.session_id)
    assert (*seen, facts.token_version) == expected
    assert (facts.client_id, facts.token_id, facts.session_id) == (seen[0], seen[3], seen[4])


# Time, audience and kind --------------------------------------------------------------------------

near = st.floats(-100, 100).map(lambda d: NOW + d) | st.integers(-100, 100).map(lambda d: NOW + d)
edges = st.sampled_from([NOW, NOW + 10, NOW - 10, NOW + 60, NOW + 70, NOW - 60])
dates = near | edges | edges.map(lambda t: math.nextafter(t, math.inf)) | st.floats(-1e15, 1e15)


@given(
    times=st.fixed_dictionaries({"exp": dates}, optional={"nbf": dates, "iat": dates}),
    leeway=st.sampled_from([0, 10, 60]) | st.floats(0, 60),
    lifetime=st.sampled_from([1, 60, 86_400]) | st.floats(0.001, 1e9),
)
def test_a_token_lives_from_its_birth_to_its_end(
    times: dict[str, float], leeway: float, lifetime: float
) -> None:
    """With the leeway at both ends, and never for longer than a revocation is remembered."""
    trusted = TrustedIssuer(
        ISSUER, "api", keys=KEYS, leeway_seconds=leeway, max_token_lifetime_seconds=lifetime
    )
    expected: list[type[AuthkitError]] = []
    if NOW >= times["exp"] + leeway:
        expected.append(TokenExpired)
    if max(times.get("nbf", NOW), times.get("iat", NOW)) > NOW + leeway:
        expected.append(TokenNotYetValid)
    if times["exp"] - times.get("iat", NOW) > lifetime:
        expected.append(TokenLifetimeTooLong)
    if expected:
        with pytest.raises(tuple(expected)):
            trusted.accept(payload(good(**times)), NOW)
        return
    caller, facts = trusted.accept(payload(good(**times)), NOW)
    for one in (caller, facts):
        assert (one.expires_at, one.issued_at) == (times["exp"], times.get("iat"))


@given(st.lists(names, min_size=1, max_size=2), json_values | st.lists(names, max_size=3))
def test_an_audience_is_one_of_the_configured_names(configured: list[str], found: Any) -> None:
    """As a text, or as a member of an array of texts; nothing else names anybody."""
    trusted = TrustedIssuer(ISSUER, configured, keys=KEYS)
    listed = found if isinstance(found, list) else [found]
    is_well_formed = all(isinstance(name, str) and name for name in listed)
    if is_well_formed and set(listed) & set(configured):
        trusted.accept(payload(good(aud=found)), NOW)
    else:
        with pytest.raises(ClaimRejected):
            trusted.accept(payload(good(aud=found)), NOW)


media_types = st.sampled_from(
    ["JWT", "at+jwt", "application/at+jwt", "AT+JWT", "x", "", "dpop+jwt"]
)


@given(st.lists(media_types | st.none(), min_size=1, max_size=2), media_types | st.none())
def test_a_type_is_one_of_the_configured_types(configured: list[Any], typ: str | None) -> None:
    """In any case, with or without `application/`; none at all only where that is allowed."""

    def plain(name: str | None) -> str | None:
        return None if name is None else name.lower().removeprefix("application/")

    trusted = TrustedIssuer(ISSUER, "api", keys=KEYS, token_types=configured)
    if plain(typ) in map(plain, configured):
        trusted.accept(payload(good(), typ), NOW)
    else:
        with pytest.raises(ClaimRejected):
            trusted.accept(payload(good(), typ), NOW)
