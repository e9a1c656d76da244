"""The README's program runs as it stands, and its commands are those that CI runs."""

import re
from pathlib import Path

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_program_in_the_readme_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (program,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    names: dict = {}
    exec(compile(program, "README.md", "exec"), names)
    assert names["chains"]["z"].shape == (64, 1000, 4, 2)
    assert float(names["vae"].prior.gap.detach()) != 2.0
    out = capsys.readouterr().out
    assert "Estimate(value=-" in out
    assert "train against test" in out


def test_the_two_commands_set_everything_up():
    for marker, end in (("compare", "probgen compare"), ("tests", "pytest")):
        (command,) = re.findall(rf"<!-- {marker} -->\n```sh\n(.*)\n```", README)
        assert command.startswith("python3 -m venv ")
        assert command.endswith(end)


def test_the_pages_that_are_linked_exist():
    root = Path(__file__).parents[1]
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (root / target).exists(), target
