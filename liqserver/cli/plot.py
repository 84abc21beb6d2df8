"""`liqserver plot`: answers as figures, in a page that needs no network or as a picture."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
import tempfile
import urllib.parse
import webbrowser
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

import liqclient
from liqserver.cli.options import (
    DEFAULT_RANGE,
    HOUR,
    MODEL_PANEL,
    MOMENT,
    OF_SELECTIONS,
    OUTPUT_PANEL,
    WHAT_PANEL,
    AsOfOption,
    BinSizeOption,
    CalibrationOption,
    DbOption,
    EndOption,
    MinNotionalOption,
    ModelOption,
    RangeOption,
    SideChoice,
    SideOption,
    StartOption,
    SymbolArgument,
    TargetOption,
    UnitChoice,
    UnitOption,
    VenueOption,
    complete_model,
    connected,
    length,
    moment,
    with_parameters,
)
from liqserver.cli.output import console, errors_console

if TYPE_CHECKING:
    from collections.abc import Callable


app = typer.Typer(
    help="Answers as figures: an HTML page to look into, or a picture.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

_CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_RENDER_SECONDS = 120
# A score over months takes long on a machine that has other things to do.
_SCORE_SECONDS = 600.0
_SUFFIXES = (".html", ".png", ".svg", ".json")
# Our page, so that a figure neither leaves the machine at a click nor shows whose library draws it.
_CONFIG = {"responsive": True, "displaylogo": False, "showSendToCloud": False}
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>body {{ margin: 0; background: {background}; }}</style>
</head>
<body>
{figure}
</body>
</html>
"""
# What stands in the page afterwards is nothing but the picture, as a data URL.
_TO_IMAGE = """
Plotly.toImage(document.getElementById("{{plot_id}}"), {options}).then(
    url => {{ document.documentElement.innerHTML = "<body>picture=" + url + "=picture</body>"; }},
    error => {{ document.documentElement.innerHTML = "<body>failed</body>"; }});
"""


class ThemeChoice(StrEnum):
    """Colours of figures."""

    SAFE = "safe"
    SAFE_DARK = "safe-dark"
    CLASSIC = "classic"
    CLASSIC_DARK = "classic-dark"


OutputFileOption = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        dir_okay=False,
        show_default=False,
        help="File to write: .html (self-contained), .png or .svg (by Chromium), or .json (for Plotly). "
        "\\[default: SYMBOL-FIGURE.html]",
        rich_help_panel=OUTPUT_PANEL,
    ),
]
ThemeOption = Annotated[
    ThemeChoice,
    typer.Option(help="Colours; those of safe stay apart for the colour-blind.", rich_help_panel=OUTPUT_PANEL),
]
WidthOption = Annotated[int, typer.Option(help="Width of a picture.", min=300, max=8000, rich_help_panel=OUTPUT_PANEL)]
ScaleOption = Annotated[
    float, typer.Option(help="PNG: pixels for each unit of width.", min=0.5, max=8, rich_help_panel=OUTPUT_PANEL)
]
OpenOption = Annotated[bool, typer.Option("--open", help="Open it in the browser.", rich_help_panel=OUTPUT_PANEL)]
CdnOption = Annotated[
    bool,
    typer.Option(
        "--cdn",
        help="HTML: load plotly.js from its makers' network instead of holding it, 5 MB less.",
        rich_help_panel=OUTPUT_PANEL,
    ),
]


@app.command()
@with_parameters()
def levels(
    symbol: SymbolArgument,
    venue: VenueOption = "",
    as_of: AsOfOption = None,
    bin_size: BinSizeOption = None,
    price_range: RangeOption = DEFAULT_RANGE,
    side: SideOption = SideChoice.BOTH,
    unit: UnitOption = UnitChoice.NOTIONAL,
    per_tier: Annotated[
        bool, typer.Option("--per-tier/--no-per-tier", help="Break down by leverage.", rich_help_panel=WHAT_PANEL)
    ] = True,
    min_notional: MinNotionalOption = 0.0,
    model: ModelOption = "",
    calibration: CalibrationOption = "",
    *,
    parameters: liqclient.Parameters,
    output: OutputFileOption = None,
    theme: ThemeOption = ThemeChoice.SAFE,
    width: WidthOption = 1200,
    scale: ScaleOption = 2.0,
    cdn: CdnOption = False,
    open_it: OpenOption = False,
    target: TargetOption = None,
    db: DbOption = None,
) -> None:
    """Liquidation levels by price, stacked by leverage, and what adds up on the way from the current price.

    For example `liqserver plot levels BTCUSDT --range 0.1 -o levels.html`.
    """
    figures = _Figures(symbol, "levels", output, theme, (width, scale), cdn, open_it)
    with connected(target, db) as client:
        answer = client.levels(
            symbol,
            venue=venue,
            model=model,
            as_of=as_of,
            bin_size=bin_size,
            price_range=price_range,
            side=side.value,
            unit=unit.value,
            per_tier=per_tier,
            min_notional=min_notional,
            derived=True,
            parameters=parameters,
            calibration=calibration,
        )
    figures.write(figures.plot.levels_figure(answer, **figures.dressed))


