"""The bench's own servers: what nginx cannot be."""

import contextlib
import hashlib
import os
import queue
import signal
import socket
import threading
import time


@contextlib.contextmanager
def served(answer):
    """Gives each connection to `answer`, in a process of its own since the client is in this one; yields the port."""
    listener = socket.create_server(("127.0.0.1", 0))
    child = os.fork()
    if child == 0:
        while True:
            threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()
    port = listener.getsockname()[1]
    listener.close()
    try:
        yield port
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


class Held:
    """An origin that gives so many bytes a second in all, evenly: a second connection is answered with 429. nginx counts what a
    connection may have from one send to the next, and so the time between them costs it up to 5 %."""

    def __init__(self, root, rate):
        self.root, self.rate, self.busy = root, rate, threading.Lock()

    def answer(self, client):
        with client, client.makefile("rb") as requests:
            while line := requests.readline():
                while requests.readline().strip():
                    pass
                if not self.busy.acquire(blocking=False):
                    client.sendall(b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n")
                    continue
                try:
                    self.give(client, self.root + line.split()[1].decode())
                finally:
                    self.busy.release()

    def give(self, client, path):
        with open(path, "rb") as file:
            size, sent, start = os.fstat(file.fileno()).st_size, 0, time.monotonic()
            client.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
            while sent < size:
                time.sleep(max(start + sent / self.rate - time.monotonic(), 0))
                sent += client.sendfile(file, sent, 256 << 10)


class Relay:
    """The bare work of a verified cold fetch: bytes are received, hashed beside that, written and sent. One GET a connection."""

    def __init__(self, origin, path):
        self.origin, self.path = origin, path

    def answer(self, client):
        chunks, digest = queue.Queue(16), hashlib.sha256()
        hasher = threading.Thread(target=lambda: [digest.update(chunk) for chunk in iter(chunks.get, b"")])
        hasher.start()
        with client, socket.create_connection(("127.0.0.1", self.origin)) as upstream, open(self.path, "wb", 0) as out:
            upstream.sendall(client.recv(1 << 16).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            while chunk := upstream.recv(1 << 18):
                chunks.put(chunk)
                out.write(chunk)
                client.sendall(chunk)
            chunks.put(b"")
            hasher.join()
