"""``LiquidationService``: translates and delegates."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor
from itertools import islice
from typing import Any

from google.protobuf.message import Message

from liqserver.live.engine import LevelsEngine
from liqserver.live.scorecard import ScorecardQuery, Scorecards
from liqserver.rpc import convert
from liqserver.rpc.alerts import AlertStreams
from liqserver.rpc.encoded import EncodedLevels
from liqserver.rpc.recorded import RecordedLiquidations
from liqserver.rpc.streams import LevelStreams
from liqserver.v1 import liquidation_pb2, liquidation_pb2_grpc

# Answers of a replay computed at once: calls of others wait for no longer than these take.
_REPLAY_BATCH = 8


class LiquidationServicer(liquidation_pb2_grpc.LiquidationServiceServicer):
    """Serves levels.

    Parameters
    ----------
    engine : LevelsEngine
        Answers questions.
    recorded : RecordedLiquidations
        Answers what was recorded.
    streams : LevelStreams
        Streams levels as they change.
    alerts : AlertStreams
        Streams alerts.
    executor : Executor
        Where answers that are not at hand are computed, off the event loop.
    clock : callable
        UNIX nanoseconds of now.
    scorecards : Scorecards
        Makes scorecards.
    """

    def __init__(
        self,
        engine: LevelsEngine,
        recorded: RecordedLiquidations,
        streams: LevelStreams,
        alerts: AlertStreams,
        executor: Executor,
        clock: Callable[[], int],
        scorecards: Scorecards,
    ) -> None:
        self._engine = engine
        self._scorecards = scorecards
        # One takes seconds: the others wait, and what is quick does not.
        self._scoring = asyncio.Semaphore(1)
        self._recorded = recorded
        self._streams = streams
        self._alerts = alerts
        self._executor = executor
        self._clock = clock
        self._answers = EncodedLevels(engine, streams.views, self._levels, executor)

    async def GetLevels(self, request: liquidation_pb2.GetLevelsRequest, context: Any) -> bytes:  # type: ignore[override]  # noqa: N802, ANN401
        """Return the encoded answer: kept bytes, then the time they leave."""
        return await self._answers.get(request) + self._stamp()

    async def ListLiquidations(  # noqa: N802
        self, request: liquidation_pb2.ListLiquidationsRequest, context: object
    ) -> liquidation_pb2.ListLiquidationsResponse:
        """Return recorded liquidations."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._recorded.list, request)

    async def GetHeatmap(  # noqa: N802
        self, request: liquidation_pb2.GetHeatmapRequest, context: object
    ) -> liquidation_pb2.GetHeatmapResponse:
        """Return levels over time."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._heatmap, request)

    async def CompareModels(  # noqa: N802
        self, request: liquidation_pb2.CompareModelsRequest, context: object
    ) -> liquidation_pb2.CompareModelsResponse:
        """Return several models' levels on one grid."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._comparison, request)

    async def GetAudit(  # noqa: N802
        self, request: liquidation_pb2.GetAuditRequest, context: object
    ) -> liquidation_pb2.GetAuditResponse:
        """Return what was opened, closed and liquidated."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._audit, request)

    async def GetScorecard(  # noqa: N802
        self, request: liquidation_pb2.GetScorecardRequest, context: object
    ) -> liquidation_pb2.GetScorecardResponse:
        """Return how well models predict where was really liquidated."""
        async with self._scoring:
            return await asyncio.get_running_loop().run_in_executor(self._executor, self._scorecard, request)

    async def ReplayLevels(  # type: ignore[override]  # noqa: N802
        self, request: liquidation_pb2.ReplayLevelsRequest, context: object
    ) -> AsyncIterator[bytes]:
        """Yield encoded answers, a few computed at a time, and no more before the client took those."""
        loop = asyncio.get_running_loop()
        moments = await loop.run_in_executor(self._executor, self._replay, request)
        while batch := await loop.run_in_executor(self._executor, lambda: list(islice(moments, _REPLAY_BATCH))):
            for encoded in batch:
                yield convert.replayed(encoded + self._stamp())

    def WatchAlerts(  # noqa: N802
        self, request: liquidation_pb2.WatchAlertsRequest, context: object
    ) -> AsyncIterator[liquidation_pb2.WatchAlertsResponse]:
        """Yield alerts."""
        return self._alerts.watch(request)

    def StreamLevels(  # type: ignore[override]  # noqa: N802
        self, request: liquidation_pb2.StreamLevelsRequest, context: object
    ) -> AsyncIterator[bytes]:
        """Yield encoded updates of levels."""
        return self._streams.serve(request)

    def StreamLevelsOnCredit(  # type: ignore[override]  # noqa: N802
        self, request_iterator: AsyncIterator[liquidation_pb2.StreamLevelsOnCreditRequest], context: object
    ) -> AsyncIterator[bytes]:
        """Yield encoded updates of levels, as many as the reader asks for."""
        return self._streams.serve_on_credit(request_iterator)

    def _levels(self, request: liquidation_pb2.GetLevelsRequest) -> bytes:
        return convert.levels_response(
            self._engine.levels(convert.levels_query(request.query), _given(request, "as_of"))
        )

    def _heatmap(self, request: liquidation_pb2.GetHeatmapRequest) -> liquidation_pb2.GetHeatmapResponse:
        answer = self._engine.heatmap(
            convert.levels_query(request.query, unused=("per_tier", "min_notional", "derived", "band")),
            start=_given(request, "start"),
            end=_given(request, "end"),
            lookback=_given(request, "lookback"),
            interval=request.interval,
        )
        return convert.heatmap_response(answer, self._clock())

    def _comparison(self, request: liquidation_pb2.CompareModelsRequest) -> liquidation_pb2.CompareModelsResponse:
        unused = ("model", "parameters", "side", "per_tier", "min_notional", "derived", "band")
        answer = self._engine.compare(
            convert.levels_query(request.query, unused=unused),
            convert.model_choices(request.models),
            _given(request, "as_of"),
        )
        return convert.comparison_response(answer, self._clock())

    def _audit(self, request: liquidation_pb2.GetAuditRequest) -> liquidation_pb2.GetAuditResponse:
        unused = ("bin_size", "price_range", "side", "per_tier", "min_notional", "derived", "band")
        answer = self._engine.audit(
            convert.levels_query(request.query, unused=unused),
            request.interval,
            _given(request, "start"),
            _given(request, "end"),
        )
        return convert.audit_response(answer, self._clock())

    def _scorecard(self, request: liquidation_pb2.GetScorecardRequest) -> liquidation_pb2.GetScorecardResponse:
        answer = self._scorecards.scorecard(
            ScorecardQuery(
                symbol=request.symbol,
                venue=request.venue,
                cut=request.cut,
                start=_given(request, "start"),
                end=_given(request, "end"),
                models=tuple(convert.model_choices(request.models)),
                interval=request.interval,
                calibration=request.calibration,
            )
        )
        return convert.scorecard_response(answer, self._clock())

    def _replay(self, request: liquidation_pb2.ReplayLevelsRequest) -> Iterator[bytes]:
        answers = self._engine.replay(
            convert.levels_query(request.query), _given(request, "start"), _given(request, "end"), request.every
        )
        return map(convert.levels_response, answers)

    def _stamp(self) -> bytes:
        """Return the time an encoded answer leaves, to append to it."""
        return convert.generated_at(self._clock())


def _given(request: Message, field: str) -> int | None:
    return getattr(request, field) if request.HasField(field) else None
