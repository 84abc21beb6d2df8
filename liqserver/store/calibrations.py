"""Calibrations as they are kept: what was found, from which data, how well it is known."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from enum import Enum
from typing import Any

import numpy as np

from liqserver.calibrate import Calibration, Fit, Scatter
from liqserver.models import position_book
from liqserver.models.parameters import Compat, MarginFormula, Parameters, Tier
from liqserver.store.database import Database, StoreError


@dataclass(frozen=True, slots=True, eq=False)
class StoredCalibration:
    """A calibration and what is known of it.

    Attributes
    ----------
    id : str
        12 hexadecimal digits, a hash of all but ``created``.
    venue, symbol, model : str
        Whose parameters.
    period : int
        Length of the intervals fitted on, nanoseconds.
    truth : str
        Where the liquidations are from, a sentence.
    found : Calibration
        What was found.
    created : int
        UNIX nanoseconds at which it was stored.
    """

    id: str
    venue: str
    symbol: str
    model: str
    period: int
    truth: str
    found: Calibration
    created: int


def identified(venue: str, symbol: str, found: Calibration, *, period: int, truth: str) -> StoredCalibration:
    """Return what was found with its id, not stored yet (``created`` is 0); arguments as of ``StoredCalibration``."""
    of = StoredCalibration("", venue, symbol, position_book.ID, period, truth, found, 0)
    text = json.dumps([venue, symbol, _columns(of)])
    return replace(of, id=hashlib.blake2b(text.encode(), digest_size=6).hexdigest())


def store_calibration(database: Database, of: StoredCalibration, clock: Callable[[], int]) -> StoredCalibration:
    """Store a calibration and return it as it is stored; the same again stays as it was stored first.

    Raises
    ------
    StoreError
        If the database is open for reading only.
    KeyError
        If there is no such market.
    """
    if database.read_only:
        raise StoreError(f"{database.path} is open for reading only: nothing can be stored")
    with database.transaction() as cur:
        row = cur.execute(
            "SELECT symbol_id FROM symbols WHERE venue = ? AND symbol = ?", [of.venue, of.symbol]
        ).fetchone()
        if row is None:
            raise KeyError(f"{of.venue}:{of.symbol}")
        known = cur.execute("SELECT created FROM calibrations WHERE calibration_id = ?", [of.id]).fetchone()
        if known is not None:
            return replace(of, created=known[0])
        of = replace(of, created=clock())
        values = {"calibration_id": of.id, "symbol_id": row[0], **_columns(of), "created": of.created}
        cur.execute(
            f"INSERT INTO calibrations ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})",  # noqa: S608 - names of ours
            list(values.values()),
        )
    return of


def stored_calibrations(database: Database, venue: str = "", symbol: str = "") -> tuple[StoredCalibration, ...]:
    """Return the calibrations of one market or all, by venue, symbol and the moment they look no further than."""
    cur = database.cursor()
    try:
        cur.execute(
            """
            SELECT venue, symbol, c.* FROM calibrations c JOIN symbols USING (symbol_id)
            WHERE (? = '' OR venue = ?) AND (? = '' OR symbol = ?)
            ORDER BY venue, symbol, until, created, calibration_id
            """,
            [venue, venue, symbol, symbol],
        )
        names = [of[0] for of in cur.description or ()]
        return tuple(_stored(dict(zip(names, row, strict=True))) for row in cur.fetchall())
    finally:
        cur.close()


def _stored(row: dict[str, Any]) -> StoredCalibration:
    fit, uncertainty = json.loads(row["fit"]), json.loads(row["uncertainty"])
    of_scatter = fit["scatter"]
    return StoredCalibration(
        id=row["calibration_id"],
        venue=row["venue"],
        symbol=row["symbol"],
        model=row["model"],
        period=row["period"],
        truth=row["truth"],
        found=Calibration(
            parameters=_parameters(json.loads(row["parameters"])),
            fit=Fit(np.array(fit["weight"]), np.array(uncertainty["weights"]), np.array(fit["r2"])),
            shape_covariance=np.array(uncertainty["shape"]),
            scatter=Scatter(**{of.name: np.array(of_scatter[of.name]) for of in fields(Scatter)}),
            intervals=row["intervals"],
            start=row["data_start"],
            end=row["data_end"],
            until=row["until"],
        ),
        created=row["created"],
    )


def _columns(of: StoredCalibration) -> dict[str, Any]:
    """Return what is stored of a calibration beside its id, its market and when."""
    found = of.found
    return {
        "model": of.model,
        "until": found.until,
        "data_start": found.start,
        "data_end": found.end,
        "period": of.period,
        "intervals": found.intervals,
        "truth": of.truth,
        "parameters": json.dumps(_plain_parameters(found.parameters)),
        "fit": json.dumps(_plain_fit(found)),
        "uncertainty": json.dumps({"weights": found.fit.covariance.tolist(), "shape": found.shape_covariance.tolist()}),
    }


def _plain_fit(found: Calibration) -> dict[str, object]:
    scatter = {of.name: getattr(found.scatter, of.name).tolist() for of in fields(Scatter)}
    return {"weight": found.fit.weight.tolist(), "r2": found.fit.r2.tolist(), "scatter": scatter}


def _plain_parameters(of: Parameters) -> dict[str, object]:
    out: dict[str, object] = {}
    for field in fields(of):
        value = getattr(of, field.name)
        if isinstance(value, Enum):
            value = value.value
        elif isinstance(value, tuple):
            value = [[tier.leverage, tier.weight, tier.hazard] for tier in value]
        if value is not None:
            out[field.name] = value
    return out


def _parameters(plain: dict[str, Any]) -> Parameters:
    given = dict(plain)
    for name, kind in (("margin_formula", MarginFormula), ("compat", Compat)):
        if name in given:
            given[name] = kind(given[name])
    if "tiers" in given:
        given["tiers"] = tuple(Tier(*tier) for tier in given["tiers"])
    return Parameters(**given)
