"""Saving while the device trains on: a copy on the device, and a thread that writes it.

The run waits for nothing: the copy is one more program in the device's queue, and the thread waits for it,
brings it to the host and writes it. A save that falls due while another is being written waits for it, and gives
way to a later one; several processes write every save together, and the run waits for the one before. What goes
wrong in the thread is raised where the run looks up next, and at the end for sure.
"""

import threading
import time
from collections.abc import Callable, Mapping
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from neuroforge_jax.checkpoint import files
from neuroforge_jax.checkpoint.interval import Interval
from neuroforge_jax.errors import CheckpointError, DeviceError, UserError
from neuroforge_jax.system.peers import Peers
from neuroforge_jax.system.spans import span
from neuroforge_jax.typing import Array, Bool, Params

Tree = Any


@dataclass(frozen=True, eq=False)
class _Snapshot:
    """A state to be written, still on the device."""

    step: int
    tree: Tree
    finite: Bool[Array, ""]
    weights: Params | None
    progress: Mapping[str, Any]


class CheckpointWriter:
    """Writes steps to `folder` when they fall due, keeps the latest and the best, and removes the others.

    keep_latest: the last steps, at least 1; keep_best: those with the highest scores. warn: called with a
    sentence for a save that failed where the run goes on; None ends the run instead. export: called in the thread
    of the first process with a tree that has been written and the weights given with it. written: the last step
    that lies on the disk, 0 before the first.
    """

    def __init__(
        self,
        folder: Path,
        interval: Interval,
        *,
        keep_latest: int = 2,
        keep_best: int = 1,
        warn: Callable[[str], None] | None = None,
        export: Callable[[Tree, Params | None], None] = lambda tree, weights: None,
        peers: Peers | None = None,
    ) -> None:
        self._peers = (peers or Peers()).apart()
        self._folder, self.interval = folder, interval
        self._keep_latest, self._keep_best = keep_latest, keep_best
        self._warn, self._export = warn, export
        self._change = threading.Condition()
        self._pending: _Snapshot | None = None
        self._writing = False
        self._failures: list[UserError] = []
        self._scores = files.scores(folder)
        self.written = self._last_step = max(files.steps(folder), default=0)
        self._last_time = time.monotonic()

    def is_due(self, step: int, epoch: int, *, ends_epoch: bool) -> bool:
        """Whether to save here; see `Interval.is_due`."""
        seconds = time.monotonic() - self._last_time
        return step != self._last_step and self.interval.is_due(step, epoch, seconds, ends_epoch=ends_epoch)

    def save(
        self,
        step: int,
        tree: Tree,
        progress: Mapping[str, Any],
        score: float | None = None,
        weights: Params | None = None,
    ) -> None:
        """Take a copy of this tree of arrays as it is now, and have it written.

        progress: plain values of the same moment. score: to keep the best steps by; None where none was measured.
        weights: for `export`, in buffers of their own, where this process does not have those of the tree whole.
        """
        if step == self._last_step:
            return
        if self._peers.are_several:
            self.wait()
        copy, finite = snapshot(tree)
        self._last_step, self._last_time = step, time.monotonic()
        with self._change:
            self._pending = _Snapshot(step, copy, finite, weights, {**progress, "score": score})
            if not self._writing:
                self._writing = True
                write_all = partial(copy_context().run, self._write_all)
                threading.Thread(target=write_all, name="checkpoints", daemon=True).start()

    def check(self) -> None:
        """Raise, or tell, what has gone wrong in the thread."""
        with self._change:
            failures, self._failures = self._failures, []
        for failure in failures:
            if self._warn is None or isinstance(failure, DeviceError):
                raise failure
            self._warn(str(failure))

    def wait(self) -> None:
        """Until all is written; then `check`."""
        with self._change:
            self._change.wait_for(lambda: not self._writing)
        self.check()

    def _write_all(self) -> None:
        while True:
            with self._change:
                taken, self._pending = self._pending, None
                if taken is None:
                    self._writing = False
                    self._change.notify_all()
                    return
            try:
                self._write(taken)
            except (CheckpointError, DeviceError) as error:
                self._note_failure(error)
            except Exception as error:  # a device that failed while the copy was made
                self._note_failure(CheckpointError(f"the checkpoint of step {taken.step} failed ({error})"))

    def _note_failure(self, error: UserError) -> None:
        with self._change:
            self._failures.append(error)

    def _write(self, taken: _Snapshot) -> None:
        if not bool(taken.finite):
            return  # the run finds it too, at the loss; what is not finite is never the latest
        with span("write"):
            files.write(self._folder, taken.step, named_leaves(taken.tree), taken.progress, self._peers)
            if self._peers.process == 0:
                self._export(taken.tree, taken.weights)
        self.written = taken.step
        if self._peers.process > 0:
            return
        if taken.progress["score"] is not None:
            self._scores[taken.step] = taken.progress["score"]
        self._remove_old()

    def _remove_old(self) -> None:
        there = files.steps(self._folder)
        measured = [step for step in there if step in self._scores]
        # The last of equals, as among epochs.
        best = sorted(measured, key=lambda step: (-self._scores[step], -step))[: self._keep_best]
        kept = {*there[: self._keep_latest], *best}
        for step in there:
            if step not in kept:
                files.remove(self._folder, step)


@jax.jit
def snapshot(tree: Tree) -> tuple[Tree, Bool[Array, ""]]:
    """A copy of a tree of arrays with buffers of its own, and whether every number in its state is finite."""
    state = tree["state"] if isinstance(tree, dict) and "state" in tree else tree
    floats = [leaf for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    finite = [jnp.isfinite(leaf).all() for leaf in floats]
    return jax.tree.map(jnp.copy, tree), jnp.stack(finite).all() if finite else jnp.asarray(True)


def named_leaves(tree: Tree) -> dict[str, Any]:
    """Every leaf by its path, such as params/layer0/kernel; None stands for no leaf."""
    paths, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in paths}
