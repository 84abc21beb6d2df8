"""Draws docs/models/MODEL.png: every model on the same market at the same moment.

All have the same axis of prices; the axis of amounts ends at the same share of what the model shows in it.

python docs/draw_models.py DATABASE, of a simulated market; needs chromium.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import liqclient
from liqclient.plot import levels_figure
from liqserver.cli.output import print_table, table
from liqserver.rpc.server import EmbeddedServer

FOLDER = Path(__file__).parent / "models"
BIN, REACH = 250.0, 0.12
WIDTH = 900


def draw(database: Path) -> None:
    """Write one picture a model."""
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("drawing needs chromium on the PATH: there is none")
    with EmbeddedServer(database) as server, liqclient.Client(server.target, timeout=120) as client:
        symbol = client.symbols()[0].symbol
        answers = {
            model.id: client.levels(symbol, model=model.id, bin_size=BIN, price_range=REACH, per_tier=True)
            for model in client.models()
        }
    # Of what each model shows, so that shapes compare although amounts differ by an order of magnitude.
    shown = {model: float(answer.long.sum() + answer.short.sum()) for model, answer in answers.items()}
    share = max(float(np.maximum(answer.long, answer.short).max()) / shown[model] for model, answer in answers.items())
    FOLDER.mkdir(exist_ok=True)
    out = table(
        "model", "longs, M", "shorts, M", "in range, M", "picture", right=("longs, M", "shorts, M", "in range, M")
    )
    with tempfile.TemporaryDirectory() as scratch:
        for model, answer in answers.items():
            price = answer.current_price
            figure = levels_figure(answer)
            figure.update_xaxes(range=[price * (1 - REACH), price * (1 + REACH)])
            figure.update_yaxes(range=[0, share * shown[model] * 1.02])
            page = Path(scratch, f"{model}.html")
            figure.write_html(page, include_plotlyjs=True, config={"displayModeBar": False})
            picture = FOLDER / f"{model}.png"
            _photograph(chromium, page, picture, height=int(figure.layout.height))
            amounts = (answer.totals.long, answer.totals.short, shown[model])
            out.add_row(model, *(f"{amount / 1e6:,.1f}" for amount in amounts), picture.name)
    print_table(out)


def _photograph(chromium: str, page: Path, picture: Path, height: int) -> None:
    picture.unlink(missing_ok=True)
    subprocess.run(  # noqa: S603 - a command of ours
        [
            chromium,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            f"--window-size={WIDTH},{height}",
            "--virtual-time-budget=8000",
            f"--user-data-dir={page.parent / 'chromium'}",
            f"--screenshot={picture}",
            page.as_uri(),
        ],
        check=True,
        capture_output=True,
    )
    if not picture.exists():
        sys.exit(f"chromium drew nothing for {page.name}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("give the database of a simulated market: python docs/draw_models.py DATABASE")
    draw(Path(sys.argv[1]))
