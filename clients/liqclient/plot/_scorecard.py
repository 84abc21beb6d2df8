"""How well models predict where was really liquidated."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from statistics import fmean

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from liqclient._answers import Estimate, Scorecard, ScorecardRow, SideScore
from liqclient.plot._common import PHONE, begin, finish, shown_span, shown_time
from liqclient.plot._theme import SAFE, Theme

# Groups from above, and what they are; the controls are where the axis of gains begins.
_GROUPS = {"model": "models", "ablation": "the position book without parts of its inputs", "baseline": "baselines"}
# Pixels of a row and between groups; how far the two sides of a row lie from its middle.
_ROW, _GAP, _APART = 44, 44, 0.17
# Characters of a line of names on a phone.
_LABEL = 22


def scorecard_figure(scorecard: Scorecard, *, theme: Theme = SAFE, width: int = PHONE) -> go.Figure:
    """Draw what each row adds to the controls, with its interval of confidence, by side.

    Parameters
    ----------
    scorecard
        Answer of `Client.scorecard`.
    theme
        Colours.
    width
        Pixels it will be wide, so that titles and legends take the room there is; it fits wider places too.

    Returns
    -------
    plotly.graph_objects.Figure
        Models, ablations and baselines below one another on one axis of gains, which begins at the controls; the best
        of each above, by the mean of both sides. n beside each name is the intervals scored. Rows without a score are
        named with their reason. Says so in words when there is no score.
    """
    groups = {kind: rows for kind in _GROUPS if (rows := _sorted(scorecard, kind))}
    lines = [
        _dates(scorecard),
        f"real liquidations: {scorecard.truth_source}",
        f"bars: {scorecard.confidence:.0%} intervals over UTC days; n: intervals scored",
        *_controls(scorecard),
        *_without(scorecard),
        *(f"Note: {notice}" for notice in scorecard.notices),
    ]
    if not groups:
        return finish(
            begin(theme),
            theme,
            width=width,
            title=_title(scorecard),
            lines=lines,
            height=300,
            nothing="There is nothing to show: no row has a score.",
        )
    heights = [float(_ROW * len(rows)) for rows in groups.values()]
    height = round(sum(heights) + _GAP * (len(groups) - 1))
    figure = make_subplots(
        rows=len(groups),
        cols=1,
        shared_xaxes="all",
        row_heights=heights,
        vertical_spacing=_GAP / height if len(groups) > 1 else 0,
        subplot_titles=[_GROUPS[kind] for kind in groups],
        figure=begin(theme),
    )
    drawn: set[str] = set()
    for at, rows in enumerate(groups.values(), 1):
        for side, colour, symbol, shift in (
            ("long", theme.long, "circle", -_APART),
            ("short", theme.short, "diamond", _APART),
        ):
            scored = [(i, row.name, found) for i, row in enumerate(rows) if (found := _scored(row, side)) is not None]
            if scored:
                _add_gains(figure, scored, side, colour, symbol, shift, at, side not in drawn)
                drawn.add(side)
        figure.add_vline(x=0, line={"color": theme.text, "width": 1}, row=at, col=1)
        figure.update_yaxes(
            tickvals=list(range(len(rows))),
            ticktext=[_label(row, width) for row in rows],
            range=[len(rows) - 0.5, -0.5],
            showgrid=False,
            zeroline=False,
            row=at,
            col=1,
        )
        # Plotly hides the labels of all but the last where axes are shared.
        figure.update_xaxes(tickformat="+~f", showticklabels=at == len(groups), zeroline=False, row=at, col=1)
    figure.update_xaxes(
        title={"text": "gain in R² over the controls, out of sample", "standoff": 4}, row=len(groups), col=1
    )
    figure.update_annotations(font={"size": 12, "color": theme.text})
    return finish(figure, theme, width=width, title=_title(scorecard), lines=lines, height=height, legends=[len(drawn)])


def _title(scorecard: Scorecard) -> str:
    return f"{scorecard.venue}:{scorecard.symbol} placement of liquidations"


def _dates(scorecard: Scorecard) -> str:
    cut = shown_time(scorecard.cut)
    dates = f"fitted from {shown_time(scorecard.start)} to {cut}, scored from there to {shown_time(scorecard.end)}"
    return f"{dates}; intervals of {shown_span(scorecard.interval)}"


def _sorted(scorecard: Scorecard, kind: str) -> list[ScorecardRow]:
    """Return the rows of a kind that have a gain on a side, the largest first."""
    means = [(gains, row) for row in scorecard.rows if row.kind == kind and (gains := _gains(row))]
    return [row for _, row in sorted(means, key=lambda of: fmean(of[0]), reverse=True)]


def _gains(row: ScorecardRow) -> list[float]:
    return [of[1].value for side in ("long", "short") if (of := _scored(row, side)) is not None]


def _scored(row: ScorecardRow, side: str) -> tuple[SideScore, Estimate] | None:
    score: SideScore | None = getattr(row, side)
    return None if score is None or score.gain is None else (score, score.gain)


def _label(row: ScorecardRow, width: int) -> str:
    counts = [f"{of[0].scored:,}" for side in ("long", "short") if (of := _scored(row, side)) is not None]
    name = "<br>".join(textwrap.wrap(row.name, max(_LABEL, width // 30)))
    return f"{name}<br>n {'/'.join(dict.fromkeys(counts))}"


def _controls(scorecard: Scorecard) -> Iterator[str]:
    for row in scorecard.rows:
        if row.kind == "controls":
            sides = (("longs", row.long), ("shorts", row.short))
            told = [
                f"{_shown(of.alone, '')} for {name}" for name, of in sides if of is not None and of.alone is not None
            ]
            if told:
                yield f"{row.name} alone: R² {' and '.join(told)}"


def _without(scorecard: Scorecard) -> Iterator[str]:
    """Say which rows have no score and why, each reason once."""
    names: dict[str, list[str]] = {}
    for row in scorecard.rows:
        sides = {name: of.refused for name in ("long", "short") if (of := getattr(row, name)) and of.refused}
        if row.unavailable is not None:
            # Reasons name the model that they speak of, and the row has told it.
            reason = row.unavailable.removeprefix(f"{row.model} ")
            names.setdefault(reason, []).append(row.name)
        elif len(set(sides.values())) == 1 and len(sides) == 2:
            names.setdefault(sides["long"], []).append(row.name)
        else:
            for side, reason in sides.items():
                names.setdefault(reason, []).append(f"{row.name} of {side}s")
    for reason, told in names.items():
        yield f"no score: {'; '.join(told)}: {reason}"


def _shown(of: Estimate | None, sign: str = "+") -> str:
    return "not known" if of is None else f"{of.value:{sign}.3f} [{of.low:{sign}.3f}, {of.high:{sign}.3f}]"


def _add_gains(
    figure: go.Figure,
    scored: list[tuple[int, str, tuple[SideScore, Estimate]]],
    side: str,
    colour: str,
    symbol: str,
    shift: float,
    row: int,
    legend: bool,
) -> None:
    gains = [gain for _, _, (_, gain) in scored]
    figure.add_trace(
        go.Scatter(
            x=[gain.value for gain in gains],
            y=[i + shift for i, _, _ in scored],
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [gain.high - gain.value for gain in gains],
                "arrayminus": [gain.value - gain.low for gain in gains],
                "color": colour,
                "thickness": 2,
                "width": 4,
            },
            mode="markers",
            # A form of its own for each side, as colour alone does not tell everyone.
            marker={"color": colour, "size": 9, "symbol": symbol},
            name=f"{side}s",
            legendgroup=side,
            showlegend=legend,
            customdata=[
                [
                    name,
                    _shown(gain),
                    _shown(score.gain_over_null),
                    _shown(score.r, ""),
                    _shown(score.alone, ""),
                    f"{score.fitted:,} fitted, {score.scored:,} scored, {score.days:,} days",
                ]
                for _, name, (score, gain) in scored
            ],
            hovertemplate="%{customdata[0]}<br>gain %{customdata[1]}<br>more than the null %{customdata[2]}<br>"
            f"r %{{customdata[3]}}<br>R² alone %{{customdata[4]}}<br>%{{customdata[5]}}<extra>{side}s</extra>",
        ),
        row=row,
        col=1,
    )
