"""The models by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from liqserver.models import position_book
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
    timeline : callable
        (market, parameters in force) to a ``Timeline``.
    """

    id: str
    description: str
    source: str
    limits: str
    parameters: tuple[ParameterSpec, ...]
    defaults: Parameters
    needs_open_interest: bool
    timeline: Callable[[Market, Parameters], Timeline]

    def resolve(self, given: Parameters) -> Parameters:
        """Return the parameters in force; raises ``ParameterError`` as ``models.parameters.resolve`` does."""
        return with_hazards(resolve(given, self.defaults, self.parameters, self.id))


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
            timeline=position_book.BookTimeline,
        ),
    )
}
