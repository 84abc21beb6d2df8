"""The book's invariants, on rough random markets and on markets small enough to work out by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liqserver.kernel import (
    AUDIT_COLUMNS,
    BookParameters,
    BookParametersError,
    History,
    PositionBook,
    advance,
    start_book,
)
from liqserver.kernel.book import LONG, SHORT
from tests.kernel.markets import MINUTE, NAN, histories, history, parameters

WIDTH = 10.0
OPENED, CLOSED, LIQUIDATED, UNEXPLAINED = slice(0, 2), slice(2, 4), slice(4, 6), slice(6, 8)

book_parameters = st.builds(
    parameters,
    kappa=st.sampled_from([0.01, 0.3, 1.0]),
    tilt=st.sampled_from([-1.0, 0.0, 0.5]),
    erosion=st.sampled_from([0.0, 1.0]),
    trend=st.sampled_from([-1.0, 0.0, 0.2]),
)


def long_bins(book: PositionBook) -> list[int]:
    """Return the bins in which the first tier holds longs."""
    first, levels = book.levels()
    return (np.flatnonzero(levels[LONG][0]) + first).tolist()


def begin(market: History, given_parameters: BookParameters) -> tuple[PositionBook, History]:
    first = market.first_open_interest()
    assert first is not None
    book = start_book(float(market.open_interest[first]), given_parameters, WIDTH, int(market.step_end[first]))
    return book, market.slice(first + 1, len(market))


@given(histories(), book_parameters)
@settings(deadline=None, max_examples=150)
def test_advance_after_every_open_interest_row_longs_equal_shorts_equal_it(
    market: History, given_parameters: BookParameters
) -> None:
    book, rest = begin(market, given_parameters)
    start = 0
    for stop in np.flatnonzero(~np.isnan(rest.open_interest)) + 1:
        advance(book, given_parameters, rest.slice(start, int(stop)))
        np.testing.assert_allclose(book.total(), rest.open_interest[stop - 1], rtol=1e-9)
        start = int(stop)


@given(histories(), book_parameters)
@settings(deadline=None, max_examples=150)
def test_advance_any_market_nothing_is_negative_and_tiers_add_up(
    market: History, given_parameters: BookParameters
) -> None:
    book, rest = begin(market, given_parameters)
    advance(book, given_parameters, rest)
    assert (book.placed >= 0).all()
    assert (book.unplaced >= 0).all()
    np.testing.assert_allclose(book.levels()[1].sum(axis=2), book.mass, rtol=1e-7, atol=1e-7 * book.total().max())


@given(histories(), book_parameters)
@settings(deadline=None, max_examples=150)
def test_advance_audit_every_contract_opened_is_liquidated_closed_or_open(
    market: History, given_parameters: BookParameters
) -> None:
    book, rest = begin(market, given_parameters)
    before = book.total()
    audit = advance(book, given_parameters, rest, audit=True)
    assert (audit >= 0).all()
    np.testing.assert_allclose(
        before + (audit[:, OPENED] - audit[:, CLOSED] - audit[:, LIQUIDATED]).sum(axis=0),
        book.total(),
        rtol=1e-9,
        atol=1e-9 * float(audit.sum()),
    )
    traded = np.array([market_flow(rest, s) for s in range(len(rest))]).reshape(-1, 1)
    assert (audit[:, OPENED] - audit[:, UNEXPLAINED] <= traded + 1e-9).all()


def market_flow(market: History, step: int) -> float:
    rows = slice(market.flow_offset[step], market.flow_offset[step + 1])
    return float(market.flow_buy[rows].sum() + market.flow_sell[rows].sum())


@given(histories(), book_parameters)
@settings(deadline=None, max_examples=150)
def test_advance_after_every_step_no_bin_the_mark_has_touched_holds_anything(
    market: History, given_parameters: BookParameters
) -> None:
    book, rest = begin(market, given_parameters)
    for s in range(len(rest)):
        advance(book, given_parameters, rest.slice(s, s + 1))
        if math.isnan(rest.mark_low[s]) or given_parameters.funding_erosion > 0:
            continue
        first, levels = book.levels()
        edges = (first + np.arange(levels.shape[2])) * WIDTH
        assert levels[LONG][:, edges + WIDTH > rest.mark_low[s] + 1e-6].sum() == 0
        assert levels[SHORT][:, edges < rest.mark_high[s] - 1e-6].sum() == 0


@given(histories(), book_parameters, st.data())
@settings(deadline=None, max_examples=150)
def test_advance_in_pieces_that_end_with_open_interest_gives_the_same_bytes(
    market: History, given_parameters: BookParameters, data: st.DataObject
) -> None:
    whole, rest = begin(market, given_parameters)
    pieces = whole.copy()
    advance(whole, given_parameters, rest)
    ends = (np.flatnonzero(~np.isnan(rest.open_interest)) + 1).tolist()
    cuts = sorted(data.draw(st.sets(st.sampled_from(ends))) if ends else [])
    start = 0
    for stop in [*cuts, len(rest)]:
        advance(pieces, given_parameters, rest.slice(start, stop))
        start = stop
    assert pieces.to_bytes() == whole.to_bytes()


@given(histories(), book_parameters, st.data())
@settings(deadline=None, max_examples=100)
def test_advance_goes_on_the_same_after_being_packed_assigned_or_put_on_a_wider_grid(
    market: History, given_parameters: BookParameters, data: st.DataObject
) -> None:
    whole, rest = begin(market, given_parameters)
    ends = (np.flatnonzero(~np.isnan(rest.open_interest)) + 1).tolist()
    cut = data.draw(st.sampled_from([0, *ends]))
    advance(whole, given_parameters, rest.slice(0, cut))
    # A book that was somewhere else before, on a grid of its own.
    used, _ = begin(market, given_parameters)
    advance(used, given_parameters, rest)
    if data.draw(st.booleans()):
        used.cover(used.first_bin - data.draw(st.integers(0, 50)), used.first_bin + used.bins)
    used.assign(whole.packed() if data.draw(st.booleans()) else whole)
    assert used.to_bytes() == whole.to_bytes()
    for by_tier in (True, False):
        (first, ours), (expected_first, expected) = used.levels(by_tier=by_tier), whole.levels(by_tier=by_tier)
        assert (first, ours.tobytes()) == (expected_first, expected.tobytes())
    if cut < len(rest):
        for book in (used, whole):
            advance(book, given_parameters, rest.slice(cut, len(rest)))
    assert used.to_bytes() == whole.to_bytes()
    assert used.levels()[1].tobytes() == whole.levels()[1].tobytes()


@given(histories(), book_parameters)
@settings(deadline=None, max_examples=100)
def test_levels_hold_every_placed_contract_whatever_bins_are_known_to_be_empty(
    market: History, given_parameters: BookParameters
) -> None:
    book, rest = begin(market, given_parameters)
    advance(book, given_parameters, rest)
    first, levels = book.levels()
    np.testing.assert_allclose(levels.sum(axis=2), (book.placed * book.scale[:, :, None]).sum(axis=2), rtol=1e-9)
    _, together = book.levels(by_tier=False)
    np.testing.assert_allclose(together[:, 0], levels.sum(axis=1), rtol=1e-12)
    if not book.shift.any():
        start = first - book.first_bin
        dense = book.placed * book.scale[:, :, None]
        np.testing.assert_array_equal(levels, dense[:, :, start : start + levels.shape[2]])


@given(histories(), book_parameters)
@settings(deadline=None, max_examples=50)
def test_advance_with_two_threads_gives_the_same_bytes(market: History, given_parameters: BookParameters) -> None:
    one, rest = begin(market, given_parameters)
    two = one.copy()
    audits = [advance(book, given_parameters, rest, audit=True, threads=n) for n, book in ((1, one), (2, two))]
    assert one.to_bytes() == two.to_bytes()
    assert audits[0].tobytes() == audits[1].tobytes()


def test_advance_one_step_worked_out_by_hand_places_contracts_at_their_liquidation_price() -> None:
    # One tier, 10x, mmr 0.4 %: long LP = 50 000 * 0.9 / 0.996 = 45 180.72, short LP = 50 000 * 1.1 / 1.004 = 54 780.88.
    # Open interest 1000 -> 1010, volume 100, kappa 0.3: turnover max(30, 10) = 30,
    # opened = (30 + 10) / 2 = 20 a side, half of it (weight 0.5) with a level: 10 contracts; closed = 20 - 10 = 10.
    given_parameters = parameters((10.0,))
    book = start_book(1000.0, given_parameters, WIDTH, 0)
    market = history([{"oi": 1010.0, "low": 49_990, "high": 50_010, "close": 50_000, "flow": [(50_000.0, 60.0, 40.0)]}])
    audit = advance(book, given_parameters, market, audit=True)
    assert dict(zip(AUDIT_COLUMNS[:8], audit[0, :8], strict=True)) == pytest.approx(
        {
            "opened_long": 20,
            "opened_short": 20,
            "closed_long": 10,
            "closed_short": 10,
            "liquidated_long": 0,
            "liquidated_short": 0,
            "unexplained_long": 0,
            "unexplained_short": 0,
        }
    )
    first, levels = book.levels()
    assert np.flatnonzero(levels[LONG][0]) + first == [4518]
    assert np.flatnonzero(levels[SHORT][0]) + first == [5478]
    # Closing took its share of the fresh contracts too. Hazards 10^0.7 = 5.0119 and 1; the unknown entries of the tier
    # are 1000 * (0.5/5.0119) / (0.5/5.0119 + 0.5/1) = 166.34. Exposure 5.0119 * (166.34 + 10) + 833.66 + 10 = 1727.45,
    # so the tier keeps 1 - 10 * 5.0119 / 1727.45 = 0.970987.
    assert levels[LONG].sum() == pytest.approx(10 * 0.970987, rel=1e-6)


def test_advance_path_reaches_a_level_liquidates_it_whole_and_the_takers_of_its_contracts_open_anew() -> None:
    given_parameters = parameters((10.0,), kappa=0.1)
    book = start_book(100.0, given_parameters, WIDTH, 0)
    advance(
        book,
        given_parameters,
        history([{"oi": 200.0, "low": 5e4, "high": 5e4, "flow": [(5e4, 500.0, 500.0)]}]),
    )
    held = float(book.levels()[1][LONG].sum())
    assert held > 10
    crash = history([{"oi": 200.0, "low": 45_000.0, "high": 50_000.0, "flow": [(45_500.0, 50.0, 50.0)]}], start=MINUTE)
    audit = advance(book, given_parameters, crash, audit=True)[0]
    assert audit[4] == pytest.approx(held)
    assert audit[0] >= held
    # The new longs sit at 45 500 * 0.9 / 0.996, below the low; nothing is left at the old level.
    assert long_bins(book) == [math.floor(45_500 * 0.9 / 0.996 / WIDTH)]


def test_advance_more_liquidated_than_traded_reports_the_rest_as_unexplained() -> None:
    given_parameters = parameters((10.0,))
    book = start_book(100.0, given_parameters, WIDTH, 0)
    advance(
        book,
        given_parameters,
        history([{"oi": 200.0, "low": 5e4, "high": 5e4, "flow": [(5e4, 500.0, 500.0)]}]),
    )
    held = float(book.levels()[1][LONG].sum())
    crash = history([{"oi": 200.0, "low": 40_000.0, "high": 50_000.0, "flow": [(42_000.0, 0.5, 0.5)]}], start=MINUTE)
    audit = advance(book, given_parameters, crash, audit=True)[0]
    assert audit[6] == pytest.approx(held - 1.0)
    assert book.total() == pytest.approx([200.0, 200.0])


def test_advance_without_flow_new_open_interest_has_no_level() -> None:
    given_parameters = parameters()
    book = start_book(100.0, given_parameters, WIDTH, 0)
    audit = advance(book, given_parameters, history([{"oi": 130.0}]), audit=True)[0]
    assert audit[UNEXPLAINED] == pytest.approx([30.0, 30.0])
    assert book.mass.sum() == 0


def test_advance_flow_of_unknown_ending_interval_leaves_open_interest_where_it_was() -> None:
    given_parameters = parameters()
    book = start_book(100.0, given_parameters, WIDTH, 0)
    open_interval = history([{"low": 5e4, "high": 5e4, "flow": [(5e4, 10.0, 10.0)]}] * 3)
    advance(book, given_parameters, open_interval)
    assert book.total() == pytest.approx([100.0, 100.0])
    assert book.mass.sum() > 0


def test_advance_funding_paid_from_margin_moves_long_levels_up_by_the_rate_over_one_less_mmr() -> None:
    given_parameters = parameters((10.0,), erosion=1.0)
    book = start_book(100.0, given_parameters, WIDTH, 0)
    advance(book, given_parameters, history([{"oi": 150.0, "low": 5e4, "high": 5e4, "flow": [(5e4, 50.0, 50.0)]}]))
    before = long_bins(book)[0]
    paid = history([{"oi": 150.0, "funding": 0.01, "low": 5e4, "high": 5e4, "close": 5e4}], start=MINUTE)
    advance(book, given_parameters, paid)
    after = long_bins(book)[0]
    # 0.01 * 50 000 / 0.996 = 502.0, that is 50 bins of 10.
    assert after - before == 50
    assert book.shift[SHORT, 0] == pytest.approx(500 / 1.004)


def test_advance_swept_levels_moved_by_funding_are_met_where_they_are_now() -> None:
    given_parameters = parameters((10.0,), erosion=1.0)
    book = start_book(100.0, given_parameters, WIDTH, 0)
    advance(book, given_parameters, history([{"oi": 150.0, "low": 5e4, "high": 5e4, "flow": [(5e4, 50.0, 50.0)]}]))
    paid = history([{"oi": 150.0, "funding": 0.01, "low": 5e4, "high": 5e4, "close": 5e4}], start=MINUTE)
    advance(book, given_parameters, paid)
    # The level was at 45 180.72 and is now at 45 682.73.
    near = advance(
        book.copy(), given_parameters, history([{"low": 45_700.0, "high": 5e4}], start=2 * MINUTE), audit=True
    )
    there = advance(
        book.copy(), given_parameters, history([{"low": 45_680.0, "high": 5e4}], start=2 * MINUTE), audit=True
    )
    assert near[0, 4] == 0
    assert there[0, 4] > 0


def test_advance_open_interest_collapses_fastest_tiers_empty_first_and_nothing_goes_negative() -> None:
    given_parameters = parameters()
    book = start_book(1000.0, given_parameters, WIDTH, 0)
    advance(
        book,
        given_parameters,
        history([{"oi": 1000.0, "low": 5e4, "high": 5e4, "flow": [(5e4, 900.0, 900.0)]}]),
    )
    advance(
        book,
        given_parameters,
        history([{"oi": 1.0, "low": 5e4, "high": 5e4, "flow": [(5e4, 1.0, 1.0)]}], start=MINUTE),
    )
    assert book.total() == pytest.approx([1.0, 1.0])
    assert (book.mass >= 0).all()
    assert book.mass[LONG, 0] < book.mass[LONG, 1] + 1e-12


def test_advance_taker_buying_with_tilt_opens_more_longs_than_shorts() -> None:
    # kappa 0.3, volume 100, no change: turnover 30; lean = 1.0 * 0.3 * (100 - 0) = 30 = all of it.
    given_parameters = parameters(tilt=1.0)
    book = start_book(1000.0, given_parameters, WIDTH, 0)
    market = history([{"oi": 1000.0, "low": 5e4, "high": 5e4, "flow": [(5e4, 100.0, 0.0)]}])
    audit = advance(book, given_parameters, market, audit=True)[0]
    assert audit[OPENED] == pytest.approx([30.0, 0.0])
    assert audit[CLOSED] == pytest.approx([30.0, 0.0])


def test_advance_with_trend_tilt_more_longs_than_shorts_have_a_level_after_a_fall() -> None:
    given_parameters = parameters((10.0,), trend=0.2)
    book = start_book(1000.0, given_parameters, WIDTH, 0)
    first = history([{"oi": 1000.0, "low": 5e4, "high": 5e4, "close": 5e4}])
    advance(book, given_parameters, first)
    after = {"oi": 1000.0, "low": 49_000.0, "high": 5e4, "close": 49_000.0, "flow": [(49_000.0, 50.0, 50.0)]}
    before = book.unplaced.copy()
    audit = advance(book, given_parameters, history([after], start=MINUTE), audit=True)[0]
    # By hand: the mean follows by 1 - 2^(-1/180); the typical distance is that of this one step, so the price lies
    # further below it than the limit of 3. Of 15 opened a half has a level without trend.
    levelled = 7.5 * np.exp([0.6, -0.6])
    closing = book.mass[:, 0] / levelled
    assert audit[OPENED] == pytest.approx([15.0, 15.0])
    assert (closing < 1).all()
    assert (closing > 0.9).all()
    no_level = before[:, -1] + 15 - levelled
    assert book.no_level() == pytest.approx(no_level, rel=0.02)
    assert book.total() == pytest.approx([1000.0, 1000.0])


def test_advance_trend_tilt_never_gives_more_levels_than_were_opened() -> None:
    given_parameters = replace(parameters((10.0,), trend=1.0), weight=np.array([0.9, 0.1]))
    book = start_book(1000.0, given_parameters, WIDTH, 0)
    steps = [{"oi": 1000.0, "low": 5e4, "high": 5e4, "close": 5e4}]
    steps.append({"oi": 1000.0, "low": 49_000.0, "high": 5e4, "close": 49_000.0, "flow": [(49_000.0, 50.0, 50.0)]})
    audit = advance(book, given_parameters, history(steps), audit=True)
    assert book.mass[LONG].sum() <= audit[-1][0]
    assert book.total() == pytest.approx([1000.0, 1000.0])


def test_advance_history_before_the_book_raises() -> None:
    given_parameters = parameters()
    book = start_book(1000.0, given_parameters, WIDTH, 10 * MINUTE)
    with pytest.raises(ValueError, match="already at"):
        advance(book, given_parameters, history([{"oi": 1.0}]))


@pytest.mark.parametrize(
    ("field", "value"),
    [("kappa", 0.0), ("kappa", 1.5), ("taker_tilt", -2.0), ("trend_tilt", 1.5), ("funding_erosion", NAN)],
)
def test_book_parameters_out_of_range_names_the_field(field: str, value: float) -> None:
    good = parameters()
    values = {name: getattr(good, name) for name in ("ratio", "mmr", "weight", "hazard", "kappa")}
    with pytest.raises(BookParametersError, match=field) as caught:
        BookParameters(**(values | {field: value}))
    assert caught.value.field == field
