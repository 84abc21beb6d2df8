"""The dashboard as Chromium shows it: what is drawn is what the server answers."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser

import liqclient
from liqclient.dashboard._question import VIEWS
from liqclient.plot import CLASSIC, CLASSIC_DARK, SAFE, SAFE_DARK, Theme
from liqserver.store.events import archive_batches
from liqserver.store.history import MINUTE
from tests.browser.chromium import needs_chromium
from tests.browser.pages import CONNECTION, MARKS, SAID, SUBTITLE, TITLE, Shown, by_price, held, serving, showing
from tests.rpc.streaming import until
from tests.rpc.test_publish import events

pytestmark = needs_chromium

NOON = "2025-09-02T12:00Z"
NOON_MS = 1_756_814_400_000


@pytest.fixture(scope="module")
def client(market_server: str) -> Any:
    with liqclient.Client(market_server, timeout=60) as asking:
        yield asking


def milliseconds(text: str) -> float:
    return float(np.datetime64(text, "us").astype(np.int64)) / 1e3


# --- every view holds what the server answers --------------------------------------------------------------------


def test_the_map_is_drawn_as_the_server_answers(shown: Shown, dashboard: str, client: liqclient.Client) -> None:
    levels = client.levels("BTCUSDT", price_range=0.1, bin_size=100, per_tier=True, derived=True)
    assert levels.derived is not None
    shown.open(f"{dashboard}?range=0.1&bin_size=100")
    bars = shown.drawn("bar")
    assert by_price(bars, "legend") == pytest.approx(held(levels.price, levels.long))
    assert by_price(bars, "legend2") == pytest.approx(held(levels.price, levels.short))
    for bar in bars:
        tier = levels.tiers[float(bar["name"].removesuffix("x"))]
        column = tier.long if bar["legend"] == "legend" else tier.short
        assert dict(zip(bar["x"], bar["height"], strict=True)) == pytest.approx(held(levels.price, column))
    longs, shorts = shown.drawn("scatter")
    assert longs["y"][0] == pytest.approx(levels.derived.cumulative_long[0])
    assert shorts["y"][-1] == pytest.approx(levels.derived.cumulative_short[-1])
    assert shown.run("chart._fullLayout.shapes.map(of => of.x0)") == [levels.current_price]
    marks = shown.run(MARKS)
    assert (marks["bars"], marks["lines"], marks["shapes"]) == (sum(len(bar["x"]) for bar in bars), 2, 1)
    assert marks["bars"] > 100
    assert shown.run("document.querySelectorAll('.barlayer .point path[d=\"M0,0Z\"]').length") == 0
    assert f"({levels.provenance.parameters_hash})" in shown.run(SUBTITLE)


def test_the_heatmap_is_drawn_as_the_server_answers(shown: Shown, dashboard: str, client: liqclient.Client) -> None:
    heatmap = client.heatmap("BTCUSDT", price_range=0.1, lookback="12h", interval="15m")
    shown.open(f"{dashboard}?view=heatmap&range=0.1&lookback=12h&interval=15m")
    layers = shown.drawn("heatmap")
    for layer, column in zip(layers, (heatmap.long, heatmap.short), strict=True):
        # Rows are bins, from the first to the last that holds something; what is empty has no colour.
        cells = {price: row for price, row in zip(layer["y"], layer["z"], strict=False) if any(row)}
        assert set(cells) == set(heatmap.price[column.any(axis=0)])
        for price, row in cells.items():
            wanted = column[:, int(np.searchsorted(heatmap.price, price))]
            np.testing.assert_allclose([value or 0.0 for value in row], wanted, rtol=1e-6)
    [path] = shown.drawn("candlestick")
    known = np.isfinite(heatmap.close)
    np.testing.assert_array_equal(path["close"], heatmap.close[known])
    longs, shorts = shown.drawn("bar")
    for bar, amounts in ((longs, heatmap.liquidated_long), (shorts, heatmap.liquidated_short)):
        np.testing.assert_allclose(bar["y"], amounts[amounts > 0])
    marks = shown.run(MARKS)
    assert (marks["cells"], marks["candles"]) == (2, known.sum())
    # The picture of a layer has colours: what is drawn is more than an empty frame.
    assert shown.run("[...document.querySelectorAll('.heatmaplayer image')].every(of => of.href.baseVal.length > 500)")


def test_recorded_liquidations_are_drawn_as_the_server_answers(
    shown: Shown, dashboard: str, client: liqclient.Client
) -> None:
    rows = client.liquidations("BTCUSDT", page_size=1_000).liquidations
    assert rows is not None
    newest, hour = int(rows.ts_event[-1]), 60 * MINUTE
    chosen = rows.ts_event >= (newest - 24 * hour) // hour * hour
    shown.open(f"{dashboard}?view=liquidations&interval=1h")
    bars = {bar["name"]: bar for bar in shown.drawn("bar")}
    curves = {curve["name"]: curve for curve in shown.drawn("scatter")}
    for side in liqclient.PositionSide:
        name, mine = f"{side.name.lower()}s", chosen & (rows.side == side)
        wanted: dict[float, float] = {}
        for ts, amount in zip(rows.ts_event[mine] // hour * hour, rows.notional[mine], strict=True):
            wanted[ts / 1e6] = wanted.get(ts / 1e6, 0.0) + amount
        drawn = {milliseconds(x): y for x, y in zip(bars[name]["x"], bars[name]["y"], strict=True) if y > 0}
        assert drawn == pytest.approx(wanted)
        assert curves[f"{name}, sum"]["y"][-1] == pytest.approx(sum(wanted.values()))
    assert shown.run(MARKS)["lines"] == 2


def test_models_are_compared_as_the_server_answers(shown: Shown, dashboard: str, client: liqclient.Client) -> None:
    comparison = client.compare("BTCUSDT", price_range=0.1)
    shown.open(f"{dashboard}?view=compare&range=0.1")
    curves = iter(shown.drawn("scatter"))
    answered = [model for model in comparison.models if model.long is not None and model.short is not None]
    assert len(answered) > 4
    for model in answered:
        for column in (model.long, model.short):
            assert column is not None
            if column.any():
                np.testing.assert_allclose(next(curves)["y"][:-1], column)
    assert next(curves, None) is None
    [overlap] = shown.drawn("heatmap")
    told = [of for pair in comparison.pairs for of in (pair.overlap_long, pair.overlap_short) if of is not None]
    assert sorted(of for row in overlap["z"] for of in row if of is not None) == pytest.approx(sorted(told))
    assert shown.run(MARKS)["shapes"] == len(answered)


def test_coverage_is_drawn_as_the_server_answers(shown: Shown, dashboard: str, client: liqclient.Client) -> None:
    [coverage] = client.coverage("BTCUSDT")
    shown.open(f"{dashboard}?view=coverage")
    [bars] = shown.drawn("bar")
    assert bars["y"] == [(of.kind or "").replace("_", " ") for of in coverage.kinds]
    for base, length, of in zip(bars["base"], bars["x"], coverage.kinds, strict=True):
        assert of.start is not None
        assert of.end is not None
        assert milliseconds(base) == pytest.approx(of.start / 1e6)
        assert length == pytest.approx((of.end - of.start) / 1e6)
    table = shown.run("[...document.querySelectorAll('#rows tr')].map(row => [...row.cells].map(of => of.textContent))")
    assert [row[4] for row in table[1:]] == [f"{of.rows:,}" for of in coverage.kinds]
    assert all(re.fullmatch(r"[\d.]+ d", row[3]) for row in table[1:])


@pytest.mark.parametrize("view", VIEWS)
def test_each_tab_shows_its_view_and_nothing_comes_from_elsewhere(shown: Shown, dashboard: str, view: str) -> None:
    shown.open(f"{dashboard}?range=0.1")
    shown.drawn()
    shown.page.locator(f"[data-view={view}]").click()
    titles = {"map": "levels", "heatmap": "over time", "liquidations": "recorded", "compare": "models"}
    shown.wait(f"{TITLE}?.includes({json.dumps(titles.get(view, view))})")
    # The default view needs no word in the URL.
    assert shown.query.get("view", "map") == view
    assert ("view" in shown.query) == (view != "map")
    assert shown.page.locator("[aria-selected=true]").count() == 1
    shown.wait(f"{CONNECTION}.includes('Newest trades: 2025-09-03 00:00Z')")
    assert "(stale)" in shown.run(CONNECTION)
    assert shown.run("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    shown.page.go_back() if view != "map" else None
    shown.wait(f"{TITLE} === 'BINANCE:BTCUSDT liquidation levels'")
    assert not [url for url in shown.requested if not url.startswith(("data:", "blob:", dashboard))]


# --- controls ----------------------------------------------------------------------------------------------------


def test_controls_of_the_map_change_what_is_asked(shown: Shown, dashboard: str, client: liqclient.Client) -> None:
    shown.open(dashboard)
    shown.drawn()
    shown.put("range", "0.1,0.05")
    shown.put("bin_size", "200")
    shown.put("unit", "qty")
    shown.says("bins of 200")
    shown.wait("chart.layout.yaxis.title.text === 'contracts, base units'")
    shown.tick("[name=per_tier]", False)
    shown.wait("chart.data.filter(of => of.type === 'bar').length === 2")
    levels = client.levels("BTCUSDT", price_range=(0.1, 0.05), bin_size=200, unit="qty")
    assert by_price(shown.drawn("bar"), "legend") == pytest.approx(held(levels.price, levels.long))
    assert by_price(shown.drawn("bar"), "legend2") == pytest.approx(held(levels.price, levels.short))
    shown.page.locator("#parameters > summary").click()
    shown.put("p.kappa", "0.5")
    changed = client.levels("BTCUSDT", parameters=liqclient.Parameters(kappa=0.5)).provenance
    shown.says(f"({changed.parameters_hash})")
    shown.put("model", "pyliqmap")
    shown.says("model pyliqmap")
    # Parameters of another model mean nothing to this one.
    assert "p.kappa" not in shown.query
    shown.put("p.lookback", "4h")
    changed = client.levels("BTCUSDT", model="pyliqmap", parameters=liqclient.Parameters(lookback="4h")).provenance
    shown.says(f"({changed.parameters_hash})")
    fields = {"range": "0.1,0.05", "bin_size": "200", "unit": "qty", "per_tier": "0"}
    assert shown.query == {**fields, "model": "pyliqmap", "p.lookback": "4h"}


def test_the_slider_goes_back_in_time(shown: Shown, dashboard: str, client: liqclient.Client) -> None:
    shown.open(f"{dashboard}?range=0.1&bin_size=100")
    shown.drawn()
    shown.wait("!slider.disabled")
    slider = shown.page.locator("#slider")
    covered = client.levels("BTCUSDT").provenance
    assert covered.history_start is not None
    assert shown.run("[+slider.min, +slider.max]") == [covered.history_start // 10**6, covered.as_of // 10**6]
    slider.fill(str(NOON_MS))
    shown.says("as of 2025-09-02 12:00Z")
    assert shown.query["as_of"] == NOON
    levels = client.levels("BTCUSDT", price_range=0.1, bin_size=100, as_of=NOON)
    assert by_price(shown.drawn("bar"), "legend2") == pytest.approx(held(levels.price, levels.short))
    slider.press("ArrowLeft")
    shown.says("as of 2025-09-02 11:59Z")
    shown.put("as_of", "2025-09-02T06:00Z")
    shown.says("as of 2025-09-02 06:00Z")
    assert shown.run("+slider.value") == NOON_MS - 6 * 3_600_000
    shown.page.locator("#newest").click()
    shown.says("as of 2025-09-03 00:00Z")
    assert "as_of" not in shown.query


def test_controls_of_views_over_time_change_what_is_asked(shown: Shown, dashboard: str) -> None:
    shown.open(f"{dashboard}?view=heatmap&range=0.1")
    [longs, _] = shown.drawn("heatmap")
    assert len(longs["x"]) == 24 * 12 + 2
    shown.put("lookback", "6h")
    shown.put("interval", "30m")
    shown.says("every 30 min")
    shown.wait("chart.calcdata[0][0].trace.x.length === 14")
    linear = shown.run("JSON.stringify(chart.data[0].colorscale)")
    shown.tick("[name=log]", True)
    shown.says("colour logarithmic")
    assert shown.run("JSON.stringify(chart.data[0].colorscale)") != linear
    shown.page.locator("[data-view=liquidations]").click()
    shown.wait(f"{TITLE} === 'BTCUSDT recorded liquidations'")
    assert "by 30 min" in shown.run(SUBTITLE)
    shown.put("interval", "1h")
    shown.says("by 1 h")
    assert shown.query == {"view": "liquidations", "range": "0.1", "lookback": "6h", "interval": "1h", "log": "1"}


def test_models_to_compare_are_chosen_with_their_parameters(
    shown: Shown, dashboard: str, client: liqclient.Client
) -> None:
    shown.open(f"{dashboard}?view=compare&range=0.1")
    shown.drawn()
    shown.wait("form.querySelectorAll('[name=compared]:checked').length > 4")
    others = [model.id for model in client.models() if model.id not in ("position_book", "pyliqmap")]
    for model in others:
        shown.tick(f"input[value={model}]", False)
    shown.wait("chart.data.filter(of => of.type === 'scatter').length === 4")
    shown.page.locator("#parameters > summary").click()
    shown.page.locator("#fields summary", has_text="pyliqmap").click()
    shown.put("p.pyliqmap.lookback", "4h")
    comparison = client.compare(
        "BTCUSDT", ["position_book", ("pyliqmap", liqclient.Parameters(lookback="4h"))], price_range=0.1
    )
    wanted = comparison.models[1].long
    assert wanted is not None
    until(lambda: bool(np.allclose(shown.drawn("scatter")[2]["y"][:-1], wanted)))
    query = {"view": "compare", "range": "0.1", "models": "position_book,pyliqmap", "p.pyliqmap.lookback": "4h"}
    assert shown.query == query
    shown.tick("input[value=ensemble]", True)
    shown.wait("chart.data.filter(of => of.type === 'scatter').length === 6")
    shown.tick("input[value=pyliqmap]", False)
    shown.wait("chart.data.filter(of => of.type === 'scatter').length === 4")
    assert shown.query["models"] == "position_book,ensemble"
    assert "p.pyliqmap.lookback" not in shown.query


@pytest.mark.parametrize("theme", [SAFE, SAFE_DARK, CLASSIC, CLASSIC_DARK])
def test_themes_colour_the_figure_and_the_page(shown: Shown, dashboard: str, theme: Theme) -> None:
    shown.open(f"{dashboard}?range=0.1&per_tier=0")
    shown.drawn()
    shown.put("theme", "" if theme is SAFE else theme.name)
    shown.wait(f"chart.data[0].marker.color === {json.dumps(theme.long)}")
    longs, shorts = (shown.page.locator(f".barlayer .trace:nth-child({n}) .point path").first for n in (1, 2))
    rgb = [f"rgb({', '.join(str(int(of[at : at + 2], 16)) for at in (1, 3, 5))})" for of in (theme.long, theme.short)]
    assert [of.evaluate("of => getComputedStyle(of).fill") for of in (longs, shorts)] == rgb
    back = shown.run("getComputedStyle(document.body).backgroundColor")
    assert back == f"rgb({', '.join(str(int(theme.background[at : at + 2], 16)) for at in (1, 3, 5))})"
    line = shown.run("getComputedStyle(document.querySelector('.shapelayer path')).stroke")
    assert line == f"rgb({', '.join(str(int(theme.price[at : at + 2], 16)) for at in (1, 3, 5))})"


def test_a_url_shows_the_same_elsewhere(shown: Shown, chromium: Browser, dashboard: str) -> None:
    query = "range=0.05&bin_size=100&as_of=2025-09-02T12:00Z&p.kappa=0.5&theme=classic-dark&per_tier=0&unit=qty"
    shown.open(f"{dashboard}?{query}")
    shown.says("as of 2025-09-02 12:00Z")
    shown.put("range", "0.08")
    shown.wait(f"{SAID} !== 'Asking the server.'")
    here = shown.drawn()
    assert [of["name"] for of in here if of["type"] == "bar"] == ["all", "all"]
    assert shown.run("chart._fullLayout.paper_bgcolor") == CLASSIC_DARK.background
    controls = "[...form.elements].filter(of => of.name).map(of => [of.name, of.checked ?? 0, of.value])"
    with chromium.new_context(viewport={"width": 1200, "height": 900}) as context:
        elsewhere = Shown(context.new_page())
        elsewhere.open(shown.page.url)
        assert elsewhere.drawn() == here
        elsewhere.wait(f"{CONNECTION}.startsWith('Connected')")
        assert elsewhere.run(controls) == shown.run(controls)
        assert elsewhere.run("+slider.value") == NOON_MS
        assert elsewhere.run("at('parameters').open")


def test_zoom_and_hidden_tiers_stay_while_the_same_is_asked(shown: Shown, dashboard: str) -> None:
    shown.open(f"{dashboard}?range=0.1")
    shown.drawn()
    shown.run("Plotly.relayout(chart, {'xaxis.range': [120000, 122000]})")
    tier = shown.page.locator(".legend .traces").first
    tier.locator(".legendtoggle").dispatch_event("mousedown")
    tier.locator(".legendtoggle").dispatch_event("mouseup")
    shown.wait("chart._fullData[0].visible === 'legendonly'")
    shown.run("load()")
    shown.wait(f"asking === null && {SAID} !== 'Asking the server.'")
    assert shown.run("chart._fullLayout.xaxis.range") == [120_000, 122_000]
    assert shown.run("chart._fullData[0].visible") == "legendonly"


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("bin_size=7", "must be a multiple of the base bin"),
        ("as_of=yesterday", "as_of: "),
        ("symbol=NONE", "symbol 'NONE' is not known; known: BINANCE:BTCUSDT"),
        ("view=heatmap&model=pyliqmap", "pyliqmap"),
        ("view=compare&models=openinterest,pyliqmap&p.ensemble.lookback=4h", "ensemble is not compared"),
        ("view=pie", "There is no view pie"),
        ("live=1&as_of=2025-09-02T00:00Z", "live: must be off"),
    ],
)
def test_what_cannot_be_shown_is_said_in_words(shown: Shown, dashboard: str, query: str, said: str) -> None:
    shown.open(f"{dashboard}?{query}")
    shown.wait(f"{SAID}.includes({json.dumps(said)})")
    assert shown.run("document.querySelectorAll('#chart .plot').length") == 0


@pytest.mark.parametrize("view", VIEWS)
def test_it_fits_a_phone(chromium: Browser, dashboard: str, view: str) -> None:
    with chromium.new_context(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True) as context:
        page = Shown(context.new_page())
        page.open(f"{dashboard}?view={view}&p.kappa=0.8" if view == "map" else f"{dashboard}?view={view}")
        page.drawn()
        assert page.run("document.documentElement.scrollWidth") <= 390
        assert page.run("chart._fullLayout.width") == 390
        subtitle = page.run("document.querySelector('.gtitle-subtitle').getBoundingClientRect().right")
        assert subtitle <= 390
        # Turned on its side, the title takes the room there is.
        tall = page.run("chart._fullLayout.margin.t")
        page.page.set_viewport_size({"width": 844, "height": 390})
        page.wait(f"chart._fullLayout.width > 800 && chart._fullLayout.margin.t < {tall}")


# --- a server that lives and dies ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def minutes(market_archive: Path) -> list[liqclient.Events]:
    """Two hours of the simulated market, a minute in each batch."""
    batches = itertools.islice(archive_batches([market_archive], MINUTE), 120)
    return [events(batch) for _, batch in batches]


def test_live_updates_arrive_and_a_killed_server_is_told_of_and_found_again(
    shown: Shown, minutes: list[liqclient.Events], closed_target: str, tmp_path: Path
) -> None:
    port, db = int(closed_target.rpartition(":")[2]), tmp_path / "live.duckdb"
    as_of = "facts.as_of"
    with showing(closed_target) as running:
        shown.open(f"{running.url}?live=1&range=0.1&bin_size=100")
        shown.wait(f"{CONNECTION}.includes({json.dumps(f'no liqserver reached at {closed_target}')})")
        shown.wait(f"{SAID}.includes('There is nothing to show yet')")
        with serving(db, port) as process, liqclient.Client(closed_target) as client:
            shown.wait(f"{SAID}.includes('the server has no data of any symbol')")
            list(client.publish(minutes[:60]))
            first = shown.wait(f"{TITLE} && {as_of}")
            list(client.publish(minutes[60:90]))
            levels = client.levels("BTCUSDT", price_range=0.1, bin_size=100, derived=True)
            newest = levels.provenance.as_of // 10**6
            assert newest >= first + 30 * 60_000 - 60_000
            shown.wait(f"{as_of} === {newest}")
            # The stream's levels are drawn as the answer to a question would be.
            assert by_price(shown.drawn("bar"), "legend") == pytest.approx(held(levels.price, levels.long))
            assert by_price(shown.drawn("bar"), "legend2") == pytest.approx(held(levels.price, levels.short))
            assert levels.derived is not None
            longs, shorts = shown.drawn("scatter")
            assert longs["y"][0] == pytest.approx(levels.derived.cumulative_long[0])
            assert shorts["y"][-1] == pytest.approx(levels.derived.cumulative_short[-1])
            assert shown.run(MARKS)["bars"] > 10
            assert shown.run(CONNECTION).startswith("Live")
            process.kill()
            process.wait()
            words = shown.wait(f"{CONNECTION}.startsWith('No answer') && {CONNECTION}")
            assert closed_target in words
            assert "What is shown is old, as of " in words
            # The last figure stays, paler.
            assert shown.run(TITLE)
            assert shown.run("chart.classList.contains('old')")
        with serving(db, port), liqclient.Client(closed_target) as client:
            shown.wait(f"{CONNECTION}.startsWith('Live') && !chart.classList.contains('old')")
            list(client.publish(minutes[89:110]))
            newest = client.levels("BTCUSDT").provenance.as_of // 10**6
            shown.wait(f"{as_of} === {newest}")
            # The other views look again when the levels have changed.
            shown.page.locator("[data-view=heatmap]").click()
            heatmap = f"{TITLE} === 'BINANCE:BTCUSDT liquidation levels over time'"
            before = shown.wait(f"{heatmap} && {as_of}")
            assert before > first
            list(client.publish(minutes[109:]))
            shown.wait(f"{heatmap} && {as_of} > {before}", seconds=30)
    # Now the dashboard itself is gone.
    shown.wait(f"{CONNECTION}.includes('the dashboard itself does not answer')")


def test_live_and_symbol_are_switches(
    shown: Shown, minutes: list[liqclient.Events], closed_target: str, tmp_path: Path
) -> None:
    port = int(closed_target.rpartition(":")[2])
    with (
        serving(tmp_path / "two.duckdb", port),
        liqclient.Client(closed_target) as client,
        showing(closed_target) as running,
    ):
        for symbol, count in (("BTCUSDT", 40), ("ETHUSDT", 60)):
            list(client.publish([replace(of, symbol=symbol) for of in minutes[:count]]))
        shown.open(f"{running.url}?symbol=BTCUSDT&range=0.1")
        shown.wait(f"{TITLE} === 'BINANCE:BTCUSDT liquidation levels'")
        before = shown.run("facts.as_of")
        shown.wait("document.querySelectorAll('[name=symbol] option').length === 2")
        shown.put("symbol", "BINANCE:ETHUSDT")
        shown.wait(f"{TITLE} === 'BINANCE:ETHUSDT liquidation levels'")
        assert shown.query["symbol"] == "ETHUSDT"
        shown.put("symbol", "BINANCE:BTCUSDT")
        shown.wait(f"{TITLE} === 'BINANCE:BTCUSDT liquidation levels'")
        # What is not live stays as it is.
        list(client.publish(minutes[40:50]))
        assert shown.run("facts.as_of") == before
        shown.tick("[name=live]", True)
        newest = client.levels("BTCUSDT").provenance.as_of // 10**6
        shown.wait(f"facts.as_of === {newest}")
        assert newest > before
        assert shown.query["live"] == "1"
        assert shown.run("slider.disabled && form.as_of.disabled")
        list(client.publish(minutes[50:60]))
        shown.wait(f"facts.as_of > {newest}")
        shown.tick("[name=live]", False)
        assert "live" not in shown.query
        shown.wait("events === null && !slider.disabled")
