"""The standard library's ``Popen``, owning a process tree."""

from __future__ import annotations

import contextlib
import sys
import time
import warnings
from subprocess import TimeoutExpired
from typing import TYPE_CHECKING, Any, AnyStr, Literal, overload

from .._core.inspection.left import pipe_identity
from .._core.options import Command, PopenOptions, show_popens
from .._core.processes.system import now, tick
from .._core.spec import Additions
from ..errors import GuardLost, SpawnError
from .arguments import LEFT_TO_POPEN, Options, error_of, given_terminal, streams_of, taken_out
from .leaving import dropped, leave
from .manager import own_manager
from .owner import END_TIMEOUT, TreeOwner
from .system import StandardPopen, params_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Unpack

    from .._core.containment.guarantees import Containment
    from ..released import ReleasedTree
    from ..types import ContainmentName, RootExit, SignalTarget
    from .terminal import BlockingPty, TerminalPipes

    class _Base(StandardPopen[AnyStr]):
        """What type checkers are not told of."""

        text_mode: Any
        _child_created: bool
        pipesize: int
        _sigint_wait_secs: float

        def _abandon(self) -> None: ...
        def _close_pipe_fds(self, *fds: int) -> None: ...
        def _get_handles(self, *given: Any) -> Any: ...
        def _communicate(self, *given: Any) -> Any: ...
        def _stdin_write(self, input: Any) -> None: ...  # noqa: A002

else:
    _Base = StandardPopen

__all__ = ["END_TIMEOUT", "Popen"]

#: The ends of the pipes of a child that has none.
_NO_PIPES = (-1,) * 6


