"""Archive files of the exchange: their names, their checksums, their columns.

Files are named ``<SYMBOL>-<kind>-<date>.zip`` (or ``.csv``, unpacked). Candle files carry their interval in place of
the kind: the nearest folder above that is named ``klines``, ``markPriceKlines``, ``indexPriceKlines`` or
``premiumIndexKlines`` tells which. Where there is no such folder, candles are taken to be of the last price.

Recordings of the feed of liquidations are read as well: ``force_orders_<date>.csv`` holds all symbols, from about that
date on. So are totals of liquidations that others have added up: ``liquidations_<interval>.csv``, which does not say
whose they are.
"""

from __future__ import annotations

import hashlib
import math
import re
import uuid
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum, StrEnum
from itertools import pairwise
from pathlib import Path

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
DAY = 86_400 * SECOND
METRICS_PERIOD = 5 * MINUTE
# How far a row may lie outside the dates of its file's name: real files begin a little before midnight, and one
# is known that runs from one midday to the next.
DATE_SLACK = DAY

_NAME = re.compile(r"(?P<symbol>\w+)-(?P<what>\w+)-(?P<date>\d{4}-\d{2}(?:-\d{2})?)\.(?:zip|csv)")
_FORCE_ORDERS = re.compile(r"force_orders_(?P<rest>.+)\.(?:zip|csv)")
_TOTALS = re.compile(r"liquidations_(?P<interval>\w+)\.(?:zip|csv)")
_INTERVAL = re.compile(r"([1-9]\d*)([smhdw])")
_CALENDAR_INTERVALS = ("1mo", "1M")
_UNITS = {"s": SECOND, "m": MINUTE, "h": 60 * MINUTE, "d": DAY, "w": 7 * DAY}
# Milliseconds of the year 5138; a larger time is in microseconds.
_LARGEST_MS = 10**14
_CHUNK = 1 << 20


class ArchiveError(Exception):
    """The paths that were given hold nothing to read; the message says which and why."""


class FileRejectedError(Exception):
    """A file is refused as a whole; the message says why, with the line where there is one."""


class Kind(StrEnum):
    """Kinds of archive files that are read; the value is the name of the kind in the archive."""

    AGG_TRADES = "aggTrades"
    TRADES = "trades"
    KLINES = "klines"
    MARK_PRICE_KLINES = "markPriceKlines"
    INDEX_PRICE_KLINES = "indexPriceKlines"
    PREMIUM_INDEX_KLINES = "premiumIndexKlines"
    METRICS = "metrics"
    FUNDING_RATE = "fundingRate"
    BOOK_DEPTH = "bookDepth"
    LIQUIDATION_SNAPSHOT = "liquidationSnapshot"
    # Of all symbols; in the ledger they are liquidationSnapshot.
    FORCE_ORDERS = "forceOrders"
    # Sums by interval, of one venue or several.
    LIQUIDATION_TOTALS = "liquidationTotals"


TRADE_KINDS = (Kind.AGG_TRADES, Kind.TRADES)
"""Kinds that become flow."""
CANDLE_KINDS = (Kind.KLINES, Kind.MARK_PRICE_KLINES, Kind.INDEX_PRICE_KLINES, Kind.PREMIUM_INDEX_KLINES)
"""Kinds of candles: files of all of them are named by their interval."""
PERIOD_KINDS = (*CANDLE_KINDS, Kind.LIQUIDATION_TOTALS)
"""Kinds whose rows are of a period that the file's name tells, and stored with it."""
PUBLISHED_KINDS = tuple(kind for kind in Kind if kind not in (Kind.FORCE_ORDERS, Kind.LIQUIDATION_TOTALS))
"""Kinds that the exchange's archive has."""
# Contracts settled in the coin. BUSD was a quote asset of the other ones.
_COIN_MARGINED = re.compile(r".+_PERP|.+(?<!B)USD_\d{6}|BNBUSD_\d{6}")
_COIN_MARGINED_REASON = (
    "COIN-M: its contracts are worth a fixed sum of dollars and settled in the coin, so open interest in coins moves "
    "with price alone and liquidation prices follow another formula; no model here accounts for either"
)
# Kinds that a file's name tells.
_NAMED_KINDS = frozenset(PUBLISHED_KINDS) - {*CANDLE_KINDS}
# Files with prices first: they register a symbol that is new.
_ORDER = {kind: n for n, kind in enumerate(Kind)}


