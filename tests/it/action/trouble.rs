//! What can be wrong on a machine: the job goes on, and its page says in one line why hubcap does not.

use std::path::Path;
use std::time::{Duration, Instant};

use super::{Github, fine, warned};
use crate::support::programs::{install, install_script, program, succeed};

/// The warning of a job with this program for hubcap.
fn with_program(make: impl FnOnce(&Path)) -> String {
    let mut github = Github::new();
    let path = github.hubcap("other");
    make(&path);
    let mut job = github.job();
    job.input("version", path.to_str().expect("text"));
    let began = job.main();
    let warning = warned(&began).to_owned();
    fine(&job.post("success"));
    assert!(warning.contains("/other cannot run here: "), "{warning}");
    assert!(warning.contains("need glibc 2.34 or later") && warning.contains("version: source"), "{warning}");
    warning
}

#[test]
fn a_binary_for_another_c_library_cannot_run_here() {
    let warning = with_program(|path| {
        install("/bin/true", path);
        succeed(program("patchelf").args(["--set-interpreter", "/lib/ld-musl-none.so.1"]).arg(path));
    });
    assert!(warning.contains("this system has another C library"), "{warning}");
}

#[test]
fn a_binary_for_another_processor_cannot_run_here() {
    let warning = with_program(|path| {
        let mut program = std::fs::read("/bin/true").expect("read");
        // `e_machine`: RISC-V.
        program[18..20].copy_from_slice(&243u16.to_le_bytes());
        std::fs::write(path, program).expect("written");
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a mode");
    });
    assert!(warning.contains("it is for another processor than this one"), "{warning}");
}

#[test]
fn a_binary_for_a_newer_c_library_cannot_run_here() {
    let said = "/lib/libc.so.6: version `GLIBC_2.99' not found (required by hubcap)";
    let warning = with_program(|path| {
        install_script(path, &format!("#!/bin/sh\necho \"{}\" >&2\nexit 1\n", said.replace('`', "\\`")));
    });
    assert!(warning.contains("exit code 1: /lib/libc.so.6: version `GLIBC_2.99' not found"), "{warning}");
}

#[test]
fn a_platform_that_hubcap_does_not_have_is_named() {
    let mut github = Github::new();
    for (what, value, why) in [
        ("platform", "darwin", "there is no hubcap for darwin"),
        ("arch", "riscv64", "there is no release for the processor riscv64"),
    ] {
        let mut job = github.job();
        let script = job.temp().join("pretend.cjs");
        let text = format!("Object.defineProperty(process, '{what}', {{ value: '{value}' }});");
        std::fs::write(&script, text).expect("written");
        job.env("NODE_OPTIONS", &format!("--require {}", script.display()));
        job.env("GITHUB_ACTION_REPOSITORY", "org/hubcap");
        job.input("version", "");
        let began = job.main();
        assert!(warned(&began).contains(why), "{}", began.log);
        assert_eq!(began.output("cache-hit"), "false");
        fine(&job.post("success"));
    }
    assert_eq!(github.calls(), Vec::<String>::new());
}

#[test]
fn a_server_of_releases_that_accepts_and_is_silent_costs_some_seconds() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let mut github = Github::new();
    let mut job = github.job();
    job.input("version", "1.2.3");
    job.env("GITHUB_ACTION_REPOSITORY", "org/hubcap");
    job.env("GITHUB_SERVER_URL", &format!("http://{}", silent.local_addr().expect("an address")));
    let start = Instant::now();
    let began = job.main();
    assert!(warned(&began).ends_with("cannot be downloaded: no answer within 10 s"), "{}", began.log);
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}

#[test]
fn a_workspace_that_is_not_there_fails_no_step() {
    let mut github = Github::new();
    let mut job = github.job();
    job.env("GITHUB_WORKSPACE", "/nonexistent/workspace");
    let began = job.main();
    assert!(warned(&began).contains("the job goes on"), "{}", began.log);
    fine(&job.post("success"));
}

#[test]
fn the_daemons_log_is_shown_when_the_job_is_debugged() {
    let mut github = Github::new();
    for debug in ["0", "1"] {
        let mut job = github.job();
        fine(&job.main());
        job.env("RUNNER_DEBUG", debug);
        let ended = job.post("success");
        fine(&ended);
        assert_eq!(ended.log.contains("\n| a line of the daemon\n"), debug == "1", "{}", ended.log);
    }
}

#[test]
fn what_hubcap_prints_is_folded_in_the_log() {
    let mut github = Github::new();
    let mut job = github.job();
    let steps = [job.main(), job.post("success")];
    for (step, title) in steps.iter().zip(["hubcap up", "hubcap down"]) {
        assert!(step.log.contains(&format!("::group::{title}\n")), "{}", step.log);
        let count = |word: &str| step.log.lines().filter(|line| line.starts_with(word)).count();
        assert_eq!(count("::group::"), count("::endgroup::"), "{}", step.log);
    }
}

#[test]
fn a_runner_without_a_cache_service_is_told_of_once_and_nothing_is_installed() {
    let mut github = Github::new();
    let mut job = github.bare_job();
    for name in ["ACTIONS_RESULTS_URL", "ACTIONS_CACHE_SERVICE_V2", "ACTIONS_RUNTIME_TOKEN"] {
        job.env(name, "");
    }
    let steps = [job.main(), job.post("success")];
    steps.iter().for_each(fine);
    let log: String = steps.iter().map(|step| step.log.as_str()).collect();
    assert_eq!(log.matches("::notice title=hubcap::this runner has no cache service").count(), 1, "{log}");
    assert!(!log.contains("added "), "npm ran: {log}");
}
