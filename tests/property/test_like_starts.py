"""What can be given to a child, each way to start one, and each way to fail: as with the standard library."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ..support.blocking import opened_managers, own_managers
from .likeness import OURS, THEIRS, Request, answer, errors_of, requests
from .test_like_asyncio import PROPERTY

__all__ = ["opened_managers", "own_managers"]

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="the programs are of the shell"),
    pytest.mark.usefixtures("opened_managers"),
]

WITH_TEXT = ["run", "Popen", "arun"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for the files of a request, made again for each."""
    return tmp_path_factory.mktemp("place") / "files"


@pytest.mark.parametrize("way", WITH_TEXT)
@PROPERTY
@given(data=st.data())
def test_commands(way: str, data: st.DataObject, place: Path) -> None:
    """Results, bytes and text, files and their positions, the child's state, and the descriptors of the parent."""
    request = data.draw(requests(text=True))
    assert answer(OURS[way], request, place) == answer(THEIRS[way], request, place)


@PROPERTY
@given(request=requests(text=False))
def test_processes(request: Request, place: Path) -> None:
    """The same of ``create_subprocess_exec``."""
    way = "create_subprocess_exec"
    assert answer(OURS[way], request, place) == answer(THEIRS[way], request, place)


#: Programs that cannot be run, or can.
PROGRAMS = ["/bin/true", "true", "nonexistent", "./nonexistent", "directory", "./directory", "./data", "./nothing"]
MORE = ["./interpreter", "./loop", "./data/x", "x" * 300, "/" + "x" * 5000, "a\0b", "/", "n\udcff"]
#: Options that keep it from being run, or do not.
OPTIONS: list[dict[str, Any]] = [
    *({}, {}, {}, {"cwd": "nonexistent"}, {"cwd": b"data"}, {"cwd": "loop"}, {"cwd": Path("data/x")}, {"cwd": ""}),
    *({"env": {"PATH": ""}}, {"env": {"PATH": "directory:data:/bin"}}, {"env": {"A=B": "c"}}, {"env": {"A": "\0"}}),
    *({"executable": "/bin/true"}, {"executable": b"nonexistent"}, {"executable": Path("./nothing")}),
    # A closed descriptor is named in words of our own: test_popen.py.
    *({"stdin": -5}, {"user": "nobody there"}, {"extra_groups": ["none"]}),
]


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory with things that are no programs."""
    (tmp_path / "directory").mkdir()
    (tmp_path / "data").write_text("data")
    for name, content in (("nothing", ""), ("interpreter", "#!/nonexistent\n")):
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "loop").symlink_to("loop")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("odd")
@pytest.mark.parametrize("way", sorted(OURS))
@PROPERTY
@given(
    program=st.sampled_from([*PROGRAMS, *MORE]).flatmap(lambda name: st.sampled_from([name, os.fsencode(name)])),
    options=st.sampled_from(OPTIONS),
)
def test_errors(way: str, program: Any, options: dict[str, Any]) -> None:
    """The class, the number, the text where it is the standard library's own, and the name as it was given."""
    if not isinstance(program, bytes) and "/" in program and "\0" not in program:
        program = Path(program) if program.startswith("/") else program
    if program not in ("/bin/true", "true"):
        # Of two mistakes another one may be told first.
        options = {name: value for name, value in options.items() if name == "env" and len(value.get("A=B", "")) == 0}
        options = {} if "A" in options.get("env", {}) else options
    theirs, ours = (errors_of(ways[way], [program], options) for ways in (THEIRS, OURS))
    assert isinstance(ours, type(theirs)), ours
    if not isinstance(theirs, OSError):
        return
    assert isinstance(ours, OSError)
    assert ours.errno == theirs.errno
    if way in ("run", "Popen"):
        assert ours.strerror == theirs.strerror
        # A path stays one, or is a string since Python 3.14.
        assert isinstance(program, Path) or (str(ours), ours.filename) == (str(theirs), theirs.filename)
    if theirs.filename is not None:
        assert os.fsencode(ours.filename) == os.fsencode(theirs.filename)
