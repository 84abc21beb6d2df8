"""Scorecards of real data: who beats whom, by margins that can be missed, and what is refused."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from shutil import copyfile

import numpy as np
import pytest

from liqserver.live.answers import LevelsQuery, ModelChoice
from liqserver.live.calibrations import Calibrations, calibrated
from liqserver.live.engine import LevelsEngine
from liqserver.live.errors import InvalidField, MissingInput, OutsideCoverage, UnknownName
from liqserver.live.scorecard import NULL, Row, RowKind, ScorecardAnswer, ScorecardQuery, Scorecards, ground_of
from liqserver.models.parameters import Compat, Parameters
from liqserver.score import Skill
from liqserver.store.calibrations import store_calibration, stored_calibrations
from liqserver.store.database import Database
from liqserver.store.markets import StoreMarkets
from tests.live.scored import CUT, DAY, HOUR, day, scored_database

QUERY = ScorecardQuery("BTCUSDT", "", CUT)
BOOK = ModelChoice("position_book", Parameters())


def scorecards(database: Database) -> Scorecards:
    return Scorecards(LevelsEngine(StoreMarkets(database)), database)


@pytest.fixture(scope="module")
def path(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scored_database(shared_data, tmp_path_factory.mktemp("scored") / "x.duckdb")


@pytest.fixture(scope="module")
def database(path: Path) -> Iterator[Database]:
    with Database(path, read_only=True) as opened:
        yield opened


@pytest.fixture(scope="module")
def answer(database: Database) -> ScorecardAnswer:
    return scorecards(database).scorecard(QUERY)


def row(answer: ScorecardAnswer, name: str) -> Row:
    [found] = [row for row in answer.rows if row.name == name]
    return found


def skills(answer: ScorecardAnswer, name: str) -> tuple[Skill, Skill]:
    longs, shorts = row(answer, name).sides
    assert longs.skill is not None, longs.refused
    assert shorts.skill is not None, shorts.refused
    return longs.skill, shorts.skill


def test_it_says_what_it_is_about(answer: ScorecardAnswer) -> None:
    assert (answer.venue, answer.symbol, answer.interval) == ("BINANCE", "BTCUSDT", HOUR)
    # Controls look back a week.
    assert (answer.start, answer.cut, answer.end) == (day("2025-12-08"), CUT, day("2026-02-19"))
    assert len(answer.open_time) == (answer.end - answer.start) // HOUR
    assert answer.liquidated.shape == (2, len(answer.open_time))
    assert int(np.isnan(answer.liquidated).any(axis=0).sum()) == 3
    assert "3 of 1,752 intervals" in answer.notices[0]
    assert "totals by 1h" in answer.truth_source
    kinds = [row.kind for row in answer.rows]
    assert kinds == sorted(kinds, key=list(RowKind).index)
    assert next(row.name for row in answer.rows if row.kind is RowKind.ABLATION) == NULL
    assert len({row.name for row in answer.rows}) == len(answer.rows)


def test_the_book_beats_the_null_which_beats_the_original(answer: ScorecardAnswer) -> None:
    for side, (least_r, least_gain) in enumerate(((0.93, 0.18), (0.90, 0.11))):
        book, null = skills(answer, "position_book")[side], skills(answer, NULL)[side]
        original = skills(answer, "time_evolving, original formula")[side]
        assert (book.fitted, book.scored, book.days) == (1030, 719, 30)
        assert book.r.value > least_r
        assert book.gain.value > least_gain
        # Volume, open interest and tilts add something to a book that knows where price was, and nothing else.
        assert book.over_null is not None
        assert book.over_null.low > 0.005
        assert book.over_null.value > 0.015
        assert 0.05 < null.gain.low < null.gain.value
        # What the book is compared with in the first place: nothing beyond the controls.
        assert abs(original.gain.value) < 0.03
        assert original.gain.high < null.gain.low
        mended = skills(answer, "time_evolving")[side]
        assert original.gain.value < mended.gain.value < null.gain.value


def test_levels_as_of_each_start_compare_models_alike(answer: ScorecardAnswer) -> None:
    for side in range(2):
        still = skills(answer, "position_book, as of each start")[side]
        assert still.r.value > skills(answer, "openinterest, original formula")[side].r.value + 0.1
        assert still.gain.value < skills(answer, "position_book")[side].gain.value - 0.03
        for moved in ("map moved up by 1%", "map moved down by 1%"):
            assert skills(answer, moved)[side].r.value < still.r.value - 0.1
            assert skills(answer, moved)[side].gain.value < still.gain.value - 0.01


def test_the_controls_come_first_and_alone(answer: ScorecardAnswer) -> None:
    controls = answer.rows[0]
    assert controls.kind is RowKind.CONTROLS
    for side, expected in enumerate((0.69, 0.73)):
        of = controls.sides[side].controls
        assert of is not None
        assert of.value == pytest.approx(expected, abs=0.01)
        assert of.value == pytest.approx(skills(answer, "position_book")[side].controls.value)


def test_an_input_that_adds_nothing_is_said_to_add_nothing(answer: ScorecardAnswer) -> None:
    for side in range(2):
        book, still = (skills(answer, name)[side].gain.value for name in ("position_book", "open interest constant"))
        assert abs(book - still) < 0.01
        shifted = skills(answer, "inputs shifted by ten days")[side]
        assert shifted.over_null is not None
        assert shifted.over_null.high < 0


def test_models_without_their_inputs_say_so(answer: ScorecardAnswer) -> None:
    for name in ("pyliqmap", "binance_standard, original formula"):
        missing = row(answer, name)
        assert "needs trades" in missing.unavailable
        assert missing.sides == ()


def test_a_fitted_book_names_its_calibration(answer: ScorecardAnswer) -> None:
    fitted, plain = row(answer, "position_book, fitted before the cut"), row(answer, "position_book")
    assert len(fitted.calibration) == 12
    assert plain.calibration == ""
    assert fitted.parameters_hash != plain.parameters_hash
    assert plain.predicted is not None
    assert plain.predicted.shape == (2, len(answer.open_time))


def test_effects_are_reported_with_their_intervals(answer: ScorecardAnswer) -> None:
    magnet, impact = answer.effects
    assert magnet.effect.estimate is not None
    # Nothing is claimed: half of a map that is all on one side moves the chance by less than a fifth.
    assert -0.2 < magnet.effect.estimate.low < magnet.effect.estimate.high < 0.2
    assert magnet.effect.observations > 1_000
    assert impact.effect.estimate is not None
    assert impact.effect.observations > 10_000


def test_shuffled_truth_gains_nothing(path: Path, tmp_path: Path) -> None:
    """Liquidations of each day on another: what is left is what hours of the day have in common."""
    copy = tmp_path / "shuffled.duckdb"
    copyfile(path, copy)
    with Database(copy) as database:
        cur = database.cursor()
        days = [
            d
            for (d,) in cur.execute(f"SELECT DISTINCT ts_event // {DAY} FROM liquidation_totals ORDER BY 1").fetchall()
        ]
        to = np.random.default_rng(8).permutation(days).tolist()
        cur.execute("CREATE TEMP TABLE moved AS SELECT unnest(?::BIGINT[]) AS d, unnest(?::BIGINT[]) AS t", [days, to])
        cur.execute(
            f"""
            UPDATE liquidation_totals SET ts_event = ts_event + (t - d) * {DAY}, ts_init = ts_init + (t - d) * {DAY}
            FROM moved WHERE ts_event // {DAY} = d
            """
        )
        answer = scorecards(database).scorecard(replace(QUERY, models=(BOOK,)))
    for name in ("position_book", NULL):
        for skill in skills(answer, name):
            assert abs(skill.gain.value) < 0.03
            assert skill.r.value < 0.35


def test_a_stored_calibration_counts_if_it_was_known_at_the_cut(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "calibrated.duckdb"
    copyfile(path, copy)
    with Database(copy) as database:
        market = StoreMarkets(database).market("BINANCE", "BTCUSDT")
        early, late = (
            store_calibration(database, of, lambda: 1)
            for of in calibrated(database, market, [day("2026-01-15"), day("2026-01-25")])
            if of is not None
        )
        engine = LevelsEngine(StoreMarkets(database), Calibrations(partial(stored_calibrations, database)))
        cards = Scorecards(engine, database)
        answer = cards.scorecard(replace(QUERY, models=(BOOK,)))
        assert row(answer, "position_book").calibration == early.id
        # Ablations are of the same parameters.
        assert row(answer, NULL).parameters_hash == row(answer, "position_book").parameters_hash
        with pytest.raises(InvalidField, match="knows what came after"):
            cards.scorecard(replace(QUERY, models=(BOOK,), calibration=late.id))
        with pytest.raises(UnknownName, match="calibration 'x' is not known"):
            cards.scorecard(replace(QUERY, calibration="x"))
        plain = engine.question(LevelsQuery("BTCUSDT", calibration="none"))
        book = engine.question(LevelsQuery("BTCUSDT"), moment=CUT)
        assert plain.digest != book.digest


def test_nothing_after_the_end_is_used(path: Path, tmp_path: Path, database: Database) -> None:
    end = day("2026-02-06")
    copy = tmp_path / "until.duckdb"
    copyfile(path, copy)
    with Database(copy) as until:
        for table in ("klines", "open_interest", "funding", "liquidation_totals"):
            until.cursor().execute(f"DELETE FROM {table} WHERE ts_init > {end}")
        less = scorecards(until).scorecard(replace(QUERY, models=(BOOK,)))
    asked = scorecards(database).scorecard(replace(QUERY, models=(BOOK,), end=end))
    assert asked.end == less.end == end
    np.testing.assert_array_equal(asked.liquidated, less.liquidated)
    for ours, theirs in zip(asked.rows, less.rows, strict=True):
        assert ours.name == theirs.name
        assert ours.sides == theirs.sides


def test_own_parameters_are_what_is_taken_apart(database: Database) -> None:
    """Ablations are of the book that is scored."""
    engine = LevelsEngine(StoreMarkets(database))
    chosen = ModelChoice("position_book", Parameters(trend_tilt=0.0, kappa=0.5))
    answer = Scorecards(engine, database).scorecard(
        replace(QUERY, models=(chosen, ModelChoice("time_evolving", Parameters(compat=Compat.ORIGINAL))))
    )
    names = [row.name for row in answer.rows if row.kind is RowKind.MODEL]
    assert names == ["position_book", "time_evolving", "position_book, fitted before the cut"]
    assert "no tilts" not in [row.name for row in answer.rows]
    digest = engine.question(LevelsQuery("BTCUSDT", parameters=chosen.parameters)).digest
    assert row(answer, "position_book").parameters_hash == digest
    assert row(answer, NULL).parameters_hash == digest


def test_intervals_of_two_hours(database: Database) -> None:
    engine = LevelsEngine(StoreMarkets(database))
    two = ground_of(replace(QUERY, interval=2 * HOUR), engine.resident("BINANCE", "BTCUSDT"), database)
    one = ground_of(QUERY, engine.resident("BINANCE", "BTCUSDT"), database)
    assert len(two.open_time) * 2 == len(one.open_time)
    np.testing.assert_array_equal(two.high, one.high.reshape(-1, 2).max(axis=1))
    np.testing.assert_allclose(two.real, one.real.reshape(2, -1, 2).sum(axis=2))


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"symbol": "ETHUSDT"}, UnknownName, "symbol 'ETHUSDT' is not known"),
        ({"interval": 7 * 60 * 10**9}, InvalidField, "interval was 420000000000, must be 0, or from"),
        ({"interval": 8 * HOUR}, InvalidField, "interval was"),
        ({"cut": CUT + 1}, InvalidField, "cut was .* must be a multiple of the interval"),
        ({"cut": 0}, InvalidField, "cut was 0, must be a multiple of the interval .* between start"),
        ({"cut": day("2026-03-01")}, InvalidField, "cut was"),
        ({"start": day("2025-12-05")}, OutsideCoverage, "start was .* less than 168 hours after the data begins"),
        ({"end": day("2026-03-01")}, OutsideCoverage, "end was .* after the data"),
        ({"models": (ModelChoice("tea_leaves", Parameters()),)}, UnknownName, "model 'tea_leaves' is not known"),
        (
            {"models": (ModelChoice("time_evolving", Parameters(kappa=0.5)),)},
            InvalidField,
            r"models\[0\].parameters.kappa",
        ),
        ({"interval": 5 * 60 * 10**9}, MissingInput, "nothing is known of real liquidations .* by 5m"),
        ({"end": day("2025-12-05")}, MissingInput, "controls look back 168 hours, and there are 96"),
    ],
)
def test_what_is_not_allowed_is_named(
    database: Database, changed: dict[str, object], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        scorecards(database).scorecard(replace(QUERY, **changed))  # type: ignore[arg-type]
