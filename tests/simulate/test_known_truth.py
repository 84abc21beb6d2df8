"""How well models find the levels of small simulated markets: who is ahead of whom, and that nothing is found in noise.

Margins are wide: they hold on other seeds, too, and fail when a model or the measure breaks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import liqclient
from benchmarks import known_truth
from liqserver.models.market import Market
from liqserver.rpc.server import EmbeddedServer
from liqserver.score import truth as known
from liqserver.score.skill import DAY
from liqserver.simulate.archive import write_archive
from liqserver.simulate.config import SimulationConfig

SMALL = SimulationConfig(
    days=16, seed=31, open_interest=3_000.0, trades_per_day=5_000, book_minutes=480, scenario="crash"
)
FIRST_SCORED = SMALL.start_ms * 1_000_000 + 6 * DAY


@dataclass(frozen=True)
class Simulated:
    """A market, its true levels, and a client of a server that knows the market alone."""

    market: Market
    truth: known_truth.Truth
    client: liqclient.Client

    def predicted(self, model: str) -> NDArray[np.float64]:
        return known_truth.ask(self.client, model, self.truth)


@contextmanager
def simulated(config: SimulationConfig, folder: Path) -> Iterator[Simulated]:
    write_archive(config, folder / "market")
    database = folder / "market.duckdb"
    market = known_truth.stored(folder / "market", database)
    truth = known_truth.read_truth(folder / "market", FIRST_SCORED)
    with EmbeddedServer(database) as server, liqclient.Client(server.target, timeout=60) as client:
        yield Simulated(market, truth, client)


@pytest.fixture(scope="module")
def crash(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulated]:
    with simulated(SMALL, tmp_path_factory.mktemp("crash")) as found:
        yield found


@pytest.fixture(scope="module")
def random(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulated]:
    config = replace(SMALL, scenario="plain", random_levels=True)
    with simulated(config, tmp_path_factory.mktemp("random")) as found:
        yield found


def lift(profiles: NDArray[np.float64], truth: known_truth.Truth) -> NDArray[np.float64]:
    """Of longs and shorts, shape (2,)."""
    skills = [known.truth_skill(profiles[side], truth.true[side], truth.at // DAY) for side in range(2)]
    return np.array([skill.lift.value if skill else np.nan for skill in skills])


def test_truth_on_disk_is_the_book_within_reach(crash: Simulated) -> None:
    truth = crash.truth
    assert truth.true.shape == (2, len(truth.at), known.BINS)
    assert truth.at[0] == FIRST_SCORED + DAY // 3
    assert np.all(np.diff(truth.at) == DAY // 3)
    assert np.all(truth.true >= truth.half)
    share = truth.half.sum() / truth.true.sum()
    assert 0.35 < share < 0.65
    held = truth.true.sum(axis=2)
    assert held.min() > 0
    assert held.max() < 2 * SMALL.open_interest


def test_position_book_is_ahead_of_all_others_and_below_the_ceiling(crash: Simulated) -> None:
    truth = crash.truth
    book = lift(crash.predicted("position_book"), truth)
    assert book.min() > 0.35
    for other in ("time_evolving", "openinterest", "pyliqmap"):
        assert np.all(book > lift(crash.predicted(other), truth) + 0.1), other
    volume = lift(known_truth.volume_profiles(crash.market, truth), truth)
    assert np.all(book > volume + 0.3)
    for side in range(2):
        top = known.ceiling(truth.half[side], truth.true[side] - truth.half[side])
        assert 0.4 < top < 0.9
        # Half of the positions, chosen by chance, do not tell more of the others than the ceiling says.
        assert book[side] < top + 0.1


def test_a_map_in_the_wrong_place_or_of_another_time_is_worth_nothing(crash: Simulated) -> None:
    truth = crash.truth
    book = crash.predicted("position_book")
    assert np.all(np.abs(lift(np.roll(book, 10, axis=2), truth)) < 0.15)
    later = np.roll(book, len(truth.at) // 2, axis=1)
    assert np.all(lift(later, truth) < lift(book, truth) - 0.3)


def test_nothing_is_found_where_levels_say_nothing_of_the_past(random: Simulated) -> None:
    truth = random.truth
    for model in ("position_book", "time_evolving", "openinterest"):
        assert abs(lift(random.predicted(model), truth).mean()) < 0.1, model


def test_oracle_is_ahead_of_the_defaults(crash: Simulated) -> None:
    market, truth = crash.market, crash.truth
    found = lift(known_truth.oracle_profiles(market, truth)[known_truth.FITTED], truth)
    assert np.all(found > lift(crash.predicted("position_book"), truth))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--markets", "boom"], "--markets was 'boom'; allowed: scenarios"),
        (["--days", "20"], "--days was 20; allowed: at least 32"),
    ],
)
def test_benchmark_names_what_is_wrong(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        known_truth.main(arguments)
    assert raised.value.code == 2
    assert message in capsys.readouterr().err


def test_benchmark_does_not_score_what_it_calibrates_on() -> None:
    with pytest.raises(SystemExit, match="--calibration-seed was 3"):
        known_truth.main(["--seeds", "3", "--calibration-seed", "3"])


def test_every_market_of_the_benchmark_is_allowed() -> None:
    for name in known_truth.MARKETS:
        assert known_truth.configuration(name, 1, 30).days == 30
    mix = dict(known_truth.mixed_leverages(0.5))
    assert sum(mix.values()) == pytest.approx(1)
    assert mix[10] > 5 * mix[11] > 0
