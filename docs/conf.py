"""The pages of docs/ as HTML: `python -m sphinx -W --keep-going -b html docs docs/_build/html`.

Needs the extra `docs`, and no network. The notebooks are copied from notebooks/, executed and cached.
"""

import os
from pathlib import Path

from neuroforge_jax import __version__

HERE = Path(__file__).parent

project = "NeuroForge JAX"
author = "the authors of NeuroForge JAX"
version = release = __version__
language = "en"

extensions = ["myst_nb", "sphinx.ext.autodoc"]
exclude_patterns = ["_build", "**/.ipynb_checkpoints"]

html_theme = "furo"
html_title = f"NeuroForge JAX {version}"
html_static_path = ["_static"]
html_css_files = ["transcripts.css"]
html_copy_source = False
html_show_copyright = False
html_show_sourcelink = False
pygments_style = "friendly"
pygments_dark_style = "monokai"

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

nb_execution_mode = "cache"
nb_execution_in_temp = True
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_merge_streams = True
# rich asks for ipywidgets there, which only a live notebook would use.
os.environ["PYTHONWARNINGS"] = "ignore:install"

autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
# The docstrings are Markdown: a name between single backticks is code.
default_role = "literal"
# --flag is two hyphens.
smartquotes = False


def copy_notebooks(source: Path, target: Path) -> None:
    """Copy what has changed, so that the cache of executed notebooks stays good; links get one folder longer."""
    target.mkdir(exist_ok=True)
    for path in source.glob("*.ipynb"):
        text = path.read_text(encoding="utf-8").replace("](../", "](../../")
        copy = target / path.name
        if not copy.exists() or copy.read_text(encoding="utf-8") != text:
            copy.write_text(text, encoding="utf-8")


copy_notebooks(HERE.parent / "notebooks", HERE / "notebooks")
