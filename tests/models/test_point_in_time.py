"""Answers as of a moment on real files: what came later, and how the archive stamps it, changes nothing."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from liqserver.live.answers import LevelsAnswer, LevelsQuery, Provenance
from liqserver.live.engine import LevelsEngine
from liqserver.live.errors import MissingInput
from liqserver.models.parameters import Compat, Parameters
from liqserver.models.registry import MODELS
from liqserver.store.archive import Kind
from liqserver.store.database import Database
from liqserver.store.ingest import Status, ingest
from liqserver.store.markets import StoreMarkets
from tests.store.archive_files import candle, metric, text_of, trade, write_file

SECOND = 1_000_000_000
MINUTE, DAY = 60 * SECOND, 86_400 * SECOND

# The models, each also as its original where there is one.
ASKED = [(name, compat) for name in MODELS for compat in Compat if compat is Compat.NONE or MODELS[name].original]
IDS = [name if compat is Compat.NONE else f"{name} as the original" for name, compat in ASKED]
every_model = pytest.mark.parametrize(("model", "compat"), ASKED, ids=IDS)


def moment(text: str) -> int:
    """Return UNIX nanoseconds of a time in UTC."""
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1_000) * 1_000_000


def query(model: str, compat: Compat, given: Parameters | None = None, symbol: str = "BTCUSDT") -> LevelsQuery:
    """Return a query for all levels of a model by tier."""
    # What has no original has no such parameter.
    parameters = replace(given or Parameters(), compat=compat if MODELS[model].original else None)
    return LevelsQuery(symbol, model=model, parameters=parameters, bin_size=100.0, down=0.9, up=3.0, per_tier=True)


def content(answer: LevelsAnswer) -> dict[str, object]:
    """Return every field of an answer and of where it is from, arrays as their bytes."""
    fields = {of: getattr(answer, of) for of in LevelsAnswer.__slots__}
    of_provenance = {f"provenance.{of}": getattr(answer.provenance, of) for of in Provenance.__slots__}
    del fields["provenance"]
    arrays = {of: value.tobytes() if isinstance(value, np.ndarray) else value for of, value in fields.items()}
    return arrays | of_provenance


type Engines = Callable[[Sequence[Path]], LevelsEngine]


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    """Makes engines on databases of archive files; the databases are closed after the module's tests."""
    opened: list[Database] = []

    def make(sources: Sequence[Path]) -> LevelsEngine:
        database = Database(tmp_path_factory.mktemp("database") / "market.duckdb")
        opened.append(database)
        report = ingest(database, sources)
        assert report.of(Status.INGESTED)
        assert not report.of(Status.REJECTED)
        return LevelsEngine(StoreMarkets(database))

    yield make
    for database in opened:
        database.close()


# --- later data --------------------------------------------------------------------------------------------------

PERIODS = {Kind.KLINES: 5 * MINUTE, Kind.MARK_PRICE_KLINES: MINUTE}


