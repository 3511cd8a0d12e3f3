"""The suites by name, each a list of groups; the cases of a group are measured side by side, round after round."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from neuroforge_jax.backends.table import BACKENDS
from neuroforge_jax.benchmarking.cases import Case, family, random_pixels
from neuroforge_jax.benchmarking.options import BenchOptions
from neuroforge_jax.benchmarking.peers.process import ON_CPUS, ON_CUDA
from neuroforge_jax.config import TrainConfig
from neuroforge_jax.errors import DeviceError, UserError

FLAGSHIP = (1024, 512)
LADDER = ("naive", "stepped", "async", "optimized", "mixed")
CUDA_LADDER = ("cuda-naive", "stepped", "cuda-async", "cuda-optimized", "cuda-mixed-precision", "pallas")
BATCHES = (8, 64, 512)


@dataclass(frozen=True)
class Group:
    """Cases that are compared with each other. peers: the names of the peers that take their turns beside them,
    against the first case. most_repetitions: where steps are long; None for as many as the suite has.
    """

    cases: tuple[Case, ...]
    peers: tuple[str, ...] = ()
    most_repetitions: int | None = None

    def peer_case(self, peer: str) -> str:
        """The name of a peer's row: it lies beside the first case."""
        return f"{self.cases[0].name.rpartition('/')[0]}/{peer}"

    @property
    def names(self) -> list[str]:
        """Of all rows."""
        return [*(case.name for case in self.cases), *map(self.peer_case, self.peers)]

    def select(self, options: BenchOptions) -> "Group":
        """The rows of these names, with the baselines that they need; without a case where there is none."""
        chosen = {case.name for case in self.cases if options.selects(case.name)}
        chosen |= {case.baseline for case in self.cases if case.name in chosen and case.baseline}
        peers = tuple(peer for peer in self.peers if options.selects(self.peer_case(peer)))
        if peers:
            chosen.add(self.cases[0].name)
        return replace(self, cases=tuple(case for case in self.cases if case.name in chosen), peers=peers)


@dataclass(frozen=True)
class Suite:
    """purpose: a line for the list of suites. groups: made when they are wanted, for data take memory.
    extras: parts that are no trainings, by name. backend: by whose device the machine is measured beside it.
    """

    purpose: str
    groups: Callable[[], list[Group]]
    extras: tuple[str, ...] = ()
    repetitions: int = 15
    turn_seconds: float = 0.25
    backend: str = "optimized"

    def adapt(self, options: BenchOptions) -> "Suite":
        """The suite with what the options change of it."""
        return replace(
            self,
            repetitions=options.repetitions or self.repetitions,
            turn_seconds=options.turn_seconds or self.turn_seconds,
        )


def quick() -> list[Group]:
    """The ladder at one batch, the two fast ones at others, and two peers that are always there."""
    data = random_pixels()
    config = TrainConfig(hidden=FLAGSHIP)
    return [
        Group(family("backends", "b64", replace(config, batch_size=64), data, LADDER)),
        *(
            Group(family("precision", f"b{batch}", replace(config, batch_size=batch), data, F32_AND_BF16))
            for batch in (8, 512)
        ),
        Group(
            family("peers", "b64", replace(config, batch_size=64), data, ("optimized",)),
            peers=("numpy", "scikit-learn"),
        ),
    ]


F32_AND_BF16 = ("optimized", "mixed")


def backends() -> list[Group]:
    """Every row of the table that can train here."""
    data, config = random_pixels(), TrainConfig(hidden=FLAGSHIP)
    names = ("naive", *(name for name in BACKENDS if name != "naive" and _trains_here(name)))
    return [
        Group(family("backends", f"b{batch}", replace(config, batch_size=batch), data, names))
        for batch in BATCHES
    ]


def precision() -> list[Group]:
    """float32, bf16 and fp16 by the same execution."""
    data, config = random_pixels(), TrainConfig(hidden=FLAGSHIP, backend="optimized")
    groups = []
    for batch in (8, 64, 512, 2048):
        names = [f"precision/b{batch}/{name}" for name in ("f32", "bf16", "fp16")]
        cases = [
            Case(
                name,
                replace(config, batch_size=batch, precision=name.rpartition("/")[2]),
                data,
                {"batch_size": batch},
                None if name == names[0] else names[0],
            )
            for name in names
        ]
        groups.append(Group(tuple(cases)))
    return groups


def scaling() -> list[Group]:
    """How time grows with the batch, the width and the depth."""
    data = random_pixels(1 << 16)

    def at(axis: str, value: int, config: TrainConfig, most_repetitions: int | None = None) -> Group:
        """A point of a curve. axis: batch_size, width or depth."""
        what = f"{axis[0]}{value}"
        cases = family(
            f"scaling {axis.partition('_')[0]}", what, config, data, F32_AND_BF16, axis={axis: value}
        )
        return Group(cases, most_repetitions=most_repetitions)

    flagship = TrainConfig(hidden=FLAGSHIP)
    square = TrainConfig(batch_size=512)
    deep = TrainConfig(batch_size=512, initializer="he")
    return [
        *(
            at("batch_size", batch, replace(flagship, batch_size=batch), 7 if batch > 4096 else None)
            for batch in (1, 4, 16, 64, 256, 1024, 4096, 16_384, 65_536)
        ),
        *(
            at("width", width, replace(square, hidden=(width, width)), 5 if width > 2048 else None)
            for width in (16, 64, 256, 1024, 4096, 8192)
        ),
        *(at("depth", depth, replace(deep, hidden=(256,) * depth)) for depth in (1, 2, 4, 8, 16, 32)),
    ]


