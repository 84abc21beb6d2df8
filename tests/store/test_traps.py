"""The known traps of the public archive, one by one; docs/data.md has the table."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from liqserver.store import loaders
from liqserver.store.archive import COLUMNS, PUBLISHED_KINDS, Kind, Rule
from liqserver.store.coverage import coverage
from liqserver.store.database import Database
from liqserver.store.ingest import FileResult, Status, ingest
from liqserver.store.quality import Check, Finding, Severity, check
from tests.store.archive_files import DAY, candle, metric, text_of, trade, write_file

MS = 1_000_000
HOUR = 3_600_000
Rows = Sequence[Sequence[object]]


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """A database that knows BTCUSDT."""
    with Database(tmp_path / "db" / "test.duckdb") as database:
        yield database


def ms(text: str) -> int:
    return int(datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=UTC).timestamp()) * 1000


def shown(ns: int) -> str:
    return f"{datetime.fromtimestamp(ns / 1e9, tz=UTC):%Y-%m-%d %H:%M}"


def take(db: Database, folder: Path, kind: Kind, date: str, rows: Rows, *, header: bool = True) -> FileResult:
    """Ingest one file of BTCUSDT, after a candle that makes the symbol known."""
    what = "1m" if kind.endswith("lines") else str(kind)
    files = [write_file(folder / kind, f"BTCUSDT-{what}-{date}.zip", text_of(kind, rows, header=header))]
    if not db.cursor().execute("FROM symbols").fetchall() and kind not in (Kind.AGG_TRADES, Kind.TRADES, Kind.KLINES):
        text = text_of(Kind.KLINES, [candle(ms(f"{date[:7]}-01 00:00"), period=60_000)])
        ingest(db, [write_file(folder / "klines", f"BTCUSDT-1m-{date[:7]}.zip", text)])
    [result] = ingest(db, files).files
    return result


def metrics_of(day: str, values: Sequence[object]) -> list[tuple[object, ...]]:
    """Rows of a day, stamped at the end of their five minutes."""
    start = datetime.strptime(day, "%Y-%m-%d")
    return [metric(f"{start + timedelta(minutes=5 * (n + 1)):%F %T}", value) for n, value in enumerate(values)]


def found(db: Database, *checks: Check) -> list[Finding]:
    return [f for f in check(db.cursor(), "BINANCE", "BTCUSDT") if f.check in checks]


def day_of(kind: Kind, factor: int = 1) -> list[tuple[object, ...]]:
    """Two rows of any kind, of 2025-12-01."""
    stamps = ("2025-12-01 00:05:00", "2025-12-01 00:10:00")
    rows: list[tuple[object, ...]] = []
    for n in range(2):
        at = DAY + n * 300_000
        row: tuple[object, ...]
        match kind:
            case Kind.AGG_TRADES:
                row = trade(n + 1, 90_000.5, 2.5, at)
            case Kind.TRADES:
                row = (n + 1, 90_000.5, 2.5, 225_001.25, at, True)
            case Kind.METRICS:
                row = metric(stamps[n], 70 + n)
            case Kind.FUNDING_RATE:
                row = (at, 8, 0.0001)
            case Kind.BOOK_DEPTH:
                row = (stamps[n], -1, 5.5, 495_000)
            case Kind.LIQUIDATION_SNAPSHOT:
                row = (at, "BTCUSDT", "SELL", "LIMIT", "IOC", 1, 90_000, 90_001, "FILLED", 1, 1)
            case Kind.PREMIUM_INDEX_KLINES:
                row = candle(at, (-0.1, 0.1, -0.2, 0), period=60_000)
            case _:
                row = candle(at, (90_000.1, 90_002, 89_999, 90_001), period=60_000)
        times = [n for n, c in enumerate(COLUMNS[kind]) if c.rule is Rule.TIME]
        # The end of a candle lies a millisecond, or a microsecond, before the next.
        scaled = [
            (int(str(v)) + 1) * factor - 1 if COLUMNS[kind][n].name == "close_time" else int(str(v)) * factor
            if n in times
            else v
            for n, v in enumerate(row)
        ]  # fmt: skip
        rows.append(tuple(scaled))
    return rows


TABLES = {
    Kind.AGG_TRADES: "flow",
    Kind.TRADES: "flow",
    Kind.KLINES: "klines",
    Kind.MARK_PRICE_KLINES: "mark_price",
    Kind.INDEX_PRICE_KLINES: "index_price",
    Kind.PREMIUM_INDEX_KLINES: "premium_index",
    Kind.METRICS: "open_interest",
    Kind.FUNDING_RATE: "funding",
    Kind.BOOK_DEPTH: "book_depth",
    Kind.LIQUIDATION_SNAPSHOT: "liquidations",
}


def test_every_kind_has_a_trap_test() -> None:
    assert set(TABLES) == set(PUBLISHED_KINDS)


@pytest.mark.parametrize("kind", TABLES)
def test_a_header_makes_no_difference(tmp_path: Path, kind: Kind) -> None:
    stored = []
    for header in (True, False):
        with Database(tmp_path / f"{header}.duckdb") as db:
            result = take(db, tmp_path / str(header), kind, "2025-12-01", day_of(kind), header=header)
            assert (result.status, result.rows) == (Status.INGESTED, 2), result.reason
            stored.append(db.cursor().execute(f"SELECT x::VARCHAR FROM {TABLES[kind]} x ORDER BY ts_event").fetchall())
    assert stored[0] == stored[1]
    assert len(stored[0]) >= 2


@pytest.mark.parametrize("kind", [k for k in TABLES if any(c.rule is Rule.TIME for c in COLUMNS[k])])
def test_microseconds_are_told_from_milliseconds(tmp_path: Path, kind: Kind) -> None:
    stored = []
    for factor in (1, 1000):
        with Database(tmp_path / f"{factor}.duckdb") as db:
            result = take(db, tmp_path / str(factor), kind, "2025-12-01", day_of(kind, factor))
            assert result.status is Status.INGESTED, result.reason
            assert ("its times are in microseconds" in result.notices) is (factor == 1000)
            stored.append(db.cursor().execute(f"SELECT x::VARCHAR FROM {TABLES[kind]} x ORDER BY ts_event").fetchall())
    assert stored[0] == stored[1]


@pytest.mark.parametrize(
    ("date", "stamp", "end"),
    [
        ("2026-06-24", "2026-06-24 12:00:00", "2026-06-24 12:00"),
        ("2026-06-24", "2026-06-25 00:00:00", "2026-06-25 00:00"),
        ("2026-06-25", "2026-06-25 00:00:00", "2026-06-25 00:05"),
        ("2026-06-26", "2026-06-26 12:00:00", "2026-06-26 12:05"),
    ],
)
def test_stamps_of_metrics_on_both_sides_of_their_change(
    db: Database, tmp_path: Path, date: str, stamp: str, end: str
) -> None:
    assert take(db, tmp_path, Kind.METRICS, date, [metric(stamp, 5)]).status is Status.INGESTED
    [(ts_event, ts_init)] = db.cursor().execute("SELECT ts_event, ts_init FROM open_interest").fetchall()
    assert (shown(ts_event), ts_init) == (end, ts_event)


def test_no_gap_opens_where_the_stamps_change(db: Database, tmp_path: Path) -> None:
    days = {"2026-06-24": 5, "2026-06-25": 0}
    for day, first in days.items():
        start = datetime.strptime(day, "%Y-%m-%d")
        rows = [metric(f"{start + timedelta(minutes=5 * n + first):%F %T}", 70 + n) for n in range(288)]
        assert take(db, tmp_path, Kind.METRICS, day, rows).stored_rows == 288
    assert found(db, Check.MISSING_MINUTES, Check.MISSING_DAYS) == []
    of = {c.kind: c for c in coverage(db.cursor(), "BINANCE", "BTCUSDT")}[Kind.METRICS]
    assert (of.stored_rows, of.missing_periods) == (576, 0)


def test_the_zeros_of_march_2022(db: Database, tmp_path: Path) -> None:
    first = take(db, tmp_path, Kind.METRICS, "2022-03-07", metrics_of("2022-03-07", [90] * 186 + [0] * 102))
    second = take(db, tmp_path, Kind.METRICS, "2022-03-08", metrics_of("2022-03-08", [0] * 14 + [91] * 274))
    assert (first.stored_rows, first.dropped_rows) == (186, 102)
    assert (second.stored_rows, second.dropped_rows) == (274, 14)
    assert db.cursor().execute("SELECT min(open_interest) FROM open_interest").fetchall() == [(90.0,)]
    gap, zeros = found(db, Check.MISSING_MINUTES, Check.ZERO_OPEN_INTEREST)
    assert (shown(gap.start), shown(gap.end), gap.count) == ("2022-03-07 15:30", "2022-03-08 01:10", 116)
    assert (zeros.count, zeros.text[:30]) == (116, "116 rows of 2 files dropped: o")
    # Known: nothing to be done.
    assert {gap.severity, zeros.severity} == {Severity.INFO}
    assert gap.text == "116 periods of 5m without a row (known: the archive has zeros there)"


def test_zeros_of_another_day_are_no_known_fault(db: Database, tmp_path: Path) -> None:
    take(db, tmp_path, Kind.METRICS, "2022-03-09", metrics_of("2022-03-09", [90, 0, 0, 91]))
    gap, zeros = found(db, Check.MISSING_MINUTES, Check.ZERO_OPEN_INTEREST)
    assert (gap.count, gap.severity) == (2, Severity.WARNING)
    assert (zeros.count, zeros.severity) == (2, Severity.WARNING)


def test_the_short_day_of_february_2024(db: Database, tmp_path: Path) -> None:
    take(db, tmp_path, Kind.METRICS, "2024-02-15", metrics_of("2024-02-15", [90] * 288))
    short = take(db, tmp_path, Kind.METRICS, "2024-02-16", metrics_of("2024-02-16", [91] * 288)[100:263])
    take(db, tmp_path, Kind.METRICS, "2024-02-17", metrics_of("2024-02-17", [92] * 288))
    assert (short.status, short.stored_rows) == (Status.INGESTED, 163)
    gaps = found(db, Check.MISSING_MINUTES, Check.MISSING_DAYS)
    assert [(g.count, g.severity) for g in gaps] == [(100, Severity.INFO), (25, Severity.INFO)]
    assert "known: the archive has 163 of 288 rows" in gaps[0].text


def test_rows_twice_in_metrics(db: Database, tmp_path: Path) -> None:
    rows = metrics_of("2024-05-01", range(1, 289))
    result = take(db, tmp_path, Kind.METRICS, "2024-05-01", sorted([*rows, *rows[:200]], reverse=True))
    assert (result.rows, result.stored_rows, result.dropped_rows) == (488, 288, 200)
    [dropped] = found(db, Check.DUPLICATES_DROPPED)
    assert (dropped.count, dropped.data, dropped.severity) == (200, "metrics", Severity.INFO)
    assert found(db, Check.DUPLICATE_ROWS, Check.MISSING_MINUTES) == []


@pytest.mark.parametrize("scan", ["compiled", "DuckDB"])
@pytest.mark.parametrize(("date", "missing"), [("2021-05-19", 557_026), ("2022-09-06", 31_645)])
@pytest.mark.parametrize("pieces", [1, 2])
def test_the_known_gaps_in_trade_ids(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scan: str, date: str, missing: int, pieces: int
) -> None:
    monkeypatch.setattr(loaders, "COMPILED_SCAN_BYTES", 0 if scan == "compiled" else 1 << 60)
    start = ms(f"{date} 00:00")
    rows = [trade(n, 40_000.0, 1, start + n * 1000) for n in range(1, 11)]
    if pieces == 2:
        rows.append(trade(11 + 100, 40_000.0, 1, start + 20_000))
    rows.append(trade(11 + missing + (pieces - 1), 40_000.0, 1, start + 30_000))
    result = take(db, tmp_path, Kind.AGG_TRADES, date, rows)
    assert (result.status, result.stored_rows) == (Status.INGESTED, 1)
    gaps = found(db, Check.ID_GAP)
    assert (len(gaps), sum(g.count for g in gaps)) == (pieces, missing)
    assert all(g.severity is Severity.INFO and g.text.endswith("(known: the archive lacks them)") for g in gaps)


@pytest.mark.parametrize(("date", "missing"), [("2021-05-18", 557_026), ("2021-05-19", 557_025)])
def test_other_gaps_are_not_known(db: Database, tmp_path: Path, date: str, missing: int) -> None:
    start = ms(f"{date} 00:00")
    take(db, tmp_path, Kind.AGG_TRADES, date, [trade(1, 4e4, 1, start), trade(2 + missing, 4e4, 1, start + 90_000)])
    [gap] = found(db, Check.ID_GAP)
    assert (gap.count, gap.severity) == (missing, Severity.WARNING)
    assert gap.text == f"{missing:,} ids are missing after 1, within BTCUSDT-aggTrades-{date}.zip"


def test_the_gap_in_mark_prices_of_november_2023(db: Database, tmp_path: Path) -> None:
    start = ms("2023-11-10 03:00")
    minutes = [n for n in range(120) if not 40 <= n < 60]
    rows = [candle(start + n * 60_000, period=60_000) for n in minutes]
    assert take(db, tmp_path, Kind.MARK_PRICE_KLINES, "2023-11-10", rows).stored_rows == 100
    [gap] = found(db, Check.MISSING_MINUTES)
    assert (shown(gap.start), shown(gap.end), gap.count) == ("2023-11-10 03:40", "2023-11-10 04:00", 20)
    assert (gap.severity, gap.data) == (Severity.INFO, "markPriceKlines 1m")


def funding(hours: Sequence[int], of: Sequence[float]) -> list[tuple[object, ...]]:
    return [(DAY + h * HOUR + 7, interval, 0.0001) for h, interval in zip(hours, of, strict=True)]


@pytest.mark.parametrize(
    ("hours", "intervals", "missing"),
    [
        (range(0, 24, 8), [8] * 3, 0),
        (range(0, 24, 4), [4] * 6, 0),
        (range(24), [1] * 24, 0),
        ([0, 4, 12], [4, 4, 4], 1),
        ([0, 1, 5], [1, 1, 1], 3),
        # The interval changes, either way.
        ([0, 8, 12, 16, 17, 18], [8, 8, 4, 4, 1, 1], 0),
        ([0, 1, 2, 6, 10, 18], [1, 1, 1, 4, 4, 8], 0),
        ([0, 8, 24], [4, 8, 8], 1),
    ],
)
def test_funding_every_hour_or_every_few(
    db: Database, tmp_path: Path, hours: Sequence[int], intervals: Sequence[float], missing: int
) -> None:
    result = take(db, tmp_path, Kind.FUNDING_RATE, "2025-12", funding(hours, intervals))
    assert result.stored_rows == len(intervals)
    stored = db.cursor().execute("SELECT interval_hours FROM funding ORDER BY ts_event").fetchall()
    assert [hours for (hours,) in stored] == intervals
    of = {c.kind: c for c in coverage(db.cursor(), "BINANCE", "BTCUSDT")}[Kind.FUNDING_RATE]
    gaps: list[Any] = found(db, Check.MISSING_MINUTES)
    assert of.missing_periods == sum(g.count for g in gaps) == missing
