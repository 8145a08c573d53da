"""Checks the Helm chart and the Kubernetes manifests.

    manifests.py PROGRAM

Renders the chart with Helm's own engine, compares everything with the schemas of Kubernetes, and looks at what schemas
cannot see: selectors that select, volumes that are there, flags and configurations that PROGRAM accepts.
"""

import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import helm_python
import kubernetes_validate
import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
CHART = ROOT / "packaging/helm/heartbeat-exporter"
RULES = ROOT / "alerting-rules"
KUBERNETES = ROOT / "packaging/kubernetes"
# The oldest version that Chart.yaml promises, and newer ones.
VERSIONS = ("1.25", "1.31", "1.37")
OPERATOR = "monitoring.coreos.com/v1"
# The keys of the Prometheus operator's objects that are used here, from its API reference; it publishes no schema
# that could be installed. `None` is anything.
KNOWN = {
    "ServiceMonitor": {
        "selector": {"matchLabels": None},
        "endpoints": [
            {"port": str, "path": str, "scheme": str, "interval": str, "relabelings": None, "tlsConfig": None, "basicAuth": None}
        ],
    },
    "PrometheusRule": {
        "groups": [
            {
                "name": str,
                "interval": str,
                "rules": [
                    {"record": str, "alert": str, "expr": str, "for": str, "keep_firing_for": str, "labels": None, "annotations": None}
                ],
            }
        ],
    },
    "Probe": {
        "jobName": str,
        "interval": str,
        "scrapeTimeout": str,
        "module": str,
        "tlsConfig": None,
        "basicAuth": None,
        "prober": {"url": str, "scheme": str, "path": str},
        "targets": {"staticConfig": {"static": None, "labels": None, "relabelingConfigs": None}, "ingress": None},
    },
}

EVERYTHING = {
    "fullnameOverride": "probes",
    "image": {"repository": "registry.example/heartbeat_exporter", "digest": "sha256:" + "0" * 64},
    "imagePullSecrets": [{"name": "registry"}],
    "replicas": 3,
    "config": "modules:\n  ping:\n    prober: icmp\n",
    "webConfig": {"existingSecret": "web"},
    "extraArgs": ["--log.format=json", "--config.strict"],
    "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy.example:3128"}],
    "extraVolumes": [{"name": "ca", "secret": {"secretName": "ca"}}],
    "extraVolumeMounts": [{"name": "ca", "mountPath": "/ca", "readOnly": True}],
    "podAnnotations": {"example.org/note": "1"},
    "podLabels": {"team": "web"},
    "priorityClassName": "high",
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}],
    "networkPolicy": {"enabled": True, "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]},
    "ingress": {
        "enabled": True,
        "className": "nginx",
        "annotations": {"example.org/note": "1"},
        "hosts": [{"host": "a.example"}, {"host": "b.example", "paths": ["/"]}],
        "tls": [{"hosts": ["a.example"], "secretName": "a"}],
    },
    "prometheusRule": {"enabled": True, "labels": {"release": "x"}},
    "serviceMonitor": {"enabled": True, "labels": {"release": "x"}, "endpoint": {"tlsConfig": {"ca": {}}}},
    "probes": [
        {"name": "a", "labels": {"release": "x"}, "spec": {"module": "ping", "targets": {"staticConfig": {"static": ["::1"]}}}},
        {"name": "b", "spec": {"module": "ping", "prober": {"url": "other:9115"}, "targets": {"ingress": {"selector": {}}}}},
    ],
}
GOOD = {
    "as it is": {},
    "everything": EVERYTHING,
    "heartbeats": {"persistence": {"enabled": True, "storageClassName": "fast"}},
    "a claim that is there": {"persistence": {"enabled": True, "existingClaim": "mine"}},
    "raw sockets": {"icmp": {"mode": "capability"}, "hostNetwork": True},
    "no icmp": {"icmp": {"mode": "none"}, "networkPolicy": {"enabled": True, "from": []}},
    "a config map that is there": {"existingConfigMap": "mine", "serviceAccount": {"create": False}},
    "a secret that is there": {"existingSecret": "mine", "dnsConfig": {}, "resources": {}},
}
BAD = {
    "the store of heartbeats belongs to one process": {"replicas": 2, "persistence": {"enabled": True}},
    "exclude each other": {"existingConfigMap": "a", "existingSecret": "b"},
    "cannot be had with hostNetwork": {"hostNetwork": True},
    "icmp": {"icmp": {"mode": "root"}},
    "replicaCount": {"replicaCount": 2},
    "spec": {"probes": [{"name": "a"}]},
    "ingress.hosts is empty": {"ingress": {"enabled": True}},
    "paths": {"ingress": {"hosts": [{"host": "a.example", "paths": ["probe"]}]}},
    "files": {"prometheusRule": {"files": ["tests"]}},
}

