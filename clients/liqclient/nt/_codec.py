"""Payloads in and out of Arrow, whole batches at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from liqclient.nt._payload import AlertPayload, LevelsPayload

_COLUMNS = ("prices", "long", "short")
_TEXT = {"model", "parameters_hash", "inputs_hash", "unit", "rule", "kind", "side", "message"}
_WHOLE = {"staleness", "ts_event", "ts_init"}
_NULLABLE = {
    LevelsPayload: {"open_interest"},
    AlertPayload: {"side", "low", "high", "peak", "amount", "distance", "staleness"},
}


def _field(name: str, nullable: bool) -> pa.Field:
    if name in _COLUMNS:
        kind = pa.list_(pa.field("item", pa.float64(), nullable=False))
    elif name in _TEXT:
        kind = pa.string()
    else:
        kind = pa.int64() if name in _WHOLE else pa.float64()
    return pa.field(name, kind, nullable=nullable)


def _schema(payload: type[LevelsPayload] | type[AlertPayload]) -> pa.Schema:
    fields = [_field(name, name in _NULLABLE[payload]) for name in payload._FIELDS]
    return pa.schema([pa.field("instrument_id", pa.string(), nullable=False), *fields])


LEVELS_SCHEMA = _schema(LevelsPayload)
ALERT_SCHEMA = _schema(AlertPayload)


def encode(items: Sequence[LevelsPayload] | Sequence[AlertPayload], schema: pa.Schema) -> pa.RecordBatch:
    """Return payloads of one kind as a batch of ``schema``, one row each."""
    arrays = []
    for field in schema:
        if field.name == "instrument_id":
            values: list[Any] = [item._instrument for item in items]
        else:
            values = [getattr(item, field.name) for item in items]
        arrays.append(_lists(values, field.type) if field.name in _COLUMNS else pa.array(values, type=field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def decode(table: pa.Table | pa.RecordBatch) -> Iterator[dict[str, Any]]:
    """Iterate over the fields of each row; columns of levels are read-only views of the table's memory."""
    batches = table.to_batches() if isinstance(table, pa.Table) else [table]
    for batch in batches:
        names = batch.schema.names
        columns = [
            _arrays(batch.column(name)) if name in _COLUMNS else batch.column(name).to_pylist() for name in names
        ]
        for row in zip(*columns, strict=True):
            yield dict(zip(names, row, strict=True))


def _lists(values: list[NDArray[np.float64]], kind: pa.DataType) -> pa.ListArray:
    offsets = np.zeros(len(values) + 1, dtype=np.int32)
    np.cumsum([len(value) for value in values], out=offsets[1:])
    flat = np.concatenate(values) if values else np.empty(0)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat), type=kind)


def _arrays(column: pa.ListArray) -> Iterator[NDArray[np.float64]]:
    offsets = column.offsets.to_numpy().tolist()
    flat = column.values.to_numpy(zero_copy_only=True)
    return (flat[start:stop] for start, stop in pairwise(offsets))
