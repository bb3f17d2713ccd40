"""Spawn parameters: what is taken, what is kept, and what is refused."""

import ast
import enum
import inspect
import os
import signal
import subprocess
from collections import UserString
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

import msgspec
import pytest

from treeguard import ChildKind, SpawnParams, params
from treeguard._core.options import SpawnOptions
from treeguard.params import FIELDS


class OwnKind(str, enum.Enum):
    GPU = "gpu"


class Shouted(str):
    """A string that prints otherwise."""

    __slots__ = ()

    def __str__(self) -> str:
        return self.upper()


def made(**fields: Any) -> SpawnParams:
    """Parameters of any types, as a caller without a type checker may give them."""
    return SpawnParams(**fields)


@pytest.mark.parametrize("name", ["program", "cwd"])
@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("/bin/ls", "/bin/ls"),
        (Path("/bin/ls"), "/bin/ls"),
        (PurePosixPath("a/b"), "a/b"),
        (b"/bin/\xff", "/bin/\udcff"),
        (Shouted("ls"), "ls"),
        (None, None),
    ],
)
def test_paths_become_strings(name: str, given: object, kept: str | None) -> None:
    """Paths, bytes and strings of other types are kept as plain strings."""
    value = getattr(made(**{name: given}), name)
    assert value == kept
    assert type(value) is type(kept)


def test_args_become_a_tuple_of_strings() -> None:
    """Any sequence of strings, bytes and paths serves as arguments."""
    expected = ("-l", "/tmp", "\udcff", "gpu")
    given = ["-l", Path("/tmp"), b"\xff", OwnKind.GPU]
    for args in (given, tuple(given), iter(given), dict.fromkeys(given)):
        params = made(program="ls", args=args)
        assert params.args == expected
        assert {type(arg) for arg in params.args} == {str}


def test_env_becomes_a_dict_of_strings() -> None:
    """Any mapping of strings, bytes and paths serves as environment."""
    params = made(env=MappingProxyType({b"A": Path("/tmp"), "B": b"\xff"}))
    assert params.env == {"A": "/tmp", "B": "\udcff"}
    assert made(env=os.environ).env == dict(os.environ)


@pytest.mark.parametrize(("kind", "kept"), [("x", "x"), (ChildKind.IO, "io"), (OwnKind.GPU, "gpu")])
def test_kinds_become_strings(kind: str, kept: str) -> None:
    """A member of an enumeration of strings is its value."""
    params = SpawnParams("ls", kind=kind)
    assert params.kind == kept
    assert type(params.kind) is str


def test_numbers_become_tuples() -> None:
    """Descriptors and signals may come in any collection."""
    params = made(pass_fds=[3, 4], ignore_signals=[signal.SIGHUP])
    assert params.pass_fds == (3, 4)
    assert params.ignore_signals == (1,)


def test_defaults() -> None:
    """Nothing said: no input, the parent's output, the whole environment."""
    assert SpawnParams() == SpawnParams(
        program=None,
        args=(),
        kind="external",
        env={},
        clear_env=False,
        cwd=None,
        stdin="null",
        stdout="inherit",
        stderr="inherit",
        pass_fds=(),
        capabilities=None,
        parent=None,
        ignore_signals=(),
        terminal=None,
        argv0=None,
        user=None,
        group=None,
        extra_groups=None,
        umask=None,
        restore_signals=True,
        nice=0,
        rlimits=None,
        oom_score_adj=None,
        cpu_affinity=None,
        creationflags=0,
        show_window=None,
    )


def test_the_callers_later_changes_are_not_seen() -> None:
    """What the caller does to its own lists and mappings later changes no parameters."""
    args, env, fds = ["a"], {"A": "1"}, [5]
    params = made(args=args, env=env, pass_fds=fds)
    args.append("b")
    env["A"] = "2"
    env["B"] = "3"
    fds.append(6)
    assert params == made(args=("a",), env={"A": "1"}, pass_fds=(5,))
    assert SpawnParams().env is not SpawnParams().env


BAD: list[tuple[str, object]] = [
    ("program", 5),
    ("program", ["ls"]),
    ("program", UserString("ls")),
    ("cwd", 5),
    ("args", "ls -l"),
    ("args", b"-l"),
    ("args", None),
    ("args", 5),
    ("args[1]", ["a", 5]),
    ("args[0]", [None]),
    ("kind", 5),
    ("kind", None),
    ("env", None),
    ("env", [("A", "1")]),
    ("env", {1: "1"}),
    ("env['A']", {"A": 1}),
    ("env['A']", {"A": None}),
    ("pass_fds", None),
    ("pass_fds", 3),
    ("pass_fds", ["3"]),
    ("pass_fds", [True]),
    ("ignore_signals", "SIGHUP"),
    ("ignore_signals", ["SIGHUP"]),
    ("terminal", "/dev/tty"),
    ("terminal", True),
    ("new_session", 1),
    ("new_session", "yes"),
    ("argv0", 5),
    ("user", 1.0),
    ("user", True),
    ("user", b"root"),
    ("group", ()),
    ("extra_groups", "staff"),
    ("extra_groups", 5),
    ("extra_groups[1]", [5, None]),
    ("umask", "022"),
    ("umask", False),
    ("restore_signals", None),
    ("restore_signals", 1),
    ("nice", None),
    ("nice", 1.5),
    ("rlimits", [(7, (1, 2))]),
    ("rlimits[7]", {7: "64"}),
    ("rlimits[7]", {7: (1.0, 2)}),
    ("oom_score_adj", "500"),
    ("cpu_affinity", 3),
    ("cpu_affinity[0]", ["0"]),
    ("creationflags", None),
    ("creationflags", "IDLE"),
    ("show_window", "hidden"),
]

