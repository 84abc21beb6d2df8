"""The position book and the kernel that advances it. Pure: numpy and numba only, no I/O, no clock.

History in, book out: ``History`` holds what happened, ``PositionBook`` who is still open where,
``advance`` is the only code that changes a book. Live, history, what-if and backtest are drivers of it.
"""

from liqserver.kernel.advance import AUDIT_COLUMNS, advance, warm_up
from liqserver.kernel.book import BookParameters, BookParametersError, PackedBook, PositionBook, start_book
from liqserver.kernel.history import History, HistoryError, Source

__all__ = [
    "AUDIT_COLUMNS",
    "BookParameters",
    "BookParametersError",
    "History",
    "HistoryError",
    "PackedBook",
    "PositionBook",
    "Source",
    "advance",
    "start_book",
    "warm_up",
]
