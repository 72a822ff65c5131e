//! What inflates the layers that dockerd pulls, and into which image store they are unpacked. dockerd does it for its own store, and
//! containerd for containerd's; each takes a program that is faster than Go's own inflater where its `PATH` has one.

use std::fmt;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::process::Pid;
use serde::Deserialize;

use super::api;
use super::facts::Feature;
use super::find::Dockerd;
use crate::file;
use crate::process::maker;
use crate::restart::main_pid;
use crate::version::Version;

/// Where a containerd answers of which dockerd does not say that: the machine's, and one that dockerd has started.
const CONTAINERDS: [&str; 2] = ["/run/containerd/containerd.sock", "/run/docker/containerd/containerd.sock"];
const CONTAINERD_UNIT: &str = "containerd.service";
/// containerd, core/archive/compression: `igzip` is tried since 2.0.
const IGZIP_SINCE: Version = Version::new(2, 0);

/// What inflates a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inflater {
    /// That of Go's library, in the process itself.
    Go,
    /// pigz
    Unpigz,
    /// ISA-L
    Igzip,
}

/// How dockerd unpacks the layers that it pulls.
#[derive(Debug)]
pub struct Unpacking {
    is_own_store: bool,
    driver: String,
    /// `None` where the process that does it cannot be looked at.
    inflater: Option<Inflater>,
    /// Whether pigz would make a pull faster.
    pub wants_pigz: bool,
    /// Whether dockerd can have containerd's image store, and has its own.
    pub may_switch: bool,
}

/// Who unpacks.
#[derive(Debug, Clone, Copy)]
enum Unpacker {
    /// Into its own store.
    Dockerd,
    /// Into containerd's store; the version, where it is known.
    Containerd(Option<Version>),
}

/// The environment of the process that unpacks, as `NAME=value`.
struct Environment(Vec<String>);

impl Dockerd {
    /// How it unpacks; `None` where it does not run.
    pub fn unpacking(&self) -> Option<Unpacking> {
        let info = self.running.as_ref().ok()?;
        let is_own_store = !info.has_containerd_store();
        let (unpacker, pid) = if is_own_store {
            (Unpacker::Dockerd, self.pid)
        } else {
            (Unpacker::Containerd(self.containerd_version()), self.containerd_pid(info.containerd()))
        };
        let environment = pid.and_then(Environment::of);
        Some(Unpacking {
            is_own_store,
            driver: info.driver.clone(),
            inflater: environment.as_ref().map(|environment| unpacker.inflater(environment)),
            wants_pigz: environment.is_some_and(|environment| unpacker.wants_pigz(&environment)),
            may_switch: is_own_store && self.has(Feature::ContainerdStore),
        })
    }

    pub(super) fn containerd_version(&self) -> Option<Version> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Answer {
            components: Vec<Component>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Component {
            name: String,
            version: String,
        }
        let answer = api::ask(&self.socket, "GET", "/version").ok()?;
        let Answer { components } = serde_json::from_str(&answer.body).ok()?;
        let containerd = components.into_iter().find(|component| component.name == "containerd")?;
        Version::parse(&containerd.version)
    }

    fn containerd_pid(&self, said: Option<&Path>) -> Option<Pid> {
        let socket = said
            .map(Path::to_owned)
            .or_else(|| CONTAINERDS.into_iter().map(PathBuf::from).find(|socket| socket.exists()));
        // A user who is not root may not connect to it.
        socket.and_then(|socket| maker(&socket)).or_else(|| main_pid(CONTAINERD_UNIT, false))
    }
}

impl Unpacking {
    /// What pigz is worth; measured with dockerd 28.5.2 and an image of 1.2 GB.
    pub const PIGZ_SAVES: &str = "pigz, which dockerd takes by itself, would save a quarter of a pull's time";
    /// The command that installs it.
    pub const INSTALL_PIGZ: &str = "apt-get install pigz";
}

impl Unpacker {
    fn inflater(self, environment: &Environment) -> Inflater {
        match self {
            Self::Dockerd if environment.allows("unpigz", "MOBY_DISABLE_PIGZ") => Inflater::Unpigz,
            Self::Dockerd => Inflater::Go,
            Self::Containerd(version) => {
                let knows_igzip = version.is_some_and(|version| version >= IGZIP_SINCE);
                if knows_igzip && environment.allows("igzip", "CONTAINERD_DISABLE_IGZIP") {
                    Inflater::Igzip
                } else if environment.allows("unpigz", "CONTAINERD_DISABLE_PIGZ") {
                    Inflater::Unpigz
                } else {
                    Inflater::Go
                }
            }
        }
    }

    /// Whether pigz is missing where it is worth something: containerd's store is bound by its untar, and gains nothing by it.
    fn wants_pigz(self, environment: &Environment) -> bool {
        matches!(self, Self::Dockerd)
            && !environment.finds("unpigz")
            && !environment.is_true("MOBY_DISABLE_PIGZ")
    }
}

impl Environment {
    /// That of a process, as root where it is another user's; `None` where that cannot be.
    fn of(pid: Pid) -> Option<Self> {
        let text = file::read(Path::new(&format!("/proc/{}/environ", pid.as_raw_nonzero()))).ok()??;
        Some(Self(text.split('\0').map(str::to_owned).collect()))
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find_map(|one| one.strip_prefix(name)?.strip_prefix('='))
    }

