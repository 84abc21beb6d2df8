"""Light client of liqserver: at which prices will how much leveraged interest be liquidated?

>>> import liqclient
>>> with liqclient.Client() as client:  # doctest: +SKIP
...     levels = client.levels("BTCUSDT", as_of="2025-10-10T21:20:00Z")
...     levels.price, levels.long, levels.short

`Client` and `AsyncClient` have the same methods. Errors are below `LiqClientError`.
"""

from liqclient._aio import AsyncClient
from liqclient._answers import (
    BookTotals,
    KindCoverage,
    Levels,
    ModelInfo,
    ParameterInfo,
    Provenance,
    SymbolCoverage,
    SymbolInfo,
    TierLevels,
    Watermark,
)
from liqclient._channel import Keepalive
from liqclient._client import Client
from liqclient._errors import (
    Cancelled,
    DeadlineExceeded,
    FailedPrecondition,
    FieldViolation,
    Internal,
    InvalidAnswer,
    InvalidArgument,
    LiqClientError,
    NotFound,
    OutOfRange,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)
from liqclient._types import (
    DataKind,
    LeverageTier,
    MarginFormula,
    Parameters,
    PriceRange,
    Side,
    Time,
    Unit,
)

__all__ = [
    "AsyncClient",
    "BookTotals",
    "Cancelled",
    "Client",
    "DataKind",
    "DeadlineExceeded",
    "FailedPrecondition",
    "FieldViolation",
    "Internal",
    "InvalidAnswer",
    "InvalidArgument",
    "Keepalive",
    "KindCoverage",
    "Levels",
    "LeverageTier",
    "LiqClientError",
    "MarginFormula",
    "ModelInfo",
    "NotFound",
    "OutOfRange",
    "ParameterInfo",
    "Parameters",
    "PermissionDenied",
    "PriceRange",
    "Provenance",
    "ResourceExhausted",
    "Side",
    "SymbolCoverage",
    "SymbolInfo",
    "TierLevels",
    "Time",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "Unit",
    "Watermark",
]
