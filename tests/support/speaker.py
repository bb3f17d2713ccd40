"""A child that speaks on its control connection what the test tells it to, byte for byte, and nothing by itself.

``Speaker`` is the test's side. The child's side is this file run as a program: it takes orders, one a line of JSON, on
a descriptor of its own, and answers each on another. Orders come from the test, so the child needs no logic of its own;
what it does on its control connection is done by a process of the tree, as the kernel sees it.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from types import TracebackType
from typing import Any

if sys.platform == "win32":
    import _winapi
    import msvcrt
else:
    import select
    import socket

__all__ = ["Speaker"]

_PATIENCE_MS = 20_000
_READ = 65536
_BUSY = 231  # ERROR_PIPE_BUSY


class Speaker:
    """Orders one child about."""

    def __init__(self, mode: Any = True) -> None:
        self.mode = mode
        hears, tells = os.pipe()
        answers, says = os.pipe()
        self._theirs: tuple[int, ...] = (hears, says)
        self._orders = os.fdopen(tells, "wb", buffering=0)
        self._answers = os.fdopen(answers, "rb")

    def params(self, **more: Any) -> Any:
        """What to spawn. The speaker's descriptors are open until :meth:`spawned`."""
        from treeguard import SpawnParams

        return SpawnParams(
            sys.executable,
            ("-S", __file__, *map(str, self._theirs)),
            control=self.mode,
            pass_fds=self._theirs,
            **more,
        )

    def spawned(self) -> None:
        """The child has its own copies."""
        theirs, self._theirs = self._theirs, ()
        for fd in theirs:
            os.close(fd)

    def do(self, order: str, *args: Any) -> Any:
        """Has a command carried out and returns its result. Blocks, so call it in a thread."""
        try:
            self._orders.write(json.dumps([order, *args]).encode() + b"\n")
        except OSError:  # On Windows a pipe that nobody reads is a bad argument.
            raise EOFError("the child has ended") from None
        line = self._answers.readline()
        if not line:
            raise EOFError("the child has ended")
        return json.loads(line)

    def __enter__(self) -> Speaker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.spawned()
        self._answers.close()
        self._orders.close()


if sys.platform == "win32":

    class _End:
        """A pipe. It reads ahead, so that what comes while it writes does not stop the other side."""

        def __init__(self, handle: int) -> None:
            self._handle = handle
            self._reading: _winapi.Overlapped | None = None

        @classmethod
        def inherited(cls, fd: int) -> _End:
            """The one of that number."""
            return cls(msvcrt.get_osfhandle(fd))

        @classmethod
        def connected(cls, path: str) -> _End:
            """The one at a name, when whoever comes at the same moment has been let in."""
            access, flags = _winapi.GENERIC_READ | _winapi.GENERIC_WRITE, _winapi.FILE_FLAG_OVERLAPPED
            while True:
                try:
                    return cls(_winapi.CreateFile(path, access, 0, 0, _winapi.OPEN_EXISTING, flags, 0))
                except OSError as e:
                    if e.winerror != _BUSY:
                        raise
                _winapi.WaitNamedPipe(path, _PATIENCE_MS)

        def sendall(self, data: bytes) -> None:
            writing, _ = _winapi.WriteFile(self._handle, data, overlapped=True)
            writing.GetOverlappedResult(True)

        def receive(self) -> bytes | None:
            """What comes, empty at the end. None: nothing for long."""
            try:
                if self._reading is None:
                    self._reading, _ = _winapi.ReadFile(self._handle, _READ, overlapped=True)
                if _winapi.WaitForSingleObject(self._reading.event, _PATIENCE_MS) == _winapi.WAIT_TIMEOUT:
                    return None
                done, self._reading = self._reading, None
                done.GetOverlappedResult(True)
                return done.getbuffer() or b""
            except OSError:
                return b""

        def close(self) -> None:
            _winapi.CloseHandle(self._handle)

