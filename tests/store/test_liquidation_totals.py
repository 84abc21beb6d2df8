"""Totals of liquidations that others have added up: from a file of three columns into a table of their own."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from liqserver.store.archive import ArchiveError, ArchiveFile, Kind, UnreadFile, parse_file
from liqserver.store.coverage import Reach, coverage, symbols
from liqserver.store.database import Database
from liqserver.store.download import LedgerRow, days_missing
from liqserver.store.ingest import FileResult, Status, ingest
from liqserver.store.liquidations import summed_totals
from liqserver.store.quality import Check, check, rehearse
from tests.store.archive_files import DAY, candle, text_of, write_file

MS, HOUR_MS = 10**6, 3_600_000
HOUR, START = HOUR_MS * MS, DAY * MS
NAME = "liquidations_1h.csv"
Row = tuple[int, object, object]


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path / "db" / "x.duckdb") as database:
        ingest(database, [write_file(tmp_path, "BTCUSDT-5m-2025-12-01.zip", text_of(Kind.KLINES, [candle(DAY)]))])
        yield database


def hours(first: int, last: int, *, long: float = 1.0) -> list[Row]:
    """Rows of the hours of the day from ``first`` to before ``last``."""
    return [(DAY + h * HOUR_MS, long + h, 10.0 * h) for h in range(first, last)]


def write(folder: Path, rows: list[Row], name: str = NAME) -> Path:
    return write_file(folder, name, text_of(Kind.LIQUIDATION_TOTALS, rows))


def take(db: Database, path: Path, *, replace: bool = False) -> FileResult:
    [result] = ingest(db, [path], symbol="BTCUSDT", replace=replace).files
    return result


def stored(db: Database) -> list[tuple[int, float, float]]:
    return (
        db.cursor()
        .execute(
            "SELECT (ts_event - ?) // ?, long_notional, short_notional FROM liquidation_totals ORDER BY 1",
            [START + HOUR, HOUR],
        )
        .fetchall()
    )


def test_the_name_tells_the_period_and_the_symbol_has_to_be_told() -> None:
    file = parse_file(Path(NAME), "BTCUSDT")
    assert isinstance(file, ArchiveFile)
    assert (file.symbol, file.kind, file.period) == ("BTCUSDT", Kind.LIQUIDATION_TOTALS, HOUR)
    unread = parse_file(Path(NAME))
    assert isinstance(unread, UnreadFile)
    assert "--symbol" in unread.reason
    assert parse_file(Path("liquidations_of_mine.csv"), "BTCUSDT") is None


def test_rows_are_stored_at_the_end_of_their_period(db: Database, tmp_path: Path) -> None:
    result = take(db, write(tmp_path, [(DAY, 5.5, 0), (DAY + HOUR_MS, 0, 2)]))
    assert (result.status, result.kind, result.period, result.stored_rows) == (
        *(Status.INGESTED, "liquidationTotals", HOUR, 2),
    )
    assert (result.ts_start, result.ts_end) == (START, START + 2 * HOUR)
    assert "taken for those of BTCUSDT" in result.notices[0]
    assert stored(db) == [(0, 5.5, 0.0), (1, 0.0, 2.0)]
    assert db.cursor().execute("SELECT DISTINCT ts_init - ts_event, period FROM liquidation_totals").fetchall() == [
        (0, HOUR)
    ]


def test_without_a_symbol_they_are_left_alone_and_a_symbol_without_them_is_refused(
    db: Database, tmp_path: Path
) -> None:
    folder = tmp_path / "both"
    write(folder, hours(0, 2))
    candles = write_file(folder, "BTCUSDT-5m-2025-12-02.zip", text_of(Kind.KLINES, [candle(DAY + 24 * HOUR_MS)]))
    report = ingest(db, [folder])
    assert [file.status for file in report.files] == [Status.INGESTED, Status.NOT_READ]
    with pytest.raises(ArchiveError, match="symbol was 'BTCUSDT', but there are no totals"):
        ingest(db, [candles], symbol="BTCUSDT")
    with pytest.raises(ArchiveError, match="do not say whose they are"):
        ingest(db, [folder / NAME])
    [result] = ingest(db, [folder / NAME], symbol="ETHUSDT").files
    assert result.status is Status.REJECTED
    assert "ETHUSDT is not known yet" in result.reason


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ((DAY + HOUR_MS, -1, 2), "line 3: liquidation_long_usd was -1, must be a number, not negative"),
        ((DAY + HOUR_MS, 1, "x"), "line 3: liquidation_short_usd was 'x', must be a number, not negative"),
        ((DAY + 60_000, 1, 2), f"line 3: open_time was {DAY + 60_000}, must be a multiple of the 1h of its name"),
        ((DAY, 1, 2), "line 3: has the time of line 2"),
    ],
)
def test_a_bad_row_rejects_the_file(db: Database, tmp_path: Path, row: Row, reason: str) -> None:
    result = take(db, write(tmp_path, [(DAY, 0, 0), row]))
    assert result.status is Status.REJECTED
    assert result.reason.startswith(reason)
    assert stored(db) == []


def test_a_file_that_has_grown_adds_what_is_new(db: Database, tmp_path: Path) -> None:
    take(db, write(tmp_path / "a", hours(0, 3)))
    assert take(db, write(tmp_path / "b", hours(0, 3))).status is Status.ALREADY_INGESTED
    grown = take(db, write(tmp_path / "c", hours(0, 5)))
    assert (grown.stored_rows, grown.dropped_rows) == (2, 3)
    assert [row[0] for row in stored(db)] == [0, 1, 2, 3, 4]


def test_other_figures_for_a_known_hour_need_replace(db: Database, tmp_path: Path) -> None:
    take(db, write(tmp_path / "a", hours(0, 3)))
    other = write(tmp_path / "b", hours(2, 4, long=2.0))
    result = take(db, other)
    assert result.status is Status.REJECTED
    assert "long_notional was 4.0, but 3.0 in liquidations_1h.csv" in result.reason
    assert take(db, other, replace=True).status is Status.INGESTED
    assert stored(db) == [(2, 4.0, 20.0), (3, 5.0, 30.0)]


def test_coverage_and_checks_see_them(db: Database, tmp_path: Path) -> None:
    take(db, write(tmp_path, [*hours(0, 3), *hours(5, 6)]))
    cur = db.cursor()
    found = coverage(cur, "BINANCE", "BTCUSDT")[-1]
    assert (found.kind, found.period, found.stored_rows, found.missing_periods) == (Kind.LIQUIDATION_TOTALS, HOUR, 4, 2)
    [symbol] = symbols(cur)
    assert symbol.reach[-1] == Reach(Kind.LIQUIDATION_TOTALS, START + 6 * HOUR, START + 6 * HOUR)
    [gap] = [f for f in check(cur, "BINANCE", "BTCUSDT") if f.data.startswith("liquidationTotals")]
    assert (gap.check, gap.data, gap.start, gap.end, gap.count) == (
        *(Check.MISSING_MINUTES, "liquidationTotals 1h", START + 3 * HOUR, START + 5 * HOUR, 2),
    )
    cur.execute("UPDATE liquidation_totals SET short_notional = -1 WHERE long_notional = 1")
    assert "a total is negative" in next(
        f.text for f in check(cur, "BINANCE", "BTCUSDT") if f.check is Check.IMPOSSIBLE_VALUE
    )


def test_a_rehearsal_reads_them(db: Database, tmp_path: Path) -> None:
    path = write(tmp_path, hours(0, 3))
    db.close()
    rehearsal = rehearse([path], db.path, symbol="BTCUSDT")
    assert [file.status for file in rehearsal.report.files] == [Status.INGESTED]


def test_sums_over_longer_intervals_need_every_period(db: Database, tmp_path: Path) -> None:
    take(db, write(tmp_path, [*hours(0, 3), *hours(4, 8)]))
    cur = db.cursor()
    found = summed_totals(cur, 1, interval=2 * HOUR, until=START + 24 * HOUR)
    assert found is not None
    sums, period = found
    assert period == HOUR
    assert ((sums.ts - START) // HOUR).tolist() == [0, 4, 6]
    assert sums.notional.tolist() == [[1 + 2, 5 + 6, 7 + 8], [10, 40 + 50, 60 + 70]]
    # What was not known yet is not there.
    found = summed_totals(cur, 1, interval=HOUR, until=START + 2 * HOUR)
    assert found is not None
    assert ((found[0].ts - START) // HOUR).tolist() == [0, 1]
    assert summed_totals(cur, 1, interval=HOUR, until=START) is None
    assert summed_totals(cur, 1, interval=HOUR // 2, until=START + 24 * HOUR) is None


def test_real_totals(shared_data: Path, db: Database) -> None:
    result = take(db, shared_data / "binance-btc-2025-12" / NAME)
    assert result.status is Status.INGESTED
    found = coverage(db.cursor(), "BINANCE", "BTCUSDT")[-1]
    assert (found.rows, found.missing_periods) == (1839, 3)


def test_an_update_from_the_archive_leaves_them_as_they_are() -> None:
    rows = [
        LedgerRow("BINANCE", "BTCUSDT", "liquidationTotals", HOUR, NAME),
        LedgerRow("BINANCE", "BTCUSDT", "metrics", HOUR // 12, "BTCUSDT-metrics-2025-12-17.zip"),
    ]
    wanted, notices = days_missing(rows, "BINANCE", [], date(2025, 12, 20))
    assert [of.series.kind for of in wanted] == [Kind.METRICS]
    assert notices == []
