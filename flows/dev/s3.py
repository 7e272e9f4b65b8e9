"""The S3 server of a stack: SeaweedFS as one process on loopback.

In: its folder, first port and secrets. Out: its command line and environment, that of its clients, a bucket.
"""

from __future__ import annotations

import json
from pathlib import Path

from flows.dev.state import Secrets, write_private

REGION = "us-east-1"


def command(program: str, folder: Path, port: int, secrets: Secrets) -> tuple[str, ...]:
    """Write the server's configuration; returns its command line. It uses nine ports from `port` on."""
    data = folder / "data"
    data.mkdir(exist_ok=True)
    keys = {"accessKey": secrets.s3_key, "secretKey": secrets.s3_secret}
    identity = {"name": "hanclip", "credentials": [keys], "actions": ["Admin"]}
    write_private(folder / "s3.json", json.dumps({"identities": [identity]}))
    return (
        *(program, "-logtostderr=true", "mini", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
        *(f"-s3.port={port}", f"-s3.port.grpc={port + 1}", f"-s3.config={folder}/s3.json"),
        *("-s3.port.iceberg=0", "-s3.port.lance=0", f"-master.port={port + 2}", f"-master.port.grpc={port + 3}"),
        *(f"-volume.port={port + 4}", f"-volume.port.grpc={port + 5}", f"-filer.port={port + 6}"),
        *(f"-filer.port.grpc={port + 7}", f"-admin.port={port + 8}", "-volume.max=100"),
        *(f"-filer.localSocket={folder}/filer.sock", f"-s3.localSocket={folder}/s3.sock"),
        *("-master.volumeSizeLimitMB=1024", "-master.telemetry=false", "-webdav=false", "-admin.ui=false"),
    )


def server_env(secrets: Secrets) -> dict[str, str]:
    """What makes the server's other HTTP ports refuse whoever has no key; they would write and delete otherwise."""
    keys = ("JWT_SIGNING_KEY", "JWT_FILER_SIGNING_KEY", "JWT_FILER_SIGNING_READ_KEY")
    return {f"WEED_{key}": secrets.s3_internal for key in keys}


def remove_sockets(folder: Path, port: int) -> None:
    """Remove the sockets that a killed server leaves in its folder and in /tmp, which it uses whatever TMPDIR is."""
    for path in folder.glob("*.sock"):
        path.unlink(missing_ok=True)
    for used in (*range(port, port + 9), port + 10_008):
        for path in Path("/tmp").glob(f"seaweedfs-*-grpc-{used}.sock"):
            path.unlink(missing_ok=True)


def client_env(port: int, secrets: Secrets) -> dict[str, str]:
    """The environment variables that AWS tools read."""
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": secrets.s3_key,
        "AWS_SECRET_ACCESS_KEY": secrets.s3_secret,
        "AWS_REGION": REGION,
    }


def make_bucket(port: int, secrets: Secrets, name: str) -> None:
    """Create a bucket; an existing one is left unchanged."""
    from botocore.exceptions import ClientError
    from botocore.session import Session

    client = Session().create_client(
        "s3",
        REGION,
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id=secrets.s3_key,
        aws_secret_access_key=secrets.s3_secret,
    )
    try:
        client.create_bucket(Bucket=name)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("BucketAlreadyExists", "BucketAlreadyOwnedByYou"):
            raise
