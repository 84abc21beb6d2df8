"""What is wrong with stored data: gaps, impossible values, jumps, sources that disagree; and files before their ingest.

Every check is a query over sets; rows are counted and joined to spans of time where they are, and few of them leave
the database.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import duckdb

from liqserver.config import DEFAULT_VENUE
from liqserver.store.archive import (
    ALL_SYMBOLS,
    DAY,
    METRICS_PERIOD,
    MINUTE,
    PERIOD_KINDS,
    TRADE_KINDS,
    ArchiveFile,
    Kind,
    find_files,
    interval_name,
    utc,
)
from liqserver.store.database import Database
from liqserver.store.ingest import FileResult, IngestReport, Progress, Status, ingest
from liqserver.store.liquidation_files import DEFAULT_QUOTE_ASSET
from liqserver.store.loaders import (
    COPIES,
    KNOWN_IDS,
    KNOWN_MINUTES,
    KNOWN_ROWS,
    ZERO_OPEN_INTEREST,
    quantity_decimals,
)

_HOUR = 60 * MINUTE


class Severity(StrEnum):
    """How bad a finding is.

    ``INFO``: worth knowing, or a fault of the archive that is known and beyond repair. ``WARNING``: data is missing
    or doubtful. ``ERROR``: data is wrong.
    """

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"

    @property
    def rank(self) -> int:
        """0, 1, 2."""
        return list(Severity).index(self)


class Check(StrEnum):
    """What was looked for."""

    REJECTED_FILE = "rejected_file"
    NOT_READ = "not_read"
    ALREADY_INGESTED = "already_ingested"
    NOTICE = "notice"
    ID_GAP = "id_gap"
    MISSING_DAYS = "missing_days"
    MISSING_MINUTES = "missing_minutes"
    DUPLICATES_DROPPED = "duplicates_dropped"
    ROWS_DROPPED = "rows_dropped"
    DUPLICATE_ROWS = "duplicate_rows"
    IMPOSSIBLE_VALUE = "impossible_value"
    PRICE_JUMP = "price_jump"
    OPEN_INTEREST_JUMP = "open_interest_jump"
    ZERO_OPEN_INTEREST = "zero_open_interest"
    KLINES_TRADES_DISAGREE = "klines_trades_disagree"
    MARK_LAST_DIVERGE = "mark_last_diverge"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found.

    Attributes
    ----------
    venue, symbol : str
        Whose data; the symbol is ``*`` for files of many.
    check : Check
        What was looked for.
    data : str
        The archive's kind of data, with the interval for candles.
    severity : Severity
        How bad it is.
    start, end : int
        UNIX nanoseconds: the span it lies in; 0 where nothing is known of it.
    count : int
        Rows, periods, ids or files it is about.
    text : str
        A sentence.
    """

    venue: str
    symbol: str
    check: Check
    data: str
    severity: Severity
    start: int
    end: int
    count: int
    text: str


@dataclass(frozen=True, slots=True)
class Bounds:
    """From where on something is a finding.

    Attributes
    ----------
    price_jump : float
        Move of the price within one candle of the shortest interval or from one to the next, as a share.
    open_interest_jump : float
        Change of open interest from one row to the next, at most 15 minutes later, as a share.
    volume : float
        Difference between the volumes of candles and of trades, as a share of the larger.
    price : float
        Difference between highs or lows of candles and of trades beyond the bin they lie in, as a share of price.
    divergence : float
        Difference between mark price and last price at the end of a candle, as a share of the last price.
    quiet : int
        Longest time without a trade that needs no mention, nanoseconds.
    most : int
        Findings of one check of one kind of data that are told one by one, the largest; the others are summed up.
    """

    price_jump: float = 0.10
    open_interest_jump: float = 0.25
    volume: float = 0.001
    price: float = 0.001
    divergence: float = 0.02
    quiet: int = _HOUR
    most: int = 10


@dataclass(frozen=True, slots=True)
class _Known:
    """A fault of the archive that nothing can be done about; ``count`` ids, or any number of periods where None."""

    kind: Kind
    start: int
    end: int
    count: int | None
    text: str


def _at(text: str) -> int:
    return int(datetime.strptime(f"{text}+0000", "%Y-%m-%d %H:%M%z").timestamp()) * 1_000_000_000


KNOWN_FAULTS = (
    _Known(Kind.AGG_TRADES, _at("2021-05-19 00:00"), _at("2021-05-20 00:00"), 557_026, "the archive lacks them"),
    _Known(Kind.AGG_TRADES, _at("2022-09-06 00:00"), _at("2022-09-07 00:00"), 31_645, "the archive lacks them"),
    # The last 102 rows of one day and the first 14 of the next, by the ends of their periods or by the starts.
    _Known(Kind.METRICS, _at("2022-03-07 15:25"), _at("2022-03-08 01:15"), None, "the archive has zeros there"),
    _Known(Kind.METRICS, _at("2024-02-15 23:55"), _at("2024-02-17 00:05"), None, "the archive has 163 of 288 rows"),
    _Known(Kind.MARK_PRICE_KLINES, _at("2023-11-10 03:40"), _at("2023-11-10 04:00"), None, "the archive lacks them"),
)
"""Faults of the public archive of Binance; findings of them are no warnings."""


