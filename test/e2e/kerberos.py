"""A Kerberos realm of its own: a KDC on loopback, the server's keytab, tickets. Nothing of this machine's is used."""

import os
import subprocess

from server import free_port
from waiting import wait_until

REALM = "SFTPFS.TEST"
PASSWORD = "s3cret-of-kerberos"


class Kdc:
    def __init__(self, directory, users, host="localhost"):
        self.dir = directory
        directory.mkdir()
        directory.chmod(0o755)
        (directory / "tickets").mkdir()
        (directory / "tickets").chmod(0o1777)
        self.port = free_port()
        self.keytab = directory / "keytab"
        # The cache is named here and not by KRB5CCNAME, as on systems that keep tickets elsewhere than in /tmp.
        (directory / "krb5.conf").write_text(
            f"[libdefaults]\n default_realm = {REALM}\n dns_lookup_kdc = false\n dns_lookup_realm = false\n"
            " dns_canonicalize_hostname = false\n rdns = false\n udp_preference_limit = 1\n forwardable = true\n"
            f" default_ccache_name = FILE:{directory}/tickets/%{{uid}}\n"
            f"[realms]\n {REALM} = {{\n  kdc = 127.0.0.1:{self.port}\n }}\n[domain_realm]\n {host} = {REALM}\n")
        (directory / "kdc.conf").write_text(
            f"[kdcdefaults]\n kdc_listen = 127.0.0.1:{self.port}\n kdc_tcp_listen = 127.0.0.1:{self.port}\n"
            f"[realms]\n {REALM} = {{\n  database_name = {directory}/principal\n  key_stash_file = {directory}/stash\n"
            "  supported_enctypes = aes256-cts:normal\n }\n")
        # libssh 0.10 and the libraries of Kerberos do not give back all that they take for a login.
        self.client_env = {"KRB5_CONFIG": str(directory / "krb5.conf"),
                           "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"}
        self.server_env = {**self.client_env, "KRB5_KTNAME": str(self.keytab), "KRB5RCACHENAME": "none:"}
        self._run("kdb5_util", "create", "-s", "-r", REALM, "-P", "master", "-W")
        commands = [f"addprinc -pw {PASSWORD} {who.name}" for who in users]
        commands += [f"addprinc -randkey host/{host}", f"ktadd -k {self.keytab} host/{host}"]
        self._run("kadmin.local", "-r", REALM, stdin="\n".join(commands) + "\n")
        self.process = subprocess.Popen(["/usr/sbin/krb5kdc", "-n", "-r", REALM], env=self._env(),
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def _env(self):
        return {**os.environ, **self.client_env, "KRB5_KDC_PROFILE": str(self.dir / "kdc.conf")}

    def _run(self, program, *args, stdin=""):
        done = subprocess.run([f"/usr/sbin/{program}", *args], input=stdin, env=self._env(), text=True,
                              capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr

    def ticket(self, who):
        """Log in at the KDC; it may still be starting."""
        wait_until(lambda: who.run(["kinit", who.name], stdin=None, input=PASSWORD.encode() + b"\n", check=False,
                                   env=self.client_env).returncode == 0, what="a ticket")

    def tickets(self, who):
        return self.dir / "tickets" / str(who.uid)

    def close(self):
        self.process.terminate()
        self.process.wait()
