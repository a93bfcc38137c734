"""Settings of the documentation: `make docs` builds it into docs/_build/html."""

from importlib.metadata import version as installed
from typing import Any

project = "MSCL Pipeline"
author = "the authors of MSCL Pipeline"
release = version = installed("mscl-pipeline")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_show_copyright = False  # the licence is in the repository
html_title = f"MSCL Pipeline {release}"
myst_heading_anchors = 3
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
add_module_names = False
# pydantic's own members say nothing about our settings.
autodoc_default_options = {"members": True, "undoc-members": True, "exclude-members": "model_config, model_post_init"}


def setup(app: Any) -> None:
    """Keep Napoleon away from attributes: of `words: more` it makes type and text, and ours are sentences."""
    kept: dict[str, list[str]] = {}

    def keep(_app: Any, what: str, name: str, _object: Any, _options: Any, lines: list[str]) -> None:
        if what in ("attribute", "property"):
            kept[name] = list(lines)

    def bring_back(_app: Any, _what: str, name: str, _object: Any, _options: Any, lines: list[str]) -> None:
        if name in kept:
            lines[:] = kept.pop(name)

    # Napoleon comes between: at 500.
    app.connect("autodoc-process-docstring", keep, priority=400)
    app.connect("autodoc-process-docstring", bring_back, priority=600)
