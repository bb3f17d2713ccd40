"""Sizes: what a plain spawn imports, how long files and functions are, and what the public names are."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

import treeguard

PACKAGE = Path(treeguard.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
NAMES = [str(path.relative_to(PACKAGE)) for path in SOURCES]
#: Lines of a file, and of a function.
LONGEST_FILE, LONGEST_FUNCTION = 400, 60
#: What a manager does without until a child asks for it.
WINGS = ("_cli", "_transport", "_wire", "capability", "child", "control", "ext", "heartbeat", "notify")
#: Lines that one spawn and one wait import, and their modules.
MOST_LINES, MOST_MODULES = 8150, 70
PUBLIC = Path(__file__).with_name("public_api.txt")
PUBLIC_MODULES = (
    *("capability", "child", "child.aio", "control", "errors", "ext", "heartbeat"),
    *("limits", "local", "manager", "notify", "params", "shutdown", "tree", "types"),
)
_LIFE = """
import asyncio, json, sys, treeguard
async def live():
    async with treeguard.LocalProcessManager() as manager:
        child = await manager.spawn_child(treeguard.SpawnParams(sys.executable, ("-c", "")))
        await manager.wait_for_exit(child.pid)
asyncio.run(live())
of = lambda package: [name for name in sys.modules if name.split(".")[0] == package]
files = {name: getattr(sys.modules[name], "__file__", None) or "" for name in of("treeguard")}
print(json.dumps([files, of("opentelemetry")]))
"""


def test_a_plain_spawn_imports_the_core_alone() -> None:
    """No module of a wing, no exporter, and not more lines than are on record."""
    done = subprocess.run([sys.executable, "-c", _LIFE], capture_output=True, text=True, check=True)
    files, exporters = json.loads(done.stdout)
    assert not exporters
    assert not [name for name in files if name.partition(".")[2].split(".")[0] in WINGS]
    assert sys.platform == "win32" or not [name for name in files if name.endswith("windows")]
    lines = sum(Path(file).read_text("utf-8").count("\n") for file in files.values() if file.endswith(".py"))
    assert (lines <= MOST_LINES, len(files) <= MOST_MODULES) == (True, True), (lines, len(files))


@pytest.mark.parametrize("wing", ["control", "notify", "capability", "heartbeat"])
def test_control_wings_are_seen(wing: str) -> None:
    """Control: what is imported shows among the modules, and by a name of the package too."""
    code = f"import sys, treeguard.{wing}; print(any(name.startswith('treeguard.{wing}') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout.strip() == b"True"


#: Waits for its split: the types of the C core's values are to leave it.
LONG = {"_core/native.py"}


@pytest.mark.parametrize("path", SOURCES, ids=NAMES)
def test_files_and_functions_are_short(path: Path) -> None:
    """A file is one concern, and a function fits a screen."""
    text = path.read_text("utf-8")
    assert text.count("\n") <= LONGEST_FILE or path.relative_to(PACKAGE).as_posix() in LONG
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < LONGEST_FUNCTION, node.name


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


if __name__ == "__main__":
    PUBLIC.write_text("\n".join(public_api()) + "\n", encoding="utf-8")