#: What no system can give.
BEYOND: list[tuple[str, object, str]] = [
    ("user", -1, "user must be a name, or a number from 0 to 4294967294"),
    ("user", 2**32 - 1, "user must be a name, or a number from 0 to 4294967294"),
    ("group", 2**40, "group must be a name, or a number from 0 to 4294967294"),
    ("extra_groups", [0, -1], "extra_groups[1] must be a name, or a number from 0 to 4294967294"),
    ("extra_groups", range(1025), "extra_groups must be at most 1024 groups, not 1025"),
    ("umask", -2, "umask must be a mask of permissions, from 0 to 0o777"),
    ("umask", 0o1000, "umask must be a mask of permissions, from 0 to 0o777"),
    ("nice", 40, "nice must be a whole number from -39 to 39"),
    ("oom_score_adj", 1001, "oom_score_adj must be a whole number from -1000 to 1000"),
    ("cpu_affinity", [], "cpu_affinity must not be empty"),
    ("cpu_affinity", [1024], "cpu_affinity[0] must be a whole number from 0 to 1023"),
    ("rlimits", {16: 1}, "rlimits: the resource must be a whole number from 0 to 15"),
    ("rlimits", {7: (1,)}, "rlimits[7] must be a soft and a hard limit"),
    ("rlimits", {7: (2, 1)}, "rlimits[7] must be a soft limit and a hard limit that is not below it, not (2, 1)"),
    ("rlimits", {7: (-1, 1)}, "rlimits[7] must be a soft limit and a hard limit that is not below it, not (-1, 1)"),
    ("rlimits", {7: -2}, "rlimits[7] must be a whole number from -1 to"),
    # CREATE_BREAKAWAY_FROM_JOB, CREATE_SUSPENDED, DEBUG_PROCESS.
    ("creationflags", 0x01000000, "creationflags must be of those for a priority"),
    ("creationflags", 0x14, "creationflags must be of those for a priority, a console or the error mode, not 0x4"),
    ("creationflags", 1, "creationflags must be of those for a priority"),
    ("creationflags", -1, "creationflags must be a whole number from 0 to"),
    ("show_window", 1 << 16, "show_window must be a whole number from 0 to 65535"),
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_bad_input_is_refused(name: str, value: object) -> None:
    """A value of a type that cannot be meant raises TypeError, whose message names the argument first."""
    field = name.partition("[")[0]
    with pytest.raises(TypeError) as caught:
        made(**{field: value})
    assert str(caught.value).startswith(f"{name} must ")


@pytest.mark.parametrize(("name", "value", "words"), BEYOND)
def test_what_is_out_of_range_is_refused(name: str, value: object, words: str) -> None:
    """A number that cannot be meant raises ValueError, whose message names the argument first."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - its words are compared below
        made(**{name: value})
    assert str(caught.value).startswith(words)


def test_attributes_are_kept_plain() -> None:
    """Of any collections, and the same however they were given."""
    given = made(
        argv0=Path("a"),
        user=Shouted("nobody"),
        group=4,
        extra_groups=iter(["a", 5]),
        rlimits=MappingProxyType({7: [1, -1], 4: 0}),
        cpu_affinity={3, 1},
    )
    assert (given.argv0, given.user, given.extra_groups) == ("a", "nobody", ("a", 5))
    assert type(given.user) is str
    assert (given.rlimits, given.cpu_affinity) == ({7: (1, -1), 4: (0, 0)}, (1, 3))
    assert given == msgspec.json.decode(msgspec.json.encode(given), type=SpawnParams)
    assert hash(given) == hash(made(**{name: getattr(given, name) for name in SpawnParams.__struct_fields__}))


def test_bad_messages_are_refused() -> None:
    """What arrives as JSON is checked as well."""
    for text in (b'{"program": 5}', b'{"args": ["a", null]}', b'{"stdin": "nowhere"}', b'{"env": {"A": 1}}'):
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(text, type=SpawnParams)


def test_what_type_checkers_see_has_all_fields() -> None:
    """The signature and the keywords of a spawn, which are written down for them alone."""
    tree = ast.parse(Path(params.__file__).read_text(encoding="utf-8"))
    fields = [*SpawnParams.__struct_fields__]
    (init,) = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "__init__")
    assert [each.arg for each in init.args.args] == ["self", *fields]
    assert {*fields} - {"program", "args"} == FIELDS
    named = {*SpawnOptions.__annotations__}
    assert named >= FIELDS
    theirs = {*inspect.signature(subprocess.Popen).parameters, "process_group"}  # since Python 3.11
    assert named - FIELDS <= theirs
