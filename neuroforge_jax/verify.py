"""Compare backends with a float64 oracle: `python -m neuroforge_jax.verify [--backend NAME ...]`.

With `--plugin NAME` everything is checked that the backend or the kernel of another package has to do.
"""

import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from neuroforge_jax.commands.outcome import leave, run_command
from neuroforge_jax.config import RunOptions, TrainConfig
from neuroforge_jax.errors import ConfigError, DeviceError, VerificationError, lookup
from neuroforge_jax.system.files import write_json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

    from neuroforge_jax.backends.resolve import Choice
    from neuroforge_jax.backends.table import Backend
    from neuroforge_jax.verification.faults import Fault
    from neuroforge_jax.verification.findings import Finding
    from neuroforge_jax.verification.verdict import Verdict


@dataclass(frozen=True)
class VerifyFlags:
    """Compare backends with a float64 NumPy oracle: logits, loss, gradients, 1 and 20 steps."""

    plugin: str | None = None
    """Check all that this backend or kernel of an installed package has to do, instead, and say what is wrong."""
    backend: tuple[str, ...] = ()
    """Backends to verify (every one that is available here unless given)."""
    precision: str | None = None
    """Replace the precision of the backends, as on train."""
    kernels: str | None = None
    """Replace the kernels of the backends, as on train: `interpret` verifies the TPU's anywhere."""
    mesh: str | None = None
    """Train over these devices, as on train; backends that train on one device are left out."""
    tolerance: float | None = None
    """Relative error in norm that float32 may have in logits, loss, gradients and one step (1e-6)."""
    config: Path | None = None
    """Verify the network and the optimizer of this config on its data, with its backend."""
    data_dir: Path | None = None
    """Folder of the datasets (else NEUROFORGE_DATA_DIR, else the user's cache folder)."""
    output: Path | None = None
    """Write every check to this file, as JSON."""
    break_: Annotated[str | None, tyro.conf.arg(name="break")] = field(default=None)
    """Plant this fault in each backend, and see it found; `list` shows the faults."""
    debug: bool = False
    """Show tracebacks."""

    def __post_init__(self) -> None:
        if self.tolerance is not None:
            RunOptions(verify=True, tolerance=self.tolerance)
        if self.plugin is not None:
            for name in ("backend", "precision", "kernels", "mesh", "tolerance", "config", "break_"):
                if getattr(self, name) not in (None, ()):
                    flag = f"--{name.removesuffix('_')}"
                    raise ConfigError(
                        f"--plugin checks a plugin as it is, and {flag} is for backends; leave it out"
                    )


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the flags, verify, print the table; returns the exit code, 7 where a check failed."""
    args = sys.argv[1:] if argv is None else list(argv)
    return run_command(lambda: _verify(args), debug="--debug" in args)


def _verify(args: Sequence[str]) -> None:
    flags = tyro.cli(VerifyFlags, args=args, prog="python -m neuroforge_jax.verify")
    if flags.output is not None and not flags.output.parent.is_dir():
        raise ConfigError(f"--output {flags.output}: there is no folder {flags.output.parent}; make it first")
    if flags.plugin is not None:
        _verify_plugins(flags)
        return
    config = None
    if flags.config is not None:
        from neuroforge_jax.commands.config_files import load_config

        config = load_config(flags.config)

    # What follows imports jax.
    from neuroforge_jax.verification.faults import FAULTS

    if flags.break_ == "list":
        for fault in FAULTS.values():
            print(f"{fault.name:<22} {fault.sentence}")
        return
    planted = None if flags.break_ is None else lookup(FAULTS, flags.break_, "fault")
    backends, skipped = _backends(flags, config)
    _carry_out(flags, config, backends, skipped, planted)


def _verify_plugins(flags: VerifyFlags) -> None:
    """A line for each check of the plugins of a name, with --debug the traceback of what fails by an exception.

    Raises VerificationError with the first that fails.
    """
    assert flags.plugin is not None
    from rich.console import Console

    from neuroforge_jax.backends.table import BACKENDS
    from neuroforge_jax.verification.conformance import describe_plugin, load_plugins, verify_plugin

    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    outcomes = []
    for plugin in load_plugins(flags.plugin):
        console.print(f"{plugin.name} of {plugin.origin}: {describe_plugin(plugin)}", style="bold cyan")
        outcomes.append(verify_plugin(plugin, tell=partial(_show_finding, console, flags.debug)))
        console.print(f"{outcomes[-1].count()}, {outcomes[-1].seconds:.0f} s")
    if flags.output is not None:
        record = {
            "passed": all(outcome.passed for outcome in outcomes),
            "environment": BACKENDS["optimized"].environment(67),
            "plugins": [outcome.record() for outcome in outcomes],
        }
        _write(flags.output, record, console)
    for outcome in outcomes:
        if not outcome.passed:
            raise VerificationError(outcome.sentence())


def _show_finding(console: "Console", debug: bool, finding: "Finding") -> None:
    console.print(f"  {finding}", style="" if finding.passed else "bold red")
    if debug and finding.cause is not None:
        console.print("".join(traceback.format_exception(finding.cause)), end="")


def _write(path: Path, record: Mapping[str, Any], console: "Console") -> None:
    write_json(path, record, ConfigError)
    console.print(f"every check is in {path}")


def _backends(flags: VerifyFlags, config: TrainConfig | None) -> tuple[list["Choice"], dict[str, str]]:
    """The backends to verify, and those of the table that cannot be used here, with the reason.

    Raises ConfigError or DeviceError for one that was named.
    """
    from neuroforge_jax.backends.resolve import choose, find
    from neuroforge_jax.backends.table import BACKENDS
    from neuroforge_jax.training.mesh import make_mesh

    base = config or TrainConfig()
    if flags.precision is not None:
        base = replace(base, precision=flags.precision, mixed_precision=False)
    if flags.kernels is not None:
        base = replace(base, kernels=flags.kernels)
    if flags.mesh is not None:
        make_mesh(flags.mesh, find("optimized").devices)  # one that nobody can have is no reason to skip all
        base = replace(base, mesh=flags.mesh)
    if flags.backend:
        return [choose(replace(base, backend=name)) for name in flags.backend], {}
    if config is not None:
        return [choose(base)], {}
    available, skipped = [], {}
    for name in BACKENDS:
        try:
            available.append(choose(replace(base, backend=name)))
        except (DeviceError, ConfigError) as error:
            skipped[name] = str(error)
    return available, skipped


def _carry_out(
    flags: VerifyFlags,
    config: TrainConfig | None,
    choices: Sequence["Choice"],
    skipped: Mapping[str, str],
    planted: "Fault | None",
) -> None:
    from rich.console import Console
    from rich.text import Text

    from neuroforge_jax.verification.self_check import verify_oracle

    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    console.print(f"{'compared':<24}{'checks':>8}{'largest error':>16}{'allowed':>12}", style="bold")
    verdicts = [verify_oracle()]
    _show(console, verdicts[0])
    done: dict[tuple[Backend, str], Verdict] = {}
    for choice in choices:
        backend = choice.backend
        # Rows of the table that are one and the same program here are run once.
        program = (replace(backend, name="", platform="any"), str(backend.device))
        if program in done:
            verdict = replace(done[program], backend=backend.name, seconds=0.0)
            console.print(Text.assemble((f"{backend.name:<22}", "bold cyan"), f"as {done[program].backend}"))
        else:
            with console.status("") as status:
                progress = partial(_tell, status, backend.name)
                verdict = done[program] = _verdict(choice, flags, config, planted, progress)
            _show(console, verdict)
        verdicts.append(verdict)
    for name, reason in skipped.items():
        console.print(f"{name:<22}skipped: {reason.partition(';')[0]}", style="dim")
    console.print(_note(flags, config))
    if flags.output is not None:
        record = _record(verdicts, choices[0].backend, skipped, flags)
        _write(flags.output, record, console)
    _raise_if_failed(verdicts, planted)


def _verdict(
    choice: "Choice",
    flags: VerifyFlags,
    config: TrainConfig | None,
    planted: "Fault | None",
    progress: Callable[[str], None],
) -> "Verdict":
    from neuroforge_jax.verification.checks import verify_backend, verify_config

    backend, mesh = choice.backend, choice.mesh
    if config is None:
        return verify_backend(backend, flags.tolerance, fault=planted, mesh=mesh, progress=progress)
    progress("its config")
    return verify_config(backend, config, data_dir=flags.data_dir, fault=planted, mesh=mesh)


def _tell(status: "Status", backend: str, case: str) -> None:
    status.update(f"{backend}: {case}")


def _show(console: "Console", verdict: "Verdict") -> None:
    """A heading, and a row a group: how many checks, and the one that is nearest to its bound."""
    from rich.text import Text

    console.print(
        Text.assemble((f"{verdict.backend:<22}", "bold cyan"), f"{verdict.what}, {verdict.seconds:.0f} s")
    )
    for group, count, worst in verdict.rows():
        outcome = ("ok", "green") if worst.passed else ("WRONG", "bold red")
        row = f"  {group:<22}{count:>8}{worst.error:>16.1e}{worst.bound:>12.1e}   "
        console.print(Text.assemble(row, outcome))


def _note(flags: VerifyFlags, config: TrainConfig | None) -> str:
    from neuroforge_jax.verification.bounds import TOLERANCE

    if config is not None:
        return "dropout is off; every bound is derived from dtype, depth, sizes and steps"
    tolerance = f"{TOLERANCE:g}" if flags.tolerance is None else f"--tolerance {flags.tolerance:g}"
    return (
        f"{tolerance} is allowed to float32 in logits, loss, gradients and 1 step; the other bounds are derived "
        "from dtype, depth, sizes and steps. Each row shows its check that is nearest to its bound."
    )


def _record(
    verdicts: Sequence["Verdict"], backend: "Backend", skipped: Mapping[str, str], flags: VerifyFlags
) -> dict[str, Any]:
    """The verification for programs."""
    from neuroforge_jax.verification.bounds import TOLERANCE

    return {
        "passed": all(verdict.passed for verdict in verdicts),
        "tolerance": TOLERANCE if flags.tolerance is None else flags.tolerance,
        "config": None if flags.config is None else flags.config.name,
        "mesh": flags.mesh,
        "environment": backend.environment(67),
        "backends": [verdict.record() for verdict in verdicts],
        "skipped": dict(skipped),
    }


def _raise_if_failed(verdicts: Sequence["Verdict"], planted: "Fault | None") -> None:
    """Raises VerificationError with the first failure, in a line."""
    wrong = [verdict for verdict in verdicts if not verdict.passed]
    if not wrong:
        if planted is not None:
            print(f"{planted.name} was planted and not found: no check depends on it for these backends")
        return
    first = wrong[0]
    names = ", ".join(verdict.backend for verdict in wrong)
    if planted is not None:
        raise VerificationError(
            f"{planted.name} ({planted.sentence}) is found in {names}: {first.sentence()}"
        )
    raise VerificationError(f"wrong: {names}. {first.backend}: {first.sentence()}")


if __name__ == "__main__":
    leave(main())
