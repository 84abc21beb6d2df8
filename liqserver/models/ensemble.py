"""A weighted mean of three models' shapes, scaled to open interest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from liqserver.models import binance_standard, funding_adjusted, pyliqmap
from liqserver.models.market import LARGE_TRADE, Market, ModelLevels, Timeline
from liqserver.models.parameters import COMPAT, DAY, LOOKBACK, Compat, MarginFormula, Parameters, resolve
from liqserver.models.selection import Readings, as_levels
from liqserver.models.tiers import MARGIN_FORMULA, TIERS_WITHOUT_HAZARD

ID = "ensemble"

DESCRIPTION = (
    "Levels of binance_standard, funding_adjusted and pyliqmap, each made to add up to 1 over both sides, then added "
    "with weights 50, 30 and 20 % bin by bin, the sum scaled to the current open interest. A component that shows no "
    "level at all leaves its weight to the others."
)
SOURCE = (
    "The weights LiquidationHeatmap declares. compat=original: 62.5 and 37.5 % of the first two, as the original "
    "computes them, because it never built the third. Its sum of prices per leverage and side is not reproduced: it "
    "is no price."
)
LIMITS = (
    "For comparison. As its components: levels of positions long closed are still shown. Scaling to open interest "
    "says that all of it has a level in range on one side or the other, which it has not; longs and shorts together "
    "add up to it, although each side holds as much. The weights were never fitted."
)

WEIGHTS = (0.5, 0.3, 0.2)
ORIGINAL_WEIGHTS = (0.625, 0.375)

DEFAULTS = Parameters(
    lookback=7 * DAY,
    whale_threshold=LARGE_TRADE,
    gross_value=LARGE_TRADE,
    margin_formula=MarginFormula.EXACT,
    funding_tilt=funding_adjusted.DEFAULTS.funding_tilt,
    compat=Compat.NONE,
)
ORIGINAL = Parameters(lookback=7 * DAY, whale_threshold=LARGE_TRADE, compat=Compat.ORIGINAL)
PARAMETERS = (
    replace(LOOKBACK, description=f"{LOOKBACK.description} Of all components."),
    replace(
        binance_standard.WHALE_THRESHOLD,
        description=f"{binance_standard.WHALE_THRESHOLD.description} In binance_standard and funding_adjusted.",
    ),
    replace(pyliqmap.GROSS_VALUE, description=f"{pyliqmap.GROSS_VALUE.description} In pyliqmap.", in_original=False),
    replace(TIERS_WITHOUT_HAZARD, description="Leverage tiers of all components; without, each has its own."),
    replace(MARGIN_FORMULA, in_original=False),
    funding_adjusted.FUNDING_TILT,
    COMPAT,
)


class EnsembleTimeline:
    """The mean of the components at any moment; see ``liqserver.models.market.Timeline``."""

    def __init__(self, market: Market, parameters: Parameters) -> None:
        self._market = market
        self._readings = Readings(market)
        large = Parameters(
            lookback=parameters.lookback,
            tiers=parameters.tiers,
            compat=parameters.compat,
            whale_threshold=parameters.whale_threshold,
            margin_formula=parameters.margin_formula,
        )
        standard = binance_standard.StandardTimeline(
            market,
            resolve(
                large, binance_standard.DEFAULTS, binance_standard.PARAMETERS, ID, original=binance_standard.ORIGINAL
            ),
            ID,
        )
        funded = resolve(
            replace(large, funding_tilt=parameters.funding_tilt),
            funding_adjusted.DEFAULTS,
            funding_adjusted.PARAMETERS,
            ID,
            original=funding_adjusted.ORIGINAL,
        )
        self._components: list[Timeline] = [standard, funding_adjusted.FundingTimeline(market, funded, standard)]
        self._weights: tuple[float, ...] = ORIGINAL_WEIGHTS
        if parameters.compat is not Compat.ORIGINAL:
            selected = Parameters(
                lookback=parameters.lookback, tiers=parameters.tiers, gross_value=parameters.gross_value
            )
            self._weights = WEIGHTS
            self._components.append(
                pyliqmap.PyliqmapTimeline(
                    market, resolve(selected, pyliqmap.DEFAULTS, pyliqmap.PARAMETERS, ID, original=pyliqmap.ORIGINAL)
                )
            )

    def at(self, ts: int, *, by_tier: bool = True) -> ModelLevels:
        """Return the levels as of ``ts`` (UNIX nanoseconds).

        Raises
        ------
        MissingDetail
            If no open interest was known, and as the components do.
        ParameterError
            As the components do.
        """
        moment = self._readings.with_open_interest(ts, ID)
        parts = [component.at(ts) for component in self._components]
        leverage = np.unique(np.concatenate([part.leverage for part in parts]))
        held = np.array([part.qty.sum() for part in parts])
        weight = np.where(held > 0, self._weights, 0.0)
        shown = [part for part in parts if part.qty.size]
        first = min((part.first_bin for part in shown), default=0)
        stop = max((part.first_bin + part.qty.shape[2] for part in shown), default=0)
        qty = np.zeros((2, len(leverage), stop - first))
        for part, mass, of in zip(parts, held, weight, strict=True):
            if of > 0:
                tiers = np.searchsorted(leverage, part.leverage)
                at = part.first_bin - first
                scale = of / weight.sum() / mass * moment.open_interest
                qty[:, tiers, at : at + part.qty.shape[2]] += part.qty * scale
        return as_levels(self._market, moment, leverage, (first, qty), parts[0].bracket_table)
