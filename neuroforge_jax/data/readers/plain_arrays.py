"""Arrow arrays and scalars of plain values.

`pa.array` and `pa.scalar` would import pandas, where that is installed, which takes a quarter of a second.
"""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float64


def string_array(texts: Iterable[str]) -> pa.StringArray:
    """Of texts, none of them missing."""
    content = [text.encode() for text in texts]
    offsets = np.cumsum([0, *map(len, content)], dtype=np.int32)
    return pa.StringArray.from_buffers(len(content), pa.py_buffer(offsets), pa.py_buffer(b"".join(content)))


def float_array(numbers: Float64[np.ndarray, " N"]) -> pa.DoubleArray:
    """Of numbers, none of them missing."""
    return pa.Array.from_buffers(
        pa.float64(), len(numbers), [None, pa.py_buffer(np.ascontiguousarray(numbers))]
    )


def bool_array(truths: Bool[np.ndarray, " N"]) -> pa.BooleanArray:
    """Of truth values, none of them missing."""
    bits = np.packbits(truths, bitorder="little")
    return pa.Array.from_buffers(pa.bool_(), len(truths), [None, pa.py_buffer(bits)])


def null_of(kind: pa.DataType) -> pa.Scalar:
    """The missing value of a type."""
    return pa.nulls(1, kind)[0]
