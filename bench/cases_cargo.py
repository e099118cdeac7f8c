"""The cases with Rust tests, against cargo-nextest, on the same build."""

import os
import shutil
import subprocess
from typing import Dict, List

import measure
import suites
from case import Bench, Missing, Row, cpu_row, wall_row

TOOLS = f"{suites.CACHE}/cargo/bin"
TESTS = 1000


def _workspace(folder: str, crates: int) -> None:
    """Crates that share 1,000 tests of one assertion each."""
    suites.write(f"{folder}/Cargo.toml", '[workspace]\nresolver = "2"\nmembers = ["crates/*"]\n')
    tests = "".join(f"    #[test]\n    fn t{i:04}() {{ assert_eq!(1 + 1, 2) }}\n" for i in range(TESTS // crates))
    for number in range(crates):
        package = f'[package]\nname = "crate-{number:02}"\nversion = "0.1.0"\nedition = "2021"\n'
        suites.write(f"{folder}/crates/{number}/Cargo.toml", package)
        suites.write(f"{folder}/crates/{number}/src/lib.rs", "#[cfg(test)]\nmod tests {\n" + tests + "}\n")
    framework = 'require "frameworks.cargo" { workspace = true }'
    suites.write(f"{folder}/runner.lua", f"return {{ max_parallel = 2, framework = {framework} }}\n")


def _environment() -> Dict[str, str]:
    env = {"PATH": f"{os.environ['PATH']}:{TOOLS}"}
    if not shutil.which("cargo-nextest", path=env["PATH"]):
        raise Missing("cargo-nextest (./dev setup --all)")
    return env


def _against_nextest(bench: Bench, case: str, crates: int) -> List[Row]:
    env = _environment()
    _workspace(bench.folder, crates)
    build = ["cargo", "test", "--workspace", "--no-run", "--quiet"]
    subprocess.run(build, cwd=bench.folder, check=True, stderr=subprocess.DEVNULL)
    nextest = ["cargo", "nextest", "run", "--workspace", "--test-threads=2"]
    samples = bench.compare(
        {
            "runner": lambda: bench.run("runner.lua", env),
            "cargo nextest": lambda: measure.run(nextest, bench.folder, env),
        }
    )
    return [
        wall_row(case, samples, "runner", "cargo nextest", 1.0),
        cpu_row(case, samples, "runner", "cargo nextest", 1.0),
    ]


def cargo1000(bench: Bench) -> List[Row]:
    """1,000 tiny Rust tests in one binary, compiled before; from the command to its end, 2 at a time."""
    return _against_nextest(bench, "cargo1000", 1)


def cargo20(bench: Bench) -> List[Row]:
    """1,000 tiny Rust tests in 20 binaries, likewise."""
    return _against_nextest(bench, "cargo20", 20)


CASES = (cargo1000, cargo20)
