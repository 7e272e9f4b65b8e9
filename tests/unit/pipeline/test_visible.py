"""Test that text of others cannot hide or reorder anything, in pages and on the terminal."""

from __future__ import annotations

import unicodedata

import pytest

from flows.terminal.plain import line, plain
from pipeline.visible import visible

_JOINERS = "\u200c\u200d"


def test_no_character_that_hides_or_reorders_remains() -> None:
    everything = map(chr, range(0x110000))
    hidden = [one for one in everything if unicodedata.category(one) in ("Cc", "Cf", "Zl", "Zp", "Cs")]
    left = {one for one in hidden if one in visible(one)} - set(_JOINERS) - set("\n\t")
    assert {hex(ord(one)) for one in left if unicodedata.category(one) != "Cf"} == set()
    # Signs of Arabic, Syriac, Kaithi, hieroglyphs and shorthand are seen, or join what is seen.
    assert not [one for one in left if unicodedata.bidirectional(one) in ("BN", "LRM", "RLM") and ord(one) < 0x10000]


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("a\u202egnp.exe", "a<U+202E>gnp.exe"),
        ("\u2066红\u2069\u200e\u200f\u061c", "<U+2066>红<U+2069><U+200E><U+200F><U+061C>"),
        ("\x1b[2J\x7f\x9b", "␛[2J␡<U+009B>"),
        ("a\u200bb\ufeff\u00ad", "a<U+200B>b<U+FEFF><U+00AD>"),
        ("\U000e0041", "<U+E0041>"),
        ("👩\u200d🍳 🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f 葛\U000e0100\t\n", None),
    ],
)
def test_signs(text: str, seen: str | None) -> None:
    assert visible(text) == (text if seen is None else seen)
    assert plain(text).plain == visible(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("红色 \n连衣裙", "红色 连衣裙"),
        ("红色连衣裙" * 9, "红色连衣裙…"),
        ("abcdefghijkl", "abcdefghijkl"),
        ("a" * 13, f"{'a' * 11}…"),
    ],
)
def test_a_line_is_cut_at_its_width_on_the_terminal(text: str, shown: str) -> None:
    assert line(text, 12).plain == shown
