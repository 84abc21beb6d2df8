"""The models by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from liqserver.models import (
    binance_standard,
    ensemble,
    funding_adjusted,
    openinterest,
    position_book,
    pyliqmap,
    time_evolving,
)
from liqserver.models.market import Market, Timeline
from liqserver.models.parameters import Parameters, ParameterSpec, resolve, with_hazards


@dataclass(frozen=True, slots=True)
class Model:
    """A model: what it is, what it takes, what it needs, how to get its timeline on a market.

    Attributes
    ----------
    id, description, source, limits : str
        For users: name, what it is, where it comes from, what is known to be wrong with it.
    parameters : tuple of ParameterSpec
        The parameters it has a use for.
    defaults : Parameters
        Their defaults.
    needs_open_interest : bool
        Whether it cannot do without open interest.
    needs_trades : bool
        Whether it cannot do without trades; else candles can stand in for them.
    has_time_axis : bool
        Whether what it shows evolves from one moment to the next, rather than being selected anew at each.
    sees_open_intervals : bool
        Whether it shows what came since the last whole interval (``BookTimeline.with_pending``).
    timeline : callable
        (market, parameters in force) to a ``Timeline``.
    original : Parameters or None
        Defaults with ``compat=original``.
    """

    id: str
    description: str
    source: str
    limits: str
    parameters: tuple[ParameterSpec, ...]
    defaults: Parameters
    needs_open_interest: bool
    needs_trades: bool
    has_time_axis: bool
    timeline: Callable[[Market, Parameters], Timeline]
    original: Parameters | None = None
    sees_open_intervals: bool = False

    def resolve(self, given: Parameters) -> Parameters:
        """Return the parameters in force; raises ``ParameterError`` as ``models.parameters.resolve`` does."""
        return with_hazards(resolve(given, self.defaults, self.parameters, self.id, self.original))


DEFAULT_MODEL = position_book.ID

MODELS: dict[str, Model] = {
    model.id: model
    for model in (
        Model(
            id=position_book.ID,
            description=position_book.DESCRIPTION,
            source=position_book.SOURCE,
            limits=position_book.LIMITS,
            parameters=position_book.PARAMETERS,
            defaults=position_book.DEFAULTS,
            needs_open_interest=True,
            needs_trades=False,
            has_time_axis=True,
            timeline=position_book.BookTimeline,
            sees_open_intervals=True,
        ),
        Model(
            id=time_evolving.ID,
            description=time_evolving.DESCRIPTION,
            source=time_evolving.SOURCE,
            limits=time_evolving.LIMITS,
            parameters=time_evolving.PARAMETERS,
            defaults=time_evolving.DEFAULTS,
            needs_open_interest=True,
            needs_trades=False,
            has_time_axis=True,
            timeline=time_evolving.TimeEvolvingTimeline,
            original=time_evolving.ORIGINAL,
        ),
        Model(
            id=openinterest.ID,
            description=openinterest.DESCRIPTION,
            source=openinterest.SOURCE,
            limits=openinterest.LIMITS,
            parameters=openinterest.PARAMETERS,
            defaults=openinterest.DEFAULTS,
            needs_open_interest=True,
            needs_trades=False,
            has_time_axis=False,
            timeline=openinterest.OpenInterestTimeline,
            original=openinterest.ORIGINAL,
        ),
        Model(
            id=binance_standard.ID,
            description=binance_standard.DESCRIPTION,
            source=binance_standard.SOURCE,
            limits=binance_standard.LIMITS,
            parameters=binance_standard.PARAMETERS,
            defaults=binance_standard.DEFAULTS,
            needs_open_interest=False,
            needs_trades=True,
            has_time_axis=False,
            timeline=binance_standard.StandardTimeline,
            original=binance_standard.ORIGINAL,
        ),
        Model(
            id=funding_adjusted.ID,
            description=funding_adjusted.DESCRIPTION,
            source=funding_adjusted.SOURCE,
            limits=funding_adjusted.LIMITS,
            parameters=funding_adjusted.PARAMETERS,
            defaults=funding_adjusted.DEFAULTS,
            needs_open_interest=False,
            needs_trades=True,
            has_time_axis=False,
            timeline=funding_adjusted.FundingTimeline,
            original=funding_adjusted.ORIGINAL,
        ),
        Model(
            id=pyliqmap.ID,
            description=pyliqmap.DESCRIPTION,
            source=pyliqmap.SOURCE,
            limits=pyliqmap.LIMITS,
            parameters=pyliqmap.PARAMETERS,
            defaults=pyliqmap.DEFAULTS,
            needs_open_interest=False,
            needs_trades=True,
            has_time_axis=False,
            timeline=pyliqmap.PyliqmapTimeline,
            original=pyliqmap.ORIGINAL,
        ),
        Model(
            id=ensemble.ID,
            description=ensemble.DESCRIPTION,
            source=ensemble.SOURCE,
            limits=ensemble.LIMITS,
            parameters=ensemble.PARAMETERS,
            defaults=ensemble.DEFAULTS,
            needs_open_interest=True,
            needs_trades=True,
            has_time_axis=False,
            timeline=ensemble.EnsembleTimeline,
            original=ensemble.ORIGINAL,
        ),
    )
}
