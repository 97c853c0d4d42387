"""Logging in at a real sshd with PAM: every method in its order, several factors, expired passwords, keys in a smart
card, passphrases from standard input."""

import os
import struct
import subprocess
from base64 import b64encode
from types import SimpleNamespace

import pytest

from conftest import login_args
from logins import (LOGIN, agent, fingerprint, memory_with, mount_and_leave, own_key, special)  # noqa: F401
from mount import daemons_of, options, run_on_terminal, run_sftpfs, sftpfs_binary
from server import SFTP_SERVER, Sshd, in_namespace, keygen
from waiting import wait_until

pytestmark = pytest.mark.own_user

KEYBOARD = "keyboard-interactive"


@pytest.fixture
def with_pam(top, area, people):
    """with_pam(directives) -> an sshd that asks PAM, under a service name of its own: /etc/pam.d/sshd stays as it is.
    `.person` is the account whose password is known."""
    name = f"sftpfs-sshd-{os.getpid()}"
    service = f"/etc/pam.d/{name}"
    program = top / name
    if not program.exists():
        program.symlink_to("/usr/sbin/sshd")
    with open(service, "w") as f:
        f.write("".join(f"{kind} required pam_unix.so nodelay\n" for kind in ("auth", "account", "password"))
                + "session required pam_permit.so\n")
    made = []

    def start(**directives):
        made.append(Sshd(area / f"sshd-{len(made)}", {"UsePAM": "yes", "KbdInteractiveAuthentication": "yes", **directives},
                         people.values(), wrapper=["sh", "-c", f'shift; exec {program} "$@"', "sh"]))
        made[-1].person = people["user"]
        made[-1].target = lambda _, directory: f"{people['user'].name}@127.0.0.1:{directory}"
        return made[-1]
    yield start
    for sshd in made:
        sshd.stop()
    os.unlink(service)


only_root = pytest.mark.parametrize("who", ["root"], indirect=True)


def offered(sshd):
    """What a client has tried, in order: fingerprints of keys, and other methods."""
    found = []
    for line in sshd.log_text().splitlines():
        words = line.split()
        if line.startswith("Failed publickey"):
            found.append(words[-1])
        elif line.startswith("Failed password"):
            found.append("password")
        elif "method keyboard-interactive [preauth]" in line:
            found.append(KEYBOARD)
    return [what for i, what in enumerate(found) if what not in found[:i]]


@only_root
@pytest.mark.parametrize("given", ["all", "named", "agent", "files", "password", "in the user's order"])
def test_methods_in_their_order(with_pam, who, area, agent, given):
    """Keys named first, the agent, the default files, keyboard-interactive, the password: at a server that takes none
    of them. Default files are those of the account, so a namespace has an account of its own."""
    sshd = with_pam(MaxAuthTries="20", LogLevel="DEBUG2")
    home = area / "home"
    (home / ".ssh").mkdir(parents=True)
    passwd = area / "passwd"
    passwd.write_text("".join(f"root:x:0:0:root:{home}:/bin/sh\n" if line.startswith("root:") else line
                              for line in open("/etc/passwd")))
    keys = {}
    words = {"IdentityAgent": "none", "BatchMode": "no"}
    every = given in ("all", "in the user's order")
    if every or given == "files":
        for kind in ("ed25519", "ecdsa", "rsa"):
            keys[kind] = fingerprint(own_key(who, home / ".ssh" / f"id_{kind}", kind))
    if every or given == "agent":
        agent.add(own_key(who, area / "held"))
        keys["agent"] = fingerprint(area / "held")
        words["IdentityAgent"] = agent.socket
    # one that is named takes the place of the default files, as with ssh
    words["IdentityFile"] = own_key(who, area / "named") if given == "named" else None
    if given == "named":
        keys["named"] = fingerprint(area / "named")
    if given == "in the user's order":
        words["PreferredAuthentications"] = r"password\,publickey"
    password = ["-o", "password_stdin"] if every or given == "password" else []
    before = sorted(os.listdir(home / ".ssh"))
    done = subprocess.run(
        in_namespace('mount --bind "$0" /etc/passwd && exec "$@"', passwd, sftpfs_binary(),
                     *map(str, login_args(sshd, who, **words)), *password, "root@127.0.0.1:/etc", area),
        input=b"wrong\n", capture_output=True, env=who.env(), timeout=60, start_new_session=True, check=False)
    assert done.returncode == LOGIN, done.stderr
    files = [keys.get(kind) for kind in ("ed25519", "ecdsa", "rsa")]
    assert offered(sshd) == {
        "all": [keys.get("agent"), *files, KEYBOARD, "password"],
        "named": [keys.get("named")],
        "agent": [keys.get("agent")],
        "files": files,
        "password": [KEYBOARD, "password"],
        "in the user's order": ["password", keys.get("agent"), *files],
    }[given], done.stderr
    assert sorted(os.listdir(home / ".ssh")) == before


