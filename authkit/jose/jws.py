"""Compact JWS: a token taken apart strictly, and the proof that a key signed it (RFC 7515)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from authkit.errors import SignatureInvalid, TokenMalformed
from authkit.jose.encoding import NotStrict, decode_base64url, parse_json_object
from authkit.jose.jwa import ALGORITHMS
from authkit.jose.jwk import VerificationKey

__all__ = [
    "MAX_TOKEN_BYTES",
    "JoseHeader",
    "SignedPayload",
    "UnverifiedToken",
    "verify_signature",
]

MAX_TOKEN_BYTES: Final = 16 * 1024
"""A longer token is refused before anything of it is looked at."""

# 8 KiB: room for a chain of certificates (`x5c`), which is legal and ignored.
_MAX_HEADER_CHARACTERS: Final = 10923
# 1 KiB: the largest signature there can be, that of an RSA key of 8192 bits.
_MAX_SIGNATURE_CHARACTERS: Final = 1366


@dataclass(frozen=True, slots=True, kw_only=True)
class JoseHeader:
    """What a token says of itself; only `alg`, `kid` and `typ` of its header have a meaning here.

    Attributes:
        alg: not empty; not yet compared with what is allowed.
        kid: the key id, or None; may be any text, the empty one included.
        typ: the media type, or None.
    """

    alg: str
    kid: str | None
    typ: str | None


class UnverifiedToken:
    """A token in the right form.  Nothing that it says is proven.

    Attributes:
        text: the token.
        header_segment: its header, still encoded and not looked at before `header()`.
        issuer: the `iss` that it claims; None where that is missing or not a string.
    """

    __slots__ = ("_claims", "_signature", "_signing_input", "header_segment", "issuer", "text")

    text: str
    header_segment: str
    issuer: str | None
    _signing_input: bytes
    _signature: bytes
    _claims: dict[str, Any]

    @classmethod
    def parse(cls, text: str) -> UnverifiedToken:
        """Takes a token apart: three segments, strict base64url, a payload in strict JSON.

        The header is left for `header()`, since most tokens come with one that was seen
        before.

        Raises:
            TokenMalformed: with the code `token_opaque` for a text without a dot.
        """
        if type(text) is not str:
            raise TokenMalformed("a token must be a str")
        if len(text) > MAX_TOKEN_BYTES:
            raise TokenMalformed(f"a token longer than {MAX_TOKEN_BYTES} bytes")
        # Never split further, so that a text of dots costs nothing (CVE-2025-27144).  Parted twice,
        # because the first part is needed as a whole as well: half the price of a split.
        signing_input, _, signature = text.rpartition(".")
        header, dot, payload = signing_input.partition(".")
        if not dot or "." in payload:
            if "." not in text:
                raise TokenMalformed("not a JWT: it has no dot", code="token_opaque")
            raise TokenMalformed("a signed token has three segments")
        if len(signature) > _MAX_SIGNATURE_CHARACTERS:
            raise TokenMalformed("the token's signature is longer than any can be")
        token = cls.__new__(cls)
        token.text = text
        token.header_segment = header
        try:
            token._signature = decode_base64url(signature)
            token._claims = claims = parse_json_object(decode_base64url(payload))
            token._signing_input = signing_input.encode("ascii")
        except NotStrict as error:
            raise TokenMalformed(f"the token's payload or signature is {error}") from None
        except (RecursionError, UnicodeEncodeError):
            raise TokenMalformed("the token cannot be read") from None
        issuer = claims.get("iss")
        token.issuer = issuer if isinstance(issuer, str) else None
        return token

    def header(self) -> JoseHeader:
        """Reads the header.

        Its `jwk`, `jku`, `x5u` and `x5c` are never looked at (RFC 8725 section 3.10); unknown
        members are ignored, as RFC 7515 section 4 demands.  Any `crit` is refused, because
        no extension is understood (section 4.1.11), and so is any `b64` (RFC 7797 section 7).

        Raises:
            TokenMalformed: not strict, or a member of the wrong type.
        """
        if len(self.header_segment) > _MAX_HEADER_CHARACTERS:
            raise TokenMalformed("the token's header is too long")
        try:
            members = parse_json_object(decode_base64url(self.header_segment))
        except NotStrict as error:
            raise TokenMalformed(f"the token's header is {error}") from None
        except RecursionError:
            raise TokenMalformed("the token cannot be read") from None
        if "crit" in members or "b64" in members:
            raise TokenMalformed("the token's header demands an extension that is not understood")
        alg = members.get("alg")
        if not isinstance(alg, str) or not alg:
            raise TokenMalformed("the token's header has no alg")
        for name in ("kid", "typ"):
            if not isinstance(members.get(name, ""), str):
                raise TokenMalformed(f"the {name} of the token's header is not a string")
        return JoseHeader(alg=alg, kid=members.get("kid"), typ=members.get("typ"))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(of {len(self.text)} characters)"


class SignedPayload:
    """Claims that a key of the issuer has signed.  Made only by `verify_signature`.

    Signed is not yet acceptable: no claim has been checked.

    Attributes:
        claims: the payload.
        header: the token's header.
        key: the key that made the signature.
    """

    __slots__ = ("_signing_input", "claims", "header", "key")

    def __init__(
        self,
        claims: dict[str, Any],
        header: JoseHeader,
        key: VerificationKey,
        signing_input: bytes,
    ) -> None:
        self.claims: dict[str, Any] = claims
        self.header: JoseHeader = header
        self.key: VerificationKey = key
        self._signing_input = signing_input

    def signing_input_sha256(self) -> str:
        """In hex.  Unlike the token's text it is the same however the signature is spelled."""
        return sha256(self._signing_input).hexdigest()


def verify_signature(
    token: UnverifiedToken, header: JoseHeader, keys: Sequence[VerificationKey]
) -> SignedPayload:
    """Proves that one of the keys signed the token.

    Checks neither whether the algorithm is allowed nor whether a key's lease still holds:
    hand in only keys that the caller trusts for it now.

    Args:
        token: the token.
        header: its header, as `token.header()` reads it.
        keys: tried in order; one that is not for the header's `alg` is passed over.

    Raises:
        SignatureInvalid: none of them did.
    """
    alg = header.alg
    algorithm = ALGORITHMS.get(alg)
    if algorithm is not None:
        for key in keys:
            if alg not in key.algorithms:
                continue
            try:
                is_valid = algorithm.verify(token._signing_input, token._signature, key._key)
            except Exception:  # what makes the libraries below stumble proves nothing
                is_valid = False
            if is_valid is True:
                return SignedPayload(token._claims, header, key, token._signing_input)
    raise SignatureInvalid
