"""`liqserver score`: how well models predict where was really liquidated."""

from __future__ import annotations

import html
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

import liqclient
from liqserver.cli.options import (
    HOUR,
    MODEL_PANEL,
    MOMENT,
    OUTPUT_PANEL,
    CalibrationOption,
    DbOption,
    Format,
    FormatOption,
    SymbolArgument,
    TargetOption,
    VenueOption,
    complete_model,
    connected,
    length,
    moment,
)
from liqserver.cli.output import (
    LONG_COLOUR,
    SHORT_COLOUR,
    errors_console,
    print_csv,
    print_json,
    print_notice,
    print_table,
    say,
    shown_span,
    shown_time,
    table,
)

_FIGURES = ("r", "alone", "gain", "gain_over_null", "slope", "predicted_share")
_HEADS = ("r", "R² alone", "gain over controls", "more than the null", "slope", "predicted / real")
_SIGNED = ("gain", "gain_over_null")
_KINDS = {
    "controls": "what the path of price says without a map",
    "model": "models",
    "ablation": "the position book without parts of its inputs",
    "baseline": "simpler things, and maps in the wrong place",
}
_COLUMNS = (
    *("name", "kind", "model", "parameters_hash", "calibration", "side", "fitted", "scored", "days", "refused"),
    *(f"{name}{end}" for name in _FIGURES for end in ("", "_low", "_high")),
)
# What it may take with months of one-minute data on a machine that has other things to do.
_TIMEOUT = 600.0


def score(
    symbol: SymbolArgument,
    cut: Annotated[
        int,
        moment(f"Fit on what begins before this moment, score the rest: {MOMENT}. A whole interval.", "--cut"),
    ],
    venue: VenueOption = "",
    start: Annotated[
        int | None,
        moment("Fit from this moment on. A week after the data begins if not given.", "--from"),
    ] = None,
    end: Annotated[int | None, moment("Score until this moment. The newest data if not given.", "--to")] = None,
    every: Annotated[int, length("Length of an interval, 1m to 4h.", "1h")] = HOUR,
    models: Annotated[
        str,
        typer.Option(
            help="Models, separated by commas; all: each with its defaults and with its original's formula.",
            autocompletion=complete_model,
            rich_help_panel=MODEL_PANEL,
        ),
    ] = "all",
    calibration: CalibrationOption = "",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            dir_okay=False,
            help="Write a report as well: an HTML page that needs no network.",
            rich_help_panel=OUTPUT_PANEL,
        ),
    ] = None,
    format: FormatOption = Format.TABLE,
    target: TargetOption = None,
    db: DbOption = None,
) -> None:
    """How well models predict where was really liquidated: fitted before a cut, scored after it.

    Real liquidations are totals that others added up (`liqserver ingest liquidations_1h.csv --symbol BTCUSDT`) or,
    where there are none, recorded orders. Beside the models stand the null that has to be beaten (a book with constant
    flow), the position book without parts of its inputs, and simpler things. docs/accuracy.md says what the figures
    mean; brackets hold 95 % intervals over UTC days. With too little data there is no score.

    For example `liqserver score BTCUSDT --cut 2026-01-20T00:00Z -o report.html`, or
    `liqserver score BTCUSDT --cut 2026-01-20T00:00Z --models position_book,time_evolving --format csv`.

    CSV has a row for each side of each row, figures with `_low` and `_high`.

    Exit status: 0 there are scores, 1 there is none (too little data) or the call failed, 2 the command was wrong.
    """
    if output is not None and output.suffix != ".html":
        raise typer.BadParameter(f"--output was {output}, must end in .html")
    chosen = None if models == "all" else [name.strip() for name in models.split(",") if name.strip()]
    if chosen is not None and not chosen:
        raise typer.BadParameter(f"--models was {models!r}, must be all, or models separated by commas")
    with connected(target, db) as client:
        answer = client.scorecard(
            symbol,
            cut=cut,
            start=start,
            end=end,
            venue=venue,
            models=chosen,
            interval=every,
            calibration=calibration,
            timeout=_TIMEOUT,
        )
    if format is Format.JSON:
        print_json(answer.to_dict())
    elif format is Format.CSV:
        print_csv(_COLUMNS, _rows(answer))
    else:
        _print(answer)
    if output is not None:
        _write_report(answer, output)
        errors_console.print(f"report: {output}", markup=False)
    if not any(side is not None and side.r is not None for row in answer.rows for side in (row.long, row.short)):
        errors_console.print("[red]error:[/red] nothing could be scored")
        raise typer.Exit(1)


