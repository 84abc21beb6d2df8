"""liqserver: at which prices will how much leveraged interest be liquidated?

Rooms, lower ones know nothing of higher ones: ``margin``, ``grid``, ``kernel``, ``models`` (pure),
``store`` (DuckDB), ``live`` (books in memory), ``rpc`` (gRPC), ``cli`` and ``config`` (entry points).
This file stays light: the client imports ``liqserver.v1`` without the server's dependencies.
"""

__version__ = "0.1.0"
