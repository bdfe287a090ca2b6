"""Derivatives of functions of arrays: value_and_grad, grad, vjp and jacobian."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, TypeAlias, cast

import numpy as np
from array_api_compat import array_namespace, device, is_array_api_obj

from anynet.autodiff.reverse import differentiated, gradients, recorded
from anynet.errors import UsageError, shown
from anynet.tracing import Namespace, evaluate
from anynet.tracing.evaluation import dtype_in
from anynet.tracing.stand_ins import Array, innermost
from anynet.tracing.trace import program_of
from anynet.tracing.trees import leaves, rebuilt, structure

Function: TypeAlias = Callable[..., Any]
Argnums: TypeAlias = int | Sequence[int]


def value_and_grad(function: Function, argnums: Argnums = 0, has_aux: bool = False) -> Function:
    """Make the function that returns the value of `function` and its gradient, by reverse-mode differentiation.

    The function may use any library's arrays: with operators, and with the functions of ``x.__array_namespace__()``.
    The gradient can be differentiated again. Arrays that the function uses without being given them are copied.

    Parameters
    ----------
    function : callable
        It returns one floating-point number, a 0-d array.
    argnums : int or sequence of int
        The positional arguments to differentiate with respect to: floating-point arrays or numbers, or nested tuples
        and dicts of them.
    has_aux : bool
        The function returns a pair, of which the second part is not differentiated, but returned beside the value.

    Returns
    -------
    callable
        It returns ``(value, gradient)``, or ``((value, aux), gradient)``. A gradient has the structure, shapes and
        dtypes of its argument; it is a tuple of several where `argnums` is a sequence.

    Raises
    ------
    UsageError
        When the function is called, and reads an array's values on the host, changes an argument in place, uses a
        function that has no derivative, does not return one number; or an argument holds no floating-point numbers.

    >>> import numpy as np
    >>> value_and_grad(lambda x: (x**2).__array_namespace__().sum(x**2))(np.asarray([1.0, 3.0]))
    (array(10.), array([2., 6.]))
    """

    @wraps(function)
    def of(*args: Any, **options: Any) -> Any:
        call = _Call(function, argnums, args, options, has_aux)
        (value,) = call.outputs[:1]
        if len(call.outputs) - len(call.aux) != 1 or value.shape != ():
            raise UsageError(
                f"grad needs a function that returns one number, but it returns {call.described()}: use vjp"
            )
        found = gradients(call.xp, [value], [call.xp.ones((), dtype=value.dtype)], call.inputs)
        results = call.evaluate([*call.outputs, *found])
        value, *rest = results
        gradient = call.as_arguments(rest[len(call.aux) :])
        return ((value, call.as_aux(rest[: len(call.aux)])) if has_aux else value), gradient

    return of


def grad(function: Function, argnums: Argnums = 0, has_aux: bool = False) -> Function:
    """Make the function that returns the gradient of `function`, as `value_and_grad` does; with `has_aux` a pair.

    >>> cube = lambda x: x**3
    >>> float(grad(cube)(2.0)), float(grad(grad(cube))(2.0))
    (12.0, 12.0)
    """

    @wraps(function)
    def of(*args: Any, **options: Any) -> Any:
        value, gradient = value_and_grad(function, argnums, has_aux)(*args, **options)
        return (gradient, value[1]) if has_aux else gradient

    return of


def vjp(function: Function, *args: Any) -> tuple[Any, Function]:
    """The value of a function, and a function that takes a gradient of the value to gradients of all arguments.

    Returns
    -------
    value : array, or nested tuples and dicts of arrays
    pull_back : callable
        ``dvalue -> tuple`` of the gradient of each argument: the vector-Jacobian product of `dvalue`, which has the
        structure and shapes of the value.

    >>> import numpy as np
    >>> value, pull_back = vjp(lambda x, y: x * y, np.asarray([1.0, 2.0]), np.asarray([3.0, 4.0]))
    >>> pull_back(np.asarray([1.0, 10.0]))
    (array([ 3., 40.]), array([ 1., 20.]))
    """
    call = _Call(function, range(len(args)), args, {}, has_aux=False)
    both = differentiated(call.xp, call.inputs, call.outputs, call.inputs)
    results = evaluate(both.forward, call.library, call.arrays, call.device)
    saved = results[len(call.outputs) :]

    def pull_back(dvalue: Any) -> Any:
        given = leaves(dvalue)
        shapes = [getattr(dy, "shape", ()) for dy in given]
        if structure(dvalue) != structure(call.result) or shapes != [y.shape for y in call.outputs]:
            raise UsageError(f"the gradient must have the structure and shapes of the value, {call.described()}")
        given = [call.as_gradient(dy, y) for dy, y in zip(given, call.outputs, strict=True)]
        return call.as_arguments(evaluate(both.backward, call.library, [*saved, *given], call.device))

    return rebuilt(call.result, iter(results[: len(call.outputs)])), pull_back


def jacobian(function: Function, argnums: int = 0) -> Function:
    """Make the function that returns the Jacobian of `function` with respect to one array.

    The function returns one array of shape S. With an argument of shape T, its Jacobian has the shape S + T. It is
    computed row by row.

    >>> import numpy as np
    >>> jacobian(lambda x: x[:2] * x[2])(np.asarray([1.0, 2.0, 3.0]))
    array([[3., 0., 1.],
           [0., 3., 2.]])
    """

    @wraps(function)
    def of(*args: Any, **options: Any) -> Any:
        (place,) = _places((argnums,), len(args))

        def of_one(x: Any) -> Any:
            return function(*args[:place], x, *args[place + 1 :], **options)

        value, pull_back = vjp(of_one, args[place])
        if isinstance(value, (tuple, dict)) or isinstance(args[place], (tuple, dict)):
            raise UsageError("jacobian needs a function of one array that returns one array")
        xp = array_namespace(value)
        size = math.prod(value.shape)
        units = xp.reshape(xp.eye(size, dtype=value.dtype, device=device(value)), (size, *value.shape))
        rows = [pull_back(units[i, ...])[0] for i in range(size)]
        argument = rows[0].shape if rows else np.shape(args[place])
        joined = xp.stack(rows) if rows else xp.zeros((0, *argument), dtype=value.dtype, device=device(value))
        return xp.reshape(joined, (*value.shape, *argument))

    return of


class _Call:
    """One call of a function, recorded with stand-ins for its arguments.

    Attributes
    ----------
    library, device
        What computes, and where: those of the arguments.
    arrays, inputs : list of arrays
        The leaves of the arguments that are differentiated, and their stand-ins.
    outputs : list of arrays
        Stand-ins for what the function returns, and after them those of `aux`.
    """

    def __init__(self, function: Function, argnums: Argnums, args: Any, options: Any, has_aux: bool) -> None:
        self._single = isinstance(argnums, int)
        self._places = _places((argnums,) if isinstance(argnums, int) else argnums, len(args))
        self._differentiated = tuple(args[n] for n in self._places)
        given = [x for x in leaves((args, options)) if _is_array(x)]
        self.library = _library_of(given)
        self.device = device(given[0]) if given else None
        self.arrays = [self._floats(x) for x in leaves(self._differentiated)]

        def call(xp: Namespace, *stand_ins: Any) -> Any:
            told = dict(zip(self._places, rebuilt(self._differentiated, iter(stand_ins)), strict=True))
            others = [told.get(i, _seen_by(xp, x)) for i, x in enumerate(args)]
            named = _seen_by(xp, options)
            xp.recorder.snapshot = _Copies()
            return function(*others, **named)

        self.xp, self.inputs, result = recorded(call, self.library, self.arrays, self.device)
        # A function may use what an outer derivative stands in for.
        told = (x.attributes["array"] for x in self.xp.recorder.values if x.op == "captured")
        self.library = _library_of([*given, *(x for x in told if isinstance(x, Array))])
        self.result, self._aux = cast(tuple[Any, Any], result if has_aux else (result, ()))
        self.aux = [self.xp.asarray(x) for x in leaves(self._aux)]
        self.outputs = [*(self.xp.asarray(y) for y in leaves(self.result)), *self.aux]

    def _floats(self, x: Any) -> Any:
        if isinstance(x, float):
            return self.library.asarray(x, device=self.device)
        if not hasattr(x, "dtype") or not str(x.dtype).rpartition(".")[2].startswith("float"):
            what = f"an array of {x.dtype}" if hasattr(x, "dtype") else shown(x)
            raise UsageError(f"a gradient is that of floating-point numbers, but an argument is {what}: cast it first")
        return x

    def described(self) -> str:
        shapes = [y.shape for y in self.outputs[: len(self.outputs) - len(self.aux)]]
        return f"an array of shape {shapes[0]}" if len(shapes) == 1 else f"arrays of shapes {shapes}"

    def evaluate(self, outputs: list[Array]) -> list[Any]:
        program = program_of(self.xp, [x.read() for x in self.inputs], [y.read() for y in outputs])
        return evaluate(program, self.library, self.arrays, self.device)

    def as_arguments(self, found: list[Any]) -> Any:
        by_argument = rebuilt(self._differentiated, iter(found))
        return by_argument[0] if self._single else by_argument

    def as_gradient(self, dy: Any, y: Array) -> Any:
        """The gradient of an output, in the output's dtype."""
        dtype = dtype_in(self.library, y.dtype)
        if isinstance(dy, (int, float)):
            return self.library.asarray(dy, dtype=dtype, device=self.device)
        return dy if dy.dtype == dtype else self.library.astype(dy, dtype)

    def as_aux(self, found: list[Any]) -> Any:
        return rebuilt(self._aux, iter(found))


