"""Name → object tables, and the seven that everybody may add to by one file: see docs/extending.md.

What a file registers is known from its text (`rewire.declared`); it is imported when it is asked
for. Files are those of one package of this one, and those of the folder in REWIRE_EXTENSIONS.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from rewire.errors import InputError, unknown_name

T = TypeVar("T")
PACKAGE = Path(__file__).resolve().parent
VARIABLE = "REWIRE_EXTENSIONS"
EXTENSIONS = "rewire_extensions"  # first part of the names of its modules


def extension_folder() -> Path | None:
    """The folder with files of one's own, and below `conf` their configuration; None if not set.

    Raises:
        InputError: if it is not there.
    """
    text = os.environ.get(VARIABLE)
    if not text:
        return None
    folder = Path(text).expanduser().resolve()
    if not folder.is_dir():
        raise InputError(f"{VARIABLE} is '{text}'. Allowed: a folder that is there.")
    return folder


class Registry(Generic[T]):
    """Objects of one kind by name.

    Args:
        kind: what messages call one.
        table: the name of this registry in the files that register something; empty for one that
            is filled where it is defined.
        package: whose files may, with dots, below this package.
        given: arguments with a default that are no options.
        shared: `module:function` of this package that declares options of all entries.
        others: names that may stand in the place of one, and have no options.

    Example:
        >>> COLOURS: Registry[Callable] = Registry("colour")
        >>> @COLOURS.register("red")
        ... def red(): ...
        >>> COLOURS["red"] is red
        True
    """

    def __init__(
        self,
        kind: str,
        *,
        table: str = "",
        package: str = "",
        given: tuple[str, ...] = (),
        shared: str = "",
        others: tuple[str, ...] = (),
    ) -> None:
        self.kind, self.table, self.package = kind, table, package
        self.given, self.shared, self.others = given, shared, others
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        def add(entry: T) -> T:
            assert name not in self._entries, f"{self.kind} '{name}' is registered twice"
            self._entries[name] = entry
            return entry

        return add

    def files(self) -> list[Path]:
        """The files in which something may be registered."""
        if not self.table:
            return []
        folders = [PACKAGE.joinpath(*self.package.split(".")), extension_folder()]
        return [path for folder in folders if folder for path in sorted(folder.glob("*.py"))]

    def declared(self) -> Mapping[str, Any]:
        """Name → `rewire.declared.Declared`, of what the files register; none is imported."""
        return _declared(self, tuple((path, path.stat().st_mtime_ns) for path in self.files()))

    def options(self, name: str) -> dict[str, Any]:
        """Option → `rewire.declared.Option` of an entry; raises `InputError` for another name."""
        from rewire.declared import definition

        if name not in self.declared():
            raise unknown_name(self.kind, name, self)
        found = dict(self.declared()[name].options)
        if self.shared:
            module, _, function = self.shared.partition(":")
            path = PACKAGE / f"{module.replace('.', '/')}.py"
            found |= definition(path, function, self.given).options
        return found

    def build(self, name: str, **options: Any) -> Callable[..., Any]:
        """The entry `name` with these options.

        Raises:
            InputError: for an unknown name or option, or a value that is not allowed.
        """
        from rewire.options import faults, section, shown

        known = self.options(name)
        for option in options:
            if option not in known:
                raise unknown_name(f"option of {self.kind} '{name}'", option, known)
        schema = section(name, {o: (known[o].kind, known[o].default) for o in options})
        for fault in faults(schema, options):
            said = f"{fault.path[0]} is {shown(fault.value)}. Allowed: {fault.allowed}."
            raise InputError(f"{self.kind} '{name}': {said}")
        return functools.partial(cast(Callable[..., Any], self[name]), **options)

    def __getitem__(self, name: str) -> T:
        """The entry called `name`; raises `InputError` with the nearest name and the list."""
        if name not in self._entries:
            found = self.declared().get(name)
            if found is None:
                raise unknown_name(self.kind, name, self)
            importlib.import_module(module_name(found.path))
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self._entries, *self.declared()}))

    def __len__(self) -> int:
        return sum(1 for _ in self)


@functools.lru_cache(maxsize=64)
def _declared(registry: Registry, files: tuple[tuple[Path, int], ...]) -> dict[str, Any]:
    from rewire.declared import declared_in

    found: dict[str, Any] = {}
    for path, _ in files:
        for entry in declared_in(path, registry.table, registry.given):
            if entry.name in found:
                raise InputError(
                    f"the {registry.kind} '{entry.name}' is registered twice, in "
                    f"'{found[entry.name].path}' and '{path}'. Allowed: one of them."
                )
            found[entry.name] = entry
    return found


def module_name(path: Path) -> str:
    """The dotted name of a file of this package or of the extensions."""
    if path.is_relative_to(PACKAGE):
        return ".".join([PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts])
    if EXTENSIONS not in sys.modules:  # a package without a file, of that folder alone
        spec = ModuleSpec(EXTENSIONS, loader=None, is_package=True)
        sys.modules[EXTENSIONS] = importlib.util.module_from_spec(spec)
    sys.modules[EXTENSIONS].__path__ = [str(path.parent)]
    return f"{EXTENSIONS}.{path.stem}"


FIXED = ("static", "dense")  # baselines of fixed connectivity, in the place of a strategy
STRATEGIES: Registry[Any] = Registry(
    "rewiring strategy",
    table="STRATEGIES",
    package="connectivity.strategies",
    others=FIXED,
)
OBJECTIVES: Registry[Any] = Registry("objective", table="OBJECTIVES", package="objectives")
ATTACKS: Registry[Any] = Registry("attack", table="ATTACKS", package="attacks", given=("seed",))
MODELS: Registry[Any] = Registry(
    "model",
    table="MODELS",
    package="models",
    given=("connectivity",),
    shared="models.factory:build_model",
)
HEADS: Registry[Any] = Registry(
    "head", table="HEADS", package="models", shared="models.heads:l2_penalty"
)
DATASETS: Registry[Any] = Registry("data set", table="DATASETS", package="data")
PRUNINGS: Registry[Any] = Registry("pruning method", table="PRUNINGS", package="pruning")
OPEN = {"rewire": STRATEGIES, "objective": OBJECTIVES, "attack": ATTACKS, "model": MODELS}
OPEN |= {"head": HEADS, "data": DATASETS, "prune": PRUNINGS}
"""Configuration group → the registry of what its files name."""
