import os
from pathlib import Path

import pytest
from hypothesis import settings

# A machine under load is no failure of a property; pytest's own timeout stops what hangs.
settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real market data; tests that need it are skipped where it is missing."""
    folder = Path(os.environ.get("LIQSERVER_SHARED_DATA", REPOSITORY / ".." / "shared" / "data")).resolve()
    if not folder.is_dir():
        pytest.skip(f"no market data at {folder}: set LIQSERVER_SHARED_DATA")
    return folder
