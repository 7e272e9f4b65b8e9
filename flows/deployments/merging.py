"""Merges new defaults into what a server holds, without losing changes made on the server.

A three-way merge of plain values: what was deployed last, what the server holds now, what is to be deployed. A value
that is still as it was deployed takes the new default; a value that differs was changed by an operator and stays.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final


class _Absent:
    def __repr__(self) -> str:
        return "ABSENT"


#: Stands for a key that a side lacks, which differs from a key that is null.
ABSENT: Final = _Absent()


def merge(deployed: Any, held: Any, new: Any) -> Any:
    """The value to store on the server.

    Args:
        deployed: the value of the last deploy; ABSENT if unknown, in which case the server's value stays.
        held: the server's value.
        new: the default to deploy.
    """
    if not (isinstance(held, dict) and isinstance(new, dict)):
        return new if held == deployed else held
    before = deployed if isinstance(deployed, dict) else {}
    keys = dict.fromkeys([*new, *held])
    found = {key: merge(before.get(key, ABSENT), held.get(key, ABSENT), new.get(key, ABSENT)) for key in keys}
    return {key: value for key, value in found.items() if value is not ABSENT}


def differences(held: Any, new: Any, path: str = "") -> Iterator[str]:
    """The dotted paths at which two trees differ. No values: they may be private."""
    if isinstance(held, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*new, *held]):
            yield from differences(held.get(key, ABSENT), new.get(key, ABSENT), f"{path}.{key}" if path else str(key))
    elif held != new:
        yield path
