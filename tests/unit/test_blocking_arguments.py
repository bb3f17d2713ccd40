"""What the arguments of the standard library's ``Popen`` become."""

import signal
import sys
from collections.abc import Iterator
from typing import Any

import pytest

if sys.platform == "win32":
    pytest.skip("the arguments are those of POSIX", allow_module_level=True)

from treeguard import SpawnParams
from treeguard._blocking.arguments import Options, params_of

#: As ``Popen`` has them where nothing is given.
PLAIN: dict[str, Any] = {
    "executable": None,
    "preexec_fn": None,
    "close_fds": True,
    "pass_fds": (),
    "cwd": None,
    "env": None,
    "startupinfo": None,
    "creationflags": 0,
    "shell": False,
    **dict.fromkeys(("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite"), -1),
    "restore_signals": True,
    **dict.fromkeys(("gid", "gids", "uid")),
    "umask": -1,
    "start_new_session": False,
}


def options(*args: str, **given: Any) -> Options:
    return Options(list(args), **{**PLAIN, **given})


def parameters(given: Options) -> SpawnParams:
    return params_of(given, {})


def test_a_command_that_is_run_again_has_the_same_parameters() -> None:
    """They are told apart by value: another list with the same words is the same command."""
    assert parameters(options("prog", "a")) is parameters(options("prog", "a"))
    assert parameters(options("prog", "a")).args == ("a",)
    assert parameters(options("prog", "b")).args == ("b",)


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        ({"c2pwrite": 1}, "stdout", 1),
        ({"p2cread": 0}, "stdin", 0),
        ({"errwrite": 2}, "stderr", 2),
        ({"cwd": "/"}, "cwd", "/"),
        ({"env": {"A": "1"}}, "env", {"A": "1"}),
        ({"pass_fds": (0,)}, "pass_fds", (0,)),
        ({"executable": "other"}, "program", "other"),
        ({"shell": True}, "args", ("-c", "prog")),
        ({"start_new_session": True}, "new_session", True),
    ],
)
def test_what_is_given_is_not_forgotten(given: dict[str, Any], field: str, value: object) -> None:
    """The parameters of a plain command are not those of one that is given something."""
    plain = parameters(options("prog"))
    assert getattr(plain, field) != value
    for _ in range(2):
        assert getattr(parameters(options("prog", **given)), field) == value
    assert parameters(options("prog")) is plain


@pytest.fixture
def restored() -> Iterator[None]:
    before = signal.getsignal(signal.SIGUSR1)
    yield
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.usefixtures("restored")
def test_a_signal_that_is_ignored_later_is_ignored_by_the_next_child() -> None:
    """What this process ignores is asked at each start."""
    assert parameters(options("prog")).ignore_signals.count(signal.SIGUSR1) == 0
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    assert parameters(options("prog")).ignore_signals.count(signal.SIGUSR1) == 1
