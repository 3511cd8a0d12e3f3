"""The tables of the suite: their files, what is to be reached on each, and by which config."""

from dataclasses import dataclass, replace
from pathlib import Path

from neuroforge_jax.benchmarking.options import BenchOptions
from neuroforge_jax.config import TrainConfig
from neuroforge_jax.data.datasets import data_folder, find_files
from neuroforge_jax.data.download import ARCHIVES

TABLE = TrainConfig(
    hidden=(256, 256, 256), initializer="glorot", dropout=0.15, batch_size=128, epochs=80, optimizer="adamw",
    learning_rate=0.003, weight_decay=0.3, schedule="one-cycle", warmup=0.2, scaling="quantile", patience=20,
)  # fmt: skip
"""configs/table.py."""

FASHION = TrainConfig(
    dataset="fashion-mnist", backend="mixed", hidden=(512, 256), activation="silu", dropout=0.2, batch_size=256,
    epochs=12, optimizer="adamw", learning_rate=0.002, weight_decay=0.1, schedule="cosine", label_smoothing=0.05,
)  # fmt: skip
"""configs/fashion.py."""

SEEDS = 5


@dataclass(frozen=True)
class Task:
    """A table and what is to be reached on its test data.

    dataset, test, validation: files in the folder of tables; no dataset for what lies in the data folder by the
    config's own name. goal: the least mean accuracy, or the greatest mean RMSE, in units of the target; None for
    scikit-learn's mean accuracy less half a point. splits: whether there are ten splits, class by class, with three
    seeds each. peer_seeds: how many of the seeds scikit-learn takes part in, where there are no splits: large
    tables take it a minute.
    """

    name: str
    dataset: str = ""
    target: tuple[str, ...] = ()
    test: str | None = None
    validation: str | None = None
    goal: float | None = None
    unit: float = 1.0
    splits: bool = False
    peer_seeds: int = SEEDS
    config: TrainConfig = TABLE

    @property
    def names(self) -> tuple[str, str]:
        """Of the rows."""
        return f"tables/{self.name}/ours", f"tables/{self.name}/scikit-learn"

    def is_selected(self, options: BenchOptions) -> bool:
        """By its own name, or by that of a row: a table is measured as a whole."""
        return any(map(options.selects, (self.name, *self.names)))

    def absence(self, folder: Path, data_dir: Path | None) -> str:
        """Why it cannot be measured; empty where its files are there."""
        if not self.dataset:
            found = find_files(ARCHIVES[self.config.dataset], data_folder(data_dir))
            return f"{self.config.dataset} is not in the data folder" if None in found.values() else ""
        files = [file for file in (self.dataset, self.test, self.validation) if file is not None]
        missing = [file for file in files if not (folder / file).is_file()]
        return f"{missing[0]} is not in the folder of tables" if missing else ""

    def in_folder(self, folder: Path) -> TrainConfig:
        """The config with the files of this table."""
        if not self.dataset:
            return self.config
        test, validation = (file and str(folder / file) for file in (self.test, self.validation))
        dataset = str(folder / self.dataset)
        return replace(self.config, dataset=dataset, test=test, validation=validation, target=self.target)


TASKS = (
    Task("titanic", "titanic.csv", ("Survived",), splits=True),
    Task("credit_german", "credit_german.csv", splits=True),
    Task("adult", "adult-train.csv", test="adult-test.csv", goal=0.852, peer_seeds=2),
    Task("telco", "telco_customer_churn.csv", ("Churn",), goal=0.795),
    Task("bank_marketing", "bank_marketing.csv", goal=0.903, peer_seeds=1),
    Task(
        "california",
        "california_housing.csv",
        ("median_house_value",),
        goal=0.515,
        unit=100_000.0,
        peer_seeds=2,
    ),
    Task(
        "cpu_act",
        "talent/cpu_act-train.csv",
        ("y",),
        "talent/cpu_act-test.csv",
        "talent/cpu_act-val.csv",
        goal=2.7,
        peer_seeds=3,
    ),
    Task("letter", "letter-recognition.data", ("Letter",), goal=0.965, peer_seeds=1),
    Task("fashion-mnist", goal=0.895, peer_seeds=1, config=FASHION),
)
