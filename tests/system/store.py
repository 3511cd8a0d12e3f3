"""Processes as threads, with a store in the place of jax's service."""

import threading
from concurrent.futures import ThreadPoolExecutor

import jax

from neuroforge_jax.system.peers import Peers


class Store:
    """What jax's client does, for threads."""

    def __init__(self):
        self.texts, self.change = {}, threading.Condition()

    def key_value_set(self, key, text, allow_overwrite=False):
        with self.change:
            assert allow_overwrite or key not in self.texts, key
            self.texts[key] = text
            self.change.notify_all()

    def blocking_key_value_get(self, key, timeout_in_ms):
        with self.change:
            if not self.change.wait_for(lambda: key in self.texts, timeout_in_ms / 1000):
                raise jax.errors.JaxRuntimeError(f"DEADLINE_EXCEEDED: {key}")
            return self.texts[key]

    def key_value_dir_get(self, key):
        with self.change:
            return [(name, text) for name, text in self.texts.items() if name.startswith(key)]

    def key_value_delete(self, key):
        with self.change:
            del self.texts[key]


def together(function, count=2):
    """What each of so many processes returns or raises."""
    store = Store()
    with ThreadPoolExecutor(count) as pool:
        done = [pool.submit(function, Peers(store, process, count)) for process in range(count)]
        return [each.exception() or each.result() for each in done]
