//! The differ as a service of systemd's. systemd itself holds the socket, from before containerd starts until it has stopped: so
//! somebody listens while the differ starts, after it was killed, and after a reboot.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::change::Plan;
use crate::error::Error;
use crate::file_kind::FileKind;
use crate::format::HEADER;
use crate::format::containerd_toml::DIFFER_SOCKET;
use crate::journal::Journal;
use crate::process::{is_installed, systemctl, systemctl_says};
use crate::sudo;

/// The unit that listens, and the one that it starts.
const SOCKET: &str = "hubcap-differ.socket";
const SERVICE: &str = "hubcap-differ.service";
/// Where systemd has its administrator's units.
const UNITS: &str = "/etc/systemd/system";
/// sd_booted(3): it is there where systemd is the machine's first process.
const BOOTED: &str = "/run/systemd/system";
/// The word in its unit before its program.
const START: &str = "ExecStart=";

/// A service that runs this program.
#[derive(Debug)]
pub struct DifferService {
    program: PathBuf,
}

impl DifferService {
    /// One that runs this hubcap.
    ///
    /// # Errors
    /// [`Error::Client`] with the reason why that cannot be, or is not safe.
    pub fn new(program: &Path) -> Result<Self, Error> {
        if !Path::new(BOOTED).is_dir() || !is_installed("systemctl") {
            return Err(Error::Client(
                "no systemd runs here, which would listen before containerd starts, and without that every pull fails after a \
                 reboot. `hubcap up --unpack` does without it, until a reboot"
                    .into(),
            ));
        }
        refuse_others_program(program)?;
        Ok(Self { program: program.to_owned() })
    }

    /// The program that it runs.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Its units.
    ///
    /// # Errors
    /// [`Error::NotUnderstood`] where somebody else has made one of these; [`Error::Io`] and [`Error::Rights`] when it cannot be
    /// read.
    pub fn plan(&self, journal: &Journal) -> Result<Plan, Error> {
        let plan = |name: &str, text: String| {
            let path = Path::new(UNITS).join(name);
            journal.plan(path.clone(), FileKind::Own, |original| match original {
                Some(_) => Err(Error::not_understood(
                    &path,
                    "it is there already, and not hubcap's. Remove it first",
                )),
                None => Ok(Some(text)),
            })
        };
        Ok(vec![plan(SERVICE, self.service())?, plan(SOCKET, socket())?])
    }

    /// Whether a file is one of its units.
    pub fn is_unit(path: &Path) -> bool {
        [SOCKET, SERVICE].into_iter().any(|name| path == Path::new(UNITS).join(name))
    }

    /// The one whose units are written down; `None` where there are none.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Rights`] when its unit cannot be read.
    pub fn of(journal: &Journal) -> Result<Option<Self>, Error> {
        if !journal.paths().any(Self::is_unit) {
            return Ok(None);
        }
        let text = crate::file::read(&Path::new(UNITS).join(SERVICE))?.unwrap_or_default();
        let start = text.lines().find_map(|line| line.strip_prefix(START)).unwrap_or_default();
        Ok(Some(Self { program: start.split(' ').next().unwrap_or_default().into() }))
    }

    /// Has systemd listen, now and from each boot on, for the program that is there now.
    ///
    /// # Errors
    /// [`Error::Client`] with what systemd says.
    pub fn start(&self) -> Result<(), Error> {
        systemctl(false, &["daemon-reload"])?;
        systemctl(false, &["enable", "--now", SOCKET])?;
        // It finishes what it has begun, and requests wait meanwhile.
        systemctl(false, &["try-restart", SERVICE])
    }

    /// Has nobody listen any more. The units are removed after that, and then [`forgotten`](Self::forgotten).
    ///
    /// # Errors
    /// [`Error::Client`] with what systemd says.
    pub fn stop(&self) -> Result<(), Error> {
        if Path::new(UNITS).join(SOCKET).exists() {
            systemctl(false, &["disable", "--now", SOCKET])?;
        }
        if Path::new(UNITS).join(SERVICE).exists() {
            systemctl(false, &["stop", SERVICE])?;
        }
        Ok(())
    }

    /// Has systemd forget units that are removed.
    ///
    /// # Errors
    /// [`Error::Client`] with what systemd says.
    pub fn forgotten() -> Result<(), Error> {
        systemctl(false, &["daemon-reload"])
    }

