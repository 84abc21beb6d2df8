"""Figures as a browser shows them, and the commands that write them."""

import base64
import json
import os
import re
import stat
import struct
import subprocess
import sys
import xml.etree.ElementTree as ET
import zlib
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import plotly.graph_objects as go
import pytest
from typer.testing import CliRunner, Result

from liqclient import plot
from liqclient._answers import audit_answer, compare_answer, heatmap_answer, levels_answer, liquidations_answer
from liqserver.cli.plot import app
from liqserver.v1 import liquidation_pb2
from tests.browser.chromium import CHROMIUM, needs_chromium

from . import standin

LEVELS = levels_answer(
    standin.levels_message(
        levels=liquidation_pb2.LevelColumns(
            price=[95_000, 105_000],
            long=[1.5, 0],
            short=[0, 2.5],
            tiers=[
                liquidation_pb2.TierColumns(leverage=10, long=[1, 0], short=[0, 2]),
                liquidation_pb2.TierColumns(leverage=25, long=[0.5, 0], short=[0, 0.5]),
            ],
        )
    )
)


def shown(figure: go.Figure, script: str, tmp_path: Path) -> Any:
    """Show a figure in a browser, run a script of ``gd`` that calls ``done(value)``, and return the value."""
    page = tmp_path / "page.html"
    end = f"""
        const gd = document.getElementById("figure");
        const done = value => {{
            const pre = document.createElement("pre");
            pre.textContent = "val" + "ue=" + encodeURIComponent(JSON.stringify(value)) + "=value";
            document.documentElement.replaceChildren(pre);
        }};
        try {{ {script} }} catch (error) {{ done(String(error)); }}"""
    figure.write_html(page, div_id="figure", post_script=end)
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000"]
    command += [f"--user-data-dir={tmp_path}/profile", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    found = re.search("<pre>value=(.*?)=value", done.stdout)
    assert found is not None, done.stderr[-2000:]
    return json.loads(unquote(found[1]))


COUNT = """
    done({
        bars: gd.querySelectorAll(".barlayer .point path").length,
        cells: gd.querySelectorAll(".heatmaplayer image").length,
        candles: gd.querySelectorAll(".boxlayer path.box").length,
        lines: gd.querySelectorAll(".scatterlayer path.js-line").length,
        words: [...gd.querySelectorAll("text")].map(t => t.textContent).join(" "),
    });
"""


@needs_chromium
def test_a_browser_draws_the_marks_of_every_figure(tmp_path: Path) -> None:
    derived = liquidation_pb2.DerivedFigures(cumulative_long=[1.5, 0], cumulative_short=[0, 2.5])
    bars = shown(plot.levels_figure(levels_answer(standin.levels_message(derived=derived))), COUNT, tmp_path)
    assert (bars["bars"], bars["lines"]) == (2, 2)
    assert "as of 2025-10-10 08:53:20Z; model position_book" in bars["words"]
    assert "price 100,000 (mark_price)" in bars["words"]
    over_time = shown(plot.heatmap_figure(heatmap_answer(standin.heatmap_message())), COUNT, tmp_path)
    assert (over_time["cells"], over_time["candles"], over_time["bars"]) == (2, 2, 4)
    compared = shown(plot.compare_figure(compare_answer(standin.compare_message())), COUNT, tmp_path)
    # The second model has no shorts; the matrix is one more picture.
    assert (compared["lines"], compared["cells"]) == (3, 1)
    audited = shown(plot.audit_figure(audit_answer(standin.audit_message())), COUNT, tmp_path)
    assert (audited["bars"], audited["lines"]) == (2 * 4 * 2, 1)
    buckets = liquidation_pb2.LiquidationBuckets(
        ts=[standin.MINUTE, 3 * standin.MINUTE],
        **{f"{side}_{what}": [1, 2] for side in ("long", "short") for what in ("notional", "qty", "count")},
    )
    recorded = liquidations_answer(standin.liquidations_message(liquidations=None, buckets=buckets))
    drawn = shown(plot.liquidations_figure(recorded, symbol="X", interval="1m"), COUNT, tmp_path)
    assert (drawn["bars"], drawn["lines"]) == (4, 2)


@needs_chromium
def test_where_there_is_nothing_a_browser_shows_the_words(tmp_path: Path) -> None:
    empty = levels_answer(
        standin.levels_message(levels=liquidation_pb2.LevelColumns(), totals=liquidation_pb2.BookTotals())
    )
    assert "There is nothing to show" in shown(plot.levels_figure(empty), COUNT, tmp_path)["words"]


@needs_chromium
def test_hovering_a_cell_tells_its_moment_price_amount_and_unit(tmp_path: Path) -> None:
    script = """
        Plotly.Fx.hover(gd, {xval: gd._fullLayout.xaxis.d2c("2025-10-10 08:52:00"), yval: 95010}, "xy");
        setTimeout(() => done(gd.querySelector(".hoverlayer").textContent), 500);
    """
    heatmap = heatmap_answer(standin.heatmap_message(short=[0.0] * 6))
    text = shown(plot.heatmap_figure(heatmap), script, tmp_path)
    # The middle column, lower bin: 3 contracts of longs.
    assert "as of 2025-10-10 08:52:20Z" in text
    assert "95,025 ± 25" in text
    assert "3 contracts" in text
    assert "longs" in text


@needs_chromium
def test_the_title_of_a_legend_hides_a_side_and_an_entry_a_tier(tmp_path: Path) -> None:
    script = """
        const click = element => ["mousedown", "mouseup"].forEach(
            kind => element.dispatchEvent(new MouseEvent(kind, {bubbles: true, button: 0})));
        const visible = () => gd._fullData.map(trace => trace.visible);
        const all = visible();
        click(gd.querySelector(".legendtitletoggle"));
        setTimeout(() => {
            const side = visible();
            click(gd.querySelectorAll(".legend2toggle")[1]);
            setTimeout(() => done([all, side, visible()]), 1500);
        }, 1500);
    """
    everything, without_longs, without_a_tier = shown(plot.levels_figure(LEVELS), script, tmp_path)
    assert everything == [True, True, True, True]
    assert without_longs == ["legendonly", "legendonly", True, True]
    assert without_a_tier == ["legendonly", "legendonly", True, "legendonly"]


@needs_chromium
def test_titles_and_legends_stay_inside_a_phone(tmp_path: Path) -> None:
    script = """
        Plotly.relayout(gd, {width: 390}).then(() => {
            const edges = [...gd.querySelectorAll(".gtitle, .gtitle-subtitle, .legend, .legend2")];
            const boxes = edges.map(e => e.getBoundingClientRect()), own = gd.getBoundingClientRect();
            done({right: Math.max(...boxes.map(b => b.right - own.left)), n: boxes.length,
                  bottom: Math.max(...boxes.map(b => b.bottom - own.top)), height: gd._fullLayout.height});
        });
    """
    box = shown(plot.levels_figure(LEVELS), script, tmp_path)
    assert box["n"] == 4
    assert box["right"] <= 390
    assert box["bottom"] <= box["height"]


# --- commands --------------------------------------------------------------------------------------------------


def run(*arguments: str, code: int = 0) -> Result:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == code, done.output
    return done


def pixels(png: bytes) -> tuple[int, int, set[bytes]]:
    """Return width, height and the colours of a picture, 8 bits a channel without interlacing."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    width, height, depth, kind = struct.unpack(">IIBB", png[16:26])
    channels = {2: 3, 6: 4}[kind]
    assert depth == 8
    data, at = b"", 8
    while at < len(png):
        [size] = struct.unpack(">I", png[at : at + 4])
        if png[at + 4 : at + 8] == b"IDAT":
            data += png[at + 8 : at + 8 + size]
        at += size + 12
    rows = np.frombuffer(zlib.decompress(data), dtype=np.uint8).reshape(height, 1 + width * channels)
    # Rows are stored as differences; whether there is more than one colour shows without undoing them.
    return width, height, {row.tobytes() for row in rows[:: max(1, height // 200)]}


@pytest.mark.parametrize("what", ["levels", "heatmap", "liquidations", "compare", "audit"])
def test_each_command_writes_a_page_that_needs_no_network(market_server: str, tmp_path: Path, what: str) -> None:
    page = tmp_path / f"{what}.html"
    out = run(what, "BTCUSDT", "--target", market_server, "-o", str(page), "--theme", "classic-dark").output
    assert str(page) in out.replace("\n", "")
    text = page.read_text()
    assert 4_500_000 < len(text) < 9_000_000
    assert not re.search(r"<(script|link|img)[^>]*(src|href)\s*=", text[:2000] + text[-2000:])
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in text
    assert "background: #14171c" in text
    assert "#d9024b" in text
    assert re.search("<title>(BINANCE:)?BTCUSDT .*</title>", text)


def test_options_reach_the_server_and_json_is_a_figure(server: standin.Standin, tmp_path: Path) -> None:
    out = tmp_path / "levels.json"
    arguments = ("--unit", "qty", "--range", "0.1,0.05", "--side", "long", "--bin-size", "100", "--kappa", "0.5")
    run("levels", "BTCUSDT", "--target", server.target, "-o", str(out), "--as-of", "2025-10-10T00:00Z", *arguments)
    [request] = server.requests
    assert isinstance(request, liquidation_pb2.GetLevelsRequest)
    assert (request.query.price_range.down, request.query.price_range.up) == (0.1, 0.05)
    assert request.query.bin_size == 100
    assert request.query.parameters.kappa == 0.5
    assert request.query.per_tier
    assert request.query.derived
    figure = go.Figure(json.loads(out.read_text()))
    assert "as of 2025-10-10 00:00Z" in figure.layout.title.subtitle.text
    assert "contracts" in figure.layout.yaxis.title.text
    assert {trace.legend for trace in figure.data} == {"legend"}


def test_all_pages_of_liquidations_are_drawn(server: standin.Standin, tmp_path: Path) -> None:
    out = tmp_path / "liquidations.json"
    run("liquidations", "BTCUSDT", "--target", server.target, "--interval", "10m", "--unit", "qty", "-o", str(out))
    figure = go.Figure(json.loads(out.read_text()))
    drawn = sum(
        np.frombuffer(base64.b64decode(trace.y["bdata"]), dtype="<f8").sum()
        for trace in figure.data
        if trace.type == "bar"
    )
    assert drawn == pytest.approx(sum(row[3] for row in standin.RECORDED))


def test_without_an_output_the_page_is_named_for_what_it_shows(
    server: standin.Standin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run("audit", "BTCUSDT", "--target", server.target, "--every", "4h", "--cdn")
    text = (tmp_path / "btcusdt-audit.html").read_text()
    assert len(text) < 200_000
    assert re.search('<script [^>]*src="https://', text)


@pytest.mark.parametrize(
    ("name", "said"),
    [("figure.pdf", "must end in .html, .png, .svg, .json"), ("missing/figure.html", "there is no folder")],
)
def test_what_cannot_be_written_is_refused_before_anything_is_asked(
    server: standin.Standin, tmp_path: Path, name: str, said: str
) -> None:
    done = run("levels", "BTCUSDT", "--target", server.target, "-o", str(tmp_path / name), code=2)
    assert said in re.sub(r"[\s│]+", " ", done.output)
    assert not server.requests


def test_without_chromium_a_picture_is_refused_and_says_what_to_install(
    server: standin.Standin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    done = run("levels", "BTCUSDT", "--target", server.target, "-o", str(tmp_path / "levels.png"), code=1)
    assert "install the package chromium" in done.output
    assert not server.requests


def test_a_chromium_that_fails_is_an_error_and_leaves_no_file(
    server: standin.Standin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "chromium"
    fake.write_text("#!/bin/sh\necho 'no display today' >&2\nexit 7\n")
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    done = run("levels", "BTCUSDT", "--target", server.target, "-o", str(tmp_path / "levels.svg"), code=1)
    assert "exit code 7" in done.output
    assert "no display today" in done.output
    assert not (tmp_path / "levels.svg").exists()


def test_without_plotly_the_command_says_what_to_install(server: standin.Standin, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['plotly'] = None\n"
        "from liqserver.cli.plot import app\n"
        f"app(['levels', 'BTCUSDT', '--target', '{server.target}', '-o', '{tmp_path / 'levels.html'}'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert 'pip install "liqserver[plot]"' in done.stderr


@needs_chromium
def test_pictures_are_of_the_size_asked_for_and_not_blank(server: standin.Standin, tmp_path: Path) -> None:
    png, svg = tmp_path / "heatmap.png", tmp_path / "heatmap.svg"
    base = ("heatmap", "BTCUSDT", "--target", server.target, "--width", "700", "--log")
    run(*base, "--scale", "1.5", "-o", str(png))
    run(*base, "-o", str(svg))
    width, height, rows = pixels(png.read_bytes())
    assert width == 1050
    assert len(rows) > 50
    root = ET.fromstring(svg.read_text())
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert (int(root.attrib["width"]), int(1.5 * int(root.attrib["height"]))) == (700, height)
    assert "BINANCE:BTCUSDT liquidation levels over time" in "".join(root.itertext())


def test_open_hands_the_page_to_the_browser(
    server: standin.Standin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser, seen = tmp_path / "browser", tmp_path / "seen"
    browser.write_text(f'#!/bin/sh\necho "$1" > {seen}\n')
    browser.chmod(browser.stat().st_mode | stat.S_IXUSR)
    page = tmp_path / "levels.html"
    code = "from liqserver.cli.plot import app; app()"
    command = [sys.executable, "-c", code, "levels", "BTCUSDT", "--target", server.target, "-o", str(page), "--open"]
    environment = {**os.environ, "BROWSER": str(browser)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert seen.read_text().strip() == page.as_uri()