problems = []


def main():
    program = os.path.abspath(sys.argv[1])
    versions()
    rules()
    report = helm_python.lint(CHART, strict=True)
    for message in report["messages"]:
        if message["severity"] > 1:
            problems.append(f"helm lint: {message['path']}: {message['error']}")
    for name, values in GOOD.items():
        check(f"chart, {name}", render(values), program)
    for sentence, values in BAD.items():
        refused(sentence, values)
    for folder in ("base", "heartbeats", "prometheus-operator"):
        check(f"manifests, {folder}", plain(KUBERNETES / folder), program)
    for problem in problems:
        print(f"manifests.py: {problem}", file=sys.stderr)
    print(f"  {len(GOOD)} sets of values, {len(BAD)} that are refused, Kubernetes {', '.join(VERSIONS)}")
    return 1 if problems else 0


def versions():
    """The chart and the manifests name the version of the program."""
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    image = yaml.safe_load((KUBERNETES / "base/kustomization.yaml").read_text())["images"][0]
    for where, told in (("Chart.yaml", chart["appVersion"]), ("kustomization.yaml", image["newTag"])):
        if told != version:
            problems.append(f"{where} says {told}, Cargo.toml says {version}")


def rules():
    """The chart renders the alerting rules as they are. `cargo test` compares the files."""
    written = {path.name: path.read_text() for path in RULES.glob("*.yml")}
    for url, kept in (("", "https://example.com/heartbeat_exporter/docs/runbooks"), ("https://a.example/b/", "https://a.example/b")):
        documents = render({"prometheusRule": {"enabled": True, "runbookUrl": url}})
        rendered = {document["metadata"]["name"]: document["spec"] for document in documents if document["kind"] == "PrometheusRule"}
        for name, text in written.items():
            text = text.replace("https://example.com/heartbeat_exporter/docs/runbooks", kept)
            if rendered.pop(f"test-heartbeat-exporter-{Path(name).stem}", None) != yaml.safe_load(text):
                problems.append(f"the chart does not render {name} as it is")
        if rendered:
            problems.append(f"the chart renders rules from nowhere: {', '.join(rendered)}")


def render(values):
    with helm_python.Chart.load(CHART) as chart:
        files = chart.render(values, name="test", namespace="monitoring")
    texts = [text for name, text in files.items() if not name.endswith("NOTES.txt")]
    return [document for text in texts for document in yaml.safe_load_all(text) if document]


def refused(sentence, values):
    try:
        render(values)
    except helm_python.HelmError as error:
        if sentence not in str(error):
            problems.append(f"values {values} are refused, but without {sentence!r}: {error}")
    else:
        problems.append(f"values {values} are not refused")


def plain(folder):
    """What `kubectl kustomize` makes of a folder, as far as these files use it."""
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    documents = []
    for resource in kustomization["resources"]:
        path = folder / resource
        documents += plain(path) if path.is_dir() else yaml.safe_load_all(path.read_text())
    for generator in kustomization.get("configMapGenerator", []):
        data = {name: (folder / name).read_text() for name in generator["files"]}
        metadata = {"name": generator["name"]}
        documents.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
    for patch in kustomization.get("patches", []):
        change = yaml.safe_load((folder / patch["path"]).read_text())
        target = next(document for document in documents if named(document) == named(change))
        merge(target, change)
    return documents


def named(document):
    return document["kind"], document["metadata"]["name"]


def merge(target, change):
    """A strategic merge: lists of named things are merged by name."""
    for key, value in change.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict) and isinstance(target.get(key), dict):
            merge(target[key], value)
        elif isinstance(value, list) and isinstance(target.get(key), list):
            for item in value:
                same = [other for other in target[key] if other.get("name") == item["name"]]
                merge(same[0], item) if same else target[key].append(item)
        else:
            target[key] = value