    /// As Go's `strconv.ParseBool`.
    fn is_true(&self, name: &str) -> bool {
        self.value(name).is_some_and(|value| ["1", "t", "T", "true", "TRUE", "True"].contains(&value))
    }

    /// Whether its `PATH` has a program, as Go's `exec.LookPath` looks for it.
    fn finds(&self, program: &str) -> bool {
        std::env::split_paths(self.value("PATH").unwrap_or_default()).any(|dir| {
            let found = std::fs::metadata(dir.join(program));
            dir.is_absolute() && found.is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
        })
    }

    fn allows(&self, program: &str, disabled_by: &str) -> bool {
        !self.is_true(disabled_by) && self.finds(program)
    }
}

impl fmt::Display for Unpacking {
    /// `unpacks with unpigz into its own image store (overlay2)`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inflater = match self.inflater {
            Some(Inflater::Go) => " with Go's own inflater",
            Some(Inflater::Unpigz) => " with unpigz",
            Some(Inflater::Igzip) => " with igzip",
            None => "",
        };
        let store = if self.is_own_store { "its own" } else { "containerd's" };
        write!(f, "unpacks{inflater} into {store} image store ({})", self.driver)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTAINERD_2: Unpacker = Unpacker::Containerd(Some(Version::new(2, 1)));
    const CONTAINERD_1: Unpacker = Unpacker::Containerd(Some(Version::new(1, 7)));

    /// A process whose `PATH` has these programs, and with this variable.
    fn inflater(unpacker: Unpacker, programs: &[&str], variable: &str) -> (Inflater, bool) {
        let dir = tempfile::tempdir().expect("a directory");
        for program in programs {
            let path = dir.path().join(program);
            std::fs::write(&path, "").expect("written");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a mode");
        }
        let path = format!("PATH=/nowhere:{}", dir.path().display());
        let environment = Environment(vec![path, variable.to_owned()]);
        (unpacker.inflater(&environment), unpacker.wants_pigz(&environment))
    }

    #[test]
    fn dockerd_takes_unpigz_for_its_own_store_and_would_gain_by_it() {
        let both = ["igzip", "unpigz"];
        for (programs, variable, expected) in [
            (&both[..], "", (Inflater::Unpigz, false)),
            (&both[..], "MOBY_DISABLE_PIGZ=0", (Inflater::Unpigz, false)),
            (&both[..], "MOBY_DISABLE_PIGZ=true", (Inflater::Go, false)),
            (&both[..], "CONTAINERD_DISABLE_PIGZ=true", (Inflater::Unpigz, false)),
            (&both[..1], "", (Inflater::Go, true)),
            (&[], "", (Inflater::Go, true)),
            (&[], "MOBY_DISABLE_PIGZ=1", (Inflater::Go, false)),
        ] {
            assert_eq!(inflater(Unpacker::Dockerd, programs, variable), expected, "{programs:?} {variable}");
        }
    }

    #[test]
    fn containerd_takes_igzip_since_2_then_unpigz_and_is_advised_nothing() {
        let both = ["igzip", "unpigz"];
        for (unpacker, programs, variable, expected) in [
            (CONTAINERD_2, &both[..], "", Inflater::Igzip),
            (CONTAINERD_2, &both[..], "CONTAINERD_DISABLE_IGZIP=1", Inflater::Unpigz),
            (CONTAINERD_2, &both[1..], "", Inflater::Unpigz),
            (CONTAINERD_2, &both[1..], "CONTAINERD_DISABLE_PIGZ=T", Inflater::Go),
            (CONTAINERD_2, &both[1..], "MOBY_DISABLE_PIGZ=1", Inflater::Unpigz),
            (CONTAINERD_2, &[], "", Inflater::Go),
            (CONTAINERD_1, &both[..], "", Inflater::Unpigz),
            (CONTAINERD_1, &both[..1], "", Inflater::Go),
            (Unpacker::Containerd(None), &both[..], "", Inflater::Unpigz),
        ] {
            assert_eq!(inflater(unpacker, programs, variable), (expected, false), "{programs:?} {variable}");
        }
    }

    #[test]
    fn a_file_that_is_no_program_inflates_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("unpigz"), "").expect("written");
        let environment = Environment(vec![format!("PATH={}", dir.path().display())]);
        assert!(!environment.finds("unpigz"));
        assert_eq!(Unpacker::Dockerd.inflater(&Environment(Vec::new())), Inflater::Go, "no PATH at all");
    }

    #[test]
    fn how_it_unpacks_is_one_sentence() {
        let unpacking = |is_own_store, inflater| Unpacking {
            is_own_store,
            driver: "overlay2".into(),
            inflater,
            wants_pigz: false,
            may_switch: is_own_store,
        };
        for (unpacking, told) in [
            (
                unpacking(true, Some(Inflater::Unpigz)),
                "unpacks with unpigz into its own image store (overlay2)",
            ),
            (unpacking(false, None), "unpacks into containerd's image store (overlay2)"),
        ] {
            assert_eq!(unpacking.to_string(), told);
        }
    }
}
