"""Compiling parameters: what the C core is given, and what is refused before anything is started."""

import errno
import grp
import os
import pwd
import resource
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from treeguard import ProgramNotFound, SpawnError, SpawnParams
from treeguard._core import native
from treeguard._core.native import Spec
from treeguard._core.spec import Additions, Placement
from treeguard._core.spec.compiler import SpecCompiler
from treeguard.errors import (
    EmptyProgram,
    InvalidArgument,
    ProgramNotExecutable,
    UnknownUser,
    WorkingDirectoryDenied,
    WorkingDirectoryInvalid,
    WorkingDirectoryNotFound,
)


def compiled(program: Any = "/prog", **fields: Any) -> Spec:
    return SpecCompiler({}).compile(SpawnParams(program, **fields))


@pytest.fixture
def descriptor() -> Iterator[int]:
    """A descriptor that is open."""
    fd = os.open("/", os.O_RDONLY)
    yield fd
    os.close(fd)


def test_the_least() -> None:
    """A path alone: no input, the parent's output, nothing else."""
    assert compiled() == Spec(
        program=b"/prog",
        args=b"/prog\0",
        nargs=1,
        env=b"",
        nenv=0,
        cwd=None,
        stdio=(-1, native.INHERIT, native.INHERIT),
        pass_fds=(),
        ignore=0,
        terminal=-1,
    )


def test_everything(tmp_path: Path, descriptor: int) -> None:
    """All parameters at once, each in its place."""
    spec = compiled(
        "/prog",
        args=["-a", ""],
        env={"A": "1"},
        cwd=tmp_path,
        stdin=descriptor,
        stdout="null",
        stderr="inherit",
        pass_fds=[descriptor, 2, descriptor, 0],
        ignore_signals=[signal.SIGHUP],
        terminal=descriptor,
    )
    assert spec == Spec(
        program=b"/prog",
        args=b"/prog\0-a\0\0",
        nargs=3,
        env=b"A=1\0",
        nenv=1,
        cwd=os.fsencode(tmp_path),
        stdio=(descriptor, -1, native.INHERIT),
        pass_fds=(descriptor,),
        ignore=1 << (signal.SIGHUP - 1),
        terminal=descriptor,
    )


def test_the_spec_has_the_fields_of_the_cores() -> None:
    """A field of the C core that is forgotten here would be zero in every spawn."""
    core = {name for struct in ("tg_spec", "tg_options") for name, _ in native._ffi.typeof(f"struct {struct}").fields}
    from_elsewhere = {"alone", "args_size", "env_size", "nfds", "options", "leaf", "lease", "lease_ms"}
    # The mark is put at the end of `env`.
    assert {name.removeprefix("pass_") for name in Spec.__struct_fields__} - {"mark"} == core - from_elsewhere


def attributes(**fields: Any) -> Any:
    """``struct tg_attributes`` of a spec, for reading."""
    packed = compiled(**fields).attributes
    assert packed is not None
    return native._ffi.from_buffer("struct tg_attributes *", packed)


def test_attributes() -> None:
    """Each in its place, with its bit; what is not given has none."""
    assert compiled(nice=0, rlimits={}, user=None, restore_signals=False).attributes is None
    limits = {resource.RLIMIT_NOFILE: (1, -1), resource.RLIMIT_CORE: 0}
    a = attributes(umask=0o27, nice=-3, oom_score_adj=-7, cpu_affinity=[65, 3, 3], rlimits=limits)
    assert (a.umask, a.nice, a.oom_score_adj) == (0o27, -3, -7)
    assert list(a.cpu_affinity)[:3] == [1 << 3, 1 << 1, 0]
    assert a.which_rlimits == 1 << resource.RLIMIT_NOFILE | 1 << resource.RLIMIT_CORE
    assert (a.rlimits[resource.RLIMIT_NOFILE].soft, a.rlimits[resource.RLIMIT_NOFILE].hard) == (1, (1 << 64) - 1)
    assert (a.rlimits[resource.RLIMIT_CORE].soft, a.rlimits[resource.RLIMIT_CORE].hard) == (0, 0)
    lib = native._lib
    assert a.given == (
        lib.TG_GIVEN_UMASK
        | lib.TG_GIVEN_NICE
        | lib.TG_GIVEN_OOM_SCORE_ADJ
        | lib.TG_GIVEN_CPU_AFFINITY
        | lib.TG_GIVEN_RLIMITS
    )
    a = attributes(user=0, group=0, extra_groups=[])
    assert (a.given, a.ngroups) == (lib.TG_GIVEN_USER | lib.TG_GIVEN_GROUP | lib.TG_GIVEN_GROUPS, 0)


