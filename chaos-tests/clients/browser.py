"""Debian's chromium through chromedriver, spoken to in the W3C WebDriver protocol: no library in between."""

import base64
import json
import shutil
import socket
import subprocess
import urllib.error
import urllib.request

from cluster import wait_for

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
PROGRAMS = ("chromium", "chromedriver")


def missing():
    """Why no browser can be driven here; empty if one can."""
    absent = [name for name in PROGRAMS if not shutil.which(name)]
    return f"not installed: {', '.join(absent)} (apt-get install chromium chromium-driver)" if absent else ""


class Browser:
    """Use as a context manager."""

    def __init__(self, width=1280, height=900, dark=False):
        self.size, self.dark = (width, height), dark

    def __enter__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.driver = subprocess.Popen(
            ["chromedriver", f"--port={port}", "--silent"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.base = f"http://127.0.0.1:{port}"
        try:
            wait_for(lambda: self.call("GET", "/status")["ready"], 20, "chromedriver")
            args = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
            args += [f"--window-size={self.size[0]},{self.size[1]}", "--no-first-run", "--disable-extensions"]
            if self.dark:
                args.append("--blink-settings=preferredColorScheme=0")
            options = {"binary": shutil.which("chromium"), "args": args}
            wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}}}
            self.base += f"/session/{self.call('POST', '/session', wanted)['sessionId']}"
        except BaseException:
            self.driver.kill()
            raise
        return self

    def __exit__(self, *_):
        try:
            self.call("DELETE", "")
        finally:
            self.driver.kill()
            self.driver.wait()

    def call(self, method, path, body=None):
        data = json.dumps(body or {}).encode() if method == "POST" else None
        request = urllib.request.Request(self.base + path, data, {"content-type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(json.load(error)["value"]["message"]) from None

    def go(self, address):
        self.call("POST", "/url", {"url": address})

    def find(self, selector, seconds=15):
        def look():
            found = self.call("POST", "/elements", {"using": "css selector", "value": selector})
            return found and found[0][ELEMENT]

        return wait_for(look, seconds, f"{selector} on the page")

    def click(self, selector):
        """The page draws itself anew every second: what was found may be another element by now."""

        def press():
            try:
                self.call("POST", f"/element/{self.find(selector)}/click")
            except AssertionError as error:
                if "stale element" in str(error):
                    return False
                raise
            return True

        wait_for(press, 15, f"a click on {selector}")

    def type(self, selector, text):
        element = self.find(selector)
        self.call("POST", f"/element/{element}/clear")
        self.call("POST", f"/element/{element}/value", {"text": text})

    def run(self, script, *args):
        return self.call("POST", "/execute/sync", {"script": script, "args": list(args)})

    def run_async(self, script, *args):
        """The script calls its last argument with the result."""
        return self.call("POST", "/execute/async", {"script": script, "args": list(args)})

    def keys(self, text):
        """Presses keys, wherever the focus is; those without a letter are those of WebDriver, Enter is \ue007."""
        actions = [{"type": kind, "value": key} for key in text for kind in ("keyDown", "keyUp")]
        self.call("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def text(self, selector="body"):
        return self.run("return document.querySelector(arguments[0])?.textContent ?? ''", selector)

    def see(self, text, selector="body", seconds=15):
        wait_for(lambda: text in self.text(selector), seconds, f"{text!r} in {selector}")

    def errors(self):
        """What the console complained of, but for answers that say no."""
        entries = self.call("POST", "/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] == "SEVERE" and "Failed to load resource" not in entry["message"]]

    def cdp(self, command, **arguments):
        """A command of Chrome's own protocol."""
        return self.call("POST", "/goog/cdp/execute", {"cmd": command, "params": arguments})

    def memory(self):
        """What the page holds once its garbage is collected: bytes of JavaScript, nodes of the document, listeners."""
        self.cdp("HeapProfiler.collectGarbage")
        self.cdp("Performance.enable")
        known = {metric["name"]: int(metric["value"]) for metric in self.cdp("Performance.getMetrics")["metrics"]}
        return {"heap": known["JSHeapUsedSize"], "nodes": known["Nodes"], "listeners": known["JSEventListeners"]}

    def resize(self, width, height):
        self.call("POST", "/window/rect", {"width": width, "height": height})

    def picture(self, path):
        path.write_bytes(base64.b64decode(self.call("GET", "/screenshot")))

    def log_in(self, user, password):
        self.type("input[name=user]", user)
        self.type("input[name=password]", password)
        self.click("#log-in")