def population() -> list[Group]:
    """Networks trained in one program, against one alone: small ones, and such as fill the units on their own."""
    small = TrainConfig(hidden=(32,), batch_size=32, backend="optimized")
    large = TrainConfig(hidden=(256,), batch_size=128, backend="optimized")
    groups = []
    for what, config, data, most in (
        ("64-32-10", small, random_pixels(4096, 64), 1024),
        ("784-256-10", large, random_pixels(), 64),
    ):
        sizes = [size for size in (1, 4, 16, 64, 256, 1024) if size <= most]
        names = {size: f"population {what}/{size} at once/optimized" for size in sizes}
        cases = [
            Case(
                names[size],
                config,
                data,
                {"networks": size},
                None if size == 1 else names[1],
                networks=size,
            )
            for size in sizes
        ]
        groups.append(Group(tuple(cases)))
    return groups


def ladder() -> list[Group]:
    """784-1024-10, batch 32, SGD 0.01: the work whose times others have published."""
    data = random_pixels(10_000)
    config = TrainConfig(hidden=(1024,), batch_size=32, learning_rate=0.01, epochs=10)
    return [Group(family("ladder", "b32", config, data, LADDER), peers=("numpy",))]


def peers() -> list[Group]:
    """The flagship against other frameworks, from the same weights over the same batches."""
    data, config = random_pixels(), TrainConfig(hidden=FLAGSHIP)
    return [
        Group(
            family("peers", f"b{batch}", replace(config, batch_size=batch), data, F32_AND_BF16),
            peers=ON_CPUS,
        )
        for batch in BATCHES
    ]


def kernels() -> list[Group]:
    """Hand-written kernels against XLA, in whole trainings. Raises DeviceError where the device has none."""
    _ = BACKENDS["pallas"].implementation
    data, config = random_pixels(1 << 16), TrainConfig(hidden=FLAGSHIP)
    return [
        Group(
            family(
                "kernels", f"b{batch}", replace(config, batch_size=batch), data, ("mixed", "pallas"),
                axis={"batch_size": batch},
            )
        )
        for batch in (64, 256, 1024, 4096, 16_384)
    ]  # fmt: skip


def gpu() -> list[Group]:
    """The ladder of an NVIDIA GPU. Raises DeviceError where there is none.

    At batch 64 are also the peers that claims about a GPU compare it with: NumPy on the CPU, and TensorFlow.
    """
    _ = BACKENDS["cuda-optimized"].device
    data, config = random_pixels(), TrainConfig(hidden=FLAGSHIP)
    names = tuple(name for name in CUDA_LADDER if _trains_here(name))
    return [
        Group(
            family("backends", f"b{batch}", replace(config, batch_size=batch), data, names),
            (*ON_CUDA, "numpy", "keras xla") if batch == 64 else ON_CUDA,
        )
        for batch in (64, 512, 4096)
    ]


def regression() -> list[Group]:
    """What `--against` compares in two minutes: each execution, both dtypes, three batches, an optimizer with a
    schedule, and a network so small that what surrounds its products counts.
    """
    # So many epochs that they are compiled as long trainings are.
    data, flagship = random_pixels(), TrainConfig(hidden=FLAGSHIP, batch_size=64, epochs=100)
    adam = replace(flagship, optimizer="adam", schedule="cosine", learning_rate=0.001)
    small = TrainConfig(hidden=(32,), batch_size=32)
    return [
        Group(family("regression", "b64", flagship, data, LADDER)),
        Group(family("regression", "b8", replace(flagship, batch_size=8), data, ("optimized",))),
        Group(family("regression", "b512", replace(flagship, batch_size=512), data, ("mixed",))),
        Group(family("regression", "adam", adam, data, ("optimized",))),
        Group(family("regression", "small", small, random_pixels(4096, 64), ("optimized",))),
    ]


def no_trainings() -> list[Group]:
    """Of a suite that has only extras."""
    return []


SUITES: Mapping[str, Suite] = {
    "quick": Suite("a minute: the ladder, precision, two peers, start", quick, ("startup",), 9, 0.15),
    "backends": Suite("every backend that trains here, at batch 8, 64 and 512", backends),
    "precision": Suite("float32, bf16 and fp16 at batch 8 to 2,048", precision),
    "scaling": Suite("batch 1 to 65,536, width 16 to 8,192, depth 1 to 32", scaling, (), 9),
    "population": Suite("1 to 1,024 networks in one program", population, (), 9),
    "kernels": Suite("hand-written kernels against XLA, where there are some for the device", kernels),
    "ladder": Suite("784-1024-10 at batch 32, beside published figures", ladder, ("published",)),
    "peers": Suite("NumPy, scikit-learn, PyTorch, Flax, Keras beside ours", peers),
    "startup": Suite("import, first step cold and warm", no_trainings, ("startup",)),
    "speedrun": Suite(
        "MNIST to 98.0 % and 98.5 %, over 30 seeds", no_trainings, ("speedrun", "speedrun-command")
    ),
    "tables": Suite("one config on nine tables, scikit-learn beside it", no_trainings, ("tables",)),
    "sklearn": Suite(
        "our estimators in the place of scikit-learn's: scores, times",
        no_trainings,
        ("sklearn-fits", "sklearn-first-fits", "sklearn-search", "sklearn-predict"),
    ),
    "regression": Suite(
        "two minutes, for --against: executions, batches, fit, start",
        regression,
        ("fits", "startup"),
        15,
        0.1,
    ),
    "gpu": Suite("the ladder of an NVIDIA GPU, PyTorch and CUDA C beside it", gpu, backend="cuda-optimized"),
}


def _trains_here(name: str) -> bool:
    try:
        _ = BACKENDS[name].implementation, BACKENDS[name].device
    except (DeviceError, UserError):
        return False
    return True
