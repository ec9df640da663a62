"""An option that makes things less safe is said in so many words."""

from __future__ import annotations

from typing import Any

import pytest

from authkit.errors import ConfigurationError
from authkit.remote_keys import HttpKeySource, RemoteKeyProvider


@pytest.mark.parametrize("value", ["", "false", "true", 0, 1, None], ids=repr)
def test_plain_http_is_allowed_by_true_alone(value: Any) -> None:
    """The text `false` from the environment must not allow it."""
    with pytest.raises(ConfigurationError, match="insecure_loopback_http must be True or False"):
        HttpKeySource("https://issuer.test/jwks", insecure_loopback_http=value)
    with pytest.raises(ConfigurationError, match="insecure_loopback_http must be True or False"):
        RemoteKeyProvider("https://issuer.test", insecure_loopback_http=value)
