"""The log: whose every record names the child and the connection that it is about."""

import ast
import logging
from pathlib import Path
from uuid import UUID

import pytest

import treeguard
from treeguard import ConnectionId, ProcessId
from treeguard._core.telemetry.log import log_of

PACKAGE = Path(treeguard.__file__).parent
PID = ProcessId(UUID(int=1))
CONN = ConnectionId(UUID(int=2))


@pytest.mark.parametrize(
    ("pid", "conn", "ids"),
    [(PID, CONN, (str(PID), str(CONN))), (PID, None, (str(PID), None)), (None, None, (None, None))],
)
def test_every_record_has_both_ids(
    pid: ProcessId | None,
    conn: ConnectionId | None,
    ids: tuple[str | None, str | None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Also where there is none, so that a format may ask for them; and the logger's name tells the part."""
    log = log_of("part", pid, conn)
    with caplog.at_level(logging.DEBUG, "treeguard"):
        log.debug("%d", 1)
        try:
            raise ValueError
        except ValueError:
            log.exception("an error")
    assert [(vars(record)["process_id"], vars(record)["connection_id"]) for record in caplog.records] == [ids] * 2
    assert {record.name for record in caplog.records} == {"treeguard.part"}
    assert logging.Formatter("%(process_id)s %(connection_id)s").format(caplog.records[0]) == f"{ids[0]} {ids[1]}"


def test_nobody_logs_without_ids() -> None:
    """Of the library, only one module gets itself a logger, and hands it out with ids."""
    loggers = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if "logging" in names or (isinstance(node, ast.ImportFrom) and node.module == "logging"):
                loggers.append(path.relative_to(PACKAGE).as_posix())
    assert [name for name in loggers if not name.startswith("_cli/")] == ["_core/telemetry/log.py"]
