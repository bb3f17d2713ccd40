"""The suites of other projects, run on the shims. Each check has a name, and passes or fails."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from xml.etree import ElementTree

import treeguard

from .differences import LISTED
from .shims import write_shims

__all__ = ["SUITES", "Suite"]

#: The checks by their names, and whether they passed.
Results = dict[str, bool]
#: Runs the suite in a directory of sources, with another one to work in.
Suite = Callable[[Path, Path], Results]

_HERE = Path(__file__).parent
#: Seconds for a suite.
_PATIENCE = 1800.0


def _run(command: list[str], cwd: Path, work: Path, environment: Mapping[str, str]) -> int:
    """Runs a part of a suite with the shims before all else. What it leaves behind is ended; its output is kept."""
    shims = work / "src"
    shims.mkdir(exist_ok=True)
    write_shims(shims)
    # Scripts that name no version get this Python, which has psutil.
    path = os.pathsep.join([str(shims), str(Path(sys.executable).parent), os.environ["PATH"]])
    env = {**os.environ, **environment, "PATH": path}
    with (work / "output").open("ab") as output:
        done = treeguard.run(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=cwd, env=env, timeout=_PATIENCE
        )
    return done.returncode


#: Of a library that dumb-init's tests take and that is no longer kept up, pytest has kept a copy.
_PY = {
    "__init__.py": "from _pytest._py import error, path\n",
    "_path/__init__.py": "",
    "_path/local.py": "from _pytest._py.path import LocalPath\n",
}


def dumb_init(sources: Path, work: Path) -> Results:
    """Its tests for pytest."""
    for name, text in _PY.items():
        (work / "py" / name).parent.mkdir(parents=True, exist_ok=True)
        (work / "py" / name).write_text(text)
    report = work / "junit.xml"
    options = ["-p", "no:cacheprovider", "-p", "dumb_init_plugin", "--timeout=60", f"--junit-xml={report}"]
    command = [sys.executable, "-m", "pytest", "-q", *options]
    _run(command, sources, work, {"PYTHONPATH": f"{work}:{_HERE}", "LEFT_OUT": " ".join(LISTED["dumb-init"])})
    cases = ElementTree.parse(report).iter("testcase")
    return {f"{case.get('classname')}::{case.get('name')}": not list(case) for case in cases}


#: Some of the limits of C, as coreutils' own program tells them to its tests.
_LIMITS = """\
#!/bin/sh
echo INT_MAX=2147483647 UINT_OFLOW=4294967296 TIME_T_OFLOW=9223372036854775808 LDBL_MAX=1.18973e+4932
"""
_NOTING = 'failed_() { fail=1; echo "$1" >>"$FAILED_CHECKS"; }\n'


def timeout(sources: Path, work: Path) -> Results:
    """The tests of timeout in coreutils: shell scripts, in which each line with a check is one, and one in Perl."""
    scripts = sorted(path for place in ("misc", "timeout") for path in (sources / "tests" / place).glob("timeout*.sh"))
    assert scripts
    results: Results = {}
    for script in scripts:
        results |= _of_script(script, sources, work)
    perl = ["perl", "-w", f"-I{sources}/tests", "-MCuSkip", "-MCoreutils", "-MCuTmpdir qw(blocked)"]
    (blocked,) = (sources / "tests").glob("*/timeout-blocked.pl")
    command = ["sh", "-c", 'exec 9>&2; exec "$@"', "sh", *perl, str(blocked)]
    results[blocked.name] = _run(command, work, work, _of_coreutils(sources)) == 0
    return results


def _of_coreutils(sources: Path) -> dict[str, str]:
    names = {"built_programs": "timeout env", "AWK": "awk", "SHELL": "/bin/bash", "VERBOSE": "yes"}
    return {**names, "srcdir": str(sources), "top_srcdir": str(sources), "LC_ALL": "C"}


def _of_script(script: Path, sources: Path, work: Path) -> Results:
    text = script.read_text("utf-8")
    lines = text.splitlines()
    checks = {number for number, line in enumerate(lines, 1) if "fail=1" in line and not line.startswith("#")}
    edited = work / script.name
    edited.write_text(text.replace("fail=1", "failed_ $LINENO"))
    (work / "src").mkdir(exist_ok=True)
    (work / "src" / "getlimits").write_text(_LIMITS)
    (work / "src" / "getlimits").chmod(0o755)
    (work / "noting").write_text(_NOTING)
    noted = work / "failed"
    noted.write_text("")
    environment = {**_of_coreutils(sources), "FAILED_CHECKS": str(noted), "BASH_ENV": str(work / "noting")}
    status = _run(["bash", str(edited)], work, work, environment)
    failed = set(map(int, noted.read_text().split()))
    results: Results = {}
    for number in checks:
        name = f"{script.stem}: {lines[number - 1].strip()}"
        results[name] = results.get(name, True) and number not in failed
    if status not in {0, 1}:
        results[f"{script.stem}: goes through to its end"] = False
    return results


_PRCTL = """
import ctypes
def set_child_subreaper(on):
    assert ctypes.CDLL(None).prctl(36, on, 0, 0, 0) == 0
"""
_BITMAP = """
class BitMap:
    @staticmethod
    def fromstring(digits):
        bits = BitMap()
        bits.digits = digits
        return bits
    def nonzero(self):
        return [place for place, digit in enumerate(reversed(self.digits)) if digit == "1"]
"""


def tini(sources: Path, work: Path) -> Results:
    """The tests that need no container."""
    (work / "src").mkdir(exist_ok=True)
    for name, text in (("prctl", _PRCTL), ("bitmap", _BITMAP)):
        (work / f"{name}.py").write_text(text)
    configured = work / "src" / "sigconf-test"
    subprocess.run(["cc", "-o", configured, sources / "test" / "sigconf" / "sigconf-test.c"], check=True)
    report = work / "report.json"
    script = sources / "test" / "run_inner_tests.py"
    environment = {"SOURCE_DIR": str(sources), "BUILD_DIR": str(work / "src"), "FORCE_SUBREAPER": "1"}
    command = [sys.executable, str(_HERE / "tini_inner.py"), str(script), str(report)]
    _run(command, sources, work, {**environment, "PYTHONPATH": str(work)})
    results: Results = json.loads(report.read_text())
    # The representation of a signal differs between Pythons.
    return {re.sub(r"/\S*/", "", name): passed for name, passed in results.items()}


#: By the name of the program: Debian's source package, and the suite.
SUITES: dict[str, tuple[str, Suite]] = {
    "dumb-init": ("dumb-init", dumb_init),
    "timeout": ("coreutils", timeout),
    "tini": ("tini", tini),
}