def check(
    cur: duckdb.DuckDBPyConnection,
    venue: str,
    symbol: str,
    bounds: Bounds | None = None,
    *,
    clock: Callable[[], int] = time.time_ns,
) -> list[Finding]:
    """Look through everything that is stored of a symbol.

    Parameters
    ----------
    cur : duckdb.DuckDBPyConnection
        A cursor of the calling thread; temporary tables are made on it.
    venue, symbol : str
        Which symbol.
    bounds : Bounds, optional
        From where on something is a finding.
    clock : callable
        Returns UNIX nanoseconds: rows of later times are impossible.

    Returns
    -------
    list of Finding
        In the order of checks, kinds of data and time.

    Raises
    ------
    KeyError
        If there is no such symbol.
    """
    found = cur.execute(
        "SELECT symbol_id, base_bin FROM symbols WHERE venue = ? AND symbol = ?", [venue, symbol]
    ).fetchone()
    if found is None:
        raise KeyError(f"{venue}:{symbol}")
    looked = _Look(cur, venue, symbol, found[0], found[1], bounds or Bounds(), clock())
    looked.all()
    order = list(Check)
    # Stable: kinds of data stay in the order in which they were looked at.
    return sorted(looked.findings, key=lambda f: order.index(f.check))


# Tables of candles with what is impossible in them, by kind. NaN is larger than any number: it is looked for by name.
_NO_PRICE = "NOT (low > 0 AND low <= high AND high < 'inf'::DOUBLE AND NOT isnan(low))"
_OUT_OF_RANGE = "NOT (open BETWEEN low AND high AND close BETWEEN low AND high)"
_TABLES = {
    Kind.AGG_TRADES: "flow",
    Kind.KLINES: "klines",
    Kind.MARK_PRICE_KLINES: "mark_price",
    Kind.INDEX_PRICE_KLINES: "index_price",
    Kind.PREMIUM_INDEX_KLINES: "premium_index",
    Kind.METRICS: "open_interest",
    Kind.FUNDING_RATE: "funding",
    Kind.BOOK_DEPTH: "book_depth",
    Kind.LIQUIDATION_SNAPSHOT: "liquidations",
    Kind.LIQUIDATION_TOTALS: "liquidation_totals",
}
_IMPOSSIBLE = {
    "flow": {
        "a quantity or a number of trades is negative": "least(buy_qty, sell_qty, buy_count, sell_count) < 0",
        "a quantity is no number": "isnan(buy_qty) OR isnan(sell_qty) OR isinf(buy_qty) OR isinf(sell_qty)",
        "there is a quantity without trades or trades without notional": (
            "(buy_qty > 0 AND buy_count = 0) OR (sell_qty > 0 AND sell_count = 0) "
            "OR (buy_count + sell_count > 0 AND buy_notional + sell_notional <= 0)"
        ),
        # Quantities are summed in whole units of a scale that leaves a relative error where they are tiny.
        "the mean price lies outside its bin": (
            "abs((buy_notional + sell_notional) - (buy_qty + sell_qty) * (bin + 0.5) * $base_bin) > "
            "(buy_qty + sell_qty) * $base_bin * 0.51 + (buy_count + sell_count) * (bin + 1) * $base_bin * $unit "
            "+ (buy_count + sell_count) * 1e-6 + 1e-9 * (buy_notional + sell_notional)"
        ),
    },
    "klines": {
        "prices are not positive": _NO_PRICE,
        "open or close lies outside low and high": _OUT_OF_RANGE,
        "volume is negative or no number": "volume < 0 OR isnan(volume) OR isinf(volume)",
        "takers bought more than was traded": (
            "NOT isnan(taker_buy_volume) AND taker_buy_volume > volume * (1 + 1e-9) + 1e-9"
        ),
        "quote volume does not fit volume and prices": (
            "NOT isnan(quote_volume) AND volume > 0 AND "
            "quote_volume NOT BETWEEN low * volume * 0.999 - 1 AND high * volume * 1.001 + 1"
        ),
        "there is volume and the number of trades is 0": "NOT isnan(count) AND count = 0 AND volume > 0",
    },
    "mark_price": {"prices are not positive": _NO_PRICE, "open or close lies outside low and high": _OUT_OF_RANGE},
    "index_price": {"prices are not positive": _NO_PRICE, "open or close lies outside low and high": _OUT_OF_RANGE},
    "premium_index": {
        "the premium is no number below one": "NOT (abs(low) < 1 AND abs(high) < 1)",
        "open or close lies outside low and high": _OUT_OF_RANGE,
    },
    "open_interest": {
        "open interest is not positive": "NOT (open_interest > 0 AND open_interest < 'inf'::DOUBLE)",
        "the value of open interest is negative": "open_interest_value < 0",
    },
    "funding": {
        "the rate is no number within 10 %": "NOT abs(rate) <= 0.1",
        "the interval is not 1 to 24 hours": "NOT interval_hours BETWEEN 1 AND 24",
    },
    "book_depth": {
        "depth or notional is negative or no number": (
            "NOT (depth >= 0 AND notional >= 0 AND depth < 'inf'::DOUBLE AND notional < 'inf'::DOUBLE)"
        ),
        "the distance is 0 or no share below 100 %": "percentage = 0 OR NOT abs(percentage) < 100",
    },
    "liquidations": {
        "price or quantity is not positive": (
            "NOT (price > 0 AND qty > 0 AND price < 'inf'::DOUBLE AND qty < 'inf'::DOUBLE)"
        ),
        "the side is neither long nor short": "side NOT IN (1, -1)",
    },
    "liquidation_totals": {
        "a total is negative or no number": (
            "NOT (long_notional >= 0 AND short_notional >= 0 AND long_notional < 'inf'::DOUBLE "
            "AND short_notional < 'inf'::DOUBLE)"
        ),
    },
}
# Columns that name a row, for tables in which no row may be twice.
_KEYS = {
    "klines": "period, ts_event",
    "mark_price": "period, ts_event",
    "index_price": "period, ts_event",
    "premium_index": "period, ts_event",
    "open_interest": "ts_event",
    "funding": "ts_event",
    "book_depth": "ts_event, percentage",
    "liquidations": "ts_event, side, price, qty",
    "liquidation_totals": "period, ts_event",
}
_DROPPED = re.compile(r"([\d,]+) rows? (.+)")
_SPAN = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d):\d\d … (\d{4}-\d\d-\d\d \d\d:\d\d):\d\d")
_OPEN_INTEREST_STEP = 15 * MINUTE


