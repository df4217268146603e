"""A model hub for tests, on a loopback port: the endpoints that a client of hubs uses, with faults.

server.py FOLDER [--token TOKEN] [--fault FAULT]

FOLDER/ORG/NAME/... are the models. Prints its address, logs each request as a line to FOLDER/log, and
ends when its standard input does. Faults: `cut` closes the connection in the middle of the first two
answers about weights, `checksum` announces another sum than the bytes have, `busy` answers 503 once for
each path, `redirect` sends weights from another port, `no-range` ignores Range, and cuts once, `stall` sends
half of the first answer about weights and nothing more.
"""

import argparse
import hashlib
import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
WEIGHTS = (".safetensors", ".bin", ".pt")


def git_sha1(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        hub = self.server.hub
        path, _, query = self.path.partition("?")
        has_token = bool(self.headers.get("authorization"))
        entry = {"path": path, "range": self.headers.get("range"), "token": has_token, "port": self.server.server_port}
        with hub.lock:
            with open(hub.folder / "log", "a") as log:
                log.write(json.dumps(entry) + "\n")
            seen = hub.seen.get(path, 0)
            hub.seen[path] = seen + 1
        if hub.fault == "busy" and seen == 0:
            return self.answer(503, b"try later")
        mirror = self.server is not hub.main
        if hub.token and not mirror:
            given = self.headers.get("authorization")
            if given != "Bearer " + hub.token:
                return self.answer(401 if given is None else 403, b"no")
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"] and len(parts) == 6 and parts[4] == "revision":
            return self.listing(parts[2], parts[3], parts[5])
        if len(parts) == 5 and parts[2] == "resolve":
            return self.file(parts[0], parts[1], parts[3], parts[4], seen, mirror)
        self.answer(404, b"no such page")

    def listing(self, org, name, revision):
        hub = self.server.hub
        folder = hub.folder / org / name
        if not folder.is_dir() or revision not in ("main", COMMIT):
            return self.answer(404, b"no such model")
        files = []
        for path in sorted(folder.iterdir()):
            data = path.read_bytes()
            entry = {"rfilename": path.name, "size": len(data), "blobId": git_sha1(data)}
            if path.name.endswith(WEIGHTS):
                sha256 = hashlib.sha256(data).hexdigest()
                if hub.fault == "checksum":
                    sha256 = "f" * 64
                entry["lfs"] = {"sha256": sha256, "size": len(data), "pointerSize": 130}
            files.append(entry)
        # Folders are listed too; nothing in them belongs to the model.
        files.append({"rfilename": "onnx/model.onnx", "size": 1, "blobId": "0" * 40})
        body = json.dumps({"id": org + "/" + name, "sha": COMMIT, "siblings": files})
        self.answer(200, body.encode(), {"content-type": "application/json"})

    def file(self, org, name, revision, file, seen, mirror):
        hub = self.server.hub
        path = hub.folder / org / name / file
        if not path.is_file() or revision != COMMIT:
            return self.answer(404, b"no such file")
        weights = file.endswith(WEIGHTS)
        if weights and hub.fault == "redirect" and not mirror:
            location = "http://127.0.0.1:%d%s" % (hub.mirror.server_port, self.path)
            return self.answer(302, b"", {"location": location, "x-linked-size": str(path.stat().st_size)})
        data = path.read_bytes()
        start, status, headers = 0, 200, {"accept-ranges": "bytes", "etag": '"%s"' % git_sha1(data)}
        wanted = self.headers.get("range")
        if wanted and hub.fault != "no-range":
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            status = 206
            headers["content-range"] = "bytes %d-%d/%d" % (start, len(data) - 1, len(data))
        if weights and seen == 0 and hub.fault == "stall":
            self.send_response(200)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            threading.Event().wait()
        cuts = {"cut": 2, "no-range": 1}.get(hub.fault, 0)
        if weights and seen < cuts:
            self.send_response(status)
            for key, value in {**headers, "content-length": str(len(data) - start)}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(data[start : start + (len(data) - start) // 2])
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()
            return
        self.answer(status, data[start:], headers)

    def answer(self, status, body, headers=None):
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        # A client that closes its connection is none.
        pass


class Hub:
    def __init__(self, folder, token, fault):
        self.folder, self.token, self.fault = Path(folder), token, fault
        self.lock, self.seen = threading.Lock(), {}
        self.main, self.mirror = self.serve(), self.serve()

    def serve(self):
        server = Server(("127.0.0.1", 0), Handler)
        server.hub = self
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--token")
    parser.add_argument("--fault")
    args = parser.parse_args()
    hub = Hub(args.folder, args.token, args.fault)
    print("http://127.0.0.1:%d" % hub.main.server_port, flush=True)
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