def test_seven_keys_of_the_agent_are_too_many_without_a_name(special, who, area, agent):
    """The server allows three attempts: all of the agent's are offered, and the line says the cure, which is one."""
    sshd = special(MaxAuthTries="3")
    for i in range(7):
        agent.add(own_key(who, area / f"k{i}"))
    agent.add(sshd.identity_for(who))
    said = mount_and_leave(who, sshd, area, login_args(sshd, who, IdentityFile="none", IdentityAgent=agent.socket),
                           LOGIN)
    assert "IdentitiesOnly" in said and len(said.strip().splitlines()) == 1, said
    assert sshd.log_text().count("Failed publickey") == 3
    # the eighth of the agent, named by a file, costs none of them: with the file's passphrase unknown it is the agent
    # that signs
    locked = area / "locked"
    locked.write_bytes(sshd.identity.read_bytes())
    os.chmod(locked, 0o600)
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", "nobody knows", "-f", str(locked)], check=True)
    (area / "locked.pub").write_bytes(open(f"{sshd.identity}.pub", "rb").read())
    os.chown(locked, who.uid, who.gid)
    for only in ("no", "yes"):
        mount_and_leave(who, sshd, area, login_args(sshd, who, IdentityFile=locked, IdentitiesOnly=only,
                                                    IdentityAgent=agent.socket))
    assert sshd.log_text().count("Failed publickey") == 3
    # and IdentitiesOnly leaves out what is not named
    who.run(["ssh-add", "-q", "-D"], env={"SSH_AUTH_SOCK": str(agent.socket)})
    agent.add(sshd.identity_for(who))
    for only, code in (("no", 0), ("yes", LOGIN)):
        mount_and_leave(who, sshd, area, login_args(sshd, who, IdentityFile=area / "k0", IdentitiesOnly=only,
                                                    IdentityAgent=agent.socket), code)


def test_wrong_answers_that_are_too_many_blame_no_key(special, who, area):
    sshd = special(MaxAuthTries="2", PasswordAuthentication="yes")
    said = mount_and_leave(who, sshd, area, login_args(sshd, who, IdentityFile="none"), LOGIN, run=run_on_terminal,
                           dialogue=[(b"password:", b"typo")] * 2)
    assert "took none of the answers" in said and "Too many" in said and "IdentityFile" not in said


def test_name_of_the_login(special, who, people, area):
    """Before the host, by -l, by User, and else the local user's: as sshd hears it."""
    sshd = special(LogLevel="VERBOSE")
    stranger = login_args(sshd, who, IdentityFile=own_key(who, area / "stranger"))
    for source, more, name in (("nobody@127.0.0.1:/", ["-o", "User=daemon"], "nobody"),
                               ("127.0.0.1:/", ["-l", "daemon"], "daemon"),
                               ("127.0.0.1:/", ["-o", "user=x,User=bin"], "bin"),
                               ("sftp://games@127.0.0.1/", [], "games")):
        result = run_sftpfs(who, [*stranger, *more, source, area])
        assert result.code == LOGIN and f"'{name}'" in result.lines[0], result
        assert f"Failed publickey for {name} " in sshd.log_text()
    sshd.target = lambda _, directory: f"127.0.0.1:{directory}"
    mount_and_leave(who, sshd, area, login_args(sshd, who))
    assert f"Accepted publickey for {who.name} " in sshd.log_text()


@only_root
def test_keyboard_interactive_of_pam(with_pam, who, area):
    """Typed, wrong twice and then right; given; wrong."""
    sshd = with_pam(AuthenticationMethods=KEYBOARD)
    secret = sshd.person.password.encode()
    args = login_args(sshd, who, IdentityFile="none")
    mount_and_leave(who, sshd, area, args, run=run_on_terminal,
                    dialogue=[(b"Password:", b"typo"), (b"Password:", b"typo"), (b"Password:", secret)])
    mount_and_leave(who, sshd, area, [*args, "-o", "password_stdin"], input=secret + b"\n")
    said = mount_and_leave(who, sshd, area, [*args, "-o", "password_stdin"], LOGIN, input=b"wrong\n")
    assert KEYBOARD in said and len(said.strip().splitlines()) == 1, said


