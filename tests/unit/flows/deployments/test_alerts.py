"""The file of alerts is valid, and wrong addresses are refused without showing them."""

from __future__ import annotations

import pytest

from flows.deployments.alerts import VARIABLE, check_webhook
from pipeline.errors import ConfigError


@pytest.mark.parametrize("url", ["hooks.example.com/secret", "ftp://host/secret", "http:///secret", "http://[secret"])
def test_a_wrong_address_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ConfigError, match=VARIABLE) as refused:
        check_webhook(url)
    assert "secret" not in str(refused.value)


def test_an_address_may_have_a_path_and_a_query() -> None:
    check_webhook("https://hooks.example.com:8443/services/T0/B0?token=x")
