#!/usr/bin/env python3
"""Writes the dashboards beside this file. `generate.py --check` says which of them differ from what it would write.

The boards share their variables, thresholds and ways to show a target; written once here, they cannot drift apart.
Grafana needs only the JSON files.
"""

import json
import sys
from pathlib import Path

HERE = Path(__file__).parent
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
# What most queries select: one selector, so that each variable works on every panel.
SELECT = 'job=~"$job",instance=~"$instance",vantage=~"$vantage"'
# One target; a name in a URL need not be escaped for an exact match.
TARGET = 'job=~"$job",instance="$instance",vantage=~"$vantage"'
# The exporter itself.
OWN = 'job=~"$job",instance=~"$instance"'
BY = "by (job, instance, vantage)"

RED, YELLOW, GREEN, BLUE = "red", "yellow", "green", "blue"


# Queries


def query(expr, legend="", ref="A", instant=False, table=False):
    target = {"refId": ref, "datasource": SOURCE, "expr": expr, "editorMode": "code"}
    if legend:
        target["legendFormat"] = legend
    target["instant"] = instant or table
    target["range"] = not target["instant"]
    if table:
        target["format"] = "table"
    return target


def table_queries(*exprs):
    """Queries of a table, one for each letter; joined by the labels they have in common."""
    return [query(expr, ref=chr(ord("A") + n), table=True) for n, expr in enumerate(exprs)]


# Fields


def steps(*pairs):
    """Colours from a value on; the first value is ignored and means "anything lower"."""
    return {
        "mode": "absolute",
        "steps": [{"value": None if n == 0 else value, "color": color} for n, (value, color) in enumerate(pairs)],
    }


def values(**texts):
    """Values that mean a word: `v0=("fails", RED)`."""
    options = {
        name[1:]: {"text": text, "color": color, "index": n} for n, (name, (text, color)) in enumerate(texts.items())
    }
    return [{"type": "value", "options": options}]


UP = {"mappings": values(v0=("fails", RED), v1=("works", GREEN)), "thresholds": steps((0, RED), (1, GREEN))}
# From which share on one looks at availability.
AVAILABILITY = {"unit": "percentunit", "decimals": 2, "thresholds": steps((0, RED), (0.99, YELLOW), (0.999, GREEN))}
SECONDS = {"unit": "s"}


def column(name, title=None, width=None, cell=None, links=None, **field):
    """How one column of a table looks."""
    properties = [{"id": key, "value": value} for key, value in field.items()]
    if title:
        properties.append({"id": "displayName", "value": title})
    if width:
        properties.append({"id": "custom.width", "value": width})
    if cell:
        properties.append({"id": "custom.cellOptions", "value": {"type": cell}})
    if links:
        properties.append({"id": "links", "value": links})
    return {"matcher": {"id": "byName", "options": name}, "properties": properties}


def to_target(instance="${__data.fields.instance}", job="${__data.fields.job}"):
    """A link to the page of the target in this row."""
    url = f"/d/heartbeat-exporter-target?var-job={job}&var-instance={instance}&${{datasource:queryparam}}&${{__url_time_range}}"
    return [{"title": "Open this target", "url": url, "targetBlank": False}]


# Panels


def panel(kind, title, targets, w, h, description="", field=None, custom=None, overrides=None, options=None, **rest):
    defaults = dict(field or {})
    if custom:
        defaults["custom"] = custom
    made = {
        "type": kind,
        "title": title,
        "datasource": SOURCE,
        "targets": targets,
        "gridPos": {"w": w, "h": h},
        "fieldConfig": {"defaults": defaults, "overrides": overrides or []},
        "options": options or {},
    }
    if description:
        made["description"] = description
    made.update(rest)
    return made


def stat(title, expr, w=4, h=4, field=None, description="", color="value"):
    return panel(
        "stat", title, [query(expr, instant=True)], w, h, description, field,
        options={
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "colorMode": color, "graphMode": "none", "justifyMode": "auto", "orientation": "auto", "textMode": "auto",
        },
    )  # fmt: skip


