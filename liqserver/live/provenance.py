"""Where the numbers of an answer come from."""

from __future__ import annotations

import hashlib
from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from liqserver.live.answers import Provenance
from liqserver.live.question import Question, newest_price, shown_time
from liqserver.models.market import Market, ModelLevels
from liqserver.models.parameters import Parameters
from liqserver.models.registry import Model


def provenance(question: Question, moment: int, levels: ModelLevels) -> Provenance:
    """Return where the numbers of an answer come from.

    Parameters
    ----------
    question : Question
        What was asked.
    moment : int
        UNIX nanoseconds.
    levels : ModelLevels
        What the model answered.

    Raises
    ------
    MissingInput
        If no price was known.
    """
    resident, model = question.resident, question.model
    market = resident.market
    watermarks = resident.watermarks(moment)
    held = levels.qty.sum(axis=1).sum(axis=1) + levels.no_level + levels.unknown_entry
    unknown_entry = _shares(levels.unknown_entry, held)
    return Provenance(
        venue=market.venue,
        symbol=market.symbol,
        as_of=moment,
        watermarks=watermarks,
        staleness=_staleness(moment, watermarks, model),
        model=model.id,
        parameters=question.parameters,
        parameters_hash=question.digest,
        inputs_hash=resident.inputs_hash(moment),
        bracket_table=levels.bracket_table,
        current_price=newest_price(resident, moment),
        open_interest=levels.open_interest,
        no_level_share=_shares(levels.no_level, held),
        unknown_entry_share=unknown_entry,
        kline_volume_share=resident.kline_volume_share(moment),
        last_price_path_share=resident.last_price_path_share(moment),
        history_start=question.start,
        notices=_notices(market, unknown_entry),
        calibration="" if question.calibration is None else question.calibration.id,
    )


def digest(model: Model, parameters: Parameters) -> str:
    """Return 16 hexadecimal digits of the model and all parameters in force."""
    # Only what is in force: a parameter that some other model gains changes no hash of this one.
    held = {field.name: getattr(parameters, field.name) for field in fields(parameters)}
    text = f"{model.id}:{ {name: value for name, value in held.items() if value is not None}!r}"
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _notices(market: Market, unknown_entry: tuple[float, float]) -> tuple[str, ...]:
    """Return what a reader of the numbers should know."""
    out = []
    tables = market.brackets
    start = int(market.history.step_end[0])
    if tables and start < tables[0].effective_from:
        out.append(
            f"brackets before {shown_time(tables[0].effective_from)} are not known: "
            f"those of {tables[0].table_id} stand in for positions opened earlier"
        )
    if max(unknown_entry) > 0.5:
        out.append(
            f"{max(unknown_entry):.0%} of open interest was opened before the data begins and has no level: "
            "the history is short"
        )
    if market.tick_size_source.startswith("inferred"):
        out.append(f"the tick size {market.tick_size:g} was {market.tick_size_source}")
    return tuple(out)


def _shares(part: NDArray[np.float64], whole: NDArray[np.float64]) -> tuple[float, float]:
    """Return part / whole for longs and shorts; 0 where there is nothing."""
    long, short = (of / all_ if all_ > 0 else 0.0 for of, all_ in zip(part.tolist(), whole.tolist(), strict=True))
    return long, short


def _staleness(moment: int, watermarks: dict[str, int], model: Model) -> int:
    """Return the age of the oldest input among those the model cannot do without, nanoseconds."""
    flow = [ts for kind, ts in watermarks.items() if kind in ("trades", "klines")]
    path = [ts for kind, ts in watermarks.items() if kind in ("mark_price", "trades", "klines")]
    newest = [max(kinds) for kinds in (flow, path) if kinds]
    if model.needs_open_interest:
        newest.append(watermarks["open_interest"])
    return moment - min(newest)