def test_names_of_users_and_groups_are_looked_up() -> None:
    """The numbers of pwd and grp; a name that they do not know is a KeyError as theirs, which names the argument."""
    user, group = pwd.getpwall()[0], grp.getgrall()[-1]
    a = attributes(user=user.pw_name, group=group.gr_name, extra_groups=[group.gr_name, 70_000])
    assert (a.user, a.group, list(a.groups[0:2])) == (user.pw_uid, group.gr_gid, [group.gr_gid, 70_000])
    for name in ("user", "group", "extra_groups"):
        for unknown in ("no-such-name", "a\0b"):
            with pytest.raises(
                UnknownUser, match=f"{name}.* must be the name of a .* of this system, or a number"
            ) as caught:
                compiled(**{name: [unknown] if name == "extra_groups" else unknown})
            assert isinstance(caught.value, KeyError)
            assert caught.value.step == "argument"


def test_a_limit_on_memory_has_one_source() -> None:
    """Limits of the tree and of rlimits that would be the same limit of the kernel are refused."""
    params = SpawnParams("/prog", rlimits={resource.RLIMIT_AS: 1 << 40})
    with pytest.raises(InvalidArgument, match="rlimits holds RLIMIT_AS"):
        SpecCompiler({}).compile(params, Additions(address_space=1 << 40))


def test_the_name_that_a_program_sees() -> None:
    """It is no part of the search."""
    assert compiled("/prog", args=["a"], argv0="-sh").args == b"-sh\0a\0"
    assert compiled("/prog", argv0="").args == b"\0"
    assert compiled("/prog", argv0="-sh").program == b"/prog"


def test_what_python_ignores_can_stay_ignored() -> None:
    """SIGPIPE, by default not."""
    assert compiled().ignore == 0
    mask = compiled(restore_signals=False, ignore_signals=[signal.SIGHUP]).ignore
    assert mask & 1 << (signal.SIGPIPE - 1)
    assert mask & 1 << (signal.SIGHUP - 1)
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert not compiled(restore_signals=False).ignore & 1 << (signal.SIGCHLD - 1)
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_what_is_added_is_compiled_with_the_parameters() -> None:
    """A hook's variable beats the parameters'; the mark comes last, unless the caller gave the environment whole."""
    placement = Placement(guarded=True, cgroup=9, mark=b"TREEGUARD_TREE_0a_", mechanism="subreaper")
    additions = Additions(tag=7, parent=3, placement=placement, address_space=1)
    additions.env, additions.without_env = {"B": "2"}, frozenset({"C"})
    compiler = SpecCompiler({"A": "0", "C": "3"})
    spec = compiler.compile(SpawnParams("/prog", kind="a b", env={"B": "1"}), additions)
    assert (spec.env, spec.nenv, spec.mark) == (b"A=0\0B=2\0", 2, placement.mark)
    assert (spec.guard, spec.cgroup, spec.address_space, spec.isolated) == (os.fsencode(native.GUARD), 9, 1, False)
    assert spec.title == b"mechanism=subreaper isolated=0 manager=0a parent=3 kind=a b"
    spec = compiler.compile(SpawnParams("/prog", env={"B": "1"}, clear_env=True), additions)
    assert (spec.env, spec.nenv, spec.mark) == (b"B=2\0", 1, b"")