@only_root
def test_key_and_then_keyboard_interactive(with_pam, who, area):
    """A method that was satisfied is not repeated, and the one that is missing is named."""
    sshd = with_pam(AuthenticationMethods=f"publickey,{KEYBOARD}", LogLevel="VERBOSE")
    secret = sshd.person.password.encode()
    args = login_args(sshd, who)
    mount_and_leave(who, sshd, area, args, run=run_on_terminal, dialogue=[(b"Password:", secret)])
    assert sshd.log_text().count("Partial publickey") == 1
    mount_and_leave(who, sshd, area, [*args, "-o", "password_stdin"], input=secret + b"\n")
    said = mount_and_leave(who, sshd, area, args, LOGIN)
    assert "accepted publickey" in said and f"offers: {KEYBOARD}" in said and "no terminal" in said, said
    assert len(said.strip().splitlines()) == 1


@pytest.fixture
def expired(people):
    """The account's password has expired; it is as before afterwards."""
    person = people["user"]
    subprocess.run(["chage", "-d", "0", person.name], check=True)
    yield person
    subprocess.run(["chpasswd"], input=f"{person.name}:{person.password}\n".encode(), check=True)


@only_root
def test_expired_password_is_changed_where_pam_asks_for_it(with_pam, who, area, expired):
    """Three more prompts of keyboard-interactive, in rounds that the server makes up."""
    sshd = with_pam(AuthenticationMethods=KEYBOARD)
    secret, new = expired.password.encode(), b"N3w-" + expired.password[::-1].encode()
    said = mount_and_leave(who, sshd, area, login_args(sshd, who, IdentityFile="none"), run=run_on_terminal,
                           dialogue=[(b"Password:", secret), (b"Current password:", secret), (b"New password:", new),
                                     (b"Retype new password:", new)])
    assert new.decode() not in said and expired.password not in said


@only_root
def test_expired_password_that_nobody_can_change_says_so(with_pam, who, area, expired):
    """sshd lets the password in, and then its session ends with a message instead of SFTP."""
    sshd = with_pam(KbdInteractiveAuthentication="no")
    for words in ("transfer=auto", f"transfer=sftp,sftp_server={SFTP_SERVER}"):
        args = [*login_args(sshd, who, IdentityFile="none"), "-o", f"password_stdin,{words}"]
        said = mount_and_leave(who, sshd, area, args, LOGIN, input=expired.password.encode() + b"\n")
        assert "expired" in said and "change it with ssh" in said and len(said.strip().splitlines()) == 1, said


@pytest.fixture
def card(who, area, agent):
    """An RSA key in a software smart card that the agent has been given. `.public`: as a line of authorized_keys."""
    module = "/usr/lib/softhsm/libsofthsm2.so"
    (area / "tokens").mkdir()
    os.chown(area / "tokens", who.uid, who.gid)
    (area / "softhsm.conf").write_text(f"directories.tokendir = {area}/tokens\n")
    env = {"SOFTHSM2_CONF": str(area / "softhsm.conf")}
    pem = area / "card.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "rsa", "-out", str(pem)], check=True, capture_output=True)
    os.chown(pem, who.uid, who.gid)
    who.run(["softhsm2-util", "--init-token", "--free", "--label", "card", "--pin", "1234", "--so-pin", "1234"], env=env)
    who.run(["softhsm2-util", "--import", str(pem), "--token", "card", "--label", "key", "--id", "01", "--pin", "1234"],
            env=env)
    pem.unlink()
    return SimpleNamespace(module=module, env=env)


def test_key_in_a_smart_card(special, who, area, card):
    """Through the agent, which keeps the key in the card."""
    sshd = special()
    socket = area / "card.sock"
    helper = area / "pin"
    helper.write_text("#!/bin/sh\necho 1234\n")
    helper.chmod(0o755)
    process = subprocess.Popen(["ssh-agent", "-D", "-P", "/usr/lib/*", "-a", str(socket)], stdout=subprocess.DEVNULL,
                               **who.popen_args(**card.env))
    try:
        wait_until(socket.exists, what="the agent")
        env = {**card.env, "SSH_AUTH_SOCK": str(socket), "SSH_ASKPASS": str(helper), "SSH_ASKPASS_REQUIRE": "force"}
        who.run(["ssh-add", "-s", card.module], env=env)
        public = who.run(["ssh-add", "-L"], env=env).stdout.decode()
        sshd.authorized.write_text(public)
        mount_and_leave(who, sshd, area, login_args(sshd, who, IdentityFile="none", IdentityAgent=socket))
    finally:
        process.terminate()
        process.wait()


