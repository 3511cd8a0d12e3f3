"""A GPU as a CUDA C program sees it: memory, kernels, cuBLAS's products, and launches recorded as a graph.

Everything is issued in order on one stream. What is allocated lives as long as the process.
"""

import ctypes
from collections.abc import Callable
from ctypes import byref, c_char_p, c_float, c_int, c_size_t, c_uint64, c_void_p
from dataclasses import dataclass
from math import prod

import numpy as np

from neuroforge_jax.benchmarking.peers.cuda_libraries import Libraries
from neuroforge_jax.errors import DeviceError

COMPUTE_CAPABILITY_MAJOR, COMPUTE_CAPABILITY_MINOR = 75, 76
STREAM_NON_BLOCKING = 1
CAPTURE_RELAXED = 2
NOT_TRANSPOSED, TRANSPOSED = 0, 1
WORKSPACE_BYTES = 32 << 20
"""What cuBLAS's documentation recommends for Hopper, and more than it recommends for older devices."""


@dataclass(frozen=True)
class Array:
    """Row-major, on the device, of 4 bytes an element. address: in the device's memory."""

    address: int
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Its size."""
        return 4 * prod(self.shape)


Argument = Array | int | float | None
"""Of a kernel: a pointer, an int, a float, or a null pointer."""


class Device:
    """The first GPU, with the kernels of a CUDA source. Raises DeviceError where CUDA reports an error."""

    def __init__(self, libraries: Libraries, source: str) -> None:
        self._driver, self._cublas = libraries.driver, libraries.cublas
        self._driver.cuInit(0)
        ordinal, context = c_int(), c_void_p()
        self._driver.cuDeviceGet(byref(ordinal), 0)
        self._driver.cuDevicePrimaryCtxRetain(byref(context), ordinal)
        self._driver.cuCtxSetCurrent(context)
        self._stream = c_void_p()
        self._driver.cuStreamCreate(byref(self._stream), STREAM_NON_BLOCKING)
        self._module = c_void_p()
        cubin = compile_kernels(libraries.nvrtc, source, self._architecture(ordinal))
        self._driver.cuModuleLoadData(byref(self._module), cubin)
        self._kernels: dict[str, c_void_p] = {}
        self._handle = c_void_p()
        self._cublas.cublasCreate_v2(byref(self._handle))
        # First the stream, for to set it takes the workspace away. With a workspace, nothing is allocated while a
        # graph is recorded. The math mode stays the default: float32, without TF32.
        self._cublas.cublasSetStream_v2(self._handle, self._stream)
        workspace = self.allocate(WORKSPACE_BYTES // 4)
        self._cublas.cublasSetWorkspace_v2(self._handle, workspace.address, WORKSPACE_BYTES)

    def _architecture(self, ordinal: c_int) -> str:
        major, minor = c_int(), c_int()
        self._driver.cuDeviceGetAttribute(byref(major), COMPUTE_CAPABILITY_MAJOR, ordinal)
        self._driver.cuDeviceGetAttribute(byref(minor), COMPUTE_CAPABILITY_MINOR, ordinal)
        return f"sm_{major.value}{minor.value}"

    def allocate(self, *shape: int) -> Array:
        """Zeros."""
        address = c_uint64()
        self._driver.cuMemAlloc_v2(byref(address), 4 * prod(shape))
        array = Array(address.value, shape)
        self.zero(array)
        return array

    def upload(self, values: np.ndarray) -> Array:
        """A copy on the device of values of 4 bytes."""
        array = self.allocate(*values.shape)
        self.write(array, values)
        return array

    def write(self, array: Array, values: np.ndarray) -> None:
        """Copy these values, of 4 bytes each, to its beginning; back when they have arrived."""
        values = np.ascontiguousarray(values)
        assert values.itemsize == 4
        assert values.nbytes <= array.bytes
        self._driver.cuMemcpyHtoDAsync_v2(array.address, values.ctypes.data, values.nbytes, self._stream)
        self.synchronize()

    def read(self, array: Array) -> np.ndarray:
        """Its values as float32, when all work before is done."""
        values = np.empty(array.shape, np.float32)
        self._driver.cuMemcpyDtoHAsync_v2(values.ctypes.data, array.address, array.bytes, self._stream)
        self.synchronize()
        return values

    def zero(self, array: Array) -> None:
        """Set every element to 0."""
        self._driver.cuMemsetD8Async(array.address, 0, array.bytes, self._stream)

    def synchronize(self) -> None:
        """Wait until all work is done."""
        self._driver.cuStreamSynchronize(self._stream)

    def launch(
        self, kernel: str, grid: tuple[int, int], block: tuple[int, int], *arguments: Argument
    ) -> None:
        """Run a kernel on a grid of blocks, x and y of each."""
        if kernel not in self._kernels:
            self._kernels[kernel] = c_void_p()
            self._driver.cuModuleGetFunction(byref(self._kernels[kernel]), self._module, kernel.encode())
        values = [_as_c(argument) for argument in arguments]
        pointers = (c_void_p * len(values))(*map(ctypes.addressof, values))
        function = self._kernels[kernel]
        self._driver.cuLaunchKernel(function, *grid, 1, *block, 1, 0, self._stream, pointers, None)

    def multiply(
        self,
        left: Array,
        right: Array,
        out: Array,
        *,
        transpose: tuple[bool, bool] = (False, False),
        scale: float = 1.0,
        keep: float = 0.0,
    ) -> None:
        """Out = scale · left right + keep · out, where `transpose` says which of left and right are transposed.

        cuBLAS reads a row-major matrix as the transpose of one in columns. So it is given outᵀ = rightᵀ leftᵀ: the
        two in the other order, each as long from row to row as it is stored.
        """
        rows, columns = out.shape
        summed = left.shape[0 if transpose[0] else 1]
        assert out.shape == (left.shape[transpose[0]], right.shape[1 - transpose[1]])
        assert summed == right.shape[transpose[1]]
        self._cublas.cublasSgemm_v2(
            self._handle,
            TRANSPOSED if transpose[1] else NOT_TRANSPOSED,
            TRANSPOSED if transpose[0] else NOT_TRANSPOSED,
            columns,
            rows,
            summed,
            byref(c_float(scale)),
            right.address,
            right.shape[1],
            left.address,
            left.shape[1],
            byref(c_float(keep)),
            out.address,
            columns,
        )

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record the launches of `work` as a graph; what is returned replays them all by one call.

        `work` runs once before, for a kernel of cuBLAS or of ours is loaded when it is first launched, which would
        be in the way of the recording.
        """
        work()
        self.synchronize()
        graph, executable = c_void_p(), c_void_p()
        self._driver.cuStreamBeginCapture_v2(self._stream, CAPTURE_RELAXED)
        work()
        self._driver.cuStreamEndCapture(self._stream, byref(graph))
        self._driver.cuGraphInstantiateWithFlags(byref(executable), graph, 0)
        return lambda: self._driver.cuGraphLaunch(executable, self._stream)


