"""A scripted SFTP peer for `-o directport=`: does what no real server can be made to do.

The peer has a small tree in memory and answers like an ordinary version 3 server. A test replaces the answer to a
packet type: server.on(rawsftp.OPEN, lambda request: ...). A handler returns the bytes to send (one packet, several, or
none, or nonsense), None for the ordinary answer, or raises Hangup to close the connection.
"""

import socket
import stat
import struct
import threading

import rawsftp as fx
from rawsftp import attrs, packet, string, u32

OPENSSH_EXTENSIONS = {"posix-rename@openssh.com": b"1", "statvfs@openssh.com": b"2", "fstatvfs@openssh.com": b"2",
                      "hardlink@openssh.com": b"1", "fsync@openssh.com": b"1", "lsetstat@openssh.com": b"1"}


class Hangup(Exception):
    pass


class Request:
    """One packet of the client; `path` is its first string (a handle for requests that take one)."""

    def __init__(self, server, kind, body):
        self.server = server
        self.kind = kind
        reader = fx.Reader(body)
        self.id = reader.u32()
        self.body = reader.data
        self.extension = reader.string() if kind == fx.EXTENDED else b""
        self.rest = reader
        try:
            self.path = reader.string()
        except ValueError:
            self.path = b""

    def status(self, code, text="", request_id=None):
        ident = self.id if request_id is None else request_id
        return packet(fx.STATUS, u32(ident) + u32(code) + string(text) + string(""))

    def handle(self, value=b"h"):
        return packet(fx.HANDLE, u32(self.id) + string(value))

    def data(self, value):
        return packet(fx.DATA, u32(self.id) + string(value))

    def attrs(self, **values):
        return packet(fx.ATTRS, u32(self.id) + attrs(**values))

    def names(self, entries):
        """entries: (name, longname, packed attributes)"""
        body = b"".join(string(name) + string(longname) + packed for name, longname, packed in entries)
        return packet(fx.NAME, u32(self.id) + u32(len(entries)) + body)


class Tree:
    """path -> bytes of a file, None for a directory, str for the target of a symlink."""

    def __init__(self):
        self.entries = {b"/": None}

    def attributes(self, path):
        entry = self.entries[path]
        mode = stat.S_IFDIR | 0o755 if entry is None else stat.S_IFLNK | 0o777 if isinstance(entry, str) \
            else stat.S_IFREG | 0o644
        size = 4096 if entry is None else len(entry)
        return dict(size=size, uid=0, gid=0, mode=mode, atime=1600000000, mtime=1600000000)

    def children(self, path):
        prefix = path.rstrip(b"/") + b"/"
        return [p for p in self.entries if p != b"/" and p.startswith(prefix) and b"/" not in p[len(prefix):]]


