"""A plugin, verified: everything that a backend or a kernel of another package promises, a line each."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from neuroforge_jax.backends.resolve import discover_backends, load_backend
from neuroforge_jax.backends.table import Backend
from neuroforge_jax.errors import ConfigError, unknown
from neuroforge_jax.kernels.dense_kernel import DenseKernel
from neuroforge_jax.kernels.plugins import discover_kernels, load_kernel
from neuroforge_jax.precision.policy import short_name
from neuroforge_jax.verification.backend_claims import backend_claims
from neuroforge_jax.verification.checks import describe
from neuroforge_jax.verification.findings import Finding, judge
from neuroforge_jax.verification.kernel_claims import kernel_claims


@dataclass(frozen=True)
class Conformance:
    """What a plugin came to. kind: backend or kernel. what: what it takes or is made of, in a line."""

    kind: str
    name: str
    origin: str
    what: str
    findings: tuple[Finding, ...]
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether every finding is; a plugin of which nothing was found has not passed."""
        return bool(self.findings) and not self.failed

    @property
    def failed(self) -> tuple[Finding, ...]:
        """What does not hold."""
        return tuple(finding for finding in self.findings if not finding.passed)

    def count(self) -> str:
        """How many checks hold."""
        count = len(self.findings)
        return f"all {count} checks hold" if self.passed else f"{len(self.failed)} of {count} checks fail"

    def sentence(self) -> str:
        """The outcome in a line, with the first check that fails."""
        whole = f"{self.kind} {self.name!r}: {self.count()}"
        return f"{whole}; {self.failed[0].claim}: {self.failed[0].wrong}" if self.failed else whole

    def __str__(self) -> str:
        return "\n".join([*map(str, self.findings), self.sentence()])

    def record(self) -> dict[str, Any]:
        """The outcome for programs."""
        return {
            "kind": self.kind,
            "name": self.name,
            "origin": self.origin or None,
            "what": self.what,
            "passed": self.passed,
            "seconds": round(self.seconds, 3),
            "checks": [finding.record() for finding in self.findings],
        }


def load_plugins(name: str) -> list[Backend | DenseKernel]:
    """The backend and the kernel of this name of installed packages: one of them, or both.

    Raises ConfigError for a name that no package has, DeviceError for a plugin that cannot be used.
    """
    backends, own_kernels = discover_backends(), discover_kernels()
    found: list[Backend | DenseKernel] = [
        *(load_backend(plugin) for plugin in backends if plugin.name == name),
        *(load_kernel(plugin) for plugin in own_kernels if plugin.name == name),
    ]
    if found:
        return found
    plugins = {plugin.name: f"{plugin.kind} of {plugin.origin}" for plugin in (*backends, *own_kernels)}
    if not plugins:
        raise ConfigError(
            f"unknown plugin {name!r}: no package is installed that declares one; see docs/backends.md"
        )
    raise ConfigError(
        f"{unknown('plugin', name, plugins)} ({', '.join(f'{n}: {of}' for n, of in plugins.items())})"
    )


def verify_plugin(
    plugin: Backend | DenseKernel, *, tell: Callable[[Finding], None] = lambda finding: None
) -> Conformance:
    """Check everything that a backend or a kernel of one's own has to do.

    tell: is given each finding as soon as it is there. The result has `passed` and `findings`; printed, it is a
    line for each, and where one does not hold, what is wrong and what to do. A plugin that is wrong raises nothing.
    """
    begun, findings = time.perf_counter(), []
    claims = backend_claims(plugin) if isinstance(plugin, Backend) else kernel_claims(plugin)
    for finding in judge(claims):
        tell(finding)
        findings.append(finding)
    kind = "backend" if isinstance(plugin, Backend) else "kernel"
    seconds = time.perf_counter() - begun
    return Conformance(kind, plugin.name, plugin.origin, describe_plugin(plugin), tuple(findings), seconds)


def describe_plugin(plugin: Backend | DenseKernel) -> str:
    """What it is made of, or what it takes, in a line."""
    if isinstance(plugin, Backend):
        return describe(plugin)
    gradient = plugin.gradient if isinstance(plugin.gradient, str) else "its own"
    dtypes = ", ".join(map(short_name, plugin.dtypes))
    return f"{dtypes} on {plugin.needs}, gradient: {gradient}"
