"""`liqserver watch`: a live ladder of the levels around the price, and alerts as they happen."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Group
from rich.live import Live
from rich.text import Text

import liqclient
from liqclient._times import to_duration_nanoseconds
from liqserver import grid
from liqserver.cli.options import (
    DEFAULT_RANGE,
    OUTPUT_PANEL,
    BinSizeOption,
    CalibrationOption,
    DbOption,
    ModelOption,
    RangeOption,
    SymbolArgument,
    TargetOption,
    UnitChoice,
    UnitOption,
    VenueOption,
    connected,
    read_duration,
    with_parameters,
)
from liqserver.cli.output import (
    LONG_COLOUR,
    PRICE_COLOUR,
    SHORT_COLOUR,
    bar,
    console,
    decimals_of,
    errors_console,
    shown_amount,
    shown_span,
    shown_time,
    shown_unit,
)

_RULES_PANEL = "When to alert"
_MINUTE = 60_000_000_000
_COOLDOWN, _STALE = 5 * _MINUTE, 15 * _MINUTE
# Seconds: of the first pause before a server that is gone is tried again, and of the longest.
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
# Seconds an attempt may take.
_ATTEMPT = 5.0
_ALERTS_SHOWN = 8
# What a terminal shows beside the rows of the ladder: three lines above, eight below, and the alerts.
_OTHER_LINES = 12 + _ALERTS_SHOWN
_LEAST_ROWS = 6
_BAR = 24
_COLOURS = {"long": LONG_COLOUR, "short": SHORT_COLOUR, None: "yellow"}


class WatchFormat(StrEnum):
    """What to show."""

    LADDER = "ladder"
    LINES = "lines"
    JSON = "json"


@dataclass(frozen=True)
class Burst:
    """An interval in nanoseconds and the least amount liquidated in it."""

    interval: int
    min_amount: float


def read_burst(text: str) -> Burst:
    """Return the interval and the amount of LENGTH:AMOUNT; raises ``typer.BadParameter``."""
    length, _, amount = text.partition(":")
    try:
        return Burst(to_duration_nanoseconds(length, "length"), float(amount))
    except ValueError:
        raise typer.BadParameter(f"was {text!r}, must be a length of time and an amount, such as 5m:1e6") from None


def _rule(text: str, name: str = "", **more: Any) -> Any:  # noqa: ANN401 - what typer returns for an option
    return typer.Option(*([name] if name else []), help=text, rich_help_panel=_RULES_PANEL, **more)


@with_parameters()
def watch(
    symbol: SymbolArgument,
    venue: VenueOption = "",
    bin_size: BinSizeOption = None,
    price_range: RangeOption = DEFAULT_RANGE,
    unit: UnitOption = UnitChoice.NOTIONAL,
    model: ModelOption = "",
    calibration: CalibrationOption = "",
    *,
    parameters: liqclient.Parameters,
    near: Annotated[
        float | None, _rule("The price is within this fraction of a cluster: 0.01.", metavar="FRACTION")
    ] = None,
    near_volatility: Annotated[
        float | None,
        _rule("The same in units of the realised volatility of a day: 0.25.", metavar="NUMBER"),
    ] = None,
    formed: Annotated[bool, _rule("The nearest cluster of a side has formed.", "--formed")] = False,
    grown: Annotated[
        float | None, _rule("The nearest cluster holds more by this fraction: 0.5.", metavar="FRACTION")
    ] = None,
    swept: Annotated[bool, _rule("The price has swept a cluster.", "--swept")] = False,
    liquidations: Annotated[
        list[Burst] | None,
        _rule(
            "So much of a side is liquidated in an interval: 5m:1e6; repeat for more.",
            metavar="LENGTH:AMOUNT",
            parser=read_burst,
        ),
    ] = None,
    stale: Annotated[
        int | None, _rule("An input the model needs is older than this: 15m.", metavar="LENGTH", parser=read_duration)
    ] = None,
    min_amount: Annotated[float, _rule("Only clusters that hold so much.", metavar="NUMBER")] = 0.0,
    cooldown: Annotated[
        int,
        _rule(
            "A rule is silent about the same thing for so long. \\[default: 5m]",
            metavar="LENGTH",
            parser=read_duration,
            show_default=False,
        ),
    ] = _COOLDOWN,
    refresh: Annotated[
        float, typer.Option(help="Seconds between looks at the levels.", min=0.2, rich_help_panel=OUTPUT_PANEL)
    ] = 1.0,
    rows: Annotated[
        int | None,
        typer.Option(
            help="Rows of the ladder, at most. As many as fit if not given.", min=2, rich_help_panel=OUTPUT_PANEL
        ),
    ] = None,
    format: Annotated[
        WatchFormat | None,
        typer.Option(
            "--format",
            "-f",
            help="What to show. \\[default: ladder, lines if the output is no terminal]",
            rich_help_panel=OUTPUT_PANEL,
        ),
    ] = None,
    target: TargetOption = None,
    db: DbOption = None,
) -> None:
    """Levels as they change, and alerts as they happen, until Ctrl-C.

    Without any of the options that say when to alert: `--near 0.01 --formed --swept --stale 15m`. Clusters are those
    of the range. A server that goes away is tried again until it is back.

    For example `liqserver watch BTCUSDT --range 0.05`, or
    `liqserver watch BTCUSDT --near-volatility 0.25 --min-amount 5e6 --liquidations 5m:1e6 --format json`.

    JSON: one alert a line, times in nanoseconds. What happens to the connection is told on standard error.
    """
    rules = _Rules(near, near_volatility, formed, grown, swept, tuple(liquidations or ()), stale, min_amount, cooldown)
    shown = format or (WatchFormat.LADDER if console.is_terminal else WatchFormat.LINES)
    with connected(target, db) as client:

        def look() -> liqclient.Levels:
            return client.levels(
                symbol,
                venue=venue,
                model=model,
                bin_size=bin_size,
                price_range=price_range,
                unit=unit.value,
                derived=True,
                parameters=parameters,
                calibration=calibration,
                timeout=_ATTEMPT,
            )

        def alerts() -> Iterator[liqclient.Alert]:
            return client.watch(
                symbol,
                rules.asked(),
                venue=venue,
                model=model,
                bin_size=bin_size,
                price_range=price_range,
                unit=unit.value,
                parameters=parameters,
                calibration=calibration,
            )

        try:
            # What is wrong with the question, or that there is no server at all, ends it here.
            first = look()
            if shown is WatchFormat.LADDER:
                _Screen(first, rows, stale).run(look, lambda tell: _unending(client, alerts, rules, tell), refresh)
            else:
                for alert in _unending(client, alerts, rules, _tell_on_stderr):
                    line = json.dumps(alert.to_dict()) if shown is WatchFormat.JSON else _line(alert)
                    sys.stdout.write(line + "\n")
                    sys.stdout.flush()
        except KeyboardInterrupt:
            # The way to end it.
            return


@dataclass(frozen=True)
class _Rules:
    """What the options ask for."""

    near: float | None
    near_volatility: float | None
    formed: bool
    grown: float | None
    swept: bool
    bursts: tuple[Burst, ...]
    stale: int | None
    min_amount: float
    cooldown: int

    def asked(self) -> list[liqclient.AlertRule]:
        """Return the rules, those of the defaults where none is asked for."""
        if not (self._changes() or self.bursts or any(of is not None for of in self._others())):
            return replace(self, near=0.01, formed=True, swept=True, stale=_STALE).asked()
        conditions: dict[str, Any] = {}
        if self.near is not None:
            conditions["near"] = liqclient.NearCluster(distance=self.near, min_amount=self.min_amount)
        if self.near_volatility is not None:
            conditions["near, volatility"] = liqclient.NearCluster(
                distance_volatility=self.near_volatility, min_amount=self.min_amount
            )
        if self._changes():
            conditions["cluster"] = liqclient.ClusterChange(
                growth=0.5 if self.grown is None else self.grown, min_amount=self.min_amount
            )
        for burst in self.bursts:
            conditions[f"liquidations in {shown_span(burst.interval)} of {burst.min_amount:g}"] = (
                liqclient.LiquidationBurst(interval=burst.interval, min_amount=burst.min_amount)
            )
        if self.stale is not None:
            conditions["stale"] = liqclient.StaleData(age=self.stale)
        return [liqclient.AlertRule(name, condition, self.cooldown) for name, condition in conditions.items()]

    def wants(self, alert: liqclient.Alert) -> bool:
        """Return whether an alert is one that was asked for: one rule tells all changes of a cluster."""
        changes = self._changes() or {"cluster formed", "cluster swept"}
        return not alert.kind.startswith("cluster ") or alert.kind in changes

    def _changes(self) -> set[str]:
        asked = {"cluster formed": self.formed, "cluster grew": self.grown is not None, "cluster swept": self.swept}
        return {kind for kind, wanted in asked.items() if wanted}

    def _others(self) -> tuple[float | None, ...]:
        return self.near, self.near_volatility, self.stale


def _unending(
    client: liqclient.Client,
    alerts: Callable[[], Iterator[liqclient.Alert]],
    rules: _Rules,
    tell: Callable[[str], None],
) -> Iterator[liqclient.Alert]:
    """Yield alerts; when the server is gone, tell so, and try again and again with longer and longer pauses.

    ``tell`` is given what is wrong, and an empty text when it is so no more.
    """
    pause, gone = _FIRST_PAUSE, False
    while True:
        try:
            if gone:
                client.wait_ready(_ATTEMPT)
                tell("")
                pause, gone = _FIRST_PAUSE, False
            for alert in alerts():
                if rules.wants(alert):
                    yield alert
            raise liqclient.Unavailable("the server has ended the stream")
        except liqclient.Unavailable as error:
            gone = True
            tell(f"{error.message}; trying again in {pause:g} s")
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)


def _tell_on_stderr(trouble: str) -> None:
    errors_console.print(Text(f"server gone: {trouble}" if trouble else "server is back", style="yellow"))


def _line(alert: liqclient.Alert) -> str:
    return f"{_clock(alert.sent_at)} {alert.kind}: {alert.message}"


def _clock(ts: int) -> str:
    return datetime.fromtimestamp(ts / 1e9, tz=UTC).strftime("%H:%M:%SZ")


class _Screen:
    """The ladder on a terminal, drawn anew at each look and at each alert."""

    def __init__(self, levels: liqclient.Levels, rows: int | None, stale: int | None) -> None:
        self._levels = levels
        self._stale = stale
        self._rows = rows
        self._alerts: deque[liqclient.Alert] = deque(maxlen=_ALERTS_SHOWN)
        self._told = 0
        self._trouble = ""
        self._failure: Exception | None = None
        self._changed = threading.Event()

    def run(
        self,
        look: Callable[[], liqclient.Levels],
        alerts: Callable[[Callable[[str], None]], Iterator[liqclient.Alert]],
        refresh: float,
    ) -> None:
        """Draw until something goes wrong that trying again does not mend."""
        threading.Thread(target=self._listen, args=(alerts,), daemon=True).start()
        next_look = time.monotonic() + refresh
        with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
            while True:
                live.update(self._drawn(), refresh=True)
                self._changed.wait(max(next_look - time.monotonic(), 0.0))
                self._changed.clear()
                if self._failure is not None:
                    raise self._failure
                if time.monotonic() >= next_look:
                    # Who listens tells when the server is gone.
                    with suppress(liqclient.Unavailable, liqclient.DeadlineExceeded):
                        self._levels = look()
                    next_look = time.monotonic() + refresh

    def _listen(self, alerts: Callable[[Callable[[str], None]], Iterator[liqclient.Alert]]) -> None:
        try:
            for alert in alerts(self._tell):
                self._alerts.append(alert)
                self._told += 1
                self._changed.set()
        except liqclient.Cancelled:
            # The client was closed: it is over.
            return
        except Exception as error:  # for the one who draws
            self._failure = error
            self._changed.set()

    def _tell(self, trouble: str) -> None:
        self._trouble = trouble
        self._changed.set()

    def _drawn(self) -> Group:
        levels, where = self._levels, self._levels.provenance
        title = Text.assemble(
            (f"{where.venue}:{where.symbol} ", "bold"),
            (f"{where.current_price:,.10g}", PRICE_COLOUR),
            f" {where.current_price_source}, as of {shown_time(where.as_of)}",
        )
        about = Text(f"{where.model}, clusters in bins of {levels.bin_size:g}, {shown_unit(levels.unit)}", style="dim")
        ladder = self._ladder()
        lines = [title, about, *ladder, *self._figures(), *self._age(), Text(), *self._last_alerts()]
        for line in lines:
            line.no_wrap, line.overflow = True, "ellipsis"
        return Group(*lines)

    def _ladder(self) -> list[Text]:
        levels, price = self._levels, self._levels.current_price
        most = self._rows or max(console.height - _OTHER_LINES, _LEAST_ROWS)
        low, high = float(levels.price.min(initial=price)), float(levels.price.max(initial=price)) + levels.bin_size
        width = _row_width(high - low, most, levels.bin_size)
        row = np.floor(levels.price / width + 1e-9).astype(np.int64)
        first, last = int(np.floor(low / width + 1e-9)), int(np.ceil(high / width - 1e-9)) - 1
        sums = np.zeros((2, last - first + 1))
        np.add.at(sums[0], row - first, levels.long)
        np.add.at(sums[1], row - first, levels.short)
        biggest = float(sums.max(initial=0.0))
        decimals = decimals_of(width)
        out = [Text(f"{'price':>12} {'distance':>9} {'long':>9} {'short':>9}", style="dim")]
        here = int(np.floor(price / width + 1e-9))
        for i in range(last, first - 1, -1):
            edge, long, short = i * width, float(sums[0, i - first]), float(sums[1, i - first])
            line = Text(f"{edge:>12,.{decimals}f} {edge / price - 1:>+9.2%} ", style=PRICE_COLOUR if i == here else "")
            line.append(f"{shown_amount(long) if long else '':>9} ", LONG_COLOUR)
            line.append(f"{shown_amount(short) if short else '':>9} ", SHORT_COLOUR)
            line.append(bar(long, biggest, _BAR), LONG_COLOUR)
            line.append(bar(short, biggest, _BAR), SHORT_COLOUR)
            if i == here:
                line.append(f" ◂ {price:,.10g}", PRICE_COLOUR)
            out.append(line)
        return out

    def _figures(self) -> list[Text]:
        derived = self._levels.derived
        if derived is None:
            return []
        near = [
            _cluster("nearest cluster above", "shorts", derived.cluster_above, SHORT_COLOUR),
            _cluster("nearest cluster below", "longs", derived.cluster_below, LONG_COLOUR),
        ]
        balance = Text("imbalance within")
        for of in derived.imbalances:
            colour = "dim" if of.imbalance is None else SHORT_COLOUR if of.imbalance > 0 else LONG_COLOUR
            balance.append(f"  {of.range:.0%} ")
            balance.append("-" if of.imbalance is None else f"{of.imbalance:+.2f}", colour)
        return [Text(), *near, balance]

    def _age(self) -> list[Text]:
        where = self._levels.provenance
        marks = Text(
            "inputs reach: " + ", ".join(f"{mark.kind} {shown_time(mark.ts_event)}" for mark in where.watermarks), "dim"
        )
        if where.generated_at is None:
            return [marks]
        age = max(where.generated_at - where.as_of + where.staleness, 0)
        line = Text("oldest input that the model needs: ")
        line.append(f"{shown_span(age)} old", "bold red" if age > (self._stale or _STALE) else "")
        return [line, marks]

    def _last_alerts(self) -> list[Text]:
        head = Text.assemble((f"alerts: {self._told}", "bold"), "   Ctrl-C ends")
        if self._trouble:
            head.append(f"   server gone: {self._trouble}", "bold red")
        lines = [
            Text.assemble((f"{_clock(alert.sent_at)} ", "dim"), (alert.message, _COLOURS[alert.side]))
            for alert in reversed(self._alerts)
        ]
        return [head, *lines]


def _row_width(span: float, most: int, bin_size: float) -> float:
    """Return the least width of 1, 2, 5 times a power of ten bins of which ``most`` at most cover ``span``."""
    # One more than fits may be cut at either end.
    wanted = max(span / max(most - 1, 1) / bin_size, 1.0)
    less = grid.nice_floor(wanted)
    # The nice number that follows is 2 or 2.5 times as large.
    multiple = less if less >= wanted * (1 - 1e-9) else grid.nice_floor(2.6 * less)
    return float(f"{round(multiple) * bin_size:.12g}")


def _cluster(name: str, side: str, of: liqclient.Cluster | None, colour: str) -> Text:
    line = Text(f"{name}  ")
    if of is None:
        return line.append("none in range", "dim")
    line.append(f"{shown_amount(of.amount)} of {side}", colour)
    line.append(f" at {of.low:,.10g} to {of.high:,.10g}, {of.distance:.2%} away")
    if of.distance_volatility is not None:
        line.append(f", {of.distance_volatility:.2f} days' volatility")
    return line
