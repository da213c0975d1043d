import json
import marshal
import pkgutil
import re
import shutil
import subprocess
import sys
from importlib import import_module
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import get_args

import jsonschema
import opentelemetry.semconv._incubating.attributes as unstable_names
import opentelemetry.semconv.attributes as stable_names
import pytest
import yaml
from instrumentation import generate, read_registry
from instrumentation.conventions import Registry, prometheus_name
from tests.cost import rounds

from spanrun import semconv

FILES = sorted(read_registry.REGISTRY.glob("*.yaml"))
SCHEMA = Path(__file__).parent / "data" / "semconv-v2.schema.json"
NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")


@pytest.fixture(scope="module")
def registry() -> Registry:
    return read_registry.load()


def names_in(package: ModuleType) -> set[str]:
    """The attribute keys in OpenTelemetry's own Python package."""
    modules = (
        import_module(f"{package.__name__}.{module.name}")
        for module in pkgutil.iter_modules(package.__path__)
    )
    values = chain.from_iterable(vars(module).values() for module in modules)
    return {value for value in values if isinstance(value, str) and "." in value}


# The registry


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_file_is_valid_by_weavers_schema(path: Path):
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    errors = validator.iter_errors(document)
    assert [f"{error.json_path}: {error.message}" for error in errors] == []


def test_every_attribute_is_on_a_signal(registry: Registry):
    signals = (registry.spans, registry.metrics, registry.events, registry.entities)
    used = {key for signal in chain(*signals) for key in signal.keys}
    # A log record is none of these: the registry's format has no place for it.
    of_logs = {key for key in registry.attributes if key.startswith("code.")}
    assert set(registry.attributes) - used == of_logs


def test_own_names_are_in_development(registry: Registry):
    things = [
        *((at.key, at.stability) for at in registry.attributes.values()),
        *((signal.name, signal.stability) for signal in registry.spans),
        *((signal.name, signal.stability) for signal in registry.metrics),
        *((signal.name, signal.stability) for signal in registry.events),
    ]
    own = {stability for name, stability in things if name.startswith("spanrun.")}
    assert own == {"development"}


def test_foreign_attributes_are_named_as_opentelemetry_names_them(registry: Registry):
    stable, every = names_in(stable_names), names_in(unstable_names)
    foreign = [
        at for at in registry.attributes.values() if not at.key.startswith("spanrun.")
    ]
    unknown = {at.key for at in foreign} - every - stable
    assert unknown == set()
    marked = {at.key for at in foreign if at.stability == "stable"}
    assert marked == {at.key for at in foreign} & stable


def test_a_metric_has_no_attribute_that_is_unbounded(registry: Registry):
    unbounded = {
        semconv.SPANRUN_JOB_INDEX,
        semconv.SPANRUN_JOB_KEY,
        semconv.SPANRUN_BATCH_INDEX,
        semconv.URL_FULL,
        semconv.DB_QUERY_TEXT,
        semconv.EXCEPTION_MESSAGE,
    }
    used = {key for metric in registry.metrics for key in metric.keys}
    assert used & unbounded == set()


# The module


def test_names_are_lower_case_words_with_dots_and_unique():
    metrics = [metric.name for metric in semconv.METRICS]
    for names in (list(semconv.ATTRIBUTES), metrics, list(semconv.SPANS)):
        assert len(set(names)) == len(names)
        assert [name for name in names if not NAME.fullmatch(name)] == []


def test_each_attribute_has_its_constant():
    for key in semconv.ATTRIBUTES:
        assert getattr(semconv, key.upper().replace(".", "_")) == key


@pytest.mark.parametrize("metric", semconv.METRICS, ids=lambda metric: metric.name)
def test_metric_is_whole(metric: semconv.Metric):
    assert set(metric.attributes) <= set(semconv.ATTRIBUTES)
    assert len(set(metric.attributes)) == len(metric.attributes)
    assert set(metric.required) <= set(metric.attributes)
    assert metric.unit in {"s", "By"} or re.fullmatch(r"\{[a-z_]+\}", metric.unit)
    assert bool(metric.boundaries) == (metric.instrument == "histogram")
    assert list(metric.boundaries) == sorted(set(metric.boundaries))


@pytest.mark.parametrize("signal", [*semconv.SPANS.values(), *semconv.EVENTS.values()])
def test_a_span_or_event_is_whole(signal: semconv.Signal):
    assert set(signal.attributes) <= set(semconv.ATTRIBUTES)
    assert set(signal.required) <= set(signal.attributes)
    assert bool(signal.kind) == bool(signal.title)


def test_allowed_values_are_unique_and_the_same_as_the_type():
    for key, values in semconv.VALUES.items():
        assert len(set(values)) == len(values)
        assert semconv.ATTRIBUTES[key] == "string"
        alias = key.title().replace(".", "").replace("_", "")
        assert get_args(getattr(semconv, alias)) == values


