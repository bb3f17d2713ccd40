"""``treeguard ps`` and what it believes, with made-up trees."""

from __future__ import annotations

import contextlib
import io
import itertools
import re
import sys
from pathlib import Path

import msgspec
import pytest

from treeguard._cli.commands import main
from treeguard._cli.output import Page

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="guards are shown on Linux only")

if sys.platform == "linux":
    from treeguard._cli import forest as module
    from treeguard._cli import guards, ps
    from treeguard._cli.forest import Forest, GuardedTree, Member, Owner, leaf_of
    from treeguard._cli.forest_table import columns_for, rows_of, text_lines, width_of
    from treeguard._core.processes.mounts import CgroupMount
    from treeguard._core.processes.process import ProcessInfo

    APP = Owner(10, "python app.py")


def tree(guard: int, **facts: object) -> GuardedTree:
    usual = GuardedTree(
        id=f"{guard}.7",
        guard=guard,
        user="me",
        uid=1000,
        state="supervised",
        kind="renderer",
        mechanism="cgroup",
        isolated=False,
        parent=None,
        owner=APP,
        root=guard + 1,
        since=0.0,
        age=90000.0,
        members=(Member(guard + 1, "sh", guard), Member(guard + 2, "sleep", guard + 1)),
        memory=3 << 20,
        cpu=3725.5,
    )
    return msgspec.structs.replace(usual, **facts)


def forest(*trees: GuardedTree) -> Forest:
    return Forest(90000.0, trees)


def shown(*trees: GuardedTree, members: bool = False, width: int | None = None) -> list[str]:
    seen = forest(*trees)
    return [line for _, line in text_lines(rows_of(seen, members=members), columns_for(seen), width)]


def test_trees_stand_below_their_owners_and_parents() -> None:
    """A tree with a parent below that; a tree whose owner is a member of another below that member's."""
    inner = Owner(21, "treeguard run")
    lines = shown(
        tree(20),
        tree(30, parent="20.7", kind="io"),
        tree(40, parent="20.7", owner=inner, mechanism="subreaper"),
        tree(50, owner=None, state="released"),
    )
    assert [line.split("  ")[0] if line[0] != " " else line[:22].rstrip() for line in lines] == [
        "TREE",
        "10 python app.py",
        "└─ 20 renderer",
        "   ├─ 30 io",
        "   └─ 21 treeguard run",
        "      └─ 40 renderer",
        "(released)",
        "└─ 50 renderer",
    ]
    assert re.fullmatch(r"└─ 20 renderer +1970-01-01  cgroup     supervised +2  3.0 MiB  1:02:05", lines[2])


def test_members_are_shown_on_request() -> None:
    """Each with its number and name, in front of the trees below."""
    lines = shown(tree(20), tree(30, parent="20.7"), members=True)
    assert lines[3:] == [
        "   ├─ 21 sh",
        "   ├─ 22 sleep",
        lines[5],
        "      ├─ 31 sh",
        "      └─ 32 sleep",
    ]
    assert lines[5].startswith("   └─ 30 renderer ")


@pytest.mark.parametrize("width", [1, 10, 24, 40, 60, 80, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    """Columns are left out, the least telling first, and what is too long is cut."""
    long = Owner(10, "python " + "x" * 300)
    lines = shown(tree(20, owner=long), tree(30, kind="統一" * 40, owner=long, uid=0), members=True, width=width)
    assert max(map(width_of, lines)) <= width
    assert ("MEMORY" in lines[0]) == (width >= 40)
    assert ("CPU" in lines[0]) == (width >= 60)
    assert ("STATE" in lines[0]) == (width >= 200)


def test_nothing_that_a_terminal_would_obey_is_shown() -> None:
    """Command lines, names and kinds are other people's text."""
    evil = "\033[2J\033]0;x\007\r\u202e\u009b"
    lines = shown(tree(20, kind=evil, owner=Owner(1, evil), members=(Member(2, evil, 1),)), members=True)
    assert all(line.isprintable() for line in lines)
    assert sum("\\x1b[2J" in line for line in lines) == 3


def test_the_user_is_shown_if_there_are_several() -> None:
    """Of one user everybody knows it."""
    assert "USER" not in shown(tree(20))[0]
    assert "USER" in shown(tree(20), tree(30, uid=0, user="root"))[0]


def test_rich_changes_no_text() -> None:
    """Its colours are put around the same lines, and markup in them is no markup."""
    pytest.importorskip("rich")
    from treeguard._cli.forest_rich import coloured

    seen = forest(tree(20, kind="[bold]x[/bold] :smile: 統一"), tree(30, parent="20.7"))
    lines = list(text_lines(rows_of(seen, members=True), columns_for(seen), 70))
    bare = [re.sub("\033\\[[0-9;]*m", "", line) for line in coloured(lines)]
    assert bare == [line for _, line in lines]


class _Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("rich", [True, False], ids=["rich", "plain"])
def test_colours_and_the_cursor(monkeypatch: pytest.MonkeyPatch, rich: bool) -> None:
    """Colours on a terminal that has them; neither with NO_COLOR, nor on a dumb one. Without rich there are ours."""
    if rich:
        pytest.importorskip("rich")
    else:
        monkeypatch.setitem(sys.modules, "treeguard._cli.forest_rich", None)
    monkeypatch.setenv("LC_ALL", "C.UTF-8")

    def drawn(term: str, **env: str) -> str:
        with monkeypatch.context() as patch:
            patch.setenv("TERM", term)
            patch.delenv("NO_COLOR", raising=False)
            for name, value in env.items():
                patch.setenv(name, value)
            out = _Terminal()
            patch.setattr(sys, "stdout", out)
            ps._show(Page(out), forest(tree(20)), members=False, again=True)
            return out.getvalue()

    assert drawn("xterm").startswith("\033[H")
    assert drawn("xterm").endswith("\033[J\n")
    # Its cursor is moved, but its colours stay.
    assert not re.search("\033\\[[0-9;]*m", drawn("xterm", NO_COLOR="1"))
    assert drawn("xterm", NO_COLOR="1").startswith("\033[H")
    assert "\033" not in drawn("dumb")
    assert re.search("\033\\[[0-9;]*m", drawn("xterm")) or rich


def test_a_listing_that_is_drawn_again_fits_the_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the terminal would scroll, and the head would be gone."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("LINES", "10")
    monkeypatch.setenv("COLUMNS", "80")
    out = _Terminal()
    ps._show(Page(out), forest(*map(tree, range(100, 400, 10))), members=True, again=True)
    assert out.getvalue().count("\n") == 9
    assert "and 84 more lines" in out.getvalue()


TITLE = (
    b"treeguard-guard supervised root=12         tree=3 "
    b"mechanism=cgroup isolated=1 manager=0a parent=2 kind=a b=c kind=d"
)


def test_what_a_guard_shows() -> None:
    """The kind is the last, and may be anything."""
    assert guards.parse_title(TITLE + b"\0\0\0") == {
        "state": "supervised",
        "root": 12,
        "tree": 3,
        "mechanism": "cgroup",
        "isolated": True,
        "manager": "0a",
        "parent": 2,
        "kind": "a b=c kind=d",
    }


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"treeguard-guard",
        b"treeguard-guard starting   root=0          tree=1 ",
        b"sh -c treeguard-guard",
        TITLE.replace(b"supervised", b"certain"),
        TITLE.replace(b"root=12", b"root=x"),
        TITLE.replace(b"root=12", b""),
        TITLE.replace(b"tree=3", b"tree"),
        b"\xff" + TITLE,
    ],
)
def test_what_is_no_guards_is_not_taken_for_it(text: bytes) -> None:
    """Guards of trials show no tree, and others show what they like."""
    with contextlib.suppress(ValueError, KeyError):
        assert guards.parse_title(text) is None


