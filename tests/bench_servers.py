"""The servers that tests/bench starts and measures, all on 127.0.0.1."""

import contextlib
import hashlib
import http.client
import os
import queue
import re
import signal
import socket
import ssl
import subprocess
import threading
import time

TICK = os.sysconf("SC_CLK_TCK")
SYSTEM_PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"


class CannotMeasure(Exception):
    """A server or a tool did not do what a measurement needs."""


def mount_new_file_system(image, directory):
    """Mounts a new ext4 of 16 GB, which is in the file `image`: on one where an image was deleted, ext4 is slower to make as many files
    again."""
    with open(image, "wb") as file:
        file.truncate(16 << 30)
    make = ["mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", image]
    subprocess.run(make, check=True, env={**os.environ, "PATH": SYSTEM_PATH})
    subprocess.run(["mount", "-o", "loop", image, directory], check=True)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_port(port, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.005)
    raise CannotMeasure(f"nothing listens on port {port} after {seconds} s")


def fetch(port, path, to=None):
    """GETs `path` over plain HTTP and drops the body, or hashes it and writes it to the file `to`.

    Returns the seconds to the last byte and to the first byte."""
    start = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("GET", path)
    answer = connection.getresponse()
    if answer.status != 200:
        raise CannotMeasure(f"GET {path} is answered with {answer.status}: {answer.read(300)!r}")
    # Not into the large buffer: that read waits until the buffer is full.
    begin = answer.read1(1)
    first = time.perf_counter() - start
    buffer = memoryview(bytearray(1 << 20))
    with contextlib.ExitStack() as stack:
        if to:
            out, digest = stack.enter_context(open(to, "wb")), hashlib.sha256(begin)
        while count := answer.readinto(buffer):
            if to:
                digest.update(buffer[:count])
                out.write(buffer[:count])
    connection.close()
    return time.perf_counter() - start, first


def cpu_of(pid):
    """CPU seconds of a process since its start, and of its children, also those that have ended."""
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        pids = [str(pid), *file.read().split()]
    ticks = 0
    for one in pids:
        with open(f"/proc/{one}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        ticks += sum(map(int, fields[11:15]))
    return ticks / TICK


class Process:
    """A server and its children: their CPU time, the server's peak memory, and its end by process id."""

    def __init__(self, command, log, **more):
        self.log = log
        self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=open(log, "ab"), stderr=subprocess.STDOUT, **more)

    def cpu(self):
        """CPU seconds since the start, of the server and its children, also those that have ended."""
        return cpu_of(self.child.pid)

    def peak_mib(self):
        with open(f"/proc/{self.child.pid}/status") as file:
            return int(re.search(r"VmHWM:\s+(\d+)", file.read()).group(1)) / 1024

    def stop(self):
        self.child.send_signal(signal.SIGTERM)
        self.child.wait(30)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Hubcap(Process):
    """`hubcap serve` on the ports `http` and `https`. The constructor returns when it answers."""

    def __init__(self, binary, store, state, origin, flags=(), https=None):
        self.http, self.https = free_port(), https or free_port()
        super().__init__(
            [binary, "serve", "--listen", f"127.0.0.1:{self.https}", "--http-listen", f"127.0.0.1:{self.http}", "--store", store,
             "--state", state, "--min-free", "0", "--upstream", f"docker.io=http://127.0.0.1:{origin}", *flags],
            f"{store}.log", env={"HOME": state, "PATH": os.environ["PATH"], "HUBCAP_LOG": "warn"})
        try:
            wait_port(self.http)
            # It listens a little before it answers.
            fetch(self.http, "/v2/")
        except CannotMeasure as error:
            self.stop()
            with open(self.log) as log:
                raise CannotMeasure(f"{binary} does not answer: {error}\n{log.read()}") from error


