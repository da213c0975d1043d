"""Every page imports names from packages, and shows no private module."""

import re

import pytest
from tests.docs.pages import DOCS, ROOT, all_pages

from spanrun import errors, semconv

SRC = ROOT / "src"
MODULES = {
    ".".join(path.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__")
    for path in (SRC / "spanrun").rglob("*.py*")
    if path.suffix in (".py", ".pyi")
}
PLUGIN = "spanrun.testing.plugin"
"""A plugin of pytest is named by its module."""

REGISTERED = {metric.name for metric in semconv.METRICS} | set(semconv.ATTRIBUTES)

_DOTTED = re.compile(r"(?<![\w./-])spanrun(?:\.\w+)+")
_PATH = re.compile(r"\b(?:spanrun/)?(?:\w+/)+_[a-z]\w*(?:\.py)?\b")
_FROM = re.compile(r"(?m)^ *from (spanrun[\w.]*) import (?:\(([^)]*)\)|(.*))$")


def amiss(text: str) -> list[str]:
    """Names that a reader shouldn't be shown: deep paths, and private modules."""
    found = [name for name in _DOTTED.findall(text) if _is_deep(name)]
    private = [path for path in _PATH.findall(text) if not path.startswith("docs/")]
    return found + private + [*_not_public(text)]


def _is_deep(name: str) -> bool:
    """Whether it leads through a module that lies in a package."""
    if name in REGISTERED or name.startswith(PLUGIN):
        return False
    parts = name.split(".")
    private = any(re.match(r"_(?!_)", part) for part in parts)
    return private or (len(parts) > 2 and ".".join(parts[:3]) in MODULES)


def _not_public(text: str) -> list[str]:
    """What is imported from a package that doesn't have it among its names."""
    found: list[str] = []
    for package, several, one in _FROM.findall(text):
        module = __import__(package, fromlist=["*"])
        public = getattr(module, "__all__", None) or vars(errors)
        names = re.findall(r"[A-Za-z_]\w*", several or one)
        found += [f"{package}: {n}" for n in names if n not in public]
    return found


@pytest.mark.parametrize("page", all_pages(), ids=lambda page: page.name)
def test_a_page_shows_public_names_alone(page) -> None:
    text = page.path.read_text(encoding="utf-8")
    assert amiss(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "from spanrun.clients.chat import Chat",
        "import spanrun.clients.chat",
        "takes a `spanrun.clients.chat.Chat`",
        "see `spanrun.ingest.split`",
        "compiled into `spanrun._native`",
        "in `spanrun.clients._model_client`",
        "in `clients/_body.py`",
        "from spanrun.clients import Embedding",
        "from spanrun.clients import (\n    Chat,\n    HttpClient,\n)\n",
        "from spanrun import Slots",
    ],
)
def test_a_name_that_is_not_public_is_found(text: str) -> None:
    assert amiss(text)


@pytest.mark.parametrize(
    "text",
    [
        "from spanrun.clients import (\n    Chat,\n    Embeddings,\n)\n",
        "from spanrun.errors import UnsafeCode",
        "the metric `spanrun.telemetry.export.duration`",
        "`spanrun.clients.Chat`, `spanrun.toml`, `spanrun.speed.FAST`",
        'pytest_plugins = ["spanrun.testing.plugin"]',
        "`policies/base.py`, `docs/_generate.py`",
        "`spanrun.runner.limit`, `spanrun.job.time.*`",
    ],
)
def test_a_public_name_is_left_alone(text: str) -> None:
    assert amiss(text) == []


def test_the_reference_says_which_names_are_stable() -> None:
    text = (DOCS / "reference" / "public-api.md").read_text(encoding="utf-8")
    assert "**What is stable?**" in text
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    assert "reference/public-api.md" in index
