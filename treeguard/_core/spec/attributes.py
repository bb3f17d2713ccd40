"""From what a root has otherwise than its supervisor to what the C core takes. Loaded when a spawn asks for it."""

from __future__ import annotations

import errno
import grp
import pwd
import resource
import sys
from functools import partial

from ...errors import invalid_argument, spawn_error, unknown_user
from ...params import SpawnParams
from ..native_attributes import packed_attributes
from ..waiting import aside
from . import Accounts, Additions, Placement

__all__ = ["accounts_of", "attributes_of", "look_up"]

#: The C core's value for "no limit".
_UNLIMITED = (1 << 64) - 1


async def look_up(params: SpawnParams) -> Accounts:
    """The numbers of a root's user and groups.

    Names are looked up in a thread, because they may come from a server. Raises :class:`~treeguard.errors.UnknownUser`.
    """
    if not any(isinstance(each, str) for each in (params.user, params.group, *(params.extra_groups or ()))):
        return accounts_of(params)
    try:
        return await aside(partial(accounts_of, params))
    except RuntimeError:
        # The same error as for a process: threads count towards the same limit.
        raise spawn_error("clone", errno.EAGAIN, params.program, detail="no thread for a look-up") from None


def accounts_of(params: SpawnParams) -> Accounts:
    """The same without a thread."""
    groups = params.extra_groups
    return Accounts(
        None if params.user is None else _user(params.user, params.program),
        None if params.group is None else _group("group", params.group, params.program),
        None
        if groups is None
        else tuple(_group(f"extra_groups[{i}]", each, params.program) for i, each in enumerate(groups)),
    )


def _user(user: int | str, program: str | None) -> int:
    try:
        return user if isinstance(user, int) else pwd.getpwnam(user).pw_uid
    except (KeyError, ValueError):
        raise unknown_user("user", "user", user, program) from None


def _group(name: str, group: int | str, program: str | None) -> int:
    try:
        return group if isinstance(group, int) else grp.getgrnam(group).gr_gid
    except (KeyError, ValueError):
        raise unknown_user(name, "group", group, program) from None


def attributes_of(params: SpawnParams, additions: Additions) -> bytes:
    """What the root has of its own. Raises :class:`~treeguard.SpawnError` for what this system lacks."""
    accounts = additions.accounts or accounts_of(params)
    for name in ("oom_score_adj", "cpu_affinity"):
        if getattr(params, name) is not None and sys.platform != "linux":
            raise invalid_argument(name, "is to be had on Linux only", params.program)
    if additions.address_space and getattr(resource, "RLIMIT_AS", None) in (params.rlimits or {}):
        raise invalid_argument("rlimits", "holds RLIMIT_AS, which limits.memory sets here", params.program)
    numbers = {
        "user": accounts.user,
        "group": accounts.group,
        "umask": params.umask,
        "nice": params.nice or None,
        "oom_score_adj": params.oom_score_adj,
        **(_launcher(params, additions.placement) if params.die_with_parent else {}),
        **dict(getattr(params, "numbers", ())),
    }
    rlimits = {number: (_limit(soft), _limit(hard)) for number, (soft, hard) in (params.rlimits or {}).items()}
    return packed_attributes(numbers, groups=accounts.groups, cpu_affinity=params.cpu_affinity, rlimits=rlimits)


def _launcher(params: SpawnParams, placement: Placement) -> dict[str, int]:
    from ..launcher import checked_launcher

    launcher = checked_launcher(placement.mechanism, params.program, guarded=placement.guarded)
    return {"launcher": launcher.fd, "launcher_pid": launcher.pid}


def _limit(value: int) -> int:
    return _UNLIMITED if value in (-1, resource.RLIM_INFINITY) else value
