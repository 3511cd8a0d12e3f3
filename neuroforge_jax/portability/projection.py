"""What a mesh of chips would make of a step, in words: what is sent, how long it takes, what share is used."""

from neuroforge_jax.portability.compiled import Compilation
from neuroforge_jax.portability.targets import TARGETS
from neuroforge_jax.system.memory import text

ASSUMPTIONS = (
    "Projected, not measured. Assumed: products at the chip's peak for their precision; the state and the "
    "samples read once and the state written once, at the memory's full rate; one collective after "
    "another at the full rate of the links in one direction, and no time to start one. An all-reduce goes "
    "around a ring, and no switch adds: each of D chips sends 2 (D - 1)/D of its bytes, in a gather or a "
    "scatter (D - 1)/D. Of the times of a step the shorter has all sending hidden behind computing, the "
    "longer none. The efficiency is against one chip that trains on the whole of the same batch."
)


def projection(made: Compilation) -> str:
    """A paragraph on one target."""
    chip = TARGETS[made.target].chip
    shortest, longest = (_time(seconds) for seconds in made.step_s)
    least, most = (f"{100 * share:.1f} %" for share in made.efficiency)
    lines = [f"{made.target} as {made.mesh or 'one chip'}: {text(made.needed_bytes)} a chip"]
    for each in made.collectives:
        times = f"{each.times} × " if each.times > 1 else ""
        lines.append(
            f"  {times}{each.operation} of {text(each.result_bytes)} ({each.numbers:,} numbers) over {each.group}: "
            f"sends {text(each.sent_bytes)}"
        )
    if made.collectives:
        ways = sorted({chip.sent_bytes_per_s(each.group) for each in made.collectives})
        rates = " and ".join(f"{rate / 1e9:,.0f} GB/s" for rate in ways)
        links = f"links {_time(made.links_s)} at {rates}"
    else:
        links = "nothing is sent"
    return "\n".join(
        [
            *lines,
            f"  products and memory {_time(made.roofline_s)}, {links}",
            f"  a step {shortest} to {longest}, on one chip {_time(made.alone_s)}: efficiency {least} to {most}",
        ]
    )


def _time(seconds: float) -> str:
    return f"{1e6 * seconds:,.1f} µs"
