"""An array by the regions in which it lies over devices, each with a digest: so it is saved and checked without
being whole anywhere.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import jax
import numpy as np

Region = tuple[tuple[int, int], ...]
"""Along each axis the first index and the one behind the last; () of a number without axes."""

Digests = Mapping[Region, str]
"""SHA-256 of the bytes of each region, in C order."""


@dataclass(frozen=True)
class Leaf:
    """What is known of an array before it is read. digests: of the regions in which it was saved."""

    dtype: str
    shape: tuple[int, ...]
    digests: Digests = field(default_factory=dict)

    @staticmethod
    def of(array: np.ndarray | jax.Array) -> "Leaf":
        """The description of an array, with the digests of the regions that this process saves."""
        regions = own_regions(array)
        return Leaf(
            array.dtype.name, array.shape, {region: _digest(part) for region, part in regions.items()}
        )

    def describes(self, array: np.ndarray | jax.Array) -> bool:
        """Whether an array is this one, in all regions of which this process has every number."""
        if (array.dtype.name, array.shape) != (self.dtype, self.shape):
            return False
        here = _regions_here(array)
        cuts = ((_cut(here, region, array.dtype), digest) for region, digest in self.digests.items())
        return all(cut is None or _digest(cut) == digest for cut, digest in cuts)

    def __str__(self) -> str:
        return f"{self.dtype} {list(self.shape)}"


def own_regions(array: np.ndarray | jax.Array) -> dict[Region, np.ndarray]:
    """The regions of an array that this process gives the digests of: each region is given by one process alone,
    and an array that lies in a single process by the first.
    """
    if not is_of_several(array):
        return _regions_here(array) if jax.process_index() == 0 else {}
    assert isinstance(array, jax.Array)
    own = [shard for shard in array.addressable_shards if shard.replica_id == 0]
    return {_bounds(shard.index, array.shape): np.asarray(shard.data) for shard in own}


def is_of_several(array: np.ndarray | jax.Array) -> bool:
    """Whether an array lies over devices of several processes."""
    return isinstance(array, jax.Array) and not array.is_fully_addressable


def to_text(region: Region) -> str:
    """As a manifest has it: `0:512,256:384`."""
    return ",".join(f"{start}:{stop}" for start, stop in region)


def from_text(text: str) -> Region:
    """The inverse of `to_text`."""
    bounds = (axis.split(":") for axis in text.split(",") if axis)
    return tuple((int(start), int(stop)) for start, stop in bounds)


def whole(shape: tuple[int, ...]) -> Region:
    """The region that is all of an array."""
    return _bounds((), shape)


def _regions_here(array: np.ndarray | jax.Array) -> dict[Region, np.ndarray]:
    if not isinstance(array, jax.Array):
        return {whole(array.shape): array}
    shards = {_bounds(shard.index, array.shape): shard.data for shard in array.addressable_shards}
    return {region: np.asarray(data) for region, data in shards.items()}


def _bounds(index: tuple[slice, ...], shape: tuple[int, ...]) -> Region:
    full = (*index, *(slice(None) for _ in shape[len(index) :]))
    return tuple(axis.indices(size)[:2] for axis, size in zip(full, shape, strict=True))


def _cut(here: Mapping[Region, np.ndarray], region: Region, dtype: np.dtype) -> np.ndarray | None:
    """A region, put together from those that are here; None where some of its numbers are not."""
    if region in here:
        return here[region]
    cut, missing = np.empty([stop - start for start, stop in region], dtype), size_of(region)
    for there, part in here.items():
        common = [(max(a, c), min(b, d)) for (a, b), (c, d) in zip(region, there, strict=True)]
        if all(start < stop for start, stop in common):
            into, out_of = (
                tuple(
                    slice(start - first, stop - first)
                    for (start, stop), (first, _) in zip(common, base, strict=True)
                )
                for base in (region, there)
            )
            cut[into] = part[out_of]
            missing -= size_of(tuple(common))
    return None if missing else cut


def size_of(region: Region) -> int:
    """How many numbers it has."""
    return int(np.prod([stop - start for start, stop in region], dtype=np.int64))


def _digest(part: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(part).reshape(-1).view(np.uint8)).hexdigest()
