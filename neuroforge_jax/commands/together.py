"""A command of several processes: it joins the others, and ends with them, well or badly."""

from collections.abc import Iterator
from contextlib import contextmanager

from neuroforge_jax.config import RunOptions
from neuroforge_jax.errors import first_line
from neuroforge_jax.system.loss import LossWatch


@contextmanager
def joined(options: RunOptions) -> Iterator[LossWatch | None]:
    """The block is what the processes do together; where the options name none, there is nothing around it.

    A process that fails tells the others why, and they end too; one that is lost ends them with exit code 5.
    """
    if not options.joins:
        yield None
        return
    import jax

    from neuroforge_jax.system.joining import join
    from neuroforge_jax.system.peers import find_peers

    with LossWatch(options) as watch:
        join(options)
        peers = find_peers()
        try:
            yield watch
            peers.wait()
        except BaseException as error:
            watch.leave()
            peers.say_farewell(first_line(error))
            raise
        watch.leave()
        jax.distributed.shutdown()
