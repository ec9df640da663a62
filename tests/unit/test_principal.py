"""A Principal is shared by all requests of a token, so nobody can change it."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest

from authkit.principal import Principal, assemble_principal


def principal(**fields: Any) -> Principal:
    return Principal(
        **{
            "subject": "alice",
            "issuer": "https://login.example.com",
            "token_id": "t-1",
            "expires_at": 2.0,
            "claims": {"a": {"b": [1, {"c": 2}]}, "d": [[]], "e": None},
            **fields,
        }
    )


@pytest.mark.parametrize("name", ["subject", "scopes", "claims", "another"])
def test_it_refuses_assignment(name: str) -> None:
    """Of a field, and of anything else."""
    caller = principal()
    with pytest.raises(AttributeError, match="read-only"):
        setattr(caller, name, "mallory")
    with pytest.raises(AttributeError, match="read-only"):
        delattr(caller, name)
    assert caller.subject == "alice"


def test_its_claims_are_read_only_all_the_way_down() -> None:
    """Objects refuse assignment, arrays are tuples."""
    claims: Any = principal().claims
    with pytest.raises(TypeError):
        claims["a"] = 1
    with pytest.raises(TypeError):
        claims["a"]["b"] = 1
    with pytest.raises(TypeError):
        claims["a"]["b"][1]["c"] = 3
    assert claims["a"]["b"] == (1, {"c": 2})
    assert claims["d"] == ((),)


def test_it_keeps_no_reference_to_what_it_was_made_of() -> None:
    """What is changed afterwards does not reach it."""
    scopes, claims = {"a"}, {"x": ["y"]}
    caller = principal(scopes=scopes, claims=claims)
    scopes.add("admin")
    claims["x"].append("z")
    claims["w"] = []
    assert caller.scopes == {"a"}
    assert caller.claims == {"x": ("y",)}


def test_one_of_a_token_is_as_read_only_as_any_other() -> None:
    """Its claims are frozen when they are first asked for, and are the same object from then on."""
    fields: dict[str, Any] = dict.fromkeys(("subject", "client_id", "session_id"))
    caller = assemble_principal(
        issuer="i",
        token_id="t-1",
        scopes=frozenset("a"),
        roles=frozenset(),
        issued_at=None,
        expires_at=2.0,
        authenticated_at=None,
        claims={"a": {"b": [1, {"c": 2}]}, "d": [[]], "e": None},
        **fields,
    )
    assert caller == Principal(
        issuer="i", token_id="t-1", scopes=["a"], expires_at=2.0, subject=None, claims=caller.claims
    )
    claims: Any = caller.claims
    assert claims is caller.claims
    for spoil in (claims, claims["a"], claims["a"]["b"][1]):
        with pytest.raises(TypeError):
            spoil["x"] = 1
    assert claims == {"a": {"b": (1, {"c": 2})}, "d": ((),), "e": None}
    with pytest.raises(AttributeError, match="read-only"):
        caller.claims = {}  # type: ignore[misc] # that it cannot be set is the point
    assert pickle.loads(pickle.dumps(caller)) == caller


def test_principals_are_equal_by_value() -> None:
    """A test may compare what a route received."""
    assert principal(scopes=["a"]) == principal(scopes=("a",))
    assert hash(principal()) == hash(principal())
    assert principal() != principal(subject="bob")
    assert principal() != "alice"


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_is_the_principal_itself(copied: Any) -> None:
    """There is nothing to change in a copy."""
    caller = principal()
    assert copied(caller) is caller


def test_it_can_be_pickled() -> None:
    """To be handed to a task queue; it comes back equal, and as read-only as before."""
    again = pickle.loads(pickle.dumps(principal(scopes=["a"])))  # our own bytes
    assert again == principal(scopes=["a"])
    with pytest.raises(TypeError):
        again.claims["a"]["b"] = 1


def test_its_representation_shows_no_claims() -> None:
    """It may be logged; claims may hold more than a log should."""
    shown = repr(principal(claims={"email": "alice@example.com"}, scopes=["b", "a"]))
    assert "alice@example.com" not in shown
    assert "subject='alice'" in shown
    assert "['a', 'b']" in shown


def test_without_claims_they_are_empty() -> None:
    """So that a route can look one up without asking first."""
    assert principal(claims=None).claims == {}
    assert json.dumps(dict(principal(claims=None).claims)) == "{}"
