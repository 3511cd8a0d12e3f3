"""Named arrays in orbax's files. It is the one adapter: nothing else imports orbax.

An array that is divided over devices is saved as it lies there, and read as it is to lie: nowhere is it whole. Of
several processes each saves what its devices alone have and a share of what those of all have, and orbax's own
merge makes one checkpoint of it. Its recommended interface would have all wait for each other by its barriers,
where a process that fails leaves the others: so its classic one writes there, for a process told to be alone.
"""

import atexit
import gc
import logging
import shutil
import sys
import threading
import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import CoroutineType
from typing import Any

import jax
import numpy as np

from neuroforge_jax.checkpoint.regions import is_of_several

ITEM = "state"
"""The folder within, as the recommended interface names it."""

Arrays = Mapping[str, np.ndarray | jax.Array]


def save_arrays(folder: Path, arrays: Arrays) -> None:
    """Write arrays to a new folder, uncompressed: of several processes what this one has of them, which process 0
    then joins. Raises whatever orbax raises.
    """
    try:
        _save_arrays(folder, arrays)
    except BaseException:
        # Python would warn of each write that was never begun, when it is collected and when the process ends.
        warnings.filterwarnings("ignore", message="coroutine 'async_serialize.* was never awaited")
        atexit.register(_close_coroutines)
        raise
    _remove_success_files(folder)


def _save_arrays(folder: Path, arrays: Arrays) -> None:
    if jax.process_count() == 1:
        ocp = _orbax()
        context = ocp.Context()
        context.array.saving.use_compression = False
        with context:
            ocp.save(folder.absolute(), arrays)
    elif jax.process_index() == 0:
        _save_first_part(folder.absolute(), arrays)
    elif shared := {name: array for name, array in arrays.items() if is_of_several(array)}:
        _save_part(_beside(folder, jax.process_index()), shared)


def _close_coroutines() -> None:
    """Of writes that a failed save never began."""
    for coroutine in gc.get_objects():
        if isinstance(coroutine, CoroutineType) and coroutine.__qualname__.startswith("async_serialize"):
            coroutine.close()


def join_parts(folder: Path) -> None:
    """On process 0, once all processes have saved: make one checkpoint of their parts."""
    folder = folder.absolute()
    parts = {process: _beside(folder, process) for process in range(1, jax.process_count())}
    there = {process: part for process, part in parts.items() if part.exists()}
    for process, part in there.items():
        name = f"ocdbt.process_{process}"
        (part / name).replace(folder / ITEM / name)
        shutil.rmtree(part)
    if there:
        _classic_handler().finalize(_as_orbax_has_it(folder / ITEM))


def load_arrays(folder: Path, like: Mapping[str, Any]) -> Arrays:
    """All arrays of a folder. Raises whatever orbax raises.

    like: for each a shape and dtype with the devices where it is to lie, or an array of the host.
    """
    ocp = _orbax()
    alone = ocp.options.MultiprocessingOptions(**_alone()) if jax.process_count() > 1 else None
    with ocp.Context(multiprocessing_options=alone):
        loaded: Arrays = ocp.load(folder.absolute(), dict(like))
    return loaded


def _save_first_part(folder: Path, arrays: Arrays) -> None:
    _orbax()
    import orbax.checkpoint as ocp

    alone = ocp.options.MultiprocessingOptions(**_alone())
    options = ocp.CompositeOptions(multiprocessing_options=alone)
    composite = ocp.CompositeCheckpointHandler(composite_options=options, **{ITEM: _classic_handler()})
    with ocp.Checkpointer(composite, multiprocessing_options=alone) as checkpointer:
        checkpointer.save(folder, ocp.args.Composite(**{ITEM: ocp.args.PyTreeSave(dict(arrays))}))


def _save_part(folder: Path, arrays: Arrays) -> None:
    handler = _classic_handler()
    import orbax.checkpoint as ocp

    handler.save(_as_orbax_has_it(folder), args=ocp.args.PyTreeSave(dict(arrays)))


def _classic_handler() -> Any:
    _orbax()
    import orbax.checkpoint as ocp

    return ocp.PyTreeCheckpointHandler(
        use_ocdbt=True,
        use_zarr3=True,
        use_compression=False,
        multiprocessing_options=ocp.options.MultiprocessingOptions(**_alone()),
    )


def _alone() -> dict[str, Any]:
    """Settings for a process of several that waits for no other."""
    me = jax.process_index()
    # Without a primary host orbax does not compare what the processes say of their arrays: the first alone says it.
    primary = None if me == 0 else me
    return {"primary_host": primary, "active_processes": {me}, "barrier_sync_key_prefix": f"neuroforge{me}"}


def _beside(folder: Path, process: int) -> Path:
    return folder.absolute().with_name(f"{folder.name}-{process}")


def _as_orbax_has_it(folder: Path) -> Any:
    from etils import epath

    return epath.Path(folder)


def _remove_success_files(folder: Path) -> None:
    """They name the folder where it was written, which is nobody's business, and are needed by nobody."""
    for file in folder.rglob("commit_success.txt"):
        file.unlink()


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
