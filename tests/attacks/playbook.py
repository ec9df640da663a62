"""What attacks on a whole service share: its issuers, its verifier, its app, and a watch on both.

A `Service` that is left checks three promises by itself: every call left exactly one audit record
with the outcome and the code that the caller saw, the counters agree with them, and nothing that
was said or written anywhere holds a piece of a token, or a text that a test declared to be hostile.
"""

# Annotations are not postponed here: FastAPI could not find the local names in those of routes.

import json
import logging
import re
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict
from functools import cache
from hashlib import sha256
from types import TracebackType
from typing import Annotated, Any, Self

import httpx
from fastapi import Depends, FastAPI, Security

from authkit.errors import AuthkitError, BackendUnavailable, CredentialMissing
from authkit.fastapi import Auth
from authkit.interfaces import RequestContext
from authkit.jose.jws import MAX_TOKEN_BYTES
from authkit.jose.signing import SigningKey
from authkit.policy import Requirement, TrustedIssuer
from authkit.principal import Principal
from authkit.testing import AssertingAuditSink, ManualClock
from authkit.verifier import Verifier
from authkit_memory import MemoryKeyProvider, MemoryRateLimiter, MemoryRevocationStore

LOGIN = "https://login.example.com"
OTHER = "https://other.example.com"
ALGS = ("RS256", "ES256", "EdDSA")

_PIECE = 12
_is_b64token = re.compile(r"[A-Za-z0-9\-._~+/]+=*").fullmatch
_logger = logging.getLogger()


def key(alg: str, owner: str = LOGIN) -> SigningKey:
    """The key of an owner for an algorithm; all owners use the same key ids."""
    return _key(alg, owner)


@cache
def _key(alg: str, owner: str) -> SigningKey:
    return SigningKey.generate(alg, kid=f"{alg}-1")


def jwks(owner: str = LOGIN) -> dict[str, Any]:
    return {"keys": [key(alg, owner).public_jwk() for alg in ALGS]}


def login(**options: Any) -> TrustedIssuer:
    """The issuer that the attacks are about."""
    return TrustedIssuer(
        LOGIN, "orders", **{"keys": MemoryKeyProvider.from_jwks(jwks()), **options}
    )


def other(**options: Any) -> TrustedIssuer:
    """Another one, for another audience, with keys of its own under the same key ids."""
    keys = MemoryKeyProvider.from_jwks(jwks(OTHER))
    return TrustedIssuer(OTHER, "billing", **{"keys": keys, **options})


class _Listener(logging.Handler):
    """Keeps all that any logger of the process says."""

    def __init__(self, said: list[str]) -> None:
        super().__init__(logging.DEBUG)
        self._said = said

    def emit(self, record: logging.LogRecord) -> None:
        self._said.append(f"{self.format(record)} {record.args!r}")


