"""What the errors of all databases have in common: the words, and that no credential is in them."""

from __future__ import annotations

from pipeline.errors import RunError, UsageError


def unreachable(dest: str, error: BaseException) -> RunError:
    """The error for a database that does not answer, or stopped to."""
    return RunError(
        f"The database at {dest} does not answer ({_first_line(error)}): check that it runs, and the address; then run "
        "the same command again, which goes on."
    )


def refused(dest: str, credentials: str) -> UsageError:
    """The error for wrong or missing credentials."""
    return UsageError(f"The database at {dest} refused the credentials: set {credentials} in the environment.")


def too_large(dest: str) -> RunError:
    """The error for a request with more bytes than the database takes."""
    return RunError(
        f"The database at {dest} takes no request of so many bytes: send fewer rows at once with --batch-rows. The "
        "same command goes on."
    )


def rejected(dest: str, error: BaseException) -> RunError:
    """The error for a request that the database answers with an error."""
    return RunError(
        f"The database at {dest} refused a request ({_first_line(error)}). Correct that, then run the same command "
        "again, which goes on."
    )


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:200] or type(error).__name__