@pytest.mark.parametrize("session", [None, True, False])
def test_an_isolated_child_without_terminal_leads_a_session(session: bool | None, descriptor: int) -> None:
    """Unless the caller says otherwise; with a terminal it stays in the terminal's session."""
    additions = Additions(isolated=True)
    spec = SpecCompiler({}).compile(SpawnParams("/prog", new_session=session), additions)
    assert (spec.isolated, spec.new_session) == (True, session is not False)
    params = SpawnParams("/prog", terminal=descriptor, pass_fds=[descriptor])
    assert not SpecCompiler({}).compile(params, additions).new_session


def test_no_program_is_this_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """For every kind but external, Python itself is the program."""
    assert compiled(None, kind="renderer").program == os.fsencode(sys.executable)
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(InvalidArgument, match="program must be given: this interpreter"):
        compiled(None, kind="renderer")


def test_the_processes_environment_is_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Changes of os.environ and os.environb between two spawns are noticed."""
    compiler = SpecCompiler()

    def seen() -> dict[bytes, bytes]:
        block = compiler.compile(SpawnParams("/prog")).env
        return dict(entry.split(b"=", 1) for entry in block.split(b"\0")[:-1])

    assert seen() == dict(os.environb)
    monkeypatch.setenv("TREEGUARD_TEST", "ä")
    assert seen()[b"TREEGUARD_TEST"] == os.fsencode("ä")
    monkeypatch.setitem(os.environb, b"TREEGUARD_TEST", b"\xff")
    assert seen()[b"TREEGUARD_TEST"] == b"\xff"
    monkeypatch.delenv("TREEGUARD_TEST")
    assert seen() == dict(os.environb)


def test_the_encoding_is_kept() -> None:
    """An environment that did not change is not encoded again."""
    compiler = SpecCompiler({"A": "1"})
    params = SpawnParams("/prog")
    assert compiler.compile(params).env is compiler.compile(params).env


def test_what_was_compiled_before_is_looked_at_again(tmp_path: Path) -> None:
    """Parameters that are used again give the same, unless the environment or the place of the program has changed."""
    first, second = tmp_path / "first", tmp_path / "second"
    for place in (first, second):
        place.mkdir()
    (second / "prog").touch(0o755)
    environ = {"PATH": f"{first}:{second}"}
    compiler, params = SpecCompiler(environ), SpawnParams("prog", ("arg",))
    compiler.compile(params)
    kept = compiler.compile(params)
    assert compiler.compile(params) is kept
    assert compiler.compile(params, Additions(tag=2)) is kept
    assert compiler.compile(params, Additions(isolated=True)).isolated
    assert compiler.compile(params, Additions(placement=Placement(cgroup=3))).cgroup == 3
    (first / "prog").touch(0o755)
    assert compiler.compile(params).program == os.fsencode(first / "prog")
    environ["MORE"] = "1"
    assert b"MORE=1\0" in compiler.compile(params).env
    environ["PATH"] = str(second)
    assert compiler.compile(params).program == os.fsencode(second / "prog")
    (second / "prog").unlink()
    with pytest.raises(ProgramNotFound):
        compiler.compile(params)


def test_what_can_change_by_itself_is_compiled_each_time(tmp_path: Path) -> None:
    """A mapping can be changed in place, a directory removed, a descriptor closed."""
    compiler = SpecCompiler({})
    fd = os.open(os.devnull, os.O_RDONLY)
    given = SpawnParams("/prog", env={"A": "1"})
    somewhere = SpawnParams("/prog", cwd=tmp_path / "place")
    reading = SpawnParams("/prog", stdin=fd)
    (tmp_path / "place").mkdir()
    for params in (given, somewhere, reading) * 3:
        compiler.compile(params)
    given.env["A"] = "2"
    assert compiler.compile(given).env == b"A=2\0"
    (tmp_path / "place").rmdir()
    with pytest.raises(WorkingDirectoryNotFound):
        compiler.compile(somewhere)
    os.close(fd)
    with pytest.raises(SpawnError):
        compiler.compile(reading)


def test_without_a_path_the_default_is_searched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where PATH is not set, the system's default is searched; where it is empty, the working directory."""
    (tmp_path / "prog").touch(0o755)
    monkeypatch.setattr(os, "defpath", str(tmp_path))
    assert compiled("prog").program == os.fsencode(tmp_path / "prog")
    with pytest.raises(ProgramNotFound):
        compiled("prog", env={"PATH": ""}, cwd="/")
    assert compiled("prog", env={"PATH": ""}, cwd=tmp_path).program == b"./prog"


