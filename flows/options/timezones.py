"""Time zones by name; a wrong name gets suggestions."""

from __future__ import annotations

from difflib import get_close_matches
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pipeline.errors import ConfigError

#: What people type whose city or country names no zone.
_MEANT = {
    "Asia/Shanghai": (
        *("beijing", "peking", "china", "prc", "cst", "utc+8", "utc+08:00", "gmt+8", "guangzhou", "shenzhen"),
        *("hangzhou", "chengdu", "wuhan", "nanjing", "tianjin"),
    ),
    "Asia/Kolkata": ("mumbai", "delhi", "bangalore", "india", "ist"),
    "America/Los_Angeles": ("san_francisco", "seattle", "pst", "pdt"),
    "America/New_York": ("boston", "washington", "est", "edt"),
    "America/Chicago": ("cst", "cdt", "dallas", "houston"),
    "Europe/Berlin": ("munich", "hamburg", "frankfurt", "germany"),
}


def zone(name: str) -> ZoneInfo:
    """The time zone `name`.

    Raises:
        ConfigError: there is none; the message suggests some.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        names = " or ".join(_suggestions(name)) or "a name such as Asia/Shanghai, Europe/Paris or UTC"
        raise ConfigError(f"{name!r} is not a time zone: use {names}.") from error


def _suggestions(name: str) -> list[str]:
    """The zones that are meant, else up to three that are spelt alike: as a whole, else by their city."""
    typed = name.strip().replace(" ", "_").lower()
    city = typed.rpartition("/")[2]
    if meant := [right for right, wrong in _MEANT.items() if typed in wrong or city in wrong]:
        return meant
    zones = {zone.lower(): zone for zone in sorted(available_timezones())}
    cities = {zone.rpartition("/")[2]: right for zone, right in zones.items()}
    if typed in zones:
        return [zones[typed]]
    near = get_close_matches(typed, zones, n=3, cutoff=0.85)
    return [zones[one] for one in near] or [cities[one] for one in get_close_matches(city, cities, n=3, cutoff=0.75)]
