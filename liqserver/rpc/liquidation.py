"""``LiquidationService``: translates and delegates."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

from liqserver.live.engine import LevelsEngine
from liqserver.rpc import convert
from liqserver.rpc.encoded import EncodedAnswers
from liqserver.rpc.errors import to_status
from liqserver.rpc.recorded import RecordedLiquidations
from liqserver.v1 import common_pb2, liquidation_pb2, liquidation_pb2_grpc


class LiquidationServicer(liquidation_pb2_grpc.LiquidationServiceServicer):
    """Serves levels.

    Parameters
    ----------
    engine : LevelsEngine
        Answers questions.
    recorded : RecordedLiquidations
        Answers what was recorded.
    executor : Executor
        Where answers that are not at hand are computed, off the event loop.
    clock : callable
        UNIX nanoseconds of now.
    """

    def __init__(
        self, engine: LevelsEngine, recorded: RecordedLiquidations, executor: Executor, clock: Callable[[], int]
    ) -> None:
        self._engine = engine
        self._recorded = recorded
        self._executor = executor
        self._clock = clock
        self._encoded = EncodedAnswers()

    async def GetLevels(self, request: liquidation_pb2.GetLevelsRequest, context: Any) -> bytes:  # type: ignore[override]  # noqa: N802, ANN401
        """Return the encoded answer: kept bytes, then the time they leave (fields merge on the wire)."""
        key = request.SerializeToString(deterministic=True)
        version = self._engine.version
        encoded = self._encoded.get(key, version)
        if encoded is None:
            loop = asyncio.get_running_loop()
            encoded = await loop.run_in_executor(self._executor, self._levels, request)
            self._encoded.put(key, version, encoded)
        stamp = liquidation_pb2.GetLevelsResponse(provenance=common_pb2.Provenance(generated_at=self._clock()))
        return encoded + stamp.SerializeToString()

    async def ListLiquidations(  # noqa: N802
        self, request: liquidation_pb2.ListLiquidationsRequest, context: object
    ) -> liquidation_pb2.ListLiquidationsResponse:
        """Return recorded liquidations."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._recorded.list, request)

    async def GetHeatmap(  # noqa: N802
        self, request: liquidation_pb2.GetHeatmapRequest, context: object
    ) -> liquidation_pb2.GetHeatmapResponse:
        """Not offered: UNIMPLEMENTED."""
        raise NotImplementedError("GetHeatmap")

    async def CompareModels(  # noqa: N802
        self, request: liquidation_pb2.CompareModelsRequest, context: object
    ) -> liquidation_pb2.CompareModelsResponse:
        """Not offered: UNIMPLEMENTED."""
        raise NotImplementedError("CompareModels")

    async def GetAudit(  # noqa: N802
        self, request: liquidation_pb2.GetAuditRequest, context: object
    ) -> liquidation_pb2.GetAuditResponse:
        """Not offered: UNIMPLEMENTED."""
        raise NotImplementedError("GetAudit")

    async def ReplayLevels(self, request: liquidation_pb2.ReplayLevelsRequest, context: Any) -> None:  # type: ignore[override]  # noqa: N802, ANN401
        """Not offered: UNIMPLEMENTED."""
        await context.abort_with_status(to_status(NotImplementedError("ReplayLevels")))

    def _levels(self, request: liquidation_pb2.GetLevelsRequest) -> bytes:
        as_of = request.as_of if request.HasField("as_of") else None
        return convert.levels_response(self._engine.levels(convert.levels_query(request.query), as_of))
