"""Ingest: archive files into the database, each whole or not at all.

Two files are hashed and inflated in threads while the one before loads. The ledger makes it idempotent: a file
whose SHA-256 is there is left alone, so an ingest that was interrupted goes on where it stopped when it is repeated.
"""

from __future__ import annotations

import json
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from pathlib import Path

import duckdb

from liqserver import grid
from liqserver.config import DEFAULT_VENUE
from liqserver.store import instruments
from liqserver.store.archive import (
    COLUMNS,
    ArchiveFile,
    Csv,
    FileRejectedError,
    Kind,
    Rule,
    find_fault,
    find_files,
    sha256_of,
    unpack,
)
from liqserver.store.database import Database, StoreError
from liqserver.store.liquidation_files import DEFAULT_QUOTE_ASSET, LIQUIDATION_KINDS, NewSymbol, load_liquidations
from liqserver.store.loaders import Loaded, SymbolKey, load
from liqserver.store.raw import RawTrades, has_raw

# Tick sizes that need not be inferred where the exchange's are not loaded, by venue and symbol.
BUILTIN_TICK_SIZES = {("BINANCE", "BTCUSDT"): 0.1, ("BINANCE", "ETHUSDT"): 0.01}
# Columns whose decimals show the tick, for the kinds that trade at it (mark prices are averages).
_TRADED_PRICES = {Kind.AGG_TRADES: ("price",), Kind.TRADES: ("price",), Kind.KLINES: ("open", "high", "low", "close")}
_TABLES_OF_FILES = (
    "flow",
    "large_trades",
    "trade_ranges",
    "open_interest",
    "mark_price",
    "index_price",
    "premium_index",
    "klines",
    "funding",
    "book_depth",
    "liquidations",
    "liquidation_totals",
    "ledger",
)


class Status(StrEnum):
    """What became of a file."""

    INGESTED = "ingested"
    ALREADY_INGESTED = "already ingested"
    REJECTED = "rejected"
    NOT_READ = "not read"


