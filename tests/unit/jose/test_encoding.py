"""`authkit.jose.encoding`: one text, one meaning, or NotStrict."""

from __future__ import annotations

import binascii
import json
import subprocess
import sys
from typing import Any

import pytest

from authkit.jose import encoding
from authkit.jose.encoding import NotStrict, decode_base64url, encode_base64url, parse_json_object

SPELLINGS_OF_A = [
    "QQ==",
    "QQ=",
    "QR",
    "Q Q",
    "QQ\n",
    "\nQQ",
    " QQ",
    "QQ\0",
    "Q",
    "QQ.",
    "\uff31\uff31",
]


def compact(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def nested(depth: int, pair: tuple[str, str] = ("[", "]")) -> bytes:
    """An object with this many levels, itself the first."""
    opening, closing = pair
    text = opening * (depth - 1) + closing * (depth - 1) if depth > 1 else "1"
    return f'{{"a":{text}}}'.encode()


def nested_objects(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


class TestBase64url:
    @pytest.mark.parametrize("size", [*range(10), 1000])
    def test_what_is_encoded_is_decoded(self, size: int) -> None:
        """Any bytes go there and back."""
        data = bytes(range(256)) * 4
        assert decode_base64url(encode_base64url(data[:size])) == data[:size]

    @pytest.mark.parametrize("text", SPELLINGS_OF_A)
    def test_bytes_have_one_spelling(self, text: str) -> None:
        """What a lenient decoder would also read as the same byte is refused."""
        assert decode_base64url("QQ") == b"A"
        with pytest.raises(NotStrict):
            decode_base64url(text)

    @pytest.mark.parametrize("text", ["ab+/", "ab+A", "ab/A", "+-AA", "-_+/", "++++", "////"])
    def test_the_standard_alphabet_is_not_the_url_alphabet(self, text: str) -> None:
        """`+` and `/` are refused alone as well as mixed with `-` and `_`."""
        with pytest.raises(NotStrict):
            decode_base64url(text)
        assert decode_base64url("-_-_") == b"\xfb\xff\xbf"

    @pytest.mark.parametrize(("head", "step"), [("A", 16), ("AA", 4)])
    def test_unused_bits_must_be_zero(self, head: str, step: int) -> None:
        """RFC 4648 section 3.5: 4 of 64 last characters do after one byte, 16 after two."""
        for value, tail in enumerate(encoding._ALPHABET):
            if value % step == 0:
                assert encode_base64url(decode_base64url(head + tail)) == head + tail
            else:
                with pytest.raises(NotStrict, match="canonical"):
                    decode_base64url(head + tail)

    @pytest.mark.parametrize("place", range(4))
    def test_each_character_of_the_alphabet_has_its_value(self, place: int) -> None:
        """The same value as in standard base64, at every place."""
        for character in encoding._ALPHABET:
            text = "AAAA"[:place] + character + "AAAA"[place + 1 :]
            standard = text.replace("-", "+").replace("_", "/")
            assert decode_base64url(text) == binascii.a2b_base64(standard)

    @pytest.mark.parametrize("place", range(4))
    def test_no_other_character_is_taken(self, place: int) -> None:
        """Every other character refuses the whole, wherever it stands."""
        for character in {chr(code) for code in range(0x180)} | {"\u2028", "\ud800", "\U0001d400"}:
            if character not in encoding._ALPHABET:
                with pytest.raises(NotStrict):
                    decode_base64url("AAAA"[:place] + character + "AAAA"[place + 1 :])

    @pytest.mark.parametrize("length", [1, 5, 9, 1001])
    def test_an_impossible_length_is_refused(self, length: int) -> None:
        """One character over a multiple of four holds no whole byte."""
        with pytest.raises(NotStrict):
            decode_base64url("A" * length)


class TestJson:
    @pytest.mark.parametrize(
        "value",
        [
            {},
            {"": ""},
            {"a": None, "b": True, "c": False, "d": 0, "e": -1, "f": 1.5, "g": [], "h": {}},
            {"name": "Jürgen 😀 \u2028 \x7f", "путь": ["日本語", {"x": [{}]}]},
            {"quote": '"\\/\b\f\n\r\t\u0000\u001f'},
            {"brackets": "[{" * 100, "digits": "7" * 1000},
            {"big": 2**63, "bigger": -(10**307), "exact": 0.1 + 0.2, "small": 5e-324},
        ],
    )
    def test_every_spelling_of_an_object_means_that_object(self, value: dict[str, Any]) -> None:
        """Compact, spaced, indented, escaped: JSON is JSON."""
        for options in (
            {"separators": (",", ":"), "ensure_ascii": False},
            {"separators": (",", ":")},
            {"ensure_ascii": False},
            {"indent": "\t"},
        ):
            data = json.dumps(value, **options).encode()
            assert parse_json_object(data) == value
            assert parse_json_object(b" \t\r\n" + data + b"\n ") == value

    @pytest.mark.parametrize(
        ("data", "value"),
        [
            (b'{"a":1e5}', 1e5),
            (b'{"a":1E+5}', 1e5),
            (b'{"a":1.0}', 1.0),
            (b'{"a":1.50}', 1.5),
            (b'{"a":-0}', 0),
            (b'{"a":-0.0}', -0.0),
            (b'{"a":1e-400}', 0.0),
            (b'{"a":1.7976931348623157e308}', sys.float_info.max),
            (b'{"a":"\\/\\u0041\\ud83d\\ude00"}', "/A😀"),
        ],
    )
    def test_numbers_and_escapes_may_be_spelled_freely(self, data: bytes, value: object) -> None:
        """RFC 8259 gives a value many spellings, and issuers use them."""
        parsed = parse_json_object(data)["a"]
        assert parsed == value
        assert type(parsed) is type(value)

    @pytest.mark.parametrize(
        "data",
        [
            b'{"a":1,"a":1}',
            b'{"a":1,"a":2}',
            b'{"a" : 1, "b":2, "a" : 3}',
            b'{"a":1,"\\u0061":2}',
            b'{"/":1,"\\/":2}',
            b'{"x":{"a":1,"a":2}}',
            b'{"x":[[{"a":1,"a":2}]]}',
            b'{"a":{"b":1},"a":{"b":1}}',
            b'{"":1,"":1}',
            '{"ä":1,"\\u00e4":1}'.encode(),
        ],
    )
    def test_a_name_stands_once_in_an_object(self, data: bytes) -> None:
        """Where parsers take the first, the last or both, there is no meaning (RFC 8725 3.7)."""
        with pytest.raises(NotStrict, match="duplicate"):
            parse_json_object(data)

    @pytest.mark.parametrize("name", ["a", "A", "a ", "a\u0301", "á", "a\0"])
    def test_names_are_compared_exactly(self, name: str) -> None:
        """Case, space and normalization make different names."""
        data = json.dumps({"a\u200b": 1, name: 2}).encode()
        assert len(parse_json_object(data)) == 2

    @pytest.mark.parametrize(
        "number",
        ["NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1E400", "1e99999999999", "inf"],
    )
    def test_numbers_are_finite(self, number: str) -> None:
        """What a double cannot hold is refused at any place."""
        for data in (f'{{"a":{number}}}', f'{{"a":[{{"b":{number}}}]}}', f'{{ "a" : {number} }}'):
            with pytest.raises(NotStrict):
                parse_json_object(data.encode())
            with pytest.raises((NotStrict, json.JSONDecodeError)):
                encoding._parse_spelled_freely(data.encode())

    @pytest.mark.parametrize("template", ['{"a":%s}', '{ "a": [ %s ] }', '{"b":"x","a":%s,"c":1}'])
    def test_integers_have_308_digits_at_most(self, template: str) -> None:
        """So each can be compared with and added to a float, and none costs quadratic time."""
        for sign in ("", "-"):
            longest = sign + "9" * 308
            parsed = parse_json_object((template % longest).encode())["a"]
            assert parsed in (int(longest), [int(longest)])
            for digits in (309, 310, 1000, 4300, 4301, 10_000):
                with pytest.raises(NotStrict):
                    parse_json_object((template % (sign + "9" * digits)).encode())

    @pytest.mark.parametrize("offset", range(0, 620, 7))
    def test_a_long_integer_is_found_wherever_it_stands(self, offset: int) -> None:
        """The bytes that are looked at first are spaced so that none slips through."""
        with pytest.raises(NotStrict):
            parse_json_object(compact({"a": "x" * offset, "b": 10**308}))
        assert parse_json_object(compact({"a": "x" * offset, "b": 10**307}))["b"] == 10**307

    def test_digits_in_strings_are_text(self) -> None:
        """A string of digits is no number, however long."""
        value = {"a": "1" * 5000}
        assert parse_json_object(compact(value)) == value

    def test_a_lower_limit_of_the_interpreter_is_kept(self) -> None:
        """Where an integer is too long for Python itself, that is refused as well."""
        before = sys.get_int_max_str_digits()
        sys.set_int_max_str_digits(640)
        try:
            with pytest.raises(NotStrict):
                parse_json_object(b'{"a":' + b"1" * 700 + b"}")
        finally:
            sys.set_int_max_str_digits(before)

    @pytest.mark.parametrize(
        "escape", ["\\ud800", "\\udfff", "\\ude00\\ud83d", "\\uD800x", "\\ud800\\ud800"]
    )
    @pytest.mark.parametrize(
        "template", ['{"%s":1}', '{"a":"%s"}', '{"a":[["%s"]]}', '{ "a":"%s"}']
    )
    def test_lone_surrogates_are_refused(self, template: str, escape: str) -> None:
        """They are no characters, and whoever writes them to a log or a store fails."""
        with pytest.raises(NotStrict):
            parse_json_object((template % escape).encode())
        with pytest.raises(ValueError, match="surrogates"):
            encoding._parse_spelled_freely((template % escape).encode())
        assert encoding._parse_spelled_freely((template % "\\ud83d\\ude00").encode())

    @pytest.mark.parametrize(
        "data",
        [
            b"\xef\xbb\xbf{}",
            '{"a":"b"}'.encode("utf-16"),
            '{"a":"b"}'.encode("utf-16-le"),
            '{"a":"b"}'.encode("utf-16-be"),
            '{"a":"b"}'.encode("utf-32"),
            '{"a":"b"}'.encode("utf-32-le"),
            b'{"a":"\xed\xa0\x80"}',
            b'{"a":"\xc0\xaf"}',
            b'{"a":"\xff"}',
            b'{"a":"\xe4"}',
            b'{"\x80":1}',
        ],
    )
    def test_the_encoding_is_utf_8_without_a_mark(self, data: bytes) -> None:
        """RFC 7515 section 4 and RFC 7519 section 7.2 know no other encoding."""
        with pytest.raises(NotStrict):
            parse_json_object(data)

    @pytest.mark.parametrize("data", [b"[]", b'"a"', b"1", b"null", b"true", b"[{}]", b' ["a"] '])
    def test_the_top_is_an_object(self, data: bytes) -> None:
        """Neither header nor claims nor a key set is anything else."""
        with pytest.raises(NotStrict, match="object"):
            parse_json_object(data)
        with pytest.raises(NotStrict, match="object"):
            encoding._parse_spelled_freely(data)

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b" ",
            b"{",
            b'{"a"}',
            b'{"a":}',
            b'{"a":1,}',
            b"{,}",
            b'{"a":1 "b":2}',
            b"{a:1}",
            b"{'a':1}",
            b"{1:1}",
            b'{"a":01}',
            b'{"a":+1}',
            b'{"a":.5}',
            b'{"a":1.}',
            b'{"a":0x1}',
            b'{"a":"\t"}',
            b'{"a":"\n"}',
            b'{"a":"\\x41"}',
            b'{"a":"\\u00g0"}',
            b'{"a":"b}',
            b"{}{}",
            b"{}x",
            b"{}\0",
            b"{}\x0b",
            b"/**/{}",
            b'{"a":[1,]}',
            b'{"a":tru}',
        ],
    )
    def test_what_is_not_json_is_refused(self, data: bytes) -> None:
        """No leniency of any parser gets through."""
        with pytest.raises(NotStrict):
            parse_json_object(data)

    @pytest.mark.parametrize("make", [nested, nested_objects])
    def test_nesting_is_bounded(self, make: Any) -> None:
        """32 levels are read, the 33rd is refused, and so are thousands."""
        assert parse_json_object(make(32))
        assert parse_json_object(make(32).replace(b":", b" : "))
        for depth in (33, 34, 190, 250, 5000):
            with pytest.raises(NotStrict):
                parse_json_object(make(depth))
            with pytest.raises(NotStrict):
                parse_json_object(make(depth).replace(b":", b" : "))

    def test_the_bound_on_nesting_can_be_chosen(self) -> None:
        """One level is an object without containers."""
        assert parse_json_object(b'{"a":1}', max_depth=1)
        with pytest.raises(NotStrict, match="deep"):
            parse_json_object(b'{"a":[]}', max_depth=1)
        assert parse_json_object(b'{"a":[]}', max_depth=2)

    def test_width_is_not_depth(self) -> None:
        """Any number of neighbours is fine, and so are brackets in strings."""
        for value in (
            {"a": [[] for _ in range(100)]},
            {"a": [{"b": [{}]} for _ in range(100)]},
            {"a": "[" * 400 + "{" * 400},
            {str(i): {} for i in range(100)},
        ):
            assert parse_json_object(compact(value)) == value

    @pytest.mark.parametrize("part", [b"[]", b"{}", b'"["'])
    def test_width_is_bounded_too(self, part: bytes) -> None:
        """A thousand parts are read; more would cost a stranger little, and us much."""
        inner = b",".join([part] * 998)
        assert len(parse_json_object(b'{"a":[%s]}' % inner)["a"]) == 998
        with pytest.raises(NotStrict):
            parse_json_object(b'{"a":[%s,%s]}' % (inner, part))
        parse_json_object(b'{"a":[%s,%s]}' % (inner, part), max_containers=1_001)

    def test_the_first_call_of_a_process_needs_little_of_the_stack(self) -> None:
        """The parser beneath imports what it needs at its first call, and must not do so then."""
        code = (
            "from authkit.jose.encoding import parse_json_object\n"
            "def depth_left(level=0):\n"
            "    try:\n"
            "        return depth_left(level + 1)\n"
            "    except RecursionError:\n"
            "        return level\n"
            "def descend(levels):\n"
            "    return descend(levels - 1) if levels else parse_json_object(b'{\"a\":[1.5]}')\n"
            "print(descend(depth_left() - 8))\n"
        )
        run = subprocess.run(  # a process of its own: in this one the first call is long past
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        assert (run.stdout, run.stderr) == ("{'a': [1.5]}\n", "")

    def test_messages_hold_nothing_of_the_input(self) -> None:
        """What was refused may be a secret."""
        for data in (b'{"hunter2":1,"hunter2":2}', b'{"a":hunter2}', b'"hunter2"', b"\xffhunter2"):
            with pytest.raises(NotStrict) as caught:
                parse_json_object(data)
            assert "hunter2" not in str(caught.value)
            assert caught.value.__cause__ is None
        with pytest.raises(NotStrict) as caught:
            decode_base64url("hunter2!")
        assert "hunter2" not in str(caught.value)