@app.command()
@with_parameters(leave_out=OF_SELECTIONS)
def heatmap(
    symbol: SymbolArgument,
    venue: VenueOption = "",
    start: Annotated[int | None, moment(f"From this moment, instead of a lookback: {MOMENT}.")] = None,
    end: EndOption = None,
    lookback: Annotated[int | None, length("So long before the end, instead of a start: 4h, 7d.", "1d")] = None,
    interval: Annotated[
        int | None, length("Length of time between columns, 1m to 1d; at most 500 columns if not given.")
    ] = None,
    bin_size: BinSizeOption = None,
    price_range: RangeOption = DEFAULT_RANGE,
    side: SideOption = SideChoice.BOTH,
    unit: UnitOption = UnitChoice.NOTIONAL,
    model: ModelOption = "",
    calibration: CalibrationOption = "",
    *,
    parameters: liqclient.Parameters,
    log: Annotated[
        bool,
        typer.Option("--log", help="Colour by the logarithm: small levels beside large.", rich_help_panel=OUTPUT_PANEL),
    ] = False,
    output: OutputFileOption = None,
    theme: ThemeOption = ThemeChoice.SAFE,
    width: WidthOption = 1200,
    scale: ScaleOption = 2.0,
    cdn: CdnOption = False,
    open_it: OpenOption = False,
    target: TargetOption = None,
    db: DbOption = None,
) -> None:
    """Levels over time, the path of the price through them, and what it liquidated.

    For example `liqserver plot heatmap BTCUSDT --lookback 2d --range 0.05 --theme safe-dark -o heatmap.png`.
    """
    if start is not None and lookback is not None:
        raise typer.BadParameter("give --start or --lookback, not both")
    figures = _Figures(symbol, "heatmap", output, theme, (width, scale), cdn, open_it)
    with connected(target, db) as client:
        answer = client.heatmap(
            symbol,
            venue=venue,
            model=model,
            start=start,
            end=end,
            lookback=lookback,
            interval=interval,
            bin_size=bin_size,
            price_range=price_range,
            side=side.value,
            unit=unit.value,
            parameters=parameters,
            calibration=calibration,
        )
    figures.write(figures.plot.heatmap_figure(answer, **figures.dressed, log_colour=log))


@app.command()
def liquidations(
    symbol: SymbolArgument,
    venue: VenueOption = "",
    start: StartOption = None,
    end: EndOption = None,
    side: SideOption = SideChoice.BOTH,
    interval: Annotated[int, length("Add up by this length of time, 1s to 30d.", "1h")] = HOUR,
    unit: UnitOption = UnitChoice.NOTIONAL,
    output: OutputFileOption = None,
    theme: ThemeOption = ThemeChoice.SAFE,
    width: WidthOption = 1200,
    scale: ScaleOption = 2.0,
    cdn: CdnOption = False,
    open_it: OpenOption = False,
    target: TargetOption = None,
    db: DbOption = None,
) -> None:
    """Recorded liquidations by interval and side, and what they add up to.

    For example `liqserver plot liquidations BTCUSDT --interval 15m --start 2025-09-02T00:00Z -o liquidations.html`.
    """
    figures = _Figures(symbol, "liquidations", output, theme, (width, scale), cdn, open_it)
    with connected(target, db) as client:
        pages = list(
            client.liquidation_pages(symbol, venue=venue, start=start, end=end, side=side.value, interval=interval)
        )
    figures.write(
        figures.plot.liquidations_figure(pages, symbol=symbol, interval=interval, unit=unit.value, **figures.dressed)
    )


