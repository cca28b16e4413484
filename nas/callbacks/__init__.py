"""What hears of a search while it runs: `nas.search(..., callbacks=[...])`.

`Callback` is the base of one's own; `TensorBoard`, `MLflow` and `WandB` are ready, each with an extra of its name.
"""

from nas.callbacks.callback import Callback, EpochReport
from nas.callbacks.mlflow import MLflow
from nas.callbacks.tensorboard import TensorBoard
from nas.callbacks.wandb import WandB

__all__ = ["Callback", "EpochReport", "MLflow", "TensorBoard", "WandB"]
