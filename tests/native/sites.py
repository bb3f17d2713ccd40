"""Whether every call of the C core has been failed: the sites that the runs of test_faults kept, against the programs.

    python sites.py LIBRARY GUARD SITES…

Each place in the programs that goes through the layer of faults.h is a site, told from others by file and line. One
that can fail and was not failed in any run is an error, and so is an exception that is none any more.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

#: What a site did in any life (faults.h).
FAILED, HARMLESS_CALL, REACHED, AFTER_FAULT = 1, 2, 4, 8
#: Calls that cannot fail, or whose failure nobody could do anything about (faults.c), by what csrc/ calls them.
HARMLESS = {
    *("tg_close", "tg_exit", "tg_getpid", "tg_getppid", "tg_clock", "tg_usage_of_children"),
    *("tg_sigmask", "tg_hold_signals", "tg_release_signals", "tg_sigaction"),
    *("tg_getuid", "tg_geteuid", "tg_umask"),
}
#: Calls that no life of test_faults makes, and why: by function, and the line of it.
EXCEPTIONS = {
    ("leave_orphan", "tg_fork()"): "is the root of a trial, which tells of it",
    ("leave_orphan", "tg_lead_session()"): "is of a trial, too",
    ("wait_for_question", "tg_poll("): "is of a trial, too",
    ("wait_for_question", "tg_read("): "is of a trial, too",
    ("answer", "tg_send("): "is of a trial, too",
    ("reach_guard", "tg_kill("): "is of a trial, too",
    ("tg_isolation_abi", "tg_sys3(SYS_landlock_create_ruleset"): "starts nothing: its failure is its answer",
    ("signal_group", "tg_kill(tree->pid, signal)"): "comes before the root has made its group: a race",
    ("tg_signal_led", "tg_kill(root, signal)"): "the same in a guard",
    ("wait_for_own_table", "tg_kill("): "is for a child that another process has stopped",
    ("tg_guard_root_changed", "tg_kill("): "the same",
    ("tg_privileges", "SYS_capget"): "is for a root of another user: without an answer the own user decides",
    ("tg_nice", "SYS_getpriority"): "cannot fail for the calling process",
    ("tg_set_attributes", "tg_setgroups("): "takes privileges that the tests may not have",
    ("tg_cgroup_open", "tg_sys2(SYS_fchmod"): "is for an owner that was locked out by a mode",
    ("tg_cgroup_open", "tg_sys3(SYS_fchmodat"): "the same",
    ("tg_cgroup_open", "return tg_sys4(SYS_openat"): "the same",
    ("tg_cgroup_remove_at", "tg_sys2(SYS_fchmod"): "the same",
    ("tg_cgroup_remove_at", "return tg_sys3(SYS_unlinkat"): "the same",
    ("make_beside", "tg_sys2(SYS_fchmod"): "the same",
    ("make_beside", "tg_sys3(SYS_unlinkat"): "is for a leaf that somebody else has made",
    ("write_leaf_path", "SYS_readlinkat"): "is for a supervisor that was put into a leaf",
    ("tg_cgroup_remove_manager", "SYS_readlinkat"): "is for a supervisor that has died",
    ("tg_cgroup_remove_manager", "SYS_unlinkat"): "the same",
    ("find_mount", "tg_read("): "is for what a freezer holds",
    ("living_state", "SYS_getdents64"): "is for a process whose main thread has ended",
    ("tg_leaf_populated", "tg_read("): "is for a leaf that is still there after its guard's last word",
    ("tg_adopts", "PR_GET_CHILD_SUBREAPER"): "is of a search for what a lost guard has left",
    ("tg_rendezvous_open", "tg_sys"): "is for a tree that is released: tests/system/test_release.py",
    ("tg_rendezvous_name_senders", "tg_sys"): "the same",
    ("tg_rendezvous_receive", "tg_sys"): "the same",
    ("wants_tree", "tg_poll("): "the same",
    ("wants_tree", "tg_recv("): "the same",
    ("hold_peer", "tg_sys"): "the same",
    ("tg_rendezvous_accept", "tg_sys"): "the same",
    ("tg_guard_is_abandoned", "tg_poll("): "the same",
    ("tg_guard_attach", "tg_poll("): "the same",
    ("is_gone", "SYS_pidfd_send_signal"): "the same",
    ("adopt", "tg_pidfd_open("): "the same",
    ("tg_tree_reap", "tg_poll("): "the same",
    ("adopt", "calloc("): "the same",
    ("tg_queue_remove", "epoll_ctl("): "what is in the set can be taken out of it",
    **dict.fromkeys(
        (
            ("tg_child_run", "child->joined"),
            ("start_inside", "tg_kill("),
            ("start_inside", "tg_wait("),
            ("take_changes", "tg_kill(g->init"),
            ("tg_guard_reap", "tg_kill(g->init"),
            ("kill_pass", "tg_kill(g->init"),
            ("drop_capabilities", "tg_sys"),
            ("leave_old_proc", "tg_"),
            ("tg_settle_inside", "SYS_mount"),
            ("tg_fork_sibling", "SYS_clone"),
            ("tg_launch_helper", "SYS_clone"),
            ("map_ids", "tg_"),
            ("guard_has_ended", "tg_poll("),
            ("reap", "tg_"),
            ("run_init", "tg_"),
            ("enter", "tg_"),
            ("wait_for_helper", "tg_"),
            ("tg_send_with", "SYS_sendmsg"),
            ("tg_recv_with", "SYS_recvmsg"),
        ),
        "is for a PID namespace: tests/system/test_pid_namespace.py",
    ),
}
#: What of that depends on whoever else runs on the host: no error where it was made after all.
OF_THE_HOST = {"living_state", "put_place", "tg_set_attributes"}
_CALL = re.compile(r"\tcallq? .*<(?:faults_sys6|faults_now|__wrap_(?!free)\w+)>")
_CSRC = Path(__file__).resolve().parents[2] / "csrc"
#: What makes the calls for all others: of a site there the caller is looked for.
_CALLS = {"linux/sys.h", "bsd/sys.h"}


class Site(NamedTuple):
    """A place in the sources; the file as it is called in csrc/."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} ({self.function})"


