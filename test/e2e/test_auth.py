"""Logging in: methods and their order, prompts, several factors, servers that are difficult, and where secrets may be."""

import asyncio
import os
import re
import subprocess

import pytest

from conftest import login_args
from logins import (INSTRUMENTED, LOGIN, agent, fingerprint, login, memory_with, mount_and_leave, own_key,  # noqa: F401
                    serve, special)
from mount import daemons_of, is_mounted, run_sftpfs
from scripted_ssh import Login, asyncssh
from waiting import wait_until

pytestmark = pytest.mark.own_user


class Rounds(Login):
    """Keyboard-interactive: `rounds` are (title, instructions, [(prompt, echo)], [answers])."""
    rounds = []

    def begin_auth(self, username):
        self.seen.append(username)
        return True

    def kbdint_auth_supported(self):
        return True

    def get_kbdint_challenge(self, username, lang, submethods):
        self.at = 0
        return self._challenge()

    def _challenge(self):
        title, instructions, prompts, _ = self.rounds[self.at]
        return title, instructions, "", prompts

    def validate_kbdint_response(self, username, responses):
        wanted = self.rounds[self.at][3]
        self.seen.append(list(responses))
        self.at += 1
        if list(responses) != wanted:
            return False
        return True if self.at == len(self.rounds) else self._challenge()


def test_keyboard_interactive_with_one_prompt(serve, login, who):
    class One(Rounds):
        rounds = [("", "", [("Password: ", False)], ["s3cret"])]
    server = serve(One)
    said = login(server, [(b"Password:", b"s3cret")])
    assert server.seen == [who.name, ["s3cret"]] and "s3cret" not in said


def test_keyboard_interactive_with_two_prompts_and_instructions(serve, login):
    """Echo is as the server wants it: a one-time code may be seen, a password not."""
    class Two(Rounds):
        rounds = [("Two factors", "Have \x1b[31myour token ready", [("Password: ", False), ("Code: ", True)],
                   ["s3cret", "123456"])]
    said = login(serve(Two), [(b"Password:", b"s3cret"), (b"Code:", b"123456")])
    assert "Two factors" in said and "your token ready" in said and "\x1b" not in said
    assert "s3cret" not in said and "123456" in said


def test_keyboard_interactive_in_three_rounds(serve, login):
    class Three(Rounds):
        rounds = [("", "nothing to ask yet", [], []), ("", "", [("First: ", False)], ["a"]),
                  ("", "", [("Second: ", True), ("Third: ", False)], ["b", "c"])]
    login(serve(Three), [(b"First:", b"a"), (b"Second:", b"b"), (b"Third:", b"c")])


def test_keyboard_interactive_is_answered_by_the_given_password(serve, login):
    class One(Rounds):
        rounds = [("", "", [("user's Password:", False)], ["s3cret"])]
    login(serve(One), run=run_sftpfs, args=["-o", "password_stdin"], input=b"s3cret\n")


def test_keyboard_interactive_typed_wrong_twice(serve, login):
    class One(Rounds):
        rounds = [("", "", [("Password: ", False)], ["s3cret"])]
    server = serve(One)
    login(server, [(b"Password:", b"x"), (b"Password:", b"y"), (b"Password:", b"s3cret")])
    assert server.seen.count(["s3cret"]) == 1 and ["x"] in server.seen and ["y"] in server.seen
    login(server, [(b"Password:", b"x")], fails=LOGIN, args=["-o", "NumberOfPasswordPrompts=1"])


def test_nobody_is_asked_without_a_terminal_or_in_batch_mode(serve, login):
    class One(Rounds):
        rounds = [("", "", [("Password: ", False)], ["s3cret"])]
    server = serve(One)
    said = login(server, run=run_sftpfs, fails=LOGIN)
    assert "no terminal" in said and len(said.strip().splitlines()) == 1
    said = login(server, fails=LOGIN, args=["-o", "BatchMode=yes"])
    assert "Password:" not in said
    assert all(isinstance(s, str) for s in server.seen)