def _as_c(argument: Argument) -> c_uint64 | c_int | c_float:
    if argument is None:
        return c_uint64(0)
    if isinstance(argument, Array):
        return c_uint64(argument.address)
    return c_int(argument) if isinstance(argument, int) else c_float(argument)


def compile_kernels(nvrtc: ctypes.CDLL, source: str, architecture: str) -> bytes:
    """Machine code for an architecture, such as sm_90. Raises DeviceError with the first error of the compiler."""
    program = c_void_p()
    nvrtc.nvrtcCreateProgram(byref(program), source.encode(), b"kernels.cu", 0, None, None)
    options = (c_char_p * 1)(f"--gpu-architecture={architecture}".encode())
    size = c_size_t()
    try:
        nvrtc.nvrtcCompileProgram(program, len(options), options)
    except DeviceError as error:
        nvrtc.nvrtcGetProgramLogSize(program, byref(size))
        log = ctypes.create_string_buffer(size.value)
        nvrtc.nvrtcGetProgramLog(program, log)
        lines = [line for line in log.value.decode().splitlines() if "error" in line]
        raise DeviceError(f"{error}: {(lines or ['no word from the compiler'])[0]}") from None
    nvrtc.nvrtcGetCUBINSize(program, byref(size))
    cubin = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetCUBIN(program, cubin)
    return cubin.raw
