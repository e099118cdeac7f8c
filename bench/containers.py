"""A Docker daemon of the bench's own, with a busybox image made from this machine."""

import contextlib
import os
import shutil
import subprocess
import time
from typing import Dict, Iterator

import case

IMAGE = "runner-bench/busybox:1"


def need() -> None:
    if os.getuid() != 0:
        raise case.Missing("root")
    case.need("dockerd", "docker", "busybox")


def _image(folder: str, env: Dict[str, str]) -> None:
    root = f"{folder}/root"
    os.makedirs(f"{root}/bin")
    shutil.copy(str(shutil.which("busybox")), f"{root}/bin/busybox")
    for name in ("sh", "echo", "sleep"):
        os.symlink("busybox", f"{root}/bin/{name}")
    pack = subprocess.Popen(["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE)
    subprocess.run(["docker", "import", "-", IMAGE], stdin=pack.stdout, env=env, check=True, capture_output=True)
    pack.wait()


@contextlib.contextmanager
def daemon(folder: str) -> Iterator[Dict[str, str]]:
    """Runs dockerd; gives the environment that names it."""
    socket = f"unix://{folder}/docker.sock"
    env = {**os.environ, "DOCKER_HOST": socket, "RUNNER_STATE_DIR": f"{folder}/state"}
    # No bridge and no firewall rules: this machine's network stays as it is.
    argv = ["dockerd", "--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec"]
    argv += ["--pidfile", f"{folder}/pid", "--host", socket, "--bridge=none", "--iptables=false"]
    with open(f"{folder}/log", "wb") as log:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while subprocess.run(["docker", "version"], env=env, capture_output=True, check=False).returncode != 0:
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"bench: dockerd did not start, see {folder}/log")
            time.sleep(0.1)
        _image(folder, env)
        yield env
    finally:
        process.terminate()
        process.wait()
