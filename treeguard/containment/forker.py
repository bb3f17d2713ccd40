"""A thread that starts processes, because they must not outlive the thread that started them."""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from collections.abc import Callable

__all__ = ["Forker"]


class Forker:
    """Runs calls where a child's parent-death signal is safe.

    That signal is sent when the *thread* ends that forked (prctl(2), PR_SET_PDEATHSIG). The main thread ends with the
    process; from any other, the call is handed to a thread that lives until :meth:`close`.
    """

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    @staticmethod
    def needed() -> bool:
        """Whether this is not the main thread, so that :meth:`run` must be used."""
        return threading.get_native_id() != os.getpid()

    async def run(self, call: Callable[[], None]) -> None:
        """Runs ``call``, raises what it raises. Not to be cancelled: the call is made in any case."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="treeguard-forker", daemon=True)
            self._thread.start()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def serve() -> None:
            try:
                call()
            except Exception as e:
                loop.call_soon_threadsafe(done.set_exception, e)
            else:
                loop.call_soon_threadsafe(done.set_result, None)

        self._calls.put(serve)
        await done

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            call()

    def close(self) -> None:
        """Ends the thread, after the calls that wait."""
        if self._thread is not None:
            self._calls.put(None)
            self._thread = None
