"""The house: imports point one way, and what is public is documented."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import treeguard
from treeguard import public

PACKAGE = Path(treeguard.__file__).parent

#: Top first. A module imports only from layers below its own; those of one package import each other too.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("__main__",),
    ("cli",),
    ("public",),
    ("local",),
    ("delivery",),
    ("containment", "trees", "control", "child", "notify"),
    ("engine", "spec", "inside", "wire"),
    ("cgroup", "transport", "manager", "provision", "heartbeat"),
    ("processes", "params", "shutdown"),
    ("capability", "telemetry", "_native_windows"),
    ("limits", "_native"),
    ("types", "errors", "escaping", "waiting", "waiter", "worker"),
    ("_pyinstaller",),
)
#: The package's face: what is public, imported when it is asked for. Only the command line looks at it from inside.
FACE = "__init__"
PUBLIC_NAMES = "public"
OUTSIDE = ("__main__", "cli")
#: Packages with modules that only one system can import.
OF_ONE_SYSTEM = ("control", "transport")
COMPILED = "_treeguard"
#: What modules besides those of the command line may import from elsewhere than the standard library.
FOREIGN = {"msgspec"}
#: And what one of them alone may, which nobody needs.
OPTIONAL = {"telemetry/otel.py": {"opentelemetry"}}

PACKAGES = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
HEIGHT = {name: len(LAYERS) - i for i, layer in enumerate(LAYERS) for name in layer}
SOURCES = sorted(PACKAGE.rglob("*.py"))
SOURCE_NAMES = [str(path.relative_to(PACKAGE)) for path in SOURCES]


def unit_of(path: Path) -> str:
    """The module that a file is, or the package that it is a part of."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """Line and absolute name of each import, those within functions included."""
    package = ["treeguard", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = [*base, *([node.module] if node.module else [])]
            for alias in node.names:
                yield node.lineno, ".".join([*module, alias.name])


def inner_imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and module of each import from within the package."""
    for line, name in imports_of(path):
        if name.partition(".")[0] == "treeguard":
            module = [*name.split("."), FACE][1]
            yield line, module if module in HEIGHT or module == COMPILED else FACE


def problem(unit: str, module: str) -> str | None:
    """What is wrong with an import, if anything is."""
    if module == COMPILED:
        return None if unit == "_native" else f"only _native may import {COMPILED}"
    if unit == FACE:
        return None if module == PUBLIC_NAMES else "the face shows what is public, and knows nothing else"
    if module == FACE:
        return None if unit in OUTSIDE else f"the package's face imports {unit} itself"
    if (unit == module and unit in PACKAGES) or HEIGHT[module] < HEIGHT[unit]:
        return None
    return f"{module} is not below {unit}"


def test_every_module_has_its_place() -> None:
    """A new module is put into the table of layers, and a removed one is taken out."""
    assert {unit_of(path) for path in SOURCES} - {FACE} == set(HEIGHT)


@pytest.mark.parametrize("path", SOURCES, ids=SOURCE_NAMES)
def test_imports_point_one_way(path: Path) -> None:
    """A module imports only from layers below its own."""
    unit = unit_of(path)
    found = [(line, module, problem(unit, module)) for line, module in inner_imports(path)]
    wrong = [f"{path.name}:{line} imports {module}, but {words}" for line, module, words in found if words]
    assert not wrong, "; ".join(wrong)


@pytest.mark.parametrize(
    ("unit", "module"),
    [
        ("types", "errors"),
        ("telemetry", "shutdown"),
        ("capability", "params"),
        ("manager", "local"),
        ("local", "cli"),
        ("cli", "__main__"),
        ("spec", "engine"),
        ("local", FACE),
        (FACE, "cli"),
        (FACE, "local"),
        ("engine", COMPILED),
        ("cli", COMPILED),
    ],
)
def test_wrong_ways_are_seen(unit: str, module: str) -> None:
    """Imports upwards, sideways, of the face and of the compiled module are problems."""
    assert problem(unit, module)