    /// Whether systemd listens from the next boot on.
    pub fn is_enabled(&self) -> bool {
        systemctl_says(false, &["is-enabled", SOCKET]).is_some()
    }

    /// What the differ has said since then, by systemd's journal.
    pub fn log(&self, since: SystemTime) -> String {
        let journalctl = |words: &[&str]| {
            let output = sudo::command("journalctl").args(words).stdin(Stdio::null()).output();
            output.map(|output| output.stdout).unwrap_or_default()
        };
        // What it has said may be on its way.
        journalctl(&["--sync"]);
        let since = since.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let (unit, since) = (format!("--unit={SERVICE}"), format!("--since=@{since}"));
        let said = journalctl(&[&unit, &since, "--output=cat", "--no-pager"]);
        String::from_utf8_lossy(&said).into_owned()
    }

    /// As [`socket`], before containerd: so it stops after it. It is started anew without limit, since one of systemd's limits
    /// would take the socket away as well.
    fn service(&self) -> String {
        let program = self.program.display();
        format!(
            "{HEADER}[Unit]\nDescription=Unpacks layers for containerd\nRequires={SOCKET}\nBefore=containerd.service\n\
             StartLimitIntervalSec=0\n\n\
             [Service]\n{START}{program} differ --socket -\nStandardInput=socket\nStandardOutput=journal\nStandardError=journal\n\
             Restart=always\nRestartSec=200ms\n"
        )
    }
}

fn socket() -> String {
    format!(
        "{HEADER}[Unit]\nDescription=Where containerd has layers unpacked\nBefore=containerd.service\n\n\
         [Socket]\nListenStream={DIFFER_SOCKET}\nSocketMode=0600\nDirectoryMode=0755\nRemoveOnStop=yes\nTriggerLimitIntervalSec=0\n\n\
         [Install]\nWantedBy=sockets.target\n"
    )
}

/// Refuses a program that root would run at each boot, and that somebody else can change.
fn refuse_others_program(program: &Path) -> Result<(), Error> {
    const INSTALL: &str = "Install hubcap as root, for example as /usr/local/bin/hubcap";
    let refused = |why: String| {
        Error::Client(format!("root would run {} at each boot, and {why}. {INSTALL}", program.display()))
    };
    let is_plain = |one: char| one.is_ascii_alphanumeric() || "/._-+@".contains(one);
    let is_plain = program.is_absolute() && program.to_str().is_some_and(|path| path.chars().all(is_plain));
    if !is_plain {
        return Err(refused("its name has characters that mean something else to systemd".into()));
    }
    for path in program.ancestors() {
        let metadata = std::fs::metadata(path)?;
        if metadata.uid() != 0 {
            return Err(refused(format!("{} is the user {}'s", path.display(), metadata.uid())));
        }
        // In a sticky directory only a file's owner replaces it.
        if metadata.mode() & 0o002 != 0 && metadata.mode() & 0o1000 == 0 {
            return Err(refused(format!("every user may change {}", path.display())));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_program_that_others_may_change_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let program = dir.path().join("hubcap");
        std::fs::write(&program, "").expect("written");
        let refused = |path: &Path| refuse_others_program(path).map_err(|error| error.to_string());
        let mode = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("a mode");
        };
        if rustix::process::geteuid().is_root() {
            refused(&program).expect("root's");
        }
        mode(&program, 0o757);
        assert!(refused(&program).is_err_and(|why| why.contains("Install hubcap as root")));
        mode(&program, 0o755);
        mode(dir.path(), 0o777);
        assert!(refused(&program).is_err());
        for path in ["/usr/bin/a b", "/usr/bin/%h", "hubcap"] {
            assert!(refused(Path::new(path)).is_err_and(|why| why.contains("characters")), "{path}");
        }
    }

    #[test]
    fn the_program_is_read_from_the_unit_that_names_it() {
        let service = DifferService { program: "/usr/local/bin/hubcap".into() };
        let text = service.service();
        assert!(text.contains("\nExecStart=/usr/local/bin/hubcap differ --socket -\n"), "{text}");
        assert!(text.contains("StartLimitIntervalSec=0") && socket().contains("TriggerLimitIntervalSec=0"));
    }
}