@app.command()
def compare(
    symbol: SymbolArgument,
    venue: VenueOption = "",
    as_of: AsOfOption = None,
    bin_size: BinSizeOption = None,
    price_range: RangeOption = DEFAULT_RANGE,
    unit: UnitOption = UnitChoice.NOTIONAL,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="A model; repeat for each, two to ten. Every model if not given. See `liqserver models`.",
            autocompletion=complete_model,
            rich_help_panel=MODEL_PANEL,
        ),
    ] = None,
    output: OutputFileOption = None,
    theme: ThemeOption = ThemeChoice.SAFE,
    width: WidthOption = 1200,
    scale: ScaleOption = 2.0,
    cdn: CdnOption = False,
    open_it: OpenOption = False,
    target: TargetOption = None,
    db: DbOption = None,
) -> None:
    """Several models below one another on one axis of prices, and how much each two agree.

    For example `liqserver plot compare BTCUSDT --range 0.1 --model position_book --model openinterest -o compare.html`.
    """
    figures = _Figures(symbol, "compare", output, theme, (width, scale), cdn, open_it)
    with connected(target, db) as client:
        answer = client.compare(
            symbol, model, venue=venue, as_of=as_of, bin_size=bin_size, price_range=price_range, unit=unit.value
        )
    figures.write(figures.plot.compare_figure(answer, **figures.dressed))


@app.command()
@with_parameters(leave_out=OF_SELECTIONS)
def audit(
    symbol: SymbolArgument,
    venue: VenueOption = "",
    start: StartOption = None,
    end: EndOption = None,
    every: Annotated[int, length("Length of an interval, such as 5m, 1h, 1d; 1m to 30d.", "1h")] = HOUR,
    unit: UnitOption = UnitChoice.NOTIONAL,
    model: ModelOption = "",
    calibration: CalibrationOption = "",
    *,
    parameters: liqclient.Parameters,
    output: OutputFileOption = None,
    theme: ThemeOption = ThemeChoice.SAFE,
    width: WidthOption = 1200,
    scale: ScaleOption = 2.0,
    cdn: CdnOption = False,
    open_it: OpenOption = False,
    target: TargetOption = None,
    db: DbOption = None,
) -> None:
    """What was opened, closed and liquidated in each interval according to a model, and open interest.

    For example `liqserver plot audit BTCUSDT --every 4h --unit qty -o audit.html`.
    """
    figures = _Figures(symbol, "audit", output, theme, (width, scale), cdn, open_it)
    with connected(target, db) as client:
        answer = client.audit(
            symbol,
            interval=every,
            start=start,
            end=end,
            venue=venue,
            model=model,
            unit=unit.value,
            parameters=parameters,
            calibration=calibration,
        )
    figures.write(figures.plot.audit_figure(answer, **figures.dressed))


@app.command()
def scorecard(
    symbol: SymbolArgument,
    cut: Annotated[
        int, moment(f"Fit on what begins before this moment, score the rest: {MOMENT}. A whole interval.", "--cut")
    ],
    venue: VenueOption = "",
    start: Annotated[
        int | None, moment("Fit from this moment on; a week after the data begins if not given.", "--from")
    ] = None,
    end: Annotated[int | None, moment("Score until this moment; the newest data if not given.", "--to")] = None,
    every: Annotated[int, length("Length of an interval, 1m to 4h.", "1h")] = HOUR,
    models: Annotated[
        str,
        typer.Option(
            help="Models, separated by commas; all: each with its defaults and with its original's formula.",
            autocompletion=complete_model,
            rich_help_panel=MODEL_PANEL,
        ),
    ] = "all",
    output: OutputFileOption = None,
    theme: ThemeOption = ThemeChoice.SAFE,
    width: WidthOption = 1200,
    scale: ScaleOption = 2.0,
    cdn: CdnOption = False,
    open_it: OpenOption = False,
    target: TargetOption = None,
    db: DbOption = None,
) -> None:
    """What each model adds to what price alone says of real liquidations, beside ablations and baselines.

    `liqserver score` has the numbers, docs/accuracy.md what they mean.

    For example `liqserver plot scorecard BTCUSDT --cut 2026-01-20T00:00Z -o scorecard.png`.
    """
    chosen = None if models == "all" else [name.strip() for name in models.split(",") if name.strip()]
    if chosen is not None and not chosen:
        raise typer.BadParameter(f"--models was {models!r}, must be all, or models separated by commas")
    figures = _Figures(symbol, "scorecard", output, theme, (width, scale), cdn, open_it)
    with connected(target, db) as client:
        answer = client.scorecard(
            symbol, cut=cut, start=start, end=end, venue=venue, models=chosen, interval=every, timeout=_SCORE_SECONDS
        )
    figures.write(figures.plot.scorecard_figure(answer, **figures.dressed))


