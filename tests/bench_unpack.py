"""What tests/bench and tests/measure-unpack need for whole pulls of an image that is mostly unpacking."""

import contextlib
import io
import json
import os
import random
import re
import shutil
import subprocess
import tarfile
import tempfile
import time

from bench_content import OCI, Repository, digest_of
from bench_servers import SYSTEM_PATH, CannotMeasure, Process, mount_new_file_system

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MODERN = f"{ROOT}/target/tools/modern"
PATH = f"{MODERN}/usr/bin:{MODERN}/usr/sbin:{SYSTEM_PATH}"
# Files of each layer, and the bytes of each file.
LAYERS = ((2500, 280 << 10), (50000, 13 << 10), (2500, 280 << 10), (2500, 280 << 10), (2500, 280 << 10))
IMAGE = "unpack:1"
MANIFEST = "v2/library/unpack/manifests/1"


def missing_programs():
    """What is not there of what a measurement needs."""
    programs = [f"{MODERN}/usr/sbin/dockerd", f"{MODERN}/usr/bin/containerd", "pigz", "igzip", "tar", "mkfs.ext4"]
    return [program for program in programs if not shutil.which(program, path=SYSTEM_PATH)]


def text():
    """Real text: Python's own modules."""
    directory = os.path.dirname(os.__file__)
    parts = []
    for name in sorted(os.listdir(directory)):
        if name.endswith(".py"):
            with open(f"{directory}/{name}", "rb") as file:
                parts.append(file.read())
    return b"".join(parts) * 2


