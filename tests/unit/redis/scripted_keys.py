"""A Link that answers as a test has it, and what shares a key set over it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from authkit.interfaces import KeySetDocument
from authkit.testing import ManualClock
from authkit_redis.link import Script, Tail
from authkit_redis.shared_keys.scripts import CLAIM, END, LOOK, PUBLISH, TRY
from authkit_redis.shared_keys.seal import Seal
from authkit_redis.shared_keys.source import RedisKeySource

__all__ = [
    "ADDRESS",
    "BODY",
    "ISSUER",
    "NOW_MS",
    "SEAL",
    "SECRET",
    "WALL_MS",
    "ScriptedLink",
    "Source",
    "granted",
    "shared",
]

ISSUER, ADDRESS = "https://login.example.com", "https://login.example.com/keys"
SECRET = b"a secret of the fleet's own"
SEAL = Seal(SECRET, ISSUER, ADDRESS)
BODY = b'{"keys":[]}'
NOW_MS, WALL_MS = 1_000_000_000_000, 5_000_000


class ScriptedLink:
    """A Link that answers each script as a test has it."""

    def __init__(self, **answers: Any) -> None:
        self.answers: dict[Script, Any] = {TRY: [b"0", b"noeviction"], PUBLISH: 1, END: 1}
        names = {"claim": CLAIM, "look": LOOK, "publish": PUBLISH, "end": END, "attempt": TRY}
        self.answers.update({names[name]: answer for name, answer in answers.items()})
        self.ran: list[Script] = []
        self.attempts: list[bytes | int] = []
        self.published: list[Sequence[bytes | int]] = []
        self.entered = 0

    async def __aenter__(self) -> Self:
        self.entered += 1
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.entered -= 1

    async def run(
        self,
        script: Script,
        keys: Sequence[bytes],
        args: Sequence[bytes | int],
        *,
        timeout_seconds: float,
        is_repeatable: bool = False,
    ) -> Any:
        self.ran.append(script)
        if script is CLAIM:
            self.attempts.append(args[0])
        elif script is PUBLISH:
            self.published.append(args)
        await asyncio.sleep(0)
        answer = self.answers[script]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def prepared(
        self,
        script: Script,
        keys: Sequence[bytes],
        args: Sequence[bytes | int],
        *,
        timeout_seconds: float,
    ) -> Callable[[], Awaitable[Any]]:
        raise NotImplementedError

    async def call(
        self, *parts: bytes | int, timeout_seconds: float, key: bytes | None = None
    ) -> Any:
        return 1

    def tail(self, key: bytes) -> Tail:
        raise NotImplementedError

    def stats(self) -> Mapping[str, float]:
        return {}


class Source:
    """A KeySource that does what a test tells it to."""

    def __init__(self, answer: object = BODY, *, fetched_at: float = 5000.0) -> None:
        self.answer = answer
        self.fetched_at = fetched_at
        self.requests = 0

    async def fetch(self, previous: KeySetDocument | None) -> KeySetDocument:
        self.requests += 1
        if isinstance(self.answer, BaseException):
            raise self.answer
        assert isinstance(self.answer, bytes)
        return KeySetDocument(
            body=self.answer, etag=None, fetched_at=self.fetched_at, fresh_seconds=600.0
        )


def shared(link: ScriptedLink, source: Any, **changes: Any) -> RedisKeySource:
    given = {"issuer": ISSUER, "address": ADDRESS, "secret": SECRET, "clock": ManualClock(5000.0)}
    return RedisKeySource(link, source, **{**given, **changes})


def granted(now_ms: int = NOW_MS) -> list[Any]:
    """The answer that this process is to fetch."""
    return [1, str(now_ms).encode(), None, None, None, 0]