@pytest.mark.parametrize("require,display,asked", [
    ("force", "", "program"), ("prefer", ":0", "program"), ("prefer", "", "terminal"), ("never", ":0", "terminal"),
    (None, ":0", "terminal"), ("never", ":0", None), (None, "", None), (None, ":0", "program alone")])
def test_who_is_asked(serve, login, area, require, display, asked):
    """SSH_ASKPASS_REQUIRE and DISPLAY decide as for ssh: the program, the terminal, or nobody."""
    class One(Rounds):
        rounds = [("", "", [("Password: ", False)], ["s3cret"])]
    helper = area / "askpass"
    helper.write_text("#!/bin/sh\necho s3cret\n")
    helper.chmod(0o755)
    env = {"SSH_ASKPASS": str(helper), "DISPLAY": display, "WAYLAND_DISPLAY": ""}
    if require:
        env["SSH_ASKPASS_REQUIRE"] = require
    where = {"run": run_sftpfs} if asked in (None, "program alone") else {
        "dialogue": [(b"Password:", b"s3cret")] if asked == "terminal" else []}
    login(serve(One), fails=0 if asked else LOGIN, env=env, **where)


def test_server_that_asks_for_nothing(serve, login):
    class Open(Login):
        def begin_auth(self, username):
            return False
    login(serve(Open), run=run_sftpfs)


class Expired(Login):
    def begin_auth(self, username):
        return True

    def kbdint_auth_supported(self):
        return False  # asyncssh would ask for the password there too

    def password_auth_supported(self):
        return True

    def validate_password(self, username, password):
        self.seen.append(password)
        raise asyncssh.PasswordChangeRequired("choose a new one")


def test_expired_password_says_so_and_is_not_asked_again(serve, login):
    server = serve(Expired)
    said = login(server, [(b"password:", b"s3cret")], fails=LOGIN)
    assert "expired" in said and server.seen == ["s3cret"]


def test_expired_password_goes_on_with_what_comes_after_it(serve, login, area, who):
    """... where passwords come first: it is said, and a second connection logs in by a key."""
    class WithKeys(Expired):
        def public_key_auth_supported(self):
            return True

        def validate_public_key(self, username, key):
            return True
    server = serve(WithKeys)
    said = login(server, [(b"password:", b"s3cret")], args=[
        "-o", f"IdentityFile={own_key(who, area / 'key')}", "-o", r"PreferredAuthentications=password\,publickey"])
    assert "expired" in said and server.seen == ["s3cret"]


def test_banner_is_shown_harmless_and_bounded(serve, login):
    class Noisy(Login):
        def begin_auth(self, username):
            self.connection.send_auth_banner("hello\x1b]0;title\x07 there\n" + 200_000 * "x")
            return False
    said = login(serve(Noisy), run=run_sftpfs)
    assert "hello" in said and "there" in said
    assert "\x1b" not in said and "\x07" not in said and len(said) < 5000


def test_server_that_leaves_during_a_prompt(serve, login, who):
    """The prompt ends, and the terminal shows what is typed again (or a shell would look dead)."""
    class Leaving(Rounds):
        def get_kbdint_challenge(self, username, lang, submethods):
            asyncio.get_event_loop().call_later(1, self.connection.abort)
            return "", "", "", [("Password: ", False)]
    echoes = []
    said = login(serve(Leaving), [(b"Password:", None)], fails=2, echoes=echoes)
    assert "connection" in said and len([line for line in said.splitlines() if "sftpfs:" in line]) == 1
    assert not all(echoes) and echoes[-1]


def test_server_that_offers_only_what_we_lack(serve, login):
    class HostBased(Login):
        def begin_auth(self, username):
            return True

        def host_based_auth_supported(self):
            return True
    said = login(serve(HostBased), run=run_sftpfs, fails=LOGIN)
    assert "offers: hostbased" in said and "ssh_command=ssh" in said and len(said.strip().splitlines()) == 1


