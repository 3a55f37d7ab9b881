"""Settings of the documentation: ``python -m sphinx -W --keep-going docs docs/_build``, which needs no network."""

from __future__ import annotations

import sys
from pathlib import Path

import dbutterfly

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_extensions"), str(HERE.parent)]

project = "dbutterfly"
author = "The dbutterfly developers"
copyright = "The dbutterfly developers, BSD-3-Clause"
version = release = dbutterfly.__version__

extensions = [
    "sphinx.ext.autodoc",
    "numpydoc",
    "myst_parser",
    "sphinx_design",
    "generated_parts",
    "offline_check",
]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "_extensions"]
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(numpy|scipy|dask|distributed|zarr)\b.*"),  # other projects, whose inventories are on a network
    (r"py:.*", r"(dbutterfly\.(execution|factorization|matrices|planning|structure)\.[\w.]*|guarantee_of)"),  # no page
]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_typehints = "none"  # numpydoc's sections have the types
autodoc_member_order = "bysource"
autosummary_generate = False
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

smartquotes = False  # options begin with two hyphens

html_theme = "pydata_sphinx_theme"
html_title = "dbutterfly"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "dbutterfly"},
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "header_links_before_dropdown": 6,
    "navbar_persistent": ["search-button"],  # the other button has a label that is not what it shows
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
}
html_sidebars = {"start": [], "benchmarks": [], "changelog": []}
pygments_style = "a11y-high-contrast-light"
