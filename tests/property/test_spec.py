"""Compiled parameters: what is searched, merged and encoded, compared with simpler models."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treeguard import ProgramNotFound, SpawnError, SpawnParams
from treeguard._core.spec.compiler import SpecCompiler
from treeguard.errors import ProgramNotExecutable

FOUND, DENIED, LOOPING, ABSENT = "found", "denied", "looping", "absent"


def _executable(directory: Path) -> None:
    directory.mkdir()
    (directory / "prog").write_text("#!/bin/true\n")
    (directory / "prog").chmod(0o755)


def _not_executable(directory: Path) -> None:
    directory.mkdir()
    (directory / "prog").write_text("#!/bin/true\n")
    (directory / "prog").chmod(0o644)


def _link(target: str) -> Callable[[Path], None]:
    def make(directory: Path) -> None:
        directory.mkdir()
        (directory / "prog").symlink_to(target)

    return make


def _locked(directory: Path) -> None:
    _executable(directory)
    directory.chmod(0)


#: What may be in an entry of PATH, how it is made, and what a search for ``prog`` makes of it.
ENTRIES: dict[str, tuple[Callable[[Path], None], str]] = {
    "good": (_executable, FOUND),
    "also good": (_executable, FOUND),
    "linked": (_link("../good/prog"), FOUND),
    "text": (_not_executable, DENIED),
    "directory": (lambda d: (d / "prog").mkdir(parents=True), DENIED),
    "locked": (_locked, FOUND if os.geteuid() == 0 else DENIED),
    "bare": (lambda d: d.mkdir(), ABSENT),
    "dangling": (_link("nowhere"), ABSENT),
    "looping": (_link("prog"), LOOPING),
    "a file": (lambda d: d.touch(), ABSENT),
    "missing": (lambda d: None, ABSENT),
}
#: The empty entry is the current directory; these are two of those.
HERE = {"where it is": FOUND, "where it is not": ABSENT}
#: The error for what is told of a search that finds nothing.
TOLD: dict[str, tuple[type[SpawnError], int]] = {
    DENIED: (ProgramNotExecutable, errno.EACCES),
    LOOPING: (SpawnError, errno.ELOOP),
    ABSENT: (ProgramNotFound, errno.ENOENT),
}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """Two directories to be in, each with all entries below it."""
    places = {}
    for name, verdict in HERE.items():
        place = places[name] = tmp_path_factory.mktemp(name)
        for entry, (make, _) in ENTRIES.items():
            make(place / entry)
        if verdict == FOUND:
            shutil.copy(place / "good" / "prog", place / "prog")
    yield places
    for place in places.values():
        (place / "locked").chmod(0o755)


@contextmanager
def working_in(directory: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(directory)
    try:
        yield
    finally:
        os.chdir(before)


@given(
    here=st.sampled_from(sorted(HERE)),
    plan=st.lists(st.tuples(st.sampled_from(["", *ENTRIES]), st.booleans()), max_size=5),
    by_parameter=st.booleans(),
)
def test_the_search_is_that_of_execvp(
    places: dict[str, Path], here: str, plan: list[tuple[str, bool]], by_parameter: bool
) -> None:
    """The first executable file is taken; else one that may not be executed is told from none at all.

    Entries that are not absolute are relative to the child's working directory, whoever sets it.
    """
    place = places[here]
    path = [str(place / entry) if entry and absolute else entry for entry, absolute in plan]
    # A list without entries and one with an empty entry are the same string.
    verdicts = [ENTRIES[entry][1] if entry else HERE[here] for entry, _ in plan] or [HERE[here]]
    expected = [os.path.join(entry or ".", "prog") for entry in path or [""]]  # noqa: PTH118 - as it is passed on
    params = SpawnParams("prog", env={"PATH": ":".join(path)}, cwd=str(place) if by_parameter else None)
    with working_in(Path("/") if by_parameter else place):
        if FOUND in verdicts:
            found = SpecCompiler({}).compile(params).program
            assert found == os.fsencode(expected[verdicts.index(FOUND)])
        else:
            # As subprocess does, where execvp(3) goes no further: the last that is wrong in its own way is told.
            told = [verdict for verdict in verdicts if verdict != ABSENT]
            kind, number = TOLD[told[-1] if told else ABSENT]
            with pytest.raises(kind) as caught:
                SpecCompiler({}).compile(params)
            assert (caught.value.step, caught.value.errno, caught.value.filename) == ("search", number, "prog")
    if any(path):
        with working_in(place):
            which = shutil.which("prog", path=":".join(path))
            assert (which is not None) == (FOUND in verdicts)
            if which is not None:
                assert Path(which).absolute() == (place / expected[verdicts.index(FOUND)]).absolute()


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), st.text("/."))
def test_a_name_with_a_slash_is_not_searched(name: str, prefix: str) -> None:
    """A path is passed on as it is."""
    program = f"{prefix}/{name}"
    assert SpecCompiler({}).compile(SpawnParams(program)).program == os.fsencode(program)


# Few characters, so that names meet again: some of them are bytes that are no UTF-8, or only together.
NAMES = st.text("ab é\udcc3\udca9\udcff", min_size=1, max_size=3)
VALUES = st.text("ab =é\udcff\n", max_size=3)
ENVIRONMENTS = st.dictionaries(NAMES, VALUES, max_size=6)


def encoded(env: dict[str, str]) -> dict[bytes, bytes]:
    return {os.fsencode(name): os.fsencode(value) for name, value in env.items()}


def compiled(compiler: SpecCompiler, env: dict[str, str], clear: bool) -> dict[bytes, bytes]:
    """The environment that the child gets."""
    spec = compiler.compile(SpawnParams("/prog", env=env, clear_env=clear))
    entries = spec.env.split(b"\0")
    assert entries.pop() == b""
    pairs = [entry.split(b"=", 1) for entry in entries]
    assert len(pairs) == spec.nenv
    result = {name: value for name, value in pairs}  # noqa: C416 - pairs are lists
    assert len(result) == len(pairs), "a name stands there twice"
    return result


@given(ENVIRONMENTS, ENVIRONMENTS, st.booleans())
def test_env_is_merged_as_dicts_are(inherited: dict[str, str], env: dict[str, str], clear: bool) -> None:
    """What is given replaces and adds to what is inherited, or stands alone."""
    expected = encoded(env) if clear else encoded(inherited) | encoded(env)
    assert compiled(SpecCompiler(inherited), env, clear) == expected


@given(ENVIRONMENTS, st.lists(st.tuples(NAMES, st.none() | VALUES, st.booleans()), max_size=8))
def test_changes_of_the_inherited_env_are_noticed(
    inherited: dict[str, str], changes: list[tuple[str, str | None, bool]]
) -> None:
    """Whatever changed in the inherited environment since the last time is in the next child's."""
    compiler = SpecCompiler(inherited)
    for name, value, between in changes:
        if value is None:
            inherited.pop(name, None)
        else:
            inherited[name] = value
        if between:
            assert compiled(compiler, {}, clear=False) == encoded(inherited)
            assert compiled(compiler, {"a": "own"}, clear=False) == encoded(inherited) | {b"a": b"own"}
    assert compiled(compiler, {}, clear=False) == encoded(inherited)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0") | st.sampled_from("\udcff"))))
def test_args_arrive_as_given(args: list[str]) -> None:
    """The program's name and each argument, empty ones too, are in the blob in their order, each with its end."""
    spec = SpecCompiler({}).compile(SpawnParams("/bin/prog", args))
    *blobs, end = spec.args.split(b"\0")
    assert end == b""
    assert [os.fsdecode(blob) for blob in blobs] == [os.fsdecode(os.fsencode(arg)) for arg in ["/bin/prog", *args]]
    assert spec.nargs == len(args) + 1


@given(st.sets(st.integers(1, 64).filter(lambda number: number not in (9, 17, 19))))
def test_ignored_signals_are_bits(numbers: set[int]) -> None:
    """Signal n is bit n - 1, as in the kernel's masks."""
    spec = SpecCompiler({}).compile(SpawnParams("/prog", ignore_signals=tuple(numbers)))
    assert {bit + 1 for bit in range(64) if spec.ignore >> bit & 1} == numbers
    assert spec.ignore < 1 << 64
