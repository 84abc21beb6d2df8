"""Market data from archive files: what rows become, and which files are refused."""

from __future__ import annotations

import zipfile
from decimal import Decimal
from pathlib import Path

import pytest
from nautilus_trader.model.data import Bar, BarType, FundingRateUpdate, MarkPriceUpdate, TradeTick
from nautilus_trader.model.enums import AggressorSide
from nautilus_trader.model.instruments import CryptoPerpetual
from nautilus_trader.model.objects import Price, Quantity

from liqclient.nt import market_files, perpetual, read_market, step_size_of

# 2025-09-01 00:00 UTC.
T_MS = 1_756_684_800_000
MS = 1_000_000
CANDLES = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)


def put(folder: Path, name: str, *lines: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{line}\n" for line in lines)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as packed:
            packed.writestr(f"{path.stem}.csv", text)
    else:
        path.write_text(text)
    return path


def candle(minute: int, *, close: float = 101.5, length: int = 60_000) -> str:
    start = T_MS + minute * 60_000
    return f"{start},100.0,102.0,99.5,{close},7.250,{start + length - 1},,,,,0"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    put(
        tmp_path,
        "aggTrades/XYUSDT-aggTrades-2025-09-01.zip",
        "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker",
        f"11,100.1,0.125,20,21,{T_MS + 5},true",
        f"12,100.2,3,22,22,{T_MS + 7},false",
    )
    put(tmp_path, "klines/XYUSDT/5m/XYUSDT-5m-2025-09.csv", candle(0, length=300_000))
    put(tmp_path, "markPriceKlines/XYUSDT/1m/XYUSDT-1m-2025-09-01.zip", CANDLES, candle(0), candle(1, close=102.0))
    put(
        tmp_path,
        "XYUSDT-fundingRate-2025-09.csv",
        "calc_time,funding_interval_hours,last_funding_rate",
        f"{T_MS + 3},8,-0.00001250",
    )
    put(tmp_path, "XYUSDT-metrics-2025-09-01.csv", "no type of Nautilus holds these")
    put(tmp_path, "ABUSDT-1m-2025-09-01.csv", "of another symbol")
    return tmp_path


@pytest.fixture
def xy() -> CryptoPerpetual:
    return perpetual("XYUSDT", "BINANCE", tick_size=0.1, step_size="0.001")


def test_rows_become_data_that_are_known_when_their_period_ends(archive: Path, xy: CryptoPerpetual) -> None:
    files = market_files(archive, "XYUSDT")
    assert [(of.kind, of.interval, of.date) for of in files] == [
        ("aggTrades", "", "2025-09-01"),
        ("fundingRate", "", "2025-09"),
        ("klines", "5m", "2025-09"),
        ("markPriceKlines", "1m", "2025-09-01"),
    ]
    trades, [funding], [bar], marks = read_market(files, xy)
    t = T_MS * MS
    first, second = trades
    assert isinstance(first, TradeTick)
    assert isinstance(second, TradeTick)
    assert (first.price, first.size) == (Price.from_str("100.1"), Quantity.from_str("0.125"))
    # The buyer was the maker: the taker sold.
    assert (first.aggressor_side, second.aggressor_side) == (AggressorSide.SELLER, AggressorSide.BUYER)
    assert (first.trade_id.value, first.ts_event, first.ts_init) == ("11", t + 5 * MS, t + 5 * MS)
    assert isinstance(funding, FundingRateUpdate)
    assert (funding.rate, funding.interval, funding.ts_init) == (Decimal("-0.0000125"), 480, t + 3 * MS)
    assert isinstance(bar, Bar)
    assert bar.bar_type == BarType.from_str("XYUSDT-PERP.BINANCE-5-MINUTE-LAST-EXTERNAL")
    assert [str(of) for of in (bar.open, bar.high, bar.low, bar.close, bar.volume)] == [
        *("100.0", "102.0", "99.5", "101.5", "7.250")
    ]
    assert bar.ts_event == bar.ts_init == t + 300_000 * MS
    assert all(isinstance(mark, MarkPriceUpdate) for mark in marks)
    assert [(str(mark.value), mark.ts_init - t) for mark in marks] == [
        ("101.5", 60_000 * MS),
        ("102.0", 120_000 * MS),
    ]


def test_step_is_the_finest_decimal_of_quantities(archive: Path, tmp_path: Path) -> None:
    files = market_files(archive, "XYUSDT")
    # 0.125 of the trades, 7.250 of the candles.
    assert step_size_of(files) == Decimal("0.001")
    assert step_size_of([of for of in files if of.kind == "klines"]) == Decimal("0.01")
    with pytest.raises(ValueError, match="there are none; give the step size"):
        step_size_of([of for of in files if of.kind == "markPriceKlines"])


def test_bounds_are_inclusive(archive: Path, xy: CryptoPerpetual) -> None:
    files = market_files(archive, "XYUSDT")
    t = T_MS * MS
    found = [datum for part in read_market(files, xy, start=t + 5 * MS, end=t + 60_000 * MS) for datum in part]
    assert [type(datum).__name__ for datum in found] == ["TradeTick", "TradeTick", "MarkPriceUpdate"]
    assert list(read_market(files, xy, start=t + 10**15)) == []


def test_microseconds_are_told_from_milliseconds(tmp_path: Path, xy: CryptoPerpetual) -> None:
    put(tmp_path, "XYUSDT-aggTrades-2025-09-01.csv", f"1,100.1,1,1,1,{T_MS * 1000 + 7},True")
    [[trade]] = read_market(market_files(tmp_path, "XYUSDT"), xy)
    assert trade.ts_event == T_MS * MS + 7_000


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["1,100.1,1,1,1,soon,true"], "cannot be read"),
        (["1,100.1,1"], "cannot be read"),
        (["1,-5,1,1,1,1756684800005,true"], "price must be positive, was -5.0 in row 1"),
        (["1,nan,1,1,1,1756684800005,true"], "price must be positive, was nan in row 1"),
        (["1,5,0,1,1,1756684800005,true"], "quantity must be positive, was 0.0 in row 1"),
        (
            ["1,5,1,1,1,1756684800005,true", "2,5,1,2,2,1756684800004,true"],
            "times must not go back, row 2 does",
        ),
        (["agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker"], "has no rows"),
    ],
)
def test_file_that_makes_no_sense_is_refused_by_name(
    lines: list[str], message: str, tmp_path: Path, xy: CryptoPerpetual
) -> None:
    put(tmp_path, "XYUSDT-aggTrades-2025-09-01.zip", *lines)
    with pytest.raises(ValueError, match=r"XYUSDT-aggTrades-2025-09-01\.zip.*" + message):
        list(read_market(market_files(tmp_path, "XYUSDT"), xy))


