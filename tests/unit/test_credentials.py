"""One Authorization header, one scheme, one space, one token: anything else is no credential."""

from __future__ import annotations

import re
import string
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from authkit.credentials import bearer_credential
from authkit.errors import CredentialMalformed

TOKEN = b"eyJh.eyJz-_~+/.c2ln=="


def read(*values: bytes, query: bytes = b"") -> str | CredentialMalformed | None:
    """What is found in a request with these Authorization headers."""
    headers = [(b"host", b"orders.example.com"), *((b"authorization", value) for value in values)]
    return bearer_credential([*headers, (b"accept", b"*/*")], query)


def is_malformed(*values: bytes, query: bytes = b"") -> bool:
    return isinstance(read(*values, query=query), CredentialMalformed)


# The header ---------------------------------------------------------------------------------------


def test_the_token_is_given_without_its_scheme() -> None:
    """RFC 6750 section 2.1."""
    assert read(b"Bearer " + TOKEN) == TOKEN.decode()


@pytest.mark.parametrize("scheme", [b"Bearer", b"bearer", b"BEARER", b"bEaReR"])
def test_the_scheme_is_case_insensitive(scheme: bytes) -> None:
    """RFC 9110 section 11.1."""
    assert read(scheme + b" t") == "t"


def test_without_a_header_there_is_no_credential() -> None:
    """Other headers are nobody's credential, whatever is in them."""
    assert read() is None
    assert bearer_credential([]) is None
    assert bearer_credential([(b"x-authorization", b"Bearer t"), (b"cookie", b"Bearer t")]) is None


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"Basic dXNlcjpwYXNz",
        b"DPoP " + TOKEN,
        b"Negotiate",
        b"Bear er t",
        b"Beare",
        b" Bearer t",
        b"\tBearer t",
        b"\xc2\xa0Bearer t",
        b"T Bearer t",
    ],
    ids=repr,
)
def test_another_scheme_is_not_ours(value: bytes) -> None:
    """It may belong to another mechanism of the app, so it is as good as absent."""
    assert read(value) is None


@pytest.mark.parametrize("mark", "!#$%&'*+-.^_`|~" + string.digits + string.ascii_letters)
def test_a_scheme_that_only_begins_like_ours_is_another_one(mark: str) -> None:
    """Every character of a token of RFC 9110 section 5.6.2 goes on with the scheme's name."""
    assert read(f"Bearer{mark} t".encode()) is None
    assert read(f"Bearer{mark}".encode()) is None


@pytest.mark.parametrize(
    "value",
    [
        b"Bearer",
        b"Bearer ",
        b"Bearer  ",
        b"Bearer  t",
        b"Bearer\tt",
        b"Bearer \tt",
        b"Bearer\t t",
        b"Bearer t ",
        b"Bearer t\t",
        b"Bearer t\n",
        b"Bearer t\r\n",
        b"Bearer\nt",
        b"Bearer t t",
        b"Bearer t, Bearer t",
        b"Bearer t,",
        b"Bearer ,t",
        b"Bearer,t",
        b'Bearer "t"',
        b"Bearer=t",
        b"Bearer:t",
        b"Bearer: t",
        b"Bearer/t",
        b'Bearer token="t"',
        b"Bearer =",
        b"Bearer ==",
        b"Bearer =t",
        b"Bearer t=t",
        b"Bearer t==t=",
        b"Bearer t\0",
        b"Bearer \0t",
        b"Bearer\0t",
        b"Bearer t\x7f",
        b"Bearer t\x80",
        b"Bearer \xc3\xa9",
        b"Bearer\xa0t",
        b"Bearer \xc2\xa0t",
        b"Bearer <t>",
        b"Bearer t?",
        b"Bearer t%3D",
        b"Bearer t\\",
    ],
    ids=repr,
)
def test_ours_in_a_wrong_form_is_malformed(value: bytes) -> None:
    """Exactly one space, then b64token, then nothing: no list, no quotes, no white space."""
    assert is_malformed(value)


@pytest.mark.parametrize("token", [b"t", b"t=", b"t====", b"-._~+/", b"+", b".", b"A9"])
def test_every_b64token_is_taken(token: bytes) -> None:
    """Its form is of RFC 6750 section 2.1; what it means is not looked at here."""
    assert read(b"Bearer " + token) == token.decode()


def test_every_octet_is_either_allowed_in_a_token_or_not() -> None:
    """The whole alphabet of RFC 6750 section 2.1, and nothing beside it."""
    taken = [bytes([octet]) for octet in range(256) if not is_malformed(b"Bearer a%ca" % octet)]
    assert b"".join(sorted(taken)).decode() == "".join(
        sorted(string.ascii_letters + string.digits + "-._~+/")
    )


@pytest.mark.parametrize(
    "values",
    [
        (b"Bearer t", b"Bearer t"),
        (b"Bearer t", b"Bearer u"),
        (b"Bearer t", b"Basic dTpw"),
        (b"Basic dTpw", b"Bearer t"),
        (b"Basic dTpw", b"Basic dTpw"),
        (b"", b"Bearer t"),
        (b"Bearer t", b""),
        (b"", b""),
        (b"Bearer t", b"Bearer t", b"Bearer t"),
    ],
    ids=repr,
)
def test_two_headers_are_malformed(values: tuple[bytes, ...]) -> None:
    """Whoever reads the other one sees another caller; even equal ones are a sign of that."""
    assert is_malformed(*values)


