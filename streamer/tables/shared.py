"""A counter that threads share: which of them takes the next rows of a job is decided as they come, and none waits for the other."""

from __future__ import annotations

from typing import Any

from numba.core import cgutils, types
from numba.extending import intrinsic


@intrinsic
def take(typing_context: Any, counter_1: Any, rows: Any) -> Any:  # noqa: ARG001 - numba's signature
    """``take(counter_1, rows)`` in a kernel: the first of so many rows that no other thread gets; the counter is int64 [1]."""
    if counter_1.dtype != types.int64:
        return None

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array_type, rows_type = signature.args
        made = context.make_array(array_type)(context, builder, arguments[0])
        first = cgutils.get_item_pointer(context, builder, array_type, made, [context.get_constant(types.intp, 0)])
        return builder.atomic_rmw("add", first, context.cast(builder, arguments[1], rows_type, types.int64), "monotonic")

    return types.int64(counter_1, rows), generate