def test_days_and_their_month_are_not_read_twice(tmp_path: Path, xy: CryptoPerpetual) -> None:
    put(tmp_path, "XYUSDT-1m-2025-09-01.csv", candle(0))
    put(tmp_path, "XYUSDT-1m-2025-09.csv", candle(0), candle(1))
    with pytest.raises(ValueError, match=r"XYUSDT-1m-2025-09-01\.csv begins before the klines file before it ends"):
        list(read_market(market_files(tmp_path, "XYUSDT"), xy))


def test_folder_without_files_of_the_symbol_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no aggTrades, klines, markPriceKlines, fundingRate of XYUSDT below"):
        market_files(tmp_path, "XYUSDT")


def test_real_files_are_read_in_full(shared_data: Path) -> None:
    files = market_files(shared_data / "binance-originals", "APEUSDT")
    step = step_size_of(files)
    ape = perpetual("APEUSDT", "BINANCE", tick_size="0.0001", step_size=step)
    [trades] = read_market(files, ape)
    # As the file's own description has it, and the exchange trades whole APE.
    assert len(trades) == 45_342
    assert step == 1


def test_perpetual_has_what_it_is_given_and_nothing_else() -> None:
    made = perpetual("ETHUSDC", "BINANCE", tick_size=0.01, step_size="0.001", taker_fee="0.0005")
    assert str(made.id) == "ETHUSDC-PERP.BINANCE"
    assert (made.base_currency.code, made.quote_currency.code) == ("ETH", "USDC")
    assert (str(made.price_increment), str(made.size_increment)) == ("0.01", "0.001")
    assert (made.maker_fee, made.taker_fee, made.margin_init) == (0, Decimal("0.0005"), 0)
    other = perpetual("BTCUSDT", "HL", tick_size=1, step_size="0.00001", instrument_id="BTC-USD-PERP.HYPERLIQUID")
    assert (str(other.id), other.price_precision, other.size_precision) == ("BTC-USD-PERP.HYPERLIQUID", 0, 5)
    with pytest.raises(ValueError, match="symbol must end in one of USDT, USDC, FDUSD, BUSD"):
        perpetual("BTCEUR", "BINANCE", tick_size=1, step_size=1)
    with pytest.raises(ValueError, match="tick_size must be above 0, was 0"):
        perpetual("BTCUSDT", "BINANCE", tick_size=0, step_size=1)
