"""Calibrations come back as they were stored."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from liqserver.calibrate import Calibration, Fit, Scatter
from liqserver.models.parameters import MarginFormula, with_hazards
from liqserver.models.position_book import DEFAULTS
from liqserver.store.calibrations import StoredCalibration, identified, store_calibration, stored_calibrations
from liqserver.store.database import Database, StoreError
from liqserver.store.ingest import register_symbol

DAY = 86_400_000_000_000
TIERS = len(DEFAULTS.tiers or ())


def calibration(until: int = 30 * DAY, *, seed: int = 1) -> Calibration:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(2, TIERS, TIERS))
    return Calibration(
        parameters=with_hazards(replace(DEFAULTS, kappa=float(rng.random()), margin_formula=MarginFormula.SIMPLIFIED)),
        fit=Fit(rng.random(TIERS), root[0] @ root[0].T, rng.random(2)),
        shape_covariance=root[1] @ root[1].T,
        scatter=Scatter(rng.random((2, 2)), rng.random((2, 2)), rng.random((2, 2)), rng.random(25), rng.random(2)),
        intervals=500,
        start=until - 21 * DAY,
        end=until,
        until=until,
    )


def stored(until: int = 30 * DAY, *, symbol: str = "BTCUSDT", seed: int = 1) -> StoredCalibration:
    return identified("BINANCE", symbol, calibration(until, seed=seed), period=DAY // 24, truth="totals")


@pytest.fixture
def database(tmp_path: Path) -> Database:
    opened = Database(tmp_path / "some.duckdb")
    for symbol in ("BTCUSDT", "ETHUSDT"):
        register_symbol(opened, "BINANCE", symbol, 50_000.0, 0.1, "built in")
    return opened


def test_what_is_stored_comes_back_to_the_last_bit(database: Database) -> None:
    given = store_calibration(database, stored(), lambda: 77)
    [back] = stored_calibrations(database, "BINANCE", "BTCUSDT")
    assert (back.id, back.model, back.period, back.truth, back.created) == (
        given.id,
        "position_book",
        DAY // 24,
        "totals",
        77,
    )
    wanted, got = calibration(), back.found
    assert got.parameters == wanted.parameters
    assert (got.intervals, got.start, got.end, got.until) == (500, 9 * DAY, 30 * DAY, 30 * DAY)
    np.testing.assert_array_equal(got.shape_covariance, wanted.shape_covariance)
    for of, like in ((got.fit, wanted.fit), (got.scatter, wanted.scatter)):
        for field in fields(like):
            np.testing.assert_array_equal(getattr(of, field.name), getattr(like, field.name))


def test_the_same_is_stored_once_and_keeps_its_time(database: Database) -> None:
    first = store_calibration(database, stored(), lambda: 1)
    again = store_calibration(database, stored(), lambda: 2)
    assert (again.id, again.created) == (first.id, 1)
    assert len(stored_calibrations(database)) == 1
    assert stored(seed=2).id != first.id


def test_they_come_by_market_and_moment(database: Database) -> None:
    for until, symbol in ((40 * DAY, "BTCUSDT"), (35 * DAY, "BTCUSDT"), (50 * DAY, "ETHUSDT"), (30 * DAY, "BTCUSDT")):
        store_calibration(database, stored(until, symbol=symbol), lambda: 1)
    found = [(of.symbol, of.found.until // DAY) for of in stored_calibrations(database)]
    assert found == [("BTCUSDT", 30), ("BTCUSDT", 35), ("BTCUSDT", 40), ("ETHUSDT", 50)]
    assert [of.symbol for of in stored_calibrations(database, symbol="ETHUSDT")] == ["ETHUSDT"]


def test_a_market_that_is_not_there_and_a_database_that_is_only_read_are_refused(database: Database) -> None:
    with pytest.raises(KeyError, match="SOLUSDT"):
        store_calibration(database, stored(symbol="SOLUSDT"), lambda: 1)
    database.close()
    with Database(database.path, read_only=True) as reading, pytest.raises(StoreError, match="for reading only"):
        store_calibration(reading, stored(), lambda: 1)
