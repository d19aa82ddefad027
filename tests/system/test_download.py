"""Downloads from a server that keeps to no rule: limits over the whole transfer, addresses, passwords."""

import base64
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

import pytest

from convsmith.system.download import TransferError, download, without_password

OK = b"HTTP/1.1 200 OK\r\n\r\n"
Answer = Callable[[str], Iterable[bytes]]


@contextmanager
def serving(answer: Answer) -> Iterator[tuple[str, list[str]]]:
    """Serve the bytes of a function of the path; yield the address and the requests."""
    requests: list[str] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            requests.append(connection.recv(65_536).decode())
            for part in answer(requests[-1].split(" ")[1]):
                connection.sendall(part)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=listener.accept()[:1], daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}", requests
    finally:
        listener.close()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def dripping(text: bytes) -> Iterator[bytes]:
    for byte in itertools.chain(text, itertools.repeat(120)):
        yield bytes([byte])
        time.sleep(0.01)


def every(part: bytes) -> Iterator[bytes]:
    """Send a part again and again, slowly."""
    while True:
        time.sleep(0.01)
        yield part


CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
MANY = itertools.repeat(b"a: b\r\n" * 99)


def redirect(target: str, body: Iterable[bytes] = ()) -> Iterable[bytes]:
    return itertools.chain([f"HTTP/1.1 302 Found\r\nLocation: {target}\r\n\r\n".encode()], body)


def slow_chain(path: str) -> Iterable[bytes]:
    time.sleep(0.1)
    return redirect(f"{path}x")


FLOOD = itertools.repeat(b"x" * 65_536)
HOSTILE: dict[str, tuple[Answer, str]] = {
    "silence": (lambda _: every(b""), "not complete after 0.5 seconds"),
    "a dripping status": (lambda _: dripping(b""), "not complete after 0.5 seconds"),
    "dripping headers": (lambda _: dripping(OK[:17]), "not complete after 0.5 seconds"),
    "a dripping body": (lambda _: dripping(OK), "not complete after 0.5 seconds"),
    "slow continues": (lambda _: every(CONTINUE), "not complete after 0.5 seconds"),
    "fast continues": (lambda _: itertools.repeat(CONTINUE * 100), "more than 100,000 bytes"),
    "a slow chain": (slow_chain, "not complete after 0.5 seconds"),
    "a loop": (lambda _: redirect("/x"), "more than 10 redirects"),
    "an endless body": (lambda _: itertools.chain([OK], FLOOD), "more than 100,000 bytes"),
    "an endless line": (lambda _: itertools.chain([OK[:17]], FLOOD), "cannot be fetched"),
    "endless headers": (lambda _: itertools.chain([OK[:17]], MANY), "cannot be fetched"),
    "small chunks": (
        lambda _: itertools.chain(
            [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"], itertools.repeat(b"1\r\nx\r\n" * 1000)
        ),
        "more than 100,000 bytes",
    ),
    "no HTTP": (lambda _: [b"SSH-2.0\r\n"], "cannot be fetched"),
    "an error with an endless body": (
        lambda _: itertools.chain([b"HTTP/1.1 404 Gone\r\n\r\n"], FLOOD), "the server returned 404 Gone",
    ),
    "a file": (lambda _: redirect("file:///etc/hostname"), "a redirect to 'file' is not allowed"),
    "data": (lambda _: redirect("data:,x"), "a redirect to 'data' is not allowed"),
    "no such host": (lambda _: redirect("http://[::1/"), "cannot be fetched"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_limits_hold_for_the_whole_transfer(name: str) -> None:
    answer, message = HOSTILE[name]
    with serving(answer) as (address, _), pytest.raises(TransferError) as caught:
        download(f"http://{address}/", timeout=0.5, limit=100_000)
    assert message in str(caught.value)
    assert caught.value.too_large == ("bytes" in message)
    assert len(str(caught.value)) < 300


def test_the_body_of_a_redirect_is_not_read() -> None:
    def answer(path: str) -> Iterable[bytes]:
        return redirect("/there", FLOOD) if path == "/here" else [OK, b"content"]

    with serving(answer) as (address, _):
        assert download(f"http://{address}/here", timeout=20, limit=100_000) == b"content"


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/é.png", "/%C3%A9.png"),
        ("/a b/ü.png?größe=1&x=%20#part", "/a%20b/%C3%BC.png?gr%C3%B6%C3%9Fe=1&x=%20"),
        ("/%41.png", "/%41.png"),
        ("/\udce9.png", "/%E9.png"),
        ('/"\x01\\', "/%22%01%5C"),
    ],
)
def test_any_character_is_encoded(path: str, sent: str) -> None:
    with serving(lambda _: [OK, b"content"]) as (address, requests):
        assert download(f"http://{address}{path}", timeout=20, limit=1000) == b"content"
    assert requests[0].startswith(f"GET {sent} HTTP/1.1\r\n")


def test_a_password_goes_to_its_host_only() -> None:
    with serving(lambda _: [OK, b"content"]) as (other, others):

        def answer(path: str) -> Iterable[bytes]:
            return redirect({"/a": "/b", "/b": f"http://{other}/"}[path])

        with serving(answer) as (address, requests):
            assert download(f"http://me:s%3Acret@{address}/a", timeout=20, limit=1000) == b"content"
    login = f"Authorization: Basic {base64.b64encode(b'me:s:cret').decode()}\r\n"
    assert [login in request for request in requests] == [True, True]
    assert "Authorization" not in others[0]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://me:secret@host/a@b.png", "http://***@host/a@b.png"),
        ("https://secret@host:80", "https://***@host:80"),
        ("http://a:b@c@host/", "http://***@host/"),
        ("http://host/a@b.png?c=d@e", "http://host/a@b.png?c=d@e"),
    ],
)
def test_no_password_is_shown(url: str, shown: str) -> None:
    assert without_password(url) == shown


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc", "closed 97 bytes before the end"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "IncompleteRead"),
        (b"HTTP/1.1 206 Partial Content\r\nContent-Length: 3\r\n\r\nabc", "the server returned 206"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "the server returned 204"),
    ],
)
def test_a_part_of_a_file_is_refused(answer: bytes, message: str) -> None:
    with serving(lambda _: [answer]) as (place, _), pytest.raises(TransferError, match=message):
        download(f"http://{place}/image.png", timeout=5, limit=1_000)
