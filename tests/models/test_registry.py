"""What holds for every model."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings

from liqserver.models.market import Market, ModelLevels
from liqserver.models.parameters import Compat, ParameterError, Parameters, Tier
from liqserver.models.registry import DEFAULT_MODEL, MODELS
from liqserver.models.selection import MissingDetail, Readings
from tests.kernel.markets import MINUTE
from tests.models.markets import cut, ends, markets

COMPARISON = [name for name in MODELS if name != DEFAULT_MODEL]
ORIGINALS = [(name, compat) for name in COMPARISON for compat in Compat]
VALUES: dict[str, object] = {
    "kappa": 0.5,
    "taker_tilt": 0.1,
    "trend_tilt": 0.1,
    "tiers": (Tier(10.0, 1.0),),
    "no_level_weight": 1.0,
    "no_level_hazard": 1.0,
    "hazard_exponent": 1.0,
    "margin_formula": MODELS[DEFAULT_MODEL].defaults.margin_formula,
    "funding_erosion": 0.5,
    "position_notional": 1_000.0,
    "lookback": 7 * 1440 * MINUTE,
    "whale_threshold": 200_000.0,
    "gross_value": 200_000.0,
    "top_n": 5,
    "portion": 0.1,
    "funding_tilt": 0.1,
    "compat": Compat.NONE,
}


def answer(model: str, of: Market, ts: int, compat: Compat | None) -> ModelLevels | str:
    """Return a model's answer, or what it misses."""
    chosen = MODELS[model]
    parameters = chosen.resolve(Parameters(compat=compat))
    try:
        return chosen.timeline(of, parameters).at(ts)
    except MissingDetail as error:
        return error.what


def test_position_book_is_the_default_and_first() -> None:
    assert list(MODELS) == [
        "position_book",
        "time_evolving",
        "openinterest",
        "binance_standard",
        "funding_adjusted",
        "pyliqmap",
        "ensemble",
    ]
    assert DEFAULT_MODEL == "position_book"


@pytest.mark.parametrize("model", MODELS)
def test_model_says_what_it_is_and_its_defaults_are_allowed(model: str) -> None:
    chosen = MODELS[model]
    assert chosen.id == model
    assert min(map(len, (chosen.description, chosen.source, chosen.limits))) > 50
    for spec in chosen.parameters:
        for defaults in (chosen.defaults, chosen.original):
            value = getattr(defaults, spec.name, None)
            assert value is None or spec.check(value)
    named = {spec.name for spec in chosen.parameters}
    assert {field.name for field in fields(Parameters) if getattr(chosen.defaults, field.name) is not None} <= named
    assert ("compat" in named) == (model in COMPARISON)


def test_values_cover_every_parameter() -> None:
    assert set(VALUES) == {field.name for field in fields(Parameters)}


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("model", MODELS)
def test_resolve_takes_what_the_model_lists_and_refuses_the_rest(model: str, name: str) -> None:
    chosen = MODELS[model]
    given_parameters = Parameters(**{name: VALUES[name]})  # type: ignore[arg-type]
    if name in {spec.name for spec in chosen.parameters}:
        shown = getattr(chosen.resolve(given_parameters), name)
        expected = VALUES[name]
        assert shown == expected or name == "tiers"
    else:
        with pytest.raises(ParameterError, match=f"{name} was .*, but {model} has no use for it") as caught:
            chosen.resolve(given_parameters)
        assert caught.value.field == name


@pytest.mark.parametrize("model", COMPARISON)
def test_resolve_compat_that_is_none_is_refused(model: str) -> None:
    with pytest.raises(ParameterError, match="compat was 'both', must be none or original"):
        MODELS[model].resolve(Parameters(compat="both"))  # type: ignore[arg-type]


