"""An attribute of a model that is looked at when it is assigned."""

from __future__ import annotations

from typing import Any, Generic, Protocol, TypeVar, overload

T = TypeVar("T")


class Owner(Protocol):
    """What has parts, and decides what may be assigned to them, and when."""

    _parts: dict[str, Any]

    def _assign(self, name: str, part: Any) -> None: ...


class Part(Generic[T]):
    """A part of a model, as a class attribute there."""

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
