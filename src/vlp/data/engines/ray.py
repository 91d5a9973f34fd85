"""A Ray cluster: parts travel to whichever machine is free, and are made again where one is lost.

Machines share nothing but the network: rows are sent, examples come back. The project is installed on each, in the same
version (`pip install -e .[data,cluster]`); Ray itself checks that Python and Ray agree.

Source: fault tolerance of Ray's tasks and objects,
https://docs.ray.io/en/latest/ray-core/fault-tolerance.html
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self, TypeVar

from pydantic import Field

from vlp.params import Section

Result = TypeVar("Result")


class EngineError(ValueError):
    """The cluster cannot be reached, or it lost a part more often than it may."""


class Params(Section):
    """``engines.ray``: which cluster, and how hard it is asked."""

    address: str = Field(
        "auto", description="ray://host:10001 or host:6379; auto: the cluster that this machine is in; local: start one"
    )
    ahead: int = Field(2, ge=1, description="parts that wait or are being made for each core of the cluster")
    retries: int = Field(10, ge=0, description="times that a part is made anew because its machine was lost")


class Engine:
    """Maps parts, in order, on a cluster; the connection lasts as long as the context.

    Args:
        params: which cluster; None for the one that this machine is in.

    Raises:
        EngineError: there is no such cluster.
    """

    rows = 512
    """Rows of a part: some megabytes on the way there, some on the way back."""

    def __init__(self, params: Params | None = None) -> None:
        self.params = params or Params()

    def __enter__(self) -> Self:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would send reports
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # its new default, which it warns about
        import ray

        address = None if self.params.address == "local" else self.params.address
        self._own = not ray.is_initialized()
        if self._own:
            settings: dict[str, Any] = {} if address else {"include_dashboard": False}
            try:
                ray.init(address=address or "local", log_to_driver=False, logging_level=logging.WARNING, **settings)
            except (ConnectionError, TimeoutError, ValueError, RuntimeError) as error:
                raise EngineError(
                    f"engines.ray.address: {self.params.address!r}: {' '.join(str(error).split())}"
                ) from None
        return self

    def __exit__(self, *_: object) -> None:
        import ray

        if self._own:
            ray.shutdown()

    def map(self, function: Callable[..., Result], parts: Iterable[tuple[Any, Any]]) -> Iterator[Result]:
        """``function(rows, fates)`` of every (slice, fates), in order; few parts are in memory at a time.

        Raises:
            EngineError: a part was lost with its machine more often than ``retries``.
        """
        import ray

        work: Any = ray.remote(max_retries=self.params.retries, num_cpus=1)(_apply)
        shared = ray.put(function)
        waiting: deque[Any] = deque()

        def result() -> Result:
            try:
                found: Result = ray.get(waiting.popleft())
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None
            except ray.exceptions.RayError as error:
                raise EngineError(f"engines.ray: a part was lost: {' '.join(str(error).split())[:300]}") from None
            return found

        for some, fates in parts:
            waiting.append(work.remote(shared, some.table(), fates))
            # Asked each time: a cluster grows and shrinks.
            if len(waiting) > self.params.ahead * max(1, int(ray.cluster_resources().get("CPU", 1))):
                yield result()
        while waiting:
            yield result()


def _apply(function: Callable[..., Result], rows: Any, fates: Any) -> Result:
    return function(rows, fates)
