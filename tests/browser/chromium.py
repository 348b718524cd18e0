"""A page in Chromium without a display, by the DevTools protocol over two pipes: no package is needed.

https://chromedevtools.github.io/devtools-protocol/
"""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
EXECUTABLE = next(filter(None, map(shutil.which, NAMES)), None)
"""The browser, None where none is installed."""

SECONDS = 60
"""Of patience with an answer, on a machine that is busy."""


class Browser:
    """Opens one page and listens to what it says and asks for.

    Args:
        folder: takes the profile.

    Attributes:
        events: what the browser has reported so far, such as requests and console messages.
    """

    def __init__(self, folder: Path):
        commands_out, self._commands = os.pipe()
        self._answers, answers_in = os.pipe()
        options = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-pipe")

        def as_three_and_four() -> None:
            os.dup2(commands_out, 63), os.dup2(answers_in, 64)  # the two may be 3 and 4 themselves
            os.dup2(63, 3), os.dup2(64, 4)

        self._process = subprocess.Popen(
            [str(EXECUTABLE), *options, f"--user-data-dir={folder / 'profile'}", "about:blank"],
            preexec_fn=as_three_and_four,
            pass_fds=(3, 4, commands_out, answers_in),
            env={**os.environ, "HOME": str(folder)},
            stderr=subprocess.DEVNULL,
        )
        os.close(commands_out), os.close(answers_in)
        os.set_blocking(self._answers, False)
        self.events: list[dict] = []
        self._rest, self._number, self._session = b"", 0, None
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> dict:
        """Sends a command and returns its result; events that come meanwhile are kept."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def open(self, path: Path, width: int, height: int) -> None:
        """Opens a file in a window of this size and waits until it is loaded."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.events.clear()
        self.send("Page.navigate", url=path.as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())

    def evaluate(self, expression: str) -> Any:
        """Returns the value of a JavaScript expression in the page."""
        result = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def said(self) -> list[dict]:
        """Returns messages of the console and of the log, errors of scripts, and refused requests."""
        names = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        return [event for event in self.events if event.get("method") in names]

    def requested(self) -> list[str]:
        """Returns the addresses that the page has asked for, those of data inside it left out."""
        requests = [event for event in self.events if event.get("method") == "Network.requestWillBeSent"]
        addresses = [event["params"]["request"]["url"] for event in requests]
        return [address for address in addresses if not address.startswith("data:")]

    def close(self) -> None:
        """Ends the browser."""
        self._process.terminate()
        self._process.wait(20)
        os.close(self._commands), os.close(self._answers)

    def _next(self) -> dict:
        end = time.monotonic() + SECONDS
        while b"\0" not in self._rest:
            try:
                self._rest += os.read(self._answers, 1 << 20)
            except BlockingIOError:
                assert time.monotonic() < end, f"{EXECUTABLE} does not answer"
                time.sleep(0.01)
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)
