#!/usr/bin/env python3
"""Checks the dependencies in Cargo.lock against deny.toml: licences, sources, bans, version floors.

Reads the part of cargo-deny's format that deny.toml uses; cargo-deny itself takes longer to build
than this project. Needs Python 3.11 and cargo.
"""

import json
import operator
import os
import re
import subprocess
import sys
import tomllib
from collections import defaultdict

REGISTRY = "registry+"


def main():
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
    with open("deny.toml", "rb") as file:
        rules = tomllib.load(file)
    command = ["cargo", "metadata", "--locked", "--format-version=1", "--all-features"]
    metadata = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    own = set(metadata["workspace_members"])
    packages = [package for package in metadata["packages"] if package["id"] not in own]
    # The metadata also name optional dependencies that no feature turns on; they are never compiled.
    compiled = names_compiled(rules["graph"]["targets"])
    used = [package for package in packages if f"{package['name']} v{package['version']}" in compiled]
    problems = [*sources(packages, rules), *licences(used, rules), *bans(used, rules)]
    for problem in problems:
        print(problem)
    print(f"check-licences: {len(used)} dependencies, {len(problems)} problems")
    return 1 if problems or not used else 0


def names_compiled(targets):
    """`name vX.Y.Z` of everything that is compiled for one of these platforms, tests included."""
    command = ["cargo", "tree", "--locked", "--all-features", "--edges=all", "--prefix=none"]
    command += [f"--target={target}" for target in targets]
    text = subprocess.run([*command, "--format={p}"], check=True, stdout=subprocess.PIPE, text=True).stdout
    return {" ".join(line.split()[:2]) for line in text.splitlines()}


def licences(packages, rules):
    allowed = set(rules["licenses"]["allow"])
    for package in packages:
        expression = package["license"] or ""
        if not is_allowed(expression, allowed):
            yield f"{title(package)}: licence {expression or 'unknown'!r} is not in the list of allowed licences"


def sources(packages, rules):
    allowed = {REGISTRY + address for address in rules["sources"]["allow-registry"]}
    for package in packages:
        if package["source"] not in allowed:
            yield f"{title(package)}: comes from {package['source'] or 'a path'}, which is not an allowed registry"


def bans(packages, rules):
    versions = defaultdict(list)
    for package in packages:
        versions[package["name"]].append(package["version"])
    for rule in rules["bans"]["deny"]:
        name, _, requirement = rule["crate"].partition("@")
        found = versions[name]
        if rule.get("deny-multiple-versions"):
            bad = found if len(found) > 1 else []
        elif requirement:
            limit = re.fullmatch(r"([<=])(\d+\.\d+\.\d+)", requirement)
            if not limit:
                yield f"deny.toml: {rule['crate']}: only <X.Y.Z and =X.Y.Z are understood"
                continue
            compare = operator.lt if limit[1] == "<" else operator.eq
            bad = [version for version in found if compare(order(version), order(limit[2]))]
        else:
            bad = found
        if bad:
            yield f"{name} {', '.join(bad)}: {rule['reason']}"


def title(package):
    return f"{package['name']} {package['version']}"


def order(version):
    """Key to compare versions; a pre-release counts as its release."""
    return tuple(int(part) for part in re.match(r"\d+\.\d+\.\d+", version)[0].split("."))


def is_allowed(expression, allowed):
    """Whether an SPDX expression can be satisfied with allowed licences. `/` is an old way to say OR."""
    tokens = re.findall(r"[()]|[^\s()]+", expression.replace("/", " OR "))
    position = 0

    def take():
        nonlocal position
        position += 1
        return tokens[position - 1] if position <= len(tokens) else ""

    def peek():
        return tokens[position] if position < len(tokens) else ""

    def one():
        token = take()
        if token == "(":
            value = alternatives()
            return take() == ")" and value
        if peek() == "WITH":
            take()
            token = f"{token} WITH {take()}"
        return token in allowed

    def together():
        value = one()
        while peek() == "AND":
            take()
            value = one() and value
        return value

    def alternatives():
        value = together()
        while peek() == "OR":
            take()
            value = together() or value
        return value

    return alternatives() and position == len(tokens)


if __name__ == "__main__":
    sys.exit(main())
