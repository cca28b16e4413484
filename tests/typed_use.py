"""What a type checker knows of the Python API: mypy reads this file in `check`, and nothing runs it."""

from typing import assert_type

import pandas as pd

import nas

assert_type(nas.search(8000).front, pd.DataFrame)
nas.search(max_params="8000")  # type: ignore[arg-type]


def widen(block: nas.BlockBuilder, factor: int) -> None:
    block.add(block.conv(block.width, 3, block.stride), block.conv(block.width, 1, block.stride, of=block.input))


nas.register_block("widen", widen, options={"factor": [2, 4]})
nas.register_block("widen", widen, options=["factor"])  # type: ignore[arg-type]