@dataclass(frozen=True, slots=True)
class FileResult:
    """What became of one file.

    Attributes
    ----------
    path : Path
        The file.
    status : Status
        ``NOT_READ`` for kinds of archive files that have no use here.
    symbol, kind : str
        From the name; empty for files that are not read.
    period : int
        Length of a row's period in nanoseconds, 0 for single events.
    rows, stored_rows, dropped_rows : int
        Data rows of the file, rows added to the table, data rows left out; 0 unless ingested.
    ts_start, ts_end : int
        UNIX nanoseconds: start of the first and end of the last period; 0 unless ingested.
    notices : tuple of str
        What was dropped, assumed or found odd.
    reason : str
        Why it was rejected or not read; empty otherwise.
    bytes : int
        Size of the file as it is.
    seconds : float
        Time it took, waiting for its inflation included.
    """

    path: Path
    status: Status
    symbol: str = ""
    kind: str = ""
    period: int = 0
    rows: int = 0
    stored_rows: int = 0
    dropped_rows: int = 0
    ts_start: int = 0
    ts_end: int = 0
    notices: tuple[str, ...] = ()
    reason: str = ""
    bytes: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What became of every file, in the order in which they were taken; those not read come last."""

    files: tuple[FileResult, ...]

    def of(self, status: Status) -> tuple[FileResult, ...]:
        """Return the files with a status."""
        return tuple(file for file in self.files if file.status is status)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an ingest is; ``last`` is the file just done, None at the start."""

    files_done: int
    files: int
    bytes_done: int
    bytes: int
    last: FileResult | None


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A file made ready by the other thread; ``csv`` is None when the ledger has its checksum."""

    state: tuple[int, ...] = ()
    sha256: str = ""
    csv: Csv | None = None
    rejection: str = ""


def ingest(
    db: Database,
    paths: Iterable[Path],
    *,
    venue: str = DEFAULT_VENUE,
    base_bin: float | None = None,
    replace: bool = False,
    quote_asset: str = DEFAULT_QUOTE_ASSET,
    keep_raw: bool = False,
    symbol: str = "",
    progress: Callable[[Progress], None] | None = None,
    clock: Callable[[], int] = time.time_ns,
) -> IngestReport:
    """Bring archive files into the database.

    Parameters
    ----------
    db : Database
        Open for writing.
    paths : iterable of Path
        Files, and folders with everything below them.
    venue : str
        Venue the files are of.
    base_bin : float, optional
        Width of the flow bins of symbols that are new, quote units, a multiple of their tick; by default about a
        basis point of the first price.
    replace : bool
        Put a file of a known name and other content in the place of the one before; otherwise it is rejected.
    quote_asset : str
        What symbols are quoted in whose names in recordings of force orders do not say it.
    keep_raw : bool
        Keep the trades of files of trades as Parquet beside the database as well, also of those that are in already;
        see `liqserver.store.raw`.
    symbol : str
        Whose the totals of liquidations are (``liquidations_1h.csv``), which do not say it; without, they are not read.
    progress : callable, optional
        Called at the start and after each file. What it raises ends the ingest; files done stay.
    clock : callable
        Returns UNIX nanoseconds: the time of ingestion in the ledger.

    Returns
    -------
    IngestReport
        A bad file is rejected whole, with its reason, and the others go in.

    Raises
    ------
    ArchiveError
        If a path does not exist or holds nothing of the archive, or there is nothing to read.
    StoreError
        If the database is open for reading only, ``base_bin`` is not positive or not that of a symbol that exists
        already, ``quote_asset`` is no name of capital letters and digits, or ``venue`` no name of a folder where raw
        trades are kept. If there is no room on the disk: files
        done stay.
    """
    if db.read_only:
        raise StoreError(f"{db.path} is open for reading only")
    if not (quote_asset.isalnum() and quote_asset == quote_asset.upper()):
        raise StoreError(f"quote_asset was {quote_asset!r}, must be capital letters and digits, such as USDT")
    if keep_raw and not re.fullmatch(r"[\w-]+", venue):
        # It becomes part of a path.
        raise StoreError(f"venue was {venue!r}, must be letters, digits, - and _ where raw trades are kept")
    readable, unread = find_files(paths, symbol)
    _require_base_bin(db, venue, {file.symbol for file in readable}, base_bin)
    sizes = [file.path.stat().st_size for file in readable]
    results: list[FileResult] = []

    def report(last: FileResult | None) -> None:
        if progress is not None:
            done = len(results)
            progress(Progress(done, len(readable), sum(sizes[:done]), sum(sizes), last))

    report(None)
    with db.unpacking() as folder, _prepared(readable, folder, _known_checksums(db)) as ready:
        for file, size in zip(readable, sizes, strict=True):
            began = time.perf_counter()
            prepared = _Prepared()
            try:
                prepared = next(ready)
                result = _take(
                    db, file, prepared, folder, size, venue, base_bin, quote_asset, replace, keep_raw, clock, began
                )
            except FileRejectedError as error:
                result = _result(file, Status.REJECTED, size, began, reason=str(error))
            except (OSError, duckdb.IOException, duckdb.TransactionException, duckdb.FatalException) as error:
                raise StoreError(f"{file.path.name} could not be written to {db.path}: {error}") from error
            finally:
                if prepared.csv is not None and prepared.csv.path != file.path:
                    prepared.csv.path.unlink()
            results.append(result)
            db.release_pages()
            report(result)
    results += [FileResult(file.path, Status.NOT_READ, reason=file.reason) for file in unread]
    return IngestReport(tuple(results))


def _take(
    db: Database,
    file: ArchiveFile,
    prepared: _Prepared,
    folder: Path,
    size: int,
    venue: str,
    base_bin: float | None,
    quote_asset: str,
    replace: bool,
    keep_raw: bool,
    clock: Callable[[], int],
    began: float,
) -> FileResult:
    """Load one prepared file in one transaction."""
    if prepared.rejection:
        raise FileRejectedError(prepared.rejection)

    def unchanged() -> None:
        if _state(file.path) != prepared.state:
            raise FileRejectedError("it changed while it was read: ingest it again when it is complete")

    raw = RawTrades(db.path)
    keep_raw = keep_raw and has_raw(file)
    with db.transaction() as cur:
        former = _ledger_entries(cur, venue, file, prepared.sha256)
        if file.kind is Kind.LIQUIDATION_TOTALS and not replace:
            # Their names are all alike: rows tell whether files agree.
            former = [entry for entry in former if entry.sha256 == prepared.sha256]
        same = [entry for entry in former if entry.sha256 == prepared.sha256]
        if same:
            [entry, *_] = same
            if keep_raw and not raw.has(venue, file, entry.ts_start):
                with _unpacked(file, folder) as csv:
                    raw.write(cur, csv, venue, entry.ts_start, entry.ts_end, folder, unchanged)
            return _result(file, Status.ALREADY_INGESTED, size, began)
        if former and not replace:
            raise FileRejectedError(
                f"{former[0].name} was ingested before with other content; "
                "--replace puts this file in its place (what the other brought in is deleted)"
            )
        notices = list(file.notices)
        for entry in former:
            for table in _TABLES_OF_FILES:
                cur.execute(f"DELETE FROM {table} WHERE file_id = ?", [entry.file_id])  # noqa: S608 - names of ours
        # A file of many symbols has an entry for each.
        replaced = dict.fromkeys(entry.sha256 for entry in former)
        notices += [f"it replaces a file of the same name with SHA-256 {sha256[:12]}…" for sha256 in replaced]
        # The ledger had its checksum when it was prepared, and a file of this run took its place since.
        csv = prepared.csv or unpack(file, folder)
        [(file_id,)] = cur.execute("SELECT coalesce(max(file_id), 0) + 1 FROM ledger").fetchall()
        if file.kind in LIQUIDATION_KINDS:
            loaded, parts = load_liquidations(
                cur,
                csv,
                venue,
                file_id,
                quote_asset=quote_asset,
                register=lambda new: _register_by_liquidations(cur, venue, file, new, base_bin),
            )
        else:
            symbol = _symbol_key(cur, venue, csv, base_bin)
            loaded = load(cur, csv, symbol, file_id)
            parts = {symbol.symbol_id: loaded}
        if csv.to_ns == 1_000 and any(column.rule is Rule.TIME for column in COLUMNS[file.kind]):
            notices.append("its times are in microseconds")
        for part_id, (symbol_id, part) in enumerate(parts.items(), start=file_id):
            _enter(cur, file, part_id, symbol_id, prepared.sha256, size, part, [*notices, *part.notices], clock())
        unchanged()
        notices += loaded.notices
        # Last, before the commit: a file of the ledger has its raw trades, and what was kept of another is gone.
        if keep_raw:
            raw.write(cur, csv, venue, loaded.ts_start, loaded.ts_end, folder, unchanged)
        elif former and has_raw(file):
            raw.remove(venue, file)
    return _result(
        file,
        Status.INGESTED,
        size,
        began,
        rows=loaded.rows,
        stored_rows=loaded.stored_rows,
        dropped_rows=loaded.dropped_rows,
        ts_start=loaded.ts_start,
        ts_end=loaded.ts_end,
        notices=tuple(notices),
    )


@contextmanager
def _unpacked(file: ArchiveFile, folder: Path) -> Iterator[Csv]:
    """Yield a file that the other thread left packed, because the ledger has it."""
    csv = unpack(file, folder)
    try:
        yield csv
    finally:
        if csv.path != file.path:
            csv.path.unlink()


def _result(
    file: ArchiveFile,
    status: Status,
    size: int,
    began: float,
    *,
    rows: int = 0,
    stored_rows: int = 0,
    dropped_rows: int = 0,
    ts_start: int = 0,
    ts_end: int = 0,
    notices: tuple[str, ...] = (),
    reason: str = "",
) -> FileResult:
    return FileResult(
        path=file.path,
        status=status,
        symbol=file.symbol,
        kind=str(file.kind),
        period=file.period,
        rows=rows,
        stored_rows=stored_rows,
        dropped_rows=dropped_rows,
        ts_start=ts_start,
        ts_end=ts_end,
        notices=notices,
        reason=reason,
        bytes=size,
        seconds=time.perf_counter() - began,
    )


# --- one file ahead --------------------------------------------------------------------------------------------


@contextmanager
def _prepared(files: Sequence[ArchiveFile], folder: Path, known: frozenset[str]) -> Iterator[Iterator[_Prepared]]:
    """Yield the files, prepared in order by two threads that are two files ahead and no more."""
    with ThreadPoolExecutor(max_workers=2, thread_name_prefix="unpack") as pool:

        def ahead() -> Iterator[_Prepared]:
            waiting = deque(pool.submit(_prepare, file, folder, known) for file in files[:2])
            for file in files[2:]:
                yield waiting.popleft().result()
                waiting.append(pool.submit(_prepare, file, folder, known))
            while waiting:
                yield waiting.popleft().result()

        yield ahead()


def _prepare(file: ArchiveFile, folder: Path, known: frozenset[str]) -> _Prepared:
    try:
        state = _state(file.path)
        sha256 = sha256_of(file.path)
        return _Prepared(state, sha256, None if sha256 in known else unpack(file, folder))
    except FileRejectedError as error:
        return _Prepared(rejection=str(error))


def _state(path: Path) -> tuple[int, ...]:
    """Return what changes when a file does."""
    try:
        at = path.stat()
    except OSError as error:
        raise FileRejectedError(f"cannot be read: {error}") from error
    return at.st_dev, at.st_ino, at.st_size, at.st_mtime_ns


# --- ledger and symbols ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _LedgerEntry:
    file_id: int
    name: str
    sha256: str
    ts_start: int
    ts_end: int


def _enter(
    cur: duckdb.DuckDBPyConnection,
    file: ArchiveFile,
    file_id: int,
    symbol_id: int,
    sha256: str,
    size: int,
    loaded: Loaded,
    notices: list[str],
    now: int,
) -> None:
    """Write a row of the ledger."""
    cur.execute(
        "INSERT INTO ledger VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            file_id,
            symbol_id,
            _kind_in_ledger(file),
            file.period,
            file.path.name,
            sha256,
            size,
            loaded.rows,
            loaded.stored_rows,
            loaded.dropped_rows,
            loaded.first_id,
            loaded.last_id,
            loaded.ts_start,
            loaded.ts_end,
            json.dumps(notices),
            now,
        ],
    )


def _kind_in_ledger(file: ArchiveFile) -> str:
    return str(Kind.LIQUIDATION_SNAPSHOT if file.kind in LIQUIDATION_KINDS else file.kind)


def _known_checksums(db: Database) -> frozenset[str]:
    return frozenset(sha256 for (sha256,) in db.cursor().execute("SELECT sha256 FROM ledger").fetchall())


def _ledger_entries(cur: duckdb.DuckDBPyConnection, venue: str, file: ArchiveFile, sha256: str) -> list[_LedgerEntry]:
    """Return what was ingested of the same symbol, kind and period with this content or name, packed or not."""
    rows = cur.execute(
        """
        SELECT file_id, name, sha256, ts_start, ts_end FROM ledger JOIN symbols USING (symbol_id)
        WHERE venue = ? AND ? IN (symbol, '*') AND kind = ? AND period = ?
          AND (sha256 = ? OR name IN (?, ?))
        ORDER BY file_id
        """,
        [venue, file.symbol, _kind_in_ledger(file), file.period, sha256, f"{file.stem}.zip", f"{file.stem}.csv"],
    ).fetchall()
    return [_LedgerEntry(*row) for row in rows]


def _require_base_bin(db: Database, venue: str, symbols: set[str], base_bin: float | None) -> None:
    if base_bin is None:
        return
    if not 0 < base_bin < float("inf"):
        raise StoreError(f"base_bin was {base_bin}, must be a positive number")
    for symbol, existing in (
        db.cursor().execute("SELECT symbol, base_bin FROM symbols WHERE venue = ? ORDER BY symbol", [venue]).fetchall()
    ):
        if symbol in symbols and existing != base_bin:
            raise StoreError(f"{venue} {symbol} has flow bins of {existing:g}, they cannot become {base_bin:g}")


def _symbol_key(cur: duckdb.DuckDBPyConnection, venue: str, csv: Csv, base_bin: float | None) -> SymbolKey:
    """Return the symbol of a file, registered from the file's prices when it is new."""
    file = csv.file
    row = cur.execute(
        "SELECT symbol_id, base_bin FROM symbols WHERE venue = ? AND symbol = ?", [venue, file.symbol]
    ).fetchone()
    if row is not None:
        return SymbolKey(*row)
    if file.kind not in _TRADED_PRICES:
        raise FileRejectedError(
            f"{venue} {file.symbol} is not known yet and {file.kind} files hold no traded price to size its bins by: "
            "ingest aggTrades or klines of it as well"
        )
    price = _first_price(csv)
    stated = _stated_tick_size(cur, venue, file.symbol)
    tick_size, source = stated or (_infer_tick_size(cur, csv), f"inferred from {file.path.name}")
    return _register(cur, venue, file.symbol, price, tick_size, source, base_bin)


