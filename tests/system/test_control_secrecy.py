"""Tokens are nowhere that others can look: not in command lines, environments, logs, representations, errors."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import os
import shutil
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from treeguard import CapabilityBundle, CapabilityDenied, ControlServer, LocalProcessManager, SpawnParams
from treeguard._wire.protocol import Hello, Welcome
from treeguard.capability import CapabilityToken, InMemoryTokenValidator
from treeguard.control import Call
from treeguard.errors import InvalidArgument

from ..support.patience import PATIENCE, until

EXAMPLES = Path(__file__).parents[2] / "examples"


def example() -> ModuleType:
    """The worked example, as a module of its own for each test: its tokens are good once."""
    spec = importlib.util.spec_from_file_location("three_children", EXAMPLES / "three_children.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Eavesdropper:
    """Reads all command lines and environments, again and again, and remembers where it has seen a secret."""

    def __init__(self, secrets: list[str]) -> None:
        self._secrets = [secret.encode() for secret in secrets]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._listen)
        self.found: set[str] = set()
        self.rounds = 0
        self.seen: set[str] = set()

    def __enter__(self) -> Eavesdropper:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def listen(self) -> None:
        """Reads them all once."""
        for pid in filter(str.isdecimal, os.listdir("/proc")):  # noqa: PTH208 - numbers are wanted, not paths
            for file in ("cmdline", "environ"):
                self._look(f"/proc/{pid}/{file}")
        self.rounds += 1

    def _listen(self) -> None:
        while not self._over.is_set():
            self.listen()

    def _look(self, path: str) -> None:
        try:
            text = Path(path).read_bytes()
        except OSError:
            return
        if b"worker." in text:
            self.seen.add(path)
        if any(secret in text for secret in self._secrets):
            self.found.add(path)


@contextlib.contextmanager
def everything_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """With all that anybody logs, asyncio in its debug mode included."""
    with caplog.at_level(logging.DEBUG):
        yield


@pytest.mark.skipif(shutil.which("node") is None, reason="one of the children is in Node, which is not installed here")
async def test_a_running_example_shows_no_token(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it runs, nobody can read a token in /proc; afterwards none is in logs, output, or representations."""
    module = example()
    secrets = [worker.capabilities.token.text for worker in module.WORKERS]
    assert len(set(secrets)) == 3
    line = module.Application.line
    asyncio.get_running_loop().set_debug(True)
    with everything_logged(caplog), Eavesdropper(secrets) as eavesdropper:

        async def overheard(application: object, call: Call) -> None:
            # Children may live for milliseconds: each is looked at while it is known to live.
            await asyncio.to_thread(eavesdropper.listen)
            await line(application, call)

        monkeypatch.setattr(module.Application, "line", overheard)
        application = module.Application()
        await application.run(module.WORKERS)
    assert eavesdropper.rounds > 3
    assert len(eavesdropper.seen) >= 3  # It did look at the children.
    assert not eavesdropper.found
    shown = [caplog.text, *capfd.readouterr()]
    shown += [repr(record.__dict__) for record in caplog.records]
    shown += [repr(vars(thing)) for thing in (application, application.server, application.manager)]
    shown += [repr(module.WORKERS), str(module.WORKERS)]
    assert not [text for text in shown for secret in secrets if secret in text]


@pytest.mark.parametrize("place", ["args", "env"])
async def test_an_eavesdropper_would_find_it(place: str) -> None:
    """A token that is given in one of the wrong ways is seen, so that not seeing one means something."""
    secret = CapabilityToken.generate().text
    # It stays, to be looked at, until the manager is left.
    stays = (sys.executable, ("-c", "import time; time.sleep(1000)", secret if place == "args" else ""))
    with Eavesdropper([secret]) as eavesdropper:
        async with LocalProcessManager() as manager:
            env = {"TOKEN": secret} if place == "env" else {}
            await manager.spawn_child(SpawnParams(*stays, env=env))
            await until(lambda: eavesdropper.found, "the token is found")
    assert {Path(path).name for path in eavesdropper.found} == {"cmdline" if place == "args" else "environ"}


async def test_errors_show_no_token() -> None:
    """Neither the refusal of a token that is registered twice, nor that of a wrong one; local variables included."""
    bundle = CapabilityBundle(CapabilityToken.generate())
    secret = bundle.token.text
    tokens = InMemoryTokenValidator()
    async with LocalProcessManager(control=ControlServer(tokens=tokens)) as manager:
        child = await manager.spawn_child(SpawnParams("sleep", ("1000",), control=True, capabilities=bundle))
        with pytest.raises(InvalidArgument, match="capabilities") as twice:
            await manager.spawn_child(SpawnParams("sleep", ("1000",), control=True, capabilities=bundle))
        tokens.revoke(child.pid)
        with pytest.raises(CapabilityDenied) as wrong:
            tokens.validate(bundle.token, child.pid)
    for error in (twice.value, wrong.value):
        told = traceback.TracebackException.from_exception(error, capture_locals=True)
        # This test's own frame is the first one, and has the secret in its hands.
        del told.stack[0]
        assert secret not in "".join(told.format())
        assert secret not in repr(error)


def test_messages_show_no_token() -> None:
    """What is sent is not shown."""
    secret = CapabilityToken.generate().text
    for message in (Hello(secret), Welcome(secret)):
        assert secret not in repr(message)
        assert secret not in str(message)


async def test_what_a_child_starts_has_neither_token_nor_connection() -> None:
    """The library takes the variable out of the environment, and the descriptor is closed on exec."""
    read, write = os.pipe()
    script = (
        "import os, subprocess, sys\n"
        "from treeguard.child import connect\n"
        "with connect() as control:\n"
        f"    subprocess.run(['sh', '-c', 'env; ls -l /proc/self/fd'], stdout={write}, check=True)\n"
    )
    try:
        async with LocalProcessManager() as manager:
            child = await manager.spawn_child(
                SpawnParams(sys.executable, ("-c", script), control=True, pass_fds=(write,))
            )
            assert await manager.wait_for_exit(child.pid, PATIENCE)
        os.set_blocking(read, False)
        told = os.read(read, 100_000).decode()
    finally:
        os.close(read)
        os.close(write)
    assert "PATH=" in told
    assert "TREEGUARD_CONTROL" not in told
    assert "socket:" not in told
