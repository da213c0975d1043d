import re

import pytest
from instrumentation.backends import cache, manifest, recipes
from instrumentation.backends.manifest import Backend

FAKE = Backend("fake", "1.2", "go_install", programs={"fake": "example.org/fake"})


def test_manifest_pins_every_backend_exactly():
    backends = manifest.load()
    servers = {"prometheus", "jaeger", "otelcol", "toxiproxy", "solr"}
    assert set(backends) == {*servers, "browser", "sending"}
    for backend in backends.values():
        assert re.fullmatch(r"\d+\.\d+\.\d+", backend.version)
    assert set(backends["prometheus"].programs) == {"prometheus", "promtool"}


def test_solr_lock_holds_the_version_of_the_manifest():
    backend = manifest.load()["solr"]
    lock = recipes.jar_lock((manifest.HERE / "solr" / "jars.lock").read_text())
    assert f"solr-core-{backend.version}.jar" in lock
    assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in lock.values())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a = 1", "a must be a table"),
        ("[a]\nrecipe = 'go_install'", r"\[a\] version=None"),
        ("[a]\nversion = '1'\nrecipe = 'make'", r"recipe='make': must be one of"),
        ("[a]\nversion = '1'\nrecipe = 'maven'\nsize = 1", "unknown field 'size'"),
        ("[a]\nversion = '1'\nrecipe = 'go_install'", "needs programs"),
        ("[a]\nversion = '1'\nrecipe = 'maven'\ncheck = 'x'", "must be a list"),
        (
            "[a]\nversion = '1'\nrecipe = 'go_module'\nprograms = {a = 'b'}",
            "needs module",
        ),
        ("[a", "manifest: "),
    ],
)
def test_manifest_error_names_table_and_field(text, told):
    with pytest.raises(manifest.ManifestError, match=told):
        manifest.parse(text)


def test_fingerprint_changes_with_what_is_made():
    other = Backend("fake", "1.2", "go_install", programs={"fake": "example.org/b"})
    assert FAKE.fingerprint != other.fingerprint
    assert FAKE.fingerprint == Backend(**vars(FAKE)).fingerprint


def test_jar_which_is_not_the_locked_one_is_named(tmp_path):
    for name in ("a.jar", "b.jar", "c.jar"):
        (tmp_path / name).write_text(name)
    right = cache.sha256(tmp_path / "a.jar")
    lock = recipes.jar_lock(f"# told\n{right}  a.jar\n{right}  b.jar\n{right}  d.jar\n")
    faults = recipes.jar_faults(tmp_path, lock)
    assert [fault.split()[0] for fault in faults] == ["b.jar", "c.jar", "d.jar"]
