"""The outcome of a command: results and errors that are also the standard library's, and the output that is kept."""

from __future__ import annotations

import io
import pickle
import subprocess
from pathlib import Path
from typing import Any

import pytest

import treeguard
from treeguard import (
    DEVNULL,
    PIPE,
    STDOUT,
    CalledProcessError,
    CompletedTree,
    Left,
    RootExit,
    SpawnParams,
    TimeoutExpired,
    TreeguardError,
)
from treeguard._core.outcome import Capture, Keep, check_capture, check_on_root_exit, text_mode


def test_the_numbers_are_the_standard_librarys() -> None:
    """A program may mix its own constants with these."""
    assert (PIPE, STDOUT, DEVNULL) == (subprocess.PIPE, subprocess.STDOUT, subprocess.DEVNULL)


def test_streams_are_kept_as_words_and_descriptors(tmp_path: Path) -> None:
    """The standard library's numbers become words, and files their descriptors, so that parameters travel."""
    with (tmp_path / "file").open("wb") as file:
        params = SpawnParams("true", stdin=PIPE, stdout=file, stderr=STDOUT)
        assert (params.stdin, params.stdout, params.stderr) == ("pipe", file.fileno(), "stdout")
        assert SpawnParams("true", stdin=DEVNULL, stdout="pipe", stderr=2).stdin == "null"
    with pytest.raises(io.UnsupportedOperation):
        SpawnParams("true", stdout=io.BytesIO())


def test_a_result_is_the_standard_librarys_and_more() -> None:
    """Also with the exit as two fields, and with what was left."""
    left = (Left(7, "sleep", True),)
    done: CompletedTree[bytes] = CompletedTree("cmd", -9, b"out", left=left)
    assert isinstance(done, subprocess.CompletedProcess)
    assert (done.args, done.returncode, done.stdout) == ("cmd", -9, b"out")
    assert done.stderr is None
    assert (done.exit, done.left, done.dropped) == (RootExit(None, 9), left, (0, 0))
    assert repr(done).startswith("CompletedTree(args='cmd', returncode=-9, stdout=b'out', left=(Left(pid=7")
    assert repr(CompletedTree("cmd", 0)) == "CompletedTree(args='cmd', returncode=0)"


def test_a_failed_check_is_the_standard_librarys_error_and_ours() -> None:
    """It carries everything of the result."""
    CompletedTree("cmd", 0).check_returncode()
    with pytest.raises(CalledProcessError, match="returned non-zero exit status 3") as raised:
        CompletedTree("cmd", 3, b"out", b"err", left=(Left(7, "sleep"),), dropped=(1, 2)).check_returncode()
    error = raised.value
    assert isinstance(error, subprocess.CalledProcessError)
    assert isinstance(error, TreeguardError)
    assert (error.returncode, error.cmd, error.stdout, error.stderr) == (3, "cmd", b"out", b"err")
    assert (error.exit, error.left, error.dropped) == (RootExit(3), (Left(7, "sleep"),), (1, 2))


def test_a_timeout_says_what_for() -> None:
    """The whole time, or the time of silence."""
    late, silent = TimeoutExpired("cmd", 2, b"out"), TimeoutExpired("cmd", 2, idle=True)
    assert isinstance(late, subprocess.TimeoutExpired)
    assert isinstance(late, TreeguardError)
    assert (late.output, late.stdout, late.exit, late.left) == (b"out", b"out", None, ())
    assert str(late) == "Command 'cmd' timed out after 2 seconds"
    assert str(silent) == "Command 'cmd' wrote nothing for 2 seconds"


def test_errors_travel() -> None:
    """A pool's worker may raise them."""
    for error in (
        TimeoutExpired("cmd", 2, b"out", b"err", idle=True, exit=RootExit(3), dropped=(0, 2)),
        CalledProcessError(3, ["cmd"], "out", "err", left=(Left(7, "sleep", True),), dropped=(1, 0)),
    ):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), vars(again), str(again)) == (type(error), vars(error), str(error))


@pytest.mark.parametrize("keep", ["head", "tail"])
@pytest.mark.parametrize("limit", [None, 0, 1, 10, 100_000])
@pytest.mark.parametrize("chunk", [1, 7, 30_000])
def test_an_output_is_kept_up_to_its_limit(keep: Keep, limit: int | None, chunk: int) -> None:
    """Its first bytes or its last ones, however it arrives; the others are counted."""
    data = bytes(i % 251 for i in range(50 * chunk))
    capture = Capture(limit, keep)
    for start in range(0, len(data), chunk):
        capture.add(data[start : start + chunk])
    length = len(data) if limit is None else min(limit, len(data))
    assert capture.value == (data[:length] if keep == "head" else data[len(data) - length :])
    assert capture.dropped == len(data) - length


def test_text_is_what_subprocess_makes_of_it() -> None:
    """Text uses the locale's encoding by default and translates ends of lines. A cut character raises no error."""
    assert text_mode() is None
    mode = text_mode(text=True)
    assert mode is not None
    assert mode.decode(b"a\r\nb\rc\n") == "a\nb\nc\n"
    strict = text_mode(encoding="utf-8")
    assert strict is not None
    with pytest.raises(UnicodeDecodeError):
        strict.decode("ä".encode()[:1])
    assert strict.decode("ä".encode()[:1], cut=True) == "\N{REPLACEMENT CHARACTER}"
    ignoring = text_mode(encoding="ascii", errors="ignore")
    assert ignoring is not None
    assert ignoring.decode("aä".encode()) == "a"
    assert ignoring.encode("aä") == b"a"
    with pytest.raises(LookupError):
        text_mode(encoding="no such encoding")


@pytest.mark.parametrize(
    ("check", "arguments", "error", "words"),
    [
        (check_capture, (True, "head"), TypeError, "max_output"),
        (check_capture, (1.5, "head"), TypeError, "max_output"),
        (check_capture, (-1, "head"), ValueError, "max_output"),
        (check_capture, (1, "middle"), ValueError, "keep must be 'head' or 'tail'"),
        (check_on_root_exit, ("stay",), ValueError, "on_root_exit must be 'kill', 'terminate' or 'wait'"),
    ],
)
def test_wrong_arguments_are_named(
    check: Any, arguments: tuple[object, ...], error: type[Exception], words: str
) -> None:
    """Before anything is started."""
    with pytest.raises(error, match=words):
        check(*arguments)


def test_the_package_shows_them() -> None:
    """What one catches stands at the top."""
    assert {"TimeoutExpired", "CalledProcessError", "CompletedTree", "Left"} <= set(dir(treeguard))