def encrypted_key(sshd, who, path, passphrase, kind="ed25519"):
    keygen(path, kind, passphrase)
    os.chown(path, who.uid, who.gid)
    with open(sshd.authorized, "a") as f:
        f.write(open(f"{path}.pub").read())
    return path


@pytest.mark.parametrize("keep", ["yes", "no"])
def test_password_of_standard_input_opens_a_key_too(special, who, area, keep):
    """The passphrase is in no log, argument or environment, in memory only where it is locked, and with
    keep_password=no nowhere."""
    sshd = special(PasswordAuthentication="no")
    key = encrypted_key(sshd, who, area / "key", "pass-phrase-of-k3y")
    place, log = area / "mnt", area / "log"
    who.run(["mkdir", str(place)])
    args = [*login_args(sshd, who, IdentityFile=key), "-o",
            f"password_stdin,keep_password={keep},log_level=3,log_file={log}", sshd.target(who, "/etc"), place]
    secret = b"pass-phrase-of-k3y"
    try:
        result = run_sftpfs(who, args, input=secret + b"\n")
        assert result.code == 0, result.err
        daemon, = daemons_of(place)
        assert secret not in log.read_bytes() and b"publickey" in log.read_bytes()
        for name in ("cmdline", "environ"):
            assert secret not in open(f"/proc/{daemon}/{name}", "rb").read()
        places = memory_with(daemon, secret)
        assert bool(places) == (keep == "yes"), places
        assert all("dd" in flags for _, flags in places), places
    finally:
        who.run(["fusermount3", "-u", str(place)], check=False)
    wait_until(lambda: not daemons_of(place), what="the daemon ends")


def test_wrong_passphrase_goes_on_with_the_next_method(special, who, people, area):
    """... and when there is none it is the passphrase that the line names."""
    if "user" not in people:
        pytest.skip("the password of the account is known only when root made it")
    sshd = special(PasswordAuthentication="yes")
    sshd.target = lambda _, directory: f"{people['user'].name}@127.0.0.1:{directory}"
    key = encrypted_key(sshd, who, area / "key", "not the password")
    secret = people["user"].password.encode()
    args = login_args(sshd, who, IdentityFile=key)
    mount_and_leave(who, sshd, area, [*args, "-o", "password_stdin"], input=secret + b"\n")
    mount_and_leave(who, sshd, area, [*args, *options(NumberOfPasswordPrompts=1)], run=run_on_terminal,
                    dialogue=[(b"passphrase", b"typo"), (b"password:", secret)])
    said = mount_and_leave(who, sshd, area, [*args, *options(PreferredAuthentications="publickey")], LOGIN)
    assert "passphrase" in said and len(said.strip().splitlines()) == 1, said


def held(agent, who):
    return who.run(["ssh-add", "-l"], env={"SSH_AUTH_SOCK": str(agent.socket)}, check=False).stdout.decode()


def test_key_is_added_to_the_agent_when_that_is_asked_for(special, who, area, agent):
    """AddKeysToAgent: unlocked once, the agent signs from then on. ssh-add gets the passphrase through a pipe: not from
    a terminal, argument, environment or file."""
    sshd = special()
    key = encrypted_key(sshd, who, area / "key", "0pen-s3same", "rsa")
    spy = area / "bin"
    spy.mkdir()
    (spy / "ssh-add").write_text(f"#!/bin/sh\n{{ env; echo \"$@\"; }} >> {area}/seen.$$\nexec /usr/bin/ssh-add \"$@\"\n")
    (spy / "ssh-add").chmod(0o755)
    os.chmod(area, 0o777)
    env = {"PATH": f"{spy}:{os.environ['PATH']}", "SSH_AUTH_SOCK": "/nonexistent"}
    args = login_args(sshd, who, IdentityFile=key, IdentityAgent=agent.socket)
    typed = {"run": run_on_terminal, "dialogue": [(b"passphrase", b"0pen-s3same")], "env": env}
    mount_and_leave(who, sshd, area, args, **typed)
    assert fingerprint(key) not in held(agent, who) and not list(area.glob("seen.*"))  # the default is no
    helper = area / "askpass"
    for answer in ("exit 1", "exit 0"):
        helper.write_text(f'#!/bin/sh\ncase "$1" in *assphrase*) echo 0pen-s3same;; *"to agent?"*) {answer};; esac\n')
        helper.chmod(0o755)
        mount_and_leave(who, sshd, area, [*args, *options(AddKeysToAgent="ask")], env={
            **env, "SSH_ASKPASS": str(helper), "SSH_ASKPASS_REQUIRE": "force"})
        assert (fingerprint(key) in held(agent, who)) == (answer == "exit 0")
    mount_and_leave(who, sshd, area, [*args, *options(AddKeysToAgent="yes")], env=env)  # nobody to ask: the agent signs
    who.run(["ssh-add", "-D"], env={"SSH_AUTH_SOCK": str(agent.socket)})
    mount_and_leave(who, sshd, area, [*args, "-o", "AddKeysToAgent=confirm 5m"], **typed)
    assert fingerprint(key) in held(agent, who)
    seen = "".join(file.read_text() for file in area.glob("seen.*"))
    assert "-c -t 300" in seen and "0pen" not in seen
    mount_and_leave(who, sshd, area, args, LOGIN)  # the agent has nobody to ask for the confirmation