def check(name, documents, program):
    def complain(document, what):
        problems.append(f"{name}: {document['kind']} {document['metadata']['name']}: {what}")

    pods = [document["spec"]["template"] for document in documents if document["kind"] == "Deployment"]
    services = [document for document in documents if document["kind"] == "Service"]
    names = {named(document) for document in documents}
    if len(names) != len(documents):
        problems.append(f"{name}: two objects have the same name")
    for document in documents:
        if document["apiVersion"] == OPERATOR:
            for what in unknown(document["spec"], KNOWN[document["kind"]], "spec"):
                complain(document, what)
        else:
            for what in misfits(document):
                complain(document, what)
        for what in selects_nothing(document, pods, services):
            complain(document, what)
        for what in leads_nowhere(document, services):
            complain(document, what)
        if document["kind"] == "Deployment":
            for what in deployment(document["spec"]["template"]["spec"], names, program):
                complain(document, what)
        if document["kind"] == "ConfigMap":
            for what in refuses(program, [], document["data"]["config.yml"]):
                complain(document, what)


def misfits(document):
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
            yield f"Kubernetes {version}: {error}"


def unknown(value, known, place):
    if isinstance(known, dict):
        for key in value:
            if key not in known:
                yield f"{place}.{key} is not a key"
            else:
                yield from unknown(value[key], known[key], f"{place}.{key}")
    elif isinstance(known, list):
        for item in value:
            yield from unknown(item, known[0], place)
    elif known is str and not isinstance(value, str):
        yield f"{place} is not a text: {value!r}"


def selects_nothing(document, pods, services):
    spec = document.get("spec", {})
    if document["kind"] == "Service":
        wanted, offered = spec["selector"], [pod["metadata"]["labels"] for pod in pods]
    elif document["kind"] in ("Deployment", "PodDisruptionBudget"):
        wanted, offered = spec["selector"]["matchLabels"], [pod["metadata"]["labels"] for pod in pods]
    elif document["kind"] == "NetworkPolicy":
        wanted, offered = spec["podSelector"]["matchLabels"], [pod["metadata"]["labels"] for pod in pods]
    elif document["kind"] == "ServiceMonitor" and services:
        wanted, offered = spec["selector"]["matchLabels"], [service["metadata"]["labels"] for service in services]
    else:
        return
    if not any(wanted.items() <= labels.items() for labels in offered):
        yield f"its selector {wanted} selects nothing"


def leads_nowhere(document, services):
    if document["kind"] != "Ingress":
        return
    offered = {(service["metadata"]["name"], port["name"]) for service in services for port in service["spec"]["ports"]}
    for rule in document["spec"]["rules"]:
        for path in rule["http"]["paths"]:
            backend = path["backend"]["service"]
            if (backend["name"], backend["port"]["name"]) not in offered:
                yield f"{rule['host']}{path['path']} leads to {backend}"


def deployment(pod, names, program):
    [container] = pod["containers"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for mount in container["volumeMounts"]:
        if mount["name"] not in volumes:
            yield f"volume {mount['name']} is not there"
        if "subPath" in mount:
            yield f"{mount['mountPath']} is mounted by subPath and would never change"
    for volume in volumes.values():
        claim = volume.get("persistentVolumeClaim", {}).get("claimName", "mine")
        config = volume.get("configMap", {}).get("name", "mine")
        for kind, wanted in (("PersistentVolumeClaim", claim), ("ConfigMap", config)):
            if wanted != "mine" and (kind, wanted) not in names:
                yield f"{kind} {wanted} is not there"
    rights = container["securityContext"]
    if rights["capabilities"]["drop"] != ["ALL"] or rights["allowPrivilegeEscalation"] or not rights["readOnlyRootFilesystem"]:
        yield f"it has rights: {rights}"
    if not pod["securityContext"].get("runAsNonRoot") and rights["capabilities"].get("add") != ["NET_RAW"]:
        yield "it runs as root for nothing"
    if pod["automountServiceAccountToken"]:
        yield "it has a token for the API of Kubernetes"
    ports = {port["name"] for port in container["ports"]}
    for check in ("startupProbe", "readinessProbe", "livenessProbe"):
        [how] = [container[check][key] for key in ("httpGet", "tcpSocket") if key in container[check]]
        if how["port"] not in ports or how.get("path", "/-/ready") not in ("/-/ready", "/-/healthy"):
            yield f"{check} asks {how}"
    # The mounted file is another test's matter.
    flags = [flag for flag in container["args"] if not flag.startswith(("--config.file=", "--web.config.file="))]
    yield from refuses(program, flags, (ROOT / "config.example.yml").read_text())


def refuses(program, flags, config):
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        file.write(config)
        file.flush()
        command = [program, f"--config.file={file.name}", "--config.check", *flags]
        result = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    if result.returncode != 0 or "level=WARN" in result.stderr:
        yield f"{flags} or the configuration is refused: {result.stderr}"


if __name__ == "__main__":
    sys.exit(main())
