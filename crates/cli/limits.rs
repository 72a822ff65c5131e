//! What the process asks of the system.

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

/// Hides the environment, the memory and the open files from the user's other processes, and writes no core file: a later step
/// of the job is the same user, and logins, tokens and signed URLs are here (prctl(2), `PR_SET_DUMPABLE`).
pub(crate) fn hide() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!("other processes of this user can read its memory: {error}");
    }
}

/// Lets the C library keep some MiB that were freed. By default it gives back what lies free beyond some hundred KiB, and
/// takes it again page by page, for each piece of a blob: a tenth of what a fetch costs. glibc's limits follow the largest
/// block that was freed (mallopt(3), `M_MMAP_THRESHOLD`); this one is never touched, and costs no memory.
pub(crate) fn keep_memory() {
    const KEPT: usize = 4 << 20;
    drop(std::hint::black_box(Vec::<u8>::with_capacity(KEPT)));
}

/// Each client and each content that is read costs an open file. The usual soft limit of 1024 is there for programs that
/// cannot count further, and the hard one is for us.
pub(crate) fn raise_open_files() {
    let limits = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limits.maximum, ..limits }) {
        tracing::warn!("the limit of open files stays as it is: {error}");
    }
}
