"""How many threads a fit may use: as many as the libraries that scikit-learn calls were told to."""

import os
from functools import cache

from neuroforge_jax.system.cpu import usable_cores


@cache
def follow_thread_limit() -> None:
    """Tell XLA of OMP_NUM_THREADS, which joblib sets for the processes that it starts: two of them on two cores use
    a core each. It must come before the first computation of the process; NPROC overrules it.
    """
    limit = os.environ.get("OMP_NUM_THREADS", "")
    if limit.isdecimal() and 0 < int(limit) < usable_cores():
        os.environ.setdefault("NPROC", limit)
