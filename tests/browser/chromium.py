"""The system's Chromium, and which tests need it."""

import os
import shutil

import pytest

_FOUND = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
CHROMIUM = next((path for path in _FOUND if path), "")
"""Its path; empty where there is none."""
needs_chromium = pytest.mark.skipif(
    # Where it was installed for the tests, its absence is a failure.
    not CHROMIUM and "LIQSERVER_NEED_CHROMIUM" not in os.environ,
    reason="there is no Chromium on the PATH to show pages in: `make chromium`",
)
