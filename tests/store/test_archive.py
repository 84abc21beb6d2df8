import zipfile
from pathlib import Path

import pytest

from liqserver.store.archive import (
    ArchiveError,
    ArchiveFile,
    Csv,
    FileRejectedError,
    Kind,
    UnreadFile,
    find_fault,
    find_files,
    interval_name,
    interval_ns,
    parse_file,
    sha256_of,
    unpack,
    utc,
)
from tests.store.archive_files import DAY, candle, metric, text_of, trade, trades, write_file

HOUR = 3_600_000_000_000


def parsed(path: str) -> ArchiveFile:
    file = parse_file(Path(path))
    assert isinstance(file, ArchiveFile)
    return file


@pytest.mark.parametrize(
    ("path", "symbol", "kind", "period", "start", "end"),
    [
        ("BTCUSDT-aggTrades-2025-12-01.zip", "BTCUSDT", "aggTrades", 0, "2025-12-01", "2025-12-02"),
        ("BTCUSDT-aggTrades-2024-02.csv", "BTCUSDT", "aggTrades", 0, "2024-02-01", "2024-03-01"),
        ("1000SHIBUSDT-metrics-2024-12-31.zip", "1000SHIBUSDT", "metrics", HOUR // 12, "2024-12-31", "2025-01-01"),
        ("BTCUSDT_240329-fundingRate-2023-12.zip", "BTCUSDT_240329", "fundingRate", 0, "2023-12-01", "2024-01-01"),
        ("klines/ETHUSDT/1m/ETHUSDT-1m-2025-01.zip", "ETHUSDT", "klines", HOUR // 60, "2025-01-01", "2025-02-01"),
        ("markPriceKlines/E/4h/E-4h-2025-01-02.csv", "E", "markPriceKlines", 4 * HOUR, "2025-01-02", "2025-01-03"),
        ("x/BTCUSDT-1w-2024-10.zip", "BTCUSDT", "klines", 168 * HOUR, "2024-10-01", "2024-11-01"),
        ("BTCUSDT-trades-2024-02-29.zip", "BTCUSDT", "trades", 0, "2024-02-29", "2024-03-01"),
        ("BTCUSDT-bookDepth-2025-01-01.zip", "BTCUSDT", "bookDepth", 0, "2025-01-01", "2025-01-02"),
        ("indexPriceKlines/E/1m/E-1m-2024-01.zip", "E", "indexPriceKlines", HOUR // 60, "2024-01-01", "2024-02-01"),
        ("premiumIndexKlines/E/E-1m-2024-01-31.zip", "E", "premiumIndexKlines", HOUR // 60, "2024-01-31", "2024-02-01"),
        # Contracts with a last day, margined in the quote asset.
        ("BTCBUSD_210129-1m-2021-01-01.csv", "BTCBUSD_210129", "klines", HOUR // 60, "2021-01-01", "2021-01-02"),
        # The nearest folder decides.
        ("klines/markPriceKlines/E-1d-2025-01.zip", "E", "markPriceKlines", 24 * HOUR, "2025-01-01", "2025-02-01"),
    ],
)
def test_names(path: str, symbol: str, kind: str, period: int, start: str, end: str) -> None:
    file = parsed(path)
    assert (file.symbol, file.kind, file.period) == (symbol, kind, period)
    assert (f"{utc(file.start):%F}", f"{utc(file.end):%F}") == (start, end)
    assert file.dates == (start[:7] if file.monthly else start)


def test_a_candle_file_without_a_telling_folder_is_of_the_last_price_and_says_so() -> None:
    file = parsed("originals/BTCUSDT-1h-2024-10-28.zip")
    assert file.kind is Kind.KLINES
    assert "taken as candles of the last price" in file.notices[0]
    assert parsed("klines/BTCUSDT-1h-2024-10-28.zip").notices == ()


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("BTCUSDT-bookTicker-2024-01-01.zip", "kind bookTicker"),
        ("BTCUSD_PERP-aggTrades-2024-01-01.zip", "COIN-M: its contracts are worth a fixed sum of dollars"),
        ("BNBUSD_240329-1m-2024-01-01.zip", "COIN-M"),
        ("ETHUSD_240329-klines-2024-01-01.zip", "COIN-M"),
        ("data/futures/cm/daily/indexPriceKlines/BTCUSD/1m/BTCUSD-1m-2024-01-01.zip", "COIN-M"),
        ("klines/BTCUSDT-1mo-2024-01.zip", "calendar month"),
        ("BTCUSDT-aggTrades-2025-02-30.zip", "no date of the calendar: 2025-02-30"),
    ],
)
def test_known_names_that_are_not_read(path: str, reason: str) -> None:
    file = parse_file(Path(path))
    assert isinstance(file, UnreadFile)
    assert reason in file.reason


@pytest.mark.parametrize(
    "name",
    ["README.md", "BTCUSDT-metrics-2025-12-17.zip.CHECKSUM", "liquidations.csv", "x"],
)
def test_other_names(name: str) -> None:
    assert parse_file(Path(name)) is None


def test_interval_names() -> None:
    for name in ("1m", "5m", "1h", "4h", "1d", "3d", "1w"):
        period = interval_ns(name)
        assert period is not None
        assert interval_name(period) == name
    assert interval_ns("0m") is interval_ns("aggTrades") is interval_ns("5") is None
    assert interval_name(0) == ""


def test_files_come_by_symbol_then_prices_first_then_date(tmp_path: Path) -> None:
    names = [
        "a/BTCUSDT-metrics-2025-12-01.zip",
        "b/klines/BTCUSDT-5m-2025-12.zip",
        "b/klines/BTCUSDT-1m-2025-12-02.zip",
        "b/klines/BTCUSDT-1m-2025-12-01.zip",
        "b/klines/BTCUSDT-1m-2025-12.zip",
        "z/BTCUSDT-aggTrades-2025-12-02.zip",
        "z/BTCUSDT-aggTrades-2025-12-01.csv",
        "z/APEUSDT-fundingRate-2025-12.zip",
        "z/APEUSDT-aggTrades-2025-12.zip",
    ]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "z/README.md").touch()
    (tmp_path / "z/BTCUSDT-bookTicker-2025-12-01.zip").touch()
    # One path lies within another: each file comes once.
    readable, unread = find_files([tmp_path, tmp_path / "z"])
    assert [file.path.name for file in readable] == [
        "APEUSDT-aggTrades-2025-12.zip",
        "APEUSDT-fundingRate-2025-12.zip",
        "BTCUSDT-aggTrades-2025-12-01.csv",
        "BTCUSDT-aggTrades-2025-12-02.zip",
        "BTCUSDT-1m-2025-12.zip",
        "BTCUSDT-1m-2025-12-01.zip",
        "BTCUSDT-1m-2025-12-02.zip",
        "BTCUSDT-5m-2025-12.zip",
        "BTCUSDT-metrics-2025-12-01.zip",
    ]
    assert [(file.path.name, file.reason) for file in unread] == [
        ("BTCUSDT-bookTicker-2025-12-01.zip", "kind bookTicker")
    ]


def test_an_unpacked_copy_beside_its_archive_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "BTCUSDT-aggTrades-2025-12-01.csv").touch()
    (tmp_path / "BTCUSDT-aggTrades-2025-12-01.zip").touch()
    readable, unread = find_files([tmp_path])
    assert [file.path.suffix for file in readable] == [".zip"]
    assert unread[0].reason == "an unpacked copy of BTCUSDT-aggTrades-2025-12-01.zip beside it"


def test_nothing_to_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="nowhere does not exist"):
        find_files([tmp_path / "nowhere"])
    (tmp_path / "README.md").touch()
    with pytest.raises(ArchiveError, match="holds no archive file"):
        find_files([tmp_path])
    (tmp_path / "BTCUSDT-bookTicker-2025-12-01.zip").touch()
    with pytest.raises(ArchiveError, match=r"nothing to read: 1 files found.*kind bookTicker"):
        find_files([tmp_path])


