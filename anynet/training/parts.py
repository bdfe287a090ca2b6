"""What a model is made of, as attributes that look at what is assigned to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

if TYPE_CHECKING:
    from anynet.training.model import Model

T = TypeVar("T")


class Part(Generic[T]):
    """A part of a model, which decides what may be assigned to it, and when."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, model: None, owner: type) -> Part[T]: ...
    @overload
    def __get__(self, model: Model, owner: type) -> T: ...
    def __get__(self, model: Model | None, owner: type) -> Any:
        return self if model is None else model._parts[self.name]

    def __set__(self, model: Model, part: T) -> None:
        model._assign(self.name, part)
