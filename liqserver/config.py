"""Settings shared by all entry points."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 50051
DEFAULT_DASHBOARD_PORT = 8050
DEFAULT_TARGET = f"{DEFAULT_HOST}:{DEFAULT_PORT}"
DEFAULT_VENUE = "BINANCE"


def default_db() -> Path:
    """Path of the database: ``LIQSERVER_DB``, else a file in the user's data folder."""
    named = os.environ.get("LIQSERVER_DB")
    if named:
        return Path(named)
    return Path(platformdirs.user_data_dir("liqserver", appauthor=False)) / "liqserver.duckdb"
