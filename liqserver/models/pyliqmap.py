"""Taker trades selected by size, with levels at fixed distances; as py-liquidation-map has it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from liqserver.margin import bankruptcy_price
from liqserver.models.market import LARGE_TRADE, Market, ModelLevels
from liqserver.models.parameters import (
    COMPAT,
    DAY,
    LOOKBACK,
    Compat,
    ParameterError,
    Parameters,
    ParameterSpec,
    Tier,
    number,
)
from liqserver.models.selection import (
    Entries,
    Readings,
    as_levels,
    placed,
    require_trades,
    size_threshold,
    trades_of_size,
    window,
)
from liqserver.models.tiers import SIDES, TIERS_WITHOUT_HAZARD, leverages, shares

ID = "pyliqmap"

DESCRIPTION = (
    "Taker trades of the lookback, selected on either side by exactly one of gross_value (at least this notional), "
    "top_n (the largest so many) and portion (the largest fraction). A buy is a long with levels 1/L below its price, "
    "a sell a short with levels 1/L above, divided over the tiers; what lies below, or above, the last price is shown."
)
SOURCE = (
    "py-liquidation-map: leverage 100, 50, 25, 10 at 1, 2, 4, 10 % of the entry price. compat=original: the full "
    "amount at each of the four, so every trade counts four times."
)
LIMITS = (
    "The distance 1/L is where margin is used up, not where the exchange liquidates: maintenance margin is left out. "
    "Positions that were closed, or liquidated by a price that came back, are still shown; every taker counts as "
    "opening. Trades below 100 000 are not kept singly, so top_n and portion are refused when they would reach there."
)

_TIERS = tuple(Tier(leverage, 1.0) for leverage in (100.0, 50.0, 25.0, 10.0))
DEFAULTS = Parameters(tiers=_TIERS, lookback=DAY, gross_value=LARGE_TRADE, compat=Compat.NONE)
ORIGINAL = replace(DEFAULTS, compat=Compat.ORIGINAL)
GROSS_VALUE = size_threshold("gross_value", "Smallest notional of a trade that counts, quote units.")
_MOST = 10**9
PARAMETERS = (
    LOOKBACK,
    replace(GROSS_VALUE, instead_of=("top_n", "portion")),
    ParameterSpec(
        "top_n",
        "How many of the largest trades of either side count.",
        f"must be a whole number from 1 to {_MOST}, as far down as trades are kept singly",
        lambda value: isinstance(value, int) and 1 <= value <= _MOST,
        instead_of=("gross_value", "portion"),
    ),
    ParameterSpec(
        "portion",
        "Which fraction of the trades of either side counts, largest first.",
        f"{number(0, 1, open_low=True)[0]}, as far down as trades are kept singly",
        number(0, 1, open_low=True)[1],
        instead_of=("gross_value", "top_n"),
    ),
    replace(TIERS_WITHOUT_HAZARD, in_original=False),
    COMPAT,
)


class PyliqmapTimeline:
    """Selected trades with their levels at any moment; see ``liqserver.models.market.Timeline``."""

    def __init__(self, market: Market, parameters: Parameters) -> None:
        self._market = market
        self._readings = Readings(market)
        self._lookback = int(parameters.lookback or 0)
        self._leverage = leverages(parameters)
        weight = np.ones(len(self._leverage)) if parameters.compat is Compat.ORIGINAL else shares(parameters)
        self._weight = np.stack([weight, weight])
        self._ratio = np.stack([bankruptcy_price(side, 1.0, self._leverage) for side in SIDES])
        self._entries = trades_of_size(
            market.details, LARGE_TRADE if parameters.gross_value is None else parameters.gross_value
        )
        self._top_n = parameters.top_n
        self._portion = parameters.portion
        if self._top_n is not None or self._portion is not None:
            flow = market.details.sized_flow()
            self._flow_known_at = flow.known_at
            buys = np.where(flow.taker_buy, flow.count, 0)
            self._counted = [np.concatenate([[0], np.cumsum(count)]) for count in (buys, flow.count - buys)]

    def at(self, ts: int, *, by_tier: bool = True) -> ModelLevels:
        """Return the levels as of ``ts`` (UNIX nanoseconds).

        Raises
        ------
        MissingDetail
            If no price or no trades were known.
        ParameterError
            If ``top_n`` or ``portion`` reaches trades that are not kept singly.
        """
        moment = self._readings.at(ts)
        first, stop = window(self._entries.known_at, ts, self._lookback)
        if first == stop:
            require_trades(self._market, ts, self._lookback, ID)
        entries = self._entries.where(slice(first, stop))
        if self._top_n is not None or self._portion is not None:
            entries = self._largest(entries, ts)
        level = entries.price[:, None] * self._ratio[np.where(entries.long, 0, 1)]
        bound = np.full(len(entries), moment.price)
        grid = placed(level, bound, entries.qty, entries.long, self._weight, self._market.base_bin)
        return as_levels(self._market, moment, self._leverage, grid, "")

    def _largest(self, entries: Entries, ts: int) -> Entries:
        """Return the largest of ``entries`` of either side, as many as were asked for; of equals the earlier ones."""
        first, stop = window(self._flow_known_at, ts, self._lookback)
        by_side = [np.flatnonzero(entries.long), np.flatnonzero(~entries.long)]
        traded = [int(counted[stop] - counted[first]) for counted in self._counted]
        # A side whose every trade is kept singly has no trade too small to be selected.
        partly = [side for side in range(2) if len(by_side[side]) < traded[side]]
        if self._portion is not None:
            wanted = [math.floor(self._portion * count + 1e-9) for count in traded]
        else:
            wanted = [int(self._top_n or 0)] * 2
        if any(wanted[side] > len(by_side[side]) for side in partly):
            if self._portion is not None:
                most = min(len(by_side[side]) / traded[side] for side in partly)
                # Cut, not rounded: what the message names must be allowed.
                shown, field, was = f"{math.floor(most * 1e9) / 1e9:.9g}", "portion", repr(self._portion)
            else:
                shown, field, was = f"{min(len(by_side[side]) for side in partly)}", "top_n", repr(self._top_n)
            raise ParameterError(
                field,
                was,
                f"but of this lookback at most {shown} is exact on both sides: only trades of at least {LARGE_TRADE:g} "
                "are kept singly",
            )
        chosen = [
            rows[np.argsort(-entries.notional[rows], kind="stable")[:count]]
            for rows, count in zip(by_side, wanted, strict=True)
        ]
        return entries.where(np.sort(np.concatenate(chosen)))
