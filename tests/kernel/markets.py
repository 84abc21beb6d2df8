"""Small markets for the tests of book and models."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from liqserver.kernel import BookParameters, History

MINUTE = 60_000_000_000
NAN = float("nan")


def parameters(
    leverage: tuple[float, ...] = (100.0, 25.0, 5.0),
    *,
    kappa: float = 0.3,
    tilt: float = 0.0,
    erosion: float = 0.0,
    trend: float = 0.0,
) -> BookParameters:
    """Tiers with the margin of the first bracket (0.4 %), equal weights, hazards by leverage."""
    lev, mmr = np.array(leverage), 0.004
    return BookParameters(
        ratio=np.stack([(1 - 1 / lev) / (1 - mmr), (1 + 1 / lev) / (1 + mmr)]),
        mmr=np.full(len(lev), mmr),
        weight=np.full(len(lev) + 1, 1 / (len(lev) + 1)),
        hazard=np.append(lev**0.7, 1.0),
        kappa=kappa,
        taker_tilt=tilt,
        funding_erosion=erosion,
        trend_tilt=trend,
    )


def history(steps: list[dict[str, object]], *, start: int = 0) -> History:
    """Return a history of one-minute steps; each is given by what differs from "nothing happened".

    Keys: low, high, close, oi, funding, flow (list of (price, buy, sell)).
    """
    flow: list[tuple[float, float, float]] = []
    offset = [0]
    for step in steps:
        flow += step.get("flow", [])  # type: ignore[operator]
        offset.append(len(flow))

    def column(name: str, default: float) -> NDArray[np.float64]:
        return np.array([step.get(name, default) for step in steps], dtype=np.float64)

    rows = np.array(flow, dtype=np.float64).reshape(-1, 3)
    return History(
        step_end=start + MINUTE * np.arange(1, len(steps) + 1, dtype=np.int64),
        mark_low=column("low", NAN),
        mark_high=column("high", NAN),
        mark_close=column("close", NAN),
        path_source=np.zeros(len(steps), dtype=np.uint8),
        open_interest=column("oi", NAN),
        funding_rate=column("funding", 0.0),
        flow_offset=np.array(offset, dtype=np.int64),
        flow_price=rows[:, 0].copy(),
        flow_buy=rows[:, 1].copy(),
        flow_sell=rows[:, 2].copy(),
        flow_source=np.zeros(len(steps), dtype=np.uint8),
    )


@st.composite
def histories(draw: st.DrawFn, *, min_steps: int = 3, max_steps: int = 60) -> History:
    """Draw rough markets: jumps, missing marks, missing open interest, empty minutes, funding."""
    steps = draw(st.integers(min_steps, max_steps))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    volatility = draw(st.sampled_from([1e-4, 1e-3, 1e-2]))
    every = draw(st.integers(1, 7))
    turnover = draw(st.sampled_from([0.0, 0.01, 0.5, 20.0]))
    swing = draw(st.sampled_from([1e-3, 0.05, 0.6]))
    price, oi = 50_000.0, 1_000.0
    out: list[dict[str, object]] = [{"oi": oi, "low": price, "high": price, "close": price}]
    for i in range(1, steps):
        step: dict[str, object] = {}
        close = price * float(np.exp(rng.normal(0, volatility)))
        low, high = min(price, close), max(price, close)
        low, high = (
            low * (1 - abs(rng.normal(0, volatility / 2))),
            high * (1 + abs(rng.normal(0, volatility / 2))),
        )
        if rng.random() < 0.9:
            step |= {"low": low, "high": high, "close": close}
        if rng.random() < 0.8:
            rows = int(rng.integers(1, 5))
            step["flow"] = [
                (float(rng.uniform(low, high)), *map(float, rng.exponential(turnover * oi / rows + 1e-9, 2)))
                for _ in range(rows)
            ]
        if rng.random() < 0.05:
            step["funding"] = float(rng.normal(0, 0.001))
        if i % every == 0:
            oi = max(oi * float(np.exp(rng.normal(0, swing))), 1e-3)
            step["oi"] = oi
        out.append(step)
        price = close
    return history(out)