# --- a real sshd ------------------------------------------------------------------------------------------------------

def test_order_of_methods(special, who, area, agent):
    """Named keys, the agent, the default files, then the password: as sshd's log has it, and no file is written."""
    sshd = special(LogLevel="DEBUG1", MaxAuthTries="20", PasswordAuthentication="yes")
    keys = {name: own_key(who, area / name) for name in ("named", "held")}
    agent.add(keys["held"])
    home = os.path.expanduser(f"~{who.name}/.ssh")
    before = sorted(os.listdir(home)) if os.path.isdir(home) else None
    args = login_args(sshd, who, IdentityFile=keys["named"], IdentityAgent=agent.socket)
    mount_and_leave(who, sshd, area, [*args, "-o", "password_stdin"], LOGIN, input=b"wrong\n")
    log = sshd.log_text()
    order = [log.find(word) for word in (fingerprint(keys["named"]), fingerprint(keys["held"]), "Failed password")]
    assert -1 not in order and order == sorted(order), order
    assert before == (sorted(os.listdir(home)) if os.path.isdir(home) else None)


def test_named_key_comes_before_seven_of_the_agent(special, who, area, agent):
    sshd = special(MaxAuthTries="3")
    for i in range(7):
        agent.add(own_key(who, area / f"k{i}"))
    mount_and_leave(who, sshd, area, login_args(sshd, who, IdentityAgent=agent.socket))


@pytest.mark.parametrize("there", ["absent", "with the key", "without the key"])
@pytest.mark.parametrize("mode", ["socket", "environment", "none"])
def test_agent_modes(sshd, who, area, agent, there, mode):
    """IdentityAgent is a socket, SSH_AUTH_SOCK or none; one that is not there is no error where other keys do."""
    if there != "without the key":
        agent.add(sshd.identity_for(who))
    socket = area / "nobody" if there == "absent" else agent.socket
    name = {"socket": socket, "environment": "SSH_AUTH_SOCK", "none": "none"}[mode]
    args = login_args(sshd, who, IdentityFile="none", IdentityAgent=name, PreferredAuthentications="publickey")
    good = there == "with the key" and mode != "none"
    said = mount_and_leave(who, sshd, area, args, 0 if good else LOGIN, env={"SSH_AUTH_SOCK": str(socket)})
    if there == "absent" and mode == "socket":
        assert "agent" in said and len(said.strip().splitlines()) == 1, said


def test_missing_factor_is_named(special, who, area):
    sshd = special(AuthenticationMethods="publickey,password", PasswordAuthentication="yes")
    said = mount_and_leave(who, sshd, area, login_args(sshd, who), LOGIN)
    assert "accepted publickey" in said and "one more factor" in said and "password" in said
    assert len(said.strip().splitlines()) == 1


def test_key_and_password(special, who, people, area):
    if "user" not in people:
        pytest.skip("the password of the account is known only when root made it")
    sshd = special(AuthenticationMethods="publickey,password", PasswordAuthentication="yes")
    sshd.target = lambda _, directory: f"{people['user'].name}@127.0.0.1:{directory}"
    mount_and_leave(who, sshd, area, [*login_args(sshd, who), "-o", "password_stdin"],
                    input=people["user"].password.encode() + b"\n")


def test_key_from_a_descriptor(sshd, who, area):
    """It is never on the disk of this machine."""
    key = open(sshd.identity_for(who)).read()
    args = [os.environ["SFTPFS"], *map(str, login_args(sshd, who, IdentityFile="fd:0")), sshd.target(who, "/etc"),
            str(area)]
    try:
        who.run(args, stdin=None, input=key.encode())
        assert is_mounted(area)
    finally:
        who.run(["fusermount3", "-u", str(area)], check=False)
    wait_until(lambda: not daemons_of(area), what="the daemon ends")


