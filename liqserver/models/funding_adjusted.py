"""Large trades as positions, with the leverage mix of the side that pays funding tilted to lower leverage."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from liqserver.models import binance_standard
from liqserver.models.binance_standard import StandardTimeline
from liqserver.models.market import Market, ModelLevels
from liqserver.models.parameters import Compat, Parameters, ParameterSpec, number

ID = "funding_adjusted"

DESCRIPTION = (
    "binance_standard with another leverage mix on the side that pays funding, longs when the rate settled last is "
    "positive: the weight of leverage L is multiplied by L^(-funding_tilt * |rate per 8 hours| / 0.01 %) and the mix "
    "made to add up to 1 again. Funding is paid on notional, so it costs a position a share of its margin that grows "
    "with leverage. Prices of levels and the sum of each entry stay."
)
SOURCE = (
    "Idea of LiquidationHeatmap's funding_adjusted; the tilt is ours. compat=original: instead of the mix, levels of "
    "longs are multiplied by 1 + 10 * rate and of shorts by 1 - 10 * rate, which no rule of an exchange does."
)
LIMITS = (
    "As binance_standard. The tilt's size is a guess, not fitted. The rate is the one settled last, however long ago; "
    "a rate of exactly 0 is not recorded as a settlement, so the one before stands. The hours a rate is for are taken "
    "from the time between settlements. compat=original: a shifted level may end up on the wrong side of the price."
)

RATE_UNIT = 1e-4
ORIGINAL_SHIFT = 10.0

DEFAULTS = replace(binance_standard.DEFAULTS, funding_tilt=0.02)
ORIGINAL = binance_standard.ORIGINAL
FUNDING_TILT = ParameterSpec(
    "funding_tilt",
    "c of L^(-c * |rate per 8 hours| / 0.01 %), the factor on the paying side's weight of leverage L.",
    *number(0, 1),
    in_original=False,
)
PARAMETERS = (*binance_standard.PARAMETERS[:-1], FUNDING_TILT, binance_standard.PARAMETERS[-1])


class FundingTimeline:
    """Entries with the mix that funding leaves, at any moment; see ``liqserver.models.market.Timeline``.

    Parameters
    ----------
    market : Market
    parameters : Parameters
        In force, complete.
    standard : StandardTimeline, optional
        On the same market with the same parameters, to share its entries.
    """

    def __init__(self, market: Market, parameters: Parameters, standard: StandardTimeline | None = None) -> None:
        self._standard = standard or StandardTimeline(market, parameters, ID)
        self._original = parameters.compat is Compat.ORIGINAL
        self._tilt = float(parameters.funding_tilt or 0.0)

    def at(self, ts: int, *, by_tier: bool = True) -> ModelLevels:
        """Return the levels as of ``ts`` (UNIX nanoseconds).

        Raises
        ------
        MissingDetail
            If no settlement was known, and as ``StandardTimeline.at`` does.
        ParameterError
            As ``StandardTimeline.at`` does.
        """
        standard = self._standard
        moment = standard.moment(ts)
        rate, per_eight_hours = standard.readings.funding(moment)
        weight = np.stack([standard.weight, standard.weight])
        if self._original:
            return standard.weighted(moment, weight, (1 + ORIGINAL_SHIFT * rate, 1 - ORIGINAL_SHIFT * rate))
        payer = 0 if rate > 0 else 1
        weight[payer] = tilted(standard.weight, standard.leverage, self._tilt * abs(per_eight_hours) / RATE_UNIT)
        return standard.weighted(moment, weight)


def tilted(weight: NDArray[np.float64], leverage: NDArray[np.float64], exponent: float) -> NDArray[np.float64]:
    """Return ``weight * leverage ** -exponent``, adding up to 1 again; shapes (T,)."""
    # Relative to the lowest leverage: of an extreme rate something is left to add up.
    moved = weight * (leverage / leverage[weight > 0].min()) ** -exponent
    return np.asarray(moved / moved.sum())
