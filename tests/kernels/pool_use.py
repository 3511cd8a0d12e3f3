"""What segments of a training ask of a device's memory and hold after it, and what the program calls explain of it.

A program call brings arrays of its own: its metrics, the numbers of its first and last step, and XLA's temporaries.
So the pool is asked once more for each of them in each call, and a run of more steps than the metrics of one call
have room for is several calls. Within a call a step asks for nothing: that is what is promised.
"""

import gc
import time
from dataclasses import dataclass

import jax
import numpy as np

import neuroforge_jax as nf
from neuroforge_jax.backends.executors.orders import Orders, shape_of_orders
from neuroforge_jax.backends.executors.scanned import capacity_of
from neuroforge_jax.data.batch import bucket

PATIENCE = 0.1
"""Seconds. A device may tell that a state is ready a moment before it has given back what that took."""


@dataclass(frozen=True)
class PoolUse:
    """Of one segment. calls: of the program. made: arrays of metrics that they gave. requests: of the pool.
    bytes_held and arrays: that are in use after it. requests and bytes_held are None where the pool does not count.
    """

    steps: int
    calls: int
    made: int
    requests: int | None
    bytes_held: int | None
    arrays: int


def use_of_segments(run, state, device, segments):
    """Train these numbers of steps, one after the other, and look at the device after each."""
    uses, first = [], 0
    gc.collect()  # what tests before this one left is none of its memory
    for steps in segments:
        before = requests_of(device)
        state, metrics = run(state, first, first + steps)
        jax.block_until_ready(state)
        calls, made = len(metrics.chunks), len(jax.tree.leaves([chunk for chunk, _ in metrics.chunks]))
        del metrics
        first += steps
        after = requests_of(device)
        requests = None if after is None else after - before
        uses.append(PoolUse(steps, calls, made, requests, settled_bytes(device), len(jax.live_arrays())))
    return uses


def requests_of(device):
    """How often the device's pool was asked for memory since it is there; None where it does not count."""
    return (device.memory_stats() or {}).get("num_allocs")


def settled_bytes(device):
    """The bytes in use, as soon as they are the same twice; None where they are not counted."""
    held = None
    while held != (now := (device.memory_stats() or {}).get("bytes_in_use")):
        held = now
        time.sleep(PATIENCE)
    return held


def calls_of_segments(config, dataset, segments):
    """Of each segment, the program calls that it needs: a call has room for the metrics of so many steps, and ends
    with the epochs whose orders are computed at once.
    """
    per_epoch = nf.steps_per_epoch(config, dataset)
    epochs, _ = shape_of_orders(bucket(len(dataset.train)), config.batch_size)
    orders, capacity = Orders(per_epoch, epochs), capacity_of(config.epochs * per_epoch)
    ends = np.cumsum(segments).tolist()
    return [len([*orders.pieces(end - n, end, capacity)]) for n, end in zip(segments, ends, strict=True)]


def check_arrays(uses, calls):
    """Assert what is promised of the calls and arrays of segments, the first two of as many steps in one call each.

    calls: that each segment needs.
    """
    shown = "\n".join(["", *map(str, uses)])
    first, usual, *_ = uses
    assert first.steps == usual.steps, shown
    assert calls[:2] == [1, 1], shown
    for use, needed in zip(uses, calls, strict=True):
        assert use.calls == needed, f"more program calls than the steps need:{shown}"
        assert use.made == use.calls * usual.made, f"more arrays than the calls give:{shown}"
    for use in uses[1:]:
        assert use.arrays == usual.arrays, f"arrays are left:{shown}"


def counts(use):
    """Whether the pool counts: a program call asks for its metrics at least."""
    return bool(use.requests) and use.bytes_held is not None


def check_pool(uses):
    """Assert what is promised of the pool over the same segments; that of a pool which does not count fails."""
    shown = "\n".join(["", *map(str, uses)])
    _, usual, *_ = uses
    for use in uses[1:]:
        assert counts(use), f"the pool does not count:{shown}"
        assert use.bytes_held == usual.bytes_held, f"memory is left:{shown}"
        assert use.requests <= use.calls * usual.requests, f"steps ask the pool for memory:{shown}"
