import json
import time
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from liqclient import Client
from liqserver.cli import symbols as symbols_commands
from liqserver.rpc.server import EmbeddedServer
from liqserver.store.archive import Kind
from liqserver.store.coverage import symbols
from liqserver.store.database import Database, StoreError
from liqserver.store.ingest import Status, ingest
from liqserver.store.instruments import Instrument, read_exchange_info
from liqserver.store.quality import check
from tests.store.archive_files import DAY, DAY_MS, candle, text_of, trade, write_file

ONBOARD, FOREVER = 1_569_398_400_000, 4_133_404_800_000
app = typer.Typer()
app.add_typer(symbols_commands.app, name="exchange-info")


def entry(symbol: str, tick: str, step: str = "0.001", **other: Any) -> dict[str, Any]:
    return {
        "symbol": symbol,
        "pair": symbol,
        "contractType": "PERPETUAL",
        "deliveryDate": FOREVER,
        "onboardDate": ONBOARD,
        "status": "TRADING",
        "baseAsset": symbol.removesuffix("USDT"),
        "quoteAsset": "USDT",
        "marginAsset": "USDT",
        # Not the tick.
        "pricePrecision": 8,
        "quantityPrecision": 3,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": "0.1", "maxPrice": "4529764", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": "0.001", "maxQty": "1000", "stepSize": step},
            {"filterType": "MARKET_LOT_SIZE", "minQty": "0.001", "maxQty": "120", "stepSize": "1"},
        ],
        **other,
    }


def info_file(folder: Path, *entries: object, name: str = "exchangeInfo.json") -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    path = folder / name
    path.write_text(json.dumps({"timezone": "UTC", "serverTime": DAY, "rateLimits": [], "symbols": entries}))
    return path


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["exchange-info", "load", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def ticks(path: Path) -> list[tuple[object, ...]]:
    with Database(path, read_only=True) as db:
        sql = "SELECT symbol, tick_size, tick_size_source, base_bin FROM symbols ORDER BY symbol"
        return db.cursor().execute(sql).fetchall()


def test_reading(tmp_path: Path) -> None:
    quarter = entry("BTCUSDT_260327", "0.1", contractType="CURRENT_QUARTER", deliveryDate=1_774_598_400_000)
    path = info_file(tmp_path, entry("BTCUSDT", "0.10"), quarter)
    first, second = read_exchange_info(path)
    assert first == Instrument(
        *("BTCUSDT", "PERPETUAL", "TRADING", "BTC", "USDT"),
        *(0.1, 0.001, ONBOARD * 10**6, FOREVER * 10**6),
    )
    assert (second.contract_type, second.delivery_ts) == ("CURRENT_QUARTER", 1_774_598_400_000 * 10**6)


def without(name: str) -> dict[str, Any]:
    return {k: v for k, v in entry("BTCUSDT", "0.1").items() if k != name}


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (
            entry("BTCUSDT", "0"),
            r"symbols\[1\] \(BTCUSDT\): tickSize of the filter PRICE_FILTER was '0', must be a pos",
        ),
        (entry("BTCUSDT", "x"), "tickSize of the filter PRICE_FILTER was 'x'"),
        (entry("BTCUSDT", "0.1", "nan"), "stepSize of the filter LOT_SIZE was 'nan'"),
        (without("filters"), "tickSize of the filter PRICE_FILTER was None"),
        (without("onboardDate"), "onboardDate was None, must be a time in milliseconds"),
        (entry("BTCUSDT", "0.1", deliveryDate=-1), "deliveryDate was -1, must be a time"),
        (without("status"), "status was None, must be a name"),
        (without("contractType"), "contractType is missing: exchangeInfo of USD-M futures has it, of spot has not"),
        (entry("BTCUSD_PERP", "0.1", contractSize=100), r"\(BTCUSD_PERP\): contracts of a fixed size in dollars"),
        (entry("ETHUSDT", "0.1"), r"symbols\[1\]: ETHUSDT is there twice"),
        ("BTCUSDT", r"symbols\[1\] must be an object"),
    ],
)
def test_a_bad_file_is_refused_whole(tmp_path: Path, bad: object, reason: str) -> None:
    path = info_file(tmp_path, entry("ETHUSDT", "0.01"), bad)
    with pytest.raises(StoreError, match=reason):
        read_exchange_info(path)
    assert run(path, "--db", tmp_path / "x.duckdb")[0] == 2
    assert not (tmp_path / "x.duckdb").exists()


