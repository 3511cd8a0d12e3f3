"""All gradients of a dense layer from a kernel for dx and one for dW and db, each of which makes dz for itself."""

from collections.abc import Callable
from typing import Any

from neuroforge_jax.kernels.tiling import Tiles
from neuroforge_jax.typing import Array, Float


def compose_gradients(
    input_gradient: Callable[..., Array], weight_gradient: Callable[..., tuple[Array, Array]]
) -> Callable[..., tuple[Array, Array, Array]]:
    """The `gradients` of a set of kernels (`kernel_sets.Kernels`) from its two others."""

    def gradients(
        x: Float[Array, "B I"],
        kernel: Float[Array, "I O"],
        dy: Float[Array, "B O"],
        kept: Float[Array, "B O"],
        activation: str,
        *,
        tiles: tuple[Tiles | None, Tiles | None] = (None, None),
        interpret: Any = False,
    ) -> tuple[Float[Array, "B I"], Float[Array, "I O"], Float[Array, " O"]]:
        dx = input_gradient(dy, kept, kernel, activation, tiles=tiles[0], interpret=interpret)
        return dx, *weight_gradient(x, dy, kept, activation, tiles=tiles[1], interpret=interpret)

    return gradients