class Rule(Enum):
    """What a field has to be: the DuckDB type it is read as, and the words for it."""

    UNUSED = ("VARCHAR", "anything")
    WHOLE = ("BIGINT", "a whole number, not negative")
    TIME = ("BIGINT", "a time in milliseconds or microseconds")
    STAMP = ("TIMESTAMP", "a UTC time as YYYY-MM-DD HH:MM:SS")
    POSITIVE = ("DOUBLE", "a positive number")
    NOT_NEGATIVE = ("DOUBLE", "a number, not negative")
    OPTIONAL = ("DOUBLE", "a number, not negative, or empty")
    FINITE = ("DOUBLE", "a finite number")
    FLAG = ("BOOLEAN", "true or false")
    SYMBOL = ("VARCHAR", "the symbol of the file's name")
    NAME = ("VARCHAR", "a symbol of letters and digits")
    SIDE = ("VARCHAR", "BUY or SELL")

    def __init__(self, sql_type: str, words: str) -> None:
        self.sql_type = sql_type
        self.words = words

    def holds(self, text: str) -> bool:
        """Return whether a field's text obeys the rule; symbols are compared elsewhere."""
        text = text.strip()
        if self is Rule.OPTIONAL and not text:
            return True
        try:
            match self:
                case Rule.UNUSED | Rule.SYMBOL:
                    return True
                case Rule.NAME:
                    return text.isalnum()
                case Rule.SIDE:
                    return text in ("BUY", "SELL")
                case Rule.FLAG:
                    return text.lower() in ("true", "false", "t", "f", "1", "0")
                case Rule.WHOLE | Rule.TIME:
                    return 0 <= int(text) < 1 << 63
                case Rule.STAMP:
                    datetime.strptime(text, "%Y-%m-%d %H:%M:%S")
                    return True
                case Rule.FINITE:
                    return math.isfinite(float(text))
                case Rule.POSITIVE:
                    return 0 < float(text) < math.inf
                case _:
                    return 0 <= float(text) < math.inf
        except ValueError:
            return False

    def sql(self, column: str) -> str:
        """Return the SQL condition that a parsed field obeys; NULL and false both mean it does not."""
        match self:
            case Rule.POSITIVE:
                return f"({column} > 0 AND {column} < 'inf'::DOUBLE)"
            case Rule.NOT_NEGATIVE:
                return f"({column} >= 0 AND {column} < 'inf'::DOUBLE)"
            case Rule.OPTIONAL:
                return f"({column} IS NULL OR ({column} >= 0 AND {column} < 'inf'::DOUBLE))"
            case Rule.FINITE:
                return f"isfinite({column})"
            case Rule.WHOLE | Rule.TIME:
                return f"({column} >= 0)"
            case Rule.UNUSED:
                return "true"
            case Rule.NAME:
                # Letters and digits of any alphabet, as str.isalnum.
                return f"regexp_full_match(trim({column}), '[\\p{{L}}\\p{{N}}]+')"
            case Rule.SIDE:
                return f"(trim({column}) IN ('BUY', 'SELL'))"
            case _:
                return f"({column} IS NOT NULL)"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of an archive file."""

    name: str
    rule: Rule


def _columns(**rules: Rule) -> tuple[Column, ...]:
    return tuple(Column(name, rule) for name, rule in rules.items())


def _price_columns(price: Rule) -> tuple[Column, ...]:
    """Return the columns of candles of something that is not traded."""
    return _columns(
        open_time=Rule.TIME,
        open=price,
        high=price,
        low=price,
        close=price,
        volume=Rule.UNUSED,
        close_time=Rule.TIME,
        quote_volume=Rule.UNUSED,
        count=Rule.UNUSED,
        taker_buy_volume=Rule.UNUSED,
        taker_buy_quote_volume=Rule.UNUSED,
        ignore=Rule.UNUSED,
    )


# Columns that the store has no use for are counted, not parsed.
COLUMNS: dict[Kind, tuple[Column, ...]] = {
    Kind.AGG_TRADES: _columns(
        agg_trade_id=Rule.WHOLE,
        price=Rule.POSITIVE,
        quantity=Rule.POSITIVE,
        first_trade_id=Rule.UNUSED,
        last_trade_id=Rule.UNUSED,
        transact_time=Rule.TIME,
        is_buyer_maker=Rule.FLAG,
    ),
    Kind.TRADES: _columns(
        id=Rule.WHOLE,
        price=Rule.POSITIVE,
        qty=Rule.POSITIVE,
        quote_qty=Rule.UNUSED,
        time=Rule.TIME,
        is_buyer_maker=Rule.FLAG,
    ),
    Kind.KLINES: _columns(
        open_time=Rule.TIME,
        open=Rule.POSITIVE,
        high=Rule.POSITIVE,
        low=Rule.POSITIVE,
        close=Rule.POSITIVE,
        volume=Rule.NOT_NEGATIVE,
        close_time=Rule.TIME,
        quote_volume=Rule.OPTIONAL,
        count=Rule.OPTIONAL,
        taker_buy_volume=Rule.OPTIONAL,
        taker_buy_quote_volume=Rule.UNUSED,
        ignore=Rule.UNUSED,
    ),
    Kind.MARK_PRICE_KLINES: _price_columns(Rule.POSITIVE),
    Kind.INDEX_PRICE_KLINES: _price_columns(Rule.POSITIVE),
    Kind.PREMIUM_INDEX_KLINES: _price_columns(Rule.FINITE),
    Kind.METRICS: _columns(
        create_time=Rule.STAMP,
        symbol=Rule.SYMBOL,
        sum_open_interest=Rule.NOT_NEGATIVE,
        sum_open_interest_value=Rule.OPTIONAL,
        count_toptrader_long_short_ratio=Rule.UNUSED,
        sum_toptrader_long_short_ratio=Rule.UNUSED,
        count_long_short_ratio=Rule.UNUSED,
        sum_taker_long_short_vol_ratio=Rule.UNUSED,
    ),
    Kind.FUNDING_RATE: _columns(
        calc_time=Rule.TIME,
        funding_interval_hours=Rule.POSITIVE,
        last_funding_rate=Rule.FINITE,
    ),
    Kind.BOOK_DEPTH: _columns(
        timestamp=Rule.STAMP,
        percentage=Rule.FINITE,
        depth=Rule.NOT_NEGATIVE,
        notional=Rule.NOT_NEGATIVE,
    ),
    Kind.LIQUIDATION_SNAPSHOT: _columns(
        time=Rule.TIME,
        symbol=Rule.SYMBOL,
        side=Rule.SIDE,
        order_type=Rule.UNUSED,
        time_in_force=Rule.UNUSED,
        original_quantity=Rule.UNUSED,
        price=Rule.NOT_NEGATIVE,
        average_price=Rule.NOT_NEGATIVE,
        order_status=Rule.UNUSED,
        last_fill_quantity=Rule.UNUSED,
        accumulated_fill_quantity=Rule.NOT_NEGATIVE,
    ),
    Kind.FORCE_ORDERS: _columns(
        symbol=Rule.NAME,
        side=Rule.SIDE,
        order_type=Rule.UNUSED,
        time_in_force=Rule.UNUSED,
        original_quantity=Rule.UNUSED,
        price=Rule.NOT_NEGATIVE,
        average_price=Rule.NOT_NEGATIVE,
        order_status=Rule.UNUSED,
        last_fill_quantity=Rule.UNUSED,
        accumulated_fill_quantity=Rule.NOT_NEGATIVE,
        trade_time=Rule.TIME,
        usd=Rule.UNUSED,
    ),
    Kind.LIQUIDATION_TOTALS: _columns(
        open_time=Rule.TIME,
        liquidation_long_usd=Rule.NOT_NEGATIVE,
        liquidation_short_usd=Rule.NOT_NEGATIVE,
    ),
}
ALL_SYMBOLS = "*"
"""What stands for the symbol of a file that holds many."""
# Later than any recording: how long one runs, its name does not tell.
_NO_END = 1 << 62


@dataclass(frozen=True, slots=True)
class ArchiveFile:
    """A file that can be read, as far as its name and folder tell.

    Attributes
    ----------
    path : Path
        The file.
    symbol, kind
        Whose data of which kind.
    period : int
        Length of a row's period in nanoseconds, 0 for single events.
    start, end : int
        UNIX nanoseconds: the dates of the name, ``end`` exclusive.
    monthly : bool
        Whether the name gives a month rather than a day.
    notices : tuple of str
        What had to be assumed.
    """

    path: Path
    symbol: str
    kind: Kind
    period: int
    start: int
    end: int
    monthly: bool
    notices: tuple[str, ...] = ()

    @property
    def stem(self) -> str:
        """Name without ``.zip`` or ``.csv``: the same data, packed or not."""
        return self.path.stem

    @property
    def earliest(self) -> int:
        """Earliest time of a row that agrees with the name, UNIX nanoseconds."""
        return self.start - max(DATE_SLACK, self.period)

    @property
    def latest(self) -> int:
        """Latest time of a row that agrees with the name, UNIX nanoseconds."""
        return self.end + DATE_SLACK

    @property
    def dates(self) -> str:
        """The date of the name."""
        return f"{utc(self.start):{'%Y-%m' if self.monthly else '%Y-%m-%d'}}"


@dataclass(frozen=True, slots=True)
class UnreadFile:
    """A file of the archive that is left alone, and why."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class Csv:
    """An unpacked file, ready to be scanned.

    Attributes
    ----------
    file : ArchiveFile
        Where it comes from.
    path : Path
        The text.
    header : bool
        Whether its first line names the columns.
    first_row : tuple of str
        Fields of the first data row.
    to_ns : int
        Nanoseconds in one unit of its times.
    """

    file: ArchiveFile
    path: Path
    header: bool
    first_row: tuple[str, ...]
    to_ns: int

    def sql(self, *, parallel: bool = True, as_text: bool = False) -> str:
        """Return the table function that scans it with explicit types.

        Parameters
        ----------
        parallel : bool
            False keeps the order of rows, for ``row_number()``.
        as_text : bool
            Read every column as it is written.
        """
        columns = ", ".join(
            f"'{c.name}': '{'VARCHAR' if as_text else c.rule.sql_type}'" for c in COLUMNS[self.file.kind]
        )
        # The path is a glob to DuckDB: brackets make its characters plain.
        path = re.sub(r"[*?\[]", r"[\g<0>]", str(self.path)).replace("'", "''")
        # Quotes and escapes are switched off: no archive file has any, and a stray one must not join two lines.
        return (
            f"read_csv('{path}', columns = {{{columns}}}, header = {self.header}, auto_detect = false, delim = ',', "
            f"quote = '', escape = '', null_padding = false, parallel = {parallel})"
        )

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield line number and fields of every data row; empty lines are no rows, as for DuckDB."""
        with self.path.open(encoding="utf-8", errors="replace", newline=None) as lines:
            for number, line in enumerate(lines, start=1):
                text = line.rstrip("\n")
                if text and not (number == 1 and self.header):
                    yield number, text.split(",")

    def line_of(self, row: int) -> int:
        """Return the line number of a data row, counted from 1."""
        return next(line for n, (line, _) in enumerate(self.rows(), start=1) if n == row)


def utc(ns: int) -> datetime:
    """Return UNIX nanoseconds as a time, to the microsecond."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=ns // 1000)


