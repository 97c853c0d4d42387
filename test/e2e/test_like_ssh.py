"""Whatever `ssh host` manages, `sftpfs host:` manages: the same configuration given to both, and what the servers saw of
them compared. One case in three, all of them with SFTPFS_LIKE_SSH=full."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from conftest import anybody, serial
from mount import daemons_of, is_mounted, run_sftpfs
from server import Sshd, keygen
from waiting import wait_until

pytestmark = [pytest.mark.own_user, anybody]

# What every configuration ends with: the first value wins, so the lines of a case come first.
LAST = """
Host near
  Port {hop}
Host *
  HostName 127.0.0.1
  Port {port}
  User {user}
  IdentityFile {key}
  UserKnownHostsFile {known}
  GlobalKnownHostsFile none
  StrictHostKeyChecking yes
  IdentityAgent none
"""

SUCCEED = {
    "nothing more": "",
    "equals signs, tabs, comments, upper case": "# far\n\tPORT={port}\nuser = {user} # me\n\nhOsT far\n",
    "windows line ends": "Host far\r\n  Port {port}\r\n",
    "quoted path with a space": 'IdentityFile "{area}/a key"\nIdentityFile none\n',
    "several keys, the last one fits": "IdentityFile /nonexistent\nIdentityFile {area}/stranger\n",
    "tokens in a path": "IdentityFile {area}/%n-%h-%p-%r-%%\nIdentityFile /nonexistent\n",
    "variable in a path": "IdentityFile ${{KEY_DIR}}/a*key\nIdentityFile ${{KEY_DIR}}/plain\n",
    "wildcards and negation": "Host !far *\n  Port 1\nHost f?r\n  Port {port}\nHost *\n  Port 1\n",
    "include with a pattern": "Include {area}/conf.d/*.conf\nPort 1\n",
    "include in a block that applies not": "Host other\n  Include {area}/wrong\n",
    "match host after its new name": "HostName 127.0.0.1\nMatch host 127.0.0.1 originalhost far\n  Port {port}\nHost *\n  Port 1\n",
    "match exec": 'Match exec "test %n = far && test %h = far"\n  Port {port}\nMatch all\n  Port 1\n',
    "match exec that fails": "Match exec false\n  Port 1\n",
    "match user and local user": "User {user}\nMatch user {user} localuser *\n  Port {port}\nMatch all\n  Port 1\n",
    "match final": "Match final host 127.0.0.1\n  Port {port}\n",
    "canonical names": "CanonicalizeHostname yes\nCanonicalDomains invalid\nHostName localhost\nHostKeyAlias 127.0.0.1\n"
                       "UserKnownHostsFile {area}/bare\n",
    "other user": "User {other}\n",
    "two files of hosts, the second knows it": "UserKnownHostsFile {area}/empty {known}\n",
    "file of hosts with a space": 'UserKnownHostsFile "{area}/hosts of mine" {area}/empty\n',
    "files of the system": "UserKnownHostsFile none\nGlobalKnownHostsFile {area}/missing {known}\n",
    "hashed hosts": "UserKnownHostsFile {area}/hashed\n",
    "host without its port": "UserKnownHostsFile {area}/bare\n",
    "wildcard for hosts": "UserKnownHostsFile {area}/wild\n",
    "alias for the host key": "HostKeyAlias other.name\nUserKnownHostsFile {area}/alias\n",
    "only the RSA key known": "UserKnownHostsFile {area}/rsa\n",
    "stale RSA line before a good one": "UserKnownHostsFile {area}/stale_rsa\n",
    "algorithms added": "UserKnownHostsFile {area}/rsa\nHostKeyAlgorithms +ssh-rsa\n",
    "algorithms in front": "UserKnownHostsFile {area}/rsa\nHostKeyAlgorithms ^rsa-sha2-512\n",
    "algorithms removed": "HostKeyAlgorithms -ssh-ed25519*\nUserKnownHostsFile {area}/rsa\n",
    "new hosts accepted": "UserKnownHostsFile {area}/new/hosts\nStrictHostKeyChecking accept-new\n",
    "hosts not checked": "UserKnownHostsFile /dev/null\nStrictHostKeyChecking no\nLogLevel ERROR\n",
    "no check of this machine": "UserKnownHostsFile /dev/null\nNoHostAuthenticationForLocalhost yes\n",
    "known hosts from a command": "UserKnownHostsFile none\nKnownHostsCommand /bin/cat {known}\n",
    "certificate authority beside a plain key": "UserKnownHostsFile {area}/authority\n",
    "jump host": "Host far\n  ProxyJump near\n",
    "jump host for all but itself": "Host near\n  ProxyJump none\nHost *\n  ProxyJump near\n",
    "two jump hosts": "Host far\n  ProxyJump {user}@near,ssh://{user}@127.0.0.1:{hop}\n",
    "jump host of a jump host": "Host near2\n  Port {hop}\n  ProxyJump near\nHost far\n  ProxyJump near2\n",
    "proxy command": "Host far\n  ProxyCommand nc %h %p\n",
    "proxy command that passes a socket": "Host far\n  ProxyCommand nc -F %h %p\n  ProxyUseFdpass yes\n",
    "ssh as proxy command": "Host far\n  ProxyCommand ssh -F {config} -W %h:%p near\n",
    "proxy command none before jump host": "Host far\n  ProxyCommand none\n  ProxyJump near\n",
    "algorithms of every kind": "Ciphers -chacha20*\nMACs ^hmac-sha2-512\nKexAlgorithms +diffie-hellman-group14-sha1\n"
                                "PubkeyAcceptedAlgorithms +ssh-rsa\nCompression yes\n",
    "local address": "BindAddress 127.0.0.2\nAddressFamily inet\n",
    "no limit for connecting": "ConnectTimeout 0\n",
    "RekeyLimit with words": "RekeyLimit default none\n",
    "unknown keyword ignored": "IgnoreUnknown Use*,Nosuch\nUseKeychain yes\nNosuch 1\n",
    "what is for a terminal": "SendEnv LANG LC_*\nEscapeChar none\nForwardAgent yes\n"
                              "ForwardX11 yes\nLocalForward 1 127.0.0.1:1\nExitOnForwardFailure yes\nPermitLocalCommand yes\n"
                              "LocalCommand false\nVisualHostKey yes\nIPQoS none\nTCPKeepAlive no\n",
}

FAIL = {
    "unknown keyword": "Nosuch 1\n",
    "keyword without value": "User\n",
    "value that is none": "StrictHostKeyChecking perhaps\n",
    "port that is none": "Port 65536\n",
    "cipher that is none": "Ciphers nosuch\n",
    "file of others": "Include {area}/missing/*\nInclude {area}/theirs\n",
    "name that is not found": "HostName nosuch.invalid\n",
    "address of another family": "AddressFamily inet6\n",
    "host unknown": "UserKnownHostsFile {area}/empty\n",
    "host unknown, and nobody to ask": "UserKnownHostsFile {area}/empty\nStrictHostKeyChecking ask\n",
    "host of another port": "UserKnownHostsFile {area}/other_port\n",
    "host negated": "UserKnownHostsFile {area}/negated\n",
    "host key changed": "UserKnownHostsFile {area}/changed\nStrictHostKeyChecking accept-new\n",
    "host key revoked": "UserKnownHostsFile {area}/revoked\nStrictHostKeyChecking accept-new\n",
    "host key in the list of revoked ones": "RevokedHostKeys {area}/revoked_keys\n",
    "command for known hosts fails": "KnownHostsCommand /bin/false\n",
    "alias that is not known": "HostKeyAlias other.name\n",
    "key of a stranger": "IdentityFile {area}/stranger\nMatch all\n  IdentitiesOnly yes\nPubkeyAuthentication no\n",
    "no public keys": "PubkeyAuthentication no\n",
    "type of key not accepted": "PubkeyAcceptedAlgorithms -ssh-ed25519*\n",
    "jump host unknown": "Host near\n  UserKnownHostsFile {area}/empty\nHost far\n  ProxyJump near\n",
    "jump host without a way on": "Host far\n  Port 1\n  ProxyJump near\n",
    "proxy command that fails": "ProxyCommand false\n",
    "no algorithm in common": "HostKeyAlgorithms ecdsa-sha2-nistp521\n",
}


class Lab:
    """What the configurations speak of."""

    def __init__(self, who, people, sshd, hop, area):
        self.who, self.servers, self.area = who, (sshd, hop), area
        self.config = area / "config"
        self.place = area / "mnt"
        self.place.mkdir()
        self.names = {"area": area, "port": sshd.port, "hop": hop.port, "user": who.name, "key": sshd.identity_for(who),
                      "config": self.config, "known": area / "known",
                      "other": "root" if "root" in people else who.name}
        ed25519, rsa = (Path(f"{key}.pub").read_text().strip() for key in sshd.host_keys)
        hop_lines = [f"[127.0.0.1]:{hop.port} {Path(f'{key}.pub').read_text().strip()}" for key in hop.host_keys]
        stranger = Path(f"{keygen(area / 'stranger', 'ed25519')}.pub").read_text().strip()
        old_rsa = Path(f"{keygen(area / 'old_rsa', 'rsa')}.pub").read_text().strip()
        name = f"[127.0.0.1]:{sshd.port}"
        for file, lines in {
                "known": [f"{name} {ed25519}", *hop_lines], "hosts of mine": [f"{name} {ed25519}"], "empty": [],
                "hashed": [f"{name} {ed25519}"], "bare": [f"127.0.0.1 {ed25519}"], "wild": [f"[127.*.?]:* {ed25519}"],
                "alias": [f"other.name {ed25519}"], "rsa": [f"{name} {rsa}"],
                "stale_rsa": [f"{name} {old_rsa}", f"{name} {ed25519}"],
                "authority": [f"@cert-authority {name} {stranger}", f"{name} {ed25519}"],
                "other_port": [f"[127.0.0.1]:1 {ed25519}"], "negated": [f"*,!127.0.0.1,!{name} {ed25519}"],
                "changed": [f"{name} {stranger}"], "revoked": [f"{name} {ed25519}", f"@revoked * {ed25519}"],
                "revoked_keys": [ed25519], "wrong": ["Port 1"], "theirs": ["Port 1"]}.items():
            (area / file).write_text("".join(f"{line}\n" for line in lines))
        subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(area / "hashed")], check=True, capture_output=True)
        (area / "theirs").chmod(0o666)
        (area / "conf.d").mkdir()
        (area / "conf.d" / "1.conf").write_text(f"Port {sshd.port}\n")
        for copy in ("a key", "plain", f"far-127.0.0.1-{sshd.port}-{who.name}-%"):
            (area / copy).write_bytes(sshd.identity.read_bytes())
            (area / copy).chmod(0o600)
        subprocess.run(["chown", "-R", f"{who.uid}:{who.gid}", str(area)], check=True)

    def write(self, text):
        self.config.write_text((text + "Match all\n" + LAST).format(**self.names))
        self.config.chmod(0o644)

    def logins(self, run):
        """What run() returns, and which logins the servers then had seen."""
        before = [len(server.log_text()) for server in self.servers]
        result = run()
        return result, [re.findall(r"Accepted \w+ for (\S+) from (\S+) port \d+ ssh2: (.*)", server.log_text()[start:])
                        for server, start in zip(self.servers, before)]

    def sftp(self):
        env = {"KEY_DIR": str(self.area)}
        done = self.who.run(["sftp", "-q", "-b", "/dev/null", "-F", str(self.config), "far"], check=False, env=env)
        return done.returncode == 0, done.stderr.decode(errors="replace")

    def mount(self):
        result = run_sftpfs(self.who, ["-F", self.config, "-o", "BatchMode=yes", "far:/etc", self.place],
                            env={"KEY_DIR": str(self.area)})
        if is_mounted(self.place):
            self.who.run(["fusermount3", "-u", str(self.place)])
        wait_until(lambda: not daemons_of(self.place), what="the daemon ends")
        return result


@pytest.fixture(scope="module")
def lab(top, people, who, sshd):
    """With a second server, for the same keys."""
    hop = Sshd(top / f"hop{next(serial)}", {"AuthorizedKeysFile": sshd.authorized}, people.values())
    area = top / f"like{next(serial)}"
    area.mkdir()
    yield Lab(who, people, sshd, hop, area)
    hop.stop()


CASES = [*SUCCEED, *FAIL]


@pytest.mark.parametrize("case", CASES if os.environ.get("SFTPFS_LIKE_SSH") == "full" else CASES[::3])
def test_same_configuration_same_outcome(lab, case):
    lab.write({**SUCCEED, **FAIL}[case])
    (ssh_ok, ssh_said), ssh_logins = lab.logins(lab.sftp)
    assert ssh_ok == (case in SUCCEED), f"the case is wrong: {ssh_said}"
    mounted, logins = lab.logins(lab.mount)
    said = mounted.err.decode(errors="replace")
    assert (mounted.code == 0) == ssh_ok, f"ssh: {ssh_said}\nsftpfs: {said}"
    if ssh_ok:
        assert logins == ssh_logins and said.count("\n") == 0, said
    else:
        assert len(mounted.lines) == 1, said
