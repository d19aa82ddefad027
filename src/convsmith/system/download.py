"""Download over HTTP: one deadline and one budget of bytes for a whole transfer, redirects included."""

import base64
import http
import http.client
import io
import re
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote, unquote, urljoin, urlsplit, urlunsplit

_MAX_REDIRECTS, _CHUNK, _MAX_REASON = 10, 1 << 16, 200
_REDIRECTS = {301, 302, 303, 307, 308}
# Characters that mean something in a URL, and those that are encoded already.
_SAFE = "/%:@!$&'()*+,;=~?"


class TransferError(Exception):
    """A download failed; `too_large` says whether by its size."""

    def __init__(self, reason: str, *, too_large: bool = False) -> None:
        super().__init__(reason)
        self.too_large = too_large


def without_password(url: str) -> str:
    """Return a URL as it may be shown.

    >>> without_password("https://me:secret@host/a.png")
    'https://***@host/a.png'
    """
    return re.sub(r"(?<=://)[^/?#]*@", "***@", url)


def download(url: str, *, timeout: float, limit: int) -> bytes:
    """Download an http(s) URL, through the proxies of the environment; redirects lead to http(s) only.

    A user and a password in the URL are sent to its own host only.

    Args:
        url: With any characters.
        timeout: For all of the transfer, in seconds. Looking up the name of a host is not limited.
        limit: For everything that is received, in bytes.

    Raises:
        TransferError: The server cannot be reached, returns an error, is too slow, or sends too much.
    """
    transfer = _Transfer(end=time.monotonic() + timeout, timeout=timeout, budget=limit, limit=limit)
    opener = transfer.opener()
    try:
        address, login = _address(url)
        for _ in range(_MAX_REDIRECTS + 1):
            request = urllib.request.Request(address, headers=login)  # noqa: S310 - the handlers are HTTP's
            try:
                with opener.open(request, timeout=transfer.left()) as response:
                    return _body(response)
            except urllib.error.HTTPError as error:
                error.close()
                target = _redirect(address, error)
            if urlsplit(target)[:2] != urlsplit(address)[:2]:
                login = {}
            address = target
    except TimeoutError as error:
        raise transfer.too_slow() from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, TimeoutError):
            raise transfer.too_slow() from error
        raise TransferError(f"cannot be fetched: {str(reason)[:_MAX_REASON]}") from error
    raise TransferError(f"more than {_MAX_REDIRECTS} redirects")


def _body(response: http.client.HTTPResponse) -> bytes:
    """Return the body of a response. Raises TransferError if it is a part of the file."""
    if response.status != http.HTTPStatus.OK:
        raise TransferError(f"the server returned {response.status} {response.reason[:_MAX_REASON]}")
    body = b"".join(iter(lambda: response.read(_CHUNK), b""))
    # `read` with a size accepts a connection that closes early.
    if response.length:
        raise TransferError(f"the connection closed {response.length:,} bytes before the end")
    return body


def _address(url: str) -> tuple[str, dict[str, str]]:
    """Return a URL in ASCII without a user, and the headers that log the user in. Raises ValueError."""
    parts = urlsplit(url)
    host = (parts.hostname or "").encode("idna").decode()
    host = f"[{host}]" if ":" in host else host
    place = host if parts.port is None else f"{host}:{parts.port}"
    path, query = (quote(each, safe=_SAFE, errors="surrogateescape") for each in (parts.path, parts.query))
    headers = {"User-Agent": "convsmith"}
    if parts.username is not None:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
    return urlunsplit((parts.scheme, place, path, query, "")), headers


def _redirect(address: str, error: urllib.error.HTTPError) -> str:
    """Return the URL that a response leads to. Raises TransferError for any other response."""
    location = error.headers.get("Location")
    if error.code not in _REDIRECTS or not location:
        raise TransferError(f"the server returned {error.code} {str(error.reason)[:_MAX_REASON]}")
    target = urljoin(address, location)
    if urlsplit(target).scheme not in {"http", "https"}:
        raise TransferError(f"a redirect to {urlsplit(target).scheme[:20]!r} is not allowed")
    return _address(target)[0]


@dataclass(kw_only=True)
class _Transfer:
    """What is left of the time and of the bytes of a download."""

    end: float
    timeout: float
    budget: int
    limit: int

    def left(self) -> float:
        """Return the seconds that are left. Raises TransferError if there are none."""
        if (seconds := self.end - time.monotonic()) <= 0:
            raise self.too_slow()
        return seconds

    def count(self, received: int) -> None:
        self.budget -= received
        if self.budget < 0:
            raise TransferError(f"more than {self.limit:,} bytes", too_large=True)

    def too_slow(self) -> TransferError:
        return TransferError(f"not complete after {self.timeout:g} seconds")

    def opener(self) -> urllib.request.OpenerDirector:
        """Return an opener without handlers for files, ftp and data, which follows no redirect by itself."""
        opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.ProxyHandler(),
            _HTTPHandler(self),
            _HTTPSHandler(self),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
            urllib.request.UnknownHandler(),
        ):
            opener.add_handler(handler)
        return opener

    def connections(self, kind: Callable[..., http.client.HTTPConnection]) -> Any:
        """Return a function that makes a connection whose responses are counted."""

        def connection(host: str, **options: Any) -> http.client.HTTPConnection:
            made = kind(host, **options)
            made.response_class = partial(_Response, transfer=self)  # type: ignore[assignment]
            return made

        return connection


class _HTTPHandler(urllib.request.HTTPHandler):
    def __init__(self, transfer: _Transfer) -> None:
        super().__init__()
        self.transfer = transfer

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self.transfer.connections(http.client.HTTPConnection), req)


class _HTTPSHandler(urllib.request.HTTPSHandler):
    def __init__(self, transfer: _Transfer) -> None:
        super().__init__()
        self.transfer = transfer

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        connections = self.transfer.connections(http.client.HTTPSConnection)
        return self.do_open(connections, req, context=ssl.create_default_context())


class _Response(http.client.HTTPResponse):
    """A response whose headers and body are counted."""

    def __init__(self, sock: socket.socket, *args: Any, transfer: _Transfer, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp = io.BufferedReader(_Metered(self.fp.detach(), sock, transfer))


class _Metered(io.RawIOBase):
    """Reads from a socket within what is left of the time and of the bytes."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, transfer: _Transfer) -> None:
        self.raw, self.socket, self.transfer = raw, sock, transfer

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.socket.settimeout(self.transfer.left())
        received: int = self.raw.readinto(buffer) or 0
        self.transfer.count(received)
        return received

    def close(self) -> None:
        self.raw.close()
        super().close()
