"""An sshd on loopback with throw-away keys, known under as many host names as wanted."""

import contextlib
import os
import socket
import subprocess
import threading
import time
from typing import Iterator, List, Tuple

import case

SSHD = "/usr/sbin/sshd"


def need() -> None:
    if not os.access(SSHD, os.X_OK):
        raise case.Missing("an sshd (openssh-server)")
    case.need("ssh")


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


class Wire:
    """A port in front of another one, that counts what is sent to it."""

    def __init__(self, port: int) -> None:
        self.to, self.sent = port, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed: that is the end
            while True:
                near, far = self.listener.accept()[0], socket.create_connection(("127.0.0.1", self.to))
                threading.Thread(target=self._carry, args=(near, far, True), daemon=True).start()
                threading.Thread(target=self._carry, args=(far, near, False), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, count: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self.sent += len(data) if count else 0
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def counted(config: str) -> Iterator[Tuple[str, Wire]]:
    """Yields an ssh_config like `config` of `sshd`, whose connections are counted, and the counter."""
    with open(config, encoding="ascii") as file:
        text = file.read()
    port = int(text.split("Port ")[1].split()[0])
    wire = Wire(port)
    # The key stays known by the host's own port.
    text = text.replace(f"Port {port}", f"Port {wire.port}\n  HostKeyAlias [127.0.0.1]:{port}")
    try:
        yield _write(config + "_counted", text), wire
    finally:
        wire.listener.close()