def returns(program: str) -> Iterator[int]:
    """The addresses that calls through the layer return to."""
    command = ["objdump", "-d", "--no-show-raw-insn", program]
    listing = subprocess.run(command, check=True, capture_output=True, text=True)
    called = False
    for line in listing.stdout.splitlines():
        address, colon, _ = line.partition(":")
        if not colon or "\t" not in line:
            continue
        if called:
            yield int(address, 16)
        called = _CALL.search(line) is not None


def places(program: str, addresses: list[int]) -> dict[int, tuple[Site, str]]:
    """Of each address that is in csrc/ its site, and the innermost function, which may be inlined."""
    asked = [hex(address - 1) for address in addresses]
    said = subprocess.run(
        ["addr2line", "-a", "-i", "-f", "-e", program, *asked], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    found: dict[int, tuple[Site, str]] = {}
    frames: list[Site] = []
    at = 0
    for head, tail in _pairs(said):
        if tail is None:
            at, frames = int(head, 16) + 1, []
            continue
        path, _, number = tail.partition(" ")[0].rpartition(":")
        file = os.path.relpath(os.path.realpath(path), _CSRC)
        frames.append(Site(file, int(number) if number.isdecimal() else 0, head))
        if not file.startswith("..") and file not in _CALLS and at not in found:
            found[at] = frames[-1], frames[0].function
    return found


def _pairs(lines: list[str]) -> Iterator[tuple[str, str | None]]:
    """An address alone; then a function and a place for each of its frames, innermost first."""
    rest = iter(lines)
    for line in rest:
        yield (line, None) if line.startswith("0x") else (line, next(rest))


def is_exception(site: Site) -> bool:
    """Whether there is a reason not to make this call."""
    line = (_CSRC / site.file).read_text(encoding="utf-8").splitlines()[site.line - 1]
    return any(function == site.function and part in line for function, part in EXCEPTIONS)


def main() -> int:
    library, guard, *runs = sys.argv[1:]
    kept: dict[tuple[int, int], int] = {}
    for run in runs:
        for which, address, what in (line.split() for line in Path(run).read_text("ascii").splitlines()):
            key = int(which), int(address, 16)
            kept[key] = kept.get(key, 0) | int(what)
    did: dict[Site, int] = {}
    for number, program in enumerate((library, guard)):
        for at, (site, innermost) in places(program, list(returns(program))).items():
            if innermost in HARMLESS:
                did.setdefault(site, HARMLESS_CALL)
            else:
                # On a line that makes both, this is the one that counts.
                did[site] = (did.get(site, 0) & ~HARMLESS_CALL) | kept.get((number, at), 0)
    failed = {site for site, what in did.items() if what & FAILED}
    # What is made only after another call has failed would be a second fault.
    second = {site for site, what in did.items() if what & (REACHED | AFTER_FAULT) == AFTER_FAULT}
    others = second | {site for site, what in did.items() if what & HARMLESS_CALL}
    missing = sorted(site for site in did.keys() - failed - others if not is_exception(site))
    stale = sorted(site for site in failed if is_exception(site) and site.function not in OF_THE_HOST)
    for site in missing:
        print(f"never failed: {site}")
    for site in stale:
        print(f"is no exception: {site}")
    print(
        f"{len(did)} places call; {len(failed)} have been failed, {len(others - failed)} cannot fail or follow a fault"
    )
    return bool(missing or stale)


if __name__ == "__main__":
    sys.exit(main())
