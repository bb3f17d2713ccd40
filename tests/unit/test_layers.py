"""The house: imports point one way, and what is public is documented."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import treeguard

PACKAGE = Path(treeguard.__file__).parent

#: Top first. A module imports only from layers below its own; those of one package import each other too.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("__main__",),
    ("_cli",),
    ("testing",),
    ("aio",),
    ("local", "subprocess", "pty"),
    ("tree", "_blocking"),
    ("control", "child", "notify"),
    ("_wire",),
    ("_transport", "manager", "heartbeat", "ext", "terminal"),
    ("shutdown",),
    ("capability",),
    ("_core.signalling", "_core.adoption"),
    ("_core.releasing",),
    ("_core.adopted",),
    ("_core.manager_arguments",),
    ("_core.running",),
    ("_core.delivery",),
    ("_core.standby",),
    ("_core.recovery",),
    ("_core.containment", "_core.trees"),
    ("_core.resources", "_core.streams", "_core.stops"),
    ("_core.lending", "_core.terminals"),
    ("_core.engine", "_core.spec", "_core.inspection", "_core.standard_names"),
    ("_core.cgroup",),
    ("_core.inheritable", "_core.processes", "params"),
    ("_core.relay", "_core.controlling_terminal"),
    (
        "_core.telemetry",
        *(
            f"_core.native_{name}"
            for name in (
                "alone",
                "attributes",
                "descriptors",
                "isolation",
                "kinfo",
                "namespaces",
                "processes",
                "release",
                "terminals",
                "windows",
            )
        ),
    ),
    ("_core.given", "_core.launcher"),
    ("limits", "released", "_core.native", "_core.outcome", "_core.attributes"),
    ("_core.validation", "_core.options"),
    (
        "types",
        "errors",
        "_core.escaping",
        "_core.handlers",
        "_core.waiting",
        "_core.forks",
        "_core.poll_thread",
        "_core.worker",
        "_core.reaper",
    ),
    ("_core.native_values",),
    ("_pyinstaller",),
)
#: The package's face: what is public, imported when it is asked for. Only the command line looks at it from inside.
FACE = "__init__"
OUTSIDE = ("__main__", "_cli")
NAMES: list[str] = sorted(vars(treeguard)["__all__"])
#: The modules whose names it shows.
HOMES = {unit.removeprefix("treeguard.") for unit in treeguard._HOME.values()} | {"_core.containment"}
#: Packages with modules that only one system can import.
OF_ONE_SYSTEM = ("_blocking", "control", "_transport")
COMPILED = "_treeguard"
#: What modules besides those of the command line may import from elsewhere than the standard library.
FOREIGN = {"msgspec"}
#: And what one of them alone may, which nobody needs.
OPTIONAL = {"_core/telemetry/otel.py": {"opentelemetry"}}

#: What is below has modules and packages of its own.
CORE = "_core"
PACKAGES = {
    path.parent.relative_to(PACKAGE).as_posix().replace("/", ".") for path in PACKAGE.rglob("*/__init__.py")
} - {CORE}
HEIGHT = {name: len(LAYERS) - i for i, layer in enumerate(LAYERS) for name in layer}
SOURCES = sorted(PACKAGE.rglob("*.py"))
SOURCE_NAMES = [str(path.relative_to(PACKAGE)) for path in SOURCES]


def unit_of(path: Path) -> str:
    """The module that a file is, or the package that it is a part of; of the core, that below it."""
    return unit_named(path.relative_to(PACKAGE).with_suffix("").parts)


def unit_named(parts: Sequence[str]) -> str:
    """The same for the parts of a module's name, without that of the package."""
    if parts[0] == CORE and len(parts) > 1 and parts[1] != FACE:
        return f"{CORE}.{parts[1]}"
    return parts[0]


