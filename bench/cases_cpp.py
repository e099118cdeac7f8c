"""The cases with C++ tests, against CTest, on the same build."""

import os
import subprocess
from typing import List

import measure
import suites
from case import Bench, Missing, Row, need, wall_row

TESTS, FILES = 2000, 20

CMAKE = """\
cmake_minimum_required(VERSION 3.20)
project(bench CXX)
find_package(GTest REQUIRED)
enable_testing()
file(GLOB sources *.cc)
add_executable(suite ${sources})
target_link_libraries(suite PRIVATE GTest::gtest_main)
include(GoogleTest)
gtest_discover_tests(suite)
"""


def gtest2000(bench: Bench) -> List[Row]:
    """2,000 GoogleTest cases of one assertion each in one program, compiled before; 2 at a time."""
    need("cmake", "g++")
    if not os.path.exists("/usr/include/gtest/gtest.h"):
        raise Missing("GoogleTest")
    suites.write(f"{bench.folder}/CMakeLists.txt", CMAKE)
    for number in range(FILES):
        tests = "".join(
            f"TEST(Suite{number:02}, Case{i:03}) {{ EXPECT_EQ(2, 1 + 1); }}\n" for i in range(TESTS // FILES)
        )
        suites.write(f"{bench.folder}/suite{number:02}.cc", "#include <gtest/gtest.h>\n" + tests)
    framework = 'require "frameworks.gtest" { binaries = { "build/suite" } }'
    suites.write(f"{bench.folder}/runner.lua", f"return {{ max_parallel = 2, framework = {framework} }}\n")
    for command in (["cmake", "-S", ".", "-B", "build"], ["cmake", "--build", "build", "-j", "2"]):
        subprocess.run(command, cwd=bench.folder, check=True, stdout=subprocess.DEVNULL)
    ctest = ["ctest", "-j2"]
    samples = bench.compare(
        {
            "runner": lambda: bench.run("runner.lua"),
            "ctest -j2": lambda: measure.run(ctest, f"{bench.folder}/build"),
        }
    )
    return [wall_row("gtest2000", samples, "runner", "ctest -j2", 0.6)]


CASES = (gtest2000,)
