"""The files with which the stack is started, as far as no container engine is needed.

That Prometheus and the Collector take theirs is tested in `tests/backends`.
"""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from dashboards.build import JSON
from instrumentation.backends import manifest

from spanrun import semconv
from spanrun.slo.promql import label

HERE = Path(__file__).parents[2] / "instrumentation"
COMPOSE: Any = yaml.safe_load((HERE / "compose.yaml").read_text("utf-8"))
SERVICES = COMPOSE["services"]

by_service = pytest.mark.parametrize("name", SERVICES)


def read(*path: str) -> Any:
    return yaml.safe_load(HERE.joinpath(*path).read_text("utf-8"))


@by_service
def test_images_are_pinned_by_version(name: str) -> None:
    assert re.fullmatch(r"[a-z/-]+:v?\d+\.\d+\.\d+", SERVICES[name]["image"])


def test_the_versions_are_those_of_the_tests() -> None:
    backends = manifest.load()
    collector = SERVICES["collector"]["image"].partition(":")[2]
    assert collector == backends["otelcol"].version
    # A library's release 0.316 is the program's 3.16.
    _, minor, patch = backends["prometheus"].version.split(".")
    release = f"v{minor[0]}.{int(minor[1:])}.{patch}"
    assert SERVICES["prometheus"]["image"].partition(":")[2] == release


@by_service
def test_ports_are_published_on_the_loopback_alone(name: str) -> None:
    for port in SERVICES[name].get("ports", ()):
        assert re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port)


@by_service
def test_mounts_exist(name: str) -> None:
    for mount in SERVICES[name].get("volumes", ()):
        source, target, *mode = mount.split(":")
        assert target.startswith("/")
        if source.startswith("."):
            assert (HERE / source).exists()
            assert mode == ["ro"]
        else:
            assert source in COMPOSE["volumes"]


@by_service
def test_what_a_service_waits_for_is_there(name: str) -> None:
    assert set(SERVICES[name].get("depends_on", ())) <= SERVICES.keys()


def mounted(service: str, target: str) -> Path:
    mounts = (mount.split(":") for mount in SERVICES[service]["volumes"])
    (source,) = (mount[0] for mount in mounts if mount[1] == target)
    return HERE / source


def test_grafana_finds_the_dashboards() -> None:
    (provider,) = read("grafana", "provisioning", "dashboards", "spanrun.yaml")[
        "providers"
    ]
    folder = mounted("grafana", provider["options"]["path"])
    assert folder.resolve() == JSON
    home = SERVICES["grafana"]["environment"][
        "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"
    ]
    assert (folder / Path(home).name).is_file()
    assert home.startswith(provider["options"]["path"])


def test_exemplars_open_their_trace() -> None:
    sources = read("grafana", "provisioning", "datasources", "spanrun.yaml")
    by_uid = {source["uid"]: source for source in sources["datasources"]}
    assert len(by_uid) == len(sources["datasources"]) == 3
    links = by_uid["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    assert {link["name"] for link in links} == {"trace_id"}
    assert {by_uid[link["datasourceUid"]]["type"] for link in links} == {
        "jaeger",
        "tempo",
    }


def test_each_data_source_is_a_service_of_the_stack() -> None:
    sources = read("grafana", "provisioning", "datasources", "spanrun.yaml")
    for source in sources["datasources"]:
        host, _, port = source["url"].removeprefix("http://").partition(":")
        assert host in SERVICES
        known = {"prometheus": "9090", "jaeger": "16686", "tempo": "3200"}
        assert port == known[host]


def test_prometheus_promotes_the_labels_that_dashboards_choose_by() -> None:
    config = read("prometheus", "prometheus.yml")
    promoted = {label(name) for name in config["otlp"]["promote_resource_attributes"]}
    assert {
        label(semconv.SERVICE_NAME),
        label(semconv.SERVICE_INSTANCE_ID),
    } <= promoted
    assert "--web.enable-otlp-receiver" in SERVICES["prometheus"]["command"]
    assert "--enable-feature=exemplar-storage" in SERVICES["prometheus"]["command"]


def test_each_variable_of_the_collector_is_set() -> None:
    text = (HERE / "collector" / "collector.yaml").read_text("utf-8")
    asked = set(re.findall(r"\$\{env:(\w+)", text))
    assert asked == SERVICES["collector"]["environment"].keys()


def test_whatever_the_collector_sends_waits_on_the_disk() -> None:
    config = read("collector", "collector.yaml")
    assert "file_storage" in config["service"]["extensions"]
    sending = {
        exporter
        for pipeline in config["service"]["pipelines"].values()
        for exporter in pipeline["exporters"]
    }
    assert sending == config["exporters"].keys()
    for exporter in config["exporters"].values():
        assert exporter["sending_queue"]["storage"] == "file_storage"
        assert exporter["retry_on_failure"]["max_elapsed_time"] == "0s"
