"""Credentials in addresses: refused in the configuration, removed from addresses in source tables."""

from __future__ import annotations

import re

import pytest

from pipeline.config import RunConfig, parse
from pipeline.credentials import without_credentials
from pipeline.errors import ConfigError
from pipeline.storage import printable

WITH_CREDENTIALS = [
    "https://user:s3cret@host/a.tar",
    "https://s3cret@host/a.tar",
    "https://a@s3cret@host/a.tar",
    "s3://s3cret@bucket/a",
    "simplecache::https://s3cret@host/a.tar",
    "sftp://me:s3cret@host/a",
    "https://b.s3.amazonaws.com/a.tar?X-Amz-Date=1&X-Amz-Signature=s3cret",
    "https://b.s3.amazonaws.com/a.tar?x-amz-credential=s3cret",
    "https://storage.googleapis.com/b/a.tar?X-Goog-Signature=s3cret",
    "https://a.blob.core.windows.net/c/a.tar?sv=1&sig=s3cret",
    "https://b.s3.amazonaws.com/a.tar?AWSAccessKeyId=me&Signature=s3cret",
    "https://b.oss-cn-hangzhou.aliyuncs.com/a.tar?OSSAccessKeyId=s3cret",
]
WITHOUT_CREDENTIALS = [
    "/data/a@b/c?sig=1",
    "https://host/a.tar?design=1&v=2",
    "https://host/@user/a.tar",
    "s3://bucket/a@b/c",
    "s3://bucket/shard-?.tar",
    "abfs://container@account.dfs.core.windows.net/a",
    "sftp://me@host/a",
]


def test_a_server_that_checks_the_schema_refuses_the_same_addresses() -> None:
    schema = RunConfig.model_json_schema()["$defs"]
    patterns = {
        schema["SourceConfig"]["properties"]["uris"]["items"]["pattern"],
        schema["ModelConfig"]["properties"]["name"]["pattern"],
        schema["OutputConfig"]["properties"]["uri"]["pattern"],
    }
    (pattern,) = patterns
    assert [uri for uri in WITH_CREDENTIALS if re.search(pattern, uri)] == []
    assert [uri for uri in [*WITHOUT_CREDENTIALS, ""] if not re.search(pattern, uri)] == []


@pytest.mark.parametrize("uri", WITH_CREDENTIALS)
@pytest.mark.parametrize(
    ("section", "key"), [("source", "uris"), ("output", "uri"), ("model", "name"), ("cluster", "address")]
)
def test_credentials_in_the_configuration_are_refused_and_not_repeated(uri: str, section: str, key: str) -> None:
    with pytest.raises(ConfigError, match="give credentials in the environment instead") as raised:
        parse({section: {key: [uri] if key == "uris" else uri}})
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("uri", WITHOUT_CREDENTIALS)
def test_addresses_without_credentials_are_unchanged(uri: str) -> None:
    assert parse({"source": {"uris": [uri]}}).source.uris == (uri,)
    assert without_credentials(uri) == uri


@pytest.mark.parametrize("uri", WITH_CREDENTIALS)
def test_stored_and_printed_addresses_have_no_credentials(uri: str) -> None:
    assert "s3cret" not in without_credentials(uri)
    assert "s3cret" not in printable(uri)
    assert without_credentials(uri).startswith(uri.partition("://")[0])


def test_a_presigned_address_keeps_its_path() -> None:
    assert without_credentials("https://u:p@h:8080/a/b.jpg?w=1&sig=x") == "https://h:8080/a/b.jpg"
