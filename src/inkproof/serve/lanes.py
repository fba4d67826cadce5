"""Worker threads between the event loop and the work.

The event loop only moves bytes. A lane's threads take whatever waits, all of it up to a number, so
that requests that come together go through the model as one batch.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

__all__ = ["InlineLane", "Lane"]

T = TypeVar("T")
R = TypeVar("R")
_STOP_SECONDS: Final = 2.0


class Lane(Generic[T, R]):
    """Threads that work off a queue, several jobs at a time.

    A thread cannot be stopped from outside. A job whose request has been given up is dropped if it
    has not begun; one that has begun goes on, and its place is free when it ends.

    Parameters
    ----------
    name : of its threads
    work : jobs -> for each its result, or the exception that stands for it
    threads : how many
    most : jobs taken at once
    """

    def __init__(
        self,
        name: str,
        work: Callable[[Sequence[T]], Sequence[R | BaseException]],
        *,
        threads: int,
        most: int,
    ) -> None:
        self._work = work
        self._most = most
        self._queue: deque[tuple[T, asyncio.Future[R], asyncio.AbstractEventLoop]] = deque()
        self._ready = threading.Condition()
        self._stopped = False
        self._started = False
        self._threads = [
            threading.Thread(target=self._run, name=f"inkproof-{name}-{number}", daemon=True)
            for number in range(threads)
        ]

    def submit(self, job: T) -> asyncio.Future[R]:
        """Put a job in the queue; to be called on the event loop.

        After :meth:`stop` it is cancelled at once.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()
        with self._ready:
            if self._stopped:
                future.cancel()
                return future
            if not self._started:
                self._started = True
                atexit.register(self.stop)  # or a thread would still hold a model at the very end
                for thread in self._threads:
                    thread.start()
            self._queue.append((job, future, loop))
            self._ready.notify()
        return future

    def stop(self) -> None:
        """Take no more jobs from the queue; jobs that have begun are waited for, but not long."""
        atexit.unregister(self.stop)
        with self._ready:
            self._stopped = True
            for _, future, loop in self._queue:
                with contextlib.suppress(RuntimeError):  # the loop has ended
                    loop.call_soon_threadsafe(future.cancel)
            self._queue.clear()
            self._ready.notify_all()
        end = time.monotonic() + _STOP_SECONDS
        for thread in self._threads if self._started else ():
            thread.join(max(0.0, end - time.monotonic()))

    def _run(self) -> None:
        while True:
            with self._ready:
                while not (self._queue or self._stopped):
                    self._ready.wait()
                if self._stopped:
                    return
                count = min(self._most, len(self._queue))
                taken = [self._queue.popleft() for _ in range(count)]
            taken = [one for one in taken if not one[1].cancelled()]
            if not taken:
                continue
            try:
                results = self._work([job for job, _, _ in taken])
            except Exception as error:
                results = [error] * len(taken)
            futures = [future for _, future, _ in taken]
            with contextlib.suppress(RuntimeError):  # the loop has ended
                taken[0][2].call_soon_threadsafe(_settle, futures, results)
            del taken, results, futures  # or the last pictures would stay until the next ones come


def _settle(futures: Sequence[asyncio.Future[R]], results: Sequence[R | BaseException]) -> None:
    for future, result in zip(futures, results, strict=True):
        if future.done():  # given up meanwhile
            continue
        if isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(result)


class InlineLane(Generic[T, R]):
    """The event loop itself, for work that takes next to no time: no thread waits for another.

    Jobs that came while the last batch was worked on are the next one.

    Parameters
    ----------
    work : as for :class:`Lane`
    most : jobs taken at once; the event loop looks after all else between two batches
    """

    def __init__(
        self, work: Callable[[Sequence[T]], Sequence[R | BaseException]], *, most: int
    ) -> None:
        self._work = work
        self._most = most
        self._waiting: deque[tuple[T, asyncio.Future[R]]] = deque()

    def submit(self, job: T) -> asyncio.Future[R]:
        """Put a job in the queue; to be called on the event loop."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()
        self._waiting.append((job, future))
        if len(self._waiting) == 1:
            # Not at once: requests that are being taken in now shall come along.
            loop.call_soon(loop.call_soon, self._flush, loop)
        return future

    def _flush(self, loop: asyncio.AbstractEventLoop) -> None:
        count = min(self._most, len(self._waiting))
        taken = [self._waiting.popleft() for _ in range(count)]
        if self._waiting:
            loop.call_soon(loop.call_soon, self._flush, loop)
        taken = [one for one in taken if not one[1].cancelled()]
        try:
            results = self._work([job for job, _ in taken])
        except Exception as error:
            results = [error] * len(taken)
        _settle([future for _, future in taken], results)
