#!/usr/bin/env python3
"""Checks the documentation: links lead somewhere, and configurations load.

    tests/check-docs.py [PROGRAM]

Every relative link of a Markdown file names a file of the repository, and what follows `#` one of its headings.
Every block of YAML that begins with `modules:` or `heartbeats:` is a configuration that PROGRAM loads without a
warning, the latter with the modules of config.example.yml; what it takes from elsewhere is made up. Without PROGRAM only
links are checked. Needs Python 3.11 and git.
"""

import os
import re
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^()\s]+)\)")
HEADING = re.compile(r"^#+ +(.+?)\s*$", re.MULTILINE)


def main():
    program = os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else None
    os.chdir(Path(__file__).resolve().parent.parent)
    listed = subprocess.run(["git", "ls-files", "*.md"], check=True, stdout=subprocess.PIPE, text=True).stdout
    files = [Path(name) for name in listed.split()]
    problems = [problem for file in files for problem in links(file)]
    configurations = 0
    for file in files if program else []:
        for language, block in FENCE.findall(file.read_text()):
            if language == "yaml" and block.startswith(("modules:", "heartbeats:")):
                configurations += 1
                problems += [f"{file}: {said}" for said in refused(program, block)]
    for problem in problems:
        print(problem)
    print(f"check-docs: {len(files)} files, {configurations} configurations, {len(problems)} problems")
    return 1 if problems or not files else 0


def links(file):
    for link in LINK.findall(FENCE.sub("", file.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = Path(os.path.normpath(file.parent / path)) if path else file
        if not target.exists():
            yield f"{file}: {link}: there is no such file"
        elif anchor and anchor not in anchors(target):
            yield f"{file}: {link}: there is no such heading"


@cache
def anchors(file):
    """As GitHub makes them of headings."""
    texts = HEADING.findall(FENCE.sub("", file.read_text()))
    plain = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text).lower() for text in texts]
    names = [re.sub(r"[^\w\- ]", "", text).replace(" ", "-") for text in plain]
    return {f"{name}-{names[:at].count(name)}" if name in names[:at] else name for at, name in enumerate(names)}


def refused(program, block):
    text = re.sub(r"\$\{file:[^}]+\}", "${env:FILE}", block)
    # Good as a password and as a duration.
    elsewhere = {name: "1s" for name in re.findall(r"\$\{env:(\w+)\}", text)}
    if not text.startswith("modules:"):
        text = Path("config.example.yml").read_text() + text
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as config:
        config.write(text)
        config.flush()
        command = [program, f"--config.file={config.name}", "--config.check", "--config.strict"]
        result = subprocess.run(command, env=os.environ | elsewhere, stderr=subprocess.PIPE, text=True)
    if result.returncode != 0:
        yield f"a configuration does not load: {result.stderr.strip()}\n{block}"


if __name__ == "__main__":
    sys.exit(main())
