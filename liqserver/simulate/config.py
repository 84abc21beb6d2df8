"""What a simulated market is made of: every number the simulation uses, with its unit."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from datetime import UTC, date, datetime, timedelta
from typing import Any

from .scenarios import SCENARIOS

DAY_SECONDS = 86_400
# Mark price and orders advance once a second.
STEP_SECONDS = 1

# BTCUSDT on Binance since 2025-08-21: notional cap (USDT), maintenance margin rate, max leverage.
# The maintenance amount follows from continuity and is computed where it is needed.
BTCUSDT_BRACKETS: tuple[tuple[float, float, float], ...] = (
    (300_000, 0.004, 150),
    (800_000, 0.005, 100),
    (3_000_000, 0.0065, 75),
    (12_000_000, 0.01, 50),
    (70_000_000, 0.02, 25),
    (100_000_000, 0.025, 20),
    (230_000_000, 0.05, 10),
    (480_000_000, 0.10, 5),
    (600_000_000, 0.125, 4),
    (800_000_000, 0.15, 3),
    (1_200_000_000, 0.25, 2),
    (1_800_000_000, 0.50, 1),
)

# Leverage: share of traders who choose it. Round numbers are popular, odd ones rare.
LEVERAGE_MIX: tuple[tuple[int, float], ...] = (
    (1, 0.04),
    (2, 0.06),
    (3, 0.11),
    (5, 0.17),
    (7, 0.02),
    (10, 0.22),
    (15, 0.03),
    (20, 0.12),
    (25, 0.05),
    (30, 0.015),
    (50, 0.075),
    (75, 0.03),
    (100, 0.045),
    (125, 0.015),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulationConfig:
    """A simulated market; all defaults together look like a small BTCUSDT.

    Shares and probabilities lie in [0, 1], prices and notionals are in quote units (USDT), quantities in base
    units (BTC), volatilities are standard deviations of log returns.

    Parameters
    ----------
    symbol : str
        Symbol the files are written for, capital letters and digits.
    start : date
        First UTC day written.
    days : int
        Days written, 1 to 3660.
    seed : int
        Seed of every random draw, 0 to 2**63 - 1.
    start_price : float
        Price where the warm-up begins, quote units.
    tick_size, lot_size : float
        Smallest step of price (quote units) and of quantity (base units); decimal powers such as 0.1.
    warmup_days : int
        Days simulated before ``start`` and not written, so that the first written day has a grown book.
    trades_per_day : int
        Aggregated trades per average day.
    open_interest : float
        Contracts open on average, base units; the market scales with it.
    turnover : float
        Traded volume per day as a multiple of ``open_interest``.
    brackets : tuple of (float, float, float)
        Notional cap (quote units), maintenance margin rate, max leverage of each bracket, ascending in notional.
    daily_volatility : float
        Volatility of news per day; impact and jumps come on top.
    volatility_slow_sd, volatility_fast_sd : float
        Standard deviation of the two parts of log volatility.
    volatility_slow_days, volatility_fast_hours : float
        Relaxation times of these parts, days and hours.
    jumps_per_day : float
        Rate of news that moves price within minutes, per day.
    jump_size : float
        Mean absolute log move of such news.
    depth_share : float
        Net taker flow that moves price by one percent, as a share of daily volume.
    permanent_impact : float
        Share of impact that the index keeps; the rest fades within minutes.
    trader_share, hedger_share : float
        Share of open positions held by directional traders and by hedgers; market makers hold the rest.
    market_makers : int
        Number of market-making accounts.
    median_notional : float
        Median notional of a trader's position at 10x, quote units.
    notional_sigma : float
        Standard deviation of the log of this notional.
    notional_leverage_exponent : float
        Median notional goes with (leverage / 10) to minus this power.
    leverage_mix : tuple of (int, float)
        Leverage and the share of traders who choose it; shares are normalised.
    leverage_calm_tilt : float
        In a calm market leverage L is chosen more often, by (L / 10) to the power of this times the fall of log
        volatility.
    hedger_notional : float
        Median notional of a hedger's position, quote units.
    hedger_hold_days : float
        Median time a hedger holds, days.
    hold_hours : float
        Median time a trader at 10x means to hold, hours.
    hold_leverage_exponent : float
        Median holding time goes with (leverage / 10) to minus this power.
    hold_sigma : float
        Standard deviation of the log of the holding time: the heavy tail.
    trend_share, contrarian_share : float
        Share of traders who follow the last hours' move and who bet against it; the rest have no opinion.
    trend_strength : float
        Weight of that opinion: log odds per standard deviation of the move.
    long_bias : float
        Log odds of going long in a flat market.
    cross_share : float
        Share of traders on cross margin.
    cross_wallet_multiple : float
        Median of a cross wallet in multiples of the initial margin (at least 1).
    passive_share : float
        Share of entries by limit order: then the other side is the taker.
    stop_share, take_profit_share : float
        Share of traders with a stop loss and with a take profit.
    add_margin_share : float
        Share of traders who add margin once when price has come most of the way to their liquidation price.
    funding_from_margin_share : float
        Share of isolated traders whose funding is paid from the position's margin.
    self_excitation : float
        Share of arrivals that other arrivals of the last minutes brought about.
    average_down_share : float
        Share of traders who double their position once when price has come half of the way to their liquidation price.
    volume_noise : float
        Standard deviation of the log of how much market makers trade with each other, beyond what follows activity;
        it changes over half a day.
    random_levels : bool
        Negative control: a trader's level always lies the same distance, drawn at random, from the mark price of the
        moment, whoever opened where. Nobody is liquidated.
    scenario : str
        What the market goes through, of ``liqserver.simulate.scenarios.SCENARIOS``.
    book_minutes : int
        Minutes between records of the true book; a divisor of 1440.
    liquidation_feed_limit : bool
        Write at most one liquidation per second, as the exchange's feed does; the truth has all.
    """

    symbol: str = "BTCUSDT"
    start: date = date(2025, 9, 1)
    days: int = 3
    seed: int = 1
    start_price: float = 100_000.0
    tick_size: float = 0.1
    lot_size: float = 0.001
    warmup_days: int = 5
    trades_per_day: int = 100_000
    open_interest: float = 5_000.0
    turnover: float = 3.0
    brackets: tuple[tuple[float, float, float], ...] = BTCUSDT_BRACKETS
    daily_volatility: float = 0.021
    volatility_slow_sd: float = 0.35
    volatility_slow_days: float = 4.0
    volatility_fast_sd: float = 0.30
    volatility_fast_hours: float = 2.0
    jumps_per_day: float = 0.8
    jump_size: float = 0.008
    depth_share: float = 0.03
    permanent_impact: float = 0.5
    trader_share: float = 0.6
    hedger_share: float = 0.15
    market_makers: int = 30
    median_notional: float = 13_000.0
    notional_sigma: float = 1.35
    notional_leverage_exponent: float = 0.25
    leverage_mix: tuple[tuple[int, float], ...] = LEVERAGE_MIX
    leverage_calm_tilt: float = 0.5
    hedger_notional: float = 150_000.0
    hedger_hold_days: float = 5.0
    hold_hours: float = 10.0
    hold_leverage_exponent: float = 0.7
    hold_sigma: float = 1.4
    trend_share: float = 0.45
    contrarian_share: float = 0.3
    trend_strength: float = 0.8
    long_bias: float = 0.1
    cross_share: float = 0.5
    cross_wallet_multiple: float = 4.0
    passive_share: float = 0.45
    stop_share: float = 0.35
    take_profit_share: float = 0.4
    add_margin_share: float = 0.12
    funding_from_margin_share: float = 0.3
    self_excitation: float = 0.35
    average_down_share: float = 0.0
    volume_noise: float = 0.0
    random_levels: bool = False
    scenario: str = "plain"
    book_minutes: int = 60
    liquidation_feed_limit: bool = True

    def __post_init__(self) -> None:
        """Refuse what the simulation cannot mean.

        Raises
        ------
        ValueError
            Naming the field, its value and what is allowed.
        TypeError
            If a whole number or a date was asked for and something else came.
        """
        if not (isinstance(self.symbol, str) and 2 <= len(self.symbol) <= 32 and self.symbol.isascii()):
            raise ValueError(_message("symbol", self.symbol, "2 to 32 capital letters and digits"))
        if not (self.symbol.isalnum() and self.symbol == self.symbol.upper()):
            raise ValueError(_message("symbol", self.symbol, "2 to 32 capital letters and digits"))
        if not isinstance(self.start, date) or isinstance(self.start, datetime):
            raise TypeError(_message("start", self.start, "a date"))
        if not date(2025, 1, 1) <= self.start <= date(2200, 1, 1):
            raise ValueError(_message("start", self.start, "2025-01-01 (files have headers since) to 2200-01-01"))
        for name, low, high in _WHOLE:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(_message(name, value, f"a whole number from {low} to {high}"))
            if not low <= value <= high:
                raise ValueError(_message(name, value, f"{low} to {high}"))
        for name, ok, allowed in _REAL:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(_message(name, value, f"a number, {allowed}"))
            if not (math.isfinite(value) and ok(value)):
                raise ValueError(_message(name, value, allowed))
        for name in ("random_levels", "liquidation_feed_limit"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(_message(name, getattr(self, name), "True or False"))
        if self.scenario not in SCENARIOS:
            raise ValueError(_message("scenario", self.scenario, ", ".join(SCENARIOS)))
        if 1440 % self.book_minutes:
            raise ValueError(_message("book_minutes", self.book_minutes, "a divisor of the 1440 minutes of a day"))
        for name in ("tick_size", "lot_size"):
            exponent = math.log10(getattr(self, name))
            if abs(exponent - round(exponent)) > 1e-9 or not -8 <= round(exponent) <= 0:
                raise ValueError(_message(name, getattr(self, name), "1, 0.1, 0.01 … 1e-08"))
        if self.start_price < 1000 * self.tick_size:
            raise ValueError(_message("start_price", self.start_price, f"at least 1000 ticks of {self.tick_size}"))
        if self.trader_share + self.hedger_share > 0.95:
            raise ValueError(
                _message(
                    "trader_share", self.trader_share, "together with hedger_share at most 0.95 (makers hold the rest)"
                )
            )
        if self.trend_share + self.contrarian_share > 1:
            raise ValueError(_message("trend_share", self.trend_share, "together with contrarian_share at most 1"))
        self._check_brackets()
        self._check_leverage_mix()

    def _check_brackets(self) -> None:
        _check_rows("brackets", self.brackets, "(cap, maintenance rate, max leverage)", 3)
        before = (0.0, 0.0, math.inf)
        for bracket in self.brackets:
            if not (all(math.isfinite(x) and x > 0 for x in bracket) and bracket[1] < 1):
                raise ValueError(_message("brackets", bracket, "positive cap, maintenance rate below 1, max leverage"))
            if not (bracket[0] > before[0] and bracket[1] > before[1] and bracket[2] < before[2]):
                raise ValueError(_message("brackets", bracket, "cap and rate rising, max leverage falling"))
            before = bracket

    def _check_leverage_mix(self) -> None:
        highest = self.brackets[0][2]
        _check_rows("leverage_mix", self.leverage_mix, "(leverage, share)", 2)
        for leverage, share in self.leverage_mix:
            if not (isinstance(leverage, int) and 1 <= leverage <= highest):
                raise ValueError(_message("leverage_mix", leverage, f"whole leverage from 1 to {highest:g}"))
            if not (math.isfinite(share) and share >= 0):
                raise ValueError(_message("leverage_mix", share, "shares of at least 0"))
        if not sum(share for _, share in self.leverage_mix) > 0:
            raise ValueError(_message("leverage_mix", self.leverage_mix, "shares that are not all 0"))

    @property
    def price_decimals(self) -> int:
        """Decimals of a price."""
        return -round(math.log10(self.tick_size))

    @property
    def qty_decimals(self) -> int:
        """Decimals of a quantity."""
        return -round(math.log10(self.lot_size))

    @property
    def start_ms(self) -> int:
        """First written instant, ms since 1970 UTC."""
        return day_ms(self.start)

    @property
    def end(self) -> date:
        """First UTC day that is no longer written."""
        return self.start + timedelta(days=self.days)

    def as_dict(self) -> dict[str, Any]:
        """Return all fields as plain values, the date in ISO form."""
        out = asdict(self)
        out["start"] = self.start.isoformat()
        return out


def day_ms(day: date) -> int:
    """Return the start of a UTC day in ms since 1970."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000