@dataclass(slots=True)
class _Look:
    """The checks of one symbol, one method each."""

    cur: duckdb.DuckDBPyConnection
    venue: str
    symbol: str
    symbol_id: int
    base_bin: float
    bounds: Bounds
    now: int
    findings: list[Finding] = field(default_factory=list)

    def all(self) -> None:
        kinds = [kind for kind in _TABLES if self._holds(_TABLES[kind])]
        if Kind.AGG_TRADES in kinds:
            self._reduce_flow()
        self._id_gaps()
        for kind in kinds:
            self._impossible(kind)
            self._duplicate_rows(kind)
            for period in self._periods(kind):
                self._missing(kind, period)
        for kind in (Kind.AGG_TRADES, Kind.BOOK_DEPTH):
            if kind in kinds:
                self._quiet(kind)
        self._missing_ends(kinds)
        if Kind.FUNDING_RATE in kinds:
            self._missing_funding()
        self._dropped()
        for kind in (Kind.KLINES, Kind.MARK_PRICE_KLINES, Kind.INDEX_PRICE_KLINES):
            if kind in kinds:
                self._price_jumps(kind, self._periods(kind)[0])
        if Kind.AGG_TRADES in kinds:
            self._trade_jumps()
        if Kind.METRICS in kinds:
            self._open_interest_jumps()
        if Kind.AGG_TRADES in kinds and Kind.KLINES in kinds:
            self._klines_against_trades()
        if Kind.MARK_PRICE_KLINES in kinds:
            self._mark_against_last(kinds)

    # --- gaps ---

    def _id_gaps(self) -> None:
        for kind in TRADE_KINDS:
            gaps = f"""
                SELECT CASE WHEN former = later THEN a WHEN b <= c THEN b ELSE least(a, c) END AS start,
                       CASE WHEN former = later THEN b WHEN b <= c THEN c ELSE greatest(b, d) END AS "end",
                       count, after, former, later
                FROM (
                    SELECT r.last_id AS after, l.name AS former, l.ts_start AS a, l.ts_end AS b,
                           lead(r.first_id) OVER w - r.last_id - 1 AS count,
                           lead(l.name) OVER w AS later, lead(l.ts_start) OVER w AS c, lead(l.ts_end) OVER w AS d
                    FROM trade_ranges r JOIN ledger l USING (file_id)
                    WHERE r.symbol_id = {self.symbol_id} AND l.kind = '{kind}' WINDOW w AS (ORDER BY r.first_id)
                ) WHERE count > 0
            """  # noqa: S608 - names and numbers of ours
            spans = self._spans(gaps)
            # All gaps of a day together: a known one may be in pieces.
            there = [
                known
                for known in self._known(kind)
                if self._rows(
                    f'SELECT sum(count) FROM ({gaps}) WHERE start < ? AND greatest("end", start + 1) > ?',  # noqa: S608
                    [known.end, known.start],
                )
                == [(known.count,)]
            ]
            for start, end, count, after, former, later in spans.told:
                where = f"within {former}" if former == later else f"between {former} and {later}"
                text = f"{count:,} {'id is' if count == 1 else 'ids are'} missing after {after}, {where}"
                known = next((k for k in there if start < k.end and max(end, start + 1) > k.start), None)
                self._add_gap(Check.ID_GAP, str(kind), start, end, count, text, known)
            self._add_rest(Check.ID_GAP, str(kind), Severity.WARNING, spans, "ids are missing")

    def _missing(self, kind: Kind, period: int) -> None:
        spans = self._spans(
            f"""
            SELECT ts_event AS start, next - {period} AS "end", round((next - ts_event) / {period})::BIGINT - 1 AS count
            FROM (
                SELECT ts_event, lead(ts_event) OVER (ORDER BY ts_event) AS next
                FROM {_TABLES[kind]} WHERE symbol_id = {self.symbol_id}
                {f"AND period = {period}" if kind in PERIOD_KINDS else ""}
            ) WHERE round((next - ts_event) / {period}) > 1
            """  # noqa: S608 - names and numbers of ours
        )
        data = _data(kind, period)
        for start, end, count in spans.told:
            text = f"{count:,} {'period' if count == 1 else 'periods'} of {interval_name(period)} without a row"
            known = next((k for k in self._known(kind) if k.start <= start and end <= k.end), None)
            self._add_gap(Check.MISSING_MINUTES, data, start, end, count, text, known)
        words = f"periods of {interval_name(period)} without a row"
        self._add_rest(Check.MISSING_MINUTES, data, Severity.WARNING, spans, words)

    def _quiet(self, kind: Kind) -> None:
        """Find long times without an event; of trades minutes are looked at, of depth its pictures."""
        source = "minutes" if kind is Kind.AGG_TRADES else f"{_TABLES[kind]} WHERE symbol_id = {self.symbol_id}"
        spans = self._spans(
            f"""
            SELECT ts_event AS start, next AS "end", (next - ts_event) // {MINUTE} AS count
            FROM (SELECT DISTINCT ts_event, lead(ts_event) OVER (ORDER BY ts_event) AS next FROM {source})
            WHERE next - ts_event > {self.bounds.quiet}
            """  # noqa: S608 - numbers of ours
        )
        for start, end, count in spans.told:
            # A quiet contract has hours without a trade; whole days are a file that is not there.
            self._add_gap(Check.MISSING_MINUTES, kind, start, end, count, f"nothing for {count:,} minutes", quiet=True)
        self._add_rest(Check.MISSING_MINUTES, kind, Severity.INFO, spans, "minutes without a row")

    def _missing_ends(self, kinds: list[Kind]) -> None:
        """Find whole days for which there are trades or candles, and no mark price or open interest yet or any more."""
        sources = [f"SELECT ts_event - period AS a, ts_event AS b FROM klines WHERE symbol_id = {self.symbol_id}"]  # noqa: S608
        if Kind.AGG_TRADES in kinds:
            sources.append(f"SELECT ts_event - {MINUTE}, ts_event FROM minutes")  # noqa: S608 - numbers of ours
        [(traded_start, traded_end)] = self._rows(f"SELECT min(a), max(b) FROM ({' UNION ALL '.join(sources)})")  # noqa: S608
        for kind in (Kind.MARK_PRICE_KLINES, Kind.METRICS):
            if kind not in kinds or traded_start is None:
                continue
            [(start, end)] = self._rows(
                f"SELECT min(ts_event), max(ts_event) FROM {_TABLES[kind]} WHERE symbol_id = {self.symbol_id}"  # noqa: S608
            )
            if start > traded_end or end < traded_start:
                continue
            for a, b, text in (
                (traded_start, start, f"it begins at {utc(start):%F %H:%M}, what was traded is there before that"),
                (end, traded_end, f"it ends at {utc(end):%F %H:%M}, what was traded is there after that"),
            ):
                if _whole_days(a, b):
                    self._add_gap(Check.MISSING_MINUTES, kind, a, b, (b - a) // MINUTE, text)

    def _missing_funding(self) -> None:
        # Settlements are some milliseconds late. Between two intervals the longer one is expected.
        spans = self._spans(
            f"""
            SELECT ts_event AS start, next AS "end",
                   round((next - ts_event) / (hours * {_HOUR}))::BIGINT - 1 AS count, hours
            FROM (
                SELECT ts_event, lead(ts_event) OVER w AS next,
                       greatest(interval_hours, lead(interval_hours) OVER w) AS hours
                FROM funding WHERE symbol_id = {self.symbol_id} WINDOW w AS (ORDER BY ts_event)
            ) WHERE round((next - ts_event) / (hours * {_HOUR})) > 1
            """  # noqa: S608 - numbers of ours
        )
        for start, end, count, hours in spans.told:
            text = f"{count:,} {'settlement' if count == 1 else 'settlements'} missing, one every {hours:g} h expected"
            self._add_gap(Check.MISSING_MINUTES, Kind.FUNDING_RATE, start, end, count, text)
        self._add_rest(Check.MISSING_MINUTES, Kind.FUNDING_RATE, Severity.WARNING, spans, "settlements missing")

    # --- what ingest left out ---

    def _dropped(self) -> None:
        rows = self._rows(
            """
            SELECT kind, period, ts_start, ts_end, unnest(from_json(notices, '["VARCHAR"]')) AS notice
            FROM ledger WHERE symbol_id = ? AND dropped_rows > 0
            """,
            [self.symbol_id],
        )
        sums: dict[tuple[Check, str, str, Severity], list[int]] = {}
        for name, period, start, end, notice in rows:
            match = _DROPPED.fullmatch(notice)
            if match is None:
                continue
            kind, count, words = Kind(name), int(match[1].replace(",", "")), match[2]
            severity = Severity.INFO
            what = Check.ROWS_DROPPED
            if words.startswith((COPIES, KNOWN_ROWS, KNOWN_IDS, KNOWN_MINUTES)):
                what = Check.DUPLICATES_DROPPED
            elif words.startswith(ZERO_OPEN_INTEREST) and (span := _SPAN.search(words)):
                what, words = Check.ZERO_OPEN_INTEREST, ZERO_OPEN_INTEREST
                start, end = _at(span[1]) - METRICS_PERIOD, _at(span[2]) + METRICS_PERIOD
                known = any(
                    k.start <= start + METRICS_PERIOD and end - METRICS_PERIOD <= k.end for k in self._known(kind)
                )
                severity = Severity.INFO if known else Severity.WARNING
            group = sums.setdefault((what, _data(kind, period), words, severity), [0, 0, start, end])
            group[0] += count
            group[1] += 1
            group[2], group[3] = min(group[2], start), max(group[3], end)
        for (what, data, words, severity), (count, files, start, end) in sums.items():
            one = "1 row" if count == 1 else f"{count:,} rows"
            text = f"{one} of {'1 file' if files == 1 else f'{files:,} files'} {words}"
            if what is Check.ZERO_OPEN_INTEREST and severity is Severity.INFO:
                text += " (known: the archive has zeros there)"
            self._add(what, data, severity, start, end, count, text)

    # --- values ---

    def _impossible(self, kind: Kind) -> None:
        table = _TABLES[kind]
        rules = dict(_IMPOSSIBLE[table])
        rules["it was known before it had happened"] = "ts_init < ts_event"
        rules["it is of the future"] = f"ts_event > {self.now}"
        figures = ", ".join(
            f"count(*) FILTER ({of}), min(ts_event) FILTER ({of}), max(ts_event) FILTER ({of})" for of in rules.values()
        )
        # The few bad rows first: what is counted and dated of them costs nothing then.
        bad = f"SELECT * FROM {table} WHERE symbol_id = $symbol_id AND ({' OR '.join(rules.values())})"  # noqa: S608
        sql = f"SELECT {figures} FROM ({bad})"  # noqa: S608 - names and numbers of ours
        values: dict[str, float] = {"symbol_id": self.symbol_id}
        if table == "flow":
            # Half a unit of the scale that quantities are summed in.
            values |= {"base_bin": self.base_bin, "unit": 0.5 / 10 ** quantity_decimals(self.base_bin)}
        [row] = self.cur.execute(sql, values).fetchall()
        for n, words in enumerate(rules):
            count, first, last = row[3 * n : 3 * n + 3]
            if count:
                one = "1 row" if count == 1 else f"{count:,} rows"
                text = f"{one} of {table}: {words}"
                self._add(Check.IMPOSSIBLE_VALUE, kind, Severity.ERROR, first, last, count, text)

    def _duplicate_rows(self, kind: Kind) -> None:
        table = _TABLES[kind]
        if table not in _KEYS:
            return
        [(count, first, last)] = self._rows(
            f"""
            SELECT coalesce(sum(n - 1), 0)::BIGINT, min(ts_event), max(ts_event)
            FROM (SELECT {_KEYS[table]}, count(*) AS n FROM {table} WHERE symbol_id = ? GROUP BY ALL HAVING n > 1)
            """,  # noqa: S608 - names of ours
            [self.symbol_id],
        )
        if count:
            text = f"{count:,} rows of {table} are there more than once ({_KEYS[table]})"
            self._add(Check.DUPLICATE_ROWS, kind, Severity.ERROR, first, last, count, text)

    def _price_jumps(self, kind: Kind, period: int) -> None:
        spans = self._islands(
            f"""
            SELECT ts_event, greatest(high / low, coalesce(open / former, 0), coalesce(former / open, 0)) - 1 AS worst
            FROM (
                SELECT ts_event, high, low, open,
                       CASE WHEN lag(ts_event) OVER w = ts_event - {period} THEN lag(close) OVER w END AS former
                FROM {_TABLES[kind]} WHERE symbol_id = {self.symbol_id} AND period = {period}
                WINDOW w AS (ORDER BY ts_event)
            ) WHERE worst > {self.bounds.price_jump}
            """,  # noqa: S608 - names and numbers of ours
            period,
        )
        what = f"moves of more than {self.bounds.price_jump:.3g}"
        self._add_islands(Check.PRICE_JUMP, _data(kind, period), spans, period, "the price moved by {} within", what)

    def _trade_jumps(self) -> None:
        # A bin is the finest that is known of the price.
        spans = self._islands(
            f"""
            SELECT ts_event, high_bin / (low_bin + 1) - 1 AS worst FROM minutes WHERE worst > {self.bounds.price_jump}
            """,  # noqa: S608 - numbers of ours
            MINUTE,
        )
        what = f"moves of more than {self.bounds.price_jump:.3g}"
        self._add_islands(Check.PRICE_JUMP, Kind.AGG_TRADES, spans, MINUTE, "the price moved by {} within", what)

    def _open_interest_jumps(self) -> None:
        spans = self._spans(
            f"""
            SELECT former_ts AS start, ts_event AS "end", 1 AS count, former, open_interest,
                   greatest(open_interest, former) / least(open_interest, former) - 1 AS worst
            FROM (
                SELECT ts_event, open_interest, lag(ts_event) OVER w AS former_ts, lag(open_interest) OVER w AS former
                FROM open_interest WHERE symbol_id = {self.symbol_id} WINDOW w AS (ORDER BY ts_event)
            ) WHERE ts_event - former_ts <= {_OPEN_INTEREST_STEP} AND least(open_interest, former) > 0
                AND worst > {self.bounds.open_interest_jump}
            """,  # noqa: S608 - numbers of ours
            by="worst",
        )
        for start, end, count, former, value, _ in spans.told:
            text = f"open interest went from {former:,.6g} to {value:,.6g}, {value / former - 1:+.1%}"
            self._add(Check.OPEN_INTEREST_JUMP, Kind.METRICS, Severity.WARNING, start, end, count, text)
        self._add_rest(Check.OPEN_INTEREST_JUMP, Kind.METRICS, Severity.WARNING, spans, "jumps of open interest")

    # --- sources against each other ---

    def _reduce_flow(self) -> None:
        """Make the temporary table ``minutes``: the trades of each minute, all bins together."""
        self.cur.execute(
            """
            CREATE OR REPLACE TEMP TABLE minutes AS
            SELECT ts_event, min(bin) AS low_bin, max(bin) AS high_bin, sum(buy_qty + sell_qty) AS qty,
                   sum(buy_notional + sell_notional) AS notional
            FROM flow WHERE symbol_id = ? GROUP BY ts_event
            """,
            [self.symbol_id],
        )

    def _klines_against_trades(self) -> None:
        period = next((p for p in self._periods(Kind.KLINES) if p % MINUTE == 0), None)
        if period is None:
            return
        # The first and the last minute of what files cover may be there in part.
        covered = [(start + MINUTE, end - MINUTE) for start, end in self._covered()]
        if not covered:
            return
        self.cur.execute("CREATE OR REPLACE TEMP TABLE covered (ts_start BIGINT, ts_end BIGINT)")
        self.cur.executemany("INSERT INTO covered VALUES (?, ?)", covered)
        inside = f"""
            SELECT k.ts_event, k.high, k.low, k.volume, t.qty, t.low_bin, t.high_bin
            FROM klines k JOIN covered c ON k.ts_event - {period} >= c.ts_start AND k.ts_event <= c.ts_end
            LEFT JOIN (
                SELECT ceil(ts_event / {period})::BIGINT * {period} AS ts_event, sum(qty) AS qty,
                       min(low_bin) AS low_bin, max(high_bin) AS high_bin
                FROM minutes GROUP BY 1
            ) t USING (ts_event)
            WHERE k.symbol_id = {self.symbol_id} AND k.period = {period}
        """  # noqa: S608 - numbers of ours
        data = _data(Kind.KLINES, period)
        spans = self._islands(
            f"""
            SELECT ts_event, abs(volume - coalesce(qty, 0)) / greatest(volume, coalesce(qty, 0)) AS worst
            FROM ({inside}) WHERE greatest(volume, coalesce(qty, 0)) > 0 AND worst > {self.bounds.volume}
            """,  # noqa: S608 - numbers of ours
            period,
        )
        self._add_islands(
            *(Check.KLINES_TRADES_DISAGREE, data, spans, period),
            "volume of candles and of trades differ by up to {} in",
            "candles whose volume is not that of the trades",
        )
        bin_, near = self.base_bin, self.bounds.price
        # By how much a price lies outside the bin of its trade.
        spans = self._islands(
            f"""
            SELECT ts_event,
                   greatest(high - (high_bin + 1) * {bin_!r}, high_bin * {bin_!r} - high,
                            low - (low_bin + 1) * {bin_!r}, low_bin * {bin_!r} - low) / low AS worst
            FROM ({inside}) WHERE qty > 0 AND worst > {near!r}
            """,  # noqa: S608 - numbers of ours
            period,
        )
        self._add_islands(
            *(Check.KLINES_TRADES_DISAGREE, data, spans, period),
            "high or low of candles and of trades differ by up to {} in",
            "candles whose high or low is not that of the trades",
        )

    def _mark_against_last(self, kinds: list[Kind]) -> None:
        periods = self._periods(Kind.MARK_PRICE_KLINES)
        common = [period for period in self._periods(Kind.KLINES) if period in periods]
        if common:
            period = common[0]
            of = f"symbol_id = {self.symbol_id} AND period = {period}"
            last = f"SELECT ts_event, close AS last FROM klines WHERE {of}"  # noqa: S608 - numbers of ours
        elif Kind.AGG_TRADES in kinds and MINUTE in periods:
            # Of trades the mean price of the minute is what is known.
            period, last = MINUTE, "SELECT ts_event, notional / qty AS last FROM minutes WHERE qty > 0"
        else:
            return
        spans = self._islands(
            f"""
            SELECT ts_event, abs(m.close / l.last - 1) AS worst FROM mark_price m JOIN ({last}) l USING (ts_event)
            WHERE m.symbol_id = {self.symbol_id} AND m.period = {period} AND worst > {self.bounds.divergence}
            """,  # noqa: S608 - numbers of ours
            period,
        )
        self._add_islands(
            *(Check.MARK_LAST_DIVERGE, _data(Kind.MARK_PRICE_KLINES, period), spans, period),
            "mark price and last price are up to {} apart for",
            "candles with mark price and last price apart",
        )

    # --- helpers ---

    def _rows(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        return self.cur.execute(sql, list(parameters)).fetchall()

    def _holds(self, table: str) -> bool:
        sql = f"SELECT 1 FROM {table} WHERE symbol_id = ? LIMIT 1"  # noqa: S608 - names of ours
        return bool(self._rows(sql, [self.symbol_id]))

    def _periods(self, kind: Kind) -> list[int]:
        """Return the periods of the rows of a kind, ascending; none for single events."""
        if kind is Kind.METRICS:
            return [METRICS_PERIOD]
        if kind not in PERIOD_KINDS:
            return []
        sql = f"SELECT DISTINCT period FROM {_TABLES[kind]} WHERE symbol_id = ? ORDER BY 1"  # noqa: S608 - names of ours
        return [period for (period,) in self._rows(sql, [self.symbol_id])]

    def _covered(self) -> list[tuple[int, int]]:
        """Return the spans that files of trades cover, joined where they touch."""
        rows = self._rows(
            "SELECT ts_start, ts_end FROM ledger WHERE symbol_id = ? AND kind IN ('aggTrades', 'trades') ORDER BY 1",
            [self.symbol_id],
        )
        joined: list[tuple[int, int]] = []
        for start, end in rows:
            if joined and start <= joined[-1][1]:
                joined[-1] = joined[-1][0], max(joined[-1][1], end)
            else:
                joined.append((start, end))
        return joined

    def _spans(self, sql: str, by: str = "count") -> _Spans:
        """Take spans (start, "end", count, …): the largest in order of time, the sums of the others."""
        rows = self._rows(
            f"""
            SELECT *, count(*) OVER (), sum(count) OVER ()::BIGINT, min(start) OVER (), max("end") OVER ()
            FROM ({sql}) ORDER BY {by} DESC, start LIMIT {self.bounds.most}
            """  # noqa: S608 - queries of ours
        )
        if not rows:
            return _Spans([], 0, 0, 0, 0)
        *_, spans, total, start, end = rows[0]
        told = sorted((row[:-4] for row in rows), key=lambda row: row[0])
        return _Spans(told, spans - len(told), total - sum(row[2] for row in told), start, end)

    def _islands(self, sql: str, period: int) -> _Spans:
        """Join bad periods (ts_event, worst) that follow each other to spans (start, "end", count, worst)."""
        return self._spans(
            f"""
            SELECT min(ts_event) - {period} AS start, max(ts_event) AS "end", count(*) AS count, max(worst) AS worst
            FROM (
                SELECT ts_event, worst, ts_event // {period} - row_number() OVER (ORDER BY ts_event) AS island
                FROM ({sql})
            ) GROUP BY island
            """,  # noqa: S608 - queries of ours
            by="worst",
        )

    def _add_islands(self, what: Check, data: str, spans: _Spans, period: int, words: str, rest_words: str) -> None:
        for start, end, count, worst in spans.told:
            length = interval_name(period)
            span = f"1 candle of {length}" if count == 1 else f"{count:,} candles of {length}"
            text = f"{words.format(f'{worst:.3%}' if worst < 0.01 else f'{worst:.1%}')} {span}"
            self._add(what, data, Severity.WARNING, start, end, count, text)
        self._add_rest(what, data, Severity.WARNING, spans, rest_words)

    def _known(self, kind: Kind) -> list[_Known]:
        return [known for known in KNOWN_FAULTS if known.kind is kind and self.venue == DEFAULT_VENUE]

    def _add(self, what: Check, data: str, severity: Severity, start: int, end: int, count: int, text: str) -> None:
        self.findings.append(Finding(self.venue, self.symbol, what, str(data), severity, start, end, int(count), text))

    def _add_gap(
        self,
        what: Check,
        data: str,
        start: int,
        end: int,
        count: int,
        text: str,
        known: _Known | None = None,
        *,
        quiet: bool = False,
    ) -> None:
        """Add a gap: no warning where it is known, or short and of data that comes when it comes."""
        days = _whole_days(start, end)
        if days and what is Check.MISSING_MINUTES:
            what, text = Check.MISSING_DAYS, f"{text}, {'1 whole day' if days == 1 else f'{days:,} whole days'}"
        severity = Severity.INFO if quiet and not days else Severity.WARNING
        if known is not None:
            severity, text = Severity.INFO, f"{text} (known: {known.text})"
        self._add(what, data, severity, start, end, count, text)

    def _add_rest(self, what: Check, data: str, severity: Severity, spans: _Spans, words: str) -> None:
        if spans.others:
            text = f"and {spans.others:,} more: {spans.others_count:,} {words}"
            self._add(what, data, severity, spans.start, spans.end, spans.others_count, text)


@dataclass(frozen=True, slots=True)
class _Spans:
    """The largest spans, one row each, and of all others their number and sum; ``start`` and ``end`` are of all."""

    told: list[tuple[Any, ...]]
    others: int
    others_count: int
    start: int
    end: int


def _data(kind: Kind, period: int) -> str:
    return f"{kind} {interval_name(period)}" if kind in PERIOD_KINDS else str(kind)


def _whole_days(start: int, end: int) -> int:
    """Return the days of the calendar that lie within a span."""
    return max(end // DAY - -(-start // DAY), 0)


# --- files that are not in yet ---------------------------------------------------------------------------------

# Tables that files of a folder may overlap with, with their times.
_COPIED = (*_TABLES.values(), "large_trades")


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What an ingest would do: what becomes of each file, and what is found in what they would bring in."""

    report: IngestReport
    findings: list[Finding]


def rehearse(
    paths: Iterable[Path],
    db: Path | None,
    *,
    venue: str = DEFAULT_VENUE,
    quote_asset: str = DEFAULT_QUOTE_ASSET,
    symbol: str = "",
    bounds: Bounds | None = None,
    progress: Callable[[Progress], None] | None = None,
    clock: Callable[[], int] = time.time_ns,
) -> Rehearsal:
    """Ingest files into a database that is thrown away, and look through it.

    Parameters
    ----------
    paths : iterable of Path
        Files, and folders with everything below them.
    db : Path, optional
        Database the files are meant for: what it has of their symbols and times goes in first. It is only read.
    venue, quote_asset, symbol, progress, clock
        As for `liqserver.store.ingest.ingest`.
    bounds : Bounds, optional
        From where on something is a finding.

    Raises
    ------
    ArchiveError
        If a path does not exist or holds nothing of the archive, or there is nothing to read.
    StoreError
        If ``db`` cannot be read.
    """
    paths = list(paths)
    files, _ = find_files(paths, symbol)
    with (
        tempfile.TemporaryDirectory(prefix="liqserver-check-") as folder,
        Database(Path(folder) / "rehearsal.duckdb") as scratch,
    ):
        if db is not None:
            _copy(scratch, db, venue, files)
        report = ingest(
            scratch, paths, venue=venue, quote_asset=quote_asset, symbol=symbol, progress=progress, clock=clock
        )
        findings = [finding for file in report.files for finding in _of_file(file, venue)]
        start, end = min(f.earliest for f in files), max(f.latest for f in files)
        cur = scratch.cursor()
        for symbol in _symbols_of(cur, venue, files):
            of_symbol = check(cur, venue, symbol, bounds, clock=clock)
            # Of what was there before, only what meets the files.
            findings += [f for f in of_symbol if f.start <= end and f.end >= start]
    return Rehearsal(report, findings)


def _copy(scratch: Database, db: Path, venue: str, files: Sequence[ArchiveFile]) -> None:
    """Copy what a database has of the symbols and times of files."""
    # Opened for its checks: of the lock and of the schema.
    Database(db, read_only=True).close()
    start, end = min(file.earliest for file in files), max(file.latest for file in files)
    names = sorted({file.symbol for file in files})
    cur = scratch.cursor()
    place = str(db).replace("'", "''")
    cur.execute(f"ATTACH '{place}' AS former (READ_ONLY)")
    cur.execute("INSERT INTO symbols FROM former.symbols")
    cur.execute("INSERT INTO instruments FROM former.instruments")
    cur.execute(
        """
        CREATE TEMP TABLE chosen AS
        SELECT symbol_id FROM symbols WHERE venue = ? AND (? OR symbol IN (SELECT unnest(?)))
        """,
        [venue, ALL_SYMBOLS in names, names],
    )
    for table in ("ledger", "trade_ranges"):
        cur.execute(f"INSERT INTO {table} FROM former.{table} WHERE symbol_id IN (FROM chosen)")
    for table in _COPIED:
        cur.execute(
            f"INSERT INTO {table} FROM former.{table} WHERE symbol_id IN (FROM chosen) AND ts_event BETWEEN ? AND ?",
            [start, end],
        )
    cur.execute("DETACH former")


def _symbols_of(cur: duckdb.DuckDBPyConnection, venue: str, files: Sequence[ArchiveFile]) -> list[str]:
    """Return the symbols of files as far as they are known."""
    names = {file.symbol for file in files}
    rows = cur.execute("SELECT symbol FROM symbols WHERE venue = ? ORDER BY symbol", [venue]).fetchall()
    return [symbol for (symbol,) in rows if symbol in names or ALL_SYMBOLS in names]


def _of_file(file: FileResult, venue: str) -> list[Finding]:
    """Return what the ingest said of a file."""
    kind, symbol = file.kind, file.symbol or ALL_SYMBOLS

    def finding(what: Check, severity: Severity, text: str) -> Finding:
        return Finding(venue, symbol, what, kind, severity, file.ts_start, file.ts_end, 1, f"{file.path.name}: {text}")

    match file.status:
        case Status.REJECTED:
            return [finding(Check.REJECTED_FILE, Severity.ERROR, file.reason)]
        case Status.NOT_READ:
            return [finding(Check.NOT_READ, Severity.INFO, file.reason)]
        case Status.ALREADY_INGESTED:
            return [finding(Check.ALREADY_INGESTED, Severity.INFO, "the same content is there already")]
        case _:
            return [finding(Check.NOTICE, Severity.INFO, text) for text in file.notices]