def _register_by_liquidations(
    cur: duckdb.DuckDBPyConnection, venue: str, file: ArchiveFile, new: NewSymbol, base_bin: float | None
) -> int:
    """Register a symbol that is known by its liquidations alone; return its key."""
    if base_bin is not None and file.kind is Kind.FORCE_ORDERS:
        raise FileRejectedError(
            f"base_bin was {base_bin:g}, but {new.symbol} and maybe others of the file are new and no width fits "
            "all symbols: ingest it without"
        )
    stated = _stated_tick_size(cur, venue, new.symbol)
    tick_size, source = stated or (float(f"1e-{new.decimals}"), f"inferred from {file.path.name}")
    return _register(cur, venue, new.symbol, new.price, tick_size, source, base_bin).symbol_id


def _stated_tick_size(cur: duckdb.DuckDBPyConnection, venue: str, symbol: str) -> tuple[float, str] | None:
    """Return a tick size that need not be inferred, and who states it: the exchange first."""
    tick_size = instruments.tick_size_of(cur, venue, symbol)
    if tick_size is not None:
        return tick_size, instruments.SOURCE
    tick_size = BUILTIN_TICK_SIZES.get((venue, symbol))
    return (tick_size, "built in") if tick_size is not None else None


def register_symbol(db: Database, venue: str, symbol: str, price: float, tick_size: float, source: str) -> SymbolKey:
    """Register a symbol that comes without files; its bins are sized by ``price``.

    What the exchange or we state of its tick goes before ``tick_size``.

    Raises
    ------
    StoreError
        If the database is open for reading only.
    """
    if db.read_only:
        raise StoreError(f"{db.path} is open for reading only")
    with db.transaction() as cur:
        return _register(
            cur, venue, symbol, price, *(_stated_tick_size(cur, venue, symbol) or (tick_size, source)), None
        )


