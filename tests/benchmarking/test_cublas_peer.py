"""The peer "CUDA C", rehearsed without a GPU: its own kernels and its own calls of CUDA, on a library that takes
the place of the driver, NVRTC and cuBLAS; and the real compiler, where it is installed.
"""

import ctypes
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest
from scipy.linalg import cython_blas

import neuroforge_jax as nf
from neuroforge_jax.benchmarking.cases import random_pixels
from neuroforge_jax.benchmarking.claims import claims_of
from neuroforge_jax.benchmarking.peers import cublas_worker, cuda_libraries, numpy_worker
from neuroforge_jax.benchmarking.peers.cublas_worker import KERNELS, Trainer
from neuroforge_jax.benchmarking.peers.cuda_device import Device, compile_kernels
from neuroforge_jax.benchmarking.peers.cuda_libraries import (
    NVRTC,
    absent_library,
    find,
    open_libraries,
    open_nvrtc,
)
from neuroforge_jax.benchmarking.peers.process import (
    CUDA,
    ON_CPUS,
    ON_CUDA,
    PEERS,
    PeerProcess,
    absence,
    make_task,
    our_losses,
)
from neuroforge_jax.benchmarking.peers.serving import PeerTask
from neuroforge_jax.errors import DeviceError

EMULATION = Path(__file__).with_name("cuda_emulation.cpp")
CONFIG = nf.TrainConfig(hidden=(61, 10), batch_size=7, learning_rate=0.1, seed=3)
DATA = random_pixels(300, 30)
HERE = Path(sys.executable)


@pytest.fixture(scope="module")
def emulated_cuda(tmp_path_factory):
    """A folder with the three libraries, which are one."""
    if shutil.which("g++") is None or not sys.platform.startswith("linux"):
        pytest.skip("CUDA is emulated on Linux, with g++")
    folder = tmp_path_factory.mktemp("cuda")
    library = folder / "libcuda.so.1"
    macro = f'-DKERNELS="{KERNELS}"'
    subprocess.run(
        ["g++", "-std=c++17", "-O1", "-fPIC", "-shared", macro, EMULATION, "-o", library], check=True
    )
    for name in ("libcublas.so.13", "libnvrtc.so.13"):
        (folder / name).symlink_to(library)
    return folder


@pytest.fixture
def libraries(emulated_cuda, monkeypatch):
    monkeypatch.setenv("LD_LIBRARY_PATH", str(emulated_cuda))
    monkeypatch.setattr(cuda_libraries, "DRIVER", str(emulated_cuda / "libcuda.so.1"))
    assert absent_library() == ""
    return open_libraries()


@pytest.fixture
def device(libraries):
    return Device(libraries, KERNELS.read_text())


def make_problem(widths, batch_size, steps):
    """A classification of noise by a network of these widths, with biases that are not 0."""
    rng = np.random.default_rng(1)
    normal = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    weights = [(normal(i, o) / np.float32(i**0.5), normal(o)) for i, o in pairwise(widths)]
    order = rng.integers(0, 90, (steps, batch_size))
    return PeerTask(normal(90, widths[0]), rng.integers(0, widths[-1], 90), order, weights, 0.05)


def compare_process(config, dataset):
    """How far its losses are from ours, and its version, of a peer in a process of its own."""
    process = PeerProcess(PEERS["CUDA C"], HERE, make_task(config, dataset, 20), 1)
    try:
        process.compare(our_losses(config, dataset, 20))
        assert process.turn(3) > 0
        return process.difference, process.version
    finally:
        process.close()


@pytest.mark.slow
def test_its_process_computes_our_losses(emulated_cuda, monkeypatch):
    monkeypatch.setenv("LD_LIBRARY_PATH", str(emulated_cuda))
    found, version = compare_process(CONFIG, DATA)
    assert found < PEERS["CUDA C"].tolerance / 10
    assert version == "13.0, cuBLAS 13.1.2"


