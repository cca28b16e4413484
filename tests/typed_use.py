"""What a type checker knows of the Python API: mypy reads this file in `check`, and nothing runs it."""

from typing import assert_type

import pandas as pd

import nas

assert_type(nas.search(8000).front, pd.DataFrame)
nas.search(max_params="8000")  # type: ignore[arg-type]
