"""Which data, and what is to be made of them."""

from dataclasses import dataclass

from neuroforge_jax.config.checks import check_choice, convert_fields
from neuroforge_jax.errors import ConfigError


@dataclass(frozen=True)
class DataConfig:
    """Which data, and what is to be made of them; what is not said here is inferred, and shown."""

    dataset: str = "auto"
    """auto, mnist, fashion-mnist, digits, breast-cancer, or the path of a .csv, .tsv, .txt, .parquet, .arrow,
    .feather or .npz file, of a folder of arrays, of pictures by class or of shards (.parquet, or x*.npy with
    y*.npy, in it or in train/, validation/ and test/), or of a manifest of shards (.json)."""
    test: str | None = None
    """File with the test data of a table (else a fifth of --dataset, class by class, by a fixed seed)."""
    validation: str | None = None
    """File with the validation data of a table."""
    target: tuple[str, ...] = ()
    """Columns of a table to predict (the last one unless given)."""
    task: str = "auto"
    """auto, classification (one of several classes), regression (quantities) or multilabel (any number of
    labels)."""
    drop: tuple[str, ...] = ()
    """Columns of a table to leave out."""
    categorical: tuple[str, ...] = ()
    """Columns of a table whose values are categories, numbers too."""
    numeric: tuple[str, ...] = ()
    """Columns of a table whose values are numbers; a cell that is none counts as missing."""
    time: tuple[str, ...] = ()
    """Columns of a table whose values are dates or times."""
    id: str | None = None
    """Column that names the rows: no input, but passed through to predictions."""
    group: str | None = None
    """Column whose values must not lie in training and test data both: a patient, a house."""
    time_split: str | None = None
    """Column by which the data are split: the last fifth of the rows is test data. No input, unless --time names it
    too."""
    sample_weight: str | None = None
    """Column that says how much a row counts, in training and in metrics."""
    class_weight: str | None = None
    """How much the rows of a class count in training: balanced, or weights as in yes=5,no=1 (all 1)."""
    target_transform: str = "none"
    """none, or log: the logarithm of the target is learnt, of which all values must be above 0."""
    scaling: str = "auto"
    """Of numbers: standard (mean 0, deviation 1), robust (median and quartiles, extremes drawn in), quantile or
    none; auto is robust for the columns of a table and standard for arrays."""
    delimiter: str | None = None
    """What separates the cells of a text file: one character, or tab (found in its first megabyte unless given)."""
    decimal: str | None = None
    """The decimal mark of a text file: . or , (found in its first megabyte unless given)."""
    encoding: str | None = None
    """Of a text file: utf-8, latin-1, utf-16, … (found in its first megabyte unless given)."""
    header: str = "auto"
    """auto, yes or no: whether the first row of a text file holds the names of the columns (--no-header is no);
    they are column 1, column 2, ... where it does not."""
    missing: tuple[str, ...] = ()
    """Numbers, by their value, and texts that mean a missing value, besides empty cells, NA, N/A, NaN, null, None
    and ?."""

    def __post_init__(self) -> None:
        convert_fields(self)
        check_choice(self, "task", "auto", "classification", "regression", "multilabel")
        check_choice(self, "target_transform", "none", "log")
        check_choice(self, "header", "auto", "yes", "no")
        check_choice(self, "scaling", "auto", "standard", "robust", "quantile", "none")
        if self.decimal is not None:
            check_choice(self, "decimal", ".", ",")
        if self.delimiter is not None and self.delimiter != "tab" and len(self.delimiter) != 1:
            raise ConfigError(f"--delimiter {self.delimiter!r}: it takes one character, or tab")
        if self.group is not None and self.time_split is not None:
            raise ConfigError("--group and --time-split are two ways to split the data; keep one of them")
        self._check_columns()

    def _check_columns(self) -> None:
        """A column has one use."""
        single = {
            name: value
            for name in ("id", "sample_weight", "group", "time_split")
            if (value := getattr(self, name)) is not None
        }
        for name, column in single.items():
            if column in self.target:
                flag = "--" + name.replace("_", "-")
                raise ConfigError(f"{flag} {column}: it is the target; name another column")
        seen: dict[str, str] = {}
        for name in ("target", "drop", "categorical", "numeric", "time"):
            for column in getattr(self, name):
                before = seen.setdefault(column, name)
                if before not in (name, "target") or (
                    before == "target" != name and name in ("drop", "time")
                ):
                    raise ConfigError(f"--{before} and --{name} both name {column!r}; keep one of them")

    @property
    def keys(self) -> frozenset[str]:
        """Columns that tell rows apart, in which `missing` means nothing: 99 is a patient as any other."""
        return frozenset(name for name in (self.id, self.group) if name is not None)
