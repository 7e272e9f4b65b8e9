"""The value of a pair in the authors' LMDB: a pickled tuple `(image_id, text_id, text)`, read without unpickling.

Unpickling would run whatever the file says. These few opcodes can only give numbers, strings and one tuple of them, for
every pickle protocol from 2 on; any other opcode is an error.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final

Value = int | str

_NUMBERS: Final = {ord("J"): struct.Struct("<i"), ord("K"): struct.Struct("<B"), ord("M"): struct.Struct("<H")}
_STRINGS: Final = {ord("X"): struct.Struct("<I"), 0x8C: struct.Struct("<B"), 0x8D: struct.Struct("<Q")}
#: Opcodes without a meaning for this value, and the bytes of their arguments: protocol, frame, what is remembered.
_SKIPPED: Final = {0x80: 1, 0x95: 8, 0x94: 0, ord("q"): 1, ord("r"): 4}
_LONG, _TUPLE, _STOP = 0x8A, 0x87, ord(".")


@dataclass(frozen=True, slots=True)
class Pair:
    """A text and one image that it describes."""

    image_id: str
    text_id: str
    text: str


def parse_pair(data: bytes) -> Pair:
    """The pair in a value.

    Raises:
        ValueError: the value is anything else than such a tuple.
    """
    match _tuple(_Bytes(data)):
        case [int() | str() as image_id, int() | str() as text_id, str() as text]:
            return Pair(str(image_id), str(text_id), text)
        case _:
            raise ValueError("it is no tuple of image_id, text_id and text")


@dataclass(slots=True)
class _Bytes:
    data: bytes
    at: int = field(default=0)

    def take(self, count: int) -> bytes:
        """The next bytes, all of them."""
        if count > len(self.data) - self.at:
            raise ValueError("it ends in the middle")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, form: struct.Struct) -> int:
        """The next bytes as a number."""
        return int(form.unpack(self.take(form.size))[0])


def _tuple(left: _Bytes) -> list[Value]:
    """The three values that a pickle puts into its tuple."""
    stack: list[Value] = []
    while (code := left.take(1)[0]) != _TUPLE:
        if code in _NUMBERS:
            stack.append(left.number(_NUMBERS[code]))
        elif code in _STRINGS:
            stack.append(left.take(left.number(_STRINGS[code])).decode("utf-8"))
        elif code == _LONG:
            stack.append(int.from_bytes(left.take(left.take(1)[0]), "little", signed=True))
        elif code in _SKIPPED:
            left.take(_SKIPPED[code])
        else:
            raise ValueError(f"it holds the pickle opcode 0x{code:02x}, which no pair needs")
    while (code := left.take(1)[0]) != _STOP:
        if code not in _SKIPPED:
            raise ValueError(f"it holds the pickle opcode 0x{code:02x} behind its tuple")
        left.take(_SKIPPED[code])
    if left.at < len(left.data):
        raise ValueError("it goes on behind its end")
    return stack
