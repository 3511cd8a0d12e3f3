"""The CUDA driver, NVRTC and cuBLAS through ctypes: where they lie, and every function that is called, declared.

NVRTC and cuBLAS come with pip (`jax[cuda13]` and torch bring them) or with the system, the driver with the GPU. A
function that does not return success raises a DeviceError with its own name and that of the error.
"""

import ctypes
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from ctypes import POINTER, c_char_p, c_float, c_int, c_size_t, c_uint, c_uint64, c_ulonglong, c_void_p
from ctypes.util import find_library
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuroforge_jax.errors import DeviceError

DRIVER, CUBLAS, NVRTC = "libcuda.so.1", "libcublas", "libnvrtc"
SYSTEM_FOLDERS = ("/usr/local/cuda/lib64", "/opt/cuda/lib64")

Signatures = Mapping[str, Sequence[type]]
"""The types of the arguments of each function; every one of them returns an int, which is 0 where it succeeded."""

DRIVER_FUNCTIONS: Signatures = {
    "cuInit": (c_uint,),
    "cuDriverGetVersion": (POINTER(c_int),),
    "cuDeviceGet": (POINTER(c_int), c_int),
    "cuDeviceGetAttribute": (POINTER(c_int), c_int, c_int),
    "cuDevicePrimaryCtxRetain": (POINTER(c_void_p), c_int),
    "cuCtxSetCurrent": (c_void_p,),
    "cuModuleLoadData": (POINTER(c_void_p), c_void_p),
    "cuModuleGetFunction": (POINTER(c_void_p), c_void_p, c_char_p),
    "cuMemAlloc_v2": (POINTER(c_uint64), c_size_t),
    "cuMemsetD8Async": (c_uint64, ctypes.c_ubyte, c_size_t, c_void_p),
    "cuMemcpyHtoDAsync_v2": (c_uint64, c_void_p, c_size_t, c_void_p),
    "cuMemcpyDtoHAsync_v2": (c_void_p, c_uint64, c_size_t, c_void_p),
    "cuStreamCreate": (POINTER(c_void_p), c_uint),
    "cuStreamSynchronize": (c_void_p,),
    "cuStreamBeginCapture_v2": (c_void_p, c_int),
    "cuStreamEndCapture": (c_void_p, POINTER(c_void_p)),
    "cuGraphInstantiateWithFlags": (POINTER(c_void_p), c_void_p, c_ulonglong),
    "cuGraphLaunch": (c_void_p, c_void_p),
    # function, grid (3), block (3), bytes of dynamic shared memory, stream, arguments, extra
    "cuLaunchKernel": (c_void_p, *(c_uint,) * 7, c_void_p, POINTER(c_void_p), POINTER(c_void_p)),
}
NVRTC_FUNCTIONS: Signatures = {
    "nvrtcVersion": (POINTER(c_int), POINTER(c_int)),
    "nvrtcCreateProgram": (
        POINTER(c_void_p), c_char_p, c_char_p, c_int, POINTER(c_char_p), POINTER(c_char_p)
    ),
    "nvrtcCompileProgram": (c_void_p, c_int, POINTER(c_char_p)),
    "nvrtcGetProgramLogSize": (c_void_p, POINTER(c_size_t)),
    "nvrtcGetProgramLog": (c_void_p, c_char_p),
    "nvrtcGetCUBINSize": (c_void_p, POINTER(c_size_t)),
    "nvrtcGetCUBIN": (c_void_p, c_char_p),
}  # fmt: skip
CUBLAS_FUNCTIONS: Signatures = {
    "cublasGetProperty": (c_int, POINTER(c_int)),
    "cublasCreate_v2": (POINTER(c_void_p),),
    "cublasSetStream_v2": (c_void_p, c_void_p),
    "cublasSetWorkspace_v2": (c_void_p, c_void_p, c_size_t),
    "cublasSgemm_v2": (
        c_void_p, c_int, c_int, c_int, c_int, c_int, POINTER(c_float), c_void_p, c_int, c_void_p, c_int,
        POINTER(c_float), c_void_p, c_int,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Libraries:
    """Open and declared."""

    driver: ctypes.CDLL
    nvrtc: ctypes.CDLL
    cublas: ctypes.CDLL


def open_libraries() -> Libraries:
    """The driver's, and the newest of the others that it can run. Raises DeviceError where one is missing."""
    driver = open_driver()
    newest = driver_major(driver)
    return Libraries(driver, open_nvrtc(find(NVRTC, newest)), open_cublas(find(CUBLAS, newest)))


def versions(libraries: Libraries) -> str:
    """Of the compiler, and so of CUDA, and of cuBLAS."""
    parts = [c_int() for _ in range(5)]
    libraries.nvrtc.nvrtcVersion(*map(ctypes.byref, parts[:2]))
    for which, part in enumerate(parts[2:]):
        libraries.cublas.cublasGetProperty(which, ctypes.byref(part))
    major, minor, *cublas = (part.value for part in parts)
    return f"{major}.{minor}, cuBLAS {'.'.join(map(str, cublas))}"


def absent_library() -> str:
    """Which library is missing here, in a line; "" where all three are there."""
    try:
        newest = driver_major(open_driver())
        find(NVRTC, newest)
        find(CUBLAS, newest)
    except DeviceError as error:
        return str(error)
    return ""


def find(name: str, newest: int) -> str:
    """The library of this name with the highest major version up to `newest`. Raises DeviceError without one."""
    for paths in (_in_folders(name), _of_system(name)):
        found: dict[int, str] = {}
        for path in paths:
            match = re.fullmatch(rf"{name}\.so\.(\d+)[\d.]*", Path(path).name)
            if match and int(match[1]) <= newest:
                found.setdefault(int(match[1]), path)
        if found:
            return found[max(found)]
    extra = "cuda13" if newest >= 13 else "cuda12"
    raise DeviceError(f"no {name}.so of CUDA {newest} or older is here; pip install 'jax[{extra}]' brings it")


def _in_folders(name: str) -> Iterator[str]:
    folders = [Path(folder) for folder in os.environ.get("LD_LIBRARY_PATH", "").split(":") if folder]
    folders += [folder for entry in sys.path for folder in sorted(Path(entry).glob("nvidia/*/lib"))]
    folders += map(Path, SYSTEM_FOLDERS)
    for folder in folders:
        yield from map(str, sorted(folder.glob(f"{name}.so.*")))


def _of_system(name: str) -> Iterator[str]:
    if path := find_library(name.removeprefix("lib")):  # which starts processes
        yield path


def open_driver() -> ctypes.CDLL:
    """Raises DeviceError where this machine has none."""
    try:
        driver = ctypes.CDLL(DRIVER)
    except OSError:
        raise DeviceError(f"no CUDA driver ({DRIVER}) is here") from None
    driver.cuGetErrorName.argtypes = (c_int, POINTER(c_char_p))

    def name_of(error: int) -> bytes | None:
        name = c_char_p()
        driver.cuGetErrorName(error, ctypes.byref(name))
        return name.value

    return _declare(driver, DRIVER_FUNCTIONS, name_of)


def driver_major(driver: ctypes.CDLL) -> int:
    """The newest major version of CUDA that the driver runs."""
    version = c_int()
    driver.cuDriverGetVersion(ctypes.byref(version))
    return version.value // 1000


def open_nvrtc(path: str) -> ctypes.CDLL:
    """The compiler of kernels; it needs no driver."""
    return _open(path, NVRTC_FUNCTIONS, "nvrtcGetErrorString")


def open_cublas(path: str) -> ctypes.CDLL:
    """The matrix products."""
    return _open(path, CUBLAS_FUNCTIONS, "cublasGetStatusName")


def _open(path: str, signatures: Signatures, name_function: str) -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(path)
    except OSError as error:
        raise DeviceError(f"{path} cannot be loaded ({error})") from None
    name_of = library[name_function]
    name_of.argtypes, name_of.restype = (c_int,), c_char_p
    return _declare(library, signatures, name_of)


def _declare(
    library: ctypes.CDLL, signatures: Signatures, name_of: Callable[[int], bytes | None]
) -> ctypes.CDLL:
    def check(result: Any, function: Any, arguments: object) -> Any:
        if result:
            name = (name_of(result) or b"an unknown error").decode()
            raise DeviceError(f"{function.__name__}: {name} ({result})")
        return result

    for name, argument_types in signatures.items():
        try:
            function = library[name]
        except AttributeError:
            raise DeviceError(f"{library._name} has no {name}: it is too old") from None
        function.__name__ = name
        function.argtypes, function.restype, function.errcheck = argument_types, c_int, check
        setattr(library, name, function)
    return library
