"""Sizes: what a plain spawn imports, how long files and functions are, and what the public names are."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from pathlib import Path
from typing import get_origin

import pytest

from .. import house
from ..support.apart import run_apart

#: What a manager does without until a child asks for it.
WINGS = (
    *("_blocking", "_cli", "_transport", "_wire", "aio", "capability", "child", "control", "ext", "heartbeat"),
    *("notify", "shutdown", "subprocess", "testing", "tree", "_core.inspection", "_core.recovery", "_core.resources"),
    *("_core.worker", "_core.streams", "_core.outcome"),
)
PUBLIC = Path(__file__).with_name("public_api.txt")
PUBLIC_MODULES = (
    *("aio", "capability", "child", "child.aio", "control", "errors", "ext", "heartbeat"),
    *(
        "limits",
        "local",
        "manager",
        "notify",
        "params",
        "pty",
        "released",
        "shutdown",
        "subprocess",
        "terminal",
        "testing",
    ),
    *("tree", "types"),
)


@pytest.mark.skipif(sys.platform == "win32", reason="what starts a tree there also looks into its job")
def test_a_plain_spawn_imports_the_core_alone() -> None:
    """No module of a wing, no exporter, and not more lines than are on record."""
    files, lines = house.imported()
    own = [name for name in files if name.partition(".")[0] == "treeguard"]
    assert not [name for name in files if name.partition(".")[0] == "opentelemetry"]
    assert not [name for name in own if f"{name}.".startswith(tuple(f"treeguard.{wing}." for wing in WINGS))]
    assert not [name for name in own if name.endswith("windows")]
    assert (lines <= house.MOST_LINES, len(own) <= house.MOST_MODULES) == (True, True), (lines, len(own))
    assert house.code_of(files) <= house.MOST_CODE


def test_lines_of_code_are_counted(tmp_path: Path) -> None:
    """Control: docstrings, comments and empty lines are none."""
    file = tmp_path / "a.py"
    file.write_text(
        '"""Words.\n\nMore.\n"""\n\n# A comment.\nx = (\n    1,\n)\n\n\ndef f():\n    """Says."""\n    return x\n'
    )
    assert house.lines_of_code(file) == 5


@pytest.mark.parametrize("wing", ["control", "notify", "capability", "heartbeat"])
def test_control_wings_are_seen(wing: str) -> None:
    """Control: what is imported shows among the modules, and by a name of the package too."""
    code = f"import sys, treeguard.{wing}; print(any(name.startswith('treeguard.{wing}') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout.strip() == b"True"


def test_files_and_functions_are_short() -> None:
    """A file is one concern, and a function fits a screen; in Python and in C."""
    assert not house.long_files()
    assert not house.long_functions()


def test_control_long_functions_are_seen(tmp_path: Path) -> None:
    """Control: the lines of a function are counted, in C with arguments on two lines and attributes too."""
    c, python = tmp_path / "long.c", tmp_path / "long.py"
    body = "    x++;\n" * 70
    c.write_text(
        f"_Noreturn TG_RAW static void f(int a,\n                  int b)\n{{\n{body}}}\n\nint g(void)\n{{\n}}\n"
    )
    python.write_text(f"class A:\n  def f():\n{body.replace('x++;', 'x += 1')}")
    assert list(house.functions_of(c)) == [("f", 73), ("g", 2)]
    assert list(house.functions_of(python)) == [("f", 70)]


@pytest.mark.skipif(sys.platform != "linux" or sys.version_info[:2] != (3, 11), reason="one version's count is enough")
def test_a_spawn_and_an_end_take_short_ways() -> None:
    """Data goes down once and comes back once: few calls lead from one file to another."""
    # In a process of its own: what other tests have loaded or left running is called too.
    for what, crossings in run_apart(house.crossings).items():
        assert crossings <= house.MOST_CROSSINGS[what], what


def shown(name: str, value: object) -> list[str]:
    """A public name with its signature, and those of its public methods."""
    if not inspect.isclass(value):
        return [f"{name}{_signature(value)}"]
    methods = [
        f"{name}.{method}{_signature(member)}"
        for method, member in sorted(vars(value).items())
        if not method.startswith("_") and (inspect.isroutine(member) or isinstance(member, property))
    ]
    return [f"class {name}{_signature(value)}", *methods]


def _signature(value: object) -> str:
    if isinstance(value, property):
        return ""
    try:
        parameters = inspect.signature(value).parameters.values()  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return ""
    return f"({', '.join(map(_parameter, parameters))})"


def _parameter(each: inspect.Parameter) -> str:
    """Without the annotation, whose text differs from version to version, and without defaults that are objects."""
    stars = "**" if each.kind is each.VAR_KEYWORD else "*" if each.kind is each.VAR_POSITIONAL else ""
    name: str = stars + each.name
    if each.default is inspect.Parameter.empty:
        return name
    plain = each.default is None or isinstance(each.default, int | float | str | tuple)
    return f"{name}={each.default!r}" if plain else f"{name}=…"


def public_api() -> list[str]:
    """All public names, by module."""
    found = []
    for name in ("", *PUBLIC_MODULES):
        module = importlib.import_module(f"treeguard.{name}".rstrip("."))
        found.append(f"[{module.__name__}]")
        for each in sorted(module.__all__):
            value = getattr(module, each)
            at_home = name or not hasattr(value, "__module__")
            found += [each] if not at_home and value.__module__ != "treeguard" else shown(each, value)
    return found


@pytest.mark.skipif(sys.platform != "linux" or sys.version_info[:2] != (3, 11), reason="signatures differ a little")
def test_the_public_names_are_those_on_record() -> None:
    """Whoever changes one changes the record too: ``python -m tests.unit.test_house`` writes it."""
    assert public_api() == PUBLIC.read_text("utf-8").splitlines()


@pytest.mark.parametrize("name", PUBLIC_MODULES)
def test_what_is_public_has_words_of_its_own(name: str) -> None:
    """Classes, their methods, and functions: help() shows no base's docstring in their place."""
    module = importlib.import_module(f"treeguard.{name}")
    for each in module.__all__:
        value = getattr(module, each)
        # Those of subprocess are the standard library's. Python 3.10 takes an alias such as list[int] for a class.
        if inspect.isclass(value) and get_origin(value) is None and value.__module__ != "subprocess":
            assert vars(value).get("__doc__"), each
            for method, member in vars(value).items():
                public = not method.startswith("_") and (inspect.isroutine(member) or isinstance(member, property))
                assert not public or inspect.getdoc(getattr(value, method)), f"{each}.{method}"
        else:
            assert not inspect.isfunction(value) or value.__doc__, each


if __name__ == "__main__":
    PUBLIC.write_text("\n".join(public_api()) + "\n", encoding="utf-8")
