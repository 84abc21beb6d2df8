"""Figures of a backtest, and the page that shows them."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import plotly.graph_objects as go
from nautilus_trader.backtest.engine import BacktestEngine
from plotly.subplots import make_subplots

from liqclient.nt import LiquidationLevels
from liqclient.plot import THEMES

_THEME = THEMES["safe"]
STATEMENT = (
    "An example of using liquidation levels in a backtest, not advice: fills are simulated, and so few trades show "
    "nothing about the next ones."
)


@dataclass(frozen=True)
class Trade:
    """A closed position: times in UNIX nanoseconds, prices and net result in quote units."""

    side: str
    opened: int
    closed: int
    entry: float
    exit: float
    pnl: float
    fees: float


@dataclass(frozen=True)
class Result:
    """What a backtest came to."""

    name: str
    orders: int
    filled: int
    open_at_end: int
    trades: list[Trade] = field(default_factory=list)

    @classmethod
    def of(cls, name: str, engine: BacktestEngine) -> Result:
        """Collect it from an engine that has run."""
        trades = [
            Trade(
                side="long" if of.entry.name == "BUY" else "short",
                opened=of.ts_opened,
                closed=of.ts_closed,
                entry=of.avg_px_open,
                exit=of.avg_px_close,
                pnl=of.realized_pnl.as_double(),
                fees=sum(fee.as_double() for fee in of.commissions()),
            )
            for of in sorted(engine.cache.positions_closed(), key=lambda of: of.ts_closed)
        ]
        orders = engine.cache.orders()
        return cls(
            name, len(orders), sum(of.filled_qty > 0 for of in orders), len(engine.cache.positions_open()), trades
        )

    @property
    def equity(self) -> np.ndarray:
        """Sum of results after each trade."""
        return np.cumsum([trade.pnl for trade in self.trades])

    def figures(self) -> dict[str, str]:
        """Return what a reader wants to know, in words."""
        pnl = [trade.pnl for trade in self.trades]
        equity = np.concatenate([[0.0], self.equity])
        won = sum(value > 0 for value in pnl)
        return {
            "orders": f"{self.orders} ({self.filled} filled)",
            "trades": f"{len(pnl)}" + (f", {self.open_at_end} open at the end" if self.open_at_end else ""),
            "won": f"{won} ({won / len(pnl):.0%})" if pnl else "-",
            "PnL after fees": f"{sum(pnl):+,.2f}",
            "fees": f"{sum(trade.fees for trade in self.trades):,.2f}",
            "mean PnL of a trade": f"{np.mean(pnl):+,.2f}" if pnl else "-",
            "deepest drawdown": f"{(np.maximum.accumulate(equity) - equity).max():,.2f}",
        }


type Path = Sequence[tuple[int, float]]


def page(title: str, about: str, results: Sequence[Result], path: Path, levels: Sequence[LiquidationLevels]) -> str:
    """Return the tear sheet as a page that needs no network; ``path`` is the price over time."""
    names = list(results[0].figures())
    head = "".join(f"<th>{html.escape(of.name)}</th>" for of in results)
    rows = "".join(
        f"<tr><td>{html.escape(name)}</td>" + "".join(f"<td>{of.figures()[name]}</td>" for of in results) + "</tr>"
        for name in names
    )
    figure = _figure(results, path, levels).to_html(full_html=False, include_plotlyjs=True, div_id="figure")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>"
        f"body{{font:14px/1.5 Arial,Helvetica,sans-serif;color:{_THEME.text};margin:16px;max-width:1200px}}"
        "table{border-collapse:collapse}"
        f"td,th{{padding:2px 16px 2px 0;text-align:right;border-bottom:1px solid {_THEME.grid}}}"
        "td:first-child,th:first-child{text-align:left}</style></head><body>"
        f"<h1>{html.escape(title)}</h1><p>{html.escape(about)}</p><p><b>{html.escape(STATEMENT)}</b></p>"
        f"<table><tr><th></th>{head}</tr>{rows}</table>{figure}</body></html>"
    )


def _figure(results: Sequence[Result], path: Path, levels: Sequence[LiquidationLevels]) -> go.Figure:
    figure = make_subplots(
        rows=3,
        cols=1,
        shared_xaxes=True,
        vertical_spacing=0.05,
        row_heights=[0.5, 0.25, 0.25],
        subplot_titles=(
            f"price, nearest clusters, and trades {results[0].name}",
            "sum of results after fees, quote units",
            f"result of each trade {results[0].name}, quote units",
        ),
    )
    clusters = {
        "longs": (_THEME.long, [(of.ts_init, of.cluster_below()) for of in levels]),
        "shorts": (_THEME.short, [(of.ts_init, of.cluster_above()) for of in levels]),
    }
    for side, (colour, found) in clusters.items():
        there = [(ts, cluster) for ts, cluster in found if cluster is not None]
        figure.add_scatter(
            x=_times([ts for ts, _ in there]),
            y=[cluster.peak for _, cluster in there],
            mode="markers",
            marker={"symbol": "square", "size": 4, "color": _THEME.shade(colour, 0.45)},
            name=f"nearest cluster of {side}",
            row=1,
            col=1,
        )
    figure.add_scatter(
        x=_times([ts for ts, _ in path]),
        y=[price for _, price in path],
        mode="lines",
        line={"width": 1, "color": _THEME.price},
        name="price",
        row=1,
        col=1,
    )
    for trade_side, colour, symbol in (("long", _THEME.short, "triangle-up"), ("short", _THEME.long, "triangle-down")):
        chosen = [trade for trade in results[0].trades if trade.side == trade_side]
        figure.add_scatter(
            x=_times([trade.opened for trade in chosen]),
            y=[trade.entry for trade in chosen],
            mode="markers",
            marker={"symbol": symbol, "size": 10, "color": colour, "line": {"width": 1, "color": _THEME.text}},
            name=f"entry {trade_side}",
            row=1,
            col=1,
        )
    exits = results[0].trades
    figure.add_scatter(
        x=_times([trade.closed for trade in exits]),
        y=[trade.exit for trade in exits],
        mode="markers",
        marker={"symbol": "x", "size": 7, "color": _THEME.text},
        name="exit",
        row=1,
        col=1,
    )
    start, end = path[0][0], path[-1][0]
    for of, colour in zip(results, (_THEME.short, _THEME.closed), strict=True):
        figure.add_scatter(
            x=_times([start, *(trade.closed for trade in of.trades), end]),
            y=[0.0, *of.equity, of.equity[-1] if of.trades else 0.0],
            mode="lines",
            line={"color": colour, "shape": "hv", "width": 2},
            name=of.name,
            row=2,
            col=1,
        )
    figure.add_bar(
        x=_times([trade.closed for trade in exits]),
        y=[trade.pnl for trade in exits],
        width=6 * 3_600_000,
        marker={"color": [_THEME.short if trade.pnl > 0 else _THEME.long for trade in exits]},
        name="result",
        showlegend=False,
        row=3,
        col=1,
    )
    figure.update_layout(
        template="plotly_white",
        height=900,
        margin={"l": 60, "r": 16, "t": 40, "b": 40},
        legend={"orientation": "h", "y": -0.06},
        font={"color": _THEME.text},
    )
    return figure


def _times(ts: Sequence[int]) -> np.ndarray:
    return (np.asarray(ts, dtype=np.int64) // 1000).astype("datetime64[us]")
