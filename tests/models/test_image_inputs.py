"""Image sources: files, folders, patterns, URLs, standard input."""

import gzip
import io
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import convsmith as cs
from convsmith.cli import run as command
from convsmith.data.images.decode import UnusableImageError
from convsmith.errors import FileError
from convsmith.models.image_blocks import fetch
from convsmith.models.image_inputs import ImageInput, image_sources
from convsmith.models.image_listing import image_blocks
from helpers.images import saved


class _Server(BaseHTTPRequestHandler):
    png = b""

    def do_GET(self) -> None:
        if self.path == "/to-a-file":
            self.send_response(302)
            self.send_header("Location", "file:///etc/hostname")
            self.end_headers()
        elif self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/one.png")
            self.end_headers()
        elif self.path == "/slow":
            self.send_response(200)
            self.end_headers()
            for _ in range(40):
                self.wfile.write(b"x")
                self.wfile.flush()
                time.sleep(0.05)
        elif self.path in {"/one.png", "/large"}:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.png * (1000 if self.path == "/large" else 1))
        else:
            self.send_error(404)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    content = io.BytesIO()
    Image.fromarray(np.tile(np.array([0, 0, 0, 255, 255, 0, 0, 0], np.uint8), (8, 1))).save(content, "PNG")
    _Server.png = content.getvalue()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), _Server) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()


def test_images_are_downloaded(server: str) -> None:
    predictions = cs.predict("digits", [f"{server}/one.png", f"{server}/moved"])
    assert predictions[0].top == predictions[1].top
    assert predictions[0].image == f"{server}/one.png"


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("/nothing", "404"),
        ("/to-a-file", "not allowed"),
        ("/slow", "0.3 seconds"),
        ("/large", "more than 5,000 bytes"),
    ],
)
def test_failing_urls_are_reported(server: str, page: str, message: str) -> None:
    with pytest.raises(UnusableImageError, match=message):
        fetch(server + page, timeout=0.3, limit=5000)


def test_no_password_is_printed_or_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = tmp_path / "rows.csv"
    address = "http://me:secret@127.0.0.1:9/one.png"
    for options in ([], ["--json"], ["--csv", str(rows)]):
        assert command(["predict", "digits", address, *options]) == 1
        output = capsys.readouterr()
        assert "secret" not in output.out + output.err
        assert "http://***@127.0.0.1:9/one.png" in output.err
    assert "secret" not in rows.read_text()


def test_an_unreachable_server_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["predict", "digits", "http://127.0.0.1:9/one.png"]) == 1
    assert (
        "error[E072]: http://127.0.0.1:9/one.png: unreadable image: cannot be fetched"
        in capsys.readouterr().err
    )


def test_files_of_a_folder_that_are_no_images_are_counted(tmp_path: Path) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    inputs, sentences = [str(tmp_path), "-", str(tmp_path / "a.png")], list[str]()
    assert len(list(image_sources(inputs, sentences.append))) == 3
    assert sentences == []
    for name in ("b.txt", "c.TXT", "d"):
        (tmp_path / name).write_text("x")
    assert len(list(image_sources(str(tmp_path), sentences.append))) == 1
    (sentence,) = sentences
    assert sentence == f"{tmp_path}: 3 files left out, not images: .txt, no suffix"


def test_files_folders_patterns_and_missing_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("b/2.png", "b/1.PNG", "b/c/3.jpg", "b/.hidden/4.png", "one.png", "d[1].png"):
        saved(Path(name), np.zeros((8, 8), np.uint8), format="JPEG" if name.endswith("jpg") else "PNG")
    Path("b/notes.txt").write_text("x")
    assert [item.name for item in image_sources(["one.png", "b", "*.png", Path("d[1].png")])] == [
        "one.png", "b/1.PNG", "b/2.png", "b/c/3.jpg", "d[1].png", "one.png", "d[1].png"
    ]  # fmt: skip
    assert [item.name for item in image_sources("**/*.jpg")] == ["b/c/3.jpg"]
    Path("empty").mkdir()
    with pytest.raises(FileError) as caught:
        image_sources(["one.png", "empty", "no.png", "*.bmp"])
    assert [problem.where for problem in caught.value.problems] == ["empty", "no.png", "*.bmp"]


def test_an_image_from_standard_input(monkeypatch: pytest.MonkeyPatch, server: str) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(_Server.png))
    monkeypatch.setattr("sys.stdin", stdin)
    predictions = cs.predict("digits", ["-", f"{server}/one.png"])
    assert predictions[0].image == "-"
    assert predictions[0].top == predictions[1].top


@pytest.mark.parametrize("name", ["x.npz", "x.NPY", "t10k-labels-idx1-ubyte.gz"])
def test_files_of_arrays_are_answered_with_what_to_do(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"PK")
    for inputs, what in ((tmp_path / name, "found a file of arrays"), (tmp_path, "holds no images")):
        with pytest.raises(FileError, match=what) as caught:
            image_sources(str(inputs))
        assert "write image files, or pass arrays in Python" in str(caught.value)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_files_are_read(suffix: str, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 3), np.uint8)
    content = b"\0\0\x08\x03" + b"".join(each.to_bytes(4, "big") for each in images.shape) + images.tobytes()
    path = tmp_path / f"t10k-images-idx3-ubyte{suffix}"
    path.write_bytes(gzip.compress(content) if suffix else content)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01")
    for named in (path, tmp_path):
        sources = list(image_sources(str(named)))
        assert [each.name for each in sources] == [f"{path}, image {number}" for number in range(5)]
        assert np.array_equal([np.asarray(each.read()) for each in sources], images)
    (block,) = image_blocks([str(path)])
    assert [each.name for each in next(block).part(2, 4).sources()] == [
        f"{path}, image 2",
        f"{path}, image 3",
    ]
    path.write_bytes(path.read_bytes()[:-25])
    *_, last = image_sources(str(path))
    with pytest.raises(UnusableImageError, match=r"damaged|ends before"):
        last.read()


def test_images_in_memory_are_numbered_among_all() -> None:
    images: list[ImageInput] = [
        np.zeros((2, 4, 4, 3), np.uint8),
        Image.new("L", (4, 4)),
        np.zeros((4, 4), np.uint8),
    ]
    sources = image_sources(images)
    assert len(sources) == 4
    assert [item.name for item in sources] == [f"image {number}" for number in range(4)]