@pytest.mark.parametrize("model", [name for name in COMPARISON if name != "time_evolving"])
@pytest.mark.parametrize("lookback", [0, -1, MINUTE - 1, 3651 * 1440 * MINUTE, 1e12, float("nan")])
def test_resolve_lookback_outside_is_refused(model: str, lookback: float) -> None:
    with pytest.raises(ParameterError, match=r"lookback was .*1 minute.*3650 days"):
        MODELS[model].resolve(Parameters(lookback=lookback))  # type: ignore[arg-type]


@pytest.mark.parametrize("model", COMPARISON)
@pytest.mark.parametrize(
    "tiers", [(Tier(10.0, 1.0, 2.0),), (Tier(1.0, 1.0),), (Tier(10.0, -1.0),), (Tier(5.0, 1.0), Tier(5.0, 1.0)), ()]
)
def test_resolve_tiers_with_a_hazard_or_not_usable_are_refused(model: str, tiers: tuple[Tier, ...]) -> None:
    with pytest.raises(ParameterError, match=r"tiers was .*must be 1 to 64 tiers.*no hazards"):
        MODELS[model].resolve(Parameters(tiers=tiers))


@pytest.mark.parametrize(("model", "compat"), ORIGINALS)
@given(of=markets())
@settings(max_examples=15, deadline=None)
def test_at_does_not_depend_on_later_data(of: Market, model: str, compat: Compat) -> None:
    for ts in ends(of):
        whole, known = answer(model, of, ts, compat), answer(model, cut(of, ts), ts, compat)
        if isinstance(whole, str) or isinstance(known, str):
            assert whole == known
            continue
        assert whole.qty.tobytes() == known.qty.tobytes()
        assert (whole.first_bin, whole.bracket_table) == (known.first_bin, known.bracket_table)
        np.testing.assert_array_equal(whole.open_interest, known.open_interest)


@pytest.mark.parametrize("model", [name for name in COMPARISON if name != "time_evolving"])
@given(of=markets())
@settings(max_examples=15, deadline=None)
def test_at_longs_lie_below_and_shorts_above_the_price(of: Market, model: str) -> None:
    for ts in ends(of):
        levels = answer(model, of, ts, None)
        if isinstance(levels, str):
            continue
        price = Readings(of).at(ts).price
        edges = (levels.first_bin + np.arange(levels.qty.shape[2])) * levels.width
        assert levels.qty[0][:, edges >= price].sum() == 0
        assert levels.qty[1][:, edges + levels.width < price].sum() == 0
        assert (levels.qty >= 0).all()
        assert not levels.no_level.any()
        assert not levels.unknown_entry.any()


@pytest.mark.parametrize(("model", "compat"), ORIGINALS)
@given(of=markets())
@settings(max_examples=5, deadline=None)
def test_at_same_question_same_bytes(of: Market, model: str, compat: Compat) -> None:
    ts = ends(of)[-1]
    chosen = MODELS[model]
    try:
        timeline = chosen.timeline(of, chosen.resolve(Parameters(compat=compat)))
        first = timeline.at(ts).qty.tobytes()
    except MissingDetail:
        return
    timeline.at(ends(of)[0]) if chosen.has_time_axis else None
    assert timeline.at(ts).qty.tobytes() == first


@pytest.mark.parametrize("model", COMPARISON)
def test_resolve_with_original_takes_what_the_original_has_and_refuses_the_rest(model: str) -> None:
    chosen = MODELS[model]
    assert chosen.original is not None
    assert chosen.original.compat is Compat.ORIGINAL
    assert chosen.resolve(Parameters(compat=Compat.ORIGINAL)) == chosen.original
    for spec in chosen.parameters:
        given_parameters = Parameters(**({spec.name: VALUES[spec.name]} | {"compat": Compat.ORIGINAL}))  # type: ignore[arg-type]
        if spec.in_original:
            chosen.resolve(given_parameters)
        else:
            with pytest.raises(ParameterError, match=f"{spec.name} was .* no use for it with compat=original"):
                chosen.resolve(given_parameters)
