"""Which servers are trusted: known_hosts files of every kind, revoked, certified and pinned keys."""

import base64
import fcntl
import hashlib
import os
import re
import subprocess
import threading
from pathlib import Path

import pytest

from conftest import anybody, login_args
from mount import daemons_of, is_mounted, run_on_terminal, run_sftpfs
from server import Sshd, keygen
from waiting import wait_until

pytestmark = pytest.mark.own_user

USAGE, HOST_KEY = 1, 3


def public(key):
    """(type, base64) of a key file."""
    return Path(f"{key}.pub").read_text().split()[:2]


def fingerprint(key, digest="sha256"):
    return subprocess.run(["ssh-keygen", "-E", digest, "-lf", f"{key}.pub"], check=True, capture_output=True,
                          text=True).stdout.split()[1]


class Host:
    def __init__(self, who, sshd, area):
        self.who, self.sshd, self.area = who, sshd, area
        self.ed25519, self.rsa = sshd.host_keys
        self.name = f"[127.0.0.1]:{sshd.port}"

    def known(self, *lines, name="known"):
        path = self.area / name
        path.write_text("".join(f"{line}\n" for line in lines))
        os.chown(path, self.who.uid, self.who.gid)
        return path

    def line(self, key=None, host=None, mark=""):
        return " ".join([*([mark] if mark else []), host or self.name, *public(key or self.ed25519)])

    def try_it(self, known, extra=(), code=0, run=run_sftpfs, target=None, **changes):
        """Mount /etc with this known_hosts file; the words said."""
        dialogue = {"dialogue": changes.pop("dialogue")} if run is run_on_terminal else {}
        place = self.area / f"mnt{threading.get_ident()}"
        self.who.run(["mkdir", "-p", str(place)])
        args = [*login_args(self.sshd, self.who, UserKnownHostsFile=known, **changes), *extra]
        result = run(self.who, [*args, target or self.sshd.target(self.who, "/etc"), place], **dialogue)
        said = result.err.decode(errors="replace")
        try:
            assert result.code == code, f"exit {result.code}: {said}"
            assert is_mounted(place) == (code == 0)
        finally:
            if is_mounted(place):
                self.who.run(["fusermount3", "-u", str(place)])
        wait_until(lambda: not daemons_of(place), what="the daemon ends")
        if code and run is run_sftpfs:
            assert len(said.strip().splitlines()) == 1, said
        return said


@pytest.fixture
def host(who, sshd, area):
    return Host(who, sshd, area)


def test_unknown_key_is_named_as_ssh_keygen_names_it(host):
    for policy in ("yes", "ask"):
        said = host.try_it(host.known(), code=HOST_KEY, StrictHostKeyChecking=policy)
        assert "ED25519" in said and fingerprint(host.ed25519) in said
    log = host.area / "log"
    host.try_it(host.known(), code=HOST_KEY, extra=["-o", f"log_file={log}"])
    assert f"would be: {host.line()}\n" in log.read_text()
    said = host.try_it(host.known(), code=HOST_KEY, FingerprintHash="md5")
    assert fingerprint(host.ed25519, "md5") in said and "VerifyHostKeyDNS" not in said
    assert "VerifyHostKeyDNS has no effect" in host.try_it(host.known(), code=HOST_KEY, VerifyHostKeyDNS="yes")
    assert "GSSAPIKeyExchange" in host.try_it(host.known(), code=HOST_KEY, GSSAPIKeyExchange="yes")
    assert host.known().read_text() == ""


def test_lines_of_every_form(host):
    """Plain, hashed, wildcards, without port, by address for a name."""
    host.try_it(host.known("# comment", "nonsense", host.line()))
    host.try_it(host.known(host.line(host="127.0.0.1")))
    host.try_it(host.known(host.line(host="[127.*]:*")))
    host.try_it(host.known(host.line(host="127.0.0.1")), target=f"{host.who.name}@localhost:/etc")
    hashed = host.known(host.line())
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(hashed)], check=True, capture_output=True)
    assert "127.0.0.1" not in hashed.read_text()
    os.chown(hashed, host.who.uid, host.who.gid)
    host.try_it(hashed)