class Popen(TreeOwner, _Base[AnyStr]):
    """A :class:`subprocess.Popen` that owns a process tree.

    The arguments are those of :class:`subprocess.Popen`, ``containment`` (a mechanism by name) and all else that a
    child can be given: :func:`run` names it, :class:`treeguard.SpawnParams` and docs/options.md explain it. With
    ``pty``, True or ``(rows, columns)``, each standard stream that is not given otherwise is a terminal, and so is
    :attr:`pty`: a :class:`treeguard.pty.BlockingPty`. ``pid`` and ``returncode`` are the root's. ``kill`` and
    ``terminate`` mean the tree. Leaving a ``with`` block hangs up, waits for the root and ends the rest of the tree.

    Start, wait and signals are replaced; text mode, pipes and ``communicate`` are those of the running Python version.
    """

    # It extends the standard library's class: so each Python version has its own text mode, its own pipes and its own
    # communicate(), and code that asks for isinstance(…, subprocess.Popen) gets a yes. What is replaced
    # (_execute_child, _internal_poll, _wait) has kept its form since Python 3.3, on POSIX and on Windows.

    __module__ = "treeguard.subprocess"

    #: The mechanism that is asked for.
    _asked: ContainmentName = "auto"
    #: When the program has to run at the latest; a time of time.monotonic.
    _start_by: float | None = None
    #: Takes note of this object before anything is started. Somebody waits for the tree all the time then.
    _kept: list[Popen[Any]] | None = None
    #: What ``/proc`` calls the pipes of its output, where an escapee can be found by them alone; only with that note.
    _outputs: frozenset[str] = frozenset()
    #: The tick before its start.
    _since = 0
    #: The terminal, if it was asked for one.
    pty: BlockingPty | None = None
    #: What serves the terminal and the pipes in communicate().
    _pipes: TerminalPipes | None = None
    #: Of the parameters of the tree, those that the standard library has no argument for.
    _further: Mapping[str, Any] = {}
    #: Whether the tree ends with a block.
    _bound = False

    if TYPE_CHECKING:
        # They tell whether the streams are of text.
        @overload
        def __init__(
            self: Popen[str],
            args: Command,
            bufsize: int = -1,
            *,
            text: Literal[True],
            universal_newlines: bool | None = None,
            encoding: str | None = None,
            errors: str | None = None,
            **options: Unpack[PopenOptions],
        ) -> None: ...
        @overload
        def __init__(
            self: Popen[str],
            args: Command,
            bufsize: int = -1,
            *,
            universal_newlines: Literal[True],
            text: bool | None = None,
            encoding: str | None = None,
            errors: str | None = None,
            **options: Unpack[PopenOptions],
        ) -> None: ...
        @overload
        def __init__(
            self: Popen[str],
            args: Command,
            bufsize: int = -1,
            *,
            encoding: str,
            text: bool | None = None,
            universal_newlines: bool | None = None,
            errors: str | None = None,
            **options: Unpack[PopenOptions],
        ) -> None: ...
        @overload
        def __init__(
            self: Popen[str],
            args: Command,
            bufsize: int = -1,
            *,
            errors: str,
            text: bool | None = None,
            universal_newlines: bool | None = None,
            encoding: str | None = None,
            **options: Unpack[PopenOptions],
        ) -> None: ...
        @overload
        def __init__(
            self: Popen[bytes],
            args: Command,
            bufsize: int = -1,
            *,
            text: Literal[False] | None = None,
            universal_newlines: Literal[False] | None = None,
            encoding: None = None,
            errors: None = None,
            **options: Unpack[PopenOptions],
        ) -> None: ...
        @overload
        def __init__(
            self: Popen[Any],
            args: Command,
            *more: Any,
            text: bool | None = None,
            universal_newlines: bool | None = None,
            encoding: str | None = None,
            errors: str | None = None,
            **options: Unpack[PopenOptions],
        ) -> None: ...
        def __init__(self, args: Command, *more: Any, **options: Any) -> None: ...

    else:

        def __init__(self, *args, containment="auto", _start_by=None, _kept=None, _bound=False, **kwargs):
            self._asked, self._start_by, self._kept, self._bound = containment, _start_by, _kept, _bound
            if not kwargs.keys() <= LEFT_TO_POPEN:
                self._further = taken_out(kwargs)
            try:
                super().__init__(*args, **kwargs)
            except BaseException:
                try:
                    self._end()
                finally:
                    self._end()  # again: an exception of a signal handler may have kept that from being begun
                    self._abandon()
                    # Once it is hung up, who holds it is not found any more. Who has taken note looks for that first.
                    if self.pty is not None and _kept is None:
                        self.pty.close()
                raise

        show_popens(__init__, without=())

    def _get_handles(self, stdin: Any, stdout: Any, stderr: Any) -> Any:
        # The standard library prepares for errors that cannot happen where there is nothing to open.
        if stdin is stdout is stderr is None:
            return _NO_PIPES
        return super()._get_handles(*streams_of((stdin, stdout, stderr)))

    def _execute_child(self, *given: Any) -> None:
        options = Options(*given)
        params = params_of(options, self._further)
        self.pipesize = params.pipesize
        self._manager = manager = own_manager(self._asked)
        if self._kept is not None:
            self._kept.append(self)
            read = (options.c2pread, options.errread)
            if read != (-1, -1) and not manager.containment.contains_escapees:
                self._outputs = frozenset(pipe_identity(fd) for fd in read if fd >= 0)
                self._since = int(now() / tick())
        try:
            try:
                additions = Additions()
                if params.pty:
                    params = given_terminal(self, params, additions)
                self._record = record = manager.new(params)
                manager.start(record, params, additions)
            finally:
                if self.pty is not None:
                    self.pty._terminal.close_childs()
                if options.pipes != _NO_PIPES:
                    self._close_pipe_fds(*options.pipes)
            if not record.started and not manager.begin(record, self._start_by):
                manager.end(record, END_TIMEOUT)
                raise TimeoutExpired(options.args, 0.0)
        except SpawnError as error:
            raise error_of(error, options) from error
        self.pid = record.os_pid
        self._child_created = True
        if self._kept is None:
            manager.mind()

    # Waiting: wait(), poll() and communicate() come down to these two.

    def _internal_poll(self, _deadstate: object = None, *_: object) -> int | None:
        if self.returncode is None and self._record is not None:
            if not self._manager.wait_root(self._record, 0.0):
                return None
            self._ended()
        return self.returncode

    def _wait(self, timeout: float | None) -> int:
        if self.returncode is None:
            assert self._record is not None
            until = None if timeout is None else time.monotonic() + timeout
            try:
                ended = self._manager.wait_root(self._record, until)
            except KeyboardInterrupt:
                self._pass_on()
                raise
            if not ended:
                assert timeout is not None
                raise TimeoutExpired(self.args, timeout)
            return self._ended()
        return self.returncode

    if sys.platform != "win32":

        def communicate(self, input: Any = None, timeout: float | None = None) -> tuple[Any, Any]:  # noqa: A002
            """As the standard library's. At a terminal, what is no pipe of input and output is typed and read there."""
            # A forked copy has the pipes, and would take from the original what it reads.
            self._manager.check_owner()
            if self.pty is None:
                return super().communicate(input, timeout)
            from .terminal import communicate  # noqa: PLC0415 - few processes have one

            return communicate(self, input, timeout)

        def _communicate(self, input: Any, endtime: float | None, orig_timeout: float | None) -> Any:  # noqa: A002
            # The standard library sends no more of the input when communicate() is called again after a timeout.
            unsent = getattr(self, "_input", None)
            if not input and unsent and self.stdin is not None and not self.stdin.closed:
                input = unsent  # noqa: A001
            try:
                return super()._communicate(input, endtime, orig_timeout)
            except KeyboardInterrupt:
                self._pass_on()
                raise
            except TimeoutExpired:
                self._manager.take_back(self._record)
                raise

    def _stdin_write(self, input: Any) -> None:  # noqa: A002
        if input and self.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.stdin.write(input)
                # Before close(), as in leaving.py.
                self.stdin.flush()
        super()._stdin_write(None)

    @property
    def _held(self) -> frozenset[str]:
        """The same, and the terminal as long as it is open."""
        return self._outputs | self.pty._terminal.identities if self.pty is not None and self._since else self._outputs

    def wait_empty(self, timeout: float | None = None) -> bool:
        """Waits until nothing of the tree is left, for ``timeout`` seconds at most. Returns whether nothing is left."""
        until = None if timeout is None else time.monotonic() + timeout
        return self._record is None or self._manager.wait_empty(self._record, until)

    # Signals.

    def send_signal(self, sig: int, to: SignalTarget = "group") -> None:
        """Sends a signal to the root's process group, or what is left of it. A group or tree that is gone is no error.

        ``to="root"`` signals the root alone, unless it has ended, and ``to="all"`` every process of the tree.
        """
        with contextlib.suppress(GuardLost):  # that is for those who ask how it ended
            self.poll()
        record = self._record
        if record is None:
            return
        if to == "group":
            self._manager.signal(record, sig)
        elif to == "root":
            self._manager.signal_root(record, sig)
        elif to == "all":
            self._manager.signal_members(record, sig)
        else:
            raise ValueError(f"to must be 'group', 'root' or 'all', not {to!r}")

    def terminate(self) -> None:
        """Asks the whole tree to end, also when its root has ended: SIGTERM, and SIGCONT for those that are stopped.

        Those that have left the root's group are looked for: milliseconds on a machine with hundreds of processes.
        """
        if self._record is not None:
            self._manager.terminate(self._record)

    def members(self) -> tuple[int, ...]:
        """The process ids of the members that live, parents before their children: for reading, not for signalling.

        Looks at every process of this machine: milliseconds for hundreds.
        """
        inspection = None if self._record is None else self._manager.inspection(self._record)
        return () if inspection is None else inspection.members.pids()

    def kill(self) -> None:
        """Kills the whole tree, also when its root has ended. Returns when the order is given."""
        if self._record is not None:
            self._manager.kill(self._record)

    def release(self) -> ReleasedTree:
        """Lets the tree outlive this process on purpose. Returns the token to take it over by.

        See :meth:`treeguard.Tree.release`, also for the errors. From then on ``wait`` and ``poll`` raise
        :class:`~treeguard.released.TreeReleased`, and leaving a ``with`` block does nothing.
        """
        from .releasing import release  # noqa: PLC0415 - few trees are

        return release(self)

    # What a tree has besides.

    @property
    def exit(self) -> RootExit | None:
        """How the root ended, with exit code and signal as two fields. None: it has not ended, as far as is known."""
        return None if self._record is None else self._record.exit

    @property
    def containment(self) -> Containment:
        """The mechanism that contains the tree, and what that guarantees."""
        return self._manager.containment

    def __enter__(self) -> Popen[AnyStr]:
        self._bound = True
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if self._released is not None:
            return
        if sys.platform == "win32" and self._exchange is not None:
            self._leave(kind)
        else:
            leave(self, kind)

    def __del__(self, _warn: Any = warnings.warn, _dropped: Any = dropped) -> None:
        _dropped(self, _warn)
