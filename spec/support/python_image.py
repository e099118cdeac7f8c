"""Prints the files of an image with this Python and its pytest, one a line, relative to /.

No registry and no mirror is needed: the image is what this machine has, which is what its own specs run on.
"""

import glob
import importlib.metadata
import os
import re
import subprocess
import sys
import sysconfig


def libraries(binaries):
    done = subprocess.run(["ldd", *binaries], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    return set(re.findall(r"(/\S+) \(0x", done.stdout.decode()))


def packages(name, seen):
    """The files and folders of a distribution and of what it needs."""
    if name.lower() in seen:
        return
    seen.add(name.lower())
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return
    folder = str(distribution.locate_file(""))
    tops = set((distribution.read_text("top_level.txt") or name).split())
    tops.update(file.parts[0] for file in distribution.files or [] if file.parts[0] != "..")
    for top in tops:
        base = os.path.join(folder, top)
        yield from (path for path in (base, base + ".py") if os.path.exists(path))
    for requirement in distribution.requires or []:
        if "extra ==" not in requirement:
            yield from packages(re.match(r"[\w.-]+", requirement).group(), seen)


def main():
    stdlib = sysconfig.get_path("stdlib")
    binary = os.path.realpath(sys.executable)
    paths = {sys.executable, binary, stdlib}
    paths.update(libraries([binary, *glob.glob(os.path.join(stdlib, "lib-dynload", "*.so"))]))
    paths.update(packages("pytest", set()))
    for path in sorted(paths):
        print(path.lstrip("/"))


main()