def test_negated_pattern_is_no_match(host):
    """With and without port: as for ssh, a line for the bare name vouches for every port."""
    host.try_it(host.known(host.line(host="*,!*127.0.0.1*")), code=HOST_KEY)
    host.try_it(host.known(host.line(host="*,!*127.0.0.2*")))


def test_several_files_and_the_system_s(host):
    empty, good = host.known(name="empty"), host.known(host.line())
    host.try_it(f"{empty} {good}")
    host.try_it(empty, GlobalKnownHostsFile=f"/nonexistent {good}")
    host.try_it(empty, code=HOST_KEY)


def test_host_key_alias(host):
    host.try_it(host.known(host.line(host="other.name")), HostKeyAlias="other.name")
    host.try_it(host.known(host.line()), HostKeyAlias="other.name", code=HOST_KEY)


def test_type_that_is_known_is_asked_for(host):
    """The server offers Ed25519 first, and only its RSA key is known."""
    host.try_it(host.known(host.line(host.rsa)))
    said = host.try_it(host.known(host.line(host.rsa)), HostKeyAlgorithms="ssh-ed25519", code=HOST_KEY,
                       StrictHostKeyChecking="accept-new")
    assert "CHANGED" in said


@anybody
def test_order_of_types_is_that_of_ssh(host, area):
    """Of the types that are known the first one of HostKeyAlgorithms, not of the file."""
    old = keygen(area / "old", "rsa")
    host.try_it(host.known(host.line(old), host.line()))
    assert "CHANGED" in host.try_it(host.known(host.line(old)), code=HOST_KEY)
    # a list that is only added to is no wish for another order
    host.try_it(host.known(host.line(host.rsa)), HostKeyAlgorithms="+ssh-rsa")
    host.try_it(host.known(host.line(host.rsa)), HostKeyAlgorithms="-ecdsa*")


@anybody
def test_known_hosts_command(host, area):
    """As ssh runs it: once for the order of types, then for the key, with and without the port."""
    script, log = area / "hosts of mine", area / "log"
    log.touch()
    os.chown(log, host.who.uid, host.who.gid)

    def prints(*lines, end="exit 0"):
        text = "".join(f"echo '{line}'\n" for line in lines)
        script.write_text(f'#!/bin/sh\necho "$#" "$@" >> {log}\necho not of interest >&2\n{text}{end}\n')
        script.chmod(0o755)
        log.write_text("")
    command = f"'{script}' %H %I %t %f \"%n %%\""
    prints(host.line())
    host.try_it(host.known(), KnownHostsCommand=command)
    assert log.read_text().splitlines() == [
        "5 127.0.0.1 ORDER NONE NONE 127.0.0.1 %",
        f"5 {host.name} HOSTNAME ssh-ed25519 {fingerprint(host.ed25519)} 127.0.0.1 %"]
    prints()
    host.try_it(host.known(), KnownHostsCommand=command, code=HOST_KEY)
    assert [line.split()[1:3] for line in log.read_text().splitlines()] == [
        ["127.0.0.1", "ORDER"], [host.name, "HOSTNAME"], ["127.0.0.1", "HOSTNAME"]]
    prints(host.line(host.rsa))  # the type that it knows is asked for
    host.try_it(host.known(), KnownHostsCommand=command)
    prints(host.line(mark="@revoked"))
    assert "'KnownHostsCommand' line 1" in host.try_it(host.known(host.line()), KnownHostsCommand=command, code=HOST_KEY)
    prints(host.line(), end="echo 'no database' >&2; exit 3")
    said = host.try_it(host.known(host.line()), KnownHostsCommand=command, code=HOST_KEY)
    assert "KnownHostsCommand" in said and "no database" in said
    for wrong in ("relative", "/nonexistent/program", f"'{script}' %w"):
        assert "KnownHostsCommand" in host.try_it(host.known(host.line()), KnownHostsCommand=wrong, code=HOST_KEY)


def test_changed_key_is_never_replaced(host, area):
    known = host.known(host.line(keygen(area / "old", "ed25519")))
    before = known.read_bytes()
    for policy in ("yes", "ask", "accept-new", "no"):
        said = host.try_it(known, code=HOST_KEY, StrictHostKeyChecking=policy)
        assert "CHANGED" in said and f"'{known}' line 1" in said and fingerprint(host.ed25519) in said
    assert known.read_bytes() == before