def test_the_childs_path_is_searched(tmp_path: Path) -> None:
    """The PATH that the child will have counts, not the one that this process has."""
    (tmp_path / "prog").touch(0o755)
    params = SpawnParams("prog")
    assert SpecCompiler({"PATH": str(tmp_path)}).compile(params).program == os.fsencode(tmp_path / "prog")
    with pytest.raises(ProgramNotFound):
        SpecCompiler({"PATH": str(tmp_path)}).compile(SpawnParams("prog", env={"PATH": "/nowhere"}))


UNENCODABLE = "\ud800"
CLOSED = 1 << 30

#: Parameters; class, step, errno and filename of their error, and how its words begin.
Refused = tuple[dict[str, Any], type[SpawnError], str, int, str | None, str]

REFUSED: list[Refused] = [
    ({"kind": ""}, InvalidArgument, "argument", errno.EINVAL, None, "kind must not be empty"),
    ({"program": None}, InvalidArgument, "argument", errno.EINVAL, None, "program must be given"),
    ({"program": ""}, EmptyProgram, "argument", errno.ENOENT, "", "program must not be empty"),
    ({"program": "/a\0b"}, InvalidArgument, "argument", errno.EINVAL, "/a\0b", "program holds a NUL"),
    ({"program": UNENCODABLE}, InvalidArgument, "argument", errno.EINVAL, UNENCODABLE, "program cannot be encoded"),
    ({"args": ["a", "b\0"]}, InvalidArgument, "argument", errno.EINVAL, "/prog", "args[1] holds a NUL"),
    ({"args": [UNENCODABLE]}, InvalidArgument, "argument", errno.EINVAL, "/prog", "args[0] cannot be encoded"),
    ({"env": {"": "1"}}, InvalidArgument, "argument", errno.EINVAL, "/prog", "env: the name '' is empty"),
    ({"env": {"A=B": "1"}}, InvalidArgument, "argument", errno.EINVAL, "/prog", "env: the name 'A=B' is empty or"),
    ({"env": {"A\0": "1"}}, InvalidArgument, "argument", errno.EINVAL, "/prog", "env: the name 'A\\x00' holds a NUL"),
    ({"env": {"A": "\0"}}, InvalidArgument, "argument", errno.EINVAL, "/prog", "env['A'] holds a NUL"),
    ({"env": {"A": UNENCODABLE}}, InvalidArgument, "argument", errno.EINVAL, "/prog", "env['A'] cannot be encoded"),
    ({"env": {UNENCODABLE: "1"}}, InvalidArgument, "argument", errno.EINVAL, "/prog", "env: the name"),
    (
        {"creationflags": 0x20},
        InvalidArgument,
        "argument",
        errno.EINVAL,
        "/prog",
        "creationflags is to be had on Windows",
    ),
    ({"show_window": 0}, InvalidArgument, "argument", errno.EINVAL, "/prog", "show_window is to be had on Windows"),
    ({"argv0": "a\0"}, InvalidArgument, "argument", errno.EINVAL, "/prog", "argv0 holds a NUL"),
    ({"cwd": "/a\0b"}, InvalidArgument, "argument", errno.EINVAL, "/a\0b", "cwd holds a NUL"),
    ({"cwd": UNENCODABLE}, InvalidArgument, "argument", errno.EINVAL, UNENCODABLE, "cwd cannot be encoded"),
    ({"cwd": ""}, WorkingDirectoryNotFound, "cwd", errno.ENOENT, "", "cannot enter the working directory"),
    ({"cwd": "/no/where"}, WorkingDirectoryNotFound, "cwd", errno.ENOENT, "/no/where", "cannot enter"),
    ({"cwd": "/dev/null"}, WorkingDirectoryInvalid, "cwd", errno.ENOTDIR, "/dev/null", "cannot enter"),
    ({"cwd": "/dev/null/a"}, WorkingDirectoryInvalid, "cwd", errno.ENOTDIR, "/dev/null/a", "cannot enter"),
    (
        {"stdin": "nowhere"},
        InvalidArgument,
        "argument",
        errno.EINVAL,
        "/prog",
        "stdin must be 'inherit', 'null', 'pipe' or",
    ),
    ({"stdout": True}, InvalidArgument, "argument", errno.EINVAL, "/prog", "stdout must be"),
    ({"stderr": None}, InvalidArgument, "argument", errno.EINVAL, "/prog", "stderr must be"),
    ({"stdin": CLOSED}, SpawnError, "stdio", errno.EBADF, "/prog", "cannot set up standard streams"),
    ({"stdout": -9}, SpawnError, "stdio", errno.EBADF, "/prog", "cannot set up standard streams"),
    ({"stderr": 1 << 80}, SpawnError, "stdio", errno.EBADF, "/prog", "cannot set up standard streams"),
    ({"pass_fds": [CLOSED]}, SpawnError, "pass_fds", errno.EBADF, "/prog", "cannot pass on a descriptor of pass_fds"),
    ({"pass_fds": [-1]}, SpawnError, "pass_fds", errno.EBADF, "/prog", "cannot pass on a descriptor of pass_fds"),
    ({"terminal": CLOSED}, SpawnError, "terminal", errno.EBADF, "/prog", "cannot give the terminal"),
    ({"program": "prog"}, ProgramNotFound, "search", errno.ENOENT, "prog", "cannot find the program"),
    *(
        (
            {"ignore_signals": [number]},
            InvalidArgument,
            "argument",
            errno.EINVAL,
            None,
            f"ignore_signals holds {number}",
        )
        for number in (-1, 0, 65, signal.SIGKILL.value, signal.SIGSTOP.value, signal.SIGCHLD.value)
    ),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: ascii(case[0]))
