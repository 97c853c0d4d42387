"""An SSH server in Python for what sshd does not do: keyboard-interactive as a test scripts it, expired passwords, no
login at all, a connection that ends while the user types. SFTP on it is asyncssh's own."""

import asyncio
import threading
import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the ciphers that python3-cryptography wants to lose
    import asyncssh


class Login(asyncssh.SSHServer):
    """Refuses everything. A test derives from it; `seen` collects what the client did, over all connections."""

    version = None  # instead of the beginning "SSH-2.0-"

    def __init__(self, seen):
        self.seen = seen

    def connection_made(self, connection):
        self.connection = connection
        if self.version:
            self._say(connection)

    def _say(self, connection):
        """Of the next line, which is the version, another one, also for the signature over it."""
        send = connection._send

        def with_another_version(line):
            line = line.replace(b"SSH-2.0-", self.version.encode(), 1)
            connection._send = send
            connection._server_version = line.rstrip()
            send(line)
        connection._send = with_another_version


class ScriptedSsh:
    def __init__(self, directory, login=Login):
        self.seen = []
        self.host_key = asyncssh.generate_private_key("ssh-ed25519")
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.server = self._run(self._listen(login))
        self.port = self.server.sockets[0].getsockname()[1]
        self.known_hosts = directory / "scripted_hosts"
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} "
                                    + self.host_key.export_public_key("openssh").decode())
        self.known_hosts.chmod(0o644)

    def _run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    async def _listen(self, login):
        return await asyncssh.create_server(lambda: login(self.seen), "127.0.0.1", 0, sftp_factory=True,
                                            server_host_keys=[self.host_key])

    async def _close(self):
        self.server.close()
        await self.server.wait_closed()

    def close(self):
        self._run(self._close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)

    def args(self):
        """For a mount of it: no keys, no agent, no configuration."""
        return ["-F", "none", "-p", self.port, "-o", f"UserKnownHostsFile={self.known_hosts}",
                "-o", "GlobalKnownHostsFile=none", "-o", "IdentityFile=none", "-o", "IdentityAgent=none"]