def test_revoked_line_beats_a_plain_one_under_every_policy(host):
    known = host.known(host.line(), host.line(host="*", mark="@revoked"))
    for policy in ("yes", "ask", "accept-new", "no"):
        assert "revoked" in host.try_it(known, code=HOST_KEY, StrictHostKeyChecking=policy)
    assert "revoked" in host.try_it(known, extra=["-o", f"host_key={fingerprint(host.ed25519)}"], code=HOST_KEY)


def test_revoked_host_keys_as_a_list_and_as_krl(host, area):
    other = keygen(area / "other", "ed25519")
    for revoked, code in ((host.ed25519, HOST_KEY), (other, 0)):
        text, krl = area / "revoked.txt", area / "revoked.krl"
        text.write_text(f"# list\n{' '.join(public(revoked))} comment\n")
        subprocess.run(["ssh-keygen", "-q", "-k", "-f", str(krl), f"{revoked}.pub"], check=True)
        for path in (text, krl):
            path.chmod(0o644)
            said = host.try_it(host.known(host.line()), RevokedHostKeys=path, code=code)
            assert code == 0 or ("revoked" in said and str(path) in said)
    damaged = area / "damaged.krl"
    damaged.write_bytes(krl.read_bytes()[:20])
    damaged.chmod(0o644)
    assert "damaged" in host.try_it(host.known(host.line()), RevokedHostKeys=damaged, code=HOST_KEY)
    assert "/nonexistent" in host.try_it(host.known(host.line()), RevokedHostKeys="/nonexistent", code=HOST_KEY)


def test_certificate_authority_has_an_honest_message(who, top, people, area):
    """At a server that has a certificate, which satisfies ssh."""
    sshd = Sshd(top / f"certified-{who.name}", users=people.values())
    try:
        host = Host(who, sshd, area)
        subprocess.run(["ssh-keygen", "-q", "-s", keygen(area / "authority", "ed25519"), "-I", "host", "-h", "-n",
                        "127.0.0.1", f"{host.ed25519}.pub"], check=True)
        sshd.directives["HostCertificate"] = f"{host.ed25519}-cert.pub"
        sshd.stop()
        sshd.start()
        authority = host.line(area / "authority", mark="@cert-authority")
        known = host.known(authority)
        words = ["-P" if word == "-p" else str(word) for word in login_args(sshd, who, UserKnownHostsFile=known)]
        who.run(["sftp", "-q", "-b", "/dev/null", *words, sshd.target(who, "/")])
        said = host.try_it(known, code=HOST_KEY)
        assert "not supported" in said and "plain key" in said and "ssh_command=ssh" in said
        host.try_it(host.known(authority, host.line()))
    finally:
        sshd.stop()


@pytest.mark.parametrize("form", ["sha256", "sha256 in hex", "sha1", "sha512", "md5", "md5 bare", "key", "file"])
def test_pinned_key(host, area, form):
    """It needs no known_hosts and writes none, and another key of the same form is refused."""
    def named(key):
        digest = fingerprint(key, "md5")
        if form == "sha256 in hex":
            return ":".join(f"{b:02X}" for b in hashlib.sha256(base64.b64decode(public(key)[1])).digest())
        if form == "file":
            (area / "pinned").write_text(" ".join(public(key)) + "\n")
            (area / "pinned").chmod(0o644)
        return {"sha256": fingerprint(key), "sha1": fingerprint(key, "sha1"), "sha512": fingerprint(key, "sha512"),
                "md5": digest, "md5 bare": digest[4:], "key": " ".join(public(key)),
                "file": str(area / "pinned")}[form]
    known = host.known()
    log = area / "log"
    host.try_it(known, extra=["-o", f"host_key={named(host.ed25519)}", "-o", f"log_file={log}"])
    assert ("proves little" in log.read_text()) == (form in ("sha1", "md5", "md5 bare"))
    other = keygen(area / "other", "ed25519")
    said = host.try_it(host.known(host.line()), extra=["-o", f"host_key={named(other)}"], code=HOST_KEY)
    assert "host_key" in said and fingerprint(host.ed25519) in said
    if form == "sha256":  # one of several is enough
        host.try_it(known, extra=["-o", f"host_key={named(other)},host_key={named(host.ed25519)}"])
    assert known.read_text() == host.line() + "\n" or known.read_text() == ""


