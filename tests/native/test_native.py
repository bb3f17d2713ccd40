"""The C core by itself: its own tests, and the law of the code between fork and exec."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CSRC = ROOT / "csrc"
CHILD = CSRC / "child.c"
#: The child half: what runs between fork and exec.
CHILD_HALF = [
    CHILD,
    CSRC / "attributes.c",
    *(CSRC / "linux" / f"{name}.c" for name in ("child", "attributes", "isolation")),
]

#: Symbols of others that the child half may use: none. All that it does are system calls.
ALLOWED: frozenset[str] = frozenset()

#: Of libc, what the library may use as it is: it does not fail, or its failure changes nothing.
CANNOT_FAIL = {
    *("memcpy", "memset", "strlen", "snprintf", "sprintf", "__errno_location", "_GLOBAL_OFFSET_TABLE_"),
    # Of descriptors that are open, of a clock that there is, of a socket that is connected.
    *("close", "fstat", "fstatfs", "clock_gettime", "shutdown"),
    # Without this memory the process id is asked for.
    *("mmap", "munmap", "madvise"),
}

COMPILERS = ["cc", "aarch64-linux-gnu-gcc"]
#: As users build it, and as a distribution's hardening may.
FLAGS = [["-O2", "-fPIC"], ["-O0", "-fPIC"], ["-O3", "-fPIC", "-D_FORTIFY_SOURCE=2", "-fcf-protection=none"]]


def undefined_symbols(sources: list[Path], compiler: str, flags: list[str], out: Path) -> set[str]:
    """The names that the object files of C sources, put together, need from elsewhere."""
    command = [compiler, "-std=gnu11", "-D_GNU_SOURCE", "-fno-stack-protector", *flags, "-I", str(CSRC)]
    if compiler.startswith("aarch64"):
        command = [flag for flag in command if not flag.startswith("-fcf-protection")]
    subprocess.run([*command, "-r", "-nostdlib", *map(str, sources), "-o", str(out)], check=True)
    listing = subprocess.run(["nm", "-u", str(out)], check=True, capture_output=True, text=True).stdout
    return {line.split()[-1] for line in listing.splitlines() if line.strip()}


def require(compiler: str) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")


@pytest.mark.parametrize("flags", FLAGS, ids=" ".join)
@pytest.mark.parametrize("compiler", COMPILERS)
def test_child_half_calls_nothing(compiler: str, flags: list[str], tmp_path: Path) -> None:
    """Between fork and exec nothing but system calls is used: the object file needs no symbol of anybody."""
    require(compiler)
    assert undefined_symbols(CHILD_HALF, compiler, flags, tmp_path / "child.o") <= ALLOWED


def test_symbol_check_sees_a_libc_call(tmp_path: Path) -> None:
    """The symbol check fails when somebody adds a libc call to the child half."""
    line = "    ret = child->options.new_session ? tg_lead_session() : tg_lead_group();\n"
    text = CHILD.read_text(encoding="utf-8")
    assert line in text
    spoiled = tmp_path / "child.c"
    spoiled.write_text("#include <stdlib.h>\n" + text.replace(line, line + '    child->cwd = getenv("HOME");\n'))
    assert undefined_symbols([spoiled, *CHILD_HALF[1:]], "cc", ["-O2"], tmp_path / "child.o") - ALLOWED == {"getenv"}


def test_native_tests_pass(tmp_path: Path) -> None:
    """Launch, guard and engine do what they should, by every method of starting a process."""
    command = ["make", "-s", "-C", str(Path(__file__).parent), "plain", f"OUT={tmp_path}"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.timeout(600)
def test_what_other_systems_run_passes_on_a_kqueue_made_of_epoll(tmp_path: Path) -> None:
    """Engine and guards of macOS and FreeBSD do what they should, as far as a stand-in for their kernels can tell."""
    command = ["make", "-s", "-C", str(Path(__file__).parent), "kqueue", f"OUT={tmp_path}"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=590, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_call_of_libc_can_be_failed_or_cannot_fail(tmp_path: Path) -> None:
    """What the library asks of libc goes through the layer that injects faults, but what has nothing to report."""
    makefile = (ROOT / "tests" / "native" / "Makefile").read_text(encoding="utf-8")
    wrapped = re.findall(r"^WRAPPED(?:_OF_FILES)? := (.*)$", makefile, re.MULTILINE)
    names = re.findall(r"^(?:LIBRARY|FILES) := \$\(call names,(.*)\)$", makefile, re.MULTILINE)
    assert (len(wrapped), len(names)) == (2, 2)
    sources = [CSRC / f"{name}.c" for name in " ".join(names).split()]
    used = undefined_symbols(sources, "cc", ["-O2", "-fPIC"], tmp_path / "library.o")
    assert used - set(" ".join(wrapped).split()) - CANNOT_FAIL == set()


@pytest.mark.stress
@pytest.mark.timeout(1800)
def test_every_fault_is_survived(tmp_path: Path) -> None:
    """Whichever call of a start or an end fails, the start works or says what failed, and nothing is left.

    And there is no call in the sources that was not failed, on one kind of host or another.
    """
    command = ["make", "-s", "-C", str(Path(__file__).parent), "faults", f"OUT={tmp_path}"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=1790, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.timeout(600)
def test_call_that_is_left_out_is_noticed(tmp_path: Path) -> None:
    """Control: after lives without a terminal the taking of one is known not to have been failed."""
    out = tmp_path / "faults"
    programs = [str(out / name) for name in ("test_faults", "guard", "family")]
    sites, without_terminal = str(tmp_path / "sites"), ["/no/cgroup", "0", "1"]
    subprocess.run(["make", "-s", "-C", str(Path(__file__).parent), *programs, f"OUT={tmp_path}"], check=True)
    run = [programs[0], "0", *programs[1:], sites, *without_terminal]
    assert subprocess.run(run, capture_output=True, timeout=590, check=False).returncode == 0
    check = [sys.executable, str(Path(__file__).with_name("sites.py")), *programs[:2], sites]
    result = subprocess.run(check, capture_output=True, text=True, check=False)
    assert result.returncode == 1, result.stderr
    assert "(take_terminal)" in result.stdout
    assert "(tg_lead_group" not in result.stdout