class Nginx(Process):
    """Serves the files below `web` as a registry on four ports: `http`, `https`, `counted` (logs its bytes) and `slow`
    (logs its bytes, 20 MB/s for each connection)."""

    def __init__(self, web, dir):
        os.makedirs(dir)
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                        "-subj", "/CN=localhost", "-keyout", f"{dir}/key.pem", "-out", f"{dir}/cert.pem"], check=True, capture_output=True)
        self.http, self.https, self.counted, self.slow = (free_port() for _ in range(4))
        self.sent = f"{dir}/sent.log"
        log = f"access_log {self.sent} sent;"
        # TLS as hubcap speaks it: the same version and cipher.
        tls = f"""ssl_certificate {dir}/cert.pem; ssl_certificate_key {dir}/key.pem; ssl_protocols TLSv1.3;
                  ssl_conf_command Ciphersuites TLS_AES_256_GCM_SHA384;"""
        files = f"""root {web}; location = /v2/ {{ return 200; }}
                    location ~ /sdk/manifests/ {{ types {{}} default_type application/vnd.docker.distribution.manifest.v2+json; }}
                    location ~ /manifests/ {{ types {{}} default_type application/vnd.oci.image.manifest.v1+json; }}"""
        with open(f"{dir}/nginx.conf", "w") as out:
            out.write(f"""
user root; worker_processes 2; daemon off; pid {dir}/pid; error_log {dir}/error.log;
events {{ worker_connections 1024; }}
http {{
  log_format sent '$uri $body_bytes_sent';
  sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_requests 100000000; default_type application/octet-stream;
  client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3; uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5;
  server {{ listen 127.0.0.1:{self.http} backlog=1024; access_log off; {files} }}
  server {{ listen 127.0.0.1:{self.https} ssl backlog=1024; access_log off; {tls} {files} }}
  server {{ listen 127.0.0.1:{self.counted}; {log} {files} }}
  server {{ listen 127.0.0.1:{self.slow}; {log} limit_rate 20m; {files} }}
}}
""")
        super().__init__(["nginx", "-c", f"{dir}/nginx.conf"], f"{dir}/out", env={**os.environ, "PATH": SYSTEM_PATH})
        wait_port(self.http)

    def forget_sent(self):
        open(self.sent, "w").close()

    def sent_bytes(self):
        with open(self.sent) as file:
            return sum(int(line.split()[1]) for line in file)


class Dockerd(Process):
    """A dockerd with its own data and one mirror."""

    def __init__(self, dir, mirror):
        os.makedirs(dir)
        with open(f"{dir}/daemon.json", "w") as out:
            out.write(f'{{"registry-mirrors": ["{mirror}"]}}')
        host = f"unix://{dir}/docker.sock"
        self.environment = {**os.environ, "PATH": SYSTEM_PATH, "DOCKER_HOST": host}
        super().__init__(["dockerd", "--bridge=none", "--iptables=false", "--host", host, "--config-file", f"{dir}/daemon.json",
                          "--data-root", f"{dir}/data", "--exec-root", f"{dir}/exec", "--pidfile", f"{dir}/pid"],
                         f"{dir}/log", env=self.environment)
        end = time.monotonic() + 30
        while self.docker("version").returncode:
            if time.monotonic() > end:
                self.stop()
                raise CannotMeasure(f"dockerd does not answer; its log:\n{open(self.log).read()}")
            time.sleep(0.1)

    def docker(self, *arguments):
        return subprocess.run(["docker", *arguments], env=self.environment, capture_output=True, text=True)

    def pull(self, image):
        """Pulls `image`, then removes it with its layers; returns the seconds of the pull."""
        start = time.perf_counter()
        done = self.docker("pull", "-q", image)
        seconds = time.perf_counter() - start
        if done.returncode or self.docker("image", "rm", "--force", image).returncode or self.docker("image", "ls", "-q").stdout:
            raise CannotMeasure(f"docker pull {image}: {done.stderr}")
        os.sync()
        return seconds


@contextlib.contextmanager
def served(answer):
    """Calls `answer` with each connection, in a process apart from the measuring client; yields the port."""
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


class EvenOrigin:
    """An origin that sends `rate` bytes a second in all, evenly, and answers a second connection with 429.

    nginx cannot do that: it counts bytes from one send to the next, so the time between sends costs it up to 5 %."""

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
                    self.send(client, self.root + line.split()[1].decode())
                finally:
                    self.busy.release()

    def send(self, client, path):
        with open(path, "rb") as file:
            size, sent, start = os.fstat(file.fileno()).st_size, 0, time.monotonic()
            client.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
            while sent < size:
                time.sleep(max(start + sent / self.rate - time.monotonic(), 0))
                sent += client.sendfile(file, sent, 256 << 10)


class Relay:
    """The least work of a verified download: receives, hashes on a second thread, writes and sends. One GET a connection."""

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
