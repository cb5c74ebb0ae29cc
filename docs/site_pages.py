"""The site's pages, made of documents that are written to be read in a checkout; see mkdocs.yml.

- Documents outside docs/, such as README.md, become pages.
- A link leads to the page of its document. A file that has no page, such as a config, is named
  without a link.
- `docs/NAME.md` in the text becomes a link too, with the page's name in the nav.
- A fence with a file's name and options (data/README.md) gets them as its title.
- A list gets the blank line before it that Python-Markdown needs, and GitHub does not.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
# Document outside docs/ -> page of the site.
OUTSIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "data/README.md": "layouts.md",
    "kaggle/README.md": "notebooks.md",
}
_FENCE = re.compile(r"^( *)(```+)(\w*) ?(.*)$")
_ITEM = re.compile(r"[-*] |\d+\. ")
_DOCUMENT = r"(?:(?:docs|data|kaggle)/\w+\.md|CONTRIBUTING\.md|CHANGELOG\.md)"
_REFERENCE = re.compile(
    rf"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)"
    rf"|`(?P<code>[^`]+)`|(?<![\w/.-])(?P<plain>{_DOCUMENT})(?![\w/])"
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the documents outside docs/."""
    from mkdocs.structure.files import File

    for document, page in OUTSIDE.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / document)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The text of a page, from that of its document."""
    documents = {name: document for document, name in OUTSIDE.items()}
    here = page.file.src_uri
    pages = {f"docs/{file.src_uri}": file.src_uri for file in files}
    pages = {
        document: name
        for document, name in pages.items()
        if name not in documents and not name.endswith(".py")
    }
    document = documents.get(here, f"docs/{here}")
    return for_site(markdown, document, pages | OUTSIDE, titles(config.nav))


def titles(nav: object) -> dict[str, str]:
    """Page -> its name in the nav."""
    found: dict[str, str] = {}
    for entry in nav if isinstance(nav, list) else []:
        for name, content in entry.items() if isinstance(entry, dict) else ():
            found |= {content: name} if isinstance(content, str) else titles(content)
    return found


def for_site(markdown: str, document: str, pages: dict[str, str], names: dict[str, str]) -> str:
    """Rewrites fences and links of a document.

    Args:
        markdown: its text.
        document: its path in a checkout.
        pages: path in a checkout -> page or picture of the site.
        names: page -> the text of a link to it.
    """
    here = pages[document]

    def rewrite(match: re.Match[str]) -> str:
        if match["target"]:
            return _link(match, document, here, pages)
        path = match["plain"] or match["code"]
        if path not in pages or pages[path] == here or not path.endswith(".md"):
            return match[0]
        name = names.get(pages[path], path)
        return f"[{name}]({posixpath.relpath(pages[path], posixpath.dirname(here) or '.')})"

    lines: list[str] = []
    fence = block = ""  # what closes the open fence; the first line since the last blank one
    for line in markdown.split("\n"):
        match = _FENCE.match(line)
        if fence:
            fence = "" if match and match[2] == fence else fence
        elif match:
            fence = match[2]
            title = f' title="{match[4]}"' if match[4] else ""
            language = "json" if match[3] == "jsonl" else match[3]  # for the colours
            line = f"{match[1]}{match[2]}{language}{title}"
        else:
            if block and _ITEM.match(line) and not _ITEM.match(block):
                lines.append("")
                block = line
            line = _REFERENCE.sub(rewrite, line)
        block = (block or line) if line.strip() else ""
        lines.append(line)
    return "\n".join(lines)


def _link(match: re.Match[str], document: str, here: str, pages: dict[str, str]) -> str:
    """A link or picture, with the target that it has on the site."""
    target, _, anchor = match["target"].partition("#")
    if "://" in target or not target:
        return match[0]
    path = posixpath.normpath(posixpath.join(posixpath.dirname(document), target))
    if path not in pages:
        # Of a file that does not exist the link stays, so that a strict build refuses it.
        return match["text"] if (ROOT / path).exists() else match[0]
    page = posixpath.relpath(pages[path], posixpath.dirname(here) or ".")
    return f"{match['image']}[{match['text']}]({page}{'#' if anchor else ''}{anchor})"
