"""Logarithm and power of two of float32 vectors by exponent bits and polynomial, so that the loops vectorize.

Against numpy: log2 within 2e-6 absolute for arguments in [1, 2^20] (1e-7 where the argument is 1), exp2 within 1e-5 relative on
[-126, 0] (a test checks both).
"""

from __future__ import annotations

import numpy as np

from streamer.tables.arrays import Array
from streamer.tables.compile import inner_kernel


@inner_kernel
def log2_1p_scaled(value_C: Array, scale: float) -> None:
    """``value = log2(1 + scale * value)`` in place, for values >= 0."""
    factor = np.float32(scale)
    one = np.float32(1.0)
    for n in range(len(value_C)):
        value_C[n] = one + factor * value_C[n]
    bits_C = value_C.view(np.int32)
    for n in range(len(value_C)):
        bits = bits_C[n]
        exponent = np.int32(bits >> np.int32(23)) - np.int32(127)
        bits_C[n] = (bits & np.int32(0x007FFFFF)) | np.int32(0x3F800000)
        # atanh series on m in [1, 2): log2(m) = 2/ln2 * (t + t^3/3 + ...), t = (m - sqrt2) / (m + sqrt2), plus 1/2
        m = value_C[n]
        t = (m - np.float32(1.4142135)) / (m + np.float32(1.4142135))
        s = t * t
        series = t * (
            np.float32(2.8853901) + s * (np.float32(0.9617967) + s * (np.float32(0.5770780) + s * np.float32(0.4121985)))
        )
        value_C[n] = np.float32(exponent) + np.float32(0.5) + series


@inner_kernel
def exp2_in_place(value_C: Array) -> None:
    """``value = 2 ** value`` in place, for values <= 0; below -126 the result is 0."""
    bits_C = value_C.view(np.int32)
    for n in range(len(value_C)):
        x = value_C[n]
        low = x < np.float32(-126.0)
        x = np.float32(-126.0) if low else x
        whole = np.floor(x)
        f = x - whole
        p = np.float32(1.0) + f * (
            np.float32(0.69314718)
            + f
            * (
                np.float32(0.24022651)
                + f
                * (
                    np.float32(0.05550411)
                    + f * (np.float32(0.00961813) + f * (np.float32(0.00133336) + f * np.float32(0.00015404)))
                )
            )
        )
        value_C[n] = np.float32(0.0) if low else p
        bits_C[n] += np.int32(0) if low else np.int32(whole) << np.int32(23)
