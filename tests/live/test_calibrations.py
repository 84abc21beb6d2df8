"""Which calibration is in force: by property, none that looks further than the moment asked for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liqserver.live.calibrations import Calibrations, given_with
from liqserver.live.errors import InvalidField, UnknownName
from liqserver.models.parameters import Parameters
from liqserver.models.registry import MODELS
from liqserver.store.calibrations import StoredCalibration
from tests.store.test_calibrations import DAY, stored

KEY = ("BINANCE", "BTCUSDT")
BOOK = MODELS["position_book"]


def held(*untils: int) -> tuple[StoredCalibration, ...]:
    return tuple(replace(stored(until), created=1) for until in sorted(untils))


@given(st.lists(st.integers(1, 1_000), unique=True), st.integers(1, 1_000))
def test_the_newest_that_looks_no_further_is_in_force(untils: list[int], moment: int) -> None:
    calibrations = Calibrations(lambda venue, symbol: held(*(until * DAY for until in untils)))
    chosen = calibrations.chosen(KEY, BOOK.id, "", moment * DAY)
    wanted = max((until for until in untils if until <= moment), default=None)
    assert (None if chosen is None else chosen.found.until) == (None if wanted is None else wanted * DAY)


@given(st.lists(st.integers(1, 1_000), unique=True, min_size=1), st.integers(1, 1_000), st.integers(0, 50))
def test_one_that_is_named_is_in_force_or_refused_where_it_looks_further(
    untils: list[int], moment: int, index: int
) -> None:
    stored = held(*(until * DAY for until in untils))
    calibrations = Calibrations(lambda venue, symbol: stored)
    named = stored[index % len(stored)]
    if named.found.until <= moment * DAY:
        assert calibrations.chosen(KEY, BOOK.id, named.id, moment * DAY) is named
    else:
        with pytest.raises(InvalidField, match="knows what came after"):
            calibrations.chosen(KEY, BOOK.id, named.id, moment * DAY)


def test_none_is_none_and_an_unknown_one_names_the_known() -> None:
    calibrations = Calibrations(lambda venue, symbol: held(5 * DAY))
    assert calibrations.chosen(KEY, BOOK.id, "none", 9 * DAY) is None
    with pytest.raises(UnknownName, match=held(5 * DAY)[0].id):
        calibrations.chosen(KEY, BOOK.id, "abc", 9 * DAY)


def test_other_models_have_none() -> None:
    [one] = held(5 * DAY)
    calibrations = Calibrations(lambda venue, symbol: (one,))
    assert calibrations.chosen(KEY, "time_evolving", "", 9 * DAY) is None
    with pytest.raises(InvalidField, match="of position_book"):
        calibrations.chosen(KEY, "time_evolving", one.id, 9 * DAY)


def test_they_are_read_once_until_they_change() -> None:
    read = []
    calibrations = Calibrations(lambda *key: read.append(key) or held(len(read) * DAY))  # type: ignore[func-returns-value]
    for _ in range(3):
        assert calibrations.chosen(KEY, BOOK.id, "", 9 * DAY).found.until == DAY  # type: ignore[union-attr]
    calibrations.changed(KEY)
    assert calibrations.chosen(KEY, BOOK.id, "", 9 * DAY).found.until == 2 * DAY  # type: ignore[union-attr]
    assert read == [KEY, KEY]


def test_what_is_given_goes_before_the_calibration() -> None:
    [one] = held(5 * DAY)
    found = one.found.parameters
    assert given_with(None, Parameters(kappa=0.5)) == Parameters(kappa=0.5)
    assert given_with(one, Parameters(kappa=0.5)) == replace(found, kappa=0.5)
    assert BOOK.resolve(given_with(one, Parameters())) == found


def test_hazards_by_rule_take_the_place_of_those_found() -> None:
    [one] = held(5 * DAY)
    mixed = BOOK.resolve(given_with(one, Parameters(hazard_exponent=0.5)))
    for tier, own in zip(mixed.tiers or (), one.found.parameters.tiers or (), strict=True):
        assert (tier.leverage, tier.weight) == (own.leverage, own.weight)
        assert tier.hazard == pytest.approx(tier.leverage**0.5)
