"""The named way to do without revocation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from authkit.errors import ConfigurationError
from authkit.interfaces import Revocation, RevocationReceipt, RevocationStore, TokenFacts

__all__ = ["NoRevocation"]


class NoRevocation:
    """A RevocationStore that keeps nothing: a token is good until it expires.

    It is given in place of a store, so that the choice can be seen; the log names it at start.
    """

    max_token_lifetime_seconds: float = math.inf

    async def revoke(self, revocation: Revocation) -> RevocationReceipt:
        """Always refuses, because the revocation would have no effect.

        Raises:
            ConfigurationError: always.
        """
        raise ConfigurationError(
            "nothing can be revoked with NoRevocation(): give the Verifier a RevocationStore"
        )

    async def find(self, token: TokenFacts) -> Revocation | None:
        """None: nothing is ever revoked."""
        return None


if TYPE_CHECKING:
    _: RevocationStore = NoRevocation()
