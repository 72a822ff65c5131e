//! Users who are not root.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::programs::{program, succeed};

/// A user of this machine; removed with the test, and all processes that are left of it.
pub(crate) struct User {
    pub(crate) name: String,
}

impl User {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let user = Self { name: format!("hubcap-it-{}-{number}", std::process::id()) };
        succeed(program("useradd").args(["--no-create-home", "--shell", "/bin/bash", &user.name]));
        user
    }

    /// One who may do everything with sudo, as on GitHub's machines.
    pub(crate) fn with_sudo() -> Self {
        let user = Self::new();
        std::fs::write(user.sudoers(), format!("{} ALL=(ALL) NOPASSWD:ALL\n", user.name)).expect("written");
        std::fs::set_permissions(user.sudoers(), std::fs::Permissions::from_mode(0o440)).expect("a mode");
        user
    }

    fn sudoers(&self) -> PathBuf {
        Path::new("/etc/sudoers.d").join(&self.name)
    }

    /// A program as this user, with nothing of the tester's environment.
    pub(crate) fn command(&self, name: &str) -> Command {
        let mut command = program("setpriv");
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.args(["--reuid", &self.name, "--regid", &self.name, "--init-groups", name]);
        command
    }

    /// Gives what is at a path to this user.
    pub(crate) fn owns(&self, path: &Path) {
        succeed(program("chown").args(["-R", &self.name]).arg(path));
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.sudoers());
        let _ = program("pkill").args(["-KILL", "-u", &self.name]).status();
        let _ = program("userdel").args(["--force", &self.name]).status();
    }
}