def test_what_is_refused(case: Refused) -> None:
    """What no program can be started with is refused, and the error tells the argument, the step and the file."""
    fields, kind, step, number, filename, words = case
    with pytest.raises(SpawnError) as caught:
        compiled(**{"env": {"PATH": "/nowhere"}, **fields})
    error = caught.value
    assert type(error) is kind
    assert (error.step, error.errno, error.filename) == (step, number, filename)
    assert str(error.strerror).startswith(words)


def test_a_text_is_not_executable(tmp_path: Path) -> None:
    """A program that may not be executed is told from one that is not there."""
    (tmp_path / "prog").touch(0o644)
    with pytest.raises(ProgramNotExecutable) as caught:
        compiled("prog", env={"PATH": str(tmp_path)})
    assert (caught.value.step, caught.value.errno, caught.value.filename) == ("search", errno.EACCES, "prog")


@pytest.mark.skipif(os.geteuid() == 0, reason="root enters every directory")
def test_a_locked_directory_is_denied(tmp_path: Path) -> None:
    """A working directory that cannot be looked at is told from one that is not there."""
    (tmp_path / "locked").mkdir(0)
    with pytest.raises(WorkingDirectoryDenied):
        compiled(cwd=tmp_path / "locked" / "inner")


def test_the_terminal_is_one_of_the_childs_descriptors(descriptor: int) -> None:
    """A terminal that the child does not get is refused; a standard stream and one of pass_fds are not."""
    with pytest.raises(InvalidArgument, match="terminal must be a standard stream"):
        compiled(terminal=descriptor)
    assert compiled(terminal=descriptor, pass_fds=[descriptor]).terminal == descriptor
    for number in range(3):
        os.fstat(number)
        assert compiled(terminal=number).terminal == number


def test_a_terminal_stays_in_its_session() -> None:
    """A child that leaves the session cannot have its terminal."""
    with pytest.raises(InvalidArgument, match="terminal belongs to the session that a child with new_session leaves"):
        compiled(terminal=0, new_session=True)
    assert [compiled(new_session=asked).new_session for asked in (None, False, True)] == [False, False, True]
