"""The rig itself, without sftpfs: when these fail, no other result means anything."""

import os
import signal
import socket
import subprocess
import threading
import time

import pytest

import rawsftp as fx
from rawsftp import RawSftp, string, u32, u64
from scripted import ScriptedServer
from server import DirectServer, command_of
from waiting import TooLate, wait_until


@pytest.fixture
def plain():
    server = DirectServer()
    yield server
    server.close()


@pytest.fixture
def echo():
    """A server that sends back what it gets; .seen is all that arrived."""
    class Echo:
        seen = b""

    listener = socket.create_server(("127.0.0.1", 0))
    Echo.port = listener.getsockname()[1]

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=talk, args=(connection,), daemon=True).start()

    def talk(connection):
        with connection:
            try:
                while data := connection.recv(65536):
                    Echo.seen += data
                    connection.sendall(data)
            except OSError:
                pass

    threading.Thread(target=serve, daemon=True).start()
    yield Echo
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def client(port):
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def received(connection, count):
    data = b""
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            break
        data += piece
    return data


def silent(connection, seconds=0.2):
    """Nothing arrives. Time is spent here on purpose: an absence has no event to wait for."""
    connection.settimeout(seconds)
    try:
        return connection.recv(1) is None
    except TimeoutError:
        return True
    finally:
        connection.settimeout(20)


def test_relay_passes_bytes_both_ways_and_counts_them(echo, relays):
    relay = relays(echo.port)
    with client(relay.port) as c:
        payload = os.urandom(3_000_000)
        c.setblocking(True)
        sender = threading.Thread(target=c.sendall, args=(payload,))
        sender.start()
        assert received(c, len(payload)) == payload
        sender.join()
        stats = relay.stats()
        assert stats["up_bytes"] == stats["down_bytes"] == len(payload)
        assert stats["connections"] == stats["active"] == 1
    wait_until(lambda: relay.stats()["active"] == 0)


def test_relay_delays_each_direction(echo, relays):
    relay = relays(echo.port, delay=40)
    with client(relay.port) as c:
        begin = time.monotonic()
        c.sendall(b"x")
        assert received(c, 1) == b"x"
        assert time.monotonic() - begin >= 0.080


def test_relay_without_delay_does_not_wait(echo, relays):
    """The opposite of the test above, by order and not by clock: a delayed byte loses against a direct one."""
    slow, fast = relays(echo.port, delay=300), relays(echo.port)
    with client(slow.port) as s, client(fast.port) as f:
        s.sendall(b"slow")
        f.sendall(b"fast")
        assert received(f, 4) == b"fast"
        assert silent(s, 0.01)
        assert received(s, 4) == b"slow"


def test_relay_rate_takes_serialization_time(echo, relays):
    relay = relays(echo.port, rate=8_000_000)
    with client(relay.port) as c:
        begin = time.monotonic()
        c.sendall(bytes(200_000))  # 200 ms up, overlapping with 200 ms down
        received(c, 200_000)
        assert time.monotonic() - begin >= 0.2


def test_relay_connections_share_a_link_when_told_to(echo, relays):
    """A thousand bytes of one wait until the link has carried the 200,000 that another has sent before."""
    relay = relays(echo.port, rate=8_000_000, shared=True)
    with client(relay.port) as one, client(relay.port) as two:
        begin = time.monotonic()
        sender = threading.Thread(target=one.sendall, args=(bytes(200_000),))
        sender.start()
        wait_until(lambda: relay.stats()["up_bytes"] == 200_000)
        two.sendall(bytes(1000))
        received(two, 1000)
        assert time.monotonic() - begin >= 0.2
        received(one, 200_000)
        sender.join()


def test_relay_stops_reading_when_its_queue_is_full(echo, relays):
    relay = relays(echo.port, rate=80_000)
    with client(relay.port) as c:
        c.setblocking(False)
        sent = 0
        with pytest.raises(BlockingIOError):
            while sent < 100_000_000:
                sent += c.send(bytes(65536))
                if sent > 2_000_000:  # let the relay take what it wants
                    time.sleep(0.0005)
        assert relay.stats()["up_bytes"] < 6_000_000


def test_relay_passes_end_of_file_behind_the_data(echo, relays):
    relay = relays(echo.port, delay=20)
    with client(relay.port) as c:
        c.sendall(b"last words")
        c.shutdown(socket.SHUT_WR)
        assert received(c, 100) == b"last words"


def test_relay_cut_resets_and_refuse_refuses(echo, relays):
    relay = relays(echo.port)
    c = client(relay.port)
    c.sendall(b"x")
    assert received(c, 1) == b"x"
    relay.command("refuse on")
    relay.command("cut")
    with pytest.raises(ConnectionResetError):
        c.recv(1)
    with pytest.raises(ConnectionResetError):
        with client(relay.port) as again:
            again.recv(1)
    relay.command("refuse off")
    with client(relay.port) as again:
        again.sendall(b"y")
        assert received(again, 1) == b"y"