def make_image(web, part=1):
    """Makes `library/unpack:1`, with this part of its files. A tenth of each file is random, the rest is text, so that gzip makes a third of it."""
    repository, layers, diffs = Repository(web, "unpack"), [], []
    words, tar, chance = text(), f"{web}/layer.tar", random.Random(1)
    for number, (files, size) in enumerate(LAYERS):
        files = int(files * part)
        with tarfile.open(tar, "w", format=tarfile.PAX_FORMAT) as out:
            for index in range(files):
                here = int(size * (0.5 + chance.random()))
                if index % 50 == 0:
                    directory = tarfile.TarInfo(f"opt/{number}/{index // 50}")
                    directory.type, directory.mode = tarfile.DIRTYPE, 0o755
                    out.addfile(directory)
                entry = tarfile.TarInfo(f"opt/{number}/{index // 50}/file{index}")
                start = chance.randrange(len(words) // 2)
                content = os.urandom(here // 10) + words[start : start + here - here // 10]
                entry.size, entry.mode, entry.mtime = len(content), 0o644, 1500000000
                out.addfile(entry, io.BytesIO(content))
        diffs.append(digest_of(tar))
        with open(repository.new, "wb") as out:
            subprocess.run(["pigz", "-6", "-c", tar], check=True, stdout=out)
        layers.append(repository.add(f"{OCI}.layer.v1.tar+gzip"))
    os.remove(tar)
    config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": diffs}}
    repository.manifest(f"{OCI}.manifest.v1+json", (f"{OCI}.config.v1+json", config), layers)


@contextlib.contextmanager
def new_file_system(dir):
    """Mounts a new ext4 in `dir`/disk."""
    disk, image = f"{dir}/disk", f"{dir}/disk.img"
    os.makedirs(disk, exist_ok=True)
    mount_new_file_system(image, disk)
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--recursive", disk], check=True)
        os.remove(image)


class Differ(Process):
    def __init__(self, binary, dir):
        self.socket = f"{dir}/differ.sock"
        super().__init__([binary, "differ", "--socket", self.socket], f"{dir}/differ.log", env={"PATH": PATH})
        wait(lambda: os.path.exists(self.socket), self)

    def applied(self):
        """The seconds of each layer."""
        with open(self.log) as log:
            return [float(seconds) for seconds in re.findall(r"applied sha256:.* in ([0-9.]+) s", log.read())]


class Containerd(Process):
    def __init__(self, dir, disk, differ):
        self.socket = f"{dir}/containerd.sock"
        config = f"""version = 3
root = "{disk}/containerd"
state = "{dir}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime"]
[grpc]
address = "{self.socket}"
[ttrpc]
address = "{self.socket}.ttrpc"
[plugins."io.containerd.internal.v1.opt"]
path = "{dir}/opt"
"""
        if differ:
            config += f"""[proxy_plugins.hubcap]
type = "diff"
address = "{differ.socket}"
[plugins."io.containerd.service.v1.diff-service"]
default = ["hubcap", "walking"]
"""
        with open(f"{dir}/containerd.toml", "w") as out:
            out.write(config)
        command = [f"{MODERN}/usr/bin/containerd", "--config", f"{dir}/containerd.toml"]
        super().__init__(command, f"{dir}/containerd.log", env={"PATH": PATH})
        ctr = [f"{MODERN}/usr/bin/ctr", "--address", self.socket, "version"]
        wait(lambda: subprocess.run(ctr, capture_output=True).returncode == 0, self)


class Dockerd(Process):
    """On containerd's image store, or on its own with the graphdriver overlay2."""

    def __init__(self, dir, disk, containerd, mirror, graphdriver):
        settings = {"registry-mirrors": [mirror], "features": {"containerd-snapshotter": not graphdriver}}
        if graphdriver:
            settings["storage-driver"] = "overlay2"
        with open(f"{dir}/daemon.json", "w") as out:
            json.dump(settings, out)
        host = f"unix://{dir}/docker.sock"
        self.environment = {**os.environ, "PATH": PATH, "DOCKER_HOST": host}
        command = [f"{MODERN}/usr/sbin/dockerd", "--bridge=none", "--iptables=false", "--host", host, "--containerd", containerd.socket]
        command += ["--config-file", f"{dir}/daemon.json", "--data-root", f"{disk}/docker", "--exec-root", f"{dir}/exec"]
        super().__init__([*command, "--pidfile", f"{dir}/docker.pid"], f"{dir}/dockerd.log", env=self.environment)
        wait(lambda: self.docker("version").returncode == 0, self)

    def docker(self, *arguments):
        return subprocess.run(["docker", *arguments], env=self.environment, capture_output=True, text=True)


def wait(ready, process, seconds=120):
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end or process.child.poll() is not None:
            with open(process.log) as log:
                raise CannotMeasure(f"{process.child.args[0]} does not answer; its log:\n{log.read()}")
        time.sleep(0.05)


def fill(binary, work, places):
    """Has hubcap store the image, so that no pull that counts waits for it."""
    state, store = places
    environment = {"HOME": work, "PATH": PATH}
    command = [binary, "pull", "--state", state, "--store", store, IMAGE]
    filled = subprocess.run(command, env=environment, capture_output=True, text=True)
    if filled.returncode:
        raise CannotMeasure(f"hubcap pull: {filled.stderr}")
    os.sync()


def pull(way, binary, mirror, work):
    """One pull by the way "hubcap", "containerd" or "graphdriver". Returns its seconds, the CPU seconds of containerd and of the differ,
    and the seconds in which layers were applied."""
    dir = tempfile.mkdtemp(dir=work)
    with contextlib.ExitStack() as stack:
        disk = stack.enter_context(new_file_system(dir))
        differ = stack.enter_context(Differ(binary, dir)) if way == "hubcap" else None
        containerd = stack.enter_context(Containerd(dir, disk, differ))
        dockerd = stack.enter_context(Dockerd(dir, disk, containerd, mirror, way == "graphdriver"))
        os.sync()
        start = time.perf_counter()
        done = dockerd.docker("pull", "-q", IMAGE)
        seconds = time.perf_counter() - start
        if done.returncode:
            raise CannotMeasure(f"docker pull: {done.stderr}")
        applied = differ.applied() if differ else []
        if len(applied) != (len(LAYERS) if differ else 0):
            raise CannotMeasure(f"the differ has applied {len(applied)} layers")
        result = seconds, containerd.cpu(), differ.cpu() if differ else 0.0, sum(applied)
    shutil.rmtree(dir)
    return result


def untar(web, work):
    """The seconds in which `igzip | tar` unpacks the layers, one after the other, without any daemon."""
    with open(f"{web}/{MANIFEST}") as file:
        layers = [layer["digest"] for layer in json.load(file)["layers"]]
    dir = tempfile.mkdtemp(dir=work)
    with new_file_system(dir) as disk:
        os.sync()
        start = time.perf_counter()
        for number, digest in enumerate(layers):
            os.makedirs(f"{disk}/{number}")
            inflate = subprocess.Popen(["igzip", "-dc", f"{web}/v2/library/unpack/blobs/{digest}"], stdout=subprocess.PIPE)
            subprocess.run(["tar", "-x", "-C", f"{disk}/{number}"], stdin=inflate.stdout, check=True)
            inflate.stdout.close()
            if inflate.wait():
                raise CannotMeasure(f"igzip ended with {inflate.returncode}")
        seconds = time.perf_counter() - start
    shutil.rmtree(dir)
    return seconds
