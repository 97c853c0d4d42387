"""SFTP version 3 in a few lines: packet building for the scripted peer, and a blocking client for testing the rig."""

import socket
import struct

INIT, VERSION, OPEN, CLOSE, READ, WRITE, LSTAT, FSTAT, SETSTAT, FSETSTAT = range(1, 11)
OPENDIR, READDIR, REMOVE, MKDIR, RMDIR, REALPATH, STAT, RENAME, READLINK, SYMLINK = range(11, 21)
STATUS, HANDLE, DATA, NAME, ATTRS = range(101, 106)
EXTENDED, EXTENDED_REPLY = 200, 201

FXF_READ, FXF_WRITE, FXF_APPEND, FXF_CREAT, FXF_TRUNC, FXF_EXCL = 1, 2, 4, 8, 16, 32
FX_OK, FX_EOF, FX_NO_SUCH_FILE, FX_PERMISSION_DENIED, FX_FAILURE, FX_BAD_MESSAGE = range(6)

TYPE_NAMES = {value: name for name, value in list(globals().items())
              if name.isupper() and isinstance(value, int) and not name.startswith("FX")}


def u32(value):
    return struct.pack(">I", value & 0xFFFFFFFF)


def u64(value):
    return struct.pack(">Q", value & 0xFFFFFFFFFFFFFFFF)


def string(value):
    value = value.encode() if isinstance(value, str) else value
    return u32(len(value)) + value


def packet(kind, body):
    return u32(len(body) + 1) + bytes([kind]) + body


def attrs(size=None, uid=None, gid=None, mode=None, atime=None, mtime=None):
    flags, body = 0, b""
    if size is not None:
        flags, body = flags | 1, body + u64(size)
    if uid is not None:
        flags, body = flags | 2, body + u32(uid) + u32(gid)
    if mode is not None:
        flags, body = flags | 4, body + u32(mode)
    if mtime is not None:
        flags, body = flags | 8, body + u32(atime if atime is not None else mtime) + u32(mtime)
    return u32(flags) + body


class Reader:
    """Takes values off the front of a packet."""

    def __init__(self, data):
        self.data = data

    def take(self, count):
        if len(self.data) < count:
            raise ValueError("packet too short")
        head, self.data = self.data[:count], self.data[count:]
        return head

    def u32(self):
        return struct.unpack(">I", self.take(4))[0]

    def u64(self):
        return struct.unpack(">Q", self.take(8))[0]

    def string(self):
        return self.take(self.u32())

    def attrs(self):
        flags, found = self.u32(), {}
        if flags & 1:
            found["size"] = self.u64()
        if flags & 2:
            found["uid"], found["gid"] = self.u32(), self.u32()
        if flags & 4:
            found["mode"] = self.u32()
        if flags & 8:
            found["atime"], found["mtime"] = self.u32(), self.u32()
        return found


class RawSftp:
    """A client that waits for each reply."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.file = self.socket.makefile("rb")
        self.next_id = 0

    def init(self):
        self.socket.sendall(packet(INIT, u32(3)))
        kind, body = self.receive()
        assert kind == VERSION
        version, extensions = body.u32(), {}
        while body.data:
            name = body.string()
            extensions[name.decode()] = body.string()
        return version, extensions

    def send(self, kind, body):
        self.next_id += 1
        self.socket.sendall(packet(kind, u32(self.next_id) + body))
        return self.next_id

    def receive(self):
        head = self.file.read(4)
        if len(head) < 4:
            raise EOFError
        body = self.file.read(struct.unpack(">I", head)[0])
        return body[0], Reader(body[1:])

    def ask(self, kind, body):
        sent = self.send(kind, body)
        reply, reader = self.receive()
        assert reader.u32() == sent
        return reply, reader

    def open(self, path, flags=FXF_READ):
        kind, reader = self.ask(OPEN, string(path) + u32(flags) + u32(0))
        assert kind == HANDLE, reader.data
        return reader.string()

    def close(self):
        self.file.close()
        self.socket.close()