def test_checksums(tmp_path: Path) -> None:
    good = write_file(tmp_path, "A-metrics-2025-12-01.zip", "text", checksum=True)
    assert len(sha256_of(good)) == 64
    beside = good.with_name(good.name + ".CHECKSUM")
    beside.write_text(f"{'0' * 64}  {good.name}\n")
    with pytest.raises(FileRejectedError, match=r"its SHA-256 is \w{64}, A-metrics-2025-12-01.zip.CHECKSUM says 0000"):
        sha256_of(good)
    beside.write_text("")
    with pytest.raises(FileRejectedError, match="holds no SHA-256"):
        sha256_of(good)
    with pytest.raises(FileRejectedError, match="cannot be read"):
        sha256_of(tmp_path / "none.zip")


def unpacked(tmp_path: Path, name: str, text: str) -> Csv:
    path = write_file(tmp_path, name, text)
    folder = tmp_path / "unpacked"
    folder.mkdir(exist_ok=True)
    return unpack(parsed(str(path)), folder)


def test_header_or_not(tmp_path: Path) -> None:
    rows = trades(3)
    for header in (True, False):
        csv = unpacked(tmp_path, "BTCUSDT-aggTrades-2025-12-01.zip", text_of(Kind.AGG_TRADES, rows, header=header))
        assert csv.header is header
        assert csv.first_row[0] == "1"
        assert csv.to_ns == 1_000_000
        assert [line for line, _ in csv.rows()] == ([2, 3, 4] if header else [1, 2, 3])
    micro = text_of(Kind.AGG_TRADES, trades(3, start=DAY * 1000), header=False)
    assert unpacked(tmp_path, "BTCUSDT-aggTrades-2025-12-01.zip", micro).to_ns == 1_000


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the file is empty"),
        ("\n\n", "the file is empty"),
        (text_of(Kind.AGG_TRADES, []), "a header and no rows"),
        ("agg_trade_id,price\n1,2\n", r"line 1: columns were agg_trade_id,price, must be .*missing: quantity"),
    ],
)
def test_files_without_rows_or_with_other_columns(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(FileRejectedError, match=reason):
        unpacked(tmp_path, "BTCUSDT-aggTrades-2025-12-01.zip", text)


def test_damaged_archives(tmp_path: Path) -> None:
    path = write_file(tmp_path, "BTCUSDT-aggTrades-2025-12-01.zip", text_of(Kind.AGG_TRADES, trades(2000)))
    file, whole = parsed(str(path)), path.read_bytes()
    (tmp_path / "out").mkdir()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileRejectedError, match="damaged or incomplete"):
        unpack(file, tmp_path / "out")
    # A byte within the compressed data: only reading to the end shows it.
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    path.write_bytes(flipped)
    with pytest.raises(FileRejectedError, match="damaged or incomplete"):
        unpack(file, tmp_path / "out")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.csv", "1")
        archive.writestr("b.csv", "1")
    with pytest.raises(FileRejectedError, match="holds 2 files, must be one"):
        unpack(file, tmp_path / "out")
    path.write_bytes(b"")
    with pytest.raises(FileRejectedError, match="damaged or incomplete"):
        unpack(file, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        ([trade(1, 90_000, 1, DAY), trade(2, -3.1, 1, DAY)], "line 3: price was -3.1, must be a positive number"),
        ([trade(1, 0, 1, DAY)], "line 2: price was 0, must be a positive number"),
        ([trade(1, "nan", 1, DAY)], "line 2: price was nan, must be a positive number"),
        ([trade(1, 5, "inf", DAY)], "line 2: quantity was inf, must be a positive number"),
        ([trade(1, 5, "", DAY)], "line 2: quantity was empty, must be a positive number"),
        ([trade(1, "5x", 1, DAY)], "line 2: price was '5x', must be a positive number"),
        ([(1, 5, 1, 1, 1, DAY, "maybe")], "line 2: is_buyer_maker was 'maybe', must be true or false"),
        ([(1, 5, 1, 1, 1, DAY)], "line 2: number of columns was 6, must be 7"),
        ([trade(1, 5, 1, DAY + 3 * 86_400_000)], "line 2: transact_time was 1764806400000 (2025-12-04 00:00:00 UTC)"),
    ],
)
def test_faults_of_trades(tmp_path: Path, rows: list[tuple[object, ...]], fault: str) -> None:
    csv = unpacked(tmp_path, "BTCUSDT-aggTrades-2025-12-01.csv", text_of(Kind.AGG_TRADES, rows))
    found = find_fault(csv)
    assert found is not None
    assert found.startswith(fault)


def test_no_fault_in_good_files(tmp_path: Path) -> None:
    for name, kind, rows in (
        ("BTCUSDT-aggTrades-2025-12-01.csv", Kind.AGG_TRADES, trades(30)),
        ("BTCUSDT-5m-2025-12-01.csv", Kind.KLINES, [candle(DAY, rest=("", "", ""))]),
        ("BTCUSDT-metrics-2025-12-01.csv", Kind.METRICS, [metric("2025-12-01 00:05:00", 5, "")]),
        ("BTCUSDT-fundingRate-2025-12.csv", Kind.FUNDING_RATE, [(DAY + 3, 8, -0.0001)]),
    ):
        for header in (True, False):
            assert find_fault(unpacked(tmp_path, name, text_of(kind, rows, header=header))) is None


def test_paths_that_look_like_patterns(tmp_path: Path) -> None:
    # DuckDB reads a path as a glob; these characters have to stand for themselves.
    csv = unpacked(tmp_path / "it's [a] *?", "BTCUSDT-aggTrades-2025-12-01.csv", text_of(Kind.AGG_TRADES, trades(3)))
    import duckdb

    with duckdb.connect() as con:
        assert con.execute(f"SELECT count(*) FROM {csv.sql()}").fetchall() == [(3,)]
