"""How long an answer may be used is read from its headers, whatever they hold."""

from __future__ import annotations

import pytest

from authkit.remote_keys.freshness import fresh_seconds


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 600),
        ({"cache-control": ""}, 600),
        ({"cache-control": "public, must-revalidate, s-maxage=5"}, 600),
        ({"cache-control": "max-age=300"}, 300),
        ({"cache-control": 'Public , MAX-AGE = "300"'}, 300),
        ({"cache-control": "max-age=300, max-age=200"}, 200),
        ({"cache-control": "max-age=300", "age": "100"}, 200),
        ({"cache-control": "max-age=300", "age": "400"}, 0),
        ({"cache-control": "max-age=300", "age": "soon"}, 300),
        ({"cache-control": "max-age=300, no-cache"}, 0),
        ({"cache-control": "no-store"}, 0),
        ({"cache-control": "max-age=-1"}, 0),
        ({"cache-control": "max-age=1e9"}, 0),
        ({"cache-control": "max-age=²"}, 0),
        ({"cache-control": "max-age"}, 0),
        ({"cache-control": "max-age=" + "9" * 5000}, 2**31),
        ({"cache-control": "max-age=300", "age": "9" * 5000}, 0),
    ],
    ids=repr,
)
def test_the_remaining_freshness_is_what_the_headers_say(
    headers: dict[str, str], seconds: float
) -> None:
    """RFC 9111: an age counts, what cannot be read is stale, what is too large is for ever."""
    assert fresh_seconds(headers, default=600) == seconds