def _rows(answer: liqclient.Scorecard) -> Iterator[list[object]]:
    for row in answer.rows:
        for name, side in (("long", row.long), ("short", row.short)):
            of = [row.name, row.kind, row.model or "", row.parameters_hash or "", row.calibration or "", name]
            if side is None:
                yield [*of, 0, 0, 0, row.unavailable or "", *[""] * 3 * len(_FIGURES)]
                continue
            estimates = [getattr(side, figure) for figure in _FIGURES]
            yield [
                *of,
                *(side.fitted, side.scored, side.days, side.refused or ""),
                *(getattr(e, part) if e is not None else "" for e in estimates for part in ("value", "low", "high")),
            ]


def _print(answer: liqclient.Scorecard) -> None:
    for line in _head(answer):
        say(escape(line))
    for name, colour in (("long", LONG_COLOUR), ("short", SHORT_COLOUR)):
        say(f"\n[{colour}]{name}s[/]")
        out = table("", *_HEADS, "scored", right=(*_HEADS, "scored"))
        for kind, title in _KINDS.items():
            rows = [row for row in answer.rows if row.kind == kind and row.unavailable is None]
            if rows:
                out.add_row(f"[dim]{title}[/]")
            for row in rows:
                side = getattr(row, name)
                if side.refused is not None:
                    out.add_row(f"  {escape(row.name)}", f"[yellow]{escape(side.refused)}[/]")
                    continue
                out.add_row(f"  {escape(row.name)}", *_cells(side), f"{side.scored:,} ({side.days} d)")
        print_table(out)
    for line in _effects(answer):
        say(escape(line))
    say("")
    for line in _notes(answer):
        print_notice(line)


def _cells(side: liqclient.SideScore) -> list[str]:
    return [_shown(getattr(side, name), signed=name in _SIGNED) for name in _FIGURES]


def _shown(of: liqclient.Estimate | None, *, signed: bool = False) -> str:
    if of is None:
        return ""
    sign = "+" if signed else ""
    # Shares may be thousands, where levels are no amounts.
    decimals = 3 if max(abs(of.low), abs(of.high)) < 100 else 0
    value, low, high = (f"{number:{sign}.{decimals}f}" for number in (of.value, of.low, of.high))
    return f"{value} \\[{low}, {high}]"


def _head(answer: liqclient.Scorecard) -> Iterator[str]:
    yield (
        f"{answer.venue}:{answer.symbol}, intervals of {shown_span(answer.interval)}: fitted from "
        f"{shown_time(answer.start)}, scored from {shown_time(answer.cut)} to {shown_time(answer.end)}"
    )
    yield f"real liquidations: {answer.truth_source}"


def _effects(answer: liqclient.Scorecard) -> Iterator[str]:
    for effect in answer.effects:
        yield ""
        yield f"{effect.name} ({effect.model}): {effect.description}"
        if effect.estimate is None:
            yield f"  {effect.refused}"
            continue
        of = effect.estimate
        said = "which is not told from 0" if of.low <= 0 <= of.high else "which is told from 0"
        yield (
            f"  {of.value:+.3f} [{of.low:+.3f}, {of.high:+.3f}] {effect.unit}, {said}; "
            f"n = {effect.observations:,} ({effect.days} d)"
        )