def test_a_phase_of_the_ledger_has_its_attribute():
    phases = {f"spanrun.job.time.{one}" for one in semconv.SPANRUN_JOB_PHASE_VALUES}
    times = {key for key in semconv.ATTRIBUTES if key.startswith("spanrun.job.time.")}
    assert phases == times
    assert times <= set(semconv.SPANS["job"].attributes)


def test_an_outcome_has_its_count_on_the_run():
    counts = {f"spanrun.run.jobs.{one}" for one in semconv.SPANRUN_JOB_OUTCOME_VALUES}
    assert counts <= set(semconv.SPANS["run"].attributes)


def test_import_costs_little():
    # Measured: 0.6 ms in a fresh process, 0.3 ms here.
    path = Path(str(semconv.__file__))
    compiled = marshal.dumps(compile(path.read_bytes(), path, "exec"))

    def work() -> None:
        exec(marshal.loads(compiled), {"__name__": "copy"})  # noqa: S102, S302

    assert rounds(work) < 80_000  # some 2 ms


# The generator


def test_generated_files_are_up_to_date(capsys: pytest.CaptureFixture[str]):
    assert generate.main(["--check"]) == 0, capsys.readouterr().err


def test_generated_module_is_formatted_by_ruff():
    command = [sys.executable, "-m", "ruff", "format", "--diff", "--no-cache"]
    done = subprocess.run(
        [*command, str(semconv.__file__)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_check_names_the_stale_file_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    root = ["--root", str(tmp_path)]
    assert generate.main(root) == 0
    assert generate.main([*root, "--check"]) == 0
    page = tmp_path / "docs" / "reference" / "telemetry.md"
    page.write_text("old", encoding="utf-8")
    capsys.readouterr()
    assert generate.main([*root, "--check"]) == 1
    told = capsys.readouterr().err
    assert "docs/reference/telemetry.md" in told
    assert "semconv.py" not in told
    assert page.read_text(encoding="utf-8") == "old"
    first = (tmp_path / "src/spanrun/semconv.py").read_text(encoding="utf-8")
    assert first.startswith("# generated by instrumentation/generate.py")


MISTAKES = [
    ("unit: s\n", 'unit: "1"\n', "spanrun.unit.duration: unit: '1' is none of"),
    ("brief: The name", "title: The name", "spanrun.unit.name: brief: is missing"),
    ("ref: error.type", "ref: x", "spanrun.unit: attributes[2]: ref: x is not defined"),
    ("ref: error.type", "ref_group: x", "attributes[2]: ref_group: x is not defined"),
    ("id: failed", "id: ok", "spanrun.unit.outcome: type.members: ok is there twice"),
    ("key: spanrun.unit.name", "key: spanrun.job.index", "is defined twice, also in"),
    ("key: spanrun.unit.name", "key: A.b", "attributes[0]: key: 'A.b' must be lower"),
    ("histogram", "gauge", "spanrun.unit.duration: annotations.boundaries: for hist"),
    ("0.005, 0.01", "0.01, 0.005", "duration: annotations.boundaries: must ascend"),
    ("type: string", "type: text", "spanrun.unit.name: type: 'text' is none of"),
    ("level: required", "level: must", "requirement_level: 'must' is none of required"),
    ("definition/2", "definition/1", "file: file_format: 'definition/1' is none of"),
    ("metrics:", "metric:", "file: metric: is no section"),
    ("attributes:", "attributes: [", "is no YAML"),
]


@pytest.mark.parametrize(("old", "new", "told"), MISTAKES)
def test_a_mistake_in_the_registry_is_told_with_file_and_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, told: str
):
    broken = tmp_path / "registry"
    shutil.copytree(read_registry.REGISTRY, broken)
    path = broken / "unit.yaml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    options = ["--registry", str(broken), "--root", str(tmp_path / "root")]
    assert generate.main(options) == 1
    error = capsys.readouterr().err
    assert error.startswith("generate: unit.yaml: ")
    assert told in error
    assert not (tmp_path / "root").exists()


# The reference page


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("spanrun.jobs", "spanrun_jobs_total"),
        ("spanrun.job.duration", "spanrun_job_duration_seconds"),
        ("spanrun.job.phase.time", "spanrun_job_phase_time_seconds_total"),
        ("spanrun.job.active", "spanrun_job_active"),
        ("spanrun.batch.size", "spanrun_batch_size"),
        ("spanrun.runner.limit", "spanrun_runner_limit"),
        ("spanrun.telemetry.spool.size", "spanrun_telemetry_spool_size_bytes"),
        ("gen_ai.client.token.usage", "gen_ai_client_token_usage"),
    ],
)
def test_prometheus_name(registry: Registry, name: str, expected: str):
    [metric] = (one for one in registry.metrics if one.name == name)
    assert prometheus_name(metric) == expected


def test_page_has_every_name(registry: Registry):
    text = (generate.ROOT / "docs/reference/telemetry.md").read_text(encoding="utf-8")
    signals = chain(registry.spans, registry.metrics, registry.events)
    names = [*registry.attributes, *(signal.name for signal in signals)]
    assert [name for name in names if f"`{name}`" not in text] == []