class _Copies:
    """Copies of arrays from outside, which a function may change in place after it has used them."""

    def __init__(self) -> None:
        self._known: dict[int, Any] = {}

    def __call__(self, array: Any) -> Any:
        version = getattr(array, "_version", None)
        if version is None and not isinstance(array, np.ndarray):
            return array
        # The array itself is kept, too, so that its id stays its own.
        _, copy, before = self._known.get(id(array), (None, None, None))
        if copy is None or version != before or (version is None and not _same(array, copy)):
            copy = array_namespace(array).asarray(array, copy=True)
            self._known[id(array)] = array, copy, version
        return copy


def _same(x: Any, y: Any) -> bool:
    return x.shape == y.shape and np.array_equal(x, y, equal_nan=x.dtype.kind in "fc")


def _places(argnums: Sequence[int], count: int) -> list[int]:
    places = [n + count if n < 0 else n for n in argnums]
    if len({*places}) < len(places) or not all(0 <= n < count for n in places):
        raise UsageError(f"argnums must tell different ones of the {count} positional arguments, but is {argnums}")
    return places


def _seen_by(xp: Namespace, tree: Any) -> Any:
    """The arrays in nested tuples and dicts as stand-ins, so that all arguments are of one namespace."""
    return rebuilt(tree, (xp.asarray(x) if _is_array(x) else x for x in leaves(tree)))


def _library_of(arrays: list[Any]) -> Any:
    """The namespace of arrays; if some are stand-ins of outer derivatives, that of the innermost."""
    if any(isinstance(x, Array) for x in arrays):
        return innermost(*arrays)
    return array_namespace(*arrays) if arrays else np


def _is_array(x: Any) -> bool:
    return isinstance(x, Array) or is_array_api_obj(x)
