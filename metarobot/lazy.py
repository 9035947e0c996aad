"""Imports when used: torch takes seconds to import and MuJoCo a tenth, and help needs neither."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from importlib import import_module
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")


class Registry(MutableMapping[str, T], Generic[T]):
    """Classes by name; the module of one is imported when its class is first asked for.

    Args:
        package: The package that holds the modules.
        places: ``module:Class`` by name.
    """

    def __init__(self, package: str, places: Mapping[str, str]) -> None:
        self._package = package
        self._found: dict[str, T | str] = {**places}

    def __getitem__(self, name: str) -> T:
        """Return a class."""
        found = self._found[name]
        if isinstance(found, str):
            module, _, class_name = found.partition(":")
            imported = import_module(f"{self._package}.{module}")
            found = self._found[name] = cast(T, getattr(imported, class_name))
        return found

    def __setitem__(self, name: str, value: T) -> None:
        """Register a class."""
        self._found[name] = value

    def __delitem__(self, name: str) -> None:
        """Remove a class."""
        del self._found[name]

    def __contains__(self, name: object) -> bool:
        """Whether there is one of this name; imports nothing."""
        return name in self._found

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names; imports nothing."""
        return iter(self._found)

    def __len__(self) -> int:
        """Return the number of names."""
        return len(self._found)


def names_of(package: str, places: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a package whose names are imported when they are first used.

    Args:
        package: The package, ``__name__`` in its ``__init__.py``.
        places: Names by the module of the package that holds them.
    """
    modules = {name: module for module, names in places.items() for name in names}

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{modules[name]}"), name)

    return get
