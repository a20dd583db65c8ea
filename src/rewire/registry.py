"""Typed name → object tables; their keys also parametrise the contract tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from rewire.errors import unknown_name

T = TypeVar("T")


class Registry(Generic[T]):
    """Objects of one kind by name.

    Example:
        >>> STRATEGIES: Registry[Callable] = Registry("rewiring strategy")
        >>> @STRATEGIES.register("random")
        ... def random(): ...
        >>> STRATEGIES["random"] is random
        True
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        def add(entry: T) -> T:
            assert name not in self._entries, f"{self.kind} '{name}' is registered twice"
            self._entries[name] = entry
            return entry

        return add

    def __getitem__(self, name: str) -> T:
        """The entry called `name`; raises `InputError` with the nearest name and the list."""
        if name not in self._entries:
            raise unknown_name(self.kind, name, self._entries)
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        return len(self._entries)
