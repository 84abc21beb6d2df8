"""A strategy cannot see the future: what is delivered up to t does not depend on any data after t."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from nautilus_trader.core.data import Data
from nautilus_trader.model.data import Bar
from nautilus_trader.model.instruments import CryptoPerpetual

import liqclient
from liqclient.nt import (
    LevelsQuery,
    LiquidationActor,
    LiquidationActorConfig,
    add_levels,
    market_files,
    read_market,
    replay_levels,
)
from liqserver.rpc.server import EmbeddedServer
from liqserver.store.database import Database
from liqserver.store.ingest import Status, ingest
from tests.nt.engines import engine_with

MINUTE_MS = 60_000
MS = 1_000_000


def _stamp_ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


# Kind: when a row became known in milliseconds, and the columns that are changed after t.
KINDS: dict[str, tuple[Callable[[list[str]], int], tuple[int, ...]]] = {
    "aggTrades": (lambda row: int(row[5]), (1, 2)),
    "klines": (lambda row: int(row[0]) + MINUTE_MS, (1, 2, 3, 4, 5)),
    "markPriceKlines": (lambda row: int(row[0]) + MINUTE_MS, (1, 2, 3, 4)),
    "metrics": (lambda row: _stamp_ms(row[0]), (2, 3)),
    "fundingRate": (lambda row: int(row[0]), (2,)),
    "liquidationSnapshot": (lambda row: int(row[0]), (6, 7, 10)),
}


def perturbed(archive: Path, out: Path, t: int) -> None:
    """Copy archive files; every number of every row known after ``t`` (UNIX ns) becomes 3 % larger."""
    changed = dict.fromkeys(KINDS, 0)
    for path in sorted(archive.rglob("*.zip")):
        kind = next(of for of in path.parts if of in KINDS)
        known_at, columns = KINDS[kind]
        with zipfile.ZipFile(path) as packed:
            [member] = packed.namelist()
            header, *rows = list(csv.reader(io.StringIO(packed.read(member).decode())))
        for row in rows:
            # A trade at t itself belongs to the minute that begins then.
            if known_at(row) * MS >= t + (kind != "aggTrades"):
                changed[kind] += 1
                for column in columns:
                    decimals = len(row[column].partition(".")[2])
                    row[column] = f"{float(row[column]) * 1.03:.{max(decimals, 1)}f}"
        to = out / path.relative_to(archive)
        to.parent.mkdir(parents=True, exist_ok=True)
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([header, *rows])
        with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr(member, text.getvalue())
    assert all(changed.values()), f"nothing was changed of some kind: {changed}"


@pytest.fixture(scope="module")
def t(bars: list[Bar]) -> int:
    """The middle of the second day, a whole hour."""
    return bars[0].ts_init // 86_400_000_000_000 * 86_400_000_000_000 + 36 * 3_600_000_000_000


@pytest.fixture(scope="module")
def other_archive(market_archive: Path, t: int, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("perturbed")
    perturbed(market_archive / "data", out, t)
    return out


@pytest.fixture(scope="module")
def other_server(other_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = tmp_path_factory.mktemp("perturbed-database") / "market.duckdb"
    with Database(path) as database:
        report = ingest(database, [other_archive])
    assert not report.of(Status.REJECTED)
    with EmbeddedServer(path) as server:
        yield server.target


@pytest.fixture(scope="module")
def other_bars(other_archive: Path, instrument: CryptoPerpetual) -> list[Bar]:
    files = [of for of in market_files(other_archive, "BTCUSDT") if of.kind == "klines"]
    return [bar for part in read_market(files, instrument) for bar in part][60:]


@pytest.mark.parametrize("way", ["actor", "replay"])
def test_levels_up_to_t_are_the_same_bytes_whatever_comes_after_t(
    way: str,
    market_server: str,
    other_server: str,
    bars: list[Bar],
    other_bars: list[Bar],
    instrument: CryptoPerpetual,
    t: int,
) -> None:
    seen = []
    for target, given in ((market_server, bars), (other_server, other_bars)):
        engine, witness = engine_with(instrument, given)
        with liqclient.Client(target, timeout=60) as client:
            if way == "replay":
                add_levels(engine, client, LevelsQuery(instrument_id=str(instrument.id), every="15m"))
            else:
                config = LiquidationActorConfig(instrument_ids=(instrument.id,), target=target, every="15m")
                engine.add_actor(LiquidationActor(config))
            engine.run()
        engine.dispose()
        seen.append(witness.seen)
    one, other = ([of for of in each if of[0] <= t + 1] for each in seen)
    assert one == other
    assert one[-1][0] == t + 1
    assert len(one) > 100
    # And the change was one that levels depend on: from the next quarter of an hour on, they differ.
    one, other = ([of for of in each if of[0] > t + 1] for each in seen)
    assert len(one) == len(other) > 40
    assert all(a != b for (_, _, a), (_, _, b) in zip(one, other, strict=True))


def test_market_data_up_to_t_are_the_same_whatever_comes_after_t(
    market_archive: Path, other_archive: Path, instrument: CryptoPerpetual, t: int
) -> None:
    parts: list[list[Data]] = []
    for archive in (market_archive, other_archive):
        files = market_files(archive, "BTCUSDT")
        # Bounds are inclusive, and a trade at t belongs to what comes after.
        parts.append([datum for part in read_market(files, instrument, end=t - 1) for datum in part])
    assert [str(of) for of in parts[0]] == [str(of) for of in parts[1]]


def test_ts_init_is_later_than_that_of_every_input(client: liqclient.Client, query: LevelsQuery) -> None:
    count = 0
    for levels in replay_levels(client, query):
        where = client.levels("BTCUSDT", as_of=levels.ts_event).provenance
        assert where.inputs_hash == levels.inputs_hash
        assert {mark.kind for mark in where.watermarks} >= {"trades", "mark_price", "open_interest"}
        for mark in where.watermarks:
            assert mark.ts_init is not None
            assert mark.ts_init <= levels.ts_event < levels.ts_init
        count += 1
    assert count == 48