def known_at(kind: Kind, row: str) -> int:
    """Return when a row of an archive file became known, UNIX nanoseconds; metrics as stamped before the change."""
    fields = row.split(",")
    if kind is Kind.AGG_TRADES:
        return (int(fields[5]) * 1_000_000 // MINUTE + 1) * MINUTE
    if kind is Kind.METRICS:
        return moment(fields[0])
    return int(fields[0]) * 1_000_000 + PERIODS.get(kind, 0)


def cut(files: Sequence[Path], ts: int, out: Path) -> Path:
    """Write the files as they would have been at ``ts``: without the rows that were not known yet."""
    for path in files:
        kind = next(kind for kind in Kind if kind in path.parts or f"-{kind}-" in path.name)
        with zipfile.ZipFile(path) as packed:
            header, *rows = packed.read(packed.namelist()[0]).decode().splitlines()
        if known_at(kind, rows[-1]) > ts:
            rows = [row for row in rows if known_at(kind, row) <= ts]
        if rows:
            # The folders of the layout say what kind of candles they are.
            write_file(out.joinpath(*path.parts[-4:-1]), path.name, "\n".join([header, *rows]) + "\n")
    return out


@dataclass(frozen=True)
class Real:
    """A set of real files and moments inside it: ends of a day, of some minute, and times on no interval's end."""

    folder: str
    moments: tuple[int, ...]


CANDLES = Real(
    "binance-btc-2025-12",
    tuple(map(moment, ("2025-12-09 13:35:00", "2026-01-31 00:00:00", "2026-02-05 21:07:23.456"))),
)
TICKS = Real(
    "hyperliquid-btc-ticks",
    tuple(map(moment, ("2026-06-12 17:32:41.007", "2026-06-13 09:41:00", "2026-06-14 00:00:00"))),
)


@dataclass(frozen=True)
class Known:
    """The engine on everything, and for each moment one on what was known then."""

    later: LevelsEngine
    then: dict[int, LevelsEngine]


def known_of(files: Sequence[Path], moments: Sequence[int], engine: Engines, folder: Path) -> Known:
    """Return engines on the files and on their cuts."""
    return Known(engine(files), {ts: engine([cut(files, ts, folder / str(ts))]) for ts in moments})


@pytest.fixture(scope="module")
def candles(shared_data: Path, engines: Engines, tmp_path_factory: pytest.TempPathFactory) -> Known:
    """Five-minute candles, open interest and funding."""
    files = sorted((shared_data / CANDLES.folder).rglob("*.zip"))
    return known_of(files, CANDLES.moments, engines, tmp_path_factory.mktemp("candles"))


@pytest.fixture(scope="module")
def ticks(shared_data: Path, engines: Engines, tmp_path_factory: pytest.TempPathFactory) -> Known:
    """Trades, mark prices and open interest; with them funding rates that no exchange set, for the venue has none."""
    rates = write_file(
        tmp_path_factory.mktemp("funding"),
        "BTCUSDT-fundingRate-2026-06.zip",
        text_of(
            Kind.FUNDING_RATE,
            [
                ((moment("2026-06-12 00:00:00") // 1_000_000) + 8 * 3_600_000 * i + 4, 8, rate)
                for i, rate in enumerate((0.0001, -0.0002, 0.0003, 0.0001, -0.0004, 0.0002, 0.0005, -0.0001, 0.0002))
            ],
        ),
    )
    files = [*sorted((shared_data / TICKS.folder).rglob("*.zip")), rates]
    return known_of(files, TICKS.moments, engines, tmp_path_factory.mktemp("ticks"))


def require_same(known: Known, asked: LevelsQuery) -> None:
    """Assert that a query's answers as of the moments are those of their time, and are answers."""
    shown = set()
    for ts, then in known.then.items():
        answer = known.later.levels(asked, ts)
        assert content(answer) == content(then.levels(asked, ts))
        assert answer.provenance.as_of == ts
        assert max(answer.provenance.watermarks.values()) <= ts
        assert answer.provenance.current_price.ts <= ts
        assert answer.total.sum() > 0
        shown.add(answer.by_tier.tobytes())
    # Not the same answer to everything.
    assert len(shown) == len(known.then)


NEED_TRADES = ("binance_standard", "funding_adjusted", "pyliqmap", "ensemble")


@every_model
def test_levels_of_candles_as_of_a_moment_do_not_depend_on_later_data(
    candles: Known, model: str, compat: Compat
) -> None:
    if model not in NEED_TRADES:
        require_same(candles, query(model, compat))
        return
    for ts, then in candles.then.items():
        for engine in (then, candles.later):
            with pytest.raises(MissingInput, match="trades"):
                engine.levels(query(model, compat), ts)


@every_model
def test_levels_of_trades_as_of_a_moment_do_not_depend_on_later_data(ticks: Known, model: str, compat: Compat) -> None:
    require_same(ticks, query(model, compat))


@pytest.mark.parametrize(
    ("model", "given"),
    [
        ("openinterest", Parameters(whale_threshold=250_000.0)),
        ("openinterest", Parameters(whale_threshold=10_000.0, lookback=DAY)),
        ("binance_standard", Parameters(whale_threshold=1_000.0)),
        ("pyliqmap", Parameters(top_n=40)),
        ("pyliqmap", Parameters(portion=0.001)),
        ("position_book", Parameters(taker_tilt=0.5, funding_erosion=0.5)),
    ],
)
def test_selections_as_of_a_moment_do_not_depend_on_later_data(ticks: Known, model: str, given: Parameters) -> None:
    require_same(ticks, query(model, Compat.NONE, given))


# --- what is not there -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def originals(shared_data: Path, engines: Engines) -> LevelsEngine:
    """A day of APEUSDT's trades, a day of BTCUSDT's hourly candles, and nothing else."""
    return engines(sorted((shared_data / "binance-originals").glob("*.zip")))


@pytest.fixture(scope="module")
def unfunded(shared_data: Path, engines: Engines) -> LevelsEngine:
    """Trades and open interest of a day, without funding."""
    return engines(sorted((shared_data / TICKS.folder).rglob("*2026-06-12.zip")))


@every_model
def test_levels_of_hourly_candles_alone_name_what_is_missing(
    originals: LevelsEngine, model: str, compat: Compat
) -> None:
    with pytest.raises(MissingInput) as caught:
        originals.levels(query(model, compat))
    if MODELS[model].needs_open_interest or (compat is Compat.ORIGINAL and model != "pyliqmap"):
        assert caught.value.metadata["what"] == "open_interest"
    else:
        assert caught.value.metadata["what"] == ("funding" if model == "funding_adjusted" else "trades")
    assert "BTCUSDT" in caught.value.message


@every_model
def test_levels_of_a_symbol_with_trades_alone_name_what_is_missing(
    originals: LevelsEngine, model: str, compat: Compat
) -> None:
    asked = query(model, compat, symbol="APEUSDT")
    if model == "pyliqmap":
        # Distances of 1/L need no brackets.
        assert originals.levels(replace(asked, bin_size=0)).total.sum() > 0
        return
    with pytest.raises(MissingInput) as caught:
        originals.levels(asked)
    expected = "open_interest" if MODELS[model].needs_open_interest else "brackets"
    assert caught.value.metadata["what"] == expected


@pytest.mark.parametrize("compat", list(Compat))
@pytest.mark.parametrize("model", ["funding_adjusted", "ensemble"])
def test_levels_without_a_settlement_say_that_funding_is_missing(
    unfunded: LevelsEngine, model: str, compat: Compat
) -> None:
    with pytest.raises(MissingInput, match="ingest funding"):
        unfunded.levels(query(model, compat))


# --- the stamps of metrics ---------------------------------------------------------------------------------------

DAYS = 3
STAMP_CHANGE = moment("2026-06-25 00:00:00")
STARTS = {
    "before the change": moment("2026-06-10 00:00:00"),
    "across the change": moment("2026-06-24 00:00:00"),
    "after the change": moment("2026-07-10 00:00:00"),
}
FIVE = 5 * MINUTE
# After the start: inside an interval, at its end, just before that, and the end of a day.
OFFSETS = (DAY + 7 * 60 * MINUTE + 200 * SECOND + 7, DAY + 26 * FIVE, 2 * DAY - 1, 2 * DAY, 2 * DAY + 99 * FIVE - 1)


def shifted_market(start: int, out: Path) -> Path:
    """Write three days of one market, beginning at ``start``: candles, trades, open interest and funding."""
    rng = np.random.default_rng(11)
    periods = DAYS * DAY // FIVE
    price = np.round(90_000 * np.exp(np.cumsum(rng.normal(0, 0.002, periods + 1))), 1)
    held = np.round(50_000 * np.exp(np.cumsum(rng.normal(0, 0.004, periods + 1))), 3)
    reach = np.round(rng.exponential(60, (2, periods)), 1)
    volume = np.round(rng.exponential(120, periods), 3)
    size = np.round(rng.lognormal(1, 1, (periods, 3)), 3)
    buyer_maker = rng.random((periods, 3)) < 0.5
    start_ms = start // 1_000_000
    number = 0
    for day in range(DAYS):
        midnight = start + day * DAY
        date = datetime.fromtimestamp(midnight / SECOND, tz=UTC).date()
        bars, deals, stamps = [], [], []
        for i in range(day * DAY // FIVE, (day + 1) * DAY // FIVE):
            open_ms, opened, closed = start_ms + i * FIVE // 1_000_000, price[i], price[i + 1]
            high, low = max(opened, closed) + reach[0, i], min(opened, closed) - reach[1, i]
            quote = round(volume[i] * (opened + closed) / 2, 2)
            bars.append(candle(open_ms, (opened, round(high, 1), round(low, 1), closed), volume[i], rest=(quote, 9, 5)))
            for j in range(3):
                number += 1
                at = open_ms + 60_000 + j * 80_123
                deals.append(trade(number, closed, size[i, j], at, buyer_maker=bool(buyer_maker[i, j])))
            # Until 2026-06-24 the end of the five minutes, since then their start.
            stamp = start + i * FIVE + (FIVE if midnight < STAMP_CHANGE else 0)
            value = round(held[i + 1] * closed, 2)
            stamps.append(metric(f"{datetime.fromtimestamp(stamp / SECOND, tz=UTC):%F %T}", held[i + 1], value))
        write_file(out, f"BTCUSDT-5m-{date}.zip", text_of(Kind.KLINES, bars))
        write_file(out, f"BTCUSDT-aggTrades-{date}.zip", text_of(Kind.AGG_TRADES, deals))
        write_file(out, f"BTCUSDT-metrics-{date}.zip", text_of(Kind.METRICS, stamps))
    rates = [(start_ms + i * 8 * 3_600_000 + 3, 8, f"{rng.normal(0, 2e-4):.8f}") for i in range(DAYS * 3)]
    write_file(out, f"BTCUSDT-fundingRate-{str(date)[:7]}.zip", text_of(Kind.FUNDING_RATE, rates))
    return out


@pytest.fixture(scope="module")
def shifted(engines: Engines, tmp_path_factory: pytest.TempPathFactory) -> dict[str, LevelsEngine]:
    """The same market at three times."""
    folder = tmp_path_factory.mktemp("shifted")
    return {name: engines([shifted_market(start, folder / str(start))]) for name, start in STARTS.items()}


@every_model
def test_levels_are_the_same_before_and_after_the_stamps_of_metrics_moved(
    shifted: dict[str, LevelsEngine], model: str, compat: Compat
) -> None:
    shown = set()
    for offset in OFFSETS:
        found = []
        for name, start in STARTS.items():
            answer = shifted[name].levels(query(model, compat), start + offset)
            where = answer.provenance
            assert where.watermarks["open_interest"] == start + offset // FIVE * FIVE
            arrays = {of: value for of, value in content(answer).items() if not of.startswith("provenance")}
            reach = {of: ts - start for of, ts in where.watermarks.items()}
            found.append((arrays, where.open_interest, where.staleness, where.bracket_table, reach))
        assert found[0] == found[1] == found[2]
        assert answer.total.sum() > 0
        shown.add(answer.by_tier.tobytes())
    # Models of trades alone do not see that a row of open interest became known.
    assert len(shown) == len(OFFSETS) - (not MODELS[model].needs_open_interest)
