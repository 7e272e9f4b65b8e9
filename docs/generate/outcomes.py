"""Describes how things end: exit codes of commands, reasons of quarantined records, and codes of the API's errors.

In: the closed sets of the code, with the words of the HTML report. Out: a page of exit codes and one of reasons.
"""

from __future__ import annotations

from docs.generate.markdown import code, page, prose, table
from pipeline.report.wording import catalog
from pipeline.serving.errors import ErrorCode
from pipeline.vocabulary import EXIT_CODES, TRANSIENT_REASONS, Reason, Stage

CODES, REASONS = "reference/exit-codes.md", "reference/reasons.md"


def outcome_pages() -> dict[str, str]:
    """The pages by their path on the site."""
    return {
        CODES: page(
            "Exit codes",
            "Of every command. An error is one line on stderr that names the cure; with `--json` it is an event on "
            "stdout, with its `exit_code`. `--debug` shows the traceback.",
            table(["exit code", "meaning"], [[code(number), prose(about)] for number, about in EXIT_CODES.items()]),
        ),
        REASONS: page(
            "Quarantine reasons",
            "A record that cannot be embedded is a row in `_quarantine/`, and the run continues. `reason` is a closed "
            f"set; `stage` is where it failed: {', '.join(code(stage) for stage in Stage)}. After a file was mended, "
            "`hanclip embed` embeds it as a changed record. `hanclip retry` tries unchanged records again, which helps "
            "where the table says *retry*.",
            table(["reason", "meaning", "cure"], map(_reason, Reason)),
            "## Error codes of the API",
            "The API answers with the same words for items of a request, and with these for what a catalog cannot "
            "have. [The API](../serve.md#errors) has their status codes.",
            ", ".join(code(one) for one in ErrorCode) + ".",
        ),
    }


def _reason(reason: Reason) -> list[str]:
    meaning, cure = (catalog()[f"reason.{reason}_{part}"]["en"] for part in ("why", "cure"))
    return [code(reason) + (" *retry*" if reason in TRANSIENT_REASONS else ""), prose(meaning), prose(cure)]