def interval_ns(interval: str) -> int | None:
    """Return the length of a candle interval such as ``5m`` in nanoseconds, None when it is none."""
    match = _INTERVAL.fullmatch(interval)
    return int(match[1]) * _UNITS[match[2]] if match else None


def interval_name(period: int) -> str:
    """Return a length in nanoseconds as the archive writes intervals (``5m``); empty for 0."""
    unit = next((u for u in reversed(_UNITS) if period and period % _UNITS[u] == 0), "")
    return f"{period // _UNITS[unit]}{unit}" if unit else ""


def parse_file(path: Path, symbol: str = "") -> ArchiveFile | UnreadFile | None:
    """Read a file's name and folder.

    Parameters
    ----------
    path : Path
        The file.
    symbol : str
        Whose it is if it is of totals of liquidations; without, such a file is not read.

    Returns
    -------
    ArchiveFile, UnreadFile or None
        None when the name is none of the archive's.
    """
    match = _NAME.fullmatch(path.name)
    if match is None:
        if totals := _TOTALS.fullmatch(path.name):
            return _parse_totals(path, totals["interval"], symbol)
        recording = _FORCE_ORDERS.fullmatch(path.name)
        return _parse_recording(path, recording["rest"]) if recording else None
    what, date = match["what"], match["date"]
    folders = [p.name for p in path.absolute().parents]
    if _COIN_MARGINED.fullmatch(match["symbol"]) or ("cm", "futures") in pairwise(folders):
        return UnreadFile(path, _COIN_MARGINED_REASON)
    monthly = len(date) == len("2024-10")
    try:
        first = datetime.strptime(f"{date}-01" if monthly else date, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return UnreadFile(path, f"its name has no date of the calendar: {date}")
    # The 32nd day after the first of a month lies in the next one.
    after = (first + timedelta(days=31)).replace(day=1) if monthly else first + timedelta(days=1)
    notices: tuple[str, ...] = ()
    period = interval_ns(what)
    if period is not None:
        folder = next((name for name in folders if name in CANDLE_KINDS), None)
        kind = Kind(folder or Kind.KLINES)
        if folder is None:
            notices = (f"taken as candles of the last price: no folder above it is named {' or '.join(CANDLE_KINDS)}",)
    elif what in _CALENDAR_INTERVALS:
        return UnreadFile(path, f"candles of a calendar month ({what}) have no fixed length")
    elif what in _NAMED_KINDS:
        kind = Kind(what)
        period = METRICS_PERIOD if kind is Kind.METRICS else 0
    else:
        return UnreadFile(path, f"kind {what}")
    return ArchiveFile(path, match["symbol"], kind, period, _ns(first), _ns(after), monthly, notices)


def _parse_recording(path: Path, rest: str) -> ArchiveFile | UnreadFile:
    """Read what the name of a recording of all symbols says after its first words: a date, if any."""
    start = 0
    if date := re.search(r"\d{4}-\d{2}-\d{2}", rest):
        try:
            start = _ns(datetime.strptime(date[0], "%Y-%m-%d").replace(tzinfo=UTC))
        except ValueError:
            return UnreadFile(path, f"its name has no date of the calendar: {date[0]}")
    return ArchiveFile(path, ALL_SYMBOLS, Kind.FORCE_ORDERS, 0, start, _NO_END, False)


def _parse_totals(path: Path, interval: str, symbol: str) -> ArchiveFile | UnreadFile | None:
    """Read what the name of a file of totals says: the length of their periods."""
    period = interval_ns(interval)
    if period is None:
        return None
    if not symbol:
        return UnreadFile(path, "totals of liquidations do not say whose they are: name it with --symbol")
    notices = (f"its totals are taken for those of {symbol}: it names neither a symbol nor the venues that it adds up",)
    return ArchiveFile(path, symbol, Kind.LIQUIDATION_TOTALS, period, 0, _NO_END, False, notices)


def find_files(paths: Iterable[Path], symbol: str = "") -> tuple[list[ArchiveFile], list[UnreadFile]]:
    """Find the archive files in files and folders, folders with everything below them.

    Files with other names (checksums, notes, tables of other makers) are passed over.

    Parameters
    ----------
    paths : iterable of Path
        Files and folders.
    symbol : str
        Whose totals of liquidations are; no other files ask for it.

    Returns
    -------
    readable : list of ArchiveFile
        By symbol (files of all symbols last), kind (those with prices first), period and date.
    unread : list of UnreadFile
        Archive files that are not read, with the reason.

    Raises
    ------
    ArchiveError
        If a path does not exist or holds nothing of the archive, or if there is nothing readable at all. If ``symbol``
        is given and there are no totals of liquidations.
    """
    readable: dict[Path, ArchiveFile] = {}
    unread: dict[Path, UnreadFile] = {}
    for path in paths:
        if not path.exists():
            raise ArchiveError(f"{path} does not exist")
        found = [parse_file(p, symbol) for p in (sorted(path.rglob("*")) if path.is_dir() else [path]) if p.is_file()]
        if not any(found):
            raise ArchiveError(
                f"{path} holds no archive file; they are named like BTCUSDT-aggTrades-2025-12-01.zip or "
                "BTCUSDT-1m-2025-12.zip"
            )
        for file in found:
            if isinstance(file, ArchiveFile):
                readable.setdefault(file.path.resolve(), file)
            elif file is not None:
                unread.setdefault(file.path.resolve(), file)
    for place, file in list(readable.items()):
        packed = place.with_suffix(".zip")
        if place.suffix == ".csv" and packed in readable:
            del readable[place]
            unread[place] = UnreadFile(file.path, f"an unpacked copy of {packed.name} beside it")
    if not readable:
        reasons = sorted({file.reason for file in unread.values()})
        raise ArchiveError(f"nothing to read: {len(unread)} files found, all of them left alone ({'; '.join(reasons)})")
    if symbol and not any(file.kind is Kind.LIQUIDATION_TOTALS for file in readable.values()):
        raise ArchiveError(
            f"symbol was {symbol!r}, but there are no totals of liquidations, whose files are named like "
            "liquidations_1h.csv; all others name their symbol"
        )
    ordered = sorted(
        readable.values(),
        key=lambda f: (
            f.symbol == ALL_SYMBOLS,
            *(f.symbol, _ORDER[f.kind], f.period, f.start, not f.monthly, str(f.path)),
        ),
    )
    return ordered, sorted(unread.values(), key=lambda f: str(f.path))


def sha256_of(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal; compare it with ``<file>.CHECKSUM`` where there is one.

    Raises
    ------
    FileRejectedError
        If they differ, or if either file cannot be read.
    """
    beside = path.with_name(path.name + ".CHECKSUM")
    try:
        with path.open("rb") as stream:
            actual = hashlib.file_digest(stream, "sha256").hexdigest()
        stated = beside.read_text(encoding="utf-8", errors="replace").split() if beside.exists() else None
    except OSError as error:
        raise FileRejectedError(f"cannot be read: {error}") from error
    if stated is None:
        return actual
    if not stated or not re.fullmatch(r"[0-9a-fA-F]{64}", stated[0]):
        raise FileRejectedError(f"{beside.name} holds no SHA-256")
    if stated[0].lower() != actual:
        raise FileRejectedError(f"its SHA-256 is {actual}, {beside.name} says {stated[0].lower()}")
    return actual


def unpack(file: ArchiveFile, folder: Path) -> Csv:
    """Inflate a file into ``folder`` (a ``.csv`` stays where it is) and check its first lines.

    Raises
    ------
    FileRejectedError
        If the archive is damaged or holds anything but one file, if there is no data row, or if the columns are
        not those of the kind.
    """
    if file.path.suffix == ".csv":
        return _inspect(file, file.path)
    # A name of its own: the same file name may occur in two folders.
    target = folder / f"{file.stem}-{uuid.uuid4().hex}.csv"
    try:
        with zipfile.ZipFile(file.path) as archive:
            members = archive.infolist()
            if len(members) != 1:
                raise FileRejectedError(f"the archive holds {len(members)} files, must be one")
            # Reading to the end is what checks the CRC.
            with archive.open(members[0]) as packed, target.open("wb") as out:
                while chunk := packed.read(_CHUNK):
                    out.write(chunk)
        return _inspect(file, target)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        target.unlink(missing_ok=True)
        raise FileRejectedError(f"the archive is damaged or incomplete: {error}") from error
    except (NotImplementedError, RuntimeError) as error:
        target.unlink(missing_ok=True)
        raise FileRejectedError(f"the archive cannot be unpacked: {error}") from error
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def find_fault(csv: Csv) -> str | None:
    """Return what is wrong with the first bad row of a file, with its line; None when every row is in order.

    It reads the file row by row in Python: for files that are known to be bad.
    """
    file = csv.file
    columns = COLUMNS[file.kind]
    for line, fields in csv.rows():
        if len(fields) != len(columns):
            return f"line {line}: number of columns was {len(fields)}, must be {len(columns)}"
        for column, text in zip(columns, fields, strict=True):
            if not column.rule.holds(text):
                return f"line {line}: {column.name} was {_shown(text)}, must be {column.rule.words}"
            if column.rule is Rule.SYMBOL and text != file.symbol:
                return f"line {line}: {column.name} was {_shown(text)}, must be {file.symbol} as in the file's name"
        fault = _date_fault(csv, fields) or _candle_fault(file, fields, csv.to_ns)
        if fault is not None:
            return f"line {line}: {fault}"
    return None


def _date_fault(csv: Csv, fields: Sequence[str]) -> str | None:
    file = csv.file
    for column, text in zip(COLUMNS[file.kind], fields, strict=True):
        if column.name == "close_time":
            continue
        if column.rule is Rule.TIME:
            ts = int(text) * csv.to_ns
        elif column.rule is Rule.STAMP:
            ts = _ns(datetime.strptime(text.strip(), "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC))
        else:
            continue
        if not file.earliest <= ts <= file.latest:
            # A time beyond the calendar is shown as it stands.
            when = f" ({utc(ts):%Y-%m-%d %H:%M:%S} UTC)" if ts < 250_000 * DAY else ""
            return (
                f"{column.name} was {text.strip()}{when}, more than a day outside {file.dates}: "
                "a file of another date than its name says"
            )
    return None


def _candle_fault(file: ArchiveFile, fields: Sequence[str], to_ns: int) -> str | None:
    if file.kind is Kind.LIQUIDATION_TOTALS and int(fields[0]) * to_ns % file.period:
        return f"open_time was {fields[0].strip()}, must be a multiple of the {interval_name(file.period)} of its name"
    if file.kind not in CANDLE_KINDS:
        return None
    row = dict(zip((c.name for c in COLUMNS[file.kind]), (f.strip() for f in fields), strict=True))
    for name in ("open", "close"):
        if not float(row["low"]) <= float(row[name]) <= float(row["high"]):
            return f"{name} was {row[name]}, must lie between low {row['low']} and high {row['high']}"
    length = (int(row["close_time"]) - int(row["open_time"])) * to_ns
    if not 0 <= length < file.period:
        return f"close_time was {row['close_time']}, must lie within the period that begins at {row['open_time']}"
    return None


def _inspect(file: ArchiveFile, path: Path) -> Csv:
    """Look at the first lines: header or not, which columns, which unit of time."""
    columns = COLUMNS[file.kind]
    names = [c.name for c in columns]
    try:
        with path.open(encoding="utf-8-sig") as lines:
            first = lines.readline().strip()
            header = bool(first) and not first[0].isdigit() and first[0] not in "-+.,"
            if columns[0].rule is Rule.NAME:
                # A row, too, begins with letters.
                header = first.split(",")[0].strip() == names[0]
            row = next((text for line in lines if (text := line.strip())), "") if header or not first else first
    except UnicodeDecodeError as error:
        raise FileRejectedError("the file is not text") from error
    except OSError as error:
        raise FileRejectedError(f"cannot be read: {error}") from error
    if header:
        named = [name.strip() for name in first.split(",")]
        if named != names:
            missing = [name for name in names if name not in named]
            detail = f"missing: {', '.join(missing)}" if missing else "in another order or with more columns"
            raise FileRejectedError(f"line 1: columns were {','.join(named)}, must be {','.join(names)} ({detail})")
    if not row:
        raise FileRejectedError("the file has a header and no rows" if header else "the file is empty")
    fields = tuple(row.split(","))
    time = next(
        (text for c, text in zip(columns, fields, strict=False) if c.rule is Rule.TIME and text.strip().isdigit()), "0"
    )
    return Csv(file, path, header, fields, 1_000 if int(time) > _LARGEST_MS else 1_000_000)


def _shown(text: str) -> str:
    if not text.strip():
        return "empty"
    try:
        float(text)
    except ValueError:
        return repr(text[:40])
    return text.strip()


def _ns(time: datetime) -> int:
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000