@pytest.mark.gpu
@pytest.mark.parametrize(("hidden", "batch_size"), [((1024, 512), 64), ((1024, 512), 1000), ((61, 10), 7)])
def test_its_losses_are_ours_on_a_gpu(hidden, batch_size):
    if reason := absent_library():
        pytest.skip(reason)
    config = replace(CONFIG, hidden=hidden, batch_size=batch_size)
    assert compare_process(config, random_pixels(20_000))[0] < PEERS["CUDA C"].tolerance


@pytest.mark.usefixtures("libraries")
@pytest.mark.parametrize(
    ("widths", "batch_size"),
    [((13, 61, 10), 7), ((270, 35, 2), 1), ((5, 40), 33), ((8, 6, 33, 4), 70)],
    ids=str,
)
def test_its_steps_are_those_of_numpy(widths, batch_size):
    problem = make_problem(widths, batch_size, steps=4)
    ours, theirs = Trainer(problem, "f32", 1), numpy_worker.Trainer(problem, "f32", 1)
    np.testing.assert_allclose(ours.losses(problem.order), theirs.losses(problem.order), rtol=1e-5)
    for layer, (weights, bias) in zip(ours.layers, theirs.weights, strict=True):
        np.testing.assert_allclose(ours.device.read(layer.weights), weights, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(ours.device.read(layer.bias), bias, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("libraries")
def test_more_steps_than_it_has_room_for_are_the_same_steps(monkeypatch):
    problem = make_problem((6, 5, 3), 4, steps=10)
    at_once = Trainer(problem, "f32", 1).losses(problem.order)
    monkeypatch.setattr(cublas_worker, "STEPS_AT_ONCE", 4)
    in_parts = Trainer(problem, "f32", 1)
    assert in_parts.losses(problem.order[:3]) == at_once[:3]
    in_parts.train(problem.order[3:8])
    assert in_parts.losses(problem.order[8:]) == at_once[8:]


@pytest.mark.usefixtures("libraries")
def test_a_step_is_one_call(monkeypatch):
    problem = make_problem((6, 5, 3), 4, steps=3)
    trainer = Trainer(problem, "f32", 1)
    for name in ("launch", "multiply"):
        monkeypatch.delattr(Device, name)
    assert len(trainer.losses(problem.order)) == 3


@pytest.mark.parametrize("transpose", [*product((False, True), repeat=2)])
def test_a_product_of_row_major_matrices(device, transpose):
    rng = np.random.default_rng(0)
    left, right, out = (rng.normal(size=shape).astype(np.float32) for shape in ((5, 3), (3, 7), (5, 7)))
    expected = 0.5 * left @ right - 2 * out
    stored = [
        matrix.T.copy() if flag else matrix for matrix, flag in zip((left, right), transpose, strict=True)
    ]
    arrays = [device.upload(matrix) for matrix in (*stored, out)]
    device.multiply(*arrays, transpose=transpose, scale=0.5, keep=-2.0)
    np.testing.assert_allclose(device.read(arrays[-1]), expected, rtol=1e-5, atol=1e-6)


def blas_sgemm():
    """The sgemm of a BLAS, whose meaning of order, transposition and leading dimensions is cuBLAS's too."""
    capsule = cython_blas.__pyx_capi__["sgemm"]
    python, given = ctypes.pythonapi, ctypes.py_object(capsule)
    python.PyCapsule_GetName.restype, python.PyCapsule_GetPointer.restype = ctypes.c_char_p, ctypes.c_void_p
    name = python.PyCapsule_GetName(given)
    address = python.PyCapsule_GetPointer(given, ctypes.c_char_p(name))
    return ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 13)(address)


@pytest.mark.parametrize("transpose", [*product((0, 1), repeat=2)])
def test_the_emulated_sgemm_is_that_of_a_blas(libraries, device, transpose):
    m, n, k, ld = 4, 3, 5, 8
    rng = np.random.default_rng(2)
    a, b, c = (rng.normal(size=64).astype(np.float32) for _ in "abc")
    on_device = [device.upload(matrix) for matrix in (a, b, c)]
    sizes = {name: ctypes.c_int(value) for name, value in {"m": m, "n": n, "k": k, "ld": ld}.items()}
    alpha, beta = ctypes.c_float(0.7), ctypes.c_float(-1.5)
    flags = [ctypes.c_char(b"NT"[flag]) for flag in transpose]
    order = (
        *flags,
        *(sizes[name] for name in "mnk"),
        alpha,
        a,
        sizes["ld"],
        b,
        sizes["ld"],
        beta,
        c,
        sizes["ld"],
    )
    pointers = [x.ctypes.data if isinstance(x, np.ndarray) else ctypes.addressof(x) for x in order]
    blas_sgemm()(*pointers)
    first, second, third = (array.address for array in on_device)
    libraries.cublas.cublasSgemm_v2(
        device._handle, *transpose, m, n, k, alpha, first, ld, second, ld, beta, third, ld
    )
    np.testing.assert_allclose(device.read(on_device[2]), c, rtol=1e-5, atol=1e-6)
    with pytest.raises(DeviceError, match=r"cublasSgemm_v2: CUBLAS_STATUS_INVALID_VALUE \(7\)"):
        libraries.cublas.cublasSgemm_v2(
            device._handle, *transpose, m, n, k, alpha, first, 3, second, ld, beta, third, ld
        )


def test_an_error_of_cuda_has_its_name(device):
    with pytest.raises(DeviceError, match=r"cuMemAlloc_v2: CUDA_ERROR_OUT_OF_MEMORY \(2\)"):
        device.allocate(1 << 40)
    with pytest.raises(DeviceError, match="cuModuleGetFunction: CUDA_ERROR_NOT_FOUND"):
        device.launch("no_such_kernel", (1, 1), (1, 1))


def test_a_missing_library_is_a_line(libraries, monkeypatch, tmp_path):
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    monkeypatch.setattr(cuda_libraries, "_in_folders", lambda name: iter(()))
    monkeypatch.setattr(cuda_libraries, "_of_system", lambda name: iter(()))
    assert absent_library() == (
        "no libnvrtc.so of CUDA 13 or older is here; pip install 'jax[cuda13]' brings it"
    )
    monkeypatch.setattr(cuda_libraries, "DRIVER", "libcuda.so.of-another-machine")
    reason = "no CUDA driver (libcuda.so.of-another-machine) is here"
    assert absence.__wrapped__(CUDA, HERE) == reason


def test_the_newest_library_that_the_driver_can_run_is_found(tmp_path, monkeypatch):
    for name in (
        "libcublas.so",
        "libcublas.so.12",
        "libcublas.so.13",
        "libcublas.so.14",
        "libcublasLt.so.13",
    ):
        (tmp_path / name).touch()
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    assert find("libcublas", 13) == str(tmp_path / "libcublas.so.13")
    assert find("libcublas", 12) == str(tmp_path / "libcublas.so.12")


def test_it_is_a_peer_of_a_gpu_and_answers_a_claim():
    assert "CUDA C" in ON_CUDA
    assert "CUDA C" not in ON_CPUS
    case = {
        "contender": "CUDA C",
        "widths": [784, 1024, 512, 10],
        "batch_size": 64,
        "seconds_per_step": {"median": 200e-6},
    }
    [row] = [row for row in claims_of([case]) if "CUDA C" in row["claim"]]
    assert (row["measured"], row["verdict"]) == ("1.88 s (CUDA C)", "as claimed")


@pytest.mark.portability
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_its_kernels_compile_for_a_gpu(architecture):
    nvrtc, source = real_nvrtc(), KERNELS.read_text()
    cubin = compile_kernels(nvrtc, source, architecture)
    assert cubin.startswith(b"\x7fELF")
    for kernel in re.findall(r"__global__ void (\w+)", source):
        assert kernel.encode() in cubin
    with pytest.raises(
        DeviceError, match=r'NVRTC_ERROR_COMPILATION \(6\): .*identifier "no_such" is undefined'
    ):
        compile_kernels(nvrtc, source.replace("expf(", "no_such("), architecture)


def real_nvrtc():
    try:
        return open_nvrtc(find(NVRTC, newest=99))
    except DeviceError as error:
        pytest.skip(str(error))
