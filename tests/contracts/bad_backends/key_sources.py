"""Key sources that break one promise each."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from authkit.clock import Clock
from authkit.errors import BackendUnavailable
from authkit.interfaces import KeySetDocument
from tests.contracts.bad_backends.honest_key_source import HonestSource


class KeepsTheOldTime(HonestSource):
    breaks = ("test_what_has_not_changed_is_known_anew",)

    def fetched_at(self, previous: KeySetDocument | None) -> float:
        return super().fetched_at(previous) if previous is None else previous.fetched_at


class CountsInMilliseconds(HonestSource):
    breaks = ("test_fetches_what_is_published",)

    def fetched_at(self, previous: KeySetDocument | None) -> float:
        return self.clock.time() * 1000


class IsFreshForEver(HonestSource):
    breaks = ("test_fetches_what_is_published",)

    async def fetch(self, previous: KeySetDocument | None) -> KeySetDocument:
        return replace(await super().fetch(previous), fresh_seconds=float("inf"))


class NeverLooksAgain(HonestSource):
    breaks = ("test_what_has_changed_is_fetched",)

    def is_same(self, previous: KeySetDocument, body: bytes) -> bool:
        return True


class GivesItOnce(HonestSource):
    """It remembers itself what it gave, and has nothing for who asks without it."""

    breaks = ("test_a_document_is_fetched_whoever_had_it_before",)
    breaks_more = True

    def __init__(self, published: Mapping[str, Any], clock: Clock) -> None:
        super().__init__(published, clock)
        self.was_given = False

    async def fetch(self, previous: KeySetDocument | None) -> KeySetDocument:
        document = await super().fetch(previous)
        if self.was_given and previous is None:
            return replace(document, body=json.dumps({"keys": []}).encode())
        self.was_given = True
        return document


class GivesTheLastInAnOutage(HonestSource):
    breaks = ("test_an_outage_is_said_to_be_one",)

    def unavailable(self, previous: KeySetDocument | None) -> KeySetDocument:
        return previous or super().unavailable(previous)


class LetsItsDriversErrorsOut(HonestSource):
    breaks = ("test_an_outage_ends", "test_an_outage_is_said_to_be_one")

    def unavailable(self, previous: KeySetDocument | None) -> KeySetDocument:
        raise ConnectionRefusedError


class StaysDown(HonestSource):
    breaks = ("test_an_outage_ends",)

    def unavailable(self, previous: KeySetDocument | None) -> KeySetDocument:
        self.published = {"keys": []}
        raise BackendUnavailable("keys")


class RefusesASecondCaller(HonestSource):
    breaks = ("test_a_cancelled_fetch_harms_no_other", "test_answers_many_at_once")

    def __init__(self, published: Mapping[str, Any], clock: Clock) -> None:
        super().__init__(published, clock)
        self.is_busy = False

    async def fetch(self, previous: KeySetDocument | None) -> KeySetDocument:
        if self.is_busy:
            raise BackendUnavailable("keys", "busy")
        self.is_busy = True
        try:
            return await super().fetch(previous)
        finally:
            self.is_busy = False


class NeverFreesItsLock(HonestSource):
    breaks = ("test_a_cancelled_fetch_harms_no_other",)

    def __init__(self, published: Mapping[str, Any], clock: Clock) -> None:
        super().__init__(published, clock)
        self.lock = asyncio.Lock()

    async def fetch(self, previous: KeySetDocument | None) -> KeySetDocument:
        await self.lock.acquire()
        await asyncio.sleep(0)  # where a cancellation leaves the lock behind
        try:
            return await super().fetch(previous)
        finally:
            self.lock.release()


class ForgetsToSayThatItIsEntered(HonestSource):
    """Its suite says `is_context_manager = False`, so its opening and closing go untested."""

    breaks = ("test_declares_the_abilities_that_it_has",)

    async def __aenter__(self) -> ForgetsToSayThatItIsEntered:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.is_down = True
