"""The results: the sections of RESULTS.md, sorted by the question that they answer."""

import re
from pathlib import Path

RESULTS = Path(__file__).parents[2] / "tests" / "benchmarks" / "RESULTS.md"

QUESTIONS = {
    "draws": (
        "Which methods draw what looks like the data?",
        ("compare ", "table ", "Judges of draws", "Gallery"),
    ),
    "exact": ("Are exact laws exact, and how fast are they?", ("exact sampling",)),
    "chains": ("How good are the Markov chains, and what does a draw cost?", ("Markov chains",)),
    "moments": (
        "Does moment matching hold its level, its power and its memory?",
        ("MMD", "Two-sample tests", "Moment-matching networks"),
    ),
    "steps": (
        "What does a step of training cost?",
        ("SVI step", "Two processes", "Before and after", "Contests: a step", "Sequences: a step"),
    ),
    "vaes": (
        "How far do VAEs get, and what keeps them from collapse?",
        ("VAEs on MNIST", "Likelihoods", "Posterior collapse"),
    ),
    "codes": (
        "What are codes worth?",
        (
            "Autoencoders",
            "Codes drawn",
            "Codes of",
            "VQ-VAE",
            "Identifiability",
            "Disentanglement",
            "Few labels",
            "Convolutions",
            "Classes without labels",
            "Clusters by contest",
            "FactorVAE",
        ),
    ),
    "contests": (
        "What do contests reach?",
        ("Contests", "Labels by projection", "Draws refined", "Parzen", "Stacked"),
    ),
    "sequences": (
        "Sequences, text, video, graphs",
        ("Chorales", "Text", "Shakespeare", "Video", "Moving", "Graph"),
    ),
    "anomalies": ("What finds anomalies?", ("Anomalies", "Contamination")),
    "applications": ("Applications", ("Application",)),
    "package": ("What does the package ask of a machine?", ("Package",)),
}
"""Questions, and how the titles of their sections begin."""


WIDE = "---\nhtml_theme.sidebar_secondary.remove: true\n---\n\n"
"""Before a page whose tables or cards take all of its width."""

SECTIONS = "```{contents}\n:local:\n:backlinks: none\n:depth: 1\n```\n\n"
"""The sections of a page, in the page."""


def pages() -> dict[str, str]:
    """Return the pages by name, the contents first; a section that answers no question is an error."""
    written = RESULTS.read_text(encoding="utf-8")
    before, *sections = re.split(r"^## ", written, flags=re.MULTILINE)
    found: dict[str, list[str]] = {name: [] for name in QUESTIONS}
    for section in sections:
        title = section.partition("\n")[0]
        found[question(title)].append("## " + section)
    about = before.partition("\n")[2].strip()
    lines = ["# Results", "", about, ""]
    lines += [f"- [{QUESTIONS[name][0]}](results/{name}.md)" for name, own in found.items() if own]
    listed = "\n".join(f"results/{name}" for name, own in found.items() if own)
    contents = "\n".join([*lines, "", "```{toctree}", ":hidden:", "", listed, "```", ""])
    return {"results": contents} | {
        f"results/{name}": f"{WIDE}# {QUESTIONS[name][0]}\n\n{SECTIONS}" + images_from_here("".join(own))
        for name, own in found.items()
        if own
    }


def question(title: str) -> str:
    """Return the name of the question that a section answers, by how its title begins."""
    for name, (_, beginnings) in QUESTIONS.items():
        if title.startswith(beginnings):
            return name
    raise ValueError(f"the section {title!r} of RESULTS.md should answer a question of {Path(__file__).name}")


def images_from_here(text: str) -> str:
    """Return Markdown whose pictures, beside RESULTS.md, are found from the pages of results."""
    return re.sub(r"!\[(.*?)\]\((?!http)(.*?)\)", r"![\1](../../../tests/benchmarks/\2)", text)
