from __future__ import annotations

import pytest

from flows.options.timezones import zone
from pipeline.errors import ConfigError


def test_a_zone_is_found_by_its_name() -> None:
    assert zone("Asia/Shanghai").key == "Asia/Shanghai"


@pytest.mark.parametrize(
    ("typed", "suggested"),
    [
        ("Asia/Beijing", "use Asia/Shanghai."),
        ("beijing", "use Asia/Shanghai."),
        ("UTC+8", "use Asia/Shanghai."),
        ("CST", "use Asia/Shanghai or America/Chicago."),
        ("asia/shanghai", "use Asia/Shanghai."),
        ("Asia/Shangai", "use Asia/Shanghai."),
        ("Berlin", "use Europe/Berlin."),
        ("new york", "use America/New_York."),
        ("../../etc/passwd", "use a name such as"),
        ("", "use a name such as"),
    ],
)
def test_a_wrong_name_gets_suggestions_in_one_line(typed: str, suggested: str) -> None:
    with pytest.raises(ConfigError, match="is not a time zone") as refused:
        zone(typed)
    assert suggested in str(refused.value)
    assert len(str(refused.value)) < 150
