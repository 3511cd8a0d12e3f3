"""What the kernels cannot be faster than, on paper: bytes and FLOPs of each, and the time a device needs for them.

    python benchmarks/roofline.py --output benchmarks/roofline.json

Every operand is counted as read once and every result as written once, in the dtypes of the mixed backend
(operands and dx bf16, y and dy float32, dW and db float32). Beside it stands what is moved when every layer or
operation is a program of its own. It is arithmetic, not a measurement: `benchmarks/kernels.py` measures.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import tyro
from rich.console import Console
from rich.table import Table

BF16, F32 = 2, 4


@dataclass(frozen=True)
class Ceiling:
    """A device: bf16 FLOP/s of a matrix product and bytes/s of its memory."""

    name: str
    flops_per_second: float
    bytes_per_second: float
    source: str


CEILINGS = (
    Ceiling("H200", 790e12, 4.3e12, "measured: a large product of random numbers, a device copy"),
    Ceiling("TPU v5e", 197e12, 819e9, "Google's data sheet"),
)


@dataclass(frozen=True)
class Work:
    """One kernel at one size. apart_bytes: moved where each layer or operation is a program of its own."""

    kernel: str
    size: str
    flops: float
    bytes: float
    apart_bytes: float

    def microseconds(self, ceiling: Ceiling) -> float:
        return 1e6 * max(self.flops / ceiling.flops_per_second, self.bytes / ceiling.bytes_per_second)

    def bound(self, ceiling: Ceiling) -> str:
        by_flops = self.flops / ceiling.flops_per_second > self.bytes / ceiling.bytes_per_second
        return "products" if by_flops else "memory"


def works() -> Iterator[Work]:
    layers = [(b, i, o) for b in (128, 512, 2048, 8192) for i, o in ((784, 1024), (1024, 512), (512, 10))]
    for batch, inputs, outputs in [*layers, (4096, 4096, 4096)]:
        size = f"{batch}×{inputs}×{outputs}"
        x, w, y = batch * inputs, inputs * outputs, batch * outputs
        flops = 2.0 * batch * inputs * outputs
        yield Work("forward", size, flops, BF16 * (x + w) + F32 * y, BF16 * (x + w) + F32 * 3 * y)
        # Apart: dz = dy ⊙ φ′ is written in bf16, and read by the product.
        dz = F32 * 2 * y + BF16 * y
        dx, dw = BF16 * (w + x), BF16 * x + F32 * w
        yield Work("input gradient", size, flops, F32 * 2 * y + dx, dz + BF16 * y + dx)
        yield Work("weight gradient", size, flops, F32 * 2 * y + dw, dz + BF16 * y + F32 * y + dw)
    for batch in (2048, 8192):
        z = batch * 1024
        yield Work("bias + activation gradient", f"{batch}×1024", 4.0 * z, BF16 * 3 * z, BF16 * 5 * z)
    for width in (64, 128):
        for batch in (2**14, 2**21):
            size, rows, weights = f"width {width}, batch {batch}", batch * width, 4 * width * width
            flops = 2.0 * batch * weights
            yield Work(
                "mlp of 4 layers, inference", size, flops, BF16 * 2 * rows + BF16 * weights, BF16 * 8 * rows
            )
            # The products forward once in the pass forward and once again in the pass backward, and two backward.
            training = BF16 * 2 * rows + BF16 * 3 * rows + (BF16 * 2 + F32) * weights
            yield Work("mlp of 4 layers, training", size, 4 * flops, training, BF16 * (8 + 20) * rows)


@dataclass(frozen=True)
class Options:
    """Print the table, and write it as JSON."""

    output: Path
    """The record."""


def main() -> None:
    options = tyro.cli(Options)
    table = Table("kernel", "size", "MFLOP", "MB", "apart MB", *(f"{c.name} µs" for c in CEILINGS), "bound")
    rows = []
    for work in works():
        times = {ceiling.name: work.microseconds(ceiling) for ceiling in CEILINGS}
        bounds = {ceiling.name: work.bound(ceiling) for ceiling in CEILINGS}
        rows.append({**asdict(work), "microseconds": times, "bound": bounds})
        cells = [f"{amount / 1e6:,.1f}" for amount in (work.flops, work.bytes, work.apart_bytes)]
        table.add_row(
            work.kernel,
            work.size,
            *cells,
            *(f"{time:,.1f}" for time in times.values()),
            "/".join(bounds.values()),
        )
    Console().print(table)
    record = {
        "command": "python benchmarks/roofline.py --output FILE",
        "ceilings": [asdict(c) for c in CEILINGS],
    }
    options.output.write_text(json.dumps({**record, "kernels": rows}, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
