"""Key sets to be found in, and a KeySource that does what a test tells it to."""

from __future__ import annotations

import asyncio
import json
from types import TracebackType
from typing import TYPE_CHECKING, Any

import pytest

from authkit.clock import Clock
from authkit.errors import BackendUnavailable
from authkit.interfaces import KeySetDocument, VerificationKey
from authkit.jose.jwk import JWK, parse_jwk_set
from authkit.jose.signing import SigningKey

if TYPE_CHECKING:
    from authkit.interfaces import KeySource

KEYS = {
    name: SigningKey.generate("ES256", kid=name).public_jwk()
    for name in ("a", "b", "c", "d", "e", "f", "old", "new")
}
SECRET = {"kty": "oct", "alg": "HS256", "kid": "secret", "k": "c2VjcmV0" * 8}
OFF_CURVE = {**KEYS["a"], "kid": "off-curve", "y": KEYS["b"]["y"]}


def jwks(*keys: dict[str, Any] | str) -> bytes:
    """A JWK Set of the named keys, or of those given."""
    return json.dumps({"keys": [KEYS[k] if isinstance(k, str) else k for k in keys]}).encode()


def parsed(*keys: dict[str, Any] | str) -> tuple[JWK, ...]:
    return parse_jwk_set(jwks(*keys))


def kids(keys: tuple[VerificationKey, ...]) -> list[str | None]:
    return [key.kid for key in keys]


class ScriptedSource:
    """A KeySource that does what a test tells it to.

    Attributes:
        answer: the body to give, or the error to raise.
        gate: while it is closed, a fetch does not end.
        previous: the document that each fetch was asked with.
    """

    def __init__(self, clock: Clock, answer: bytes | BaseException = b"") -> None:
        self.clock = clock
        self.answer = answer
        self.fresh_seconds = 600.0
        self.gate = asyncio.Event()
        self.gate.set()
        self.previous: list[KeySetDocument | None] = []
        self.cancelled = 0

    @property
    def fetches(self) -> int:
        return len(self.previous)

    async def fetch(self, previous: KeySetDocument | None) -> KeySetDocument:
        self.previous.append(previous)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if isinstance(self.answer, BaseException):
            raise self.answer
        return KeySetDocument(
            body=self.answer,
            etag=None,
            fetched_at=self.clock.time(),
            fresh_seconds=self.fresh_seconds,
        )


class EnteredSource(ScriptedSource):
    """A source that is entered and left."""

    def __init__(self, clock: Clock, answer: bytes | BaseException = b"") -> None:
        super().__init__(clock, answer)
        self.log: list[str] = []

    async def __aenter__(self) -> EnteredSource:
        await asyncio.sleep(0)
        self.log.append("enter")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.log.append("exit")


DOWN = BackendUnavailable("keys", "the key server is down")


async def settle() -> None:
    """Lets everything run that can without time passing."""
    for _ in range(20):
        await asyncio.sleep(0)


async def until_fetched(source: ScriptedSource, fetches: int) -> None:
    """Waits in real time: this is about timers."""
    for _ in range(1000):
        if source.fetches >= fetches:
            return
        await asyncio.sleep(0.005)
    pytest.fail("it did not fetch")


if TYPE_CHECKING:

    def _source_conforms(source: ScriptedSource) -> KeySource:
        return source
