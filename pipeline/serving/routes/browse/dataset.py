"""All routes of a dataset: searches, rows and pictures."""

from __future__ import annotations

from fastapi import APIRouter

from pipeline.serving.routes import search
from pipeline.serving.routes.browse import rows
from pipeline.serving.search.searching import Searching
from pipeline.serving.server import Server
from pipeline.serving.settings import SearchSettings


def router(searching: Searching, settings: SearchSettings, server: Server) -> APIRouter:
    """The routes."""
    found = search.router(searching, settings, server)
    found.routes.extend(rows.router(searching, server).routes)
    return found
