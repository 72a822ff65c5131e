//! How long a holder lives. A job that is killed never runs `down`: what it held must not be held for ever.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::who::Who;

/// A job whose own process cannot be seen counts as ended after this: no CI lets one run longer unless told so.
const JOB: Duration = Duration::from_secs(24 * 3600);
/// The process of a GitHub job: the runner starts one for each job, and its steps are below it.
const WORKER: &str = "Runner.Worker";

/// What tells that a holder has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Life {
    /// Seconds since the epoch.
    since: u64,
    /// The system's boot. No process outlives one; a `setup` does.
    boot: Option<String>,
    /// The job's process.
    process: Option<Process>,
    /// How long it may last at most, in seconds.
    limit: Option<u64>,
}

/// A process, told apart from a later one with the same number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Process {
    pid: u32,
    /// When it started, in the system's ticks since its boot.
    started: u64,
    /// The namespace that the number is of: another container sees other processes.
    namespace: Option<String>,
}

/// What `/proc/PID/stat` says of a process.
struct Stat {
    name: String,
    state: char,
    parent: u32,
    started: u64,
}

impl Life {
    /// The life of a holder that begins now, of this process.
    pub(super) fn of_this_process(who: &Who) -> Self {
        let is_job = matches!(who, Who::Job(_));
        let process = if is_job { worker() } else { None };
        let limit = (is_job && process.is_none()).then_some(JOB.as_secs());
        Self { since: now(), boot: boot(), process, limit }
    }

    /// Why it has ended; `None` when it has not, or when that cannot be told.
    pub(super) fn ended(&self) -> Option<String> {
        if self.boot.is_some() && boot().is_some_and(|now| Some(now) != self.boot) {
            return Some("the system was started again since".into());
        }
        if let Some(process) = &self.process
            && process.has_ended()
        {
            return Some(format!("its process {} has ended", process.pid));
        }
        let limit = self.limit?;
        (now() > self.since.saturating_add(limit)).then(|| format!("it began {} hours ago", limit / 3600))
    }
}

impl Process {
    fn has_ended(&self) -> bool {
        let here = namespace();
        let seen = self.namespace.is_some() && self.namespace == here;
        seen && !stat(self.pid)
            .is_some_and(|stat| stat.started == self.started && !matches!(stat.state, 'Z' | 'X'))
    }
}

/// The nearest process above this one that is a job's.
fn worker() -> Option<Process> {
    let mut pid = std::process::id();
    // No tree of processes is as deep.
    for _ in 0..64 {
        let stat = stat(pid)?;
        if stat.name == WORKER {
            return Some(Process { pid, started: stat.started, namespace: namespace() });
        }
        pid = stat.parent;
    }
    None
}

fn stat(pid: u32) -> Option<Stat> {
    parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The fields 2, 3, 4 and 22 of proc_pid_stat(5). The name may have spaces and parentheses.
fn parse(text: &str) -> Option<Stat> {
    let (front, back) = text.rsplit_once(") ")?;
    let (_, name) = front.split_once(" (")?;
    let mut fields = back.split(' ');
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    let started = fields.nth(17)?.parse().ok()?;
    Some(Stat { name: name.to_owned(), state, parent, started })
}

fn namespace() -> Option<String> {
    let link = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(link.to_string_lossy().into_owned())
}

fn boot() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned())
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life() -> Life {
        Life::of_this_process(&Who::Job(vec!["CI_JOB_ID=1".into()]))
    }

    #[test]
    fn a_job_lives_until_the_boot_its_process_or_its_time_ends() {
        assert_eq!(life().ended(), None);
        let other_boot = Life { boot: Some("another".into()), ..life() };
        assert!(other_boot.ended().is_some_and(|why| why.contains("started again")));
        let old = Life { since: now() - 25 * 3600, limit: Some(JOB.as_secs()), ..life() };
        assert_eq!(old.ended().as_deref(), Some("it began 24 hours ago"));
        let own = std::process::id();
        let started = stat(own).expect("this process").started;
        let with = |process| Life { process: Some(process), limit: None, ..life() };
        let process = Process { pid: own, started, namespace: namespace() };
        assert_eq!(with(process.clone()).ended(), None);
        let reused = Process { started: started + 1, ..process.clone() };
        assert!(with(reused.clone()).ended().is_some());
        let elsewhere = Process { namespace: Some("pid:[1]".into()), ..reused };
        assert_eq!(with(elsewhere).ended(), None, "it cannot be seen from here");
    }

    #[test]
    fn a_users_hold_has_no_limit() {
        let life = Life::of_this_process(&Who::User(0));
        assert_eq!((life.limit, life.process), (None, None));
    }

    #[test]
    fn a_process_may_have_any_name() {
        let text = "7 (a) b (c) S 3 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 1 2";
        let stat = parse(text).expect("a process");
        assert_eq!((stat.name.as_str(), stat.state, stat.parent, stat.started), ("a) b (c", 'S', 3, 4711));
    }
}
