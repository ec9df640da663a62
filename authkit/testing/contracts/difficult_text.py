"""Texts that backends tend to mistake: odd characters, and pairs that only look alike."""

from __future__ import annotations

import pytest

__all__ = ["DIFFICULT_TEXTS", "EACH_DIFFICULT_TEXT", "EACH_LOOK_ALIKE"]

DIFFICULT_TEXTS = {
    "space": " leading and trailing ",
    "newline": "two\r\nlines",
    "other_line_ends": "one\u2028two\u2029three\x85four\x0bfive",
    "nul": "before\x00after",
    "separators": "a:b|c/d;e,f",
    "braces": "{tag}:{0}%s${x}",
    "glob": "*?[a-z]",
    "quotes": '\'; DROP TABLE "revocations" --',
    "backslash": "C:\\new\\0",
    "path": "../../etc/passwd",
    "accents": "Zo\u00eb",
    "other_scripts": "\u7528\u6237 \u0645\u0633\u062a\u062e\u062f\u0645",
    "emoji": "\U0001f511\U0001f3fd",
    "bytes_like": "b'abc'",
    "none": "None",
    "number": "1e3",
    "long": "long-" * 2048,
}
"""Texts that must come through unharmed, by a name for the test's id."""

_LOOK_ALIKES = {
    "case": ("alice", "Alice"),
    "trailing_space": ("alice", "alice "),
    "trailing_newline": ("alice", "alice\n"),
    "prefix": ("alice", "alic"),
    "suffix": ("alice", "malice"),
    "cut_at_nul": ("alice", "alice\x00bob"),
    "composed": ("Zo\u00eb", "Zoe\u0308"),
    "compatible": ("alice", "\uff41lice"),
    "glob": ("alice", "al*"),
    "regular_expression": ("alice", "al.ce"),
    "leading_zero": ("1", "01"),
    "equal_numbers": ("1", "1.0"),
    "percent_encoded": ("a/b", "a%2Fb"),
    "differ_after_10_kilobytes": ("a" * 10_240 + "b", "a" * 10_240 + "c"),
}

EACH_DIFFICULT_TEXT = pytest.mark.parametrize(
    "text", list(DIFFICULT_TEXTS.values()), ids=list(DIFFICULT_TEXTS)
)
"""Runs a test with `text`, once for each difficult text."""

EACH_LOOK_ALIKE = pytest.mark.parametrize(
    ("one", "other"), list(_LOOK_ALIKES.values()), ids=list(_LOOK_ALIKES)
)
"""Runs a test with `one` and `other`, once for each pair of texts that only look equal."""
