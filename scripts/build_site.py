"""Build the documentation site and check that it works from a folder: ``make docs``.

Warnings of Sphinx are errors.  Every link within the site must have a target, and no page may
load anything from another address.
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from shared import takes_options

ROOT = Path(__file__).resolve().parents[1]
_LOADING = {"img": "src", "script": "src", "link": "href", "source": "srcset", "iframe": "src"}
"""Attribute of an element that names a resource which a browser loads at once."""
_STYLE_URL = re.compile(r"url\(\s*[\"']?([^\"')]+)|@import\s+[\"']([^\"']+)")


@dataclass(frozen=True, kw_only=True)
class SiteCommand:
    """Build the site, and check it."""

    out: Path = ROOT / "build" / "site"
    """Folder of the site."""


@dataclass
class Page(HTMLParser):
    """Links, loaded resources and anchors of a page."""

    links: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Make the parser."""
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the links, loads and anchors of an element."""
        values = {name: value for name, value in attrs if value}
        self.anchors.update(values[name] for name in ("id", "name") if name in values)
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if _LOADING.get(tag) in values:
            self.loaded.append(values[_LOADING[tag]])


def read_pages(site: Path) -> dict[Path, Page]:
    """Parse every page of a site."""
    pages = {}
    for path in sorted(site.rglob("*.html")):
        page = pages[path.resolve()] = Page()
        page.feed(path.read_text(encoding="utf-8"))
    return pages


def dead_links(site: Path) -> list[str]:
    """Return the links within the site without a target, one line each."""
    pages = read_pages(site)
    dead = []
    for path, page in pages.items():
        for target in [*page.links, *page.loaded]:
            scheme, host, name, _, anchor = urlsplit(target)
            if scheme or host:
                continue
            found = (path.parent / unquote(name)).resolve() if name else path
            lost = found in pages and anchor and unquote(anchor) not in pages[found].anchors
            if not found.is_file() or lost:
                dead.append(f"{path.relative_to(site.resolve())}: {target} does not exist")
    return dead


def outside_loads(site: Path) -> list[str]:
    """Return the resources that pages and styles load from other addresses, one line each."""
    loaded = {path: page.loaded for path, page in read_pages(site).items()}
    for path in sorted(site.resolve().rglob("*.css")):
        found = _STYLE_URL.findall(path.read_text(encoding="utf-8"))
        loaded[path] = [url or imported for url, imported in found]
    return [
        f"{path.relative_to(site.resolve())}: loads {target}"
        for path, targets in loaded.items()
        for target in targets
        if urlsplit(target).scheme not in ("", "data") or urlsplit(target).netloc
    ]


@takes_options(SiteCommand, "build_site.py")
def main(command: SiteCommand) -> int:
    """Build and check; return 0 if all is well."""
    words = [sys.executable, "-m", "sphinx", "-b", "html", "-E", "-W", "--keep-going", "-q"]
    built = subprocess.run([*words, str(ROOT / "docs"), str(command.out)], check=False)
    problems = [*dead_links(command.out), *outside_loads(command.out)]
    print(*problems, sep="\n", end="\n" if problems else "")
    if built.returncode or problems:
        return 1
    print(f"site: {command.out / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
