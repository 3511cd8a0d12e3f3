"""The figures of a fit that the training loop knows nothing of, under the names of the loop's."""

from typing import Any

from neuroforge_jax.model.model import FittedModel
from neuroforge_jax.nn.mlp import count, train_flops
from neuroforge_jax.training.progress import Record

UNKNOWN = (
    "test_accuracy",
    "test_loss",
    "best_validation_accuracy",
    "best_validation_loss",
    "best_epoch",
    "selected_by",
    "last_epoch_accuracy",
    "matmul_peak_flops_per_second",
    "matmul_peak_dtype",
    "share_of_peak",
    "loss_scale",
)
"""What only the loop measures."""


def describe_end(
    model: FittedModel, *, loss: float, iterations: int, made_by: str, device: str
) -> tuple[tuple[Record, ...], dict[str, Any]]:
    """History and figures of a network of which the end alone is known: of a search, or of another program.

    loss: as it is shown. made_by: in the place of the backend. device: on which.
    """
    times: dict[str, Any] = {"train_seconds": 0.0, "samples_per_second": 0.0}
    record: dict[str, Any] = {"event": "epoch", "epoch": iterations, "step": iterations, "train_loss": loss}
    figures: dict[str, Any] = {
        "train_loss": loss,
        "compile_seconds": 0.0,
        "steps": iterations,
        "epochs": iterations,
        "parameters": count(model.mlp),
        "train_flops_per_sample": train_flops(model.mlp),
        "flops_per_second": 0.0,
        "peak_memory_bytes": 0,
        "dataset": "arrays",
        "dataset_origin": "",
        "backend": made_by,
        "backend_reason": "",
        "precision": str(model.policy),
        "products": "",
        "skipped_steps": 0,
        "device": device,
        "seed": 0,
    }
    return (record | times,), dict.fromkeys(UNKNOWN) | times | figures