@pytest.mark.parametrize("length", [16 * 1024 + 1, 1_000_000])
def test_a_very_long_token_is_handed_on(length: int) -> None:
    """Its length is for the verifier to refuse, which puts it on record."""
    assert read(b"Bearer " + b"a" * length) == "a" * length
    assert is_malformed(b"Bearer " + b"=" * length)
    assert is_malformed(b"Bearer " + b"a" * length + b"\n")


# The query ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        b"access_token=t",
        b"access_token=",
        b"access_token",
        b"access_token&page=2",
        b"page=2&access_token=t",
        b"page=2&access_token=t&size=50",
        b"page=2;access_token=t",
        b"page=2;access_token;size=50",
        b"&&access_token=t",
        b";access_token=t",
        b"access_token=t&access_token=t",
        b"%61ccess_token=t",
        b"access%5Ftoken=t",
        b"access%5ftoken=t",
        b"acces%73_toke%6E=t",
        b"page=2&%61%63%63%65%73%73%5f%74%6f%6b%65%6e",
    ],
    ids=repr,
)
def test_a_second_token_in_the_query_is_malformed(query: bytes) -> None:
    """RFC 6750 section 2: one method per request; however the parameter's name is spelled."""
    assert is_malformed(b"Bearer t", query=query)


@pytest.mark.parametrize(
    "query",
    [
        b"",
        b"page=2&size=50",
        b"no_access_token=t",
        b"access_tokens=t",
        b"access_token_hint=t",
        b"Access_Token=t",
        b"%41ccess_token=t",
        b"token=access_token",
        b"next=/login?access_token=t",
        b"next=%26access_token=t",
        b"access_token%3Dt",
        b"access_token%26",
        b"%2561ccess_token=t",
        b"access%_token=t",
        b"access.token=t",
        b"%",
        b"%6",
        b"\xff\xfe=\0",
    ],
    ids=repr,
)
def test_another_parameter_is_no_credential(query: bytes) -> None:
    """Only the exact name counts; it is case-sensitive and decoded once."""
    assert read(b"Bearer t", query=query) == "t"


@pytest.mark.parametrize("values", [(), (b"Basic dTpw",), (b"Bearerx t",)])
def test_a_token_in_the_query_alone_is_never_used(values: tuple[bytes, ...]) -> None:
    """RFC 9700 section 4.3.2: it would stand in logs and histories."""
    assert read(*values, query=b"access_token=t") is None


@pytest.mark.parametrize(
    "query", [b"&" * 65_536, b"access_toke&" * 5_461, b"&%61ccess_toke" * 4_681], ids=len
)
def test_a_long_query_is_read_once_from_front_to_back(query: bytes) -> None:
    """Going back over it again and again would not end within this test's time."""
    assert read(b"Bearer t", query=query) == "t"


# What is returned ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_", [((b"Bearer s3cret s3cret",), b""), ((b"Bearer s3cret",), b"access_token=s3cret")]
)
def test_a_malformed_credential_is_not_quoted(request_: tuple[tuple[bytes, ...], bytes]) -> None:
    """The error goes into logs and answers."""
    values, query = request_
    found = read(*values, query=query)
    assert isinstance(found, CredentialMalformed)
    assert found.code == "credential_malformed"
    assert "s3cret" not in repr(found)


REFERENCE = re.compile(rb"(?i:bearer)(?P<rest>(?![!#$%&'*+\-.^_`|~0-9A-Za-z]).*)", re.DOTALL)
REST = re.compile(rb" ([A-Za-z0-9\-._~+/]+=*)")
PIECES = st.sampled_from(
    [b"Bearer", b"bearer", b"BEARER", b"Basic", b" ", b"  ", b"\t", b"=", b",", b"\n", b"\0", b"a"]
)
VALUES = st.lists(PIECES | st.binary(max_size=4) | st.just(TOKEN), max_size=5).map(b"".join)


@given(VALUES)
@example(b"Bearer a\n")
def test_a_header_is_read_as_the_grammar_says(value: bytes) -> None:
    """The grammars of RFC 9110 section 11.4 and RFC 6750 section 2.1, written as patterns."""
    ours = REFERENCE.fullmatch(value)
    good = REST.fullmatch(ours["rest"]) if ours else None
    found = read(value)
    if ours is None:
        assert found is None
    elif good is None:
        assert isinstance(found, CredentialMalformed)
    else:
        assert found == good[1].decode()


NAMES = st.sampled_from([b"access_token", b"%61ccess_token", b"access%5ftoken", b"a", b"access_"])
QUERIES = st.lists(NAMES | st.sampled_from([b"&", b";", b"=", b"%", b"%26"]), max_size=6)


@given(QUERIES.map(b"".join))
def test_a_query_is_read_as_parameters(query: bytes) -> None:
    """Split at the separators, each name decoded once, compared exactly."""
    names = [part.partition(b"=")[0] for part in re.split(rb"[&;]", query)]
    expected = b"access_token" in map(unquote_to_bytes, names)
    assert is_malformed(b"Bearer t", query=query) == expected
