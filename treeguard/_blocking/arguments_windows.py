"""From the arguments of the standard library's ``Popen`` to the parameters of a tree, on Windows.

What the standard library ignores on Windows is ignored here too: ``start_new_session`` and ``restore_signals``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from subprocess import list2cmdline
from typing import Any

from .._core.inheritable import inheritable_fds
from .._core.spec.command_line import CommandLineParams, shell_line, split_line
from .._core.standard_names import check_preexec, child_fields
from ..params import SpawnParams
from .arguments import Options, clears, kept_open, stream_of

__all__ = ["params_of"]

#: ``wShowWindow`` of the shell (SW_HIDE), as in the standard library.
_HIDDEN = 0


def params_of(options: Options, further: Mapping[str, Any]) -> SpawnParams:
    """The parameters of a tree. ``further``: those that the standard library has no argument for."""
    check_preexec(options.preexec_fn)
    args, executable = options.args, options.executable
    if options.shell and isinstance(args, bytes | os.PathLike):
        raise TypeError(f"{'bytes' if isinstance(args, bytes) else 'path-like'} args is not allowed when shell is true")
    given = _given(options, further)
    if options.shell:
        shell, line = shell_line(args if isinstance(args, str) else list2cmdline(args))
        given.setdefault("show_window", _HIDDEN)
        return CommandLineParams(os.fsdecode(executable or shell), ("/c", line), command_line=line, **given)
    if isinstance(args, str):
        return CommandLineParams(os.fsdecode(executable or split_line(args)[0]), command_line=args, **given)
    words = [os.fsdecode(word) for word in ([args] if isinstance(args, bytes | os.PathLike) else args)]
    if not words:
        raise ValueError("args must not be empty")
    if executable is not None:
        given["argv0"], words[0] = words[0], os.fsdecode(executable)
    return SpawnParams(words[0], tuple(words[1:]), **given)


def _given(options: Options, further: Mapping[str, Any]) -> dict[str, Any]:
    """What does not depend on how the command is given."""
    stdin, stdout, stderr = map(stream_of, (options.p2cread, options.c2pwrite, options.errwrite))
    given = {
        **child_fields("Popen", {"startupinfo": options.startupinfo}, like_popen=False),
        "env": {} if options.env is None else options.env,
        "cwd": options.cwd,
        "stdin": stdin,
        "stdout": stdout,
        "stderr": stderr,
        "pass_fds": kept_open(options.pass_fds) if options.close_fds else inheritable_fds(),
        "creationflags": options.creationflags,
        **further,
    }
    # The pipes have that size already.
    given.pop("pipesize", None)
    given["clear_env"] = clears(given.get("clear_env"), options.env)
    return given
