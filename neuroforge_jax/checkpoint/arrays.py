"""Named arrays in orbax's files. It is the one adapter: nothing else imports orbax.

Of several processes one writes, and each reads for itself. Orbax's recommended interface would have all take part,
by collectives of the devices, and so at one moment of the training and not beside it: there its classic interface
writes, for a process that is told to be alone, the same files.
"""

import logging
import sys
import threading
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np

ITEM = "state"
"""The folder within, as the recommended interface names it."""


def save_arrays(folder: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays to a new folder, uncompressed. Raises whatever orbax raises."""
    if jax.process_count() > 1:
        _save_alone(folder.absolute(), arrays)
    else:
        ocp = _orbax()
        context = ocp.Context()
        context.array.saving.use_compression = False
        with context:
            ocp.save(folder.absolute(), arrays)
    # It names the folder where it was written, which is nobody's business, and is needed by nobody.
    for file in folder.rglob("commit_success.txt"):
        file.unlink()


def load_arrays(folder: Path) -> Mapping[str, np.ndarray]:
    """All arrays of a folder. Raises whatever orbax raises."""
    ocp = _orbax()
    alone = ocp.options.MultiprocessingOptions(**_alone()) if jax.process_count() > 1 else None
    with ocp.Context(multiprocessing_options=alone):
        loaded: Mapping[str, np.ndarray] = ocp.load(folder.absolute())
    return loaded


def _save_alone(folder: Path, arrays: Mapping[str, np.ndarray]) -> None:
    _orbax()
    import orbax.checkpoint as ocp

    alone = ocp.options.MultiprocessingOptions(**_alone())
    handler = ocp.PyTreeCheckpointHandler(
        use_ocdbt=True, use_zarr3=True, use_compression=False, multiprocessing_options=alone
    )
    options = ocp.CompositeOptions(multiprocessing_options=alone)
    composite = ocp.CompositeCheckpointHandler(composite_options=options, **{ITEM: handler})
    with ocp.Checkpointer(composite, multiprocessing_options=alone) as checkpointer:
        checkpointer.save(folder, ocp.args.Composite(**{ITEM: ocp.args.PyTreeSave(dict(arrays))}))


def _alone() -> dict[str, Any]:
    """Settings for a process of several that waits for no other."""
    me = jax.process_index()
    return {"primary_host": me, "active_processes": {me}, "barrier_sync_key_prefix": f"neuroforge{me}"}


def _orbax() -> Any:
    """Orbax's recommended interface, whose names still move."""
    with _loading:
        return _load_orbax()


_loading = threading.Lock()


@cache
def _load_orbax() -> Any:
    from orbax.checkpoint import v1

    # After a save that failed its threads log and print what is raised as well, and told here in a sentence.
    logging.getLogger("absl").addFilter(lambda record: "orbax" not in Path(record.pathname).parts)
    logging.getLogger("asyncio").addFilter(lambda record: not _raised_in_orbax(record))
    tell = sys.unraisablehook

    def tell_others(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":  # of writes that nobody waits for any more
            tell(unraisable)

    sys.unraisablehook = tell_others
    return v1


def _raised_in_orbax(record: logging.LogRecord) -> bool:
    """Of an exception that nobody waits for any more: whether it passed through orbax, or names its folder."""
    if not record.exc_info:
        return False
    _, error, traceback = record.exc_info
    while traceback is not None:
        if "orbax" in Path(traceback.tb_frame.f_code.co_filename).parts:
            return True
        traceback = traceback.tb_next
    return ".orbax-checkpoint-tmp" in str(error)
