"""Supervisors that release trees, and such that take them over, in processes of their own.

    python -m tests.support.releaser CONFIG

What was done is told in a line of JSON; after the next line of input comes the end.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from treeguard import LocalProcessManager
from treeguard.released import ReleasedTree

from .adversary import Adversary

__all__ = ["Supervisor"]

_ROOT = Path(__file__).parent.parent.parent


class Supervisor:
    """A process with one tree: it starts an adversary and perhaps releases it, or takes one over."""

    def __init__(
        self,
        containment: str,
        *,
        adversary: Adversary | None = None,
        token: ReleasedTree | None = None,
        release: bool = False,
        end: str = "SIGKILL",
    ) -> None:
        """``end`` is SIGKILL, "exit" (without closing the manager), or "close"."""
        self._adversary = adversary
        config = {
            "containment": containment,
            "argv": [] if adversary is None else adversary.argv,
            "fd": -1 if adversary is None else adversary.report_fd,
            "token": None if token is None else str(token),
            "release": release,
            "end": end,
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.releaser", json.dumps(config)],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=[] if adversary is None else [adversary.report_fd],
        )

    def __enter__(self) -> Supervisor:
        assert self._process.stdout is not None
        told = self._process.stdout.readline()
        if not told:
            self.__exit__(None, None, None)
            raise AssertionError("the supervisor has failed; it says why on standard error")
        self.told: dict[str, Any] = json.loads(told)
        if self._adversary is not None:
            self._adversary.wait_ready()
        return self

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def token(self) -> ReleasedTree:
        """Of the tree that it has released."""
        return ReleasedTree.parse(self.told["token"])

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Lets it come to its end, and waits for that."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(file=self._process.stdin, flush=True)
        # The end of its output would be that of the tree, which has inherited it.
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()


async def _main(config: dict[str, Any]) -> None:
    manager = LocalProcessManager(containment=config["containment"])
    if config["token"] is not None:
        tree = await manager.take_over(ReleasedTree.parse(config["token"]))
    else:
        tree = await manager.spawn(*config["argv"], pass_fds=(config["fd"],))
        os.close(config["fd"])
    told: dict[str, Any] = {"root": tree.pid}
    if config["release"]:
        # Not before the adversary has said so: it would be released in the middle of its forks.
        told["token"] = str(await tree.release())
    print(json.dumps(told), flush=True)
    sys.stdin.readline()
    if config["end"] == "SIGKILL":
        os.kill(os.getpid(), signal.SIGKILL)
    elif config["end"] == "exit":
        os._exit(0)
    await manager.close()


if __name__ == "__main__":
    asyncio.run(_main(json.loads(sys.argv[1])))
