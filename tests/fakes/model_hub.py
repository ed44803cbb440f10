"""A hub over loopback that hands out a model's files the way Hugging Face does, with faults on demand."""

import contextlib
import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class ModelHub:
    """Serves `content` as `repo`/`file`, and `others` (contents by path) beside it.

    Attributes:
        cut_after: bytes after which each of the next connections breaks off (one entry for each).
        ranges: whether it can go on in the middle of a file.
        status: another answer than 200 to everything, with `error_code` as the hub's own name for it.
        requests: what came in, as (method, path, Range header).
    """

    def __init__(self, content, *, repo="some/repo", file="model.gguf", others=None):
        self.content, self.repo, self.file = content, repo, file
        self.others = others or {}
        self.etag = hashlib.sha256(content).hexdigest()
        self.cut_after = []
        self.ranges = True
        self.status, self.error_code = None, ""
        self.requests = []
        self.endpoint = ""

    @contextlib.contextmanager
    def serving(self):
        server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def _handler(hub):  # noqa: N805 - the handler's own `self` is inside
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_args):
                pass

            def do_HEAD(self):
                self._answer(body=False)

            def do_GET(self):
                self._answer(body=True)

            def _answer(self, *, body):
                wanted = self.headers.get("Range")
                hub.requests.append((self.command, self.path, wanted))
                other = hub.others.get(self.path.removeprefix(f"/{hub.repo}/resolve/main/"))
                content, etag = (hub.content, hub.etag) if other is None else (other, "small-files-have-no-sha256")
                known = other is not None or self.path == f"/{hub.repo}/resolve/main/{hub.file}"
                if hub.status or not known:
                    missing = "EntryNotFound" if hub.repo in self.path else "RepoNotFound"
                    code = hub.error_code or ("" if known else missing)
                    self.send_response(hub.status or 404)
                    self.send_header("X-Error-Code", code)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                start = int(wanted.removeprefix("bytes=").split("-")[0]) if wanted and hub.ranges else 0
                if start > len(content):
                    self.send_response(416)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                rest = content[start:]
                self.send_response(206 if wanted and hub.ranges else 200)
                self.send_header("ETag", f'"{etag}"')
                self.send_header("X-Repo-Commit", "c" * 40)
                self.send_header("Content-Length", str(len(rest)))
                self.end_headers()
                if not body:
                    return
                if hub.cut_after:
                    self.wfile.write(rest[: hub.cut_after.pop(0)])
                    self.close_connection = True
                    return
                self.wfile.write(rest)

        return Handler