@pytest.mark.parametrize("command", [["ps", "--nope"], ["ps", "x"], ["kill"], ["kill", "x"], ["kill", "1.x"]])
def test_wrong_usage(command: list[str]) -> None:
    """As with all commands whose status 1 is taken."""
    with pytest.raises(SystemExit) as end:
        main(command)
    assert end.value.code == 125


@pytest.mark.parametrize(
    ("system", "why"), [("win32", "Windows"), ("darwin", "Linux only"), ("freebsd14", "Linux only")]
)
def test_elsewhere(monkeypatch: pytest.MonkeyPatch, system: str, why: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Said at once, with a status that is not that of an empty list."""
    monkeypatch.setattr(sys, "platform", system)
    for command in (["ps"], ["ps", "--json"], ["kill", "1"]):
        assert main(command) == 125
        out, err = capsys.readouterr()
        assert (out, why in err, err.count("\n")) == ("", True, 1)


def test_the_document_is_as_described() -> None:
    """Programs read it: its names and types are part of the contract."""
    document = msgspec.json.decode(msgspec.json.encode(forest(tree(20))))
    assert list(document) == ["time", "trees"]
    assert list(document["trees"][0]) == [
        *("id", "guard", "user", "uid", "state", "kind", "mechanism", "isolated", "parent", "owner", "root"),
        *("since", "age", "members", "memory", "cpu"),
    ]
    assert document["trees"][0]["owner"] == {"pid": 10, "command": "python app.py"}
    assert list(itertools.chain(*document["trees"][0]["members"]))[:3] == ["pid", "name", "parent"]


@pytest.mark.parametrize(
    ("place", "leaf"),
    [
        ("/a/treeguard.1.10.5.ff/3", "/a/treeguard.1.10.5.ff/3"),
        ("/a/treeguard.1.10.5.ff/3/below/it", "/a/treeguard.1.10.5.ff/3"),
        ("/a", None),
        # Another tree's, another supervisor's, one above the guard and one below the tree.
        ("/a/treeguard.1.10.5.ff/4", None),
        ("/a/treeguard.1.11.5.ff/3", None),
        ("/treeguard.1.10.5.ff/3", None),
        ("/treeguard.1.10.5.ff/3/a", None),
        ("/a/treeguard.1.10.5.ff/3/treeguard.1.10.5.ff/3", None),
    ],
)
def test_the_cgroup_of_a_tree(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str, leaf: str | None) -> None:
    """It is only believed at its own place: whatever it contains is killed with the tree."""
    (tmp_path / place.removeprefix("/")).mkdir(parents=True)
    monkeypatch.setattr(module, "cgroup_mounts", lambda: [CgroupMount("/", tmp_path)])
    seen = ProcessInfo(5, "treeguard-guard", "S", 10, 5, 5, 7)
    guard = guards.Guard(seen, tmp_path.stat().st_uid, 10, "supervised", 6, 3, "cgroup", False, "0a", 0, "x")
    for own in ("/a", "/a/treeguard-supervisor.10"):
        monkeypatch.setattr(module, "_place_of", {5: own, 6: place}.__getitem__)
        found = leaf_of(guard, [6])
        assert found == (None if leaf is None else tmp_path / leaf.removeprefix("/"))
    assert leaf_of(guard._replace(mechanism="subreaper"), [6]) is None
    # Released: the supervisor that made it is gone.
    released = leaf_of(guard._replace(owner=0), [6])
    assert (released is None) == (leaf is None and place != "/a/treeguard.1.11.5.ff/3")
