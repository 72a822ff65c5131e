"""What the measured registry holds: files in the places where nginx serves them as blobs and manifests."""

import hashlib
import json
import os
import shutil
import subprocess

OCI = "application/vnd.oci.image"
DOCKER = "application/vnd.docker"


def digest_of(path):
    with open(path, "rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


class Repository:
    """One repository `library/NAME` below the directory `web`."""

    def __init__(self, web, name):
        self.path = f"/v2/library/{name}"
        self.dir = web + self.path
        for kind in ("blobs", "manifests"):
            os.makedirs(f"{self.dir}/{kind}")
        self.new = f"{self.dir}/blobs/new"

    def add(self, media_type):
        """Moves the file `self.new` to the place of its digest; returns its descriptor."""
        digest, size = digest_of(self.new), os.path.getsize(self.new)
        os.rename(self.new, f"{self.dir}/blobs/{digest}")
        return {"mediaType": media_type, "size": size, "digest": digest}

    def blob(self, descriptor):
        return f"{self.path}/blobs/{descriptor['digest']}"

    def noise(self, size):
        """Adds a layer of `size` random bytes, which do not compress."""
        with open(self.new, "wb") as out:
            for start in range(0, size, 4 << 20):
                out.write(os.urandom(min(4 << 20, size - start)))
        return self.add(f"{OCI}.layer.v1.tar+gzip")

    def manifest(self, media_type, config, layers, **more):
        """Adds a config and a manifest with the tag `1`; returns the paths by tag and by digest."""
        config_type, config = config
        with open(self.new, "w") as out:
            json.dump(config, out)
        text = json.dumps({"schemaVersion": 2, "mediaType": media_type, "config": self.add(config_type), "layers": layers, **more})
        references = ["1", "sha256:" + hashlib.sha256(text.encode()).hexdigest()]
        for reference in references:
            with open(f"{self.dir}/manifests/{reference}", "w") as out:
                out.write(text)
        return [f"{self.path}/manifests/{reference}" for reference in references]


def sdk_image(web, layer_mib=(230, 235, 140, 290, 80, 4), tenth=False):
    """Makes `library/sdk:1` with layers of about these sizes: 1 GB compressed, 3 GB unpacked. Returns its compressed bytes.

    A third of each file is random. The rest repeats, so dockerd has something to unpack. The third layer is 50,000 small files, as
    the packages of a language are; the files of the others have 12 MiB. `tenth` makes all layers smaller."""
    repository, layers, diffs = Repository(web, "sdk"), [], []
    tree, tar = f"{web}/tree", f"{web}/layer.tar"
    for number, mib in enumerate(layer_mib):
        mib = max(mib // 10, 1) if tenth else mib
        directory = f"{tree}/opt/{number}"
        os.makedirs(directory)
        if number == 2:
            small_files(directory, mib * 360)
        else:
            large_files(directory, max(mib // 4, 1))
        subprocess.run(["tar", "-cf", tar, "-C", tree, "opt"], check=True)
        diffs.append(digest_of(tar))
        with open(repository.new, "wb") as out:
            subprocess.run([shutil.which("pigz") or "gzip", "-1", "-c", tar], check=True, stdout=out)
        layers.append(repository.add(f"{DOCKER}.image.rootfs.diff.tar.gzip"))
        shutil.rmtree(tree)
    os.remove(tar)
    config = {"architecture": "amd64", "os": "linux", "config": {}, "history": [], "rootfs": {"type": "layers", "diff_ids": diffs}}
    repository.manifest(f"{DOCKER}.distribution.manifest.v2+json", (f"{DOCKER}.container.image.v1+json", config), layers)
    return sum(layer["size"] for layer in layers)


def large_files(directory, count):
    for name in range(count):
        with open(f"{directory}/{name}", "wb") as file:
            for _ in range(64):
                file.write(os.urandom(64 << 10) + bytes(range(256)) * 512)


def small_files(directory, count):
    """8 KiB each, a hundred in a directory."""
    for number in range(count):
        if number % 100 == 0:
            os.makedirs(f"{directory}/{number // 100}")
        with open(f"{directory}/{number // 100}/{number}", "wb") as file:
            file.write(os.urandom(2730) + bytes(range(256)) * 21 + bytes(86))
