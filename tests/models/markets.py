"""Markets for the tests of models."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from liqserver.models.market import Candles, SizedFlow, Trades

_NO_TIMES = np.empty(0, dtype=np.int64)
_NOTHING = np.empty(0)
_NO_SIDES = np.empty(0, dtype=bool)


@dataclass(frozen=True)
class GivenDetails:
    """Details in memory; empty unless given."""

    given_candles: Candles = field(
        default_factory=lambda: Candles(_NO_TIMES, _NOTHING, _NOTHING, _NOTHING, _NOTHING, _NOTHING)
    )
    given_trades: Trades = field(default_factory=lambda: Trades(_NO_TIMES, _NOTHING, _NOTHING, _NO_SIDES))
    given_flow: SizedFlow = field(
        default_factory=lambda: SizedFlow(
            _NO_TIMES, _NOTHING, _NOTHING, _NO_TIMES, np.empty(0, dtype=np.uint8), _NO_SIDES
        )
    )

    def candles(self) -> Candles:
        return self.given_candles

    def large_trades(self) -> Trades:
        return self.given_trades

    def sized_flow(self) -> SizedFlow:
        return self.given_flow
