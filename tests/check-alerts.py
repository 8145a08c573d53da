#!/usr/bin/env python3
"""Checks what promtool does not: that every alert can be understood, routed and trusted.

Each alert has a severity, a subject, a summary, a description, and a page in docs/runbooks that its URL names; each page
and each line of docs/alerting.md is about an alert that exists. The unit tests see each alert firing, not firing, across a
gap of its series and across a restart. Names in the example configuration of Alertmanager are names of alerts.
"""

import re
import sys
from collections import defaultdict
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
RULES = ROOT / "alerting-rules"
RUNBOOKS = ROOT / "docs/runbooks"
SEVERITIES = {"critical", "warning", "info", "none"}
SUBJECTS = {"target", "certificate", "heartbeat", "exporter", "vantage", "monitoring"}
# An alert that always fires cannot be seen not firing.
ALWAYS = {"Watchdog"}


def load(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def rules():
    """Every alerting rule with the name of its file."""
    for path in sorted(RULES.glob("*.yml")):
        for group in load(path)["groups"]:
            for rule in group["rules"]:
                if "alert" in rule:
                    yield path.name, rule


def wrong_rules(alerts):
    names = [rule["alert"] for _, rule in alerts]
    for name in {name for name in names if names.count(name) > 1}:
        yield f"{name} is there more than once"
    for file, rule in alerts:
        place, notes, labels = f"{file}: {rule['alert']}", rule.get("annotations", {}), rule.get("labels", {})
        for note in ("summary", "description"):
            if not notes.get(note, "").strip():
                yield f"{place} has no {note}"
        if labels.get("severity") not in SEVERITIES:
            yield f"{place}: severity is {labels.get('severity')}, not one of {sorted(SEVERITIES)}"
        if labels.get("about") not in SUBJECTS:
            yield f"{place}: about is {labels.get('about')}, not one of {sorted(SUBJECTS)}"
        url = f"/docs/runbooks/{rule['alert']}.md"
        if not notes.get("runbook_url", "").endswith(url):
            yield f"{place}: runbook_url does not end with {url}"


def wrong_pages(names):
    pages = {page.stem: page.read_text(encoding="utf-8") for page in RUNBOOKS.glob("*.md") if page.stem != "README"}
    for name in names - pages.keys():
        yield f"docs/runbooks/{name}.md is missing"
    for name, text in pages.items():
        if name not in names:
            yield f"docs/runbooks/{name}.md is about no alert"
        if not text.startswith(f"# {name}\n"):
            yield f"docs/runbooks/{name}.md does not begin with its name"
        for heading in ("## What it means", "## What to do"):
            if heading not in text:
                yield f"docs/runbooks/{name}.md has no section {heading!r}"
        for target in re.findall(r"\]\(([^)#:]+)[^)]*\)", text):
            if not (RUNBOOKS / target).exists():
                yield f"docs/runbooks/{name}.md links to {target}, which is not there"
    listed = set(re.findall(r"^\| \[(\w+)\]\(runbooks/\1\.md\)", (ROOT / "docs/alerting.md").read_text(), re.M))
    for name in names ^ listed:
        yield f"docs/alerting.md and the rules disagree about {name}"


def seen_in_tests():
    """What the unit tests see of each alert."""
    seen = defaultdict(set)
    for path in sorted((RULES / "tests").glob("*.yml")):
        for test in load(path)["tests"]:
            has_gap = any("_" in series["values"] or "stale" in series["values"] for series in test["input_series"])
            restarts = "restart" in test["name"]
            checks = [
                (check["alertname"], "firing" if check["exp_alerts"] else "not firing")
                for check in test.get("alert_rule_test", [])
            ]
            # `count by (alertname) (ALERTS…)`: those that fire at that moment.
            for check in test.get("promql_expr_test", []):
                samples = check.get("exp_samples") or []
                checks += [(name, "firing") for sample in samples for name in re.findall(r'alertname="(\w+)"', sample["labels"])]
            for name, what in checks:
                seen[name].add(what)
                if has_gap:
                    seen[name].add("across a gap")
                if restarts:
                    seen[name].add("across a restart")
    return seen


def untested(names):
    seen = seen_in_tests()
    for name in sorted(names):
        wanted = {"firing", "not firing", "across a gap", "across a restart"}
        if name in ALWAYS:
            wanted = {"firing"}
        for what in sorted(wanted - seen[name]):
            yield f"no unit test sees {name} {what}"
    for name in sorted(seen.keys() - names):
        yield f"a unit test is about {name}, which is no alert"


def wrong_matchers(names):
    config = load(ROOT / "alertmanager.example.yml")
    matchers = [m for rule in config["inhibit_rules"] for side in ("source", "target") for m in rule[f"{side}_matchers"]]
    routes = [config["route"]]
    while routes:
        route = routes.pop()
        matchers += route.get("matchers", [])
        routes += route.get("routes", [])
    for matcher in matchers:
        label, values = re.fullmatch(r'(\w+) *[!=]~?=? *"(.*)"', matcher).groups()
        known = {"alertname": names, "severity": SEVERITIES, "about": SUBJECTS}.get(label)
        for value in values.split("|"):
            if known is not None and value not in known:
                yield f"alertmanager.example.yml: {matcher}: there is no {value}"


def main():
    alerts = list(rules())
    names = {rule["alert"] for _, rule in alerts}
    problems = [*wrong_rules(alerts), *wrong_pages(names), *untested(names), *wrong_matchers(names)]
    for problem in problems:
        print(f"check-alerts: {problem}", file=sys.stderr)
    if problems:
        sys.exit(1)
    print(f"check-alerts: {len(names)} alerts have labels, texts, pages and tests")


main()
