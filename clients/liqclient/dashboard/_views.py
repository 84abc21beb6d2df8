"""The answers that the page gets: figures with the facts that its words and controls need, as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.io import to_json

from liqclient._answers import DerivedFigures, Levels, ModelInfo, Provenance, SymbolInfo
from liqclient._client import Client
from liqclient._errors import LiqClientError, NotFound
from liqclient.dashboard._coverage import coverage_figure, coverage_rows, shown_age
from liqclient.dashboard._question import Question, View
from liqclient.plot import compare_figure, heatmap_figure, liquidations_figure
from liqclient.plot._common import shown_time
from liqclient.plot._levels import levels_parts

_MS = 1_000_000
_HOUR, _DAY = 3_600_000_000_000, 86_400_000_000_000
# About so many bars of recorded liquidations, in intervals that people count in.
_BARS = 200
_INTERVALS = [minutes * 60_000_000_000 for minutes in (1, 5, 15, 60, 240, 1_440)]


def state(client: Client, *, timeout: float) -> dict[str, Any]:
    """Return the symbols and models of the server, and how old its newest data are.

    Raises
    ------
    LiqClientError
        If the server does not answer.
    """
    return {
        "symbols": [_symbol(symbol) for symbol in client.symbols(timeout=timeout)],
        "models": [_model(model) for model in client.models(timeout=timeout)],
    }


def _symbol(info: SymbolInfo) -> dict[str, Any]:
    # Of all inputs the trades say best how new the data are; a symbol without any is as new as its newest input.
    marks = [mark for mark in info.watermarks if mark.kind == "trades"] or list(info.watermarks)
    newest = max((mark for mark in marks if mark.ts_event is not None), key=lambda m: m.ts_event or 0, default=None)
    return {
        "venue": info.venue,
        "symbol": info.symbol,
        "base_bin": info.base_bin,
        "newest": newest and (newest.ts_event or 0) // _MS,
        "newest_shown": shown_time(newest.ts_event if newest else None),
        "kind": newest and newest.kind,
        "age_seconds": newest and newest.staleness / 1e9,
        "age": newest and shown_age(newest.staleness),
    }


def _model(model: ModelInfo) -> dict[str, Any]:
    parameters = [asdict(parameter) for parameter in model.parameters]
    for parameter in parameters:
        if parameter["name"] == "lookback" and parameter["default_value"].isdecimal():
            # The page takes lengths of time as people write them.
            parameter["default_value"] = _length(int(parameter["default_value"]))
            parameter["allowed"] = "must be a length such as 4h, 7d, 30d, from 1m to 3650d"
    return {
        "id": model.id,
        "description": model.description,
        "limits": model.limits,
        "is_default": model.is_default,
        "has_time_axis": model.has_time_axis,
        "parameters": parameters,
    }


def _length(ns: int) -> str:
    for unit, size in (("d", _DAY), ("h", _HOUR), ("m", 60_000_000_000)):
        if ns % size == 0:
            return f"{ns // size}{unit}"
    return f"{ns // 1_000_000_000}s"


def view(client: Client, name: View, question: Question) -> str:
    """Return the figure of a view and its facts, as JSON.

    Parameters
    ----------
    client
        Asks the server.
    name
        The view.
    question
        What to show, of a `chosen` symbol.

    Raises
    ------
    LiqClientError
        If the call fails.
    ValueError
        If the question cannot be sent.
    """
    return _VIEWS[name](client, question)


def chosen(client: Client, question: Question) -> Question:
    """Return the question with the first symbol of the server where it names none.

    Raises
    ------
    LiqClientError
        If the server does not answer, or has no symbol.
    """
    if question.symbol:
        return question
    symbols = client.symbols()
    if not symbols:
        raise NotFound("the server has no data of any symbol: get some in with `liqserver ingest`")
    return replace(question, symbol=symbols[0].symbol, venue=symbols[0].venue)


def live_map(question: Question, levels: Levels, arrived: float) -> str:
    """Return the liquidation map of levels that a stream brought, at ``arrived`` seconds of the clock.

    What adds up on the way from the current price is derived here, as a stream does not carry it.
    """
    derived = DerivedFigures(
        cluster_below=None,
        cluster_above=None,
        cumulative_long=np.cumsum(levels.long[::-1])[::-1],
        cumulative_short=np.cumsum(levels.short),
        imbalances=(),
        realised_volatility=None,
    )
    return _map(question, replace(levels, derived=derived), {"arrived": 1e3 * arrived})


def _map_view(client: Client, question: Question) -> str:
    levels = client.levels(
        question.symbol,
        venue=question.venue,
        model=question.model,
        as_of=question.as_of,
        bin_size=question.bin_size,
        price_range=question.price_range,
        unit=question.unit,
        per_tier=question.per_tier,
        derived=True,
        parameters=question.parameters,
    )
    return _map(question, levels)


def _map(question: Question, levels: Levels, more: Mapping[str, Any] | None = None) -> str:
    # Live it is drawn some times a second: made here, and checked by the browser that draws it.
    figure = levels_parts(levels, theme=question.theme, width=question.width)
    return _answer(question, figure, {**_facts(levels.provenance), **(more or {})})


def _heatmap_view(client: Client, question: Question) -> str:
    heatmap = client.heatmap(
        question.symbol,
        venue=question.venue,
        model=question.model,
        end=question.as_of,
        lookback=question.lookback,
        interval=question.interval,
        bin_size=question.bin_size,
        price_range=question.price_range,
        unit=question.unit,
        parameters=question.parameters,
    )
    figure = heatmap_figure(heatmap, theme=question.theme, log_colour=question.log, width=question.width)
    return _answer(question, figure, _facts(heatmap.provenance))


def _liquidations_view(client: Client, question: Question) -> str:
    end = question.as_of
    if end is None:
        # The newest that is recorded; one row is enough to be told when that was.
        end = client.liquidations(question.symbol, venue=question.venue, page_size=1).recorded_end
    lookback = question.lookback or _DAY
    least = lookback / _BARS
    interval = question.interval or next((of for of in _INTERVALS if of >= least), _DAY)
    # Nothing recorded: the whole of it, which is nothing, and says so.
    start = None if end is None else (end - lookback) // interval * interval
    pages = list(
        client.liquidation_pages(
            question.symbol,
            venue=question.venue,
            start=start,
            # The end is left out of the answer, and the newest must not be.
            end=None if end is None else end + 1,
            interval=interval,
        )
    )
    figure = liquidations_figure(
        pages,
        symbol=question.symbol,
        interval=interval,
        unit=question.unit,
        theme=question.theme,
        width=question.width,
    )
    facts = {"as_of": _ms(end), "as_of_shown": shown_time(end), "history_start": _ms(pages[-1].recorded_start)}
    return _answer(question, figure, facts if end is not None else {})


def _compare_view(client: Client, question: Question) -> str:
    models = question.models
    if models is None and question.compared:
        models = tuple(model.id for model in client.models())
    if unknown := [model for model in question.compared if model not in (models or ())]:
        raise ValueError(f"p.{unknown[0]}: {unknown[0]} is not compared, must be one of {', '.join(models or ())}")
    comparison = client.compare(
        question.symbol,
        models and [(model, of) if (of := question.compared.get(model)) else model for model in models],
        venue=question.venue,
        as_of=question.as_of,
        bin_size=question.bin_size,
        price_range=question.price_range,
        unit=question.unit,
    )
    where = next((model.provenance for model in comparison.models if model.provenance is not None), None)
    figure = compare_figure(comparison, theme=question.theme, width=question.width)
    return _answer(question, figure, _facts(where) if where else {})


def _coverage_view(client: Client, question: Question) -> str:
    [coverage, *others] = client.coverage(question.symbol, question.venue)
    if others:
        venues = ", ".join(of.venue for of in (coverage, *others))
        raise ValueError(f"venue must be given, as {question.symbol} is at several: {venues}")
    key = (coverage.venue, coverage.symbol)
    info = next((of for of in client.symbols() if (of.venue, of.symbol) == key), None)
    if info is None:
        raise NotFound(f"the server lists no symbol {coverage.venue}:{coverage.symbol}")
    figure = coverage_figure(coverage, theme=question.theme, width=question.width)
    return _answer(question, figure, {"rows": coverage_rows(coverage, info)})


_VIEWS: Mapping[View, Callable[[Client, Question], str]] = {
    "map": _map_view,
    "heatmap": _heatmap_view,
    "liquidations": _liquidations_view,
    "compare": _compare_view,
    "coverage": _coverage_view,
}


def failure(error: Exception) -> dict[str, Any]:
    """Return what the page is told of an error."""
    if isinstance(error, LiqClientError):
        return {"error": {"code": error.code.name, "reason": error.reason, "message": str(error)}}
    return {"error": {"code": "INVALID_ARGUMENT", "reason": None, "message": str(error)}}


def _answer(question: Question, figure: go.Figure | dict[str, Any], facts: Mapping[str, Any]) -> str:
    shown = {"symbol": question.symbol, "venue": question.venue, **facts}
    return f'{{"figure": {to_json(figure, validate=False)}, "facts": {json.dumps(shown)}}}'


def _facts(where: Provenance) -> dict[str, Any]:
    return {
        "as_of": _ms(where.as_of),
        "as_of_shown": shown_time(where.as_of),
        "history_start": _ms(where.history_start),
    }


def _ms(ts: int | None) -> int | None:
    return None if ts is None else ts // _MS