def _notes(answer: liqclient.Scorecard) -> Iterator[str]:
    reasons: defaultdict[str, list[str]] = defaultdict(list)
    for row in answer.rows:
        if row.unavailable is not None:
            # Models differ in what they call themselves in it, and not in what they lack.
            reasons[row.unavailable.removeprefix(f"{row.model} ")].append(row.name)
    for reason, names in reasons.items():
        yield f"no prediction of {'; '.join(names)}: {reason}"
    yield from answer.notices
    parameters = [
        f"{row.name} {row.parameters_hash}" + (f" (calibration {row.calibration})" if row.calibration else "")
        for row in answer.rows
        if row.kind == "model" and row.parameters_hash is not None
    ]
    if parameters:
        yield f"parameters: {', '.join(parameters)}"


# --- report -----------------------------------------------------------------------------------------------------

_PAGE_WIDTH = 1_200
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 1400px; padding: 1rem; color: #222;
  background: #fff; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 13px; }
.wide { overflow-x: auto; }
th, td { padding: .25rem .5rem; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
tr.kind td { font-weight: 600; background: #f5f5f5; text-align: left; }
small { color: #555; }
"""


def _write_report(answer: liqclient.Scorecard, path: Path) -> None:
    """Write the page: figures, tables, tests, notes."""
    try:
        from liqclient.plot import scorecard_figure
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "plotly":
            raise
        errors_console.print('[red]error:[/red] a report needs plotly: pip install "liqserver\\[plot]"')
        raise typer.Exit(1) from None
    figure = scorecard_figure(answer, width=_PAGE_WIDTH)
    drawn = figure.to_html(
        config={"responsive": True, "displaylogo": False, "showSendToCloud": False},
        include_plotlyjs=True,
        full_html=False,
        default_height=f"{figure.layout.height}px",
    )
    title = f"Scorecard of {answer.venue}:{answer.symbol}"
    parts = [f"<h1>{html.escape(title)}</h1>", *(f"<p>{html.escape(line)}</p>" for line in _head(answer)), drawn]
    parts += [_html_table(answer, side) for side in ("long", "short")]
    parts.append("<h2>What levels do to price</h2>")
    parts += [f"<p>{html.escape(line.strip())}</p>" for line in _effects(answer) if line]
    parts.append("<h2>Notes</h2><ul>")
    parts += [f"<li>{html.escape(line)}</li>" for line in _notes(answer)]
    parts.append(
        f"</ul><p><small>Brackets: {answer.confidence:.0%} intervals, UTC days drawn with replacement. Fewer than "
        f"{answer.min_intervals} intervals or {answer.min_days} days give no score.</small></p>"
    )
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        errors_console.print(f"[red]error:[/red] cannot write {escape(str(path))}: {error.strerror}")
        raise typer.Exit(1) from None


def _html_table(answer: liqclient.Scorecard, name: str) -> str:
    heads = "".join(f"<th>{html.escape(head)}</th>" for head in ("", *_HEADS, "scored"))
    lines = []
    for kind, title in _KINDS.items():
        rows = [row for row in answer.rows if row.kind == kind and row.unavailable is None]
        if rows:
            lines.append(f'<tr class="kind"><td colspan="{len(_HEADS) + 2}">{html.escape(title)}</td></tr>')
        for row in rows:
            side: liqclient.SideScore = getattr(row, name)
            first = f'<td title="{html.escape(row.description)}">{html.escape(row.name)}</td>'
            if side.refused is not None:
                lines.append(f'<tr>{first}<td colspan="{len(_HEADS) + 1}">{html.escape(side.refused)}</td></tr>')
                continue
            cells = "".join(f"<td>{html.escape(cell.replace(chr(92), ''))}</td>" for cell in _cells(side))
            lines.append(f"<tr>{first}{cells}<td>{side.scored:,} ({side.days} d)</td></tr>")
    return (
        f'<h2>{name.capitalize()}s</h2><div class="wide"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )
