"""What may stand between a mount and its server: a forwarder that notices how connections end, and small SOCKS and HTTP
proxies that note what they were asked for."""

import base64
import contextlib
import socket
import struct
import threading


class Listener:
    """Accepts connections on a port, one the kernel picked unless it is given, and calls serve(connection, address) for each in a thread."""

    def __init__(self, host="127.0.0.1", port=0):
        self._listener = socket.create_server((host, port), backlog=64,
                                              family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.port = self._listener.getsockname()[1]
        self.peers = []  # (address, port) of everybody who came
        self._open = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self):
        while True:
            try:
                connection, address = self._listener.accept()
            except OSError:
                return
            self.peers.append(address[:2])
            self._open.append(connection)
            threading.Thread(target=self._run, args=(connection,), daemon=True).start()

    def _run(self, connection):
        try:
            self.serve(connection)
        except OSError:
            pass  # the other side went away
        finally:
            connection.close()

    def serve(self, connection):
        """A listener that says nothing: wait for the other side to give up."""
        connection.recv(1 << 16)
        connection.recv(1 << 16)

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self._thread.join(timeout=10)


class Sayer(Listener):
    """Says something, then nothing."""

    def __init__(self, words):
        self.words = words
        super().__init__()

    def serve(self, connection):
        connection.sendall(self.words)
        while connection.recv(1 << 16):
            pass


class Forwarder(Listener):
    """To a port of 127.0.0.1, after saying `first`. `ends`: "reset" or "end", how the client ended each connection."""

    def __init__(self, target_port, host="127.0.0.1", port=0, first=b""):
        self.target_port = target_port
        self.first = first
        self.ends = []
        self.hung = set()  # connections through which nothing goes any more
        super().__init__(host, port)

    def hang(self):
        """The present connections; later ones work."""
        self.hung.update(self._open)

    def serve(self, connection):
        with socket.create_connection(("127.0.0.1", self.target_port)) as server:
            connection.sendall(self.first)
            self.pump(connection, server)

    def pump(self, client, server):
        def down():
            try:
                while piece := server.recv(1 << 16):
                    if client not in self.hung:
                        client.sendall(piece)
            except OSError:
                pass  # a reset is an end, too
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        thread = threading.Thread(target=down, daemon=True)
        thread.start()
        try:
            while piece := client.recv(1 << 16):
                if client not in self.hung:
                    server.sendall(piece)
            self.ends.append("end")
        except ConnectionResetError:
            self.ends.append("reset")
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(timeout=10)


def _exactly(connection, count):
    got = b""
    while len(got) < count:
        piece = connection.recv(count - len(got))
        if not piece:
            raise ConnectionError("ended")
        got += piece
    return got


def _until(connection, end):
    got = b""
    while not got.endswith(end):
        got += _exactly(connection, 1)
    return got


class Proxy(Forwarder):
    """Speaks SOCKS 4, 4a, 5 and HTTP, whatever comes. `asked`: (protocol, host, port); every host is 127.0.0.1 in truth.
    With `login` (user, password) only they may pass; `refuse` answers every request with a refusal."""

    def __init__(self, login=None, refuse=False):
        self.login = login
        self.refuse = refuse
        self.asked = []
        super().__init__(None)

    def serve(self, connection):
        first = _exactly(connection, 1)
        talk = {b"\4": self._socks4, b"\5": self._socks5}.get(first, self._http)
        port = talk(connection, first)
        if port:
            with socket.create_connection(("127.0.0.1", port)) as server:
                self.pump(connection, server)

    def _socks4(self, connection, _first):
        _, port, address = struct.unpack(">BH4s", _exactly(connection, 7))
        user = _until(connection, b"\0")[:-1].decode()
        host = socket.inet_ntoa(address)
        protocol = "socks4"
        if address[:3] == b"\0\0\0" and address[3]:
            protocol, host = "socks4a", _until(connection, b"\0")[:-1].decode()
        self.asked.append((protocol, host, port))
        refused = 93 if self.login and user != self.login[0] else 91 if self.refuse else 90
        connection.sendall(bytes([0, refused]) + bytes(6))
        return port if refused == 90 else None

    def _socks5(self, connection, _first):
        methods = _exactly(connection, _exactly(connection, 1)[0])
        method = 2 if self.login else 0
        if method not in methods:
            connection.sendall(b"\5\xff")
            return None
        connection.sendall(bytes([5, method]))
        if self.login:
            _exactly(connection, 1)
            login = tuple(_exactly(connection, _exactly(connection, 1)[0]).decode() for _ in range(2))
            connection.sendall(b"\1\0" if login == self.login else b"\1\1")
            if login != self.login:
                return None
        kind = _exactly(connection, 4)[3]
        if kind == 3:
            host = _exactly(connection, _exactly(connection, 1)[0]).decode()
        else:
            host = socket.inet_ntop(*((socket.AF_INET, _exactly(connection, 4)) if kind == 1 else
                                      (socket.AF_INET6, _exactly(connection, 16))))
        port, = struct.unpack(">H", _exactly(connection, 2))
        self.asked.append(("socks5", host, port))
        connection.sendall(bytes([5, 2 if self.refuse else 0, 0, 1]) + bytes(6))
        return None if self.refuse else port

    def _http(self, connection, first):
        request = (first + _until(connection, b"\r\n\r\n")).decode()
        host, _, port = request.split()[1].rpartition(":")
        self.asked.append(("http", host, int(port)))
        if self.login:
            given = base64.b64encode(":".join(self.login).encode()).decode()
            if f"Proxy-Authorization: Basic {given}\r\n" not in request:
                connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n")
                return None
        if self.refuse:
            connection.sendall(b"HTTP/1.1 403 Forbidden by house rules\r\nContent-Length: 0\r\n\r\n")
            return None
        connection.sendall(b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n")
        return int(port)