def _check_rows(name: str, rows: object, row: str, length: int) -> None:
    allowed = f"at least one {row}, all numbers"
    if not isinstance(rows, tuple) or not rows:
        raise ValueError(_message(name, rows, allowed))
    for one in rows:
        if not (isinstance(one, tuple) and len(one) == length and all(isinstance(x, int | float) for x in one)):
            raise ValueError(_message(name, one, allowed))


def _message(name: str, value: object, allowed: str) -> str:
    return f"{name} was {value!r}; allowed: {allowed}"


_WHOLE: tuple[tuple[str, int, int], ...] = (
    ("days", 1, 3660),
    ("seed", 0, 2**63 - 1),
    ("warmup_days", 0, 365),
    ("trades_per_day", 100, 20_000_000),
    ("market_makers", 4, 1000),
    ("book_minutes", 1, 1440),
)


def _positive(x: float) -> bool:
    return x > 0


def _not_negative(x: float) -> bool:
    return x >= 0


def _share(x: float) -> bool:
    return 0 <= x <= 1


_REAL: tuple[tuple[str, Callable[[float], bool], str], ...] = (
    *((name, _positive, "above 0") for name in ("start_price", "tick_size", "lot_size", "median_notional")),
    *((name, _positive, "above 0") for name in ("hedger_notional", "hedger_hold_days", "hold_hours")),
    *((name, _positive, "above 0") for name in ("volatility_slow_days", "volatility_fast_hours")),
    *((name, _not_negative, "at least 0") for name in ("hold_leverage_exponent", "notional_leverage_exponent")),
    ("open_interest", lambda x: 10 <= x <= 10_000_000, "10 to 10 000 000 base units"),
    ("turnover", lambda x: 0.1 <= x <= 100, "0.1 to 100 times open interest per day"),
    ("daily_volatility", lambda x: 0 < x <= 0.5, "above 0, at most 0.5"),
    ("volatility_slow_sd", lambda x: 0 <= x <= 1, "0 to 1"),
    ("volatility_fast_sd", lambda x: 0 <= x <= 1, "0 to 1"),
    ("jumps_per_day", lambda x: 0 <= x <= 100, "0 to 100"),
    ("jump_size", lambda x: 0 <= x <= 0.2, "0 to 0.2"),
    ("depth_share", lambda x: 0.005 <= x <= 10, "0.005 to 10 of daily volume"),
    ("notional_sigma", lambda x: 0 <= x <= 3, "0 to 3"),
    ("hold_sigma", lambda x: 0 <= x <= 2.5, "0 to 2.5"),
    ("leverage_calm_tilt", lambda x: -2 <= x <= 2, "-2 to 2"),
    ("trend_strength", lambda x: 0 <= x <= 5, "0 to 5"),
    ("long_bias", lambda x: -3 <= x <= 3, "-3 to 3"),
    ("cross_wallet_multiple", lambda x: 1 <= x <= 1000, "1 to 1000"),
    ("volume_noise", lambda x: 0 <= x <= 3, "0 to 3"),
    ("self_excitation", lambda x: 0 <= x <= 0.9, "0 to 0.9"),
    ("permanent_impact", _share, "0 to 1"),
    ("trader_share", lambda x: 0.05 <= x <= 0.95, "0.05 to 0.95"),
    ("hedger_share", lambda x: 0 <= x <= 0.9, "0 to 0.9"),
    *(
        (name, _share, "0 to 1")
        for name in (
            "trend_share",
            "contrarian_share",
            "cross_share",
            "passive_share",
            "stop_share",
            "take_profit_share",
            "add_margin_share",
            "average_down_share",
            "funding_from_margin_share",
        )
    ),
)

assert {name for name, *_ in (*_WHOLE, *_REAL)} <= {f.name for f in fields(SimulationConfig)}  # noqa: S101
