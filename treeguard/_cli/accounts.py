"""The user and the groups that ``treeguard run`` gives a command, as a login would (``--user``, ``--group``)."""

from __future__ import annotations

import argparse
import grp
import os
import pwd
from typing import Any, NamedTuple

__all__ = ["User", "fields_of", "group", "user"]


class User(NamedTuple):
    """A user, and the group that was named with it. ``account`` is None for a number without one."""

    number: int
    account: pwd.struct_passwd | None
    group: int | None


def user(text: str) -> User:
    """Reads ``USER`` or ``USER:GROUP``, each a name or a number."""
    name, _, of_group = text.partition(":")
    account = _account(name)
    number = account.pw_uid if account is not None else int(name)
    return User(number, account, group(of_group) if of_group else None)


def group(text: str) -> int:
    """Reads a group: a name or a number."""
    try:
        return grp.getgrnam(text).gr_gid
    except (KeyError, ValueError):
        if _is_number(text):
            return int(text)
        raise argparse.ArgumentTypeError(f"there is no group {text!r}") from None


def fields_of(given: User | None, of_group: int | None) -> dict[str, Any]:
    """The fields of ``SpawnParams`` for a user and a group. Raises ValueError for a user without any group.

    The user has the groups of its account, and the variables that a login sets. A user whom this process is already
    changes nothing, and takes no privileges.
    """
    if given is None or given.number == os.getuid() == os.geteuid():
        return {} if of_group is None else {"group": of_group}
    account = given.account
    if account is None:
        if of_group is None:
            raise ValueError(f"user {given.number} has no account, so a group is needed: {given.number}:GROUP")
        return {"user": given.number, "group": of_group, "extra_groups": ()}
    main = account.pw_gid if of_group is None else of_group
    return {
        "user": given.number,
        "group": main,
        "extra_groups": tuple(os.getgrouplist(account.pw_name, main)),
        "env": {
            "HOME": account.pw_dir,
            "LOGNAME": account.pw_name,
            "USER": account.pw_name,
            "SHELL": account.pw_shell,
        },
    }


def _account(name: str) -> pwd.struct_passwd | None:
    """A user's account. None: a number without one. As with chown(1), a name may look like a number."""
    try:
        return pwd.getpwnam(name)
    except (KeyError, ValueError):
        if not _is_number(name):
            raise argparse.ArgumentTypeError(f"there is no user {name!r}") from None
    try:
        return pwd.getpwuid(int(name))
    except KeyError:
        return None


def _is_number(text: str) -> bool:
    """Whether it is a number that can be a user's or a group's. The highest one means "unchanged"."""
    return text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) < (1 << 32) - 1