def test_relay_stall_is_silence_and_nothing_is_lost_after_it(echo, relays):
    relay = relays(echo.port)
    with client(relay.port) as c:
        relay.command("stall on")
        c.sendall(b"held")
        with client(relay.port) as other:
            other.sendall(b"new")
            assert silent(c) and silent(other)
            assert echo.seen == b""
            relay.command("stall off")
            assert received(c, 4) == b"held"
            assert received(other, 3) == b"new"


def test_relay_holds_one_direction(echo, relays):
    relay = relays(echo.port)
    with client(relay.port) as c:
        c.sendall(b"a")
        assert received(c, 1) == b"a"
        relay.command("hold down on")
        c.sendall(b"b")
        wait_until(lambda: echo.seen == b"ab", what="upward still flows")
        assert silent(c)
        relay.command("hold down off")
        assert received(c, 1) == b"b"


def test_relay_cuts_after_a_byte(echo, relays):
    relay = relays(echo.port)
    relay.command("cut-after-bytes up 5")
    with client(relay.port) as c:
        c.sendall(b"0123456789")
        assert relay.event() == "cut-after-bytes up 5"
        wait_until(lambda: echo.seen == b"01234")
        with pytest.raises(ConnectionResetError):
            while c.recv(10):
                pass


def test_relay_refuses_nonsense_commands(echo, relays):
    relay = relays(echo.port)
    for line in ("delay", "delay 12abc", "cut-at-request 1", "cut-after-bytes up 0", "stall maybe", "fly"):
        with pytest.raises(ValueError):
            relay.command(line)


def test_relay_counts_frames_by_type_and_round_trips(plain, relays, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(100_000))
    relay = relays(plain.port, sftp=True, delay=40)
    c = RawSftp(relay.port)
    c.init()
    handle = c.open(str(path))                                     # 2 round trips so far
    for i in range(3):                                             # 5
        kind, reader = c.ask(fx.READ, string(handle) + u64(i * 1000) + u32(1000))
        assert kind == fx.DATA and len(reader.string()) == 1000
    sent = [c.send(fx.READ, string(handle) + u64(i * 1000) + u32(1000)) for i in range(20)]  # 6: all at once
    assert sorted(c.receive()[1].u32() for _ in sent) == sent
    c.ask(fx.CLOSE, string(handle))                                # 7
    stats = relay.stats()
    assert stats["requests"] == {"INIT": 1, "OPEN": 1, "READ": 23, "CLOSE": 1}
    assert stats["replies"] == {"VERSION": 1, "HANDLE": 1, "DATA": 23, "STATUS": 1}
    assert stats["round_trips"] == 7
    relay.command("reset")
    c.ask(fx.LSTAT, string(str(path)))
    assert relay.stats()["round_trips"] == 1
    assert relay.stats()["requests"] == {"LSTAT": 1}
    c.close()


@pytest.mark.alone
def test_relay_round_trips_of_a_sliding_window(plain, relays, tmp_path):
    """40 requests with 8 in flight are 5 round trips, not 40. (With a delay: without one replies wait in the client's
    socket, and the relay takes what was handed over for what was read.)"""
    path = tmp_path / "file"
    path.write_bytes(bytes(1000))
    relay = relays(plain.port, sftp=True, delay=100)
    c = RawSftp(relay.port)
    c.init()
    handle = c.open(str(path))
    relay.command("reset")
    body = string(handle) + u64(0) + u32(10)
    for _ in range(8):
        c.send(fx.READ, body)
    for _ in range(32):
        c.receive()
        c.send(fx.READ, body)
    for _ in range(8):
        c.receive()
    stats = relay.stats()
    assert stats["round_trips"] == 5
    assert stats["flips"] >= 5
    c.close()


@pytest.mark.parametrize("when,done", [("at-reply", True), ("before-request", False)])
def test_relay_cuts_at_a_chosen_request(plain, relays, tmp_path, when, done):
    """at-reply: the server did it and the client does not know. before-request: it never happened."""
    relay = relays(plain.port, sftp=True)
    c = RawSftp(relay.port)
    c.init()
    relay.command(f"cut-{when} {'STATUS' if done else 'MKDIR'} 2")
    assert c.ask(fx.MKDIR, string(str(tmp_path / "one")) + u32(0))[0] == fx.STATUS
    with pytest.raises((ConnectionResetError, EOFError)):
        c.ask(fx.MKDIR, string(str(tmp_path / "two")) + u32(0))
    relay.event()
    assert (tmp_path / "two").is_dir() == done
    assert relay.stats()["active"] == 0
    wait_until(lambda: not plain.alive(), what="the server of a cut connection ends")
    c.close()


def test_relay_stalls_at_a_chosen_reply_and_goes_on(plain, relays, tmp_path):
    relay = relays(plain.port, sftp=True)
    c = RawSftp(relay.port)
    c.init()
    relay.command("stall-at-reply 1")
    c.send(fx.MKDIR, string(str(tmp_path / "d")) + u32(0))
    assert relay.event() == "stall-at-reply 1"
    assert (tmp_path / "d").is_dir()
    assert silent(c.socket)
    relay.command("stall off")
    assert c.receive()[0] == fx.STATUS
    c.close()


