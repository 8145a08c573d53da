"""Checks dashboards against the types that Grafana generates from its own schema.

    target/real-parts/grafana11/bin/python tests/check-dashboards.py dashboards/*.json

A file is read into these types and compared with what they write again, so a key that Grafana does not know is found;
and each value is compared with the type its place has, so a wrong kind or an unknown choice is found, too. Beyond the
schema: ids that repeat, panels that overlap, and data sources that are not the variable.
"""

import enum
import json
import sys
import typing

from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard


def unknown_keys(written, understood, place):
    """What is in the file and gets lost or changed when Grafana's types read and write it."""
    if isinstance(written, dict) and isinstance(understood, dict):
        for key, value in written.items():
            if key not in understood:
                # Not written again: what says nothing.
                if value not in (None, "", [], {}):
                    yield f"{place}.{key}: Grafana does not know this key"
            else:
                yield from unknown_keys(value, understood[key], f"{place}.{key}")
    elif isinstance(written, list) and isinstance(understood, list):
        if len(written) != len(understood):
            yield f"{place}: {len(written)} entries, of which {len(understood)} are understood"
        for n, (one, other) in enumerate(zip(written, understood)):
            yield from unknown_keys(one, other, f"{place}[{n}]")
    elif written != understood:
        yield f"{place}: {written!r} is understood as {understood!r}"


def fits(value, kind):
    """Whether a value is of a type of the schema."""
    origin = typing.get_origin(kind)
    if kind in (typing.Any, object):
        return True
    if origin is typing.Union:
        return any(fits(value, choice) for choice in typing.get_args(kind))
    if origin is typing.Literal:
        return value in typing.get_args(kind)
    if origin is list:
        return isinstance(value, list) and all(fits(item, typing.get_args(kind)[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(fits(item, typing.get_args(kind)[1]) for item in value.values())
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return value in [choice.value for choice in kind] or value in list(kind)
    # An object that was not read into its type stays a dictionary; its keys were compared above.
    return isinstance(value, kind) or isinstance(value, dict) and hasattr(kind, "from_json")


def wrong_types(item, place):
    """Attributes whose value is not of the type that the schema gives them."""
    if isinstance(item, list):
        for n, entry in enumerate(item):
            yield from wrong_types(entry, f"{place}[{n}]")
    elif isinstance(item, dict):
        for key, entry in item.items():
            yield from wrong_types(entry, f"{place}.{key}")
    elif hasattr(item, "to_json") and not isinstance(item, enum.Enum):
        hints = typing.get_type_hints(type(item), vars(sys.modules[type(item).__module__]))
        for name, kind in hints.items():
            value = getattr(item, name)
            if not fits(value, kind):
                yield f"{place}.{name}: {value!r} is not {kind}"
            yield from wrong_types(value, f"{place}.{name}")


def sources(item, place):
    if isinstance(item, dict):
        source = item.get("datasource")
        if source is not None and source != {"type": "prometheus", "uid": "${datasource}"}:
            yield f"{place}: the data source is not the variable but {source}"
        for key, value in item.items():
            yield from sources(value, f"{place}.{key}")
    elif isinstance(item, list):
        for n, value in enumerate(item):
            yield from sources(value, f"{place}[{n}]")


def layout(board):
    taken = {}
    for panel in board["panels"]:
        place = panel["gridPos"]
        if place["x"] + place["w"] > 24:
            yield f"{panel['title']}: wider than the page"
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                other = taken.setdefault((x, y), panel["title"])
                if other != panel["title"]:
                    yield f"{panel['title']}: on top of {other}"
                    return
    ids = [panel["id"] for panel in board["panels"]]
    if len(set(ids)) != len(ids):
        yield "panel ids repeat"
    if any(panel.get("repeat") for panel in board["panels"]):
        yield "a repeated panel: hundreds of targets are thousands of queries"
    for panel in board["panels"]:
        refs = [target["refId"] for target in panel["targets"]]
        if len(set(refs)) != len(refs):
            yield f"{panel['title']}: queries share a letter"


def problems(board):
    understood = dashboard.Dashboard.from_json(board)
    again = json.loads(JSONEncoder(sort_keys=True).encode(understood))
    yield from unknown_keys(board, again, "")
    yield from wrong_types(understood, "")
    yield from sources(board, "")
    yield from layout(board)


def main(paths):
    plugins.register_default_plugins()
    failed = False
    uids = {}
    for path in paths:
        with open(path, encoding="utf-8") as file:
            board = json.load(file)
        found = list(problems(board))
        other = uids.setdefault(board["uid"], path)
        if other != path:
            found.append(f"the uid is that of {other}")
        for problem in found:
            print(f"{path}: {problem}", file=sys.stderr)
        failed = failed or bool(found)
    if failed:
        sys.exit(1)
    print(f"check-dashboards: {len(paths)} dashboards fit Grafana's schema")


main(sys.argv[1:])
