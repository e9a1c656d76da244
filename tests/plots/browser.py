"""A headless browser for the pages to play with: Debian's chromium, steered by selenium."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

needs_browser = pytest.mark.skipif(
    not (CHROMIUM and DRIVER),
    reason="there is no chromium with its chromedriver: apt-get install chromium-driver",
)


class Browser:
    """An open window, in which pages from files are shown."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, path: Path, *, width: int = 1280, height: int = 1000, dark: bool = False) -> None:
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.get(path.resolve().as_uri())

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def key(self, element: str, key: str) -> None:
        self.run(
            "document.getElementById(arguments[0])"
            ".dispatchEvent(new KeyboardEvent('keydown', {key: arguments[1]}))",
            element,
            key,
        )

    def move(self, element: str, x: float, y: float) -> None:
        """Move the mouse to a place on an element, in pixels from its left upper corner."""
        box = self.run(
            "const e = document.getElementById(arguments[0]); e.scrollIntoView({block: 'center'});"
            "const b = e.getBoundingClientRect(); return [b.left, b.top];",
            element,
        )
        where = {"type": "mouseMoved", "x": box[0] + x, "y": box[1] + y}
        self.driver.execute_cdp_cmd("Input.dispatchMouseEvent", where)

    def touch(self, element: str, x: float, y: float) -> None:
        """Put a finger on a place of an element, and lift it."""
        box = self.run(
            "const e = document.getElementById(arguments[0]); e.scrollIntoView({block: 'center'});"
            "const b = e.getBoundingClientRect(); return [b.left, b.top];",
            element,
        )
        for kind, points in (("touchStart", [{"x": box[0] + x, "y": box[1] + y}]), ("touchEnd", [])):
            self.driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    def fits(self) -> bool:
        """Say whether the page is no wider than the window."""
        return self.run("return document.documentElement.scrollWidth <= window.innerWidth")

    def background(self) -> int:
        """Return how bright the page's ground is, from 0 to 255."""
        colour = self.run("return getComputedStyle(document.body).backgroundColor")
        return max(int(part) for part in re.findall(r"\d+", colour)[:3])

    def click(self, element: str) -> None:
        self.driver.find_element("id", element).click()

    def text(self, element: str) -> str:
        return self.run("return document.getElementById(arguments[0]).textContent", element)

    def picture(self, element: str) -> np.ndarray:
        """Return a canvas, (height, width, 4), in levels 0 to 255."""
        png = matplotlib.image.imread(io.BytesIO(base64.b64decode(self.drawn(element).partition(",")[2])))
        return np.rint(255 * png).astype(int)

    def drawn(self, element: str) -> str:
        """Return a canvas as it is, to compare with another."""
        return self.run("return document.getElementById(arguments[0]).toDataURL('image/png')", element)

    def grey(self, element: str) -> np.ndarray:
        """Return a canvas in grey, (height, width)."""
        return self.picture(element)[..., 0]

    def complaints(self) -> list[str]:
        """Return what the page has written to the console as an error or warning."""
        return [json.dumps(entry) for entry in self.driver.get_log("browser")]

    def screenshot(self, path: Path) -> None:
        shot = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
        path.write_bytes(base64.b64decode(shot["data"]))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A browser without a screen, one for all tests."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for option in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield Browser(driver)
    driver.quit()
