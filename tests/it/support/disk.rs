//! Disks that are small, full, or not to be written.

use std::path::Path;

use super::programs::{program, succeed};

/// A file system of a few MiB in memory, unmounted with the test.
pub(crate) struct SmallDisk<'a>(&'a Path);

impl SmallDisk<'_> {
    pub(crate) fn mount(at: &Path, mib: u32) -> SmallDisk<'_> {
        let size = format!("size={mib}m");
        succeed(program("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at));
        SmallDisk(at)
    }

    pub(crate) fn read_only(&self) {
        succeed(program("mount").args(["-o", "remount,ro"]).arg(self.0));
    }

    pub(crate) fn grow(&self, mib: u32) {
        let size = format!("remount,size={mib}m");
        succeed(program("mount").args(["-o", &size]).arg(self.0));
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = program("umount").arg("--lazy").arg(self.0).status();
    }
}
