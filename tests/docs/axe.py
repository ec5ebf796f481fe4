"""axe-core, which finds what keeps people from reading a page, on every page of the built book in headless Chromium."""

import functools
import hashlib
import http.server
import json
import queue
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

HARNESS = Path(__file__).with_name("axe.html")
AXE = "axe-core@4.14.1"
AXE_SHA256 = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"
LIMIT = 900  # seconds for all pages


class Server(http.server.SimpleHTTPRequestHandler):
    """The book, the page that tests it, and axe-core; what the page sends goes into a queue."""

    def __init__(self, *words, found: queue.Queue, names: list[str], **more) -> None:
        self.found, self.names = found, names
        super().__init__(*words, **more)

    def do_GET(self):
        if self.path == "/pages.json":
            body = json.dumps(self.names).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        else:
            super().do_GET()

    def do_POST(self):
        self.found.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *words):
        pass


def chromium() -> str:
    """The path of a Chromium; skips the test where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    return found or pytest.skip("there is no Chromium on this machine")


def install_axe(folder: Path) -> Path:
    """axe.min.js of the pinned version, installed into a folder; skips the test where there is no npm."""
    npm = shutil.which("npm") or pytest.skip("there is no npm on this machine")
    line = [npm, "install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(folder), AXE]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    path = folder / "node_modules/axe-core/axe.min.js"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == AXE_SHA256
    return path


def run(book: Path, folder: Path) -> dict:
    """What axe-core finds on each page of the built book: {"pages": how many, "found": [...]}."""
    program = chromium()
    axe = install_axe(folder / "npm")
    (folder / "served").mkdir()
    (folder / "served/book").symlink_to(book)
    shutil.copy(axe, folder / "served")
    shutil.copy(HARNESS, folder / "served")
    names = sorted(path.relative_to(book).as_posix() for path in book.rglob("*.html"))
    names = [name for name in names if name not in ("index.html", "genindex.html")]  # no page, and an empty one
    found: queue.Queue = queue.Queue()
    handler = functools.partial(Server, directory=str(folder / "served"), found=found, names=names)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    line = [program, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    line += ["--remote-debugging-port=0", "--window-size=1300,1000", f"http://127.0.0.1:{server.server_port}/axe.html"]
    browser = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        return found.get(timeout=LIMIT)
    finally:
        browser.terminate()
        browser.wait()
        server.shutdown()
        server.server_close()
