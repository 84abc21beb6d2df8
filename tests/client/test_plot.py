"""Figures: what they draw is what the answer holds, and their titles say where it comes from."""

import dataclasses
import html
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from numpy.typing import NDArray

import liqclient
from liqclient import plot
from liqclient._answers import (
    audit_answer,
    compare_answer,
    heatmap_answer,
    levels_answer,
    liquidations_answer,
)
from liqserver.v1 import common_pb2, liquidation_pb2

from . import standin

END = "2025-10-10 08:53:20Z"


@pytest.fixture
def client(server: standin.Standin) -> Any:
    with liqclient.Client(server.target) as asking:
        yield asking


def traces(figure: go.Figure, kind: str) -> list[Any]:
    return [trace for trace in figure.data if trace.type == kind]


def named(figure: go.Figure, name: str) -> Any:
    [trace] = [trace for trace in figure.data if trace.name == name]
    return trace


def said(figure: go.Figure) -> str:
    """Title and subtitle as they are read, line breaks as spaces."""
    return html.unescape(f"{figure.layout.title.text} {figure.layout.title.subtitle.text}".replace("<br>", " "))


def words(figure: go.Figure) -> str:
    return " ".join(note.text.replace("<br>", " ") for note in figure.layout.annotations)


def times(ts: NDArray[np.int64]) -> list[Any]:
    return [np.datetime64(int(t) // 1000, "us") for t in ts]


def heatmap_of(
    price: list[float], long: list[list[float]], short: list[list[float]], **changes: Any
) -> liqclient.Heatmap:
    """Return a heatmap of columns by time; the path stands still at 100,000."""
    n = len(long)
    path = [100_000.0] * n
    fields: dict[str, Any] = {
        "ts": [standin.END - (n - 1 - i) * standin.MINUTE for i in range(n)],
        "price": price,
        "long": [amount for column in long for amount in column],
        "short": [amount for column in short for amount in column],
        **dict.fromkeys(("open", "high", "low", "close"), path),
        **dict.fromkeys(("liquidated_long", "liquidated_short"), [0.0] * n),
        **changes,
    }
    return heatmap_answer(standin.heatmap_message(**fields))


# --- levels ----------------------------------------------------------------------------------------------------


def test_bars_of_tiers_stand_on_the_bins_and_add_up_to_the_columns(client: liqclient.Client) -> None:
    levels = client.levels("BTCUSDT", per_tier=True, derived=True)
    figure = plot.levels_figure(levels)
    assert figure.layout.barmode == "stack"
    sums = {"legend": np.zeros(len(levels.price)), "legend2": np.zeros(len(levels.price))}
    for bar in traces(figure, "bar"):
        np.testing.assert_array_equal(bar.customdata, bar.x + levels.bin_size)
        assert (bar.offset, bar.width) == (0, levels.bin_size)
        tier = levels.tiers[float(bar.name.removesuffix("x"))]
        column = tier.long if bar.legend == "legend" else tier.short
        # A bin that holds nothing of it has no bar.
        np.testing.assert_array_equal(bar.x, levels.price[column > 0])
        np.testing.assert_array_equal(bar.y, column[column > 0])
        sums[bar.legend][column > 0] += bar.y
    np.testing.assert_allclose(sums["legend"], levels.long, rtol=1e-12)
    np.testing.assert_allclose(sums["legend2"], levels.short, rtol=1e-12)
    assert sums["legend"].sum() > 0
    assert figure.layout.legend.title.text == "<b>longs</b>"
    assert figure.layout.legend2.title.text == "<b>shorts</b>"
    assert figure.layout.legend.titleclick == figure.layout.legend2.titleclick == "toggle"


def test_without_tiers_there_is_a_bar_a_side_and_without_derived_figures_no_curve(client: liqclient.Client) -> None:
    levels = client.levels("BTCUSDT")
    figure = plot.levels_figure(levels)
    longs, shorts = figure.data
    np.testing.assert_array_equal(longs.y, levels.long[levels.long > 0])
    np.testing.assert_array_equal(shorts.y, levels.short[levels.short > 0])
    assert (longs.marker.color, shorts.marker.color) == (plot.SAFE.long, plot.SAFE.short)
    assert "yaxis2" not in figure.to_plotly_json()["layout"]


def test_curves_are_the_derived_figures_and_begin_with_nothing_at_the_current_price() -> None:
    derived = liquidation_pb2.DerivedFigures(cumulative_long=[5, 2, 0, 0], cumulative_short=[0, 0, 0, 7])
    columns = liquidation_pb2.LevelColumns(
        price=[90_000, 95_000, 100_000, 105_000], long=[3, 2, 0, 0], short=[0, 0, 0, 7]
    )
    levels = levels_answer(standin.levels_message(levels=columns, derived=derived))
    longs, shorts = traces(plot.levels_figure(levels), "scatter")
    # Below, a bin counts from its left edge on; above, from its right edge on.
    assert longs.x.tolist() == [90_000, 95_000, 100_000, 100_000]
    assert longs.y.tolist() == [5, 2, 0, 0]
    assert shorts.x.tolist() == [100_000, 100_050, 105_050]
    assert shorts.y.tolist() == [0, 0, 7]
    assert (longs.yaxis, shorts.yaxis) == ("y2", "y2")
    # Going up from 95,000, what was met there is not met again; going up to 105,050, its bin is met at the end.
    assert (longs.line.shape, shorts.line.shape) == ("vh", "hv")


def test_current_price_is_a_line_and_its_source_is_said(client: liqclient.Client) -> None:
    figure = plot.levels_figure(client.levels("BTCUSDT"))
    [line] = figure.layout.shapes
    assert line.x0 == line.x1 == standin.PRICE
    assert line.line.color == plot.SAFE.price
    assert words(figure) == "price 100,000 (mark_price)"


def test_a_side_that_was_not_asked_for_has_no_mark(client: liqclient.Client) -> None:
    figure = plot.levels_figure(client.levels("BTCUSDT", side="long", per_tier=True, derived=True))
    assert {trace.legend for trace in figure.data} == {"legend"}


@pytest.mark.parametrize(
    ("unit", "axis", "each"), [("notional", "quote units", "quote units"), ("qty", "contracts", "contracts")]
)
def test_units_are_named_on_the_axis_and_in_what_is_hovered(
    client: liqclient.Client, unit: liqclient.Unit, axis: str, each: str
) -> None:
    figures = [
        plot.levels_figure(client.levels("BTCUSDT", unit=unit, derived=True)),
        plot.heatmap_figure(client.heatmap("BTCUSDT", unit=unit)),
        plot.audit_figure(client.audit("BTCUSDT", interval="1h", unit=unit)),
        plot.compare_figure(client.compare("BTCUSDT", ["position_book", "pyliqmap"], unit=unit)),
        plot.liquidations_figure(client.liquidations("BTCUSDT", interval="1h"), symbol="X", interval="1h", unit=unit),
    ]
    assert axis in figures[0].layout.yaxis.title.text
    for figure in figures:
        hovered = [t.hovertemplate for t in figure.data if t.type in ("bar", "scatter", "heatmap") and t.hovertemplate]
        hovered = [text for text in hovered if "overlap" not in text and "price that liquidates" not in text]
        assert hovered
        assert all(f" {each}" in text for text in hovered), hovered
        other = "contracts" if each == "quote units" else "quote units"
        assert not any(other in text for text in hovered)


# --- titles ----------------------------------------------------------------------------------------------------


def figures_of(client: liqclient.Client) -> list[go.Figure]:
    return [
        plot.levels_figure(client.levels("BTCUSDT")),
        plot.heatmap_figure(client.heatmap("BTCUSDT")),
        plot.audit_figure(client.audit("BTCUSDT", interval="1h")),
        plot.compare_figure(client.compare("BTCUSDT", ["position_book", "pyliqmap"])),
    ]


def test_titles_say_what_as_of_when_and_how_far_inputs_reach(client: liqclient.Client) -> None:
    for figure in figures_of(client):
        text = said(figure)
        assert "BINANCE:BTCUSDT" in text
        assert f"as of {END}" in text
        # Watermarks of the stand-in lie 60 and 90 ns before.
        assert "inputs reach 2025-10-10 08:53:19Z (trades, open_interest)" in text
        assert "Note: Trades of one hour are missing." in text
    for figure in figures_of(client)[:3]:
        assert "model position_book (0123456789abcdef)" in said(figure)


def test_lines_of_titles_fit_a_phone_and_the_margin_holds_them(client: liqclient.Client) -> None:
    for figure in figures_of(client):
        lines = figure.layout.title.subtitle.text.split("<br>")
        assert max(map(len, lines)) <= 66
        assert figure.layout.margin.t >= 36 + 14 * (1 + len(lines))


def test_notices_are_text_and_never_markup() -> None:
    where = standin.provenance(notices=["<a href='x'>fewer</a> than 5 & rising"])
    figure = plot.levels_figure(levels_answer(standin.levels_message(provenance=where)))
    assert "<a" not in figure.layout.title.subtitle.text
    assert "<a href='x'>fewer</a> than 5 & rising" in said(figure)


def test_moments_that_are_not_known_are_said_to_be() -> None:
    where = standin.provenance(watermarks=[common_pb2.Watermark(kind=common_pb2.DATA_KIND_FUNDING)])
    figure = plot.levels_figure(levels_answer(standin.levels_message(provenance=where)))
    assert "inputs reach not known (funding)" in said(figure)


# --- heatmap ---------------------------------------------------------------------------------------------------


def test_cells_stand_at_their_price_and_around_their_moment_and_empty_ones_are_gaps() -> None:
    # The bins at 95,000 and 95,050 touch, those at 95,150 and above do not.
    heatmap = heatmap_of([95_000, 95_050, 95_150], [[1, 2, 3], [4, 0, 6]], [[0, 0, 0], [0, 5, 0]])
    longs, shorts = traces(plot.heatmap_figure(heatmap), "heatmap")
    assert longs.y.tolist() == [95_000, 95_050, 95_100, 95_150, 95_200]
    nan = np.nan
    np.testing.assert_array_equal(longs.z, np.array([[1, 4], [2, nan], [nan, nan], [3, 6]], dtype=np.float32))
    # A layer is as high as what it holds.
    assert shorts.y.tolist() == [95_050, 95_100]
    np.testing.assert_array_equal(shorts.z, np.array([[nan, 5]], dtype=np.float32))
    half = standin.MINUTE // 2
    assert list(longs.x) == times(np.append(heatmap.ts - half, heatmap.ts[-1] + half))
    assert (longs.zmin, longs.zmax) == (shorts.zmin, shorts.zmax)
    assert "± 25<" in longs.hovertemplate
    assert longs.hoverongaps is False


def test_everything_that_is_in_the_matrix_is_in_the_figure(client: liqclient.Client) -> None:
    heatmap = client.heatmap("BTCUSDT", lookback="4h", interval="5m")
    longs, shorts = traces(plot.heatmap_figure(heatmap), "heatmap")
    assert np.nansum(longs.z) == pytest.approx(heatmap.long.sum(), rel=1e-6)
    assert np.nansum(shorts.z) == pytest.approx(heatmap.short.sum(), rel=1e-6)


def test_path_of_the_price_leaves_out_what_is_not_known_and_stands_between_its_moments() -> None:
    heatmap = heatmap_answer(standin.heatmap_message())
    [path] = traces(plot.heatmap_figure(heatmap), "candlestick")
    assert list(path.x) == times(heatmap.ts[1:] - standin.MINUTE // 2)
    assert list(path.customdata) == times(heatmap.ts[1:])
    assert [column.tolist() for column in (path.open, path.high, path.low, path.close)] == [
        [1, 2],
        [3, 4],
        [5, 6],
        [7, 8],
    ]


def test_what_was_liquidated_stands_in_the_interval_up_to_each_moment() -> None:
    heatmap = heatmap_answer(standin.heatmap_message())
    figure = plot.heatmap_figure(heatmap)
    for side in ("long", "short"):
        bar, amounts = named(figure, f"{side}s liquidated"), getattr(heatmap, f"liquidated_{side}")
        there = amounts > 0
        assert there.any()
        np.testing.assert_array_equal(bar.y, amounts[there])
        assert list(bar.x) == times(heatmap.ts[there] - standin.MINUTE)
        assert (bar.offset, bar.width) == (0, 60_000)


def test_many_columns_are_lines_through_the_same_prices_and_amounts() -> None:
    n = 301
    rng = np.random.default_rng(5)
    prices = {name: (100_000 + rng.normal(0, 10, n)).tolist() for name in ("open", "high", "low", "close")}
    prices["close"][7] = prices["open"][7] = prices["high"][7] = prices["low"][7] = float("nan")
    liquidated = rng.exponential(10, n).tolist()
    heatmap = heatmap_of([95_000], [[1.0]] * n, [[0.0]] * n, liquidated_long=liquidated, **prices)
    figure = plot.heatmap_figure(heatmap)
    path = named(figure, "price")
    known = [i for i in range(n) if i != 7]
    assert path.type == "scatter"
    assert path.y.tolist() == [prices[of][i] for i in known for of in ("open", "high", "low", "close")]
    assert list(path.x) == [moment for i in known for moment in times(heatmap.ts[[i]] - standin.MINUTE // 2) * 4]
    area = named(figure, "longs liquidated")
    assert (area.type, area.line.shape, area.stackgroup) == ("scatter", "hv", "liquidated")
    np.testing.assert_array_equal(area.y, liquidated)
    assert list(area.x) == times(heatmap.ts - standin.MINUTE)
    assert not traces(figure, "candlestick")


def colour_at(scale: Any, share: float) -> list[float]:
    """Return red, green and blue of a scale as Plotly draws it, linear between its stops."""
    stops = [stop for stop, _ in scale]
    channels = [[int(colour[i : i + 2], 16) for _, colour in scale] for i in (1, 3, 5)]
    return [float(np.interp(share, stops, channel)) for channel in channels]


def test_logarithmic_colour_keeps_amounts_and_gives_equal_factors_equal_steps() -> None:
    amounts = np.geomspace(1.0, 1e5, 2001)
    heatmap = heatmap_of([95_000], [[float(a)] for a in amounts], [[0.0]] * len(amounts))
    layer = traces(plot.heatmap_figure(heatmap, log_colour=True), "heatmap")[0]
    np.testing.assert_allclose(layer.z[0], amounts, rtol=1e-6)
    high = float(np.quantile(amounts, 0.995))
    assert layer.zmax == pytest.approx(high)
    # Three powers of ten below the end, a third of the way of the scale for each.
    plain = plot.SAFE.scale(plot.SAFE.long)
    for tens in (0, 1, 2, 3):
        drawn = colour_at(layer.colorscale, 10.0 ** (tens - 3))
        np.testing.assert_allclose(drawn, colour_at(plain, tens / 3), atol=1.5)


def test_ticks_of_the_logarithmic_colour_bar_are_powers_of_ten() -> None:
    heatmap = heatmap_of([95_000], [[float(a)] for a in np.geomspace(1, 1e5, 50)], [[0.0]] * 50)
    bar = named(plot.heatmap_figure(heatmap, log_colour=True), "scale of longs").marker
    assert bar.colorbar.ticktext == ("100", "1k", "10k")
    assert bar.colorbar.tickvals == (2.0, 3.0, 4.0)
    assert bar.cmin < 2
    assert 4 < bar.cmax < 5


def test_one_amount_everywhere_has_a_colour_on_either_scale() -> None:
    heatmap = heatmap_of([95_000], [[7.0], [7.0]], [[0.0], [0.0]])
    for log_colour in (False, True):
        layer = traces(plot.heatmap_figure(heatmap, log_colour=log_colour), "heatmap")[0]
        assert layer.zmax == 7.0


def test_a_heatmap_of_500_by_500_stays_light() -> None:
    rng = np.random.default_rng(1)
    amounts = rng.lognormal(10, 2, (500, 500))
    longs = np.tri(500)[::-1].astype(bool)
    price = [90_000 + 50.0 * i for i in range(500)]
    heatmap = heatmap_of(price, np.where(longs, amounts, 0).tolist(), np.where(longs, 0, amounts).tolist())
    figure = plot.heatmap_figure(heatmap)
    # Two layers of 4 bytes a cell as base64 are 2.7 MB, before JSON escapes every slash in it.
    assert len(figure.to_json()) < 3_500_000
    for layer in traces(figure, "heatmap"):
        assert layer.z.dtype == np.float32
        assert layer.text is None
        assert layer.customdata is None


# --- liquidations ----------------------------------------------------------------------------------------------


def test_liquidations_are_bars_by_interval_and_what_they_add_up_to(client: liqclient.Client) -> None:
    page = client.liquidations("BTCUSDT", interval="1h")
    assert page.buckets is not None
    figure = plot.liquidations_figure(page, symbol="BTCUSDT", interval="1h")
    for side, recorded in (("long", common_pb2.SIDE_LONG), ("short", common_pb2.SIDE_SHORT)):
        bar, curve = named(figure, f"{side}s"), named(figure, f"{side}s, sum")
        assert bar.y.sum() == pytest.approx(sum(row[2] * row[3] for row in standin.RECORDED if row[1] == recorded))
        assert bar.customdata.sum() == len([row for row in standin.RECORDED if row[1] == recorded])
        assert list(bar.x) == times(page.buckets.ts)
        assert (bar.offset, bar.width) == (0, 3_600_000)
        assert curve.y[0] == 0
        np.testing.assert_allclose(np.diff(curve.y), bar.y, rtol=1e-9)
        assert list(curve.x[1:]) == times(page.buckets.ts + 60 * standin.MINUTE)
    assert "25 recorded" in said(figure)
    assert "recorded from 2025-10-09 08:53:20Z to 2025-10-09 11:41:20Z" in said(figure)


def test_pages_of_liquidations_draw_what_one_page_draws(client: liqclient.Client) -> None:
    whole = plot.liquidations_figure(client.liquidations("BTCUSDT", interval="10m"), symbol="X", interval="10m")
    pages = client.liquidation_pages("BTCUSDT", interval="10m", page_size=3)
    assert [t.y.tolist() for t in plot.liquidations_figure(pages, symbol="X", interval="10m").data] == [
        t.y.tolist() for t in whole.data
    ]
    first = client.liquidations("BTCUSDT", interval="10m", page_size=3)
    assert "more pages follow" in said(plot.liquidations_figure(first, symbol="X", interval="10m"))
    assert "more pages follow" not in said(whole)


def test_contracts_of_liquidations_are_drawn_on_request(client: liqclient.Client) -> None:
    page = client.liquidations("BTCUSDT", interval="1h")
    assert page.buckets is not None
    figure = plot.liquidations_figure(page, symbol="X", interval="1h", unit="qty")
    np.testing.assert_array_equal(named(figure, "longs").y, page.buckets.long_qty)


def test_liquidations_that_cannot_be_bars_are_refused(client: liqclient.Client) -> None:
    with pytest.raises(ValueError, match="ask for them with an interval"):
        plot.liquidations_figure(client.liquidations("BTCUSDT"), symbol="X", interval="1h")
    page = client.liquidations("BTCUSDT", interval="10m")
    with pytest.raises(ValueError, match="interval must be that of the answer"):
        plot.liquidations_figure(page, symbol="X", interval="1h")
    with pytest.raises(ValueError, match="at least one page"):
        plot.liquidations_figure([], symbol="X", interval="1h")


# --- models ----------------------------------------------------------------------------------------------------


def test_models_stand_below_one_another_on_one_axis_of_prices(client: liqclient.Client) -> None:
    comparison = client.compare("BTCUSDT", ["position_book", "pyliqmap"])
    figure = plot.compare_figure(comparison)
    areas = traces(figure, "scatter")
    assert [(a.yaxis, a.name) for a in areas] == [("y", "longs"), ("y", "shorts"), ("y2", "longs"), ("y2", "shorts")]
    for area, column in zip(areas, [c for m in comparison.models for c in (m.long, m.short)], strict=True):
        assert column is not None
        np.testing.assert_array_equal(area.x[:-1], comparison.price)
        np.testing.assert_array_equal(area.y[:-1], column)
        assert area.x[-1] == comparison.price[-1] + comparison.bin_size
    # One entry of the legend hides a side of every model.
    assert [area.showlegend for area in areas] == [True, True, False, False]
    assert {area.legendgroup for area in areas} == {"long", "short"}
    assert figure.layout.xaxis2.matches == "x"
    assert figure.layout.xaxis.range == figure.layout.xaxis2.range


def test_overlap_stands_below_the_diagonal_for_longs_and_above_for_shorts() -> None:
    pairs = [
        liquidation_pb2.ModelPair(a=2, b=0, overlap_long=0.25, overlap_short=0.75),
    ]
    figure = plot.compare_figure(compare_answer(standin.compare_message(pairs=pairs)))
    [matrix] = traces(figure, "heatmap")
    assert list(matrix.x) == list(matrix.y) == ["position_book", "pyliqmap"]
    np.testing.assert_array_equal(matrix.z, [[np.nan, 0.75], [0.25, np.nan]])
    # The first row is at the top, so that row 1, column 0 lies below the diagonal.
    assert figure.layout.yaxis3.autorange == "reversed"


def test_an_overlap_that_is_not_defined_is_a_gap_and_not_zero() -> None:
    figure = plot.compare_figure(compare_answer(standin.compare_message()))
    [matrix] = traces(figure, "heatmap")
    np.testing.assert_array_equal(matrix.z, [[np.nan, np.nan], [0.0, np.nan]])


def test_a_model_without_an_answer_is_named_with_its_reason() -> None:
    message = standin.compare_message()
    message.models[1].model = "openinterest"
    figure = plot.compare_figure(compare_answer(message))
    assert "openinterest has no answer: it needs trades" in said(figure)


def test_one_model_with_two_sets_of_parameters_has_two_names() -> None:
    message = standin.compare_message()
    message.models[2].provenance.CopyFrom(standin.provenance(parameters_hash="abcdef9876543210"))
    [matrix] = traces(plot.compare_figure(compare_answer(message)), "heatmap")
    assert list(matrix.x) == ["position_book 012345", "position_book abcdef"]


# --- audit -----------------------------------------------------------------------------------------------------


def test_bars_of_an_audit_add_up_to_the_change_of_open_interest(client: liqclient.Client) -> None:
    audit = client.audit("BTCUSDT", interval="1h")
    figure = plot.audit_figure(audit)
    assert figure.layout.barmode == "relative"
    for axis in ("y", "y2"):
        change = sum(bar.y for bar in traces(figure, "bar") if bar.yaxis == axis)
        np.testing.assert_allclose(change, audit.open_interest_end - audit.open_interest_start)
    line = named(figure, "open interest")
    assert line.y.tolist() == [audit.open_interest_start[0], *audit.open_interest_end]
    assert list(line.x[1:]) == times(audit.open_time + audit.interval)


def test_what_a_model_cannot_explain_is_a_part_of_what_was_opened() -> None:
    columns = {"opened_long": [5.0, 3.0], "unexplained_long": [2.0, 0.0], "liquidated_short": [0.0, 4.0]}
    figure = plot.audit_figure(audit_answer(standin.audit_message(**columns)))
    longs = {bar.name: bar for bar in traces(figure, "bar") if bar.yaxis == "y"}
    assert longs["opened"].y.tolist() == [3, 3]
    assert longs["opened"].customdata.tolist() == [5, 3]
    assert longs["unexplained"].y.tolist() == [2, 0]
    assert longs["unexplained"].marker.pattern.shape == "/"
    shorts = {bar.name: bar for bar in traces(figure, "bar") if bar.yaxis == "y2"}
    assert shorts["liquidated"].y.tolist() == [0, -4]
    # Downward, but what is read is an amount.
    assert shorts["liquidated"].customdata.tolist() == [0, 4]
    assert shorts["liquidated"].marker.color == plot.SAFE.short
    assert longs["liquidated"].marker.color == plot.SAFE.long


# --- nothing ---------------------------------------------------------------------------------------------------


def empty_levels(**totals: float) -> liqclient.Levels:
    return levels_answer(
        standin.levels_message(levels=liquidation_pb2.LevelColumns(), totals=liquidation_pb2.BookTotals(**totals))
    )


EMPTY: list[tuple[Callable[[], go.Figure], str]] = [
    (lambda: plot.levels_figure(empty_levels()), "no position has a level in the range"),
    (lambda: plot.levels_figure(empty_levels(long_in_range=5)), "no bin holds what was asked for"),
    (
        lambda: plot.heatmap_figure(
            heatmap_answer(
                liquidation_pb2.GetHeatmapResponse(
                    bin_size=50, interval=standin.MINUTE, unit=common_pb2.UNIT_QTY, provenance=standin.provenance()
                )
            )
        ),
        "no position has a level",
    ),
    (
        lambda: plot.liquidations_figure(
            liquidations_answer(liquidation_pb2.ListLiquidationsResponse(buckets=liquidation_pb2.LiquidationBuckets())),
            symbol="X",
            interval="1h",
        ),
        "no liquidation of X is recorded",
    ),
    (
        lambda: plot.liquidations_figure(
            liquidations_answer(
                standin.liquidations_message(liquidations=None, buckets=liquidation_pb2.LiquidationBuckets())
            ),
            symbol="X",
            interval="1h",
        ),
        "no liquidation was recorded in the time",
    ),
    (
        lambda: plot.compare_figure(
            compare_answer(
                standin.compare_message(models=[liquidation_pb2.ComparedModel(unavailable="no trades")], pairs=[])
            )
        ),
        "no model has an answer",
    ),
    (
        lambda: plot.audit_figure(
            audit_answer(
                liquidation_pb2.GetAuditResponse(
                    interval=standin.MINUTE, unit=common_pb2.UNIT_QTY, provenance=standin.provenance()
                )
            )
        ),
        "no interval lies in the time",
    ),
]


@pytest.mark.parametrize(("draw", "reason"), EMPTY)
def test_where_there_is_nothing_the_figure_says_so(draw: Callable[[], go.Figure], reason: str) -> None:
    figure = draw()
    assert not figure.data
    assert "There is nothing to show" in words(figure)
    assert reason in words(figure)
    assert figure.layout.title.text
    axes = [value for key, value in figure.to_plotly_json()["layout"].items() if key[1:].startswith("axis")]
    assert all(axis.get("visible") is False for axis in axes)


def test_a_heatmap_without_levels_still_shows_the_path() -> None:
    figure = plot.heatmap_figure(heatmap_of([95_000], [[0.0], [0.0]], [[0.0], [0.0]]))
    assert len(traces(figure, "candlestick")) == 1
    assert not traces(figure, "heatmap")
    assert "There is nothing to show: no position has a level" in words(figure)


def test_models_that_have_no_level_in_range_say_so_in_their_place() -> None:
    message = standin.compare_message()
    del message.models[2].long[:]
    message.models[2].long.extend([0, 0])
    figure = plot.compare_figure(compare_answer(message))
    [note] = [note for note in figure.layout.annotations if note.text == "nothing in range"]
    assert note.yref == "y2"
    assert "There is nothing to show" not in words(figure)


# --- themes ----------------------------------------------------------------------------------------------------


def test_classic_has_the_colours_of_the_earlier_page() -> None:
    for theme in (plot.CLASSIC, plot.CLASSIC_DARK):
        assert (theme.long, theme.short, theme.price) == ("#d9024b", "#45bf87", "#f0b90b")


@pytest.mark.parametrize("theme", plot.THEMES.values(), ids=plot.THEMES.keys())
def test_figures_wear_their_theme(client: liqclient.Client, theme: plot.Theme) -> None:
    audit, heatmap = client.audit("BTCUSDT", interval="1h"), client.heatmap("BTCUSDT")
    comparison = client.compare("BTCUSDT", ["position_book", "pyliqmap"])
    figures = [
        plot.levels_figure(client.levels("BTCUSDT"), theme=theme),
        plot.heatmap_figure(heatmap, theme=theme),
        plot.audit_figure(audit, theme=theme),
        plot.compare_figure(comparison, theme=theme),
        plot.liquidations_figure(client.liquidations("BTCUSDT", interval="1h"), symbol="X", interval="1h", theme=theme),
    ]
    for figure in figures:
        assert figure.layout.paper_bgcolor == figure.layout.plot_bgcolor == theme.background
        drawn = json.dumps(figure.to_plotly_json(), default=str)
        assert theme.long in drawn
        assert theme.short in drawn
        others = {c for t in plot.THEMES.values() for c in (t.long, t.short)} - {theme.long, theme.short}
        assert not [colour for colour in others if colour in drawn]
    assert theme.dark is theme.name.endswith("dark")


def linear(colour: str) -> NDArray[np.float64]:
    values = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours as WCAG 2 defines it, in [1, 21]."""
    lights = sorted(float(linear(colour) @ [0.2126, 0.7152, 0.0722]) for colour in (one, other))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


# How those see linear RGB who lack one kind of cones: Machado, Oliveira and Fernandes 2009, severity 1.
BLINDNESS = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def lab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return CIE L*a*b* of linear sRGB."""
    to_xyz = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    )
    ratio = to_xyz @ np.clip(rgb, 0, 1) / [0.95047, 1.0, 1.08883]
    f = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("theme", [plot.SAFE, plot.SAFE_DARK], ids=lambda theme: theme.name)
def test_safe_colours_stay_apart_for_the_colour_blind_and_from_the_background(theme: plot.Theme) -> None:
    for matrix in BLINDNESS.values():
        longs, shorts = (lab(np.array(matrix) @ linear(colour)) for colour in (theme.long, theme.short))
        assert np.linalg.norm(longs - shorts) > 80
    # What WCAG asks of graphics, and of text.
    for colour in (theme.long, theme.short, theme.price, theme.opened):
        assert contrast(colour, theme.background) >= 3
    assert contrast(theme.text, theme.background) >= 7


def test_classic_colours_are_why_safe_is_the_default() -> None:
    theme, deutan = plot.CLASSIC, np.array(BLINDNESS["deutan"])
    assert np.linalg.norm(lab(deutan @ linear(theme.long)) - lab(deutan @ linear(theme.short))) < 30
    assert contrast(theme.price, theme.background) < 3


def test_scales_of_colour_go_one_way_from_the_background() -> None:
    for theme in plot.THEMES.values():
        for colour in (theme.long, theme.short):
            steps = [contrast(shade, theme.background) for _, shade in theme.scale(colour)]
            assert steps == sorted(steps)


def test_a_theme_of_ones_own_is_taken() -> None:
    own = dataclasses.replace(plot.SAFE, name="own", long="#123456")
    levels = levels_answer(standin.levels_message())
    assert plot.levels_figure(levels, theme=own).data[0].marker.color == "#123456"


# --- a real server ---------------------------------------------------------------------------------------------


def test_figures_of_a_real_server_hold_what_it_answers(market_server: str) -> None:
    with liqclient.Client(market_server, timeout=60) as client:
        levels = client.levels("BTCUSDT", per_tier=True, derived=True)
        heatmap = client.heatmap("BTCUSDT", lookback="6h", interval="10m", price_range=0.1)
        comparison = client.compare("BTCUSDT", price_range=0.1)
        audit = client.audit("BTCUSDT", interval="1h", unit="qty")
        pages = list(client.liquidation_pages("BTCUSDT", interval="1h"))
    figure = plot.levels_figure(levels)
    drawn = sum(bar.y.sum() for bar in traces(figure, "bar"))
    assert drawn == pytest.approx(levels.long.sum() + levels.short.sum())
    # Longs below the current price, shorts above.
    for bar in traces(figure, "bar"):
        at = bar.x[np.asarray(bar.y) > 0]
        edge = levels.current_price
        assert (at.max() <= edge) if bar.legend == "legend" else (at.min() + levels.bin_size >= edge)
    assert levels.derived is not None
    longs, shorts = traces(figure, "scatter")
    assert longs.y.max() == pytest.approx(levels.derived.cumulative_long.max())
    assert shorts.y.max() == pytest.approx(levels.derived.cumulative_short.max())
    figure = plot.heatmap_figure(heatmap)
    assert sum(np.nansum(t.z) for t in traces(figure, "heatmap")) == pytest.approx(
        heatmap.long.sum() + heatmap.short.sum(), rel=1e-5
    )
    figure = plot.compare_figure(comparison)
    answering = [m for m in comparison.models if m.unavailable is None]
    [matrix] = traces(figure, "heatmap")
    assert matrix.z.shape == (len(answering), len(answering))
    assert np.isfinite(matrix.z[~np.eye(len(answering), dtype=bool)]).all()
    figure = plot.audit_figure(audit)
    for axis in ("y", "y2"):
        change = sum(bar.y for bar in traces(figure, "bar") if bar.yaxis == axis)
        np.testing.assert_allclose(change, audit.open_interest_end - audit.open_interest_start, atol=1e-6)
    figure = plot.liquidations_figure(pages, symbol="BTCUSDT", interval="1h")
    assert named(figure, "longs").y.sum() == pytest.approx(
        sum(page.buckets.long_notional.sum() for page in pages if page.buckets is not None)
    )
    assert "as of 2025-09-03 00:00Z" in said(plot.levels_figure(levels))
