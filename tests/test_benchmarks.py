"""What benchmarks take from this project is there: they are run by hand, and no other test imports them."""

import ast
import importlib
import importlib.util
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "benchmarks"


def defined(path):
    """The names at the top of a file, read and not run: what it needs may not be installed."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        else:
            names |= {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
    return names


def there(module, name):
    if module.startswith("tests.benchmarks."):
        return name in defined(FOLDER / f"{module.rpartition('.')[2]}.py")
    home = importlib.import_module(module)
    return hasattr(home, name) or importlib.util.find_spec(f"{module}.{name}") is not None


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_what_a_benchmark_imports_of_this_project_is_there(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module.partition(".")[0] in ("probgen", "tests"):
            for alias in node.names:
                assert there(node.module, alias.name), f"{node.module} has no {alias.name}"
