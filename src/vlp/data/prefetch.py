"""The next batch is built and on the device before this one has been used up.

A thread suffices: on a GPU it waits for workers or copies while the processor of the GPU computes; on a CPU a
training step leaves Python idle in its larger half, the backward pass.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable

import torch

from vlp.data.loading import to_device
from vlp.records import Batch

AHEAD = 2


def prefetched(batches: Iterable[Batch], device: torch.device) -> Generator[Batch, None, None]:
    """Yield ``batches`` on ``device``, in order, up to ``AHEAD`` of them ready beforehand.

    What goes wrong while one is built is raised here, where it would have been used. Closing the iterator ends
    the thread.
    """
    ready: queue.Queue[tuple[Batch, torch.cuda.Event | None] | BaseException | None] = queue.Queue(AHEAD)
    stop, started = threading.Event(), threading.Event()

    def put(item: tuple[Batch, torch.cuda.Event | None] | BaseException | None) -> None:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.2)
            except queue.Full:
                continue
            return

    def work() -> None:
        torch.set_num_threads(1)  # building a batch must not take the cores from the step that runs
        started.set()
        side = torch.cuda.Stream(device) if device.type == "cuda" else None
        try:
            for batch in batches:
                put(_moved(batch, device, side))
                if stop.is_set():
                    return
            put(None)
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits for the batch
            put(error)

    threads = torch.get_num_threads()
    thread = threading.Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    started.wait()
    torch.set_num_threads(threads)  # torch keeps one number for threads that are yet to come
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield _arrived(*item)
    finally:
        stop.set()
        thread.join()


def _moved(batch: Batch, device: torch.device, side: torch.cuda.Stream | None) -> tuple[Batch, torch.cuda.Event | None]:
    if side is None:
        return to_device(batch, device), None
    with torch.cuda.stream(side):
        moved, done = to_device(batch, device), torch.cuda.Event()
        done.record(side)
    return moved, done


def _arrived(batch: Batch, done: torch.cuda.Event | None) -> Batch:
    if done is None:
        return batch
    stream = torch.cuda.current_stream()
    stream.wait_event(done)

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        tensor.record_stream(stream)  # or the copy's stream would reuse its memory too early
        return tensor

    return batch.map(keep)
