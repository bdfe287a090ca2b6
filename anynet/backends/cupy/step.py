"""A step as a few kernels and products, launched on CuPy's arrays."""

from __future__ import annotations

from typing import Any

from anynet.backends.base import Array
from anynet.backends.compiling import NotCompilable
from anynet.backends.cupy.cublas import Products, is_product
from anynet.backends.cupy.cuda_code import THREADS
from anynet.backends.cupy.fusion import Kernel, Plan
from anynet.backends.cupy.fusion_rules import behind_views
from anynet.tracing import StepProgram, Value
from anynet.tracing.evaluation import compute
from anynet.tracing.program import VIEWS
from anynet.tracing.trees import leaves


class FusedStep:
    """A program as kernels, which write the new state over the old.

    Keep it as long as a graph of it is launched, since it owns the kernels and the captured arrays.

    Parameters
    ----------
    program : StepProgram
    products : Products

    Raises
    ------
    NotCompilable
        When no kernels can be written for the program.
    """

    def __init__(self, program: StepProgram, products: Products) -> None:
        import cupy

        self.products = products
        self.plan = Plan(program)
        self.captured = [cupy.ascontiguousarray(cupy.asarray(array)) for array in self.plan.captured]
        module = cupy.RawModule(code=self.plan.source, options=("--fmad=false",))
        kernels = [node for node in self.plan.nodes if isinstance(node, Kernel)]
        self._functions = {kernel.name: module.get_function(kernel.name) for kernel in kernels}
        used = [self._arrays_of(node) for node in self.plan.nodes]
        self._last = {array: i for i, arrays in enumerate(used) for array in arrays}

    def __call__(self, xp: Any, state: Any, batch: tuple[Array, ...]) -> tuple[Any, dict[str, Array]]:
        import cupy

        own = leaves(state)
        if not all(array.flags.c_contiguous for array in own):
            raise NotCompilable("a state that is not contiguous")
        given = {"state": own, "batch": map(cupy.ascontiguousarray, batch), "captured": self.captured}
        arrays = {(kind, i): array for kind, several in given.items() for i, array in enumerate(several)}
        metrics = {name: cupy.empty(x.shape, x.dtype) for name, x in self.plan.program.metrics.items()}
        arrays |= {("metric", i): array for i, array in enumerate(metrics.values())}
        for i, node in enumerate(self.plan.nodes):
            for array in self._arrays_of(node) - arrays.keys():
                x = self.plan.temporaries[array[1]]
                arrays[array] = cupy.empty(x.size, x.dtype)
            if isinstance(node, Kernel):
                pointers = tuple(arrays[array] for array in node.arrays)
                self._functions[node.name]((node.blocks,), (THREADS,), pointers)
            else:
                self._call_the_library(xp, node, arrays)
            # Temporaries are freed after their last use, so that later ones can use the memory.
            arrays = {array: x for array, x in arrays.items() if array[0] != "temporary" or self._last[array] > i}
        return state, metrics

    def _arrays_of(self, node: Kernel | Value) -> set[tuple[str, int]]:
        """The arrays that a node reads and writes."""
        if isinstance(node, Kernel):
            return set(node.arrays)
        return {self.plan.place[x].array for x in (node, *map(behind_views, node.inputs))}

    def _call_the_library(self, xp: Any, node: Value, arrays: dict[tuple[str, int], Array]) -> None:
        inputs, out = [self._array(xp, x, arrays) for x in node.inputs], self._array(xp, node, arrays)
        if node.op == "matmul" and is_product(*inputs):
            self.products.multiply(inputs[0], inputs[1], out)
        elif node.op == "all_reduce":
            node.attributes["function"](inputs[0], out)
        else:
            out[...] = compute(xp, node, inputs)

    def _array(self, xp: Any, x: Value, arrays: dict[tuple[str, int], Array]) -> Array:
        # Even if a view is stored itself, since that may happen only later.
        if x.op in VIEWS:
            return compute(xp, x, [self._array(xp, x.inputs[0], arrays)])
        array, offset = self.plan.place[x]
        return xp.reshape(xp.reshape(arrays[array], (-1,))[offset : offset + x.size], x.shape)
