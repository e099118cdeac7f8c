"""An sshd on loopback with throw-away keys, known under as many host names as wanted."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from typing import Iterator, List, Optional

SSHD = "/usr/sbin/sshd"


def missing() -> Optional[str]:
    """What is not installed here, if anything."""
    if not os.access(SSHD, os.X_OK):
        return "an sshd (openssh-server)"
    return None if shutil.which("ssh") else "ssh (openssh-client)"


def _write(path: str, text: str) -> str:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
    os.chmod(path, 0o600)
    return path


def _key(path: str) -> str:
    """Makes a key pair; returns its public half."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f", path], check=True)
    with open(path + ".pub", encoding="ascii") as file:
        return " ".join(file.read().split()[:2])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@contextlib.contextmanager
def sshd(folder: str, names: List[str]) -> Iterator[str]:
    """Runs it; yields an ssh_config that leads each of `names` to it.

    The home folder is an empty one, so that nobody's shell start-up files are measured.
    """
    home = f"{folder}/home"
    os.makedirs(home)
    if os.geteuid() == 0:
        os.makedirs("/run/sshd", exist_ok=True)
    user, host, port = _key(f"{folder}/user"), _key(f"{folder}/host"), _free_port()
    authorized = _write(f"{folder}/authorized", f'environment="HOME={home}" {user}\n')
    lines = [
        f"Port {port}",
        "ListenAddress 127.0.0.1",
        f"HostKey {folder}/host",
        f"AuthorizedKeysFile {authorized}",
        "PidFile none",
        "PermitRootLogin yes",
        "PermitUserEnvironment yes",
        "StrictModes no",
        "UsePAM no",
        "PasswordAuthentication no",
        "MaxStartups 1000",
    ]
    config = _write(
        f"{folder}/ssh_config",
        f"Host {' '.join(names)}\n  HostName 127.0.0.1\n  Port {port}\n  IdentityFile {folder}/user\n"
        f"  IdentitiesOnly yes\n  IdentityAgent none\n"
        f"  UserKnownHostsFile {_write(f'{folder}/known', f'[127.0.0.1]:{port} {host}')}\n",
    )
    argv = [SSHD, "-D", "-f", _write(f"{folder}/sshd_config", "\n".join(lines) + "\n")]
    with subprocess.Popen(argv, stderr=subprocess.DEVNULL) as server:
        try:
            deadline = time.monotonic() + 10
            while not _answers(port):
                if server.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit("bench: sshd does not start")
                time.sleep(0.01)
            yield config
        finally:
            server.terminate()