class _Figures:
    """How a figure is drawn and where it goes; refuses what cannot be written before anything is asked.

    Attributes
    ----------
    plot
        The functions that draw.
    dressed
        What each of them is told of how to look.
    """

    plot: Any
    dressed: dict[str, Any]

    def __init__(
        self,
        symbol: str,
        what: str,
        output: Path | None,
        theme: ThemeChoice,
        size: tuple[int, float],
        cdn: bool,
        open_it: bool,
    ) -> None:
        self._path = output if output is not None else Path(f"{symbol.lower()}-{what}.html")
        self._width, self._scale = size
        self._cdn, self._open = cdn, open_it
        suffix = self._path.suffix.lower()
        if suffix not in _SUFFIXES:
            raise typer.BadParameter(
                f"was {str(self._path)!r}, must end in {', '.join(_SUFFIXES)}", param_hint="--output"
            )
        if not self._path.absolute().parent.is_dir():
            raise typer.BadParameter(f"there is no folder {self._path.absolute().parent}", param_hint="--output")
        self._writer: Callable[[Any], bytes] = {
            ".html": lambda figure: self._page(figure).encode(),
            ".json": lambda figure: str(figure.to_json()).encode(),
            ".png": lambda figure: self._picture(figure, "png"),
            ".svg": lambda figure: self._picture(figure, "svg"),
        }[suffix]
        if suffix in (".png", ".svg"):
            _chromium()
        try:
            import liqclient.plot
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "plotly":
                raise
            raise _failure('figures need plotly: pip install "liqserver[plot]"') from None
        self.plot = liqclient.plot
        self._theme = liqclient.plot.THEMES[theme.value]
        self.dressed = {"theme": self._theme}
        if suffix in (".png", ".svg"):
            # Pages are for phones as well.
            self.dressed["width"] = self._width

    def write(self, figure: Any) -> None:  # noqa: ANN401 - plotly has no types
        """Write the figure, say where, and open it if wanted."""
        content = self._writer(figure)
        try:
            self._path.write_bytes(content)
        except OSError as error:
            raise _failure(f"cannot write {self._path}: {error.strerror}") from None
        console.print(f"{self._path} ({len(content) / 1e6:.1f} MB)", markup=False)
        if self._open and not webbrowser.open(self._path.absolute().as_uri()):
            raise _failure("found no browser to open it in")

    def _page(self, figure: Any, script: str | None = None) -> str:  # noqa: ANN401
        drawn = figure.to_html(
            config=_CONFIG,
            include_plotlyjs="cdn" if self._cdn else True,
            full_html=False,
            div_id="figure",
            default_height=f"{figure.layout.height}px",
            post_script=script,
        )
        # The title's text is escaped for markup already, but for the markup that makes it bold.
        title = re.sub(r"</?b>", "", figure.layout.title.text)
        return _PAGE.format(title=title, background=self._theme.background, figure=drawn)

    def _picture(self, figure: Any, kind: str) -> bytes:  # noqa: ANN401
        """Let Chromium draw the page and hand back what Plotly makes of it."""
        scale = self._scale if kind == "png" else 1
        options = f'{{format: "{kind}", width: {self._width}, height: {figure.layout.height}, scale: {scale}}}'
        with tempfile.TemporaryDirectory(prefix="liqserver-plot-") as folder:
            page = Path(folder) / "figure.html"
            page.write_text(self._page(figure, _TO_IMAGE.format(options=options)), encoding="utf-8")
            command = [
                _chromium(),
                *("--headless", "--disable-gpu", "--disable-background-networking", "--no-first-run"),
                # The page is our own and loads nothing; in containers there often is no sandbox to be had.
                "--no-sandbox",
                *(f"--user-data-dir={folder}/profile", "--virtual-time-budget=60000", "--dump-dom", page.as_uri()),
            ]
            try:
                done = subprocess.run(command, capture_output=True, timeout=_RENDER_SECONDS, check=False)  # noqa: S603
            except subprocess.TimeoutExpired:
                raise _failure(f"Chromium did not draw the figure within {_RENDER_SECONDS} s") from None
        found = re.search(rb"picture=data:image/[a-z+]+(;base64)?,(.*?)=picture", done.stdout, flags=re.DOTALL)
        if found is None:
            last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
            raise _failure(f"Chromium drew no figure (exit code {done.returncode}): {last or 'no message'}")
        encoded = found[2]
        return base64.b64decode(encoded) if found[1] else urllib.parse.unquote_to_bytes(encoded)


def _chromium() -> str:
    for name in _CHROMIUM:
        if (path := shutil.which(name)) is not None:
            return path
    raise _failure(
        f"pictures need Chromium or Chrome on the PATH (one of {', '.join(_CHROMIUM)}): install the package chromium "
        "of your system, or write .html and use the camera in the page"
    )


def _failure(message: str) -> typer.Exit:
    errors_console.print(f"[red]error:[/red] {escape(message)}")
    return typer.Exit(1)
