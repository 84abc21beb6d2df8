"""What the page asks for, read from the query of its URL."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from dataclasses import fields as fields_of
from typing import Any, Literal, get_args
from urllib.parse import parse_qsl

from liqclient._times import to_duration_nanoseconds, to_nanoseconds
from liqclient._types import Compat, LeverageTier, MarginFormula, Parameters, Unit
from liqclient.plot import SAFE, THEMES, Theme
from liqclient.plot._common import PHONE

type View = Literal["map", "heatmap", "liquidations", "compare", "coverage"]
VIEWS: tuple[View, ...] = get_args(View.__value__)
# Parameters of models stand in the URL with this before their names; those of a model that is compared with others with
# its identifier in between.
_PARAMETER = "p."
# Of the page alone: what is asked does not depend on them.
_OF_THE_PAGE = frozenset({"view", "live"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a view is to show; see `Client.levels` for what the names mean.

    Attributes
    ----------
    symbol
        Empty for the first that the server lists.
    as_of
        UNIX nanoseconds; None for the newest data. The end of views over time.
    lookback
        Nanoseconds that views over time reach back; None for a day, or all there is where that is less.
    interval
        Nanoseconds of a column or bar of views over time; None for what suits.
    models
        To compare; None for every model.
    log
        Whether the heatmap's colours go by the logarithm.
    width
        Pixels that the figure has.
    parameters
        Of the model.
    compared
        Parameters of models that are compared, where they are not the defaults.
    """

    symbol: str = ""
    venue: str = ""
    model: str = ""
    as_of: int | None = None
    bin_size: float | None = None
    price_range: float | tuple[float, float] | None = None
    lookback: int | None = None
    interval: int | None = None
    unit: Unit = "notional"
    per_tier: bool = True
    log: bool = False
    models: tuple[str, ...] | None = None
    theme: Theme = SAFE
    width: int = PHONE
    parameters: Parameters | None = None
    compared: Mapping[str, Parameters] = field(default_factory=dict)


def read_question(query: str) -> Question:
    """Return the question in the query of a URL.

    Raises
    ------
    ValueError
        If a field is unknown, given twice or cannot be read; the message names it.
    """
    given: dict[str, Any] = {}
    # By model; that of the other views has no name.
    parameters: dict[str, dict[str, Any]] = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        into, key, readers = given, name, _FIELDS
        if name.startswith(_PARAMETER):
            model, _, key = name.removeprefix(_PARAMETER).rpartition(".")
            into, readers = parameters.setdefault(model, {}), _PARAMETERS
        if key in into:
            raise ValueError(f"{name} must be given once, was given twice")
        if name in _OF_THE_PAGE or not text.strip():
            continue
        if key not in readers:
            allowed = ", ".join([*_FIELDS, *sorted(_OF_THE_PAGE), *(_PARAMETER + one for one in _PARAMETERS)])
            raise ValueError(f"{name} is no field of the page, must be one of {allowed}")
        into[key] = _named(name, text.strip(), readers[key])
    if "range" in given:
        given["price_range"] = given.pop("range")
    of_models = {model: Parameters(**of) for model, of in parameters.items() if of}
    return Question(**given, parameters=of_models.pop("", None), compared=of_models)


def _named(name: str, text: str, reader: Callable[[str], Any]) -> Any:  # noqa: ANN401 - of any field
    try:
        return reader(text)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"must be a number, was {text!r}")
    return number


def _above_zero(text: str) -> float:
    number = _number(text)
    if number <= 0:
        raise ValueError(f"must be a number above 0, was {text!r}")
    return number


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"must be a whole number, was {text!r}")
    return int(text)


def _width(text: str) -> int:
    width = _whole(text)
    if not 200 <= width <= 20_000:
        raise ValueError(f"must be 200 to 20000 pixels, was {text}")
    return width


def _length(text: str) -> int:
    length = to_duration_nanoseconds(text, "it")
    if length == 0:
        raise ValueError(f"must be longer than 0, was {text!r}")
    return length


def _range(text: str) -> float | tuple[float, float]:
    numbers = [_number(part) for part in text.split(",")]
    if len(numbers) > 2:
        raise ValueError(f"must be a fraction, or two as down,up, was {text!r}")
    return numbers[0] if len(numbers) == 1 else (numbers[0], numbers[1])


def _tiers(text: str) -> list[LeverageTier]:
    tiers = []
    for part in text.replace(",", " ").split():
        numbers = [_number(number) for number in part.split(":")]
        if len(numbers) not in (2, 3):
            raise ValueError(f"must be leverage:weight or leverage:weight:hazard with spaces between, was {part!r}")
        tiers.append(LeverageTier(*numbers))
    return tiers


def _one_of(*allowed: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}, was {text!r}")
        return text

    return read


def _flag(text: str) -> bool:
    return _one_of("0", "1")(text) == "1"


def _theme(text: str) -> Theme:
    return THEMES[_one_of(*THEMES)(text)]


_FIELDS: dict[str, Callable[[str], Any]] = {
    "symbol": str,
    "venue": str,
    "model": str,
    "as_of": to_nanoseconds,
    "bin_size": _above_zero,
    "range": _range,
    "lookback": _length,
    "interval": _length,
    "unit": _one_of(*get_args(Unit.__value__)),
    "per_tier": _flag,
    "log": _flag,
    "models": lambda text: tuple(text.split(",")),
    "theme": _theme,
    "width": _width,
}
_PARAMETERS: dict[str, Callable[[str], Any]] = {of.name: _number for of in fields_of(Parameters)} | {
    "tiers": _tiers,
    "lookback": _length,
    "top_n": _whole,
    "margin_formula": _one_of(*get_args(MarginFormula.__value__)),
    "compat": _one_of(*get_args(Compat.__value__)),
}
