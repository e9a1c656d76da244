"""What of the built site leads nowhere or is loaded from the net: ``python -m tests.site_links site``."""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """What a page has that links may lead to, and where its own links, pictures and scripts lead."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.leads: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for key, value in attrs:
            if value and key in ("id", "name"):
                self.names.add(value)
            elif value and key in ("href", "src"):
                self.leads.append(value)
                if key == "src" or (tag == "link" and dict(attrs).get("rel") == "stylesheet"):
                    self.loaded.append(value)


def broken(folder: Path) -> list[str]:
    """Return the links within a site that lead to no file of it, or to a place that its page has not.

    Links out of the site are left alone, but not scripts, pictures and styles from outside, without which a
    page is another one where there is no net. Left alone are also links to the top of a page, ``#``, and the
    templates in ``_static``, which a theme brings along.
    """
    folder = folder.resolve()
    paths = [path for path in sorted(folder.rglob("*.html")) if folder / "_static" not in path.parents]
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in paths}
    found = []
    for path, page in pages.items():
        for lead in page.leads:
            parts = urlsplit(lead)
            if (parts.scheme or parts.netloc) and parts.scheme != "data" and lead in page.loaded:
                found.append(f"{path.relative_to(folder)}: {lead}, which is loaded from the net")
            if parts.scheme or parts.netloc or lead == "#":
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            place = unquote(parts.fragment)
            if not target.is_file() or (place and target in pages and place not in pages[target].names):
                found.append(f"{path.relative_to(folder)}: {lead}")
    return found


if __name__ == "__main__":
    lost = broken(Path(sys.argv[1]))
    print("\n".join(lost) or "every link within the site leads somewhere, and nothing is loaded from outside")
    sys.exit(bool(lost))
