"""The table of measured kernels: what a file may hold, and whose entry counts."""

import json

import jax.numpy as jnp
import pytest

from neuroforge_jax import kernels
from neuroforge_jax.errors import DeviceError
from neuroforge_jax.kernels import choice, tpu
from neuroforge_jax.kernels.choice import Measured, entry_name, find_measurement
from neuroforge_jax.kernels.kernel_sets import KERNEL_SETS, kernels_for
from neuroforge_jax.kernels.tiling import Tiles

pytestmark = pytest.mark.smoke

SIZE = (60, 24, 30)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """An empty cache folder of the user's own; what is written there counts from the next look on."""
    monkeypatch.setattr(choice, "own_file", lambda: tmp_path / "cache" / "kernels.json")
    choice._table.cache_clear()
    yield tmp_path / "cache" / "kernels.json"
    choice._table.cache_clear()


def test_sizes_share_an_entry_up_to_the_next_power_of_two():
    assert entry_name("dense", jnp.bfloat16, (8192, 10, 784)) == "dense bf16 8192×16×1024"
    assert entry_name("mlp", jnp.float32, (1, 65, 64)) == "mlp f32 1×128×64"


def test_a_table_is_read_as_it_was_written(tmp_path):
    table = {
        "NVIDIA H200": {
            "dense bf16 64×64×64": Measured("hopper", Tiles(128, 128, 64), 1.25),
            "mlp bf16 64×64×64": Measured("xla", None, 1.0),
        }
    }
    choice.write(tmp_path / "new" / "kernels.json", table)
    assert choice.read(tmp_path / "new" / "kernels.json") == table


def test_the_shipped_table_can_be_read():
    choice.read(choice.SHIPPED)


def test_auto_takes_what_was_measured_here_with_its_tiles(own, monkeypatch):
    tiles = Tiles(16, 24, 8)
    entries = {
        entry_name("dense", jnp.float32, SIZE): Measured("interpret", None, 2.0),
        entry_name("forward", jnp.float32, SIZE): Measured("interpret", tiles, 2.0),
    }
    choice.write(own, {choice.default_kind(): entries})
    used = []
    forward = tpu.forward
    monkeypatch.setattr(
        tpu, "forward", lambda *o, tiles, **k: used.append(tiles) or forward(*o, tiles=tiles, **k)
    )
    kernels.dense(jnp.ones((60, 30)), jnp.ones((30, 24)), jnp.ones(24), "relu")
    assert used == [tiles]
    kernels.dense(jnp.ones((600, 30)), jnp.ones((30, 24)), jnp.ones(24), "relu")
    assert used == [tiles]


def table_of(entry):
    return json.dumps({"format": 1, "devices": {"cpu": {"dense f32 64×32×32": entry}}})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"format": 2, "devices": {}}',
        '{"format": 1}',
        table_of(3),
        table_of({"implementation": "pallas", "tiles": None, "over_xla": 2.0}),
        table_of({"implementation": "tpu", "tiles": {"rows": 0, "columns": 8, "terms": 8}, "over_xla": 2.0}),
        table_of({"implementation": "tpu", "tiles": {"rows": 8}, "over_xla": 2.0}),
        table_of({"implementation": "tpu", "tiles": None, "over_xla": "fast"}),
    ],
)
def test_a_damaged_table_of_ones_own_is_a_warning_and_left_out(own, text):
    own.parent.mkdir()
    own.write_text(text)
    with pytest.warns(UserWarning, match="the kernels measured here are left out: .*; remove "):
        assert find_measurement("cpu", "dense", jnp.float32, SIZE) is None


def test_an_entry_of_ones_own_lies_over_the_shipped_one(own, monkeypatch, tmp_path):
    shipped = tmp_path / "shipped.json"
    name, other = entry_name("dense", jnp.float32, SIZE), entry_name("mlp", jnp.float32, SIZE)
    choice.write(shipped, {"cpu": {name: Measured("xla", None, 1.0), other: Measured("xla", None, 1.0)}})
    monkeypatch.setattr(choice, "SHIPPED", shipped)
    choice.write(own, {"cpu": {name: Measured("interpret", None, 3.0)}})
    assert find_measurement("cpu", "dense", jnp.float32, SIZE) == Measured("interpret", None, 3.0)
    assert find_measurement("cpu", "mlp", jnp.float32, SIZE) == Measured("xla", None, 1.0)
    assert json.loads(own.read_text())["format"] == choice.FORMAT


class Device:
    """A device that need not be here."""

    def __init__(self, platform, kind, capability="0.0"):
        self.platform, self.device_kind, self.compute_capability = platform, kind, capability


@pytest.mark.parametrize(
    ("device", "name"),
    [
        (Device("tpu", "TPU v5 lite"), "tpu"),
        (Device("gpu", "NVIDIA H200", "9.0"), "hopper"),
        (Device("gpu", "NVIDIA A100", "8.0"), "triton"),
        (Device("gpu", "NVIDIA B200", "10.0"), "triton"),
        (Device("gpu", "Tesla T4", "7.5"), None),
        (Device("cpu", "cpu"), None),
        (Device("gpu", "AMD Instinct MI300X", "gfx942"), None),
    ],
)
def test_each_device_has_the_kernels_that_are_written_for_it(device, name):
    found = kernels_for(device)
    assert (found.name if found else None) == name


def test_a_gpu_that_cannot_run_the_kernels_named_says_its_capability():
    told = (
        r"the hopper kernels need .* 9.0, and this device is Tesla T4 \(capability 7.5\); here xla would run"
    )
    with pytest.raises(DeviceError, match=told):
        KERNEL_SETS["hopper"].check_device(Device("gpu", "Tesla T4", "7.5"))
    with pytest.raises(DeviceError, match="here the triton kernels would run"):
        KERNEL_SETS["hopper"].check_device(Device("gpu", "NVIDIA A100", "8.0"))
    KERNEL_SETS["triton"].check_device(Device("gpu", "NVIDIA H200", "9.0"))
