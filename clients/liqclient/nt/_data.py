"""The two data types of Nautilus Trader 1, registered for its bus, its catalog and its chunked backtests."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import pyarrow as pa
from nautilus_trader.core import nautilus_pyo3
from nautilus_trader.core.data import Data
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.serialization.arrow.serializer import register_arrow
from nautilus_trader.serialization.base import register_serializable_type

from liqclient.nt._codec import ALERT_SCHEMA, LEVELS_SCHEMA, decode, encode
from liqclient.nt._payload import AlertPayload, LevelsPayload, _Payload


@functools.lru_cache(maxsize=1024)
def _parsed(instrument_id: str) -> InstrumentId:
    return InstrumentId.from_str(instrument_id)


class _Bound(_Payload):
    """What Nautilus asks of its own data types, in its own words."""

    _schema: ClassVar[pa.Schema]

    @property
    def instrument_id(self) -> InstrumentId:
        """Instrument this is about."""
        return _parsed(self._instrument)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as lists, numbers and text, and the type's name for Nautilus' serialiser."""
        return {"type": type(self).__name__, **super().to_dict()}

    def to_json(self) -> str:
        """Return `to_dict` as JSON."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return what was parsed from `to_json`."""
        return cls.from_dict(values)

    @classmethod
    def type_name_static(cls) -> str:
        """Return the name the type is registered under."""
        return cls.__name__

    @classmethod
    def encode_batch(cls, items: Sequence[Any]) -> pa.RecordBatch:
        """Return objects as an Arrow batch, one row each."""
        return encode(items, cls._schema)

    @classmethod
    def decode_batch(cls, table: pa.Table | pa.RecordBatch) -> list[Self]:
        """Return the objects of an Arrow table or batch."""
        return [cls.from_dict(row) for row in decode(table)]

    def encode_record_batch_py(self, items: Sequence[Any]) -> pa.RecordBatch:
        """Return objects as an Arrow batch, for the chunked reader."""
        return self.encode_batch(items)

    @classmethod
    def decode_record_batch_py(cls, metadata: Mapping[str, str], batch: pa.RecordBatch) -> list[Self]:
        """Return the objects of an Arrow batch, for the chunked reader; its metadata has no use here."""
        return cls.decode_batch(batch)


class LiquidationLevels(LevelsPayload, _Bound, Data):
    """Liquidation levels of one instrument as of ``ts_event``, available at ``ts_init``.

    Attributes and methods are those of `LevelsPayload`; ``instrument_id`` is an `InstrumentId`. Subscribe with
    ``subscribe_data(DataType(LiquidationLevels), instrument_id=...)``, without metadata.
    """

    _schema = LEVELS_SCHEMA


class LiquidationAlert(AlertPayload, _Bound, Data):
    """One event around the liquidation levels of an instrument; see `AlertPayload`."""

    _schema = ALERT_SCHEMA


for _type in (LiquidationLevels, LiquidationAlert):
    register_serializable_type(_type, _type.to_dict, _type.from_dict)
    register_arrow(
        _type,
        _type._schema,
        encoder=functools.partial(lambda of, item: of.encode_batch([item]), _type),
        decoder=_type.decode_batch,
        batch_encoder=_type.encode_batch,
    )
    nautilus_pyo3.model.register_custom_data_class(_type)
