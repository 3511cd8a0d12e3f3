"""A callback that remembers."""

import neuroforge_jax as nf
from neuroforge_jax.job import summary


class Recorder(nf.Callback):
    """A callback that keeps what it is told."""

    def __init__(self):
        self.events = []

    def start(self, job, progress):
        self.events.append(("start", dict(summary.header_rows(job))))

    def segment(self, trainer, metrics):
        self.events.append(("segment", metrics))

    def epoch(self, trainer, record):
        self.events.append(("epoch", record))

    def finish(self, trainer, result):
        self.events.append(("finish", dict(summary.result_rows(result.figures))))

    def note(self, text):
        self.events.append(("note", text))

    def close(self):
        self.events.append(("close", None))

    def all(self, kind):
        return [what for name, what in self.events if name == kind]
