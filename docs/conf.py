"""How Sphinx builds the site from the pages of this folder: ``make docs``."""

import metarobot

project = "metarobot"
author = "the metarobot developers"
release = metarobot.__version__
extensions = ["myst_parser", "sphinx_copybutton"]
nitpicky = True
suppress_warnings = ["config.cache"]

# The anchors of the repository's own web view, for every heading that a page links to.
myst_heading_anchors = 4

html_theme = "furo"
html_title = "metarobot"
# The site is read from a folder as well, where a browser fetches no other page: no source, and no
# excerpt of the pages that a search finds.
html_copy_source = False
html_show_sourcelink = False
html_show_search_summary = False
html_show_copyright = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0b6e99", "color-brand-content": "#0b6e99"},
    "dark_css_variables": {"color-brand-primary": "#5ab8e6", "color-brand-content": "#5ab8e6"},
}