class ScriptedServer:
    def __init__(self, extensions=None, version=3):
        self.tree = Tree()
        self.version = version
        self.extensions = OPENSSH_EXTENSIONS if extensions is None else extensions
        self.handlers = {}
        self.seen = []         # (type name, path) of every request
        self.handles = {}
        self.offered = []      # extra entries for listings: (directory, name, packed attributes)
        self._next_handle = 0
        self._lock = threading.Lock()
        self._connections = []
        self._threads = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=16)
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def on(self, kind, handler):
        """Answer packets of this type (or an extension's name, as bytes) by handler(request)."""
        self.handlers[kind] = handler

    def ordinary(self, *kinds):
        for kind in kinds or list(self.handlers):
            self.handlers.pop(kind, None)

    def count(self, name):
        return sum(1 for kind, _ in self.seen if kind == name)

    def hang_up(self):
        with self._lock:
            for connection in self._connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()
        for thread in [self._thread, *self._threads]:
            thread.join(timeout=10)

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._connections.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection):
        try:
            with connection, connection.makefile("rb") as stream:
                try:
                    while True:
                        head = stream.read(4)
                        if len(head) < 4:
                            return
                        body = stream.read(struct.unpack(">I", head)[0])
                        connection.sendall(self._answer(body[0], body[1:]))
                except Hangup:
                    # A child that a test has forked holds the socket too: closing it would tell the peer nothing.
                    connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def _answer(self, kind, body):
        if kind == fx.INIT:
            if fx.INIT in self.handlers:
                return self.handlers[fx.INIT](body)
            offered = b"".join(string(name) + string(value) for name, value in self.extensions.items())
            return packet(fx.VERSION, u32(self.version) + offered)
        request = Request(self, kind, body)
        with self._lock:
            self.seen.append((fx.TYPE_NAMES.get(kind, str(kind)), request.path))
        handler = self.handlers.get(request.extension or kind)
        answer = handler(request) if handler else None
        return self._plain(request) if answer is None else answer

    def _plain(self, r):
        method = getattr(self, "_do_" + fx.TYPE_NAMES.get(r.kind, "").lower(), None)
        try:
            return method(r) if method else r.status(8, "not here")
        except KeyError:
            return r.status(fx.FX_NO_SUCH_FILE, "no such file")

    @staticmethod
    def _clean(path):
        return b"/" + b"/".join(part for part in path.split(b"/") if part not in (b"", b"."))

    def _new_handle(self, r, path):
        with self._lock:
            handle = b"h%d" % self._next_handle
            self._next_handle += 1
            self.handles[handle] = [path, False]
        return r.handle(handle)

    def _do_realpath(self, r):
        path = self._clean(r.path)
        return r.names([(path, path, u32(0))])

    def _do_stat(self, r):
        return r.attrs(**self.tree.attributes(self._clean(r.path)))

    _do_lstat = _do_stat

    def _do_fstat(self, r):
        return r.attrs(**self.tree.attributes(self.handles[r.path][0]))

    def _do_opendir(self, r):
        path = self._clean(r.path)
        if self.tree.entries[path] is not None:
            return r.status(fx.FX_NO_SUCH_FILE)
        return self._new_handle(r, path)

    def _do_readdir(self, r):
        state = self.handles[r.path]
        if state[1]:
            return r.status(fx.FX_EOF)
        state[1] = True
        entries = []
        for path in self.tree.children(state[0]):
            name = path.rpartition(b"/")[2]
            entries.append((name, b"-rw-r--r-- 1 0 0 " + name, attrs(**self.tree.attributes(path))))
        entries += [(name, name, packed) for where, name, packed in self.offered if where == state[0]]
        return r.names(entries) if entries else r.status(fx.FX_EOF)

    def _do_open(self, r):
        path, flags = self._clean(r.path), r.rest.u32()
        if flags & fx.FXF_CREAT:
            self.tree.entries.setdefault(path, b"")
        if flags & fx.FXF_TRUNC:
            self.tree.entries[path] = b""
        self.tree.entries[path]  # KeyError: no such file
        return self._new_handle(r, path)

    def _do_read(self, r):
        offset, length = r.rest.u64(), r.rest.u32()
        data = self.tree.entries[self.handles[r.path][0]][offset:offset + length]
        return r.data(data) if data else r.status(fx.FX_EOF)

    def _do_write(self, r):
        offset, data = r.rest.u64(), r.rest.string()
        path = self.handles[r.path][0]
        with self._lock:
            old = self.tree.entries[path].ljust(offset, b"\0")
            self.tree.entries[path] = old[:offset] + data + old[offset + len(data):]
        return r.status(fx.FX_OK)

    def _do_close(self, r):
        with self._lock:
            known = self.handles.pop(r.path, None)
        return r.status(fx.FX_OK if known else fx.FX_FAILURE)

    def _do_readlink(self, r):
        target = self.tree.entries[self._clean(r.path)]
        if not isinstance(target, str):
            return r.status(fx.FX_BAD_MESSAGE)
        return r.names([(target.encode(), target.encode(), u32(0))])

    def _do_remove(self, r):
        del self.tree.entries[self._clean(r.path)]
        return r.status(fx.FX_OK)

    _do_rmdir = _do_remove

    def _do_mkdir(self, r):
        path = self._clean(r.path)
        if path in self.tree.entries:
            return r.status(fx.FX_FAILURE)
        self.tree.entries[path] = None
        return r.status(fx.FX_OK)

    def _do_symlink(self, r):
        # OpenSSH's order: target first
        self.tree.entries[self._clean(r.rest.string())] = r.path.decode()
        return r.status(fx.FX_OK)

    def _move(self, r):
        new = self._clean(r.rest.string())
        self.tree.entries[new] = self.tree.entries.pop(self._clean(r.path))
        return r.status(fx.FX_OK)

    _do_rename = _move

    def _do_setstat(self, r):
        self.tree.entries[self._clean(r.path)]
        return r.status(fx.FX_OK)

    def _do_fsetstat(self, r):
        path, change = self.handles[r.path][0], r.rest.attrs()
        if "size" in change:
            size = change["size"]
            self.tree.entries[path] = self.tree.entries[path][:size].ljust(size, b"\0")
        return r.status(fx.FX_OK)

    def _do_extended(self, r):
        name = r.extension
        if name == b"posix-rename@openssh.com":
            return self._move(r)
        if name in (b"statvfs@openssh.com", b"fstatvfs@openssh.com"):
            values = (4096, 4096, 1 << 20, 1 << 19, 1 << 19, 1 << 16, 1 << 15, 1 << 15, 7, 0, 255)
            return packet(fx.EXTENDED_REPLY, u32(r.id) + b"".join(map(fx.u64, values)))
        if name == b"hardlink@openssh.com":
            self.tree.entries[self._clean(r.rest.string())] = self.tree.entries[self._clean(r.path)]
            return r.status(fx.FX_OK)
        if name == b"lsetstat@openssh.com":
            return self._do_setstat(r)
        if name == b"fsync@openssh.com":
            return r.status(fx.FX_OK)
        return r.status(8)
