"""The example: the strategy does what it says, and the demonstration runs from end to end."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from nautilus_trader.model.data import Bar, BarType, CustomData, DataType
from nautilus_trader.model.enums import OrderSide, OrderType
from nautilus_trader.model.identifiers import ClientId
from nautilus_trader.model.instruments import CryptoPerpetual
from nautilus_trader.model.objects import Price, Quantity

from liqclient.nt import CLIENT_ID, LiquidationLevels
from tests.nt.engines import engine_with
from tests.nt.test_data import PLAIN

EXAMPLES = Path(__file__).parents[2] / "clients" / "examples" / "nt"
MINUTE = 60_000_000_000
T = PLAIN["ts_event"]


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sweep_fade", EXAMPLES / "sweep_fade.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Nautilus looks up the module of a configuration.
    sys.modules["sweep_fade"] = module
    spec.loader.exec_module(module)
    return module


def bars_of(instrument: CryptoPerpetual, candles: list[tuple[float, float, float, float]]) -> list[Bar]:
    bar_type = BarType.from_str(f"{instrument.id}-1-MINUTE-LAST-EXTERNAL")
    return [
        Bar(bar_type, *(Price(value, 1) for value in candle), Quantity(1000, 3), T + n * MINUTE, T + n * MINUTE)
        for n, candle in enumerate(candles, start=1)
    ]


def clusters(ts: int) -> LiquidationLevels:
    """Return levels with clusters of longs at 950 to 960 and of shorts at 1040 to 1050, price 1000."""
    changes: dict[str, Any] = {
        "range_low": 900.0,
        "range_high": 1100.0,
        "prices": [950.0, 1040.0],
        "long": [5e6, 0.0],
        "short": [0.0, 4e6],
        "reference_price": 1000.0,
        "ts_event": ts,
        "ts_init": ts + 1,
    }
    return LiquidationLevels("BTCUSDT-PERP.BINANCE", **PLAIN | changes)


def trade(
    example: ModuleType,
    instrument: CryptoPerpetual,
    candles: list[tuple[float, float, float, float]],
    levels: list[LiquidationLevels],
    **config: Any,
) -> list[tuple[Any, ...]]:
    """Run the strategy; return side, type, price and filled quantity of each order, in the order of submission."""
    bars = bars_of(instrument, candles)
    engine, _ = engine_with(instrument, bars)
    if levels:
        data_type = DataType(LiquidationLevels)
        engine.add_data([CustomData(data_type, of) for of in levels], client_id=ClientId(CLIENT_ID))
    chosen = example.SweepFadeConfig(instrument_id=instrument.id, bar_type=bars[0].bar_type, **config)
    engine.add_strategy(example.SweepFade(chosen))
    engine.run()
    orders = sorted(engine.cache.orders(), key=lambda of: of.client_order_id.value)
    found = []
    for order in orders:
        price = order.trigger_price if order.order_type is OrderType.STOP_MARKET else getattr(order, "price", None)
        found.append((order.side, order.order_type, price and float(price), float(order.filled_qty)))
    engine.dispose()
    return found


FLAT = (1000.0, 1001.0, 999.0, 1000.0)
SWEEP = (1000.0, 1000.0, 945.0, 970.0)
RALLY = (970.0, 1045.0, 970.0, 1042.0)


def test_buys_after_longs_were_swept_and_sells_at_the_shorts_above(
    example: ModuleType, instrument: CryptoPerpetual
) -> None:
    found = trade(example, instrument, [FLAT, FLAT, SWEEP, RALLY, FLAT], [clusters(T + MINUTE)])
    qty = 10.309  # 10 000 / 970
    assert found == [
        (OrderSide.BUY, OrderType.MARKET, None, qty),
        # Half as far below as the target is above: 970 - 35.
        (OrderSide.SELL, OrderType.STOP_MARKET, 935.0, 0.0),
        (OrderSide.SELL, OrderType.LIMIT, 1040.0, qty),
    ]


def test_sells_after_shorts_were_swept(example: ModuleType, instrument: CryptoPerpetual) -> None:
    squeeze = (1000.0, 1055.0, 1000.0, 1020.0)
    fall = (1020.0, 1020.0, 948.0, 952.0)
    found = trade(example, instrument, [FLAT, FLAT, squeeze, fall], [clusters(T + MINUTE)])
    assert found[0][:2] == (OrderSide.SELL, OrderType.MARKET)
    assert found[2] == (OrderSide.BUY, OrderType.LIMIT, 950.0, 9.804)


@pytest.mark.parametrize(
    ("candles", "levels"),
    [
        ([FLAT, FLAT, (1000.0, 1000.0, 951.0, 970.0)], [clusters(T + MINUTE)]),  # not through all of it
        ([FLAT, FLAT, (1000.0, 1000.0, 940.0, 949.0)], [clusters(T + MINUTE)]),  # not above it again
        ([FLAT, FLAT, SWEEP], [clusters(T + 3 * MINUTE)]),  # levels came after the sweep
        ([FLAT, FLAT, SWEEP, FLAT], []),
    ],
)
def test_does_nothing_without_a_sweep_that_was_known_of(
    candles: list[tuple[float, float, float, float]],
    levels: list[LiquidationLevels],
    example: ModuleType,
    instrument: CryptoPerpetual,
) -> None:
    assert trade(example, instrument, candles, levels) == []


def test_position_ends_after_its_time(example: ModuleType, instrument: CryptoPerpetual) -> None:
    still = (970.0, 971.0, 969.0, 970.0)
    found = trade(example, instrument, [FLAT, FLAT, SWEEP, *[still] * 6], [clusters(T + MINUTE)], most_bars=4)
    assert found[3] == (OrderSide.SELL, OrderType.MARKET, None, 10.309)
    assert [filled for *_, filled in found] == [10.309, 0.0, 0.0, 10.309]


def test_without_levels_the_extremes_of_the_lookback_are_the_marks(
    example: ModuleType, instrument: CryptoPerpetual
) -> None:
    dip, peak = (1000.0, 1000.0, 960.0, 1000.0), (1000.0, 1040.0, 1000.0, 1000.0)
    candles = [dip, peak, FLAT, (1000.0, 1000.0, 955.0, 965.0), RALLY]
    # Levels are there, and not looked at.
    found = trade(example, instrument, candles, [clusters(T + MINUTE)], with_levels=False, lookback=3)
    assert found[0][:2] == (OrderSide.BUY, OrderType.MARKET)
    assert found[2][:3] == (OrderSide.SELL, OrderType.LIMIT, 1040.0)
    assert trade(example, instrument, candles, [], with_levels=False, lookback=4) == []


def test_demonstration_runs_from_files_to_tear_sheet(market_archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "demo"
    command = [sys.executable, EXAMPLES / "demo.py", "--data", market_archive, "--out", out]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "not advice" in done.stdout
    with_levels, without = json.loads((out / "report.json").read_text())
    assert (with_levels["name"], without["name"]) == ("with levels", "without levels")
    assert without["orders"] > 0
    assert without["filled"] >= 2 * len(without["trades"]) > 0
    for of in without["trades"]:
        gross = (of["exit"] - of["entry"]) * (1 if of["side"] == "long" else -1) / of["entry"]
        # Net of fees, of a position of about 10 000.
        assert of["pnl"] == pytest.approx(10_000 * gross - of["fees"], abs=1.0)
    sheet = (out / "tearsheet.html").read_text()
    assert "not advice" in sheet
    assert "<script src=" not in sheet


def test_demonstration_of_a_folder_that_is_not_there_says_so(tmp_path: Path) -> None:
    command = [sys.executable, EXAMPLES / "demo.py", "--data", tmp_path / "none", "--out", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--data must be a folder" in done.stderr
