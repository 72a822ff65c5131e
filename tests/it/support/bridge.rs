//! A bridge as dockerd's, and a container on it: a network namespace with one leg on the bridge.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::programs::{program, succeed};

/// The device, which is removed with the test.
pub(crate) struct Bridge {
    pub(crate) name: String,
    /// The first three numbers of its network.
    network: String,
}

/// A network namespace, held by a process that sleeps, and perhaps a mount namespace.
pub(crate) struct Container {
    process: Child,
    namespaces: &'static [&'static str],
}

impl Bridge {
    /// One that has its address.
    pub(crate) fn new() -> Self {
        let bridge = Self::planned();
        bridge.make();
        bridge
    }

    /// One that is still to be made: no device has the address.
    pub(crate) fn planned() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (pid, number) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        // Two runs at the same time are in different networks, mostly.
        let (second, third) = (64 + pid % 64, (pid / 64 + number * 7) % 256);
        Self { name: format!("hc{:x}n{number}", pid % 0xff_ffff), network: format!("10.{second}.{third}") }
    }

    pub(crate) fn make(&self) {
        ip(&["link", "add", &self.name, "type", "bridge"]);
        ip(&["addr", "add", &format!("{}/24", self.gateway()), "dev", &self.name]);
        ip(&["link", "set", &self.name, "up"]);
    }

    /// The machine's own address on it.
    pub(crate) fn gateway(&self) -> String {
        format!("{}.1", self.network)
    }

    /// A container, which reaches everything else through the gateway.
    pub(crate) fn container(&self) -> Container {
        self.contained(&["--net"])
    }

    /// A container that has mounts of its own.
    pub(crate) fn node(&self) -> Container {
        self.contained(&["--net", "--mount"])
    }

    fn contained(&self, namespaces: &'static [&'static str]) -> Container {
        let mut sleep = program("unshare");
        sleep.args(namespaces).args(["sh", "-c", "echo here; exec sleep 600"]).stdout(Stdio::piped());
        let mut child = sleep.spawn().expect("unshare starts");
        let mut word = [0; 5];
        let out = child.stdout.as_mut().expect("its words");
        std::io::Read::read_exact(out, &mut word).expect("its own network");
        let container = Container { process: child, namespaces };
        let (leg, inner, pid) =
            (format!("{}v", self.name), format!("{}w", self.name), container.pid().to_string());
        ip(&[
            "link", "add", &leg, "master", &self.name, "type", "veth", "peer", "name", &inner, "netns", &pid,
        ]);
        ip(&["link", "set", &leg, "up"]);
        for words in [
            ["addr", "add", &format!("{}.2/24", self.network), "dev", &inner].as_slice(),
            &["link", "set", &inner, "up"],
            &["route", "add", "default", "via", &self.gateway()],
        ] {
            succeed(container.command("ip").args(words));
        }
        container
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = program("ip").args(["link", "del", &self.name]).stderr(Stdio::null()).status();
    }
}

impl Container {
    /// Has a node see a copy of `/etc`, which is `root/etc`, where no name of another machine is found.
    pub(crate) fn has_own_etc(&self, root: &Path) {
        succeed(program("cp").args(["--archive", "/etc"]).arg(root));
        let resolv = root.join("etc/resolv.conf");
        let _ = std::fs::remove_file(&resolv);
        std::fs::write(resolv, "nameserver 127.0.0.1\n").expect("written");
        succeed(self.command("mount").arg("--bind").arg(root.join("etc")).arg("/etc"));
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// A program of this machine in the container's network.
    pub(crate) fn command(&self, name: &str) -> Command {
        let mut command = program("nsenter");
        command.arg("--target").arg(self.pid().to_string()).args(self.namespaces).arg(name);
        command
    }

    /// The status of a GET, and its body; an error is what curl says.
    pub(crate) fn get(&self, ca: &Path, url: &str, header: Option<&str>) -> Result<(u16, String), String> {
        let mut curl = self.command("curl");
        curl.args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "20", "--cacert"]).arg(ca);
        curl.args(["--write-out", "\n%{http_code}", url])
            .args(header.into_iter().flat_map(|one| ["--header", one]));
        let output = curl.output().expect("curl starts");
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = text.rsplit_once('\n').expect("a status");
        Ok((status.parse().expect("a number"), body.to_owned()))
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn ip(words: &[&str]) {
    succeed(program("ip").args(words));
}
