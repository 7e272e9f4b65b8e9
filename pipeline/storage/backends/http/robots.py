"""Reads `X-Robots-Tag`, with which servers ask robots not to use what they serve.

In: the values of the header, and the name of this robot. Out: the directive that forbids the use, if any.
"""

from __future__ import annotations

from collections.abc import Iterable

#: What an image that is embedded would be used for: AI, and an index.
_FORBIDDING = frozenset({"noai", "noimageai", "noindex", "noimageindex", "none"})
#: Directives with a value; any other word before a colon names the robot that the following directives are for.
_WITH_VALUE = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"})


def forbidding(values: Iterable[str], robot: str) -> str | None:
    """The first directive that forbids the use to `robot`: one for all robots, or for this one."""
    for value in values:
        meant = True
        for part in value.lower().split(","):
            before, colon, after = part.partition(":")
            directive = part.strip()
            if colon and before.strip() not in _WITH_VALUE:
                meant, directive = before.strip() in ("*", robot.lower()), after.strip()
            if meant and directive in _FORBIDDING:
                return directive
    return None
