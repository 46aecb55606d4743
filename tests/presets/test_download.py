"""Downloads: checked, continued, kept once; a mirror; and what is refused."""

import concurrent.futures
import hashlib
import http.server
import threading

import pytest

from kerastransfer.errors import UserError
from kerastransfer.presets import PRESETS, download, preset
from kerastransfer.presets.preset import File

CONTENT = bytes(range(256)) * 40


class Server(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT; `sends` cuts an answer short, `ranges` continues."""

    sends, ranges, content = len(CONTENT), True, CONTENT

    def do_GET(self):
        told = self.headers.get("Range")
        type(self).asked.append(told)
        if self.path != "/net.weights":
            self.send_error(404, "Not Found")
            return
        begin = int(told.removeprefix("bytes=").rstrip("-")) if told and self.ranges else 0
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(self.content) - begin))
        self.end_headers()
        self.wfile.write(self.content[begin : begin + self.sends])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    handler = type("Handler", (Server,), {"asked": []})
    served = http.server.ThreadingHTTPServer(("localhost", 0), handler)
    thread = threading.Thread(target=served.serve_forever)
    thread.start()
    monkeypatch.setenv("KERASTRANSFER_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("KERASTRANSFER_MIRROR", raising=False)
    handler.address = f"http://localhost:{served.server_port}/"
    yield handler
    served.shutdown()
    thread.join()
    served.server_close()


def file_at(server, name="net.weights"):
    return File(server.address + name, len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


def test_a_file_is_downloaded_once(server):
    file = file_at(server)
    assert not download.is_cached(file)
    path = download.fetched(file, quiet=True)
    assert path.read_bytes() == CONTENT and path == download.home() / "presets" / "net.weights"
    assert download.is_cached(file) and download.fetched(file, quiet=True) == path
    assert server.asked == [None]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_that_was_cut_off_is_continued(server, ranges):
    server.sends, server.ranges = 1000, ranges
    with pytest.raises(UserError, match=r"cannot be downloaded .* run again to continue, or fetch .* and put it at"):
        download.fetched(file_at(server), quiet=True)
    assert [path.name for path in (download.home() / "presets").iterdir()] == ["net.weights.part"]
    server.sends = len(CONTENT)
    assert download.fetched(file_at(server), quiet=True).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1000-"]


def test_two_that_need_a_file_download_it_once(server):
    """As the workers of one run do: the second waits for the first."""
    begun, go_on = threading.Event(), threading.Event()
    plain = server.do_GET

    def slow(self):
        begun.set()
        assert go_on.wait(10)
        plain(self)

    server.do_GET = slow
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        first = pool.submit(download.fetched, file_at(server), quiet=True)
        assert begun.wait(10)
        second = pool.submit(download.fetched, file_at(server), quiet=True)
        go_on.set()
        assert first.result().read_bytes() == second.result().read_bytes() == CONTENT
    assert server.asked == [None]


@pytest.mark.parametrize("content", [CONTENT[:-1] + b"x", CONTENT + b"x"])
def test_another_file_is_not_kept(server, content):
    server.content, server.sends = content, len(content)
    with pytest.raises(UserError, match="are not the 10240 that were published"):
        download.fetched(file_at(server), quiet=True)
    assert not list((download.home() / "presets").iterdir())


def test_what_cannot_be_had(server, monkeypatch):
    with pytest.raises(UserError, match="the server says 404 Not Found"):
        download.fetched(file_at(server, "other.weights"), quiet=True)
    nobody = File("http://localhost:1/net.weights", 5, "0")
    with pytest.raises(UserError, match=r"refused.*fetch http://localhost:1/net.weights by hand and put it at"):
        download.fetched(nobody, quiet=True)
    with pytest.raises(UserError, match=r"^net.weights needs .* MB in .*free some space"):
        download.fetched(File(server.address + "net.weights", 1 << 60, "0"), quiet=True)
    assert not list((download.home() / "presets").iterdir())


def test_a_damaged_file_in_the_cache_is_refused(server):
    path = download.fetched(file_at(server), quiet=True)
    path.write_bytes(b"x" * len(CONTENT))
    with pytest.raises(UserError, match="remove it, and fetch"):
        download.fetched(file_at(server), quiet=True)


def test_mirrors(server, monkeypatch, tmp_path):
    elsewhere = File("http://localhost:1/net.weights", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setenv("KERASTRANSFER_MIRROR", str(tmp_path / "mirror"))
    (tmp_path / "mirror" / "net").mkdir(parents=True)
    with pytest.raises(UserError, match=r"KERASTRANSFER_MIRROR: .* has no net.weights"):
        download.fetched(elsewhere, quiet=True)
    held = tmp_path / "mirror" / "net" / "net.weights"
    held.write_bytes(CONTENT)
    assert download.fetched(elsewhere, quiet=True) == held
    held.write_bytes(b"x")
    with pytest.raises(UserError, match="its 1 bytes are not"):
        download.fetched(elsewhere, quiet=True)
    monkeypatch.setenv("KERASTRANSFER_MIRROR", server.address)
    assert download.fetched(elsewhere, quiet=True).read_bytes() == CONTENT


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(UserError, match=r"unknown preset yolov3-tinny; choose .* \(nearest: yolov3-tiny\)"):
        preset("yolov3-tinny")


@pytest.mark.parametrize("name", [name for name, preset in PRESETS.items() if preset.files])
def test_presets_name_their_classes(name):
    assert len(PRESETS[name].labels) == len(set(PRESETS[name].labels)) == (20 if name == "yolov1" else 80)
    assert all(len(file.sha256) == 64 and file.address.startswith("https://") for file in PRESETS[name].files)