else:

    class _End:
        """A socket."""

        def __init__(self, sock: socket.socket) -> None:
            self.socket = sock
            self.sendall = sock.sendall
            self.close = sock.close

        @classmethod
        def inherited(cls, fd: int) -> _End:
            """The one of that number."""
            sock = socket.socket(fileno=os.dup(fd))
            os.close(fd)
            return cls(sock)

        @classmethod
        def connected(cls, path: str) -> _End:
            """The one at a path."""
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(path)
            return cls(sock)

        def receive(self) -> bytes | None:
            """What comes, empty at the end. None: nothing for long."""
            poll = select.poll()
            poll.register(self.socket, select.POLLIN)
            if not poll.poll(_PATIENCE_MS):
                return None
            try:
                return self.socket.recv(_READ)
            except OSError:
                return b""


class _Child:
    """What the child can do."""

    def __init__(self) -> None:
        self._buffer = b""
        self._token = ""
        self._earlier: list[_End] = []
        fd, path = os.environ.get("TREEGUARD_CONTROL_FD"), os.environ.get("TREEGUARD_CONTROL_SOCKET")
        if fd is not None:
            self._end = _End.inherited(int(fd))
        else:
            assert path is not None
            self._path = path
            self._end = _End.connected(path)
            self._token = sys.stdin.readline().strip()

    def token(self) -> str:
        """The one that it was given."""
        if not self._token:
            welcome = self.read() or "{}"
            self._token = json.loads(welcome)["params"]["token"]
        return self._token

    def path(self) -> str:
        """Where the socket is."""
        return self._path

    def connect(self) -> None:
        """Comes once more."""
        self._earlier.append(self._end)
        self._end = _End.connected(self._path)
        self._buffer = b""

    def say(self, text: str) -> bool:
        """Sends a line. Whether that was possible."""
        return self.send(base64.b64encode(text.encode("utf-8", "surrogatepass") + b"\n").decode())

    def send(self, data: str, times: int = 1) -> bool:
        """Sends bytes, many times over, also if nobody reads meanwhile."""
        raw = base64.b64decode(data)
        block, rest = divmod(times, 1000)
        try:
            for piece in [raw * 1000] * block + [raw * rest]:
                self._end.sendall(piece)
        except OSError:
            return False
        return True

    def by_another(self, data: str) -> bool:
        """Has a process of its own send bytes: one that is of the tree, and waits for the answer."""
        pid = os.fork()
        if pid == 0:
            self.send(data)
            self.read()
            os._exit(0)
        os.waitpid(pid, 0)
        return True

    def read(self) -> str | None:
        """The next line, None at the end, or if there is none for long."""
        while b"\n" not in self._buffer:
            data = self._end.receive()
            if data is None:
                return "nothing came"
            if not data:
                return None
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode()

    def skip(self) -> int:
        """How many lines there are until the end."""
        lines = 0
        while self.read() is not None:
            lines += 1
        return lines

    def give_to(self, path: str) -> None:
        """Sends the connection itself to somebody else."""
        with socket.socket(socket.AF_UNIX) as other:
            other.connect(path)
            socket.send_fds(other, [b"x"], [self._end.socket.fileno()])
            other.recv(1)

    def send_descriptors(self) -> bool:
        """Sends a byte with open files along. Whether that was taken."""
        fds = [os.open("/dev/null", os.O_RDONLY) for _ in range(50)]
        try:
            socket.send_fds(self._end.socket, [b" "], fds)
        except PermissionError:
            return False
        else:
            return True
        finally:
            for fd in fds:
                os.close(fd)

    def close(self) -> None:
        """Closes its end."""
        self._end.close()

    def start(self, *command: str) -> int:
        """Starts something else."""
        return subprocess.Popen(command).pid


def _main() -> None:
    child = _Child()
    with os.fdopen(int(sys.argv[1]), "rb") as orders, os.fdopen(int(sys.argv[2]), "wb", buffering=0) as answers:
        for line in orders:
            order, *args = json.loads(line)
            answers.write(json.dumps(getattr(child, order)(*args)).encode() + b"\n")


if __name__ == "__main__":
    _main()
