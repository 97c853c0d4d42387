"""Logging in with a Kerberos ticket: gssapi-with-mic against a real sshd and a KDC of the test's own."""

import pytest

from conftest import login_args
from kerberos import Kdc
from mount import run_sftpfs
from server import Sshd

pytestmark = pytest.mark.own_user

LOGIN = 4


@pytest.fixture(scope="session")
def kdc(top, people):
    made = Kdc(top / "kdc", people.values())
    yield made
    made.close()


@pytest.fixture(scope="session")
def server(top, people, kdc):
    made = Sshd(top / "kerberos", {"GSSAPIAuthentication": "yes", "GSSAPIStrictAcceptorCheck": "no"}, people.values(),
                wrapper=["env", *(f"{name}={value}" for name, value in kdc.server_env.items())])
    yield made
    made.stop()


def args(server, who, host="localhost", **changes):
    """By the name that the server's ticket is for, and by nothing but Kerberos."""
    values = {"PreferredAuthentications": "gssapi-with-mic", **changes}
    return login_args(server, who, UserKnownHostsFile=server.known_hosts(f"hosts_{host}", host=host),
                      GSSAPIAuthentication="yes", **values)


def forwarded(server):
    """Does a session of the server have tickets?"""
    return [b"KRB5CCNAME=" in open(f"/proc/{pid}/environ", "rb").read() for pid in server.sftp_server_pids()]


@pytest.mark.parametrize("delegate", [None, "yes"])
def test_a_ticket_logs_in_and_stays_here(server, kdc, who, mounter, delegate):
    """Unless GSSAPIDelegateCredentials says that the server is to have it."""
    kdc.ticket(who)
    mount = mounter(who, f"{who.name}@localhost:/etc", args(server, who, GSSAPIDelegateCredentials=delegate),
                    env=kdc.client_env)
    assert who.call((mount.dir / "hostname").read_text) == open("/etc/hostname").read()
    found = forwarded(server)
    assert found and all(has == (delegate is not None) for has in found), found
    assert f"Accepted gssapi-with-mic for {who.name}" in server.log_text()
    mount.umount()


def test_the_name_of_the_server_s_principal_can_be_given(server, kdc, who, mounter, area):
    """By its address there is no ticket for it."""
    kdc.ticket(who)
    words = args(server, who, "127.0.0.1")
    source = f"{who.name}@127.0.0.1:/etc"
    assert run_sftpfs(who, [*words, source, area], env=kdc.client_env).code == LOGIN
    mounter(who, source, [*words, "-o", "GSSAPIServerIdentity=localhost"], env=kdc.client_env)


def test_without_a_ticket_the_next_method_follows_at_once(server, kdc, who, mounter, area):
    """Nothing is sent for it, and where there is nothing else the line says what is missing."""
    kdc.tickets(who).unlink(missing_ok=True)
    before = server.log_text().count("gssapi")
    mounter(who, f"{who.name}@localhost:/etc",
            args(server, who, PreferredAuthentications=r"gssapi-with-mic\,publickey"), env=kdc.client_env)
    result = run_sftpfs(who, [*args(server, who), f"{who.name}@localhost:/etc", area], env=kdc.client_env)
    assert result.code == LOGIN and len(result.lines) == 1, result
    assert "kinit" in result.lines[0] and "gssapi-with-mic" in result.lines[0], result
    assert server.log_text().count("gssapi") == before
