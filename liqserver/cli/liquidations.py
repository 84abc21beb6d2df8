"""``liqserver liquidations``: what was recorded, one by one or by interval."""

from __future__ import annotations

from typing import Annotated

import typer

import liqclient
from liqserver.cli.options import (
    OUTPUT_PANEL,
    DbOption,
    EndOption,
    Format,
    FormatOption,
    SideChoice,
    SideOption,
    StartOption,
    SymbolArgument,
    TargetOption,
    VenueOption,
    connected,
    length,
)
from liqserver.cli.output import (
    LONG_COLOUR,
    SHORT_COLOUR,
    print_csv,
    print_json,
    print_notice,
    print_table,
    say,
    shown_amount,
    shown_time,
    table,
)

_LARGEST_PAGE = 100_000
_ROWS = ("ts_event", "side", "price", "qty", "notional")
_SUMS = ("ts", "long_notional", "short_notional", "long_qty", "short_qty", "long_count", "short_count")


def liquidations(
    symbol: SymbolArgument,
    venue: VenueOption = "",
    start: StartOption = None,
    end: EndOption = None,
    side: SideOption = SideChoice.BOTH,
    interval: Annotated[
        int | None,
        length("Add up by this length of time, such as 5m or 1h (1s to 30d), instead of one by one."),
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="Most rows; 0 for all.", rich_help_panel=OUTPUT_PANEL)] = 100,
    format: FormatOption = Format.TABLE,
    target: TargetOption = None,
    db: DbOption = None,
) -> None:
    """Recorded liquidations of a symbol, the earliest first.

    The feed they are from shows at most one order of a symbol in a second: in a cascade they are a lower bound, and a
    note says so.

    For example `liqserver liquidations BTCUSDT --interval 1h`, or
    `liqserver liquidations BTCUSDT --side long --start 2025-09-02T12:00Z --limit 0 --format csv`.

    CSV: `ts_event`, `side`, `price`, `qty`, `notional`; with `--interval` `ts` (its start), `long_notional`,
    `short_notional`, `long_qty`, `short_qty`, `long_count`, `short_count`. Times are UNIX nanoseconds.
    """
    pages: list[liqclient.Liquidations] = []
    with connected(target, db) as client:
        token = ""
        while True:
            wanted = _LARGEST_PAGE if limit == 0 else min(limit - sum(map(_length, pages)), _LARGEST_PAGE)
            page = client.liquidations(
                symbol,
                venue=venue,
                start=start,
                end=end,
                side=side.value,
                interval=interval,
                page_size=wanted,
                page_token=token,
            )
            pages.append(page)
            token = page.next_page_token
            if not token or (limit and sum(map(_length, pages)) >= limit):
                break
    columns = _SUMS if interval is not None else _ROWS
    rows = [row for page in pages for row in _rows(page)]
    if format is Format.JSON:
        last = pages[-1]
        print_json(
            {
                "rows": [dict(zip(columns, row, strict=True)) for row in rows],
                "more": bool(token),
                "total_rows": last.total_rows,
                "recorded_start": last.recorded_start,
                "recorded_end": last.recorded_end,
                "notices": list(last.notices),
            }
        )
    elif format is Format.CSV:
        print_csv(columns, rows)
    else:
        _print_table(symbol, pages[-1], columns, rows)


def _length(page: liqclient.Liquidations) -> int:
    if page.buckets is not None:
        return len(page.buckets.ts)
    return len(page.liquidations.ts_event) if page.liquidations is not None else 0


def _rows(page: liqclient.Liquidations) -> list[tuple[int | float | str, ...]]:
    """Return the rows of a page in the order of the columns, sides as words."""
    if page.buckets is not None:
        return list(zip(*(getattr(page.buckets, name).tolist() for name in _SUMS), strict=True))
    if page.liquidations is None:
        return []
    of = page.liquidations
    sides = ["long" if side > 0 else "short" for side in of.side.tolist()]
    return list(zip(of.ts_event.tolist(), sides, of.price.tolist(), of.qty.tolist(), of.notional.tolist(), strict=True))


def _print_table(
    symbol: str, last: liqclient.Liquidations, columns: tuple[str, ...], rows: list[tuple[int | float | str, ...]]
) -> None:
    if columns == _SUMS:
        shown = ("from", "long notional", "short notional", "long qty", "short qty", "longs", "shorts")
        out = table(*shown, right=shown[1:])
        for ts, *amounts, longs, shorts in rows:
            out.add_row(shown_time(int(ts)), *(shown_amount(float(a)) for a in amounts), f"{longs:,}", f"{shorts:,}")
    else:
        out = table("time", "side", "price", "qty", "notional", right=("price", "qty", "notional"))
        for ts, side, price, qty, notional in rows:
            colour = LONG_COLOUR if side == "long" else SHORT_COLOUR
            figures = (f"{price:,.10g}", f"{qty:,.10g}", shown_amount(float(notional)))
            out.add_row(shown_time(int(ts)), f"[{colour}]{side}[/]", *figures)
    print_table(out)
    say(
        f"{symbol}: {last.total_rows:,} recorded in the span asked for; all there is: "
        f"{shown_time(last.recorded_start)} to {shown_time(last.recorded_end)}"
    )
    if last.next_page_token:
        say(f"more follow after these {len(rows):,} rows: --limit 0 shows all")
    for notice in last.notices:
        print_notice(notice)
