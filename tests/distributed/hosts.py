"""Two hosts on one machine: network namespaces, joined by a cable of two virtual ends. Only root can make them."""

import os
import subprocess
from contextlib import contextmanager

ADDRESSES = ("10.213.7.1", "10.213.7.2")
"""Known within the two namespaces and nowhere else."""


class Hosts:
    """folder: where each finds the names of hosts."""

    def __init__(self, folder):
        self._names = [f"nf{os.getpid()}-{end}" for end in "ab"]
        self._folder = folder

    def run_on(self, host, command):
        """The command that runs this one on a host; the name of this machine is there that host's own address."""
        hosts = self._folder / f"hosts-{host}"
        hosts.write_text(f"127.0.0.1 localhost\n{ADDRESSES[host]} {os.uname().nodename}\n")
        with_names = [
            "unshare",
            "--mount",
            "sh",
            "-c",
            'mount --bind "$0" /etc/hosts && exec "$@"',
            str(hosts),
        ]
        return ["ip", "netns", "exec", self._names[host], *with_names, *command]

    def cut(self, host):
        """Pull its end of the cable."""
        _ip("-n", self._names[host], "link", "set", self._names[host], "down")

    def make(self):
        """Both, with the cable."""
        for name in self._names:
            _ip("netns", "add", name)
        first, second = self._names
        _ip("link", "add", first, "netns", first, "type", "veth", "peer", "name", second, "netns", second)
        for name, address in zip(self._names, ADDRESSES, strict=True):
            _ip("-n", name, "address", "add", f"{address}/24", "dev", name)
            _ip("-n", name, "link", "set", name, "up")
            _ip("-n", name, "link", "set", "lo", "up")

    def remove(self):
        """What `make` made, as far as it came; the cable ends with its namespaces."""
        for name in self._names:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


@contextmanager
def two_hosts(folder):
    hosts = Hosts(folder)
    try:
        hosts.make()
        yield hosts
    finally:
        hosts.remove()


def _ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