@pytest.mark.parametrize("path", SOURCES, ids=SOURCE_NAMES)
def test_the_core_depends_on_little(path: Path) -> None:
    """Beside the command line, a module imports the standard library and msgspec, nothing else."""
    foreign = {name.partition(".")[0] for _, name in imports_of(path)} - sys.stdlib_module_names - {"treeguard"}
    optional = OPTIONAL.get(path.relative_to(PACKAGE).as_posix(), set())
    assert unit_of(path) == "cli" or foreign <= FOREIGN | optional


def test_the_compiled_module_has_one_importer() -> None:
    """Only _native imports the compiled module, under any name."""
    importers = {unit_of(path) for path in SOURCES if any(COMPILED in name.split(".") for _, name in imports_of(path))}
    assert importers == {"_native"}


def test_exports() -> None:
    """__all__ is sorted and complete: what the package has, and no more."""
    has = {name for name, value in vars(public).items() if name[0] != "_" and not isinstance(value, ModuleType)}
    assert treeguard.__all__ == sorted(public.__all__)
    assert set(treeguard.__all__) == has
    assert all(getattr(treeguard, name) is getattr(public, name) for name in has)
    assert has <= set(dir(treeguard))


def test_other_names_are_not_there() -> None:
    """What the package does not have is an AttributeError, as with any module."""
    for name in ("Nothing", "_nothing", "__nothing__"):
        with pytest.raises(AttributeError, match=name):
            getattr(treeguard, name)


def test_importing_the_package_is_cheap() -> None:
    """It imports nothing of the library; nor does importing a module of it that needs little."""
    heavy = ["treeguard.local", "treeguard._treeguard", "asyncio"]
    code = f"import sys, treeguard; from treeguard import errors; print([n for n in {heavy} if n in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout.strip() == b"[]"


def importable() -> Iterator[str]:
    """The modules that every system can import, whichever uses them."""
    for path in SOURCES:
        own = path.relative_to(PACKAGE).with_suffix("").parts
        if own[0] not in (FACE, *OUTSIDE, *OF_ONE_SYSTEM) or own[1:] == (FACE,):
            yield ".".join(["treeguard", *own]).removesuffix(f".{FACE}")


@pytest.mark.parametrize("name", list(importable()))
def test_modules_say_what_they_are(name: str) -> None:
    """Each module has a docstring, and an __all__ of names that exist."""
    module = importlib.import_module(name)
    assert module.__doc__
    assert hasattr(module, "__path__") or module.__all__
    assert set(getattr(module, "__all__", ())) <= set(vars(module))


PUBLIC = {name: getattr(treeguard, name) for name in treeguard.__all__}
CLASSES = [name for name, thing in PUBLIC.items() if isinstance(thing, type)]


@pytest.mark.parametrize("name", CLASSES)
def test_public_classes_are_documented(name: str) -> None:
    """Each public class has a docstring of its own, and each of its public methods has one."""
    kind = PUBLIC[name]
    assert vars(kind).get("__doc__")
    for member, value in vars(kind).items():
        if not member.startswith("_") and (inspect.isroutine(value) or isinstance(value, property)):
            assert inspect.getdoc(getattr(kind, member)), f"{name}.{member} says nothing"


@pytest.mark.parametrize("name", sorted(PUBLIC.keys() - set(CLASSES)))
def test_other_public_names_are_documented(name: str) -> None:
    """Each public function has a docstring, and each new type, which can have none, a comment in its place."""
    thing = PUBLIC[name]
    if inspect.isfunction(thing):
        assert inspect.getdoc(thing)
    else:
        source = (PACKAGE / "types.py").read_text(encoding="utf-8")
        assert re.search(rf"^#: .+\n{name} = NewType", source, re.MULTILINE)


def test_the_package_is_typed() -> None:
    """Type checkers find that the package has types, and the compiled module's stub."""
    assert (PACKAGE / "py.typed").is_file()
    assert (PACKAGE / f"{COMPILED}.pyi").is_file()
