"""A child that speaks on its control connection what the test tells it to, byte for byte, and nothing by itself.

``Speaker`` is the test's side. The child's side is this file run as a program: it takes orders, one a line of JSON, on
a descriptor of its own, and answers each. Orders come from the test, so the child needs no logic of its own; what it
does on its control connection is done by a process of the tree, as the kernel sees it.
"""

from __future__ import annotations

import base64
import json
import os
import select
import socket
import subprocess
import sys
from types import TracebackType
from typing import Any

__all__ = ["Speaker"]

_PATIENCE_MS = 20_000


class Speaker:
    """Orders one child about."""

    def __init__(self, mode: Any = True) -> None:
        self.mode = mode
        self._ours, self._theirs = socket.socketpair()
        self._ours.settimeout(60)
        self._answers = self._ours.makefile("rb")

    def params(self, **more: Any) -> Any:
        """What to spawn. The speaker's descriptor is open until :meth:`spawned`."""
        from treeguard import SpawnParams

        return SpawnParams(
            sys.executable,
            ("-S", __file__, str(self._theirs.fileno())),
            control=self.mode,
            pass_fds=(self._theirs.fileno(),),
            **more,
        )

    def spawned(self) -> None:
        """The child has its own copy."""
        self._theirs.close()

    def do(self, order: str, *args: Any) -> Any:
        """Has something done, and returns what came of it. Blocks: for use in a thread."""
        self._ours.sendall(json.dumps([order, *args]).encode() + b"\n")
        line = self._answers.readline()
        if not line:
            raise EOFError("the child has ended")
        return json.loads(line)

    def __enter__(self) -> Speaker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._answers.close()
        self._ours.close()
        self._theirs.close()


class _Child:
    """What the child can do."""

    def __init__(self) -> None:
        self._buffer = b""
        self._token = ""
        self._earlier: list[socket.socket] = []
        fd, path = os.environ.get("TREEGUARD_CONTROL_FD"), os.environ.get("TREEGUARD_CONTROL_SOCKET")
        if fd is not None:
            self._socket = socket.socket(fileno=os.dup(int(fd)))
            os.close(int(fd))
        else:
            assert path is not None
            self._path = path
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.connect(path)
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
        self._earlier.append(self._socket)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(self._path)
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
                self._socket.sendall(piece)
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
            poll = select.poll()
            poll.register(self._socket, select.POLLIN)
            if not poll.poll(_PATIENCE_MS):
                return "nothing came"
            try:
                data = self._socket.recv(65536)
            except OSError:
                data = b""
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
            socket.send_fds(other, [b"x"], [self._socket.fileno()])
            other.recv(1)

    def send_descriptors(self) -> None:
        """Sends a byte with open files along."""
        fds = [os.open("/dev/null", os.O_RDONLY) for _ in range(50)]
        socket.send_fds(self._socket, [b" "], fds)
        for fd in fds:
            os.close(fd)

    def close(self) -> None:
        """Closes its end."""
        self._socket.close()

    def start(self, *command: str) -> int:
        """Starts something else."""
        return subprocess.Popen(command).pid


def _main() -> None:
    orders = socket.socket(fileno=int(sys.argv[1]))
    child = _Child()
    with orders.makefile("rwb", buffering=0) as stream:
        for line in stream:
            order, *args = json.loads(line)
            stream.write(json.dumps(getattr(child, order)(*args)).encode() + b"\n")


if __name__ == "__main__":
    _main()