def series(title, targets, w=12, h=8, field=None, description="", stacked=False, fill=10):
    custom = {"fillOpacity": 60 if stacked else fill, "lineWidth": 1, "showPoints": "auto", "spanNulls": False}
    custom["stacking"] = {"mode": "normal" if stacked else "none", "group": "A"}
    return panel(
        "timeseries", title, targets if isinstance(targets, list) else [targets], w, h, description, field, custom,
        options={
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    )  # fmt: skip


def table(title, targets, columns, hidden=(), w=24, h=9, description="", sort=None, joined=True):
    """A table whose rows are targets; `columns` are in order, and `hidden` labels are left out."""
    order = {override["matcher"]["options"]: n for n, override in enumerate(columns)}
    transformations = [{"id": "merge", "options": {}}] if joined else []
    transformations.append({
        "id": "organize",
        "options": {"excludeByName": {name: True for name in ("Time", *hidden)}, "indexByName": order, "renameByName": {}},
    })  # fmt: skip
    return panel(
        "table", title, targets, w, h, description, {}, {"align": "auto", "filterable": True}, columns,
        {"showHeader": True, "cellHeight": "sm", "sortBy": sort or []}, transformations=transformations,
    )  # fmt: skip


def targets_table(title, values, h, description, called="Target"):
    """One row for each target and place, with its state first; a value is (query, column, how it looks)."""
    columns = [column("instance", called, links=to_target()), column("job", "Job"), column("vantage", "From")]
    targets = table_queries(*(expr for expr, _, _ in values))
    columns += [column(f"Value #{target['refId']}", name, **look) for target, (_, name, look) in zip(targets, values)]
    return table(title, targets, columns, h=h, description=description)


def timeline(title, target, field, w=24, h=5, description=""):
    return panel(
        "state-timeline", title, [target], w, h, description, field, {"fillOpacity": 80, "lineWidth": 0},
        options={
            "mergeValues": True, "showValue": "never", "alignValue": "left", "rowHeight": 0.9,
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
            "tooltip": {"mode": "single", "sort": "none"},
        },
    )  # fmt: skip


def bars(title, targets, w=12, h=8, field=None, description=""):
    return panel(
        "bargauge", title, [targets], w, h, description, field,
        options={
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "orientation": "horizontal", "displayMode": "basic", "valueMode": "color", "showUnfilled": True,
            "minVizWidth": 0, "minVizHeight": 10,
        },
    )  # fmt: skip


# Boards

VARIABLE = {
    "type": "query",
    "datasource": SOURCE,
    # When the time range changes: the targets of last week may be others.
    "refresh": 2,
    "sort": 1,
    "hide": 0,
}


def variable(name, label, lookup, every=True):
    """`every`: several values or all; all of them as `.*`, since a list of a thousand targets is too long for a URL."""
    made = dict(VARIABLE, name=name, label=label, query={"query": lookup, "refId": name})
    made["multi"] = every
    made["includeAll"] = every
    if every:
        made["allValue"] = ".*"
        made["current"] = {"text": ["All"], "value": ["$__all"], "selected": True}
    return made


def probe_variables(metric="probe_success", every=True):
    return [
        variable("vantage", "From", f"label_values({metric}, vantage)"),
        variable("job", "Job", f"label_values({metric}, job)"),
        variable("instance", "Target", f'label_values({metric}{{job=~"$job"}}, instance)', every),
    ]


def board(name, title, description, variables, panels, hours=3):
    """Places the panels from left to right, in rows as high as their highest panel."""
    x = y = height = 0
    for number, item in enumerate(panels, 1):
        place = item["gridPos"]
        if x + place["w"] > 24:
            x, y, height = 0, y + height, 0
        place.update(x=x, y=y)
        x += place["w"]
        height = max(height, place["h"])
        item["id"] = number
    source = {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "hide": 0}
    source.update(refresh=1, multi=False, includeAll=False, regex="", current={})
    link = {
        "title": "heartbeat_exporter", "type": "dashboards", "tags": ["heartbeat_exporter"], "asDropdown": True,
        "includeVars": False, "keepTime": True, "targetBlank": False, "icon": "external link", "tooltip": "", "url": "",
    }  # fmt: skip
    return {
        "uid": f"heartbeat-exporter-{name}",
        "title": title,
        "description": description,
        "tags": ["heartbeat_exporter"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": f"now-{hours}h", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": []},
        "links": [link],
        "templating": {"list": [source, *variables]},
        "panels": panels,
    }


def overview():
    success = f"probe_success{{{SELECT}}}"
    return board(
        "overview", "Probes: overview", "All targets that are probed through heartbeat_exporter or blackbox_exporter.",
        probe_variables(),
        [
            stat("Targets", f"count(max {BY} ({success}))", field={"thresholds": steps((0, BLUE))}),
            stat("Failing", f"count(max {BY} ({success}) == 0) or vector(0)", field={"thresholds": steps((0, GREEN), (1, RED))}, color="background"),
            stat("Availability", f"avg(avg_over_time({success}[$__range]))", field=AVAILABILITY, description="Share of probes that succeeded, over the time shown."),
            stat("Median duration", f"quantile(0.5, probe_duration_seconds{{{SELECT}}} and {success} == 1)", field={**SECONDS, "thresholds": steps((0, BLUE))}),
            stat("Without data", f"count(max {BY} (probe_success{{{SELECT}}} offset 1h) unless max {BY} ({success})) or vector(0)", field={"thresholds": steps((0, GREEN), (1, YELLOW))}, description="Targets that had a result one hour ago and have none now."),
            stat("Next certificate expires in", f"min(probe_ssl_earliest_cert_expiry{{{SELECT}}}) - time()", field={"unit": "s", "decimals": 1, "thresholds": steps((0, RED), (7 * 86400, YELLOW), (21 * 86400, GREEN))}),
            panel(
                "stat", "Status", [query(f"min by (job, instance) ({success})", "{{instance}}", instant=True)], 24, 7,
                "One cell for each target; red if a place sees it fail.", {**UP, "links": to_target("${__field.labels.instance}", "${__field.labels.job}")},
                options={
                    "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "colorMode": "background",
                    "graphMode": "none", "justifyMode": "auto", "orientation": "auto", "textMode": "name",
                },
            ),
            table(
                "Failing now, and why", table_queries(f"max by (job, instance, vantage, phase, reason) (probe_failure_info{{{SELECT}}})"),
                [column("instance", "Target", links=to_target()), column("job", "Job"), column("vantage", "From"), column("phase", "Phase"), column("reason", "Reason")],
                hidden=["Value"], w=12, joined=False,
            ),
            series("Reasons of failures", query(f"sum by (phase, reason) (probe_failure_info{{{SELECT}}})", "{{phase}}: {{reason}}"), stacked=True, h=9, description="How many targets fail in which way."),
            bars("Slowest", query(f"topk(10, max by (job, instance) (quantile_over_time(0.5, probe_duration_seconds{{{SELECT}}}[10m]) and {success} == 1))", "{{job}} {{instance}}", instant=True), h=10, field={**SECONDS, "thresholds": steps((0, BLUE))}, description="Half of the probes of ten minutes took longer. Targets that fail are left out: a timeout says nothing about speed."),
            series("Failing targets by job", query(f"sum by (job) (1 - min {BY} ({success}))", "{{job}}"), h=10, stacked=True, field={"decimals": 0}),
            targets_table(
                "All targets",
                [
                    (f"min {BY} ({success})", "State", {"cell": "color-text", **UP}),
                    (f"avg {BY} (avg_over_time({success}[$__range]))", "Availability", {"cell": "color-text", **AVAILABILITY}),
                    (f"max {BY} (quantile_over_time(0.5, probe_duration_seconds{{{SELECT}}}[10m]))", "Median duration", SECONDS),
                    (f"min {BY} (probe_ssl_earliest_cert_expiry{{{SELECT}}}) - time()", "Certificate expires in", {"unit": "s", "decimals": 1}),
                ],
                h=14, description="Availability over the time shown.",
            ),
        ],
    )  # fmt: skip


PHASES = [
    ("http", "HTTP", "probe_http_duration_seconds", ""),
    ("tcp", "TCP", "probe_tcp_duration_seconds", ""),
    ("dns", "DNS", "probe_dns_duration_seconds", ""),
    ("icmp", "ICMP", "probe_icmp_duration_seconds", ""),
    ("grpc", "gRPC", "probe_grpc_duration_seconds", ""),
    ("unix", "Unix socket", "probe_unix_duration_seconds", ""),
    # The handshake is counted in `processing`, too.
    ("websocket", "WebSocket", "probe_websocket_duration_seconds", ',phase!="tls"'),
]


def target():
    success = f"probe_success{{{TARGET}}}"
    phases = [query(f"max by (phase) ({metric}{{{TARGET}{more}}})", f"{title}: {{{{phase}}}}", ref=chr(ord("A") + n)) for n, (_, title, metric, more) in enumerate(PHASES)]
    return board(
        "target", "Probes: one target", "Everything about one target: its state, its phases, its certificate, why it failed.",
        probe_variables(every=False),
        [
            stat("State", f"min({success})", field=UP, color="background", description="As the worst of the places sees it."),
            stat("Availability", f"avg(avg_over_time({success}[$__range]))", field=AVAILABILITY, description="Over the time shown."),
            stat("Availability, 30 days", f"avg(avg_over_time({success}[30d]))", field=AVAILABILITY),
            stat("Median duration", f"max(quantile_over_time(0.5, probe_duration_seconds{{{TARGET}}}[10m]))", field={**SECONDS, "thresholds": steps((0, BLUE))}),
            stat("Status code", f"max(probe_http_status_code{{{TARGET}}} > 0 or probe_websocket_status_code{{{TARGET}}} > 0)", field={"thresholds": steps((0, BLUE))}, description="HTTP and WebSocket only."),
            stat("Certificate expires in", f"min(probe_ssl_leaf_not_after_timestamp_seconds{{{TARGET}}}) - time()", field={"unit": "s", "decimals": 1, "thresholds": steps((0, RED), (7 * 86400, YELLOW), (21 * 86400, GREEN))}),
            timeline("State", query(f"min by (job, vantage) ({success})", "{{job}} {{vantage}}"), UP),
            timeline("Why it failed", query(f"max by (job, vantage, phase, reason) (probe_failure_info{{{TARGET}}})", "{{job}} {{vantage}}: {{phase}}, {{reason}}"), {"thresholds": steps((0, RED))}),
            series("Phases", phases, w=24, h=10, stacked=True, field=SECONDS, description="Where the time goes; the slowest of the places."),
            series("Duration and limit", [query(f"max by (job, vantage) (probe_duration_seconds{{{TARGET}}})", "{{job}} {{vantage}}"), query(f"max(probe_timeout_seconds{{{TARGET}}})", "limit", ref="B")], field=SECONDS),
            series("Name resolution", query(f"max by (job, vantage) (probe_dns_lookup_time_seconds{{{TARGET}}})", "{{job}} {{vantage}}"), field=SECONDS),
            table(
                "Certificate",
                table_queries(f"max by (job, vantage, subject, issuer, subjectalternative, serialnumber, fingerprint_sha256) (probe_ssl_last_chain_info{{{TARGET}}})"),
                [column("subject", "Subject"), column("issuer", "Issuer"), column("subjectalternative", "Names"), column("serialnumber", "Serial number"), column("job", "Job"), column("vantage", "From"), column("fingerprint_sha256", "SHA-256")],
                hidden=["Value"], h=5, joined=False,
            ),
            table(
                "Facts",
                [
                    query(f"label_replace(label_replace(max by (job, vantage, version) (probe_tls_version_info{{{TARGET}}}), \"value\", \"$1\", \"version\", \"(.*)\"), \"fact\", \"TLS version\", \"\", \"\")", ref="A", table=True),
                    query(f"label_replace(label_replace(max by (job, vantage, cipher) (probe_tls_cipher_info{{{TARGET}}}), \"value\", \"$1\", \"cipher\", \"(.*)\"), \"fact\", \"cipher suite\", \"\", \"\")", ref="B", table=True),
                    query(f"label_replace(label_replace(max by (job, vantage, reason) (probe_tls_verify_failure_info{{{TARGET}}}), \"value\", \"$1\", \"reason\", \"(.*)\"), \"fact\", \"does not verify\", \"\", \"\")", ref="C", table=True),
                ],
                [column("fact", "Fact"), column("value", "Is"), column("job", "Job"), column("vantage", "From")],
                hidden=["Value #A", "Value #B", "Value #C", "Value", "version", "cipher", "reason"], w=12, h=7,
            ),
            series(
                "Address and protocol",
                [
                    query(f"changes(probe_ip_addr_hash{{{TARGET}}}[$__rate_interval])", "address changed, {{job}} {{vantage}}"),
                    query(f"max by (job, vantage) (probe_ip_protocol{{{TARGET}}} > 0)", "IP version, {{job}} {{vantage}}", ref="B"),
                    query(f"max by (job, vantage) (probe_http_version{{{TARGET}}} > 0)", "HTTP version, {{job}} {{vantage}}", ref="C"),
                    query(f"max by (job, vantage) (probe_http_redirects{{{TARGET}}})", "redirects, {{job}} {{vantage}}", ref="D"),
                ],
                h=7,
            ),
        ],
    )  # fmt: skip


def certificates():
    end = f"probe_ssl_leaf_not_after_timestamp_seconds{{{SELECT}}}"
    begin = f"probe_ssl_leaf_not_before_timestamp_seconds{{{SELECT}}}"
    verdict = {"mappings": values(v0=("does not verify", RED), v1=("verifies", GREEN)), "thresholds": steps((0, RED), (1, GREEN))}
    left = {"unit": "s", "decimals": 1, "thresholds": steps((0, RED), (7 * 86400, YELLOW), (21 * 86400, GREEN))}
    share = {"unit": "percentunit", "decimals": 0, "min": 0, "max": 1, "thresholds": steps((0, RED), (0.1, YELLOW), (0.25, GREEN))}
    return board(
        "certificates", "Probes: certificates", "Certificates of all targets that use TLS, also of those that do not verify.",
        probe_variables("probe_tls_verified"),
        [
            stat("Targets with TLS", f"count(max {BY} (probe_tls_verified{{{SELECT}}}))", w=6, field={"thresholds": steps((0, BLUE))}),
            stat("That do not verify", f"count(min {BY} (probe_tls_verified{{{SELECT}}}) == 0) or vector(0)", w=6, field={"thresholds": steps((0, GREEN), (1, RED))}, color="background"),
            stat("Expired", f"count(min {BY} ({end}) <= time()) or vector(0)", w=6, field={"thresholds": steps((0, GREEN), (1, RED))}, color="background"),
            stat("Next expires in", f"min({end} > time()) - time()", w=6, field=left),
            table(
                "Certificates",
                table_queries(
                    f"min {BY} ({end}) - time()",
                    f"min {BY} (({end} - time()) / ({end} - {begin}))",
                    f"max {BY} ({end} - {begin})",
                    f"min {BY} (probe_ssl_earliest_cert_expiry{{{SELECT}}}) - time()",
                    f"min {BY} (probe_tls_verified{{{SELECT}}})",
                    f"max by (job, instance, vantage, reason) (probe_tls_verify_failure_info{{{SELECT}}})",
                ),
                [
                    column("instance", "Target", links=to_target()), column("job", "Job"), column("vantage", "From"),
                    column("Value #E", "Verdict", cell="color-text", **verdict),
                    column("reason", "Reason"),
                    column("Value #A", "Expires in", cell="color-text", **left),
                    column("Value #B", "Of its lifetime left", cell="color-text", **share),
                    column("Value #C", "Lifetime", unit="s", decimals=0),
                    column("Value #D", "Chain expires in", cell="color-text", **left),
                ],
                hidden=["Value #F"], h=16, sort=[{"displayName": "Expires in", "desc": False}],
                description="The chain expires with the first of its certificates. A quarter of the lifetime is when the alerting rules begin to warn.",
            ),
            series("Time left", query(f"bottomk(20, min by (job, instance) ({end}) - time())", "{{job}} {{instance}}"), field={"unit": "s"}, description="The twenty that expire first."),
            series("Reasons why they do not verify", query(f"sum by (reason) (probe_tls_verify_failure_info{{{SELECT}}})", "{{reason}}"), stacked=True),
            series("TLS versions", query(f"count by (version) (probe_tls_version_info{{{SELECT}}})", "{{version}}"), stacked=True),
            table(
                "Issuers", table_queries(f"count by (issuer) (probe_ssl_last_chain_info{{{SELECT}}})"),
                [column("issuer", "Issuer"), column("Value", "Targets")], w=12, h=8, joined=False,
            ),
        ],
    )  # fmt: skip


def icmp():
    rtt = f'probe_icmp_duration_seconds{{{SELECT},phase="rtt"}}'
    pinged = f"probe_success{{{SELECT}}} and on (job, instance, vantage) probe_icmp_duration_seconds"

    def lost(window):
        # A range selector takes a metric, so the targets that are pinged are selected afterwards.
        mean = f"avg {BY} (avg_over_time(probe_success{{{SELECT}}}[{window}]))"
        return f"1 - {mean} and on (job, instance, vantage) probe_icmp_duration_seconds"

    loss = {"unit": "percentunit", "min": 0, "thresholds": steps((0, GREEN), (0.01, YELLOW), (0.1, RED))}
    return board(
        "icmp", "Probes: ICMP", "Round trips and loss of echo requests.",
        probe_variables("probe_icmp_duration_seconds"),
        [
            stat("Targets", f"count({pinged})", w=6, field={"thresholds": steps((0, BLUE))}),
            stat("Without a reply now", f"count(({pinged}) == 0) or vector(0)", w=6, field={"thresholds": steps((0, GREEN), (1, RED))}, color="background"),
            stat("Loss", f"avg({lost('$__range')})", w=6, field={**loss, "decimals": 2}, description="Over the time shown. With one packet for each probe, a failed probe is a lost packet."),
            stat("Median round trip", f"quantile(0.5, {rtt} > 0)", w=6, field={**SECONDS, "thresholds": steps((0, BLUE))}),
            series("Round trip", query(f"max by (job, instance) ({rtt} > 0)", "{{instance}}"), w=24, h=9, field=SECONDS),
            series("Loss", query(lost("$__rate_interval"), "{{instance}} {{vantage}}"), field=loss),
            series("Round trip, middle half and extremes", [query(f"quantile({q}, {rtt} > 0)", name, ref=ref) for q, name, ref in ((0, "fastest", "A"), (0.25, "25 %", "B"), (0.5, "median", "C"), (0.75, "75 %", "D"), (1, "slowest", "E"))], field=SECONDS, fill=0, description="Over all selected targets."),
            targets_table(
                "Targets",
                [
                    (f"min {BY} ({pinged})", "State", {"cell": "color-text", **UP}),
                    (lost("$__range"), "Loss", {"cell": "color-text", **loss, "decimals": 2}),
                    (f"max {BY} (quantile_over_time(0.5, {rtt}[$__range]))", "Median", SECONDS),
                    (f"max {BY} (quantile_over_time(0.95, {rtt}[$__range]))", "95 %", SECONDS),
                    (f"max {BY} (stddev_over_time({rtt}[$__range]))", "Deviation", SECONDS),
                    (f"max {BY} (probe_icmp_reply_hop_limit{{{SELECT}}})", "Hop limit of the reply", {}),
                    (f"sum {BY} (changes(probe_icmp_reply_hop_limit{{{SELECT}}}[$__range]))", "Path changed", {"decimals": 0}),
                ],
                h=10, description="Over the time shown. A change of the reply's hop limit is a change of the path.",
            ),
            series("Why there was no reply", query(f"sum by (phase, reason) (probe_failure_info{{{SELECT}}} and on (job, instance, vantage) probe_icmp_duration_seconds)", "{{phase}}: {{reason}}"), stacked=True),
            series("Packets this exporter did not read in time", query("sum by (instance) (rate(heartbeat_exporter_icmp_dropped_total[$__rate_interval]))", "{{instance}}"), field={"unit": "pps", "min": 0}, description="Anything but zero looks like loss and is none."),
        ],
    )  # fmt: skip


def dns():
    phase = f"probe_dns_duration_seconds{{{SELECT}}}"
    asked = f"probe_success{{{SELECT}}} and on (job, instance, vantage) probe_dns_query_succeeded"
    return board(
        "dns", "Probes: DNS", "DNS servers: answers, how fast, and which version of a zone they have.",
        probe_variables("probe_dns_query_succeeded"),
        [
            stat("Servers", f"count({asked})", w=6, field={"thresholds": steps((0, BLUE))}),
            stat("Failing", f"count(({asked}) == 0) or vector(0)", w=6, field={"thresholds": steps((0, GREEN), (1, RED))}, color="background"),
            stat("Without any answer", f"count(probe_dns_query_succeeded{{{SELECT}}} == 0) or vector(0)", w=6, field={"thresholds": steps((0, GREEN), (1, RED))}, description="The others that fail answer, but not as the module demands."),
            stat("Median query", f'quantile(0.5, probe_dns_duration_seconds{{{SELECT},phase="request"}} > 0)', w=6, field={**SECONDS, "thresholds": steps((0, BLUE))}),
            series("Query", query(f'max by (job, instance) (probe_dns_duration_seconds{{{SELECT},phase="request"}} > 0)', "{{job}} {{instance}}"), field=SECONDS),
            series("Phases", query(f"avg by (phase) ({phase})", "{{phase}}"), stacked=True, field=SECONDS, description="Mean of the selected servers. Connect is there with TCP and TLS."),
            series("Serial numbers", query(f"max by (job, instance) (probe_dns_serial{{{SELECT}}})", "{{job}} {{instance}}"), field={"decimals": 0, "unit": "none"}, description="Queries for SOA records. Servers of one zone should not differ for long."),
            series("Why it failed", query(f"sum by (phase, reason) (probe_failure_info{{{SELECT}}} and on (job, instance, vantage) probe_dns_query_succeeded)", "{{phase}}: {{reason}}"), stacked=True),
            targets_table(
                "Servers",
                [
                    (f"min {BY} ({asked})", "State", {"cell": "color-text", **UP}),
                    (f"avg {BY} (avg_over_time(probe_success{{{SELECT}}}[$__range]) and on (job, instance, vantage) probe_dns_query_succeeded)", "Availability", {"cell": "color-text", **AVAILABILITY}),
                    (f'max {BY} (quantile_over_time(0.5, probe_dns_duration_seconds{{{SELECT},phase="request"}}[$__range]))', "Median query", SECONDS),
                    (f"max {BY} (probe_dns_answer_rrs{{{SELECT}}})", "Answers", {}),
                    (f"max {BY} (probe_dns_authority_rrs{{{SELECT}}})", "Authority", {}),
                    (f"max {BY} (probe_dns_additional_rrs{{{SELECT}}})", "Additional", {}),
                    (f"max {BY} (probe_dns_serial{{{SELECT}}})", "Serial number", {"unit": "none", "decimals": 0}),
                ],
                h=10, description="Over the time shown.", called="Server",
            ),
        ],
    )  # fmt: skip


def exporter():
    own = f"heartbeat_exporter_probes_total{{{OWN}}}"
    bucket = f"sum by (le, module) (rate(heartbeat_exporter_probe_duration_seconds_bucket{{{OWN}}}[$__rate_interval]))"
    busy = steps((0, GREEN), (0.01, YELLOW), (0.05, RED))
    return board(
        "exporter", "Probes: the exporter", "heartbeat_exporter itself: what it does, how busy it is, and whether its configuration is the one on disk.",
        [
            variable("job", "Job", "label_values(blackbox_exporter_build_info, job)"),
            variable("instance", "Exporter", 'label_values(blackbox_exporter_build_info{job=~"$job"}, instance)'),
        ],
        [
            stat("Scraped", f"min(up{{{OWN}}} and on (job, instance) blackbox_exporter_build_info)", field=UP, color="background"),
            stat("Configuration", f"min(blackbox_exporter_config_last_reload_successful{{{OWN}}})", field={"mappings": values(v0=("not loaded", RED), v1=("loaded", GREEN)), "thresholds": steps((0, RED), (1, GREEN))}, color="background", description="Of the last attempt to load it."),
            stat("Warnings about it", f"sum(heartbeat_exporter_config_warnings{{{OWN}}})", field={"thresholds": steps((0, GREEN), (1, YELLOW))}),
            stat("Probes in flight", f"sum(heartbeat_exporter_probes_in_flight{{{OWN}}})", field={"thresholds": steps((0, BLUE))}),
            stat("Running since", f"min(process_start_time_seconds{{{OWN}}} and on (job, instance) blackbox_exporter_build_info) * 1000", field={"unit": "dateTimeFromNow", "thresholds": steps((0, BLUE))}),
            stat("Unknown modules asked for", f"sum(increase(blackbox_module_unknown_total{{{OWN}}}[$__range]))", field={"decimals": 0, "thresholds": steps((0, GREEN), (1, YELLOW))}, description="Over the time shown."),
            series("Probes", query(f"sum by (module, result) (rate({own}[$__rate_interval]))", "{{module}}: {{result}}"), field={"unit": "ops"}, stacked=True),
            series("Duration of probes", [query(f"histogram_quantile(0.5, {bucket})", "{{module}}: median"), query(f"histogram_quantile(0.99, {bucket})", "{{module}}: 99 %", ref="B")], field=SECONDS, fill=0),
            series("Probes in flight", query(f"sum by (instance) (heartbeat_exporter_probes_in_flight{{{OWN}}})", "{{instance}}"), w=8),
            series("Scheduling delay", query(f"max by (instance) (heartbeat_exporter_scheduling_delay_seconds{{{OWN}}})", "{{instance}}"), w=8, field={"unit": "s", "thresholds": busy}, description="How late timers fire. When it is high, the durations measured here are too."),
            series("CPU", query(f"sum by (instance) (rate(process_cpu_seconds_total{{{OWN}}}[$__rate_interval]) and on (job, instance) blackbox_exporter_build_info)", "{{instance}}"), w=8, field={"unit": "percentunit"}, description="Share of one core."),
            series("Memory", [query(f"sum by (instance) (process_resident_memory_bytes{{{OWN}}} and on (job, instance) blackbox_exporter_build_info)", "{{instance}}")], w=8, field={"unit": "bytes"}),
            series("Sockets and files", [query(f"sum by (instance) (heartbeat_exporter_open_sockets{{{OWN}}})", "{{instance}}: sockets"), query(f"sum by (instance) (process_open_fds{{{OWN}}} and on (job, instance) blackbox_exporter_build_info)", "{{instance}}: files and sockets", ref="B")], w=8),
            series("Share of the limit of files", query(f"max by (instance) (process_open_fds{{{OWN}}} / process_max_fds and on (job, instance) blackbox_exporter_build_info)", "{{instance}}"), w=8, field={"unit": "percentunit", "min": 0, "thresholds": steps((0, GREEN), (0.8, RED))}),
            series("Connections that failed", query(f"sum by (reason) (rate(net_conntrack_dialer_conn_failed_total{{{OWN}}}[$__rate_interval]))", "{{reason}}"), w=8, field={"unit": "ops"}, stacked=True, description="Of HTTP probes."),
            series("ICMP", [query(f"sum by (instance) (rate(heartbeat_exporter_icmp_dropped_total{{{OWN}}}[$__rate_interval]))", "{{instance}}: dropped"), query(f"sum by (instance) (rate(heartbeat_exporter_icmp_unmatched_total{{{OWN}}}[$__rate_interval]))", "{{instance}}: not ours", ref="B")], w=8, field={"unit": "pps"}, description="Dropped packets look like loss. Packets that are not ours are those of other programs."),
            series("Scrapes of /metrics", query(f"sum by (code) (rate(promhttp_metric_handler_requests_total{{{OWN}}}[$__rate_interval]))", "{{code}}"), w=8, field={"unit": "ops"}),
            table(
                "Versions", table_queries(f"max by (job, instance, version, revision, goversion) (blackbox_exporter_build_info{{{OWN}}})"),
                [column("instance", "Exporter"), column("job", "Job"), column("version", "Version"), column("revision", "Revision"), column("goversion", "Compiler")],
                hidden=["Value"], h=5, joined=False,
            ),
        ],
    )  # fmt: skip


# States in the order of a good end: where several receivers know different things, the best is the newest.
STATES = [("new", "new", BLUE), ("paused", "paused", "text"), ("down", "down", RED), ("late", "late", YELLOW), ("running", "running", "light-green"), ("up", "up", GREEN)]
STATE = {
    "mappings": values(**{f"v{n}": (text, color) for n, (_, text, color) in enumerate(STATES)}),
    "thresholds": steps(*[(n, color) for n, (_, _, color) in enumerate(STATES)]),
}  # fmt: skip


def heartbeats():
    select = 'namespace=~"$namespace",heartbeat=~"$heartbeat"'
    by = "by (namespace, heartbeat)"

    def newest(metric, more=""):
        return f"max {by} (heartbeat_{metric}{{{select}{more}}})"

    def in_state(name):
        return f'sum by (namespace, heartbeat, job, instance) (heartbeat_state{{{select},state="{name}"}})'

    def count(name):
        # What one receiver knows to be better is better.
        return f"count({state} == {[key for key, _, _ in STATES].index(name)}) or vector(0)"

    state = f"max {by} ({' + '.join(f'{n} * {in_state(name)}' for n, (name, _, _) in enumerate(STATES))})"
    few = f"{state} and on () count({newest('created_timestamp_seconds')}) <= 30"
    notable = f'changes(heartbeat_state_change_timestamp_seconds{{{select}}}[$__range]) > 0 or heartbeat_state{{{select},state!~"up|running"}} == 1'
    deadline = newest("deadline_timestamp_seconds")
    success = newest("last_ping_timestamp_seconds", ',signal="success"')
    bucket = "sum by (le) (rate(heartbeat_{}_bucket[$__rate_interval]))"
    alarm = steps((0, GREEN), (1, RED))
    until = {"unit": "s", "decimals": 0, "thresholds": steps((0, RED), (0, GREEN))}
    return board(
        "heartbeats", "Heartbeats", "Jobs and nodes that report in: their states, deadlines and runs, and those who receive them.",
        [
            variable("namespace", "Namespace", "label_values(heartbeat_pings_total, namespace)"),
            variable("heartbeat", "Heartbeat", 'label_values(heartbeat_pings_total{namespace=~"$namespace"}, heartbeat)'),
        ],
        [
            stat("Heartbeats", f"count(count {by} (heartbeat_pings_total{{{select}}}))", field={"thresholds": steps((0, BLUE))}),
            stat("Down", count("down"), field={"thresholds": alarm}, color="background"),
            stat("Late", count("late"), field={"thresholds": steps((0, GREEN), (1, YELLOW))}, color="background", description="The expected time has passed, the grace has not."),
            stat("Never seen", count("new"), field={"thresholds": steps((0, GREEN), (1, YELLOW))}),
            stat("Runs in progress", f"sum({newest('runs_in_progress')})", field={"thresholds": steps((0, BLUE))}),
            stat("Next deadline in", f"min({deadline} > time()) - time()", field={"unit": "s", "decimals": 0, "thresholds": steps((0, BLUE))}),
            timeline("State", query(f"({few}) or ({state} and on (namespace, heartbeat) ({notable}))", "{{namespace}}/{{heartbeat}}"), STATE, h=10, description="All of them if they are 30 or fewer, otherwise those that changed in the time shown or are not up."),
            table(
                "Down now, and why", table_queries(f"max by (namespace, heartbeat, reason) (heartbeat_down_reason{{{select}}})"),
                [column("heartbeat", "Heartbeat"), column("namespace", "Namespace"), column("reason", "Reason")],
                hidden=["Value"], w=12, h=8, joined=False,
            ),
            series("Went down", query(f'sum by (namespace) (increase(heartbeat_state_changes_total{{{select},to="down"}}[$__rate_interval]))', "{{namespace}}"), stacked=True, field={"decimals": 0}),
            series("Time until the deadline", query(f"bottomk(20, {deadline} - time())", "{{namespace}}/{{heartbeat}}"), field=until, fill=0, description="The twenty that are nearest to it. Below zero it is missed, and by how much."),
            series("Lateness", query(f"topk(20, (time() - {newest('expected_timestamp_seconds')}) > 0)", "{{namespace}}/{{heartbeat}}"), field={"unit": "s", "min": 0}, fill=0, description="How long ago they were expected. Within the grace this is no failure."),
            table(
                "All heartbeats",
                table_queries(
                    state,
                    f"max by (namespace, heartbeat, kind, schedule, tz) (heartbeat_info{{{select}}})",
                    f"time() - {success}",
                    f"{newest('expected_timestamp_seconds')} - time()",
                    f"{deadline} - time()",
                    newest("last_run_duration_seconds"),
                    newest("last_exit_code"),
                    f"max {by} (increase(heartbeat_missed_total{{{select}}}[$__range]))",
                ),
                [
                    column("heartbeat", "Heartbeat"), column("namespace", "Namespace"),
                    column("Value #A", "State", cell="color-text", **STATE),
                    column("kind", "Kind"), column("schedule", "Schedule"), column("tz", "Zone"),
                    column("Value #C", "Last success", unit="s", decimals=0), column("Value #D", "Expected in", unit="s", decimals=0),
                    column("Value #E", "Deadline in", cell="color-text", **until),
                    column("Value #F", "Last run took", **SECONDS), column("Value #G", "Exit status"), column("Value #H", "Missed", decimals=0),
                ],
                hidden=["Value #B"], h=12, description="Missed: over the time shown.",
            ),
            series("Durations of runs", query(f"topk(20, {newest('last_run_duration_seconds')})", "{{namespace}}/{{heartbeat}}"), field=SECONDS, fill=0, description="The twenty longest."),
            series("Signals", query(f"sum by (signal) (rate(heartbeat_pings_total{{{select}}}[$__rate_interval]))", "{{signal}}"), field={"unit": "ops"}, stacked=True, description="`ignored` are second deliveries."),
            series("Requests to the receivers", query("sum by (api, code) (rate(heartbeat_receiver_requests_total[$__rate_interval])) > 0", "{{api}}: {{code}}"), w=8, field={"unit": "ops"}, stacked=True),
            series("Signals turned away", query("sum by (reason) (rate(heartbeat_receiver_rejected_total[$__rate_interval])) > 0", "{{reason}}"), w=8, field={"unit": "ops"}, stacked=True),
            series("Answers and commits", [query(f"histogram_quantile(0.99, {bucket.format('receiver_request_duration_seconds')})", "answer: 99 %"), query(f"histogram_quantile(0.99, {bucket.format('store_append_duration_seconds')})", "durable: 99 %", ref="B")], w=8, field=SECONDS, fill=0),
            series("Clocks", query("max by (instance) (heartbeat_receiver_time_seconds - timestamp(heartbeat_receiver_time_seconds))", "{{instance}}"), w=8, field={"unit": "s"}, description="How far the clock of the receiver is ahead of that of Prometheus."),
            series("Blind", query("sum by (instance, cause) (increase(heartbeat_blind_seconds_total[$__rate_interval]))", "{{instance}}: {{cause}}"), w=8, field={"unit": "s"}, stacked=True, description="Time in which signals could not be seen; deadlines are extended by it."),
            series("Waiting to be stored, and failures", [query("sum by (instance) (heartbeat_store_unsynced_pings)", "{{instance}}: waiting"), query("sum by (instance, op) (increase(heartbeat_store_errors_total[$__rate_interval]))", "{{instance}}: {{op}} failed", ref="B")], w=8, field={"decimals": 0}),
            series("Not heard of other receivers", query("max by (instance, peer) (heartbeat_replica_lag_seconds)", "{{instance}}: {{peer}}"), w=24, field={"unit": "s", "min": 0}, fill=0, description="Since the last word of those that share the store with it. Usually up to five seconds."),
        ],
    )  # fmt: skip


BOARDS = [overview, target, certificates, icmp, dns, heartbeats, exporter]


def main(check):
    stale = []
    for make in BOARDS:
        path = HERE / f"{make.__name__}.json"
        text = json.dumps(make(), indent=2, ensure_ascii=False) + "\n"
        if not check:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            stale.append(path.name)
    if stale:
        sys.exit(f"not as generate.py would write it: {', '.join(stale)}; run dashboards/generate.py")


main(sys.argv[1:] == ["--check"])
