"""The shims, and how a test starts one."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .shims import write_shims

#: Starts a shim: the name of the program, its arguments, and options of Popen.
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="session")
def shims(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory with a program for each of the others."""
    directory = tmp_path_factory.mktemp("shims")
    write_shims(directory)
    return directory


@pytest.fixture
def start(shims: Path) -> Iterator[Start]:
    """Starts a shim in a session of its own, and kills it after the test."""
    with contextlib.ExitStack() as stack:

        def start(name: str, *arguments: str, before: tuple[str, ...] = (), **options: Any) -> subprocess.Popen[str]:
            streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
            command = [*before, str(shims / name), *arguments]
            process = subprocess.Popen(command, text=True, start_new_session=True, **streams)
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield start
