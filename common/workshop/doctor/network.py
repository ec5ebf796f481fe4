"""Which servers answer, in words that reveal no proxy, no password and no path of this machine.

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
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from pixi_workspace.pypi_index import DEFAULT_INDEX
from workshop.doctor.checkout import CPU_ENVIRONMENT, Checkout
from workshop.doctor.row import PIXI, PYTHON, Row
from workshop.support.hardware import printable

# The registry of the base image of exercise 5. Its API answers 401 without a login.
CONTAINER_REGISTRY = "https://ghcr.io/v2/"
# Servers that the report may name. Any other is a private one, whose name may tell where its owner works.
PUBLIC_DOMAINS = ("anaconda.org", "prefix.dev", "pytorch.org", "nvidia.com", "ghcr.io", "127.0.0.1", "localhost")
MOST_SERVERS = 10  # channels, and as many indexes: each is contacted in a thread of its own


@dataclass(frozen=True)
class Server:
    """A server to contact. required_by: the routes that need it."""

    subject: str
    url: str
    required_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class ServerStatus:
    """reachable: True, False, or None if it was not contacted. reason: how or why not. tls: a problem with TLS."""

    reachable: bool | None
    reason: str
    tls: bool = False


def servers(checkout: Checkout) -> list[Server]:
    """The servers to contact. Packages that are already installed need none."""
    channel = () if checkout.has_environment(CPU_ENVIRONMENT) else (PIXI,)
    package = () if checkout.has_packages() else (PYTHON,)
    index = os.environ.get("PIP_INDEX_URL", "").strip() or DEFAULT_INDEX
    return [
        *(Server("conda channel", url, channel) for url in _one_per_host(checkout.channels)[:MOST_SERVERS]),
        *(Server("wheel index", url) for url in _one_per_host(checkout.indexes)[:MOST_SERVERS]),
        Server("Python packages", index, package),
        Server("container registry", CONTAINER_REGISTRY),
    ]


def _one_per_host(urls: Iterable[str]) -> list[str]:
    """The first address on each host, because the report names only hosts."""
    first: dict[str, str] = {}
    for url in urls:
        first.setdefault(host_of(url), url)
    return list(first.values())


def row(server: Server, status: ServerStatus) -> Row:
    """The line about a server."""
    next_step = ""
    if status.tls:
        next_step = "set SSL_CERT_FILE to your organisation's certificates (Pixi reads it as well)"
    elif status.reachable is False:
        next_step = "connect to the network, ask for access to this server, or set HTTPS_PROXY to your proxy"
    return Row(
        group="network",
        subject=server.subject,
        passed=status.reachable,
        found=f"{public_name(server.url)}: {status.reason}",
        next_step=next_step,
        required_by=server.required_by,
    )


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect counts as an answer; it is not followed."""

    def redirect_request(self, *_: object) -> None:
        return None


def probe(url: str, seconds: float) -> ServerStatus:
    """Whether the server of `url` answers. Any HTTP status is an answer, even 401 (login required). Raises nothing.

    seconds: the timeout of each step of the connection. A DNS lookup may take longer, and so may a server that sends
    one byte at a time: call this in a thread that has its own time limit (`timeouts.start_in_thread`).
    """
    if not re.match(r"https?://\w", url) or host_of(url) == "?":
        return ServerStatus(None, "not contacted: not a web address")
    proxy = proxy_of(url)
    if proxy and proxy.startswith("socks"):
        return ServerStatus(None, "not contacted: this check does not support SOCKS proxies")
    how = " through the proxy" if proxy else ""
    request = urllib.request.Request(url, headers={"User-Agent": "workshop-doctor"})
    try:
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=seconds) as response:
            return ServerStatus(True, f"answers{how} (HTTP {response.status})")
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.client.PROXY_AUTHENTICATION_REQUIRED:
            return ServerStatus(False, "the proxy requires a user name and a password (HTTP 407)")
        return ServerStatus(True, f"answers{how} (HTTP {error.code})")
    except Exception as error:  # a proxy can send anything, and its address can be nonsense
        reason = getattr(error, "reason", error)
        text, tls = _explain(reason if isinstance(reason, Exception) else error, seconds, bool(proxy))
        return ServerStatus(False, text + how, tls)


def _explain(error: Exception, seconds: float, proxy: bool) -> tuple[str, bool]:
    """What went wrong, and whether it was TLS. The errors' own texts are left out: they may name a proxy."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            "its certificate is not trusted here: a company's proxy or a virus scanner intercepts TLS, or this "
            "machine's list of certificate authorities is out of date",
            True,
        )
    if isinstance(error, ssl.SSLError):
        return (
            "no TLS: something other than the server answers (the network's login page, or a proxy that breaks TLS)",
            True,
        )
    if isinstance(error, TimeoutError):
        return f"no answer within {seconds:g} s (a firewall may drop the packets)", False
    if isinstance(error, socket.gaierror):
        return f"DNS has no address for {'the proxy' if proxy else 'this name'}", False
    if status := re.match(r"Tunnel connection failed: (\d{3})", str(error)):
        login = " and requires a user name and a password" if status[1] == "407" else ""
        return f"the proxy refuses the connection (HTTP {status[1]}){login}", False
    if isinstance(error, ConnectionError):
        kind = "refused" if isinstance(error, ConnectionRefusedError) else "interrupted"
        return f"connection {kind}{' by the proxy' if proxy and kind == 'refused' else ''}", False
    if isinstance(error, http.client.InvalidURL):
        return f"the address of the {'proxy' if proxy else 'server'} is not valid", False
    if isinstance(error, http.client.HTTPException):
        return "the answer is not HTTP", False
    if isinstance(error, OSError) and error.errno:
        return f"no connection ({os.strerror(error.errno).lower()})", False
    return f"no connection ({type(error).__name__})", False


def proxy_of(url: str) -> str | None:
    """The proxy for requests to `url`, None without one. It may contain a password, so never print it."""
    parts = urlsplit(url)
    try:
        if urllib.request.proxy_bypass(parts.netloc.rpartition("@")[2]):
            return None
    except (OSError, ValueError):
        pass  # a setting that Python cannot read: the request itself will fail
    return urllib.request.getproxies().get(parts.scheme) or None


def public_name(url: str) -> str:
    """The server's name, if everybody knows it."""
    host = host_of(url)
    if host in ("?", host_of(DEFAULT_INDEX)) or any(
        host == domain or host.endswith(f".{domain}") for domain in PUBLIC_DOMAINS
    ):
        return printable(host)
    return "a server of your own, which is not named here"


def host_of(url: str) -> str:
    """The server's name in an address, without user, password and port."""
    try:
        return urlsplit(url).hostname or "?"
    except ValueError:
        return "?"
