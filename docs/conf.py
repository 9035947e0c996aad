"""How Sphinx builds the site from the pages of this folder: ``make docs``."""

import re
import tomllib
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import metarobot

project = "metarobot"
author = "the metarobot developers"
release = metarobot.__version__
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]

# The API reference comes from the docstrings.  They hold names and formulas in single backticks.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_maximum_signature_line_length = 80
python_use_unqualified_type_names = True

# The anchors of the repository's own web view, for every heading that a page links to.
myst_heading_anchors = 4
myst_enable_extensions = ["attrs_block"]  # {.cards} before a list

# The notebook runs in every build, elsewhere: what it writes is not for this folder.
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_merge_streams = True

html_theme = "furo"
pygments_dark_style = "github-dark"
html_title = "metarobot"
templates_path = ["_templates"]
html_logo = html_favicon = "_static/logo.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["tables.js"]
# The site is read from a folder as well, where a browser fetches no other page: no source, and no
# excerpt of the pages that a search finds.
html_use_index = False
html_domain_indices = False
html_copy_source = False
html_show_sourcelink = False
html_show_search_summary = False
html_show_copyright = False
_urls = tomllib.loads(Path("../pyproject.toml").read_text())["project"].get("urls", {})
html_context = {"repository": _urls.get("Repository") or _urls.get("Source")}
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0b6e99", "color-brand-content": "#0b6e99"},
    "dark_css_variables": {"color-brand-primary": "#5ab8e6", "color-brand-content": "#5ab8e6"},
}

_COLON = "\N{RATIO}"


def hide_colons(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Keep napoleon from reading "K, blocks: none" as a type and its meaning: types are annotated.

    It looks for one in the first line of an attribute, and of what a function returns.
    """
    for index, line in enumerate(lines):
        begins = what in ("attribute", "property") if index == 0 else lines[index - 1] == "Returns:"
        if begins:
            lines[index] = line.replace(":", _COLON)


def show_colons(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Undo `hide_colons`, after napoleon."""
    lines[:] = [line.replace(_COLON, ":") for line in lines]


def shorten(
    app: Any, what: str, name: str, obj: Any, options: Any, signature: str, returned: str
) -> tuple[str, None] | None:
    """Leave out what a signature repeats, the fields of a dataclass, or does not tell."""
    tells_nothing = signature == "(*args, **kwargs)"
    return ("", None) if what == "class" and (is_dataclass(obj) or tells_nothing) else None


def link_to_files(app: Any, name: str, source: list[str]) -> None:
    """Let a link to a Markdown file outside this folder, which is no page, lead to the file."""
    outside = re.escape("../" * (name.count("/") + 1))
    source[0] = re.sub(rf"\]\(({outside}[^)#]+\.md)\)", r"](path:\1)", source[0])


def mend_back_links(
    app: Any, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Lead [docs] on a page of source to the name that the reference has for the object.

    viewcode takes one module for all objects of a file; this package documents some by the module
    that exports them, and some by their own.
    """
    known = app.env.get_domain("py").objects

    def mended(link: re.Match[str]) -> str:
        name, start, target = link.groups()
        ending = f"/{target}"
        found = [
            entry.node_id
            for full, entry in known.items()
            if f".{full}".endswith(f".{name}") and ending.endswith(f"/{entry.docname}.html")
        ]
        return f'id="{name}">{start}{target}#{found[0]}"' if found else link[0]

    if page.startswith("_modules/") and "body" in context:
        pattern = r'id="([^"]+)">(\s*<a class="viewcode-back" href=")([^"#]+)#[^"]+"'
        context["body"] = re.sub(pattern, mended, context["body"])


def setup(app: Any) -> None:
    """Connect what is above; napoleon has priority 500."""
    app.connect("source-read", link_to_files)
    app.connect("autodoc-process-docstring", hide_colons, priority=400)
    app.connect("autodoc-process-docstring", show_colons, priority=600)
    app.connect("autodoc-process-signature", shorten)
    app.connect("html-page-context", mend_back_links)
