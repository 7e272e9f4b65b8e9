"""All pages of the reference."""

from __future__ import annotations

from docs.generate.api import api_pages
from docs.generate.command_line import command_pages
from docs.generate.configuration import configuration_pages
from docs.generate.metrics import metrics_pages
from docs.generate.outcomes import outcome_pages


def reference_pages() -> dict[str, str]:
    """Markdown by the page's path on the site."""
    return command_pages() | configuration_pages() | outcome_pages() | metrics_pages() | api_pages()
