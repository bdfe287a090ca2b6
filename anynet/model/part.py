"""`Part`: an attribute of a model that is checked when it is assigned."""

from __future__ import annotations

from typing import Any, Generic, Protocol, TypeVar, overload

T = TypeVar("T")


class Owner(Protocol):
    """An object with parts; its `_assign` checks and stores them."""

    _parts: dict[str, Any]

    def _assign(self, name: str, part: Any) -> None: ...


class Part(Generic[T]):
    """A descriptor, as a class attribute of a model, for a part such as its loss."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, model: None, owner: type) -> Part[T]: ...
    @overload
    def __get__(self, model: Owner, owner: type) -> T: ...
    def __get__(self, model: Owner | None, owner: type) -> Any:
        return self if model is None else model._parts[self.name]

    def __set__(self, model: Owner, part: Any) -> None:
        model._assign(self.name, part)