def test_relay_forgets_a_trigger_that_fired_unseen(plain, relays):
    """Its event would be taken for that of the next trigger, and a stall by that one never be ended."""
    relay = relays(plain.port, sftp=True)
    c = RawSftp(relay.port)
    relay.command("stall-after-reply 1")
    c.init()
    wait_until(lambda: not relay.no_event())
    relay.disarm()
    assert relay.no_event()
    c.close()


def test_relay_acts_on_a_frame_that_is_only_a_head(plain, relays):
    relay = relays(plain.port, sftp=True)
    relay.command("stall-at-request INIT 1")
    c = RawSftp(relay.port)
    c.socket.sendall(fx.packet(fx.INIT, u32(3)))
    assert relay.event() == "stall-at-request INIT 1"
    c.close()


def test_direct_server_speaks_sftp(plain):
    c = RawSftp(plain.port)
    version, extensions = c.init()
    assert version == 3 and "statvfs@openssh.com" in extensions
    handle = c.open("/etc/passwd")
    kind, reader = c.ask(fx.READ, string(handle) + u64(0) + u32(5))
    assert (kind, reader.string()) == (fx.DATA, b"root:")
    assert c.ask(fx.READ, string(b"bad!") + u64(0) + u32(5))[0] == fx.STATUS
    c.close()
    wait_until(lambda: not plain.alive(), what="sftp-server ends with its connection")


def test_direct_server_starts_one_after_the_other():
    """A request that was received before the cut is carried out before the next server starts."""
    server = DirectServer(alone=True)
    first = RawSftp(server.port)
    first.init()
    server.signal_all(signal.SIGSTOP)
    first.close()
    second = RawSftp(server.port)
    second.socket.sendall(fx.packet(fx.INIT, u32(3)))
    assert silent(second.socket) and len(server.children) == 1
    server.signal_all(signal.SIGCONT)
    assert second.receive()[0] == fx.VERSION
    second.close()
    server.close()


def test_scripted_server_serves_its_tree_and_obeys_handlers():
    server = ScriptedServer()
    server.tree.entries[b"/f"] = b"hello"
    c = RawSftp(server.port)
    c.init()
    handle = c.open("/f")
    kind, reader = c.ask(fx.READ, string(handle) + u64(1) + u32(3))
    assert (kind, reader.string()) == (fx.DATA, b"ell")
    server.on(fx.READ, lambda r: r.status(14, "full"))
    kind, reader = c.ask(fx.READ, string(handle) + u64(1) + u32(3))
    assert (kind, reader.u32()) == (fx.STATUS, 14)
    assert server.count("READ") == 2
    c.close()
    server.close()


@pytest.mark.own_user
def test_sshd_lets_its_users_in_and_shows_its_processes(sshd, who):
    args = ["-F", "/dev/null", "-o", f"IdentityFile={sshd.identity_for(who)}", "-o", "BatchMode=yes",
            "-o", f"UserKnownHostsFile={sshd.known_hosts()}", "-o", "StrictHostKeyChecking=yes"]
    done = who.run(["ssh", *args, "-p", str(sshd.port), f"{who.name}@127.0.0.1", "id -un"])
    assert done.stdout.decode().strip() == who.name
    sftp = subprocess.Popen(["sftp", "-q", *args, "-P", str(sshd.port), f"{who.name}@127.0.0.1"],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, **{
                                k: v for k, v in who.popen_args().items() if k == "env"})
    pids = wait_until(sshd.sftp_server_pids, what="sftp-server starts")
    assert command_of(pids[0]) == "sftp-server"
    out, _ = sftp.communicate(b"ls /etc/passwd\n", timeout=30)
    assert b"/etc/passwd" in out
    wait_until(lambda: not sshd.sftp_server_pids(), what="sftp-server ends")


@pytest.mark.own_user
def test_sshd_restarts_on_its_port(sshd):
    port = sshd.port
    sshd.stop()
    with pytest.raises(ConnectionRefusedError):
        client(port)
    sshd.start()
    assert sshd.port == port
    with client(port) as c:
        assert received(c, 4) == b"SSH-"


def test_wait_until_has_a_deadline():
    with pytest.raises(TooLate):
        wait_until(lambda: False, timeout=0.01)


def test_who_is_who(who):
    assert os.geteuid() == who.uid
    assert who.run(["id", "-u"]).stdout.strip() == str(who.uid).encode()


def test_stopped_server_processes_can_be_seen(plain):
    c = RawSftp(plain.port)
    c.init()
    plain.signal_all(signal.SIGSTOP)
    c.send(fx.LSTAT, string("/"))
    assert silent(c.socket)
    plain.signal_all(signal.SIGCONT)
    assert c.receive()[0] == fx.ATTRS
    c.close()
