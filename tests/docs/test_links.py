"""Every link leads somewhere, and every page can be found."""

from pathlib import Path

import pytest
from tests.docs.pages import DOCS, ROOT, Page, all_pages, parse, read

PAGES = all_pages()


def broken(page: Page) -> list[str]:
    found: list[str] = []
    for line, link in page.links:
        if link.startswith(("https://", "http://", "mailto:")):
            continue
        name, _, wanted = link.partition("#")
        target = (page.path.parent / name).resolve() if name else ROOT
        where = f"{page.name}:{line}: {link}"
        if not target.exists():
            found.append(f"{where}: there is no such file")
        elif wanted and wanted not in (read(target) if name else page).anchors:
            found.append(f"{where}: there is no such heading")
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_resolve(page: Page) -> None:
    assert broken(page) == []


def test_each_page_is_reached_from_the_index() -> None:
    seen: set[Path] = set()
    todo = [DOCS / "index.md"]
    while todo:
        path = todo.pop()
        if path in seen or path.suffix != ".md" or not path.is_file():
            continue
        seen.add(path)
        links = (link.partition("#")[0] for _, link in read(path).links)
        todo += [(path.parent / link).resolve() for link in links if "://" not in link]
    assert set(DOCS.rglob("*.md")) <= seen


@pytest.mark.parametrize(
    "link", ["nothing.md", "README.md#nothing", "#nothing", "docs/nothing/"]
)
def test_a_broken_link_is_found(link: str) -> None:
    assert broken(parse(ROOT / "page.md", f"# One\n\n[text]({link})\n"))


def test_a_good_link_is_good() -> None:
    text = "# One `two`, three\n\n[a](#one-two-three) [b](README.md) [c](docs/)\n"
    assert not broken(parse(ROOT / "page.md", text))