def imports_of(path: Path, *, at_runtime: bool = False) -> Iterator[tuple[int, str]]:
    """Line and absolute name of each import, those within functions included.

    ``at_runtime``: those are left out that type checkers alone look at.
    """
    package = ["treeguard", *path.relative_to(PACKAGE).parts[:-1]]
    tree = ast.parse(path.read_bytes())
    for_checkers = {
        inner
        for node in ast.walk(tree)
        if at_runtime
        and isinstance(node, ast.If)
        and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if node in for_checkers:
            continue
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
    for line, name in imports_of(path, at_runtime=path.name != f"{FACE}.py" or path.parent != PACKAGE):
        if name.partition(".")[0] == "treeguard":
            module = unit_named([*name.split("."), FACE][1:])
            yield line, module if module in HEIGHT or module == COMPILED else FACE


def problem(unit: str, module: str) -> str | None:
    """What is wrong with an import, if anything is."""
    if module == COMPILED:
        return None if unit == "_core.native" else f"only _core.native may import {COMPILED}"
    if unit == FACE:
        return None if module in HOMES else "the face shows what is public, and knows nothing else"
    if module == FACE:
        return None if unit in OUTSIDE else f"the package's face imports {unit} itself"
    if (unit == module and unit in PACKAGES) or HEIGHT[module] < HEIGHT[unit]:
        return None
    return f"{module} is not below {unit}"


def test_every_module_has_its_place() -> None:
    """A new module is put into the table of layers, and a removed one is taken out."""
    assert {unit_of(path) for path in SOURCES} - {FACE, CORE} == set(HEIGHT)


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
        ("_core.telemetry", "shutdown"),
        ("_core.trees", "ext"),
        ("capability", "control"),
        ("manager", "local"),
        ("local", "_cli"),
        ("_cli", "__main__"),
        ("_core.spec", "_core.engine"),
        ("local", FACE),
        (FACE, "_cli"),
        (FACE, "_wire"),
        ("_core.engine", COMPILED),
        ("_cli", COMPILED),
    ],
)
def test_wrong_ways_are_seen(unit: str, module: str) -> None:
    """Imports upwards, sideways, of the face and of the compiled module are problems."""
    assert problem(unit, module)


@pytest.mark.parametrize("path", SOURCES, ids=SOURCE_NAMES)
def test_the_core_depends_on_little(path: Path) -> None:
    """Beside the command line, a module imports the standard library and msgspec, nothing else."""
    foreign = (
        {name.partition(".")[0] for _, name in imports_of(path, at_runtime=True)}
        - sys.stdlib_module_names
        - {"treeguard"}
    )
    optional = OPTIONAL.get(path.relative_to(PACKAGE).as_posix(), set())
    assert unit_of(path) == "_cli" or foreign <= FOREIGN | optional


def test_the_compiled_module_has_one_importer() -> None:
    """Only _core.native imports the compiled module, under any name."""
    importers = {unit_of(path) for path in SOURCES if any(COMPILED in name.split(".") for _, name in imports_of(path))}
    assert importers == {"_core.native"}


def test_exports() -> None:
    """What __all__ names is what type checkers see, and dir() shows nothing else but the usual."""
    seen = {name for _, name in imports_of(PACKAGE / "__init__.py") if name.startswith("treeguard.")}
    assert seen == {f"treeguard.{home}.{name}" for name, home in treeguard._HOME.items()}
    assert {name.rpartition(".")[2] for name in seen} == set(NAMES)
    assert set(NAMES) == {name for name in dir(treeguard) if not name.startswith("__")}


@pytest.mark.parametrize("name", NAMES)
def test_names_are_those_of_their_homes(name: str) -> None:
    """The package shows the same thing as the module."""
    home = importlib.import_module(f"treeguard.{treeguard._HOME[name]}")
    assert getattr(treeguard, name) is getattr(home, name)
    assert name in home.__all__


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
        if sys.platform == "win32" and own == ("_core", "spec", "attributes"):
            continue  # it looks up accounts of POSIX
        if own[0] not in (FACE, *OUTSIDE, *OF_ONE_SYSTEM) or own[1:] == (FACE,):
            yield ".".join(["treeguard", *own]).removesuffix(f".{FACE}")


@pytest.mark.parametrize("name", list(importable()))
def test_modules_say_what_they_are(name: str) -> None:
    """Each module has a docstring, and an __all__ of names that exist."""
    module = importlib.import_module(name)
    assert module.__doc__
    assert hasattr(module, "__path__") or module.__all__
    assert [name for name in getattr(module, "__all__", ()) if not hasattr(module, name)] == []


PUBLIC = {name: getattr(treeguard, name) for name in NAMES}
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
    """Each public function has a docstring; a new type and a constant, which can have none, a comment in its place."""
    thing = PUBLIC[name]
    if inspect.isfunction(thing):
        assert inspect.getdoc(thing)
    else:
        source = (PACKAGE / f"{treeguard._HOME[name]}.py").read_text(encoding="utf-8")
        assert re.search(rf"^#: .+\n{name}(: Final)? = ", source, re.MULTILINE)


def test_the_package_is_typed() -> None:
    """Type checkers find that the package has types, and the compiled module's stub."""
    assert (PACKAGE / "py.typed").is_file()
    assert (PACKAGE / f"{COMPILED}.pyi").is_file()
