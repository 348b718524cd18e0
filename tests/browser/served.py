"""`segkit annotate` as a process of its own, and its page in Chromium, driven by Playwright."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import cv2
import numpy as np

SECONDS = 60
"""Of patience, on a machine that is busy."""


class Served:
    """Runs `segkit annotate` until `end` or `kill`.

    Args:
        folder: of the images.
        words: further words of the command.

    Attributes:
        address: of the page, with its token.
        said: what the server has printed.
    """

    def __init__(self, folder: Path, *words: str):
        command = [sys.executable, "-m", "segkit.cli.main", "annotate", str(folder), "--no-open", *words]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
        self.said, found = "", None
        while found is None:
            line = self.process.stdout.readline()
            assert line, f"the server ended: {self.said}"
            self.said += line
            found = re.search(r"http://\S+/[0-9a-f]{32}/", self.said)
        self.address = found[0]
        self._wait()

    def _wait(self) -> None:
        end = time.monotonic() + SECONDS
        while True:
            try:
                return self.get("project") and None
            except OSError:
                assert time.monotonic() < end and self.process.poll() is None, "the server does not answer"
                time.sleep(0.05)

    def get(self, path: str) -> Any:
        """Returns the JSON of an address below api/."""
        with urllib.request.urlopen(f"{self.address}api/{path}", timeout=SECONDS) as answer:
            return json.loads(answer.read())

    def ids(self, image: dict) -> np.ndarray:
        """Returns the object of each pixel, int [H,W], from the tiles of level 0."""
        height, width = image["size"]
        found = np.zeros((height, width), int)
        for row in range(-(-height // image["tile"])):
            for column in range(-(-width // image["tile"])):
                path = f"images/{image['id']}/labels/0/{column}/{row}?v={image['version']}"
                with urllib.request.urlopen(f"{self.address}api/{path}", timeout=SECONDS) as answer:
                    content = np.frombuffer(answer.read(), np.uint8)
                tile = cv2.imdecode(content, cv2.IMREAD_COLOR_RGB).astype(int)
                y, x = row * image["tile"], column * image["tile"]
                found[y : y + tile.shape[0], x : x + tile.shape[1]] = tile[..., 0] + 256 * tile[..., 1]
        return found

    def kill(self) -> None:
        """Ends the process as a power cut does."""
        self.process.send_signal(signal.SIGKILL)
        self._ended()

    def end(self) -> None:
        """Ends the process as Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)
        self._ended()

    def _ended(self) -> None:
        self.process.wait(SECONDS)
        self.process.stdout.close()


class Annotator:
    """A tab with the page, and what a test asks it.

    Args:
        page: a page of Playwright.
    """

    def __init__(self, page: Any):
        self.page = page
        self.said: list[str] = []
        page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.said.append(f"error: {error}"))

    def open(self, address: str) -> None:
        """Opens an address and waits until everything is drawn."""
        self.page.goto(address)
        self.settle()

    def settle(self) -> None:
        """Waits until everything is sent, read and drawn (the page's policy forbids Playwright's own way to wait)."""
        self.wait("Boolean(window.segkit?.isSettled())")

    def wait(self, expression: str) -> None:
        """Waits until an expression is true."""
        end = time.monotonic() + SECONDS
        while not self.page.evaluate(expression):
            assert time.monotonic() < end, f"{expression} stays false; {self.said}"
            time.sleep(0.02)

    def keys(self, *names: str) -> None:
        """Presses keys one after another, "Enter" or "Shift+Enter" or "ArrowDown*12"."""
        for name in names:
            key, _, count = name.partition("*")
            for _ in range(int(count or 1)):
                self.page.keyboard.press(key)
        self.settle()

    @property
    def image(self) -> dict:
        """The image that is open, as the page has it."""
        return self.page.evaluate("segkit.store.image")

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Returns the place in the window of a position in the image."""
        left, top = self.page.evaluate(f"segkit.port.toScreen({x}, {y})")
        box = self.page.locator("#marks").bounding_box()
        return box["x"] + left, box["y"] + top

    def click(self, x: float, y: float, button: str = "left") -> None:
        """Clicks a position of the image and waits for what comes of it."""
        self.page.mouse.click(*self.at(x, y), button=button)
        self.settle()

    def stroke(self, *points: tuple[float, float]) -> None:
        """Draws with the left button down."""
        self.page.mouse.move(*self.at(*points[0]))
        self.page.mouse.down()
        for point in points[1:]:
            self.page.mouse.move(*self.at(*point), steps=6)
        self.page.mouse.up()
        self.settle()

    def look_at(self, x: float, y: float, zoom: float) -> None:
        """Brings a position of the image into the middle."""
        self.page.evaluate(f"segkit.lookAt({x}, {y}, {zoom})")
        self.settle()

    def drawn(self) -> tuple[np.ndarray, np.ndarray]:
        """Reads the layer of labels at the middle of each image pixel that is wholly in sight.

        Returns:
            whether something is drawn there, bool [n]; and the n pixels, int [n,2] as (y, x).
        """
        script = """(() => {
          const { port, store } = segkit, canvas = document.getElementById("marks");
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          const [height, width] = store.image.size, found = [];
          const [bottom, right] = [port.y + port.height / port.zoom, port.x + port.width / port.zoom];
          for (let y = Math.max(0, Math.ceil(port.y)); y < Math.min(height, bottom - 1); y++)
            for (let x = Math.max(0, Math.ceil(port.x)); x < Math.min(width, right - 1); x++) {
              const [sx, sy] = port.toScreen(x + 0.5, y + 0.5);
              found.push(y, x, data[4 * (Math.floor(sy) * canvas.width + Math.floor(sx)) + 3]);
            }
          return JSON.stringify(found);  // as text: Playwright takes an array apart value by value
        })()"""
        found = np.array(json.loads(self.page.evaluate(script))).reshape(-1, 3)
        return found[:, 2] > 0, found[:, :2]

    def screenshot(self) -> np.ndarray:
        """Returns what the window shows, RGB [H,W,3]."""
        content = np.frombuffer(self.page.screenshot(), np.uint8)
        return cv2.imdecode(content, cv2.IMREAD_COLOR_RGB)


def photographs(folder: Path, names: tuple[str, ...] = ("a", "b", "c"), size: tuple[int, int] = (240, 320)) -> Path:
    """Makes a folder of images with a bright disc each, from a fixed seed."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in names:
        image = rng.integers(40, 90, (*size, 3), dtype=np.uint8)
        cv2.circle(image, (size[1] // 2, size[0] // 2), 50, (200, 180, 60), -1)
        cv2.imwrite(str(folder / f"{name}.png"), image)
    return folder


def turned_photograph(path: Path) -> None:
    """Writes a JPEG of 60 rows and 100 columns that its EXIF data turns to 100 rows; its first row is red as stored."""
    from PIL import Image

    pixels = np.full((60, 100, 3), 90, np.uint8)
    pixels[:20] = (230, 20, 20)
    exif = Image.Exif()
    exif[274] = 6  # turned by 90 degrees to the right: the upper rows come to lie at the right
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "JPEG", quality=95, exif=exif)
    path.write_bytes(content.getvalue())


def many(folder: Path, count: int) -> Path:
    """Makes `count` names of one small image."""
    photographs(folder, ("0000",), (24, 32))
    first = folder / "0000.png"
    for number in range(1, count):
        try:
            os.link(first, folder / f"{number:04}.png")
        except OSError:
            shutil.copy(first, folder / f"{number:04}.png")
    return folder
