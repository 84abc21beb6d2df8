"""Names that configurations and strategies refer to."""

from __future__ import annotations

CLIENT_ID = "LIQSERVER"
"""Data client that levels come through, live and of a catalogue: ``ClientId(CLIENT_ID)`` in subscriptions."""

TOKEN_VARIABLE = "LIQSERVER_TOKEN"  # noqa: S105 - a name, no secret
"""Environment variable with the token, where a configuration has none."""
