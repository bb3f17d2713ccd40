"""Trees in PID namespaces: whether this host gives them, and the backends for them."""

from __future__ import annotations

import errno
import functools
import os
import socket
import struct
import sys

import msgspec

from ...errors import SHORTAGES, spawn_error
from .. import native
from ..native import CoreError
from ..spec import ISOLATED_BY, Placement
from . import backends
from .backend import Backend
from .backends import CgroupBackend, SubreaperBackend
from .guarantees import _GUARANTEES, Containment, with_controllers
from .probe import ANSWER, Probe, probe_tree

__all__ = ["achieved_inside", "backend_inside", "reason_for", "try_pid_namespace"]

#: ``struct ucred``: process id, user, group (unix(7)).
_CREDENTIALS = struct.Struct("=3i")

_FORBIDDEN = (
    "user namespaces are forbidden here: by kernel.unprivileged_userns_clone=0, by "
    "kernel.apparmor_restrict_unprivileged_userns=1, by a filter of system calls such as a container's, or in a chroot"
)
_HIDDEN = "parts of /proc are hidden or read-only here, as in a container, and would show in a new one"
_LIMITS = "user.max_user_namespaces, user.max_pid_namespaces or user.max_mnt_namespaces is 0 or has been reached"
_NO_KERNEL = "the kernel has no user, mount or PID namespaces, or a filter of system calls hides them"
#: The usual causes of failed steps.
_REASONS = {
    ("pid_namespace", errno.ENOSPC): _LIMITS,
    ("pid_namespace", errno.EUSERS): "user namespaces are nested as deeply as the kernel allows",
    ("pid_namespace", errno.EPERM): _FORBIDDEN,
    ("pid_namespace", errno.EACCES): _FORBIDDEN,
    ("pid_namespace", errno.EINVAL): _NO_KERNEL,
    ("pid_namespace", errno.ENOSYS): _NO_KERNEL,
    ("user_map", errno.EPERM): _FORBIDDEN,
    ("user_map", errno.EACCES): _FORBIDDEN,
    ("user_map", errno.ENOENT): "/proc is not mounted",
    ("mount_proc", errno.EPERM): _HIDDEN,
    ("mount_proc", errno.EACCES): "a security module, such as AppArmor, forbids mounts in user namespaces",
    ("mount_proc", errno.ENOENT): "there is no directory /proc, or the working directory is one that it lacks inside",
}


def reason_for(step: str, number: int) -> str:
    """The usual cause of a failed step; empty if there is none that is known."""
    return _REASONS.get((step, number), "")


def try_pid_namespace() -> str | None:
    """None if trees can be put into PID namespaces here, otherwise the reason why not. Blocks for a few milliseconds.

    A shortage or a broken installation says nothing about the host. It is raised as a :class:`~treeguard.SpawnError`.
    """
    if sys.platform != "linux":
        return "PID namespaces are of Linux"
    try:
        _try()
    except CoreError as fault:
        error = spawn_error(fault.step, fault.errno, native.GUARD, detail=reason_for(fault.step, fault.errno))
        if fault.step == "guard" or fault.errno in SHORTAGES | {errno.EAGAIN}:
            raise error from None
        return str(error)
    except OSError as error:
        if error.errno in SHORTAGES:
            raise spawn_error("engine", error.errno, error.filename) from error
        return str(error)
    return None


# Tried once per process. A failure is not cached, since it may be temporary.
@functools.cache
def _try() -> None:
    probe_tree(made=_ProbeInside)


class _ProbeInside(Probe):
    """A trial whose orphan has another number than the one that it knows. The kernel tells the one that it has here."""

    isolated = ISOLATED_BY["pid_namespace"]

    def _adopted(self) -> int:
        self._ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        return super()._adopted()

    def _answer(self) -> tuple[int, int]:
        """The orphan's process id here, and its guard's if the init is the parent of the orphan."""
        words, controls, *_ = self._ours.recvmsg(ANSWER.size, socket.CMSG_SPACE(_CREDENTIALS.size))
        _, parent = ANSWER.unpack(words) if len(words) == ANSWER.size else (0, 0)
        pids = [_CREDENTIALS.unpack(data)[0] for _, kind, data in controls if kind == socket.SCM_CREDENTIALS]
        return pids[0] if pids else 0, self._tree.pid if parent == 1 else parent


def achieved_inside(containment: Containment) -> Containment:
    """The full guarantees of PID namespaces, with the limits of a cgroup where there is one."""
    containment = msgspec.structs.replace(containment, privileged=os.geteuid() == 0)
    if not _has_cgroup():
        return containment
    limits = backends.achieved(_GUARANTEES["cgroup"])
    scopes = {"memory": limits.memory_limit, "pids": limits.process_limit, "cpu": limits.cpu_limit}
    return with_controllers(containment, [name for name, scope in scopes.items() if scope == "tree"])


def backend_inside(containment: Containment) -> Backend:
    """The backend for trees in PID namespaces, in a cgroup too if there is one. Raises OSError if it cannot be made."""
    return _CgroupInside(containment) if _has_cgroup() else _GuardInside()


def _has_cgroup() -> bool:
    return backends.try_out("cgroup") is None


def _inside(placement: Placement) -> Placement:
    return msgspec.structs.replace(placement, isolated=ISOLATED_BY["pid_namespace"], mechanism="pid_namespace")


class _GuardInside(SubreaperBackend):
    """A guard that stays outside."""

    def __init__(self) -> None:
        super().__init__()
        self.placement = _inside(self.placement)


class _CgroupInside(CgroupBackend):
    """A guard that stays outside, and a leaf for all but the init."""

    def _place(self) -> None:
        super()._place()
        self.placement = _inside(self.placement)
