"""What would make this machine faster: a pure function of what the doctor saw.

Each part gives sentences that name what is wrong, as it was seen, and what to do.
"""

import re

from neuroforge_jax.doctor.diagnosis import Diagnosis

SCARCE_BYTES = 1e9
MUCH_OTHER_WORK = 0.2
"""Of the cores that a process may use: from here on the others are worth a word."""


def advice(seen: Diagnosis) -> tuple[str, ...]:
    """What would make this machine faster, a sentence each; nothing where nothing is known."""
    return tuple(
        sentence
        for part in (_about_accelerators, _about_bf16, _about_cores, _about_settings)
        for sentence in part(seen)
    )


def _about_accelerators(seen: Diagnosis) -> list[str]:
    used = {device.platform for device in seen.devices} - {"cpu"}
    asked = seen.variables.get("JAX_PLATFORMS", "")
    told = [f"the {device.kind} fails: {device.trouble}" for device in seen.devices if device.trouble]
    for name, version in seen.versions.items():
        if name.startswith("jax-cuda") and version != seen.versions["jaxlib"]:
            extra = name.removeprefix("jax-").removesuffix("-plugin")
            told.append(
                f"{name} {version} is not for jaxlib {seen.versions['jaxlib']}, and jax leaves it out: "
                f'python -m pip install -U "jax[{extra}]"'
            )
    for accelerator in () if used else seen.accelerators:
        driver = f" (driver {accelerator.driver})" if accelerator.driver else ""
        what = f"{accelerator.maker} hardware is here{driver}, and jax does not use it"
        if accelerator.extra is None:
            told.append(f"{what}: jax has packages for ROCm")
        elif not set(accelerator.packages) & set(seen.versions):
            told.append(f'{what}: python -m pip install -e ".[{accelerator.extra}]"')
        elif asked:
            told.append(f"{what}: JAX_PLATFORMS={asked} leaves it out; unset it")
        else:
            told.append(f"{what}: its package is installed and finds nothing; look whether its driver runs")
    return told


def _about_bf16(seen: Diagnosis) -> list[str]:
    if seen.devices[0].platform != "cpu":
        return []
    told = []
    ceiling = next(
        (name for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA") if name in seen.variables), ""
    )
    if ceiling and seen.precision.bf16_flags and not seen.precision.bf16_units:
        told.append(f"{ceiling}={seen.variables[ceiling]} keeps oneDNN from this CPU's bf16 units; unset it")
    if seen.precision.bf16_pays and seen.precision.bf16_from_step_flops is None:
        old = f"jax {seen.versions['jax']}"
        if _numbers(seen.python) >= (3, 12):
            remedy = f"this is {old}: python -m pip install -U jax"
        else:
            remedy = f"Python 3.12 or later brings it; this is {old} on Python {seen.python}"
        told.append(f"with jax 0.11 or later bf16 is faster than float32 on this CPU; {remedy}")
    return told


def _about_cores(seen: Diagnosis) -> list[str]:
    cores, told = seen.cores, []
    if cores.allowed < cores.machine:
        told.append(
            f"this process may run on {cores.allowed} of {cores.machine} cores (its CPU affinity, as taskset or "
            "a scheduler sets it)"
        )
    if cores.quota is not None and cores.quota < cores.allowed:
        told.append(
            f"the control group grants the time of {cores.quota:g} cores, and jax starts threads for "
            f"{cores.allowed}: raise its CPU quota"
        )
    if cores.busy_with_others is not None and cores.busy_with_others >= MUCH_OTHER_WORK * cores.allowed:
        told.append(
            f"other work takes {cores.busy_with_others:.1f} of {cores.machine} cores now: it slows a training "
            "down, and times measured beside it mean little"
        )
    if seen.memory.available_bytes is not None and seen.memory.available_bytes < SCARCE_BYTES:
        told.append(f"only {seen.memory.available_bytes / 1e6:.0f} MB of memory are free")
    return told


def _about_settings(seen: Diagnosis) -> list[str]:
    told, variables = [], seen.variables
    for name, effect in {
        "JAX_DISABLE_JIT": "runs every operation on its own",
        "JAX_DEBUG_NANS": "waits for every result and looks at it",
        "JAX_ENABLE_X64": "lets numbers become float64 where nothing names their type",
    }.items():
        if variables.get(name, "").lower() in ("1", "true", "yes", "on"):
            told.append(f"{name} {effect}; unset it")
    if "xla_cpu_multi_thread_eigen=false" in variables.get("XLA_FLAGS", ""):
        told.append(
            "XLA_FLAGS has xla_cpu_multi_thread_eigen=false, which leaves products to one core; take it out"
        )
    told += [
        f"{name}={variables[name]} keeps jax to fewer threads than there are cores; unset it"
        for name in ("NPROC", "PJRT_NPROC")
        if variables.get(name, "").isdecimal() and int(variables[name]) < seen.cores.allowed
    ]
    if variables.get("JAX_ENABLE_COMPILATION_CACHE", "").lower() in ("0", "false", "no", "off"):
        told.append("JAX_ENABLE_COMPILATION_CACHE is false, so that every run compiles anew; unset it")
    return told


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])
