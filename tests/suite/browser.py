"""Drives a headless Chromium through its WebDriver for the tests of pages: a JSON command a line in, a JSON reply a line out.

Needs Chromium and `chromedriver` in the path, and the folder of a package that has `axe.min.js`. Ends when its stdin is
closed, and ends the browser then.

Commands: {"open": URL, "width": PIXELS, "height": PIXELS, "dark": BOOL, "print": BOOL}, {"script": TEXT},
{"axe": true}, {"picture": FILE}, {"log": true}, {"cdp": COMMAND, "params": {..}}, {"keys": [KEY, ..]} with characters and
names such as "Enter", {"tab": "new"} for a further tab, {"tab": HANDLE} to go to one, {"close": true} to close the tab.
"""

import base64
import json
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ARGUMENTS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--force-device-scale-factor=1",
]
KEYS = {
    "Backspace": "\ue003", "Tab": "\ue004", "Enter": "\ue007", "Shift": "\ue008", "Control": "\ue009", "Escape": "\ue00c",
    "ArrowLeft": "\ue012", "ArrowUp": "\ue013", "ArrowRight": "\ue014", "ArrowDown": "\ue015", "Delete": "\ue017",
}
RULES = """
const done = arguments[arguments.length - 1];
axe.run({ resultTypes: ["violations"] }).then((found) => done(found.violations.map(({ id, impact, help, nodes }) =>
    ({ id, impact, help, nodes: nodes.slice(0, 5).map((node) => node.html.slice(0, 200) + " " + node.failureSummary) }))),
    (error) => done([{ id: "axe", impact: "critical", help: String(error), nodes: [] }]));
"""


class Browser:
    def __init__(self, axe):
        self.axe = axe
        binary = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
        self.driver = subprocess.Popen(["chromedriver", "--port=0"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        for line in self.driver.stdout:
            if "started successfully on port" in line:
                port = int(line.split("on port")[1].strip(" .\n"))
                break
        else:
            raise SystemExit("chromedriver did not start")
        self.address = f"http://127.0.0.1:{port}/session"
        wanted = {
            "goog:chromeOptions": {"args": ARGUMENTS, "binary": binary},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
            "timeouts": {"script": 120_000, "pageLoad": 120_000},
            "unhandledPromptBehavior": "ignore",
        }
        session = self.post("", {"capabilities": {"alwaysMatch": wanted}})
        self.address += "/" + session["sessionId"]

    def post(self, path, body):
        request = urllib.request.Request(self.address + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=150) as reply:
                return json.load(reply)["value"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(json.load(error)["value"]["message"].splitlines()[0]) from error

    def cdp(self, command, **params):
        return self.post("/goog/cdp/execute", {"cmd": command, "params": params})

    def open(self, url, width, height, dark, is_print):
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.cdp("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.cdp("Emulation.setEmulatedMedia", media="print" if is_print else "screen", features=[scheme])
        self.post("/url", {"url": "about:blank"})
        self.log()
        started = time.monotonic()
        self.post("/url", {"url": url})
        # The page is there when it is drawn.
        self.post("/execute/async", {"script": "const done = arguments[0]; requestAnimationFrame(() => setTimeout(done))", "args": []})
        return {"ms": (time.monotonic() - started) * 1000, **self.log()}

    def log(self):
        """The console and the addresses that were asked for, since the last time."""
        console = [f"{line['level']} {line['message']}" for line in self.post("/se/log", {"type": "browser"})]
        messages = [json.loads(line["message"])["message"] for line in self.post("/se/log", {"type": "performance"})]
        sent = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        return {"console": console, "requests": [params["request"]["url"] for params in sent]}

    def rules(self):
        self.cdp("Runtime.evaluate", expression=self.axe)
        return self.post("/execute/async", {"script": RULES, "args": []})

    def keys(self, names):
        """Presses keys one after the other; `Control+z` holds the first one down."""
        steps = []
        for name in names:
            keys = [KEYS.get(key, key) for key in (name.split("+") if len(name) > 1 else [name])]
            steps += [{"type": "keyDown", "value": key} for key in keys]
            steps += [{"type": "keyUp", "value": key} for key in reversed(keys)]
        self.post("/actions", {"actions": [{"type": "key", "id": "keys", "actions": steps}]})

    def tab(self, handle):
        handle = self.post("/window/new", {"type": "tab"})["handle"] if handle == "new" else handle
        self.post("/window", {"handle": handle})
        return handle

    def picture(self, file):
        size = self.cdp("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 16_000), "scale": 1}
        data = self.cdp("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)["data"]
        Path(file).write_bytes(base64.b64decode(data))

    def do(self, command):
        match command:
            case {"open": url}:
                return self.open(url, command["width"], command["height"], command["dark"], command["print"])
            case {"script": script}:
                return self.post("/execute/sync", {"script": script, "args": []})
            case {"axe": _}:
                return self.rules()
            case {"picture": file}:
                return self.picture(file)
            case {"log": _}:
                return self.log()
            case {"keys": names}:
                return self.keys(names)
            case {"tab": handle}:
                return self.tab(handle)
            case {"close": _}:
                request = urllib.request.Request(self.address + "/window", method="DELETE")
                return json.load(urllib.request.urlopen(request, timeout=60))["value"]
            case {"cdp": name}:
                return self.cdp(name, **command.get("params", {}))

    def close(self):
        try:
            urllib.request.urlopen(urllib.request.Request(self.address, method="DELETE"), timeout=10).close()
        finally:
            self.driver.terminate()


def main():
    axe = next(Path(sys.prefix).glob("lib/python*/site-packages/*/axe.min.js")).read_text(encoding="utf-8")
    browser = Browser(axe)
    try:
        print(json.dumps({"ready": True}), flush=True)
        for line in sys.stdin:
            try:
                reply = {"value": browser.do(json.loads(line))}
            except Exception as error:
                reply = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(reply), flush=True)
    finally:
        browser.close()


if __name__ == "__main__":
    main()
