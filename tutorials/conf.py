"""The documentation site: ``sphinx-build -W -b html tutorials site``; the pages are MyST notebooks."""

import os
import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
os.environ["PYTHONWARNINGS"] = "ignore:IProgress not found"  # of tqdm, in the kernels: bars are text here

project = "probgen"
author = "The probgen developers"
project_copyright = "The probgen developers"
release = version = version_of("probgen")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "formulas",
    "progress_bars",
    "generated_pages",
]
exclude_patterns = ["README.md", "jupyter_execute", "**.ipynb_checkpoints"]

myst_enable_extensions = ["amsmath", "attrs_inline", "colon_fence", "deflist", "dollarmath"]
suppress_warnings = ["ref.python"]  # names that several classes have, in hints of types
nb_execution_mode = "cache"
nb_execution_timeout = 600
nb_execution_in_temp = True  # what a page writes is not left among the sources
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True  # what a cell prints is one block, however slowly it came
nb_code_prompt_show = "Show the solution"  # cells are folded in exercises alone
nb_code_prompt_hide = "Hide the solution"

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_math_renderer = "mathml"
html_theme = "sphinx_book_theme"
html_title = "probgen"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_theme_options = {
    "navbar_persistent": [],  # the search stands in the sidebar already
    "use_download_button": True,
    "show_navbar_depth": 1,
    "show_toc_level": 2,
}
