"""The API reference, in ``build/reference`` after this command from the root of the repository.

``python -m sphinx -W --keep-going -b html notebooks/reference build/reference``

The pages name packages; what stands under them is their ``__all__`` and the docstrings. Nothing is
fetched while it is built, and the built pages load nothing from a network.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import neoscope

project = "neoscope"
author = "the neoscope developers"
copyright = author
version = release = neoscope.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "public_names",
    "command_line",
    "notebook_list",
    "signatures",
    "docstrings",
]
exclude_patterns = ["static", "templates"]
templates_path = ["templates"]
myst_enable_extensions = ["colon_fence"]
# Quotes and the dashes of options are meant as they stand.
smartquotes = False
myst_heading_anchors = 3

autodoc_default_options = {
    "members": True,
    "show-inheritance": True,
    "member-order": "bysource",
    # Up to these; what other packages define is left out by `docstrings`.
    "inherited-members": "Module,BaseEstimator,Exception,Warning",
}
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_custom_sections = [("Example", "Example")]
python_maximum_signature_line_length = 80
python_use_unqualified_type_names = True
add_module_names = False
toc_object_entries_show_parents = "hide"

html_theme = "pydata_sphinx_theme"
html_title = "neoscope: API reference"
html_static_path = ["static"]
html_css_files = ["reference.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_sidebars = {"**": ["pages"]}
html_context = {"default_mode": "auto"}
html_theme_options = {
    "logo": {"text": "neoscope"},
    "navbar_center": [],
    "navbar_persistent": [],
    "navbar_end": ["search-button-field", "theme-switcher"],
    "article_header_start": [],
    "show_prev_next": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": [],
    "footer_end": [],
    "show_toc_level": 2,
}
# Names for types that keep their names in signatures; the page of words says what they stand for.
reference_types = ["Index", "Positions"]
