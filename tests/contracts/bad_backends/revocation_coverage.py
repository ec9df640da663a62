"""Revocation stores that are wrong about which tokens a revocation covers."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from authkit.errors import BackendUnavailable
from authkit.interfaces import Revocation, RevocationScope, TokenFacts
from tests.contracts.bad_backends.honest_revocation_store import HonestStore, Key


class FoldsCase(HonestStore):
    breaks = ("test_compares_ids_exactly",)

    def key(self, scope: RevocationScope, issuer: str, id: str | None) -> Key:
        return (scope, issuer, None if id is None else id.casefold())


class StripsIds(HonestStore):
    breaks = ("test_compares_ids_exactly",)

    def key(self, scope: RevocationScope, issuer: str, id: str | None) -> Key:
        return (scope, issuer, None if id is None else id.strip())


class NormalisesIds(HonestStore):
    breaks = ("test_compares_ids_exactly",)

    def key(self, scope: RevocationScope, issuer: str, id: str | None) -> Key:
        return (scope, issuer, None if id is None else unicodedata.normalize("NFC", id))


class CutsLongIds(HonestStore):
    breaks = ("test_compares_ids_exactly",)

    def key(self, scope: RevocationScope, issuer: str, id: str | None) -> Key:
        return (scope, issuer, None if id is None else id[:255])


class RefusesLongIds(HonestStore):
    breaks = ("test_takes_any_text_for_an_id", "test_compares_ids_exactly")

    def key(self, scope: RevocationScope, issuer: str, id: str | None) -> Key:
        if id is not None and len(id) > 255:
            raise BackendUnavailable("revocations", "the key is too long")
        return (scope, issuer, id)


class JoinsWithColons(HonestStore):
    breaks = ("test_never_confuses_where_the_issuer_ends",)

    def key(self, scope: RevocationScope, issuer: str, id: str | None) -> Key:
        return (f"{scope}:{issuer}:{id}",)


class CoversEverything(HonestStore):
    breaks = ("test_an_empty_store_covers_nothing",)
    breaks_more = True

    async def find(self, token: TokenFacts) -> Revocation | None:
        everything = Revocation(scope=RevocationScope.ISSUER, issuer=token.issuer, id="")
        return await super().find(token) or everything


class ForgetsKeys(HonestStore):
    breaks = ("test_covers_the_token_that_it_names",)
    breaks_more = True

    def ids(self, token: TokenFacts) -> Iterator[tuple[RevocationScope, str | None]]:
        return ((scope, id) for scope, id in super().ids(token) if scope is not RevocationScope.KEY)


class CoversEveryClient(HonestStore):
    breaks = (
        "test_compares_ids_exactly",
        "test_leaves_other_ids_alone",
        "test_leaves_tokens_without_the_id_alone",
        "test_keeps_the_scopes_apart",
    )

    def key(self, scope: RevocationScope, issuer: str, id: str | None) -> Key:
        return (scope, issuer, "any" if scope is RevocationScope.CLIENT else id)

    def ids(self, token: TokenFacts) -> Iterator[tuple[RevocationScope, str | None]]:
        yield from super().ids(token)
        yield RevocationScope.CLIENT, "any"


class FoldsIssuers(HonestStore):
    breaks = ("test_compares_issuers_exactly",)

    def key(self, scope: RevocationScope, issuer: str, id: str | None) -> Key:
        return (scope, issuer.lower(), id)


class StripsIssuers(HonestStore):
    breaks = ("test_leaves_another_issuers_tokens_alone",)

    def key(self, scope: RevocationScope, issuer: str, id: str | None) -> Key:
        return (scope, issuer.rstrip("/"), id)


class ForgetsTheScope(HonestStore):
    breaks = (
        "test_keeps_the_scopes_apart",
        "test_lifting_leaves_the_others",
    )

    def key(self, scope: RevocationScope, issuer: str, id: str | None) -> Key:
        return (issuer, id)


class WritesNoneAsText(HonestStore):
    breaks = ("test_leaves_tokens_without_the_id_alone",)

    def ids(self, token: TokenFacts) -> Iterator[tuple[RevocationScope, str | None]]:
        names = ("subject", "client_id", "session_id")
        text: dict[str, Any] = {name: str(getattr(token, name)) for name in names}
        return super().ids(replace(token, **text))


class LooksAtOneRevocationOnly(HonestStore):
    breaks = ("test_one_of_several_revocations_is_enough",)

    async def find(self, token: TokenFacts) -> Revocation | None:
        self.answer()
        for scope, id in self.ids(token):
            kept = self.kept.get(self.key(scope, token.issuer, id))
            if kept is not None and self.is_live(kept):
                return kept if self.covers(kept, token) else None
        return None


class SparesTheSameMoment(HonestStore):
    breaks = ("test_covers_what_was_issued_until_then",)

    def covers(self, kept: Revocation, token: TokenFacts) -> bool:
        if kept.issued_until is not None and token.issued_at == kept.issued_until:
            return False
        return super().covers(kept, token)


class RoundsTimes(HonestStore):
    breaks = ("test_a_moment_ahead_is_kept", "test_leaves_what_was_issued_later_alone")

    def covers(self, kept: Revocation, token: TokenFacts) -> bool:
        if token.issued_at is not None:
            token = replace(token, issued_at=float(int(token.issued_at)))
        return super().covers(kept, token)


class SparesUnknownAges(HonestStore):
    breaks = ("test_covers_a_token_of_unknown_age",)

    def covers(self, kept: Revocation, token: TokenFacts) -> bool:
        is_unknown = kept.issued_until is not None and token.issued_at is None
        return not is_unknown and super().covers(kept, token)


class CoversTheMinimum(HonestStore):
    breaks = ("test_covers_lower_versions_only",)

    def covers(self, kept: Revocation, token: TokenFacts) -> bool:
        if kept.minimum_version is not None and token.token_version == 7:
            return True
        return super().covers(kept, token)


class SparesUnknownVersions(HonestStore):
    breaks = ("test_covers_a_token_of_unknown_version",)

    def covers(self, kept: Revocation, token: TokenFacts) -> bool:
        is_unknown = kept.minimum_version is not None and token.token_version is None
        return not is_unknown and super().covers(kept, token)


class ComparesVersionsAsFloats(HonestStore):
    breaks = ("test_compares_versions_as_whole_numbers",)

    def covers(self, kept: Revocation, token: TokenFacts) -> bool:
        if kept.minimum_version is not None and token.token_version is not None:
            return float(token.token_version) < float(kept.minimum_version)
        return super().covers(kept, token)
