"""The site's pages: links and fences of the documents, as docs/site_pages.py rewrites them."""

from __future__ import annotations

import importlib.util
import re

import pytest
from conftest import ROOT

SPEC = importlib.util.spec_from_file_location("site_pages", ROOT / "docs" / "site_pages.py")
site_pages = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(site_pages)

PAGES = {
    "README.md": "index.md",
    "data/README.md": "layouts.md",
    "docs/sft.md": "sft.md",
    "docs/figures/a.png": "figures/a.png",
}
NAMES = {"layouts.md": "Every layout", "sft.md": "Language model"}


@pytest.mark.parametrize(
    ("document", "text", "page"),
    [
        ("docs/sft.md", "[x](../data/README.md#tags)", "[x](layouts.md#tags)"),
        ("data/README.md", "[x](../docs/sft.md)", "[x](sft.md)"),
        ("README.md", "![x](docs/figures/a.png)", "![x](figures/a.png)"),
        ("docs/sft.md", "[`Makefile`](../Makefile)", "`Makefile`"),
        ("docs/sft.md", "[x](nothing.md)", "[x](nothing.md)"),
        ("docs/sft.md", "[x](#here), [y](https://a.b)", "[x](#here), [y](https://a.b)"),
        ("README.md", "more (docs/sft.md)", "more ([Language model](sft.md))"),
        ("README.md", "see `data/README.md`.", "see [Every layout](layouts.md)."),
        ("docs/sft.md", "this page, docs/sft.md", "this page, docs/sft.md"),
        (
            "README.md",
            "`pipelines report --out docs/sft.md`",
            "`pipelines report --out docs/sft.md`",
        ),
        ("README.md", "docs/unknown.md", "docs/unknown.md"),
    ],
)
def test_a_link_leads_to_the_page_of_its_document(document, text, page):
    assert site_pages.for_site(text, document, PAGES, NAMES) == page


def test_a_fence_keeps_its_text_and_shows_its_file():
    text = "```jsonl a.jsonl --label_column y\n[x](docs/sft.md)\n```\ndocs/sft.md"
    page = (
        '```json title="a.jsonl --label_column y"\n[x](docs/sft.md)\n```\n[Language model](sft.md)'
    )
    assert site_pages.for_site(text, "README.md", PAGES, NAMES) == page


@pytest.mark.parametrize(
    ("text", "page"),
    [
        ("Two:\n- a\n- b", "Two:\n\n- a\n- b"),
        ("1. a:\n\n    more\n2. b", "1. a:\n\n    more\n\n2. b"),
        ("- a\n  goes on\n- b", "- a\n  goes on\n- b"),
        ("```\na\n- b\n```\n- c", "```\na\n- b\n```\n\n- c"),
    ],
)
def test_a_list_begins_after_a_blank_line(text, page):
    assert site_pages.for_site(text, "README.md", PAGES, NAMES) == page


def test_a_page_has_the_name_of_its_line_in_the_nav():
    nav = [{"Start": "index.md"}, {"Data": [{"Every layout": "layouts.md"}]}, "other.md"]
    assert site_pages.titles(nav) == {"index.md": "Start", "layouts.md": "Every layout"}


def test_every_document_has_a_page_in_the_nav():
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:\n")[1]
    pages = set(re.findall(r": (\w+\.md)$", nav, re.MULTILINE))
    documents = {path.name for path in (ROOT / "docs").glob("*.md")}
    assert pages == documents | set(site_pages.OUTSIDE.values())
    assert all((ROOT / document).is_file() for document in site_pages.OUTSIDE)
