"""A word to the processor about what will be read soon, so that it need not be waited for then. It changes no result."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

SOON = 16
"""Rows from the one that a loop reads to the one that it asks for meanwhile."""

_READ, _KEEP, _DATA = 0, 3, 1
"""Arguments of LLVM's ``llvm.prefetch``: for reading, into the nearest cache, data."""


@intrinsic
def prefetch(typing_context: Any, array: Any, row: Any) -> Any:  # noqa: ARG001 - numba's signature
    """``prefetch(array, row)`` in a kernel: the cache line where row ``row`` of the array begins; any number is a row."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array_type, row_type = signature.args
        made = context.make_array(array_type)(context, builder, arguments[0])
        stride = cgutils.unpack_tuple(builder, made.strides, array_type.ndim)[0]
        at = context.cast(builder, arguments[1], row_type, types.intp)
        first = builder.ptrtoint(made.data, stride.type)
        address = builder.inttoptr(builder.add(first, builder.mul(at, stride)), ir.IntType(8).as_pointer())
        word = ir.IntType(32)
        called = ir.FunctionType(ir.VoidType(), [address.type, word, word, word])
        llvm = cgutils.get_or_insert_function(builder.module, called, "llvm.prefetch.p0")
        builder.call(llvm, [address, word(_READ), word(_KEEP), word(_DATA)])
        return context.get_dummy_value()

    return types.void(array, row), generate