@pytest.mark.parametrize(
    ("text", "reason"), [("[]", "a list `symbols`"), ('{"symbols": []}', "a list `symbols`"), ("{", "must be JSON")]
)
def test_no_exchange_info(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(StoreError, match=reason):
        read_exchange_info(path)
    with pytest.raises(StoreError, match="cannot be read"):
        read_exchange_info(tmp_path / "nowhere.json")


@pytest.mark.parametrize(
    ("symbol", "price", "tick", "base_bin"),
    [
        # Of 0.00001 dollars: a basis point is 1e-9.
        ("DUSTUSDT", "0.0000104", "0.0000000001", 1e-9),
        ("DUSTUSDT", "0.0000104", "0.0000001", 1e-7),
        ("PEPEUSDT", "0.0051230", "0.0000010", 1e-6),
        ("APEUSDT", "0.7097", "0.0001", 0.0001),
        ("ETHUSDT", "3000", "0.01", 0.2),
        # A tick of a quarter: 1, 2 or 5 times a power of ten of them.
        ("ODDUSDT", "5000", "0.25", 0.5),
        ("BTCUSDT", "90000", "0.10", 5.0),
    ],
)
def test_bins_follow_the_tick_of_the_exchange(
    tmp_path: Path, symbol: str, price: str, tick: str, base_bin: float
) -> None:
    place = tmp_path / "x.duckdb"
    code, out, _ = run(info_file(tmp_path, entry(symbol, tick)), "--db", place)
    assert (code, out) == (0, "exchangeInfo.json: 1 symbols, 1 of them perpetual\n")
    rows = [trade(i, price, 1000, DAY + i) for i in range(5)]
    path = write_file(tmp_path / "in", f"{symbol}-aggTrades-2025-12-01.zip", text_of(Kind.AGG_TRADES, rows))
    with Database(place) as db:
        assert [f.status for f in ingest(db, [path]).files] == [Status.INGESTED]
        [(bin_, notional)] = db.cursor().execute("SELECT bin, buy_notional FROM flow").fetchall()
        assert check(db.cursor(), "BINANCE", symbol) == []
    assert ticks(place) == [(symbol, float(tick), "exchangeInfo", base_bin)]
    assert bin_ * base_bin <= float(price) * (1 + 1e-9) < (bin_ + 1) * base_bin * (1 + 1e-9)
    assert notional == pytest.approx(5000 * float(price), abs=1e-5)
    # A bin is at most a basis point of price, or a tick where that is more.
    assert base_bin <= max(1.0001e-4 * float(price), float(tick))


def archive(folder: Path, symbol: str, price: str) -> Path:
    text = text_of(Kind.AGG_TRADES, [trade(1, price, 1000, DAY)])
    return write_file(folder, f"{symbol}-aggTrades-2025-12-01.zip", text)


def test_symbols_with_data_get_the_tick_too(tmp_path: Path) -> None:
    place = tmp_path / "x.duckdb"
    candles = text_of(Kind.KLINES, [candle(DAY, ("0.5001", "0.5001", "0.5001", "0.5001"))])
    with Database(place) as db:
        ingest(
            db,
            [
                archive(tmp_path / "in", "APEUSDT", "0.70970"),
                archive(tmp_path / "in", "BINUSDT", "0.7097"),
                write_file(tmp_path / "in" / "klines", "KLNUSDT-5m-2025-12-01.zip", candles),
            ],
        )
    assert [row[1:] for row in ticks(place)] == [
        (0.0001, "inferred from APEUSDT-aggTrades-2025-12-01.zip", 0.0001),
        (0.0001, "inferred from BINUSDT-aggTrades-2025-12-01.zip", 0.0001),
        (0.0001, "inferred from KLNUSDT-5m-2025-12-01.zip", 0.0001),
    ]
    # One finer than inferred, one coarser with flow in bins, one coarser without flow; one of which there is no data.
    path = info_file(
        tmp_path,
        *(entry("APEUSDT", "0.00001"), entry("BINUSDT", "0.0005"), entry("KLNUSDT", "0.0005"), entry("XUSDT", "1")),
    )
    code, out, _ = run(path, "--db", place)
    assert code == 1
    assert out.splitlines() == [
        "exchangeInfo.json: 4 symbols, 4 of them perpetual",
        "BINANCE APEUSDT: its tick is 1e-05, it was taken for 0.0001",
        "BINANCE KLNUSDT: its tick is 0.0005, it was taken for 0.0001, its bins are 0.0005 instead of 0.0001",
        (
            "warning: BINANCE BINUSDT: its flow is stored in bins of 0.0001, which is no multiple of the tick 0.0005: "
            "it keeps the tick 0.0001"
        ),
    ]
    assert ticks(place) == [
        ("APEUSDT", 0.00001, "exchangeInfo", 0.0001),
        ("BINUSDT", 0.0001, "inferred from BINUSDT-aggTrades-2025-12-01.zip", 0.0001),
        ("KLNUSDT", 0.0005, "exchangeInfo", 0.0005),
    ]


def test_loading_again_takes_the_place_of_what_was_there(tmp_path: Path) -> None:
    place = tmp_path / "x.duckdb"
    run(info_file(tmp_path, entry("BTCUSDT", "0.01"), entry("OLDUSDT", "1")), "--db", place)
    run(info_file(tmp_path, entry("BTCUSDT", "0.1")), "--db", place, "--venue", "ELSEWHERE")
    run(info_file(tmp_path, entry("BTCUSDT", "0.1")), "--db", place)
    with Database(place, read_only=True) as db:
        sql = "SELECT venue, symbol, tick_size, step_size, onboard_ts FROM instruments ORDER BY ALL"
        assert db.cursor().execute(sql).fetchall() == [
            ("BINANCE", "BTCUSDT", 0.1, 0.001, ONBOARD * 10**6),
            # Gone from the exchange, not from its past.
            ("BINANCE", "OLDUSDT", 1.0, 0.001, ONBOARD * 10**6),
            ("ELSEWHERE", "BTCUSDT", 0.1, 0.001, ONBOARD * 10**6),
        ]


def test_two_hundred_symbols_in_one_database(tmp_path: Path) -> None:
    names = [f"C{n:03}USDT" for n in range(200)]
    place = tmp_path / "x.duckdb"
    run(info_file(tmp_path, *(entry(name, "0.001") for name in names)), "--db", place)
    for n, name in enumerate(names):
        for day in range(2):
            rows = [trade(day * 50 + i, f"{20 + n}.{i:03}", 3, DAY + day * DAY_MS + i * 1000) for i in range(50)]
            name_of_file = f"{name}-aggTrades-2025-12-0{day + 1}.csv"
            write_file(tmp_path / "in" / name, name_of_file, text_of(Kind.AGG_TRADES, rows))
    began = time.perf_counter()
    with Database(place) as db:
        report = ingest(db, [tmp_path / "in"])
    took = time.perf_counter() - began
    assert len(report.of(Status.INGESTED)) == 400
    # Some ten milliseconds a file; a cost that grows with the symbols already there would show.
    assert took < 60
    with Database(place, read_only=True) as db:
        cur = db.cursor()
        began = time.perf_counter()
        found = symbols(cur)
        listing = time.perf_counter() - began
        began = time.perf_counter()
        [quiet] = check(cur, "BINANCE", "C150USDT")
        one = time.perf_counter() - began
    assert [of.symbol for of in found] == names
    assert {(of.tick_size, of.tick_size_source) for of in found} == {(0.001, "exchangeInfo")}
    assert all(of.reach[0].ts_event == (DAY + DAY_MS + 60_000) * 10**6 for of in found)
    assert listing < 2
    assert quiet.text == "nothing for 1,440 minutes"
    assert one < 2
    with EmbeddedServer(place) as server, Client(server.target) as client:
        client.symbols()
        began = time.perf_counter()
        listed = client.symbols()
        asked = time.perf_counter() - began
    assert [of.symbol for of in listed] == names
    assert asked < 3
