"""Which servers answer, in words that name nobody: no proxy, no password, no path of this machine.

Proxies are those of the standard variables (HTTPS_PROXY, HTTP_PROXY, NO_PROXY) and of the system's settings.
"""

from __future__ import annotations

import http.client
import os
import re
import socket
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from urllib.parse import urlsplit

from pixi_workspace.pypi_index import DEFAULT_INDEX
from workshop.doctor.checkout import LIGHT, Checkout
from workshop.doctor.row import PIXI, PYTHON, Row
from workshop.support.hardware import printable

# The registry of the image that exercise 5 builds upon; its API answers 401 to those who have not logged in.
CONTAINER_REGISTRY = "https://ghcr.io/v2/"


@dataclass(frozen=True)
class Server:
    """A server to ask. needed: the routes that need it."""

    what: str
    url: str
    needed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reached:
    """answers: True, False, or None where it could not be asked. words: how, or why not. tls: the certificate's fault."""

    answers: bool | None
    words: str
    tls: bool = False


def servers(here: Checkout) -> list[Server]:
    """The servers to ask. None is needed for what is installed already."""
    channel = () if here.has_environment(LIGHT) else (PIXI,)
    package = () if here.has_packages() else (PYTHON,)
    index = os.environ.get("PIP_INDEX_URL", "").strip() or DEFAULT_INDEX
    return [
        *(Server("conda channel", url, channel) for url in here.channels),
        *(Server("wheel index", url) for url in here.indexes),
        Server("Python packages", index, package),
        Server("container registry", CONTAINER_REGISTRY),
    ]


def row(server: Server, found: Reached) -> Row:
    """The line about a server."""
    next_step = ""
    if found.tls:
        next_step = "set SSL_CERT_FILE to your organisation's certificates (Pixi reads it, too)"
    elif found.answers is False:
        next_step = "go online, have this server let through, or set HTTPS_PROXY to your proxy"
    return Row(
        group="network",
        what=server.what,
        good=found.answers,
        found=f"{printable(host_of(server.url))}: {found.words}",
        next_step=next_step,
        needed=server.needed,
    )


class _Stay(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer; the server that it names is not asked."""

    def redirect_request(self, *_: object) -> None:
        return None


def reach(url: str, seconds: float) -> Reached:
    """Whether the server of `url` answers; any HTTP status is an answer (401 says: log in). Raises nothing.

    seconds: of silence, for each step of the connection. Looking up a name in DNS may take longer, and so may a server
    that sends a byte at a time: ask in a thread with a limit of its own (`timeouts.start_in_thread`).
    """
    if not re.match(r"https?://\w", url) or host_of(url) == "?":
        return Reached(None, "not asked: no address of the web")
    through = proxy_of(url)
    if through and through.startswith("socks"):
        return Reached(None, "not asked: the proxy is a SOCKS proxy, which this check does not speak to")
    how = " through the proxy" if through else ""
    request = urllib.request.Request(url, headers={"User-Agent": "workshop-doctor"})
    try:
        with urllib.request.build_opener(_Stay).open(request, timeout=seconds) as response:
            return Reached(True, f"answers{how} (HTTP {response.status})")
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.client.PROXY_AUTHENTICATION_REQUIRED:
            return Reached(False, "the proxy asks for a name and a password (HTTP 407)")
        return Reached(True, f"answers{how} (HTTP {error.code})")
    except Exception as error:  # a proxy may say anything, and its address may be nonsense
        reason = getattr(error, "reason", error)
        words, tls = _why(reason if isinstance(reason, Exception) else error, seconds, bool(through))
        return Reached(False, words + how, tls)


def _why(error: Exception, seconds: float, proxy: bool) -> tuple[str, bool]:
    """What went wrong, in words, and whether it was TLS. The texts of the errors stay out: they may name a proxy."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            "its certificate is not trusted here: something on the way opens TLS (a company's proxy, a virus "
            "scanner), or this machine's list of authorities is old",
            True,
        )
    if isinstance(error, ssl.SSLError):
        return "no TLS: what answers is not the server (a login page of the network, a proxy that breaks TLS)", True
    if isinstance(error, TimeoutError):
        return f"no answer within {seconds:g} s (a firewall that drops what it does not let through?)", False
    if isinstance(error, socket.gaierror):
        return f"no address for {'the proxy' if proxy else 'this name'} in DNS", False
    if status := re.match(r"Tunnel connection failed: (\d{3})", str(error)):
        asks = " and asks for a name and a password" if status[1] == "407" else ""
        return f"the proxy refuses it (HTTP {status[1]}){asks}", False
    if isinstance(error, ConnectionError):
        kind = "refused" if isinstance(error, ConnectionRefusedError) else "broken off"
        return f"connection {kind}{' by the proxy' if proxy and kind == 'refused' else ''}", False
    if isinstance(error, http.client.InvalidURL):
        return f"the address of the {'proxy' if proxy else 'server'} is none", False
    if isinstance(error, http.client.HTTPException):
        return "what answers speaks no HTTP", False
    if isinstance(error, OSError) and error.errno:
        return f"no connection ({os.strerror(error.errno).lower()})", False
    return f"no connection ({type(error).__name__})", False


def proxy_of(url: str) -> str | None:
    """The proxy that a request to `url` goes through, None: straight. It may hold a password: not for printing."""
    parts = urlsplit(url)
    try:
        if urllib.request.proxy_bypass(parts.netloc.rpartition("@")[2]):
            return None
    except (OSError, ValueError):
        pass  # a setting that Python cannot read: the request will tell
    return urllib.request.getproxies().get(parts.scheme) or None


def host_of(url: str) -> str:
    """The server's name in an address, without user, password and port."""
    try:
        return urlsplit(url).hostname or "?"
    except ValueError:
        return "?"
