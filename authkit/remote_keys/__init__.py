"""Key sets over HTTPS, from a JWKS address or by discovery."""

from __future__ import annotations

from authkit.remote_keys.provider import RemoteKeyProvider
from authkit.remote_keys.source import HttpKeySource

__all__ = ["HttpKeySource", "RemoteKeyProvider"]
