"""Lists the databases of `hanclip sync --to` and loads the target module of one.

To add a database, add a module to `targets` (see `contract`), its name and its entry below, and its extra.
Only the standard library is imported here, so that `--help` can list the databases without Arrow or pydantic.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

if TYPE_CHECKING:
    from pipeline.curation.sync.contract import Connect

Database = Literal["qdrant", "pgvector", "lance", "milvus"]


class Client(NamedTuple):
    """How a database is reached.

    Attributes:
        dest: what DEST is, for the help of `--to`.
        credentials: where the client looks for credentials.
        extra: the extra with the client's package.
        batch_rows: rows of a request if the user chooses nothing.
        in_a_file: whether a local database is one file.
    """

    dest: str
    credentials: str
    extra: str
    batch_rows: int
    in_a_file: bool = False


DATABASES: dict[Database, Client] = {
    "qdrant": Client("http(s) URL of the server, or a local folder", "QDRANT_API_KEY", "sync-qdrant", 500),
    "pgvector": Client("postgresql:// URL", "PGPASSWORD or ~/.pgpass", "sync-pgvector", 2000),
    "lance": Client("folder of a LanceDB database, local or in a bucket", "the settings of AWS", "sync-lance", 20_000),
    "milvus": Client("http(s) URL of the server, or a local file NAME.db", "MILVUS_TOKEN", "sync-milvus", 500, True),
}


def connector(name: Database) -> Connect:
    """Import the module of a database and return the function that connects to it.

    Raises:
        MissingPackageError: the client's package is not installed.
    """
    from pipeline.extras import require  # keeps --help light

    require(DATABASES[name].extra)
    return cast("Connect", import_module(f"{__package__}.targets.{name}").connect)
