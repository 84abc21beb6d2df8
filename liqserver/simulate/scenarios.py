"""What a market goes through: the course of news and of the crowd, by name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Phase:
    """A time in which a market differs from its configuration; it ends where the next phase begins.

    Attributes
    ----------
    begins : float
        When it begins, as a share of the days written. The first phase begins at 0 and holds in the warm-up, too.
    after_hours : float
        Hours added to that.
    drift_per_hour : float
        Drift of the news, log return an hour.
    volatility, jumps : float
        Factors on the volatility of news and on the rate of jumps.
    pace : float
        Factor on arrivals; holding times are divided by it, so that open interest stays as it is.
    long_bias : float
        Added to the log odds of going long.
    leverage_tilt : float
        Leverage L is chosen more often, by (L / 10) to this power.
    swapped : bool
        Whether as many bet against the trend as followed it, and the other way round.
    """

    begins: float = 0.0
    after_hours: float = 0.0
    drift_per_hour: float = 0.0
    volatility: float = 1.0
    jumps: float = 1.0
    pace: float = 1.0
    long_bias: float = 0.0
    leverage_tilt: float = 0.0
    swapped: bool = False


SCENARIOS: dict[str, tuple[Phase, ...]] = {
    "plain": (Phase(),),
    "calm": (Phase(volatility=0.5, jumps=0.25),),
    # A quarter to a third in a month.
    "trend": (Phase(drift_per_hour=0.01 / 24, volatility=0.8),),
    # A fifth in ten hours, three days of unrest.
    "crash": (
        Phase(),
        Phase(begins=2 / 3, drift_per_hour=-0.022, volatility=2.5, pace=1.5),
        Phase(begins=2 / 3, after_hours=10, volatility=1.6),
        Phase(begins=2 / 3, after_hours=82),
    ),
    # A crowd of shorts in a slow fall is surprised by a seventh in six hours.
    "squeeze": (
        Phase(drift_per_hour=-0.004 / 24, long_bias=-0.7),
        Phase(begins=2 / 3, drift_per_hour=0.022, volatility=2.0, pace=1.5),
        Phase(begins=2 / 3, after_hours=6, volatility=1.3),
    ),
    # Other people: faster, less leverage, against the trend where they were with it, in a wilder market.
    "regime": (
        Phase(),
        Phase(begins=2 / 3, volatility=1.7, jumps=1.5, pace=2.0, leverage_tilt=-0.4, swapped=True),
    ),
}
"""The phases of each scenario, in order."""


def phase_at(scenario: str, days: int, hour: int) -> Phase:
    """Return the phase that hour ``hour`` of ``days`` written days lies in; negative hours are those of the warm-up."""
    found = SCENARIOS[scenario][0]
    for phase in SCENARIOS[scenario][1:]:
        if hour >= phase.begins * days * 24 + phase.after_hours:
            found = phase
    return found
