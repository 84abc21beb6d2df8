"""Published events: the live market equals the one read back, and the one built from files, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liqserver.kernel import History
from liqserver.live.answers import LevelsQuery
from liqserver.live.engine import LevelsEngine
from liqserver.live.feed import Feed
from liqserver.live.intake import BOUND, Intake
from liqserver.store.database import Database
from liqserver.store.events import Batch, archive_batches
from liqserver.store.history import MINUTE, history_of
from liqserver.store.ingest import ingest
from liqserver.store.markets import StoreMarkets

HOUR = 60 * MINUTE
BASE_BIN = 10.0
KINDS = {
    "trade": ("trade_id", "trade_ts", "trade_price", "trade_qty", "taker_buy"),
    "mark": ("mark_ts", "mark_price"),
    "oi": ("oi_ts", "open_interest"),
    "funding": ("funding_ts", "funding_rate", "funding_hours"),
}


@pytest.fixture(scope="module")
def batches(market_archive: Path) -> list[Batch]:
    """Four hours of a simulated market, a minute in each batch."""
    found = [batch for _, batch in archive_batches([market_archive], MINUTE)]
    return found[: 4 * 60]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path / "live.duckdb") as made:
        yield made


def fed(database: Database) -> tuple[Feed, LevelsEngine]:
    engine = LevelsEngine(StoreMarkets(database))
    return Feed(database, engine, lambda: 1), engine


def publish(feed: Feed, batch: Batch) -> None:
    added, _ = feed.publish("BINANCE", "BTCUSDT", 0.1, batch)
    assert not added.refused


def assert_same(one: History, other: History) -> None:
    for of in fields(History):
        np.testing.assert_array_equal(getattr(one, of.name), getattr(other, of.name), err_msg=of.name)


def live_history(engine: LevelsEngine) -> History:
    return engine.resident("BINANCE", "BTCUSDT").market.history


def stored_history(database: Database) -> History:
    return StoreMarkets(database).market("BINANCE", "BTCUSDT").history


def together(*batches: Batch) -> Batch:
    columns = {
        name: np.concatenate([getattr(of, name) for of in batches]) for names in KINDS.values() for name in names
    }
    return Batch(**columns, complete_until=batches[-1].complete_until)


def test_published_market_equals_what_is_read_back_and_what_files_give(
    database: Database, batches: list[Batch], market_archive: Path, tmp_path: Path
) -> None:
    feed, engine = fed(database)
    for batch in batches:
        publish(feed, batch)
    feed.write()
    live = live_history(engine)
    assert len(live) == len(batches) - 1
    assert_same(live, stored_history(database))
    with Database(tmp_path / "files.duckdb") as files:
        ingest(files, [market_archive])
        built = stored_history(files)
        assert_same(live, built.slice(0, len(live)))
        moment = int(live.step_end[-1])
        query = LevelsQuery("BTCUSDT", per_tier=True)
        ours, theirs = engine.levels(query, moment), LevelsEngine(StoreMarkets(files)).levels(query, moment)
    assert ours.by_tier.tobytes() == theirs.by_tier.tobytes()
    assert ours.provenance.watermarks == theirs.provenance.watermarks


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_open_minutes_show_what_they_are_when_they_end(batches: list[Batch], data: st.DataObject) -> None:
    whole = together(*batches[:8])
    start = batches[0].complete_until
    assert start is not None
    # Some kinds are missing, and the newest minute is cut anywhere.
    until = data.draw(st.integers(start + 1, start + 7 * MINUTE))
    kinds = data.draw(st.sets(st.sampled_from(sorted(KINDS)), min_size=1))
    columns: dict[str, Any] = {}
    for kind, names in KINDS.items():
        ts = getattr(whole, names[1] if kind == "trade" else names[0])
        part = (start <= ts) & (ts < until) if kind in kinds else np.zeros(len(ts), dtype=bool)
        columns |= {name: getattr(whole, name)[part] for name in names}
    intake = Intake(BASE_BIN, start, bound=100 * MINUTE)
    intake.add(Batch(**columns))
    unsettled = [(start, 1e-4)]
    pending = intake.pending(99_000.0, unsettled)
    intake.add(Batch(complete_until=start + 8 * MINUTE))
    rows = intake.close()
    assert rows is not None
    ended = history_of(rows.rows(), BASE_BIN, before=99_000.0, unsettled=unsettled)
    if pending is None:
        assert not len(ended)
        return
    now = max(int(ts.max()) for name in ("trade_ts", "mark_ts", "oi_ts", "funding_ts") if len(ts := columns[name]))
    for of in fields(History):
        shown, true = getattr(pending, of.name), getattr(ended, of.name)
        if of.name == "step_end":
            true = np.minimum(true, now + 1 if now % MINUTE == 0 else now)
        if of.name == "mark_close":
            np.testing.assert_allclose(shown, true, rtol=1e-12)
        else:
            np.testing.assert_array_equal(shown, true, err_msg=of.name)


def test_second_mark_price_of_a_moment_replaces_the_first() -> None:
    intake = Intake(BASE_BIN, 0)
    ts = np.array([1, 2, 3, 2, 1])
    intake.add(Batch(mark_ts=ts, mark_price=np.array([100.0, 200.0, 300.0, 250.0, 400.0])))
    pending = intake.pending(np.nan, [])
    assert pending is not None
    assert (pending.mark_low[0], pending.mark_high[0], pending.mark_close[0]) == (250.0, 400.0, 300.0)


def test_events_that_make_no_sense_are_refused_and_the_others_count() -> None:
    ts = np.array([1, 2, 3])
    added = Intake(BASE_BIN, 0).add(
        Batch(
            mark_ts=ts,
            mark_price=np.array([100.0, np.nan, -1.0]),
            funding_ts=ts,
            funding_rate=np.array([-1e-4, np.inf, np.nan]),
            funding_hours=np.array([8.0, 8.0, 8.0]),
        )
    )
    assert added.accepted == 2
    assert [(of.kind, of.index, of.reason) for of in added.refused] == [
        ("mark_price", 1, "price was nan, must be a positive number"),
        ("mark_price", 2, "price was -1.0, must be a positive number"),
        ("funding", 1, "rate was inf, must be a number"),
        ("funding", 2, "rate was nan, must be a number"),
    ]


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_order_within_the_bound_and_repetition_change_nothing(
    batches: list[Batch], tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    whole = together(*batches[:60])
    order = {}
    for kind, names in KINDS.items():
        ts = getattr(whole, names[1] if kind == "trade" else names[0])
        # Each event comes up to the bound late, and some come twice.
        rows = np.repeat(np.arange(len(ts)), rng.choice([1, 2], len(ts), p=[0.9, 0.1]))
        late = ts[rows] + rng.integers(0, BOUND // 2, len(rows))
        order[kind] = rows[np.argsort(late, kind="stable")], np.sort(late)
    path = tmp_path_factory.mktemp("feed") / "live.duckdb"
    with Database(path) as database:
        feed, engine = fed(database)
        cuts = np.sort(rng.integers(int(whole.trade_ts[0]), int(whole.trade_ts[-1]), 80))
        for start, end in zip([0, *cuts.tolist()], [*cuts.tolist(), 2**62], strict=True):
            columns: dict[str, Any] = {}
            for kind, names in KINDS.items():
                rows, moments = order[kind]
                part = rows[(moments >= start) & (moments < end)]
                columns |= {name: getattr(whole, name)[part] for name in names}
            publish(feed, Batch(**columns))
        publish(feed, Batch(complete_until=whole.complete_until))
        feed.write()
        live = live_history(engine)
        assert_same(live, stored_history(database))
    with Database(path.with_name("orderly.duckdb")) as database:
        feed, engine = fed(database)
        for batch in batches[:60]:
            publish(feed, batch)
        assert_same(live, live_history(engine))


def test_restart_in_the_middle_goes_on_from_what_is_stored(database: Database, batches: list[Batch]) -> None:
    feed, engine = fed(database)
    for batch in batches[:100]:
        publish(feed, batch)
    feed.write()
    for batch in batches[100:130]:
        publish(feed, batch)
    # Gone without a word: what was not written is lost, and sent again from what was durable on.
    feed, engine = fed(database)
    durable = feed.position("BINANCE", "BTCUSDT").durable
    assert durable == batches[98].complete_until
    for batch in batches:
        if batch.complete_until is not None and batch.complete_until > durable:
            feed.publish("BINANCE", "BTCUSDT", 0.1, batch)
    feed.write()
    live = live_history(engine)
    assert_same(live, stored_history(database))
    assert len(live) == len(batches) - 1


def test_writing_often_and_once_store_the_same(batches: list[Batch], tmp_path: Path) -> None:
    stored: list[dict[str, list[tuple[Any, ...]]]] = []
    selects = {
        name: f"SELECT * EXCLUDE (file_id) FROM {name} ORDER BY ALL"
        for name in ("flow", "large_trades", "mark_price", "open_interest", "funding")
    } | {
        "ids": "SELECT unnest(range(first_id, last_id + 1)) FROM trade_ranges ORDER BY ALL",
        "ledger": "SELECT kind, rows, stored_rows, first_id, last_id, ts_end FROM ledger ORDER BY ALL",
    }
    for often in (True, False):
        with Database(tmp_path / f"{often}.duckdb") as database:
            feed, _ = fed(database)
            for batch in batches[:60]:
                publish(feed, batch)
                if often:
                    feed.write()
            feed.write()
            cursor = database.cursor()
            stored.append({name: cursor.execute(select).fetchall() for name, select in selects.items()})
    one_by_one, at_once = stored
    assert len(one_by_one["large_trades"]) > 1
    # What is not known is NaN, which equals nothing but its name.
    assert {name: repr(rows) for name, rows in one_by_one.items()} == {
        name: repr(rows) for name, rows in at_once.items()
    }


def test_open_interval_shows_at_once_and_counts_for_good_later(database: Database, batches: list[Batch]) -> None:
    feed, engine = fed(database)
    for batch in batches[:120]:
        publish(feed, batch)
    before = engine.levels(LevelsQuery("BTCUSDT"))
    newest = replace(batches[120], complete_until=None)
    half = int(np.median(newest.trade_ts))
    part: dict[str, Any] = {}
    for kind, names in KINDS.items():
        ts = getattr(newest, names[1] if kind == "trade" else names[0])
        part |= {name: getattr(newest, name)[ts <= half] for name in names}
    crash = float(before.provenance.current_price.value * 0.9)
    publish(feed, replace(Batch(**part), mark_ts=np.array([half + 1]), mark_price=np.array([crash])))
    shown = engine.levels(LevelsQuery("BTCUSDT", down=0.5, up=0.5))
    assert shown.provenance.as_of == half + 1
    assert shown.provenance.current_price.value == crash
    # The sweep takes effect with the tick: no long above the crash is left.
    assert shown.amount[0][shown.price > crash].sum() == 0
    assert before.amount[0][before.price > crash].sum() > 0
    # The closed history knows nothing of it yet.
    assert int(live_history(engine).step_end[-1]) < half
    past = engine.levels(LevelsQuery("BTCUSDT"), int(live_history(engine).step_end[-1]))
    assert past.provenance.current_price.value != crash


def test_late_events_are_refused_with_the_reason_and_the_others_count(database: Database, batches: list[Batch]) -> None:
    feed, _ = fed(database)
    for batch in batches[:10]:
        publish(feed, batch)
    ended = feed.position("BINANCE", "BTCUSDT").accepts_from
    mixed = Batch(
        trade_id=np.array([900_000_001, 900_000_002]),
        trade_ts=np.array([ended - 1, ended]),
        trade_price=np.array([1e5, 1e5]),
        trade_qty=np.array([1.0, 1.0]),
        taker_buy=np.array([True, False]),
        mark_ts=np.array([ended, ended + 1]),
        mark_price=np.array([np.nan, 1e5]),
        oi_ts=np.array([ended]),
        open_interest=np.array([5.0]),
    )
    added, _ = feed.publish("BINANCE", "BTCUSDT", 0.0, mixed)
    assert added.accepted == 2
    assert [(of.kind, of.index) for of in added.refused] == [("trades", 0), ("mark_price", 0), ("open_interest", 0)]
    assert "must be at least" in added.refused[0].reason
    assert "price was nan" in added.refused[1].reason
    again, _ = feed.publish("BINANCE", "BTCUSDT", 0.0, mixed)
    assert (again.accepted, again.repeated) == (0, 2)


def test_files_that_reach_beyond_what_was_published_are_gone_on_from(
    database: Database, batches: list[Batch], market_archive: Path
) -> None:
    feed, engine = fed(database)
    for batch in batches[:100]:
        publish(feed, batch)
    # The archive has days; what was published of them is skipped, the rest comes in.
    ingest(database, [market_archive])
    feed.refresh("BINANCE", "BTCUSDT")
    read = live_history(engine)
    assert len(read) > len(batches)
    end = int(read.step_end[-1])
    position = feed.position("BINANCE", "BTCUSDT")
    assert position.accepts_from >= end
    # An event of a minute that files brought is refused, a later one counts.
    ts = np.array([end - 30 * 1_000_000_000, end + 30 * 1_000_000_000])
    added, _ = feed.publish("BINANCE", "BTCUSDT", 0.1, Batch(mark_ts=ts, mark_price=np.array([1e5, 1e5])))
    assert added.accepted == 1
    assert [refusal.index for refusal in added.refused] == [0]
    feed.publish("BINANCE", "BTCUSDT", 0.1, Batch(complete_until=end + 2 * MINUTE))
    feed.write()
    assert_same(live_history(engine), stored_history(database))


def test_files_of_what_was_published_bring_what_is_missing_and_change_nothing(
    database: Database, batches: list[Batch], market_archive: Path
) -> None:
    feed, _ = fed(database)
    # What was heard live is not quite what the archive has later.
    for batch in batches[:100]:
        publish(feed, replace(batch, mark_price=batch.mark_price * 1.0001, open_interest=batch.open_interest * 1.001))
    feed.write()
    heard = stored_history(database)
    report = ingest(database, [market_archive])
    assert {str(of.status) for of in report.files} <= {"ingested", "not read"}
    notices = [notice for of in report.files for notice in of.notices]
    assert sum("what was published as it happened stays" in notice for notice in notices) == 2
    now = stored_history(database)
    # Of minutes that were heard whole, nothing has changed.
    assert_same(now.slice(0, len(heard)), heard)
    assert len(now) > len(batches)