@pytest.mark.parametrize("keep", ["yes", "no"])
def test_password_is_nowhere_but_in_locked_memory(who, sshd, people, area, keep):
    """At the highest log level: not in the log, arguments or environment of any process; in memory only where it is
    locked and left out of core dumps, and with keep_password=no nowhere."""
    if "user" not in people:
        pytest.skip("the password of the account is known only when root made it")
    secret = people["user"].password.encode()
    log, place = area / "log", area / "mnt"
    who.run(["mkdir", str(place)])
    args = [*login_args(sshd, who, IdentityFile=None, PubkeyAuthentication="no"), "-o", "password_stdin", "-o",
            f"keep_password={keep},log_level=3,log_file={log}", f"{people['user'].name}@127.0.0.1:/etc", place]
    try:
        assert run_sftpfs(who, args, input=secret + b"\n").code == 0
        daemon, = daemons_of(place)
        assert secret not in log.read_bytes() and b"password" in log.read_bytes()
        for name in ("cmdline", "environ"):
            assert secret not in open(f"/proc/{daemon}/{name}", "rb").read()
        places = memory_with(daemon, secret)
        assert bool(places) == (keep == "yes"), places
        for name, flags in places:
            # sanitizers make mlock() do nothing
            assert "dd" in flags and ("lo" in flags or INSTRUMENTED), (name, flags)
    finally:
        who.run(["fusermount3", "-u", str(place)], check=False)
    wait_until(lambda: not daemons_of(place), what="the daemon ends")


def test_passphrase_and_answers_are_not_logged(serve, login, area):
    class Two(Rounds):
        rounds = [("", "", [("Password: ", False), ("Code: ", True)], ["s3cret-answer", "s3cret-code"])]
    log = area / "log"
    login(serve(Two), [(b"Password:", b"s3cret-answer"), (b"Code:", b"s3cret-code")],
          args=["-o", f"log_level=3,log_file={log}"])
    assert b"s3cret" not in log.read_bytes() and b"keyboard-interactive" in log.read_bytes()


def test_no_file_of_the_user_is_written(sshd, who, area):
    """strace of a mount: below ~/.ssh nothing is opened for writing; known_hosts is when that is asked for."""
    place = area / "mnt"
    who.run(["mkdir", str(place)])

    def written(args):
        trace = area / "trace"
        as_user = ["-u", who.name] if who.uid != os.geteuid() else []
        process = subprocess.Popen(
            ["strace", "-f", "-qq", "-o", str(trace), *as_user, "-e",
             "trace=open,openat,creat,rename,renameat2,unlink,unlinkat,mkdir,mkdirat", os.environ["SFTPFS"], "-f",
             *map(str, args), sshd.target(who, "/etc"), str(place)],
            env=who.env(ASAN_OPTIONS=os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"),  # needs ptrace itself
            stderr=subprocess.DEVNULL)
        wait_until(lambda: is_mounted(place) or process.poll() is not None, what="mount")
        who.run(["fusermount3", "-u", str(place)])
        assert process.wait(60) == 0
        changes = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|(creat|rename\w*|unlink\w*|mkdir\w*)\(")
        return [line for line in trace.read_text().splitlines()
                if changes.search(line) and "= -1" not in line and (".ssh" in line or str(area) in line)]
    home = area / ".ssh"
    home.mkdir()
    key = home / "id_ed25519"
    key.write_bytes(sshd.identity.read_bytes())
    key.chmod(0o600)
    for path in (home, key):
        os.chown(path, who.uid, who.gid)
    assert written(login_args(sshd, who, IdentityFile=key)) == []
    asked = written(login_args(sshd, who, IdentityFile=key, UserKnownHostsFile=area / "known", StrictHostKeyChecking="accept-new"))
    assert len(asked) == 1 and "/known" in asked[0], asked
