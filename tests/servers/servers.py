"""The servers: how each is started, how one sees that it is up, and that it has ended in its own way."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from abc import ABC, abstractmethod
from pathlib import Path

__all__ = ["SERVERS", "Server"]


class Server(ABC):
    """One server with its files in a directory of its own. It listens on the socket ``s`` there."""

    #: The command that has to be there, and Debian's package that has it.
    command = ""
    package = ""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.socket = place / "s"
        self.log = place / "log"
        self.prepare()

    def prepare(self) -> None:  # noqa: B027 - some need none
        """Makes its files."""

    @abstractmethod
    def foreground(self) -> list[str]:
        """The command line of a server that stays in the foreground."""

    @abstractmethod
    def daemon(self) -> list[str]:
        """The command line of one that becomes a daemon."""

    @abstractmethod
    def ended_well(self) -> bool:
        """Whether it has ended in its own way, and saved what it saves."""

    def up(self) -> bool:
        """Whether it answers."""
        with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
            client.connect(str(self.socket))
            return True
        return False

    def work(self) -> None:  # noqa: B027 - some save nothing
        """Gives it something to save."""

    def logged(self) -> str:
        """What it has logged."""
        return self.log.read_text("utf-8", errors="replace") if self.log.exists() else ""

    @classmethod
    def found(cls) -> str | None:
        """The path of its command."""
        return shutil.which(cls.command, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")


class Redis(Server):
    """Saves its data when it is asked to end."""

    command, package = "redis-server", "redis-server"

    def foreground(self) -> list[str]:
        options = {"port": "0", "unixsocket": str(self.socket), "dir": str(self.place), "save": "3600 1"}
        options |= {"logfile": str(self.log), "pidfile": str(self.place / "pid")}
        return [self.command, *(part for name, value in options.items() for part in (f"--{name}", value))]

    def daemon(self) -> list[str]:
        return [*self.foreground(), "--daemonize", "yes"]

    def work(self) -> None:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self.socket))
            client.sendall(b"SET key kept-across\r\n")
            assert client.recv(100) == b"+OK\r\n"

    def ended_well(self) -> bool:
        dump = self.place / "dump.rdb"
        return dump.exists() and b"kept-across" in dump.read_bytes() and "bye bye" in self.logged()


class Nginx(Server):
    """Its master ends its workers, and removes the file with its number."""

    command, package = "nginx", "nginx-light"

    def prepare(self) -> None:
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        (self.place / "conf").write_text(
            f"pid {self.place}/pid; error_log {self.log} notice; worker_processes 2;\n"
            + ("user root;\n" if os.geteuid() == 0 else "")
            + "events {}\nhttp { access_log off;\n"
            + "".join(f"{kind}_temp_path {self.place}/{kind};\n" for kind in kinds)
            + f"server {{ listen unix:{self.socket}; return 200; }} }}\n"
        )

    def foreground(self) -> list[str]:
        return [*self._common(), "-g", "daemon off;"]

    def daemon(self) -> list[str]:
        return self._common()

    def _common(self) -> list[str]:
        return [str(self.found()), "-c", str(self.place / "conf"), "-e", str(self.log)]

    def up(self) -> bool:
        # It listens before it handles signals.
        return super().up() and "start worker process" in self.logged()

    def ended_well(self) -> bool:
        return not (self.place / "pid").exists() and "notice" in self.logged() and ": exit" in self.logged()


class PhpFpm(Server):
    """Its master ends its workers, and says so."""

    command, package = "php-fpm8.2", "php8.2-fpm"

    def prepare(self) -> None:
        (self.place / "conf").write_text(
            f"[global]\npid = {self.place}/pid\nerror_log = {self.log}\n"
            f"[www]\nlisten = {self.socket}\npm = static\npm.max_children = 2\n"
            + ("user = www-data\ngroup = www-data\n" if os.geteuid() == 0 else "")
        )

    def foreground(self) -> list[str]:
        return [str(self.found()), "-F", "-y", str(self.place / "conf")]

    def daemon(self) -> list[str]:
        return [str(self.found()), "-D", "-y", str(self.place / "conf")]

    def up(self) -> bool:
        return super().up() and "ready to handle connections" in self.logged()

    def ended_well(self) -> bool:
        return "exiting, bye-bye!" in self.logged()


class Haproxy(Server):
    """Saves nothing, and says nothing of its end that a test could read: that it was not killed is all."""

    command, package = "haproxy", "haproxy"

    def prepare(self) -> None:
        (self.place / "conf").write_text(
            "defaults\n mode http\n timeout connect 5s\n timeout client 5s\n timeout server 5s\n"
            f"frontend front\n bind unix@{self.socket}\n http-request return status 200\n"
        )

    def foreground(self) -> list[str]:
        return [str(self.found()), "-W", "-f", str(self.place / "conf")]

    def daemon(self) -> list[str]:
        return [str(self.found()), "-W", "-D", "-p", str(self.place / "pid"), "-f", str(self.place / "conf")]

    def ended_well(self) -> bool:
        return True


class Postgres(Server):
    """Writes a checkpoint. It does not run as root."""

    command, package = "postgres", "postgresql"

    def prepare(self) -> None:
        self.socket = self.place / ".s.PGSQL.5432"
        self._data = self.place / "data"
        if os.geteuid() == 0:
            shutil.chown(self.place, "postgres", "postgres")
        made = [*self._as(), self._tool("initdb"), "-D", str(self._data), "--auth=trust", "-N", "-U", "postgres"]
        subprocess.run(made, check=True, stdout=subprocess.DEVNULL, cwd=self.place)

    @classmethod
    def found(cls) -> str | None:
        """Debian keeps each version in a directory of its own."""
        places = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        return shutil.which(cls.command, path=":".join(map(str, places)))

    def _tool(self, name: str) -> str:
        return str(Path(str(self.found())).with_name(name))

    @staticmethod
    def _as() -> list[str]:
        return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []

    def _options(self) -> list[str]:
        return ["-k", str(self.place), "-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=10"]

    def foreground(self) -> list[str]:
        log = ["-c", "logging_collector=off"]
        return [*self._as(), self._tool("postgres"), "-D", str(self._data), *self._options(), *log]

    def daemon(self) -> list[str]:
        options = " ".join(self._options())
        return [*self._as(), self._tool("pg_ctl"), "-D", str(self._data), "-o", options, "-l", str(self.log), "start"]

    def up(self) -> bool:
        return self._sql("select 1") == 0

    def work(self) -> None:
        assert self._sql("create table kept as select 'kept-across' as value") == 0

    def _sql(self, text: str) -> int:
        command = [self._tool("psql"), "-h", str(self.place), "-U", "postgres", "-q", "-c", text, "postgres"]
        return subprocess.run(
            command, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ).returncode

    def ended_well(self) -> bool:
        command = [*self._as(), self._tool("pg_controldata"), "-D", str(self._data)]
        told = subprocess.run(command, check=True, capture_output=True, text=True, cwd=self.place).stdout
        (state,) = (line for line in told.splitlines() if line.startswith("Database cluster state"))
        return state.split(":")[1].strip() == "shut down"


SERVERS: dict[str, type[Server]] = {
    "redis": Redis,
    "nginx": Nginx,
    "php-fpm": PhpFpm,
    "haproxy": Haproxy,
    "postgres": Postgres,
}