class Service:
    """A verifier on memory backends, an app in front of it, and all that either gives away.

    Args:
        issuers: whom it trusts; `login()` and `other()` unless given.
        clock: stands still until it is moved.
        options: of its Verifier.
    """

    def __init__(
        self, *issuers: TrustedIssuer, clock: ManualClock | None = None, **options: Any
    ) -> None:
        self.clock = clock or ManualClock()
        self.sink = AssertingAuditSink()
        self.store = MemoryRevocationStore(clock=self.clock)
        parts = {
            "revocations": self.store,
            "limiter": MemoryRateLimiter(clock=self.clock),
            "failed_attempts": None,
            "audit": self.sink,
            "clock": self.clock,
            **options,
        }
        self.verifier = Verifier(*(issuers or (login(), other())), **parts)
        self.auth, app = _app()
        self.transport = httpx.ASGITransport(app=app, client=("192.0.2.1", 4711))
        self.said: list[str] = []
        self.hostile: list[str] = []
        self._sent: set[str] = set()
        self._expected: list[tuple[str, str | None]] = []
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            listener = _Listener(self.said)
            stack.callback(_logger.setLevel, _logger.level)
            stack.callback(_logger.removeHandler, listener)
            _logger.setLevel(logging.DEBUG)
            _logger.addHandler(listener)
            client = httpx.AsyncClient(transport=self.transport, base_url="http://service.test")
            self.client = await stack.enter_async_context(client)
            await stack.enter_async_context(self.verifier)
            stack.enter_context(self.auth.using(self.verifier))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()
        if error is None:
            self._check_records()
            self._check_silence()

    # Tokens ---------------------------------------------------------------------------------------

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Those of a good token; None takes one away."""
        now = self.clock.time()
        claims = {
            "iss": LOGIN,
            "aud": "orders",
            "sub": "alice",
            "client_id": "web",
            "sid": "s-1",
            "jti": "t-1",
            "iat": now,
            "exp": now + 300,
            **changes,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def token(
        self,
        header: Mapping[str, Any] | None = None,
        *,
        alg: str = "ES256",
        owner: str = LOGIN,
        **changes: Any,
    ) -> str:
        """A good one, unless told otherwise; `owner` signs it."""
        return key(alg, owner).sign({"typ": "at+jwt", **(header or {})}, self.claims(**changes))

    # Calls ----------------------------------------------------------------------------------------

    async def verify(
        self,
        credential: Any,
        *,
        require: Requirement | None = None,
        address: str | None = None,
    ) -> Principal | AuthkitError:
        """What comes of it; anything but a Principal or an error of the family is raised."""
        if isinstance(credential, str):
            self._sent.add(credential)
        context = None if address is None else RequestContext(client_address=address)
        try:
            caller = await self.verifier.verify(credential, require=require, context=context)
        except AuthkitError as error:
            self._expect(error.code, error)
            self.said += _said_by(error)
            return error
        self._expect(None)
        return caller

    async def request(
        self, *authorization: str | bytes, path: str = "/", headers: Sequence[Any] = ()
    ) -> httpx.Response:
        """A request with these Authorization headers, as they are; not expected on record."""
        given = [(b"authorization", _octets(value)) for value in authorization]
        answer = await self.client.get(path, headers=[*given, *headers])
        if answer.status_code != 200:
            self.said.append(f"{answer.text} {answer.headers.raw!r}")
        return answer

    async def accepted(self, token: str) -> Principal:
        """The caller, whom the verifier and the app agree on."""
        caller = await self.verify(token)
        assert isinstance(caller, Principal), caller
        answer = await self.request(f"Bearer {token}")
        self._expect(None)
        assert answer.json() == [caller.issuer, caller.subject, caller.token_id], answer.text
        return caller

    async def refused(self, token: str) -> AuthkitError:
        """The error, that the verifier and the app agree on."""
        error = await self.verify(token)
        assert isinstance(error, AuthkitError), f"accepted: {token}"
        assert not isinstance(error, BackendUnavailable), error
        answer = await self.request(f"Bearer {token}")
        is_token = _is_b64token(token) is not None
        code = error.code if is_token else "credential_malformed"
        self._expect(code)
        assert (answer.status_code, answer.json()["code"]) == (401 if is_token else 400, code), code
        assert answer.headers["www-authenticate"].startswith("Bearer "), answer.headers
        assert answer.headers["cache-control"] == "no-store", answer.headers
        return error

    def expect_request(self, code: str | None, outcome: str = "refused") -> None:
        """Says what a `request` shall have left on record."""
        self._expected.append((outcome, code))

    def _expect(self, code: str | None, error: AuthkitError | None = None) -> None:
        outcome = "accepted" if code is None else "refused"
        if isinstance(error, CredentialMissing):
            outcome = "missing"
        elif isinstance(error, BackendUnavailable):
            outcome = "unavailable"
        self._expected.append((outcome, code))

    # Promises -------------------------------------------------------------------------------------

    def _check_records(self) -> None:
        events = self.sink.matching(type="token.verified")
        found = [(event.outcome, event.code) for event in events]
        assert found == self._expected, f"on record: {found}, expected: {self._expected}"
        hashes = {event.token_hash for event in events}
        for token in self._sent:
            is_too_long = len(token) > MAX_TOKEN_BYTES
            assert is_too_long or sha256(_octets(token)).hexdigest() in hashes, "not on record"
        stats = self.verifier.stats()
        for outcome, count in Counter(outcome for outcome, _ in found).items():
            assert stats[f"verifications_{outcome}_total"] == count, f"{outcome}: {stats}"

    def _check_silence(self) -> None:
        events = [json.dumps(asdict(event), ensure_ascii=False) for event in self.sink.events]
        secret = {piece for token in self._sent for part in token.split(".") for piece in cut(part)}
        for text in {*self.said, *events}:
            found = [piece for piece in cut(text) if piece in secret and piece.strip()]
            assert not found, f"a piece of a token in: {text}"
            found = [hostile for hostile in self.hostile if hostile in text]
            assert not found, f"a hostile text in: {text}"


def cut(text: str) -> Iterator[str]:
    """Every twelve characters in a row."""
    return (text[start : start + _PIECE] for start in range(len(text) - _PIECE + 1))


def _said_by(error: BaseException | None) -> Iterator[str]:
    """All that an error shows to whoever prints, logs or inspects it, with its causes."""
    while error is not None:
        yield f"{error} {error!r} {error.args!r} {vars(error)!r}"
        yield "".join(traceback.format_exception_only(error))
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _octets(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")


@cache
def _app() -> tuple[Auth, FastAPI]:
    """One for all tests, since making it takes longer than most of them."""
    auth = Auth(trusted_proxies=["10.0.0.0/8"])
    app = FastAPI()

    @app.get("/")
    async def who(caller: Annotated[Principal, Depends(auth)]) -> list[str | None]:
        return [caller.issuer, caller.subject, caller.token_id]

    @app.get("/scoped")
    async def scoped(
        caller: Annotated[Principal, Security(auth, scopes=["orders:read"])],
    ) -> str | None:
        return caller.subject

    return auth, app