def test_pinned_key_of_a_type_that_the_server_does_not_offer_first(host, area):
    """Also where known_hosts has the type that it does offer first."""
    (area / "pinned").write_text(f"# ours\n{' '.join(public(host.rsa))}\n")
    (area / "pinned").chmod(0o644)
    for named in (" ".join(public(host.rsa)), area / "pinned"):
        host.try_it(host.known(host.line()), extra=["-o", f"host_key={named}"])
    # a fingerprint does not tell its type: all that the server has are looked at
    host.try_it(host.known(), extra=["-o", f"host_key={fingerprint(host.rsa)}"])
    other = fingerprint(keygen(area / "other", "rsa"))
    said = host.try_it(host.known(), extra=["-o", f"host_key={other}"], code=HOST_KEY)
    assert fingerprint(host.ed25519) in said and fingerprint(host.rsa) in said, said
    said = host.try_it(host.known(), extra=["-o", f"host_key={other}"], code=HOST_KEY, HostKeyAlgorithms="ssh-ed25519")
    assert fingerprint(host.ed25519) in said and fingerprint(host.rsa) not in said, said


def test_pinned_key_that_is_none(host):
    assert "SHA256:short" in host.try_it(host.known(), extra=["-o", "host_key=SHA256:short"], code=USAGE)


def test_accept_new_adds_one_line_also_when_two_come_at_once(host):
    known = host.area / "dir" / "known"
    for _ in range(2):
        host.try_it(known, StrictHostKeyChecking="accept-new")
    assert known.read_text() == host.line() + "\n"
    assert os.stat(known).st_mode & 0o777 == 0o600 and os.stat(known.parent).st_mode & 0o777 == 0o700
    assert os.stat(known).st_uid == host.who.uid
    # both have found nothing when the lock lets them write
    known.write_text("")
    threads = [threading.Thread(target=host.try_it, args=(known,), kwargs={"StrictHostKeyChecking": "accept-new"})
               for _ in range(2)]
    with open(known, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for thread in threads:
            thread.start()
        wait_until(lambda: len(re.findall(rf"-> FLOCK .*:{os.stat(known).st_ino} ", Path("/proc/locks").read_text())) == 2,
                   what="both wait for the lock")
    for thread in threads:
        thread.join()
    assert known.read_text() == host.line() + "\n"


def test_new_key_hashed(host):
    known = host.area / "hashed"
    host.try_it(known, StrictHostKeyChecking="accept-new", HashKnownHosts="yes")
    assert known.read_text().startswith("|1|") and "127.0.0.1" not in known.read_text()
    host.try_it(known)


def test_file_that_cannot_be_written_is_said_and_no_error(host):
    said = host.try_it("/proc/version", StrictHostKeyChecking="accept-new")
    assert "not saved" in said


def test_answers_to_the_question(host):
    known = host.known()
    ask = {"StrictHostKeyChecking": "ask", "run": run_on_terminal}
    host.try_it(known, **ask, dialogue=[(b"(yes/no", b"no")], code=HOST_KEY)
    assert known.read_text() == ""
    host.try_it(known, **ask, dialogue=[(b"(yes/no", b"maybe"), (b"Please type", b"no")], code=HOST_KEY)
    assert known.read_text() == ""
    host.try_it(known, **ask, dialogue=[(b"(yes/no", fingerprint(host.ed25519).encode())])
    assert known.read_text() == host.line() + "\n"


def test_localhost_without_a_check(host, area):
    host.try_it(host.known(), NoHostAuthenticationForLocalhost="yes")
    revoked = host.known(host.line(mark="@revoked"))
    host.try_it(revoked, NoHostAuthenticationForLocalhost="yes", code=HOST_KEY)


def test_x509_is_refused_by_name(host):
    """Also beside what the server has, and of the login's keys."""
    known = host.known(host.line())
    for keyword in ("HostKeyAlgorithms", "PubkeyAcceptedAlgorithms"):
        host.try_it(known, **{keyword: "ssh-ed25519"})
        assert "x509v3-sign-rsa" in host.try_it(known, **{keyword: "x509v3-sign-rsa\\,ssh-ed25519"}, code=USAGE)
