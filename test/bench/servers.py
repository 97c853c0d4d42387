# SPDX-License-Identifier: BSD-2-Clause
"""One private sshd, and a relay to it for each link; all tools use the same ones."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "e2e"))

import account  # noqa: E402
from relay import Relay  # noqa: E402
from server import Sshd  # noqa: E402


@dataclass(frozen=True)
class Link:
    rtt_ms: int
    rate: int  # bits/s each way; 0 is unlimited
    relayed: bool = True  # False: straight to sshd, nothing is counted on the wire

    @property
    def name(self):
        if not self.relayed:
            return "loopback"
        rate = f"{self.rate // 10**9} Gbit/s" if self.rate >= 10**9 else f"{self.rate // 10**6} Mbit/s"
        return f"{self.rtt_ms} ms, {rate}"

    @property
    def rtt(self):
        return self.rtt_ms / 1000

    @property
    def line(self):
        """bytes/s"""
        return self.rate / 8 if self.rate else float("inf")


LOOPBACK = Link(0, 0, relayed=False)


class Server:
    """sshd and the way to it. `use(link)` puts a relay with that link in front of it; `port` is where clients connect."""

    def __init__(self, directory):
        self.dir = Path(directory)
        self.user = account.myself() if os.geteuid() else account.root()
        self.sshd = Sshd(self.dir)
        self.empty = self.dir / "empty"
        self.empty.touch()
        self.relay = None
        self.port = self.sshd.port
        self.known_hosts = self._know()

    def _know(self):
        lines = [f"[127.0.0.1]:{self.port} {Path(f'{key}.pub').read_text().strip()}\n" for key in self.sshd.host_keys]
        path = self.dir / "known_hosts"
        path.write_text("".join(lines))
        return path

    def use(self, link):
        self._drop_relay()
        self.port = self.sshd.port
        if link.relayed:
            self.relay = Relay(self.sshd.port, delay=link.rtt_ms // 2, rate=link.rate, shared=True)
            self.port = self.relay.port
        self._know()

    def reset(self):
        if self.relay:
            self.relay.command("reset")

    def counts(self):
        """What passed since reset(): an empty answer without a relay."""
        if not self.relay:
            return {}
        stats = self.relay.stats()
        return {key: stats[key] for key in ("up_bytes", "down_bytes", "round_trips", "connections")}

    def ssh_options(self):
        """-o arguments that make a client depend on nothing outside."""
        values = {"IdentityFile": self.sshd.identity, "IdentitiesOnly": "yes", "UserKnownHostsFile": self.known_hosts,
                  "GlobalKnownHostsFile": "/dev/null", "StrictHostKeyChecking": "yes", "BatchMode": "yes"}
        args = []
        for key, value in values.items():
            args += ["-o", f"{key}={value}"]
        return args

    def _drop_relay(self):
        if self.relay:
            self.relay.close()
            self.relay = None

    def close(self):
        self._drop_relay()
        self.sshd.stop()