def _register(
    cur: duckdb.DuckDBPyConnection,
    venue: str,
    symbol: str,
    price: float,
    tick_size: float,
    source: str,
    base_bin: float | None,
) -> SymbolKey:
    """Write a new symbol; its bins are sized by ``price`` unless ``base_bin`` says how."""
    if base_bin is None:
        base_bin = grid.base_bin(price, tick_size)
    elif grid.multiple_of(base_bin, tick_size) is None:
        raise FileRejectedError(f"base_bin was {base_bin:g}, must be a multiple of the tick {tick_size:g} ({source})")
    [(symbol_id,)] = cur.execute("SELECT coalesce(max(symbol_id), 0) + 1 FROM symbols").fetchall()
    cur.execute(
        "INSERT INTO symbols VALUES (?, ?, ?, ?, ?, ?)", [symbol_id, venue, symbol, tick_size, source, base_bin]
    )
    return SymbolKey(symbol_id, base_bin)


def _first_price(csv: Csv) -> float:
    names = [column.name for column in COLUMNS[csv.file.kind]]
    at = names.index(_TRADED_PRICES[csv.file.kind][0])
    if len(csv.first_row) != len(names) or not Rule.POSITIVE.holds(csv.first_row[at]):
        raise FileRejectedError(find_fault(csv) or "its first row has no price")
    return float(csv.first_row[at])


def _infer_tick_size(cur: duckdb.DuckDBPyConnection, csv: Csv) -> float:
    """Return one unit of the last decimal that any price of the file has."""
    texts = " UNION ".join(
        f'SELECT "{name}" FROM {csv.sql(as_text=True)}'  # noqa: S608 - names of ours
        for name in _TRADED_PRICES[csv.file.kind]
    )
    try:
        prices = cur.execute(texts).fetchall()
    except duckdb.InvalidInputException as error:
        raise FileRejectedError(find_fault(csv) or str(error).splitlines()[0]) from error
    decimals = 0
    for (text,) in prices:
        try:
            exponent = Decimal(text or "").normalize().as_tuple().exponent
        except InvalidOperation:
            continue  # loading rejects the file and names the line
        if isinstance(exponent, int):
            decimals = max(decimals, -exponent)
    return float(f"1e-{decimals}")
