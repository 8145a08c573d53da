#!/usr/bin/env python3
"""Prints name, version, licence and licence texts of every library inside the program.

    packaging/third-party-licences.py [TARGET] > third-party-licences.txt

Licences such as MIT want their text wherever the program goes, so packages and images bring this list.
TARGET is a platform as cargo names it, this machine's unless given. Needs Python 3.11 and cargo.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

# Where libraries keep sources of others that are compiled with them.
FOLDERS = (".", "openssl", "aws-lc")
NAMES = ("licen", "copying", "notice", "copyright")


def main():
    os.chdir(Path(__file__).resolve().parent.parent)
    target = sys.argv[1:] or [host()]
    inside = compiled(target[0])
    packages = [package for package in metadata() if identity(package) in inside]
    if not packages:
        sys.exit("third-party-licences: cargo names no library")
    print(f"heartbeat_exporter contains {len(packages)} libraries. Texts that several of them share stand once.")
    texts = {}
    for package in packages:
        print(f"\n{package['name']} {package['version']}: {package['license'] or 'see its text'}")
        print(f"    {package['repository'] or package['homepage'] or 'https://crates.io/crates/' + package['name']}")
        for path in licence_files(Path(package["manifest_path"]).parent):
            text = path.read_text(encoding="utf-8", errors="replace").strip()
            number = texts.setdefault(text, len(texts) + 1)
            print(f"    text {number}, from {path.name}")
    for text, number in texts.items():
        print(f"\n\n---------- text {number}\n\n{text}")


def host():
    lines = subprocess.run(["rustc", "-vV"], check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    return next(line.removeprefix("host: ") for line in lines if line.startswith("host: "))


def metadata():
    command = ["cargo", "metadata", "--locked", "--format-version=1"]
    found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    own = set(found["workspace_members"])
    packages = [package for package in found["packages"] if package["id"] not in own]
    return sorted(packages, key=lambda package: (package["name"], package["version"]))


def compiled(target):
    """`name vX.Y.Z` of what is linked into the program, tests and tools of the build left out."""
    # The sources of OpenSSL come as a dependency of a build script.
    openssl = [name for name in tree(target, "normal,build") if name.startswith("openssl-src ")]
    return {*tree(target, "normal"), *openssl}


def tree(target, edges):
    command = ["cargo", "tree", "--locked", f"--edges={edges}", "--prefix=none", f"--target={target}", "--format={p}"]
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return [" ".join(line.split()[:2]) for line in text.splitlines()]


def identity(package):
    return f"{package['name']} v{package['version']}"


def licence_files(root):
    for folder in FOLDERS:
        for path in sorted((root / folder).glob("*")):
            if path.is_file() and path.name.lower().startswith(NAMES):
                yield path


if __name__ == "__main__":
    main()