def test_a_key_that_needs_a_question_waits_for_those_that_do_not(special, who, area, agent):
    """ssh would have begun with the agent's, and asked nothing. Offered is it first all the same."""
    sshd = special(MaxAuthTries="3", LogLevel="VERBOSE")
    key = encrypted_key(sshd, who, area / "key", "0pen")
    args = login_args(sshd, who, IdentityFile=key, IdentityAgent=agent.socket)
    agent.add(own_key(who, area / "stranger"))
    agent.add(sshd.identity_for(who))
    mount_and_leave(who, sshd, area, args, run=run_on_terminal, dialogue=[])
    log = sshd.log_text()
    accepted = log.index("Accepted publickey")
    assert f"{fingerprint(sshd.identity)}" in log[accepted:].splitlines()[0]
    assert -1 < log.find(f"Postponed publickey for {who.name}") < log.find(fingerprint(area / "stranger")) < accepted
    # where all the others are too many for the server it is asked about first
    who.run(["ssh-add", "-q", "-d", f"{sshd.identity}.pub"], env={"SSH_AUTH_SOCK": str(agent.socket)})
    for i in range(3):
        agent.add(own_key(who, area / f"k{i}"))
    mount_and_leave(who, sshd, area, args, run=run_on_terminal, dialogue=[(b"passphrase", b"0pen")])
    said = mount_and_leave(who, sshd, area, args, LOGIN)
    assert "IdentitiesOnly" in said and len(said.strip().splitlines()) == 1, said


@pytest.mark.parametrize("words", ["HostbasedAuthentication=yes", "PKCS11Provider=/nonexistent.so", "GSSAPIKeyExchange=yes"])
def test_what_only_ssh_can_do_is_named_with_the_cure_when_a_login_fails(special, who, area, agent, words):
    sshd = special(MaxAuthTries="3")
    args = [*login_args(sshd, who, IdentityFile="none", IdentityAgent=agent.socket), "-o", words]
    cure = f"for {words.split('=')[0]} use -o ssh_command=ssh"
    said = mount_and_leave(who, sshd, area, args, LOGIN)
    assert cure in said and len(said.strip().splitlines()) == 1, said
    assert "ssh_command" not in mount_and_leave(who, sshd, area, [*args[:-1], "User=nobody"], LOGIN)
    for i in range(4):
        agent.add(own_key(who, area / f"k{i}"))
    said = mount_and_leave(who, sshd, area, args, LOGIN)
    assert "Too many" in said and cure in said and len(said.strip().splitlines()) == 1, said


def test_keys_of_cards_and_tokens_say_how_to_use_them(special, who, area):
    """libssh has neither PKCS#11 nor FIDO."""
    sshd = special()
    said = mount_and_leave(who, sshd, area, login_args(sshd, who, IdentityFile="pkcs11:token=card"), LOGIN)
    assert "ssh-add -s" in said and "ssh_command=ssh" in said and len(said.strip().splitlines()) == 1, said
    parts = [b"sk-ssh-ed25519@openssh.com", bytes(range(32)), b"ssh:"]
    blob = b64encode(b"".join(struct.pack(">I", len(part)) + part for part in parts)).decode()
    handle = area / "id_ed25519_sk"
    handle.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n" + b64encode(b"openssh-key-v1\0" + struct.pack(">I", 4)
                      + b"none" + bytes(60)).decode() + "\n-----END OPENSSH PRIVATE KEY-----\n")
    handle.chmod(0o600)
    os.chown(handle, who.uid, who.gid)
    (area / "id_ed25519_sk.pub").write_text(f"{parts[0].decode()} {blob}\n")
    sshd.authorized.write_text(f"{parts[0].decode()} {blob}\n")
    said = mount_and_leave(who, sshd, area, login_args(sshd, who, IdentityFile=handle), LOGIN)
    assert "security key" in said and "agent" in said and "ssh_command=ssh" in said, said
    assert len(said.strip().splitlines()) == 1
