use super::*;

fn planned(journal: &Journal, path: &Path, wanted: &str) -> Planned {
    let kind = FileKind::Certificate;
    journal.plan(path.to_owned(), kind, |_| Ok(Some(wanted.into()))).expect("readable")
}

fn open(state: &Path) -> Journal {
    Journal::open(state, "docker").expect("a journal")
}

#[test]
fn what_was_changed_comes_back_to_the_byte_and_what_was_made_goes() {
    let dir = tempfile::tempdir().expect("a directory");
    let (old, new) = (dir.path().join("old"), dir.path().join("a/b/new"));
    std::fs::write(&old, " was \n").expect("written");
    let mut journal = open(dir.path());
    for wanted in ["first", "second"] {
        let plan = [planned(&journal, &old, wanted), planned(&journal, &new, wanted)];
        journal.apply(&plan).expect("applied");
        assert_eq!(std::fs::read_to_string(&new).expect("made"), wanted);
        journal = open(dir.path());
    }
    let changes = journal.plan_undo().expect("readable");
    assert_eq!(changes.len(), 2);
    journal.undo(&changes).expect("undone");
    assert_eq!(std::fs::read_to_string(&old).expect("there"), " was \n");
    assert!(!dir.path().join("a").exists() && journal.is_empty());
    assert!(open(dir.path()).is_empty());
}

#[test]
fn directories_go_that_a_first_time_made_and_a_second_time_used() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join("certs.d").join(name).join("hosts.toml");
    let mut journal = open(dir.path());
    journal.apply(&[planned(&journal, &at("docker.io"), "x")]).expect("applied");
    let both = ["docker.io", "ghcr.io"].map(|name| planned(&journal, &at(name), "x"));
    journal.apply(&both).expect("applied");
    let changes = journal.plan_undo().expect("readable");
    journal.undo(&changes).expect("undone");
    assert!(!dir.path().join("certs.d").exists());
}

#[test]
fn what_others_have_written_since_stays_theirs() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("daemon.json");
    std::fs::write(&path, "{\"theirs\": 1}\n").expect("written");
    let mut journal = open(dir.path());
    let wanted = "{\"theirs\": 1, \"registry-mirrors\": [\"https://127.0.0.1:5443\"]}";
    let edit = |_: Option<&str>| Ok(Some(wanted.to_owned()));
    let plan = journal.plan(path.clone(), FileKind::DaemonJson, edit).expect("planned");
    journal.apply(&[plan]).expect("applied");
    std::fs::write(&path, wanted.replace("1,", "1, \"more\": 2,")).expect("written");
    let changes = journal.plan_undo().expect("readable");
    journal.undo(&changes).expect("undone");
    let left = std::fs::read_to_string(&path).expect("there");
    assert_eq!(left, "{\n  \"theirs\": 1,\n  \"more\": 2\n}");
}

/// Moves a file elsewhere, as a manager of configurations does, and leaves a link to it.
fn exchange_for_link(path: &Path) -> std::path::PathBuf {
    let elsewhere = path.with_extension("elsewhere");
    std::fs::rename(path, &elsewhere).expect("moved");
    std::os::unix::fs::symlink(&elsewhere, path).expect("linked");
    elsewhere
}

#[test]
fn a_file_that_has_become_a_link_is_restored_where_it_leads() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("daemon.json");
    std::fs::write(&path, "{\"a\": 1}\n").expect("written");
    let plan = |journal: &Journal, port: u16| {
        let wanted = format!("{{\"a\": 1, \"registry-mirrors\": [\"https://127.0.0.1:{port}\"]}}\n");
        journal
            .plan(path.clone(), FileKind::DaemonJson, |original| {
                assert_eq!(original, Some("{\"a\": 1}\n"));
                Ok(Some(wanted))
            })
            .expect("planned")
    };
    let mut journal = open(dir.path());
    journal.apply(&[plan(&journal, 1)]).expect("applied");
    let elsewhere = exchange_for_link(&path);
    for is_set_up_again in [false, true] {
        if is_set_up_again {
            journal.apply(&[plan(&journal, 1)]).expect("applied");
            std::fs::remove_file(&path).expect("removed");
            std::fs::rename(&elsewhere, &path).expect("moved back");
            exchange_for_link(&path);
            journal.apply(&[plan(&journal, 2)]).expect("applied");
        }
        let changes = journal.plan_undo().expect("readable");
        journal.undo(&changes).expect("undone");
        assert_eq!(std::fs::read_to_string(&elsewhere).expect("there"), "{\"a\": 1}\n");
        assert!(path.is_symlink() && journal.is_empty());
    }
}

#[test]
fn a_file_of_hubcaps_own_that_has_become_a_link_goes_and_what_it_leads_to_stays() {
    let dir = tempfile::tempdir().expect("a directory");
    let (path, other) = (dir.path().join("hubcap-proxy.conf"), dir.path().join("other"));
    let mut journal = open(dir.path());
    let plan = journal.plan(path.clone(), FileKind::Own, |_| Ok(Some("ours".into()))).expect("planned");
    journal.apply(&[plan]).expect("applied");
    std::fs::write(&other, "").expect("written");
    std::fs::remove_file(&path).expect("removed");
    std::os::unix::fs::symlink(&other, &path).expect("linked");
    let changes = journal.plan_undo().expect("readable");
    journal.undo(&changes).expect("undone");
    assert!(!path.is_symlink() && other.exists() && journal.is_empty());
}

#[test]
fn an_undo_follows_no_link_that_another_user_has_made_since() {
    if !crate::sudo::is_root() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("etc/ca.crt");
    let mut journal = open(dir.path());
    journal.apply(&[planned(&journal, &path, "ours")]).expect("applied");
    for link in [path.clone(), dir.path().join("etc")] {
        let elsewhere = exchange_for_link(&link);
        std::os::unix::fs::lchown(&link, Some(65_534), Some(65_534)).expect("given away");
        let refused = journal.plan_undo().expect_err("another's").to_string();
        assert!(refused.contains("a link of user 65534"), "{refused}");
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "ours");
        std::fs::remove_file(&link).expect("removed");
        std::fs::rename(elsewhere, &link).expect("moved back");
    }
    let changes = journal.plan_undo().expect("its own again");
    journal.undo(&changes).expect("undone");
    assert!(!path.exists() && journal.is_empty());
}

#[test]
fn a_change_follows_no_link_that_another_user_has_made() {
    if !crate::sudo::is_root() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let (roots, theirs) = (dir.path().join("roots"), dir.path().join("theirs"));
    std::fs::create_dir_all(&roots).and_then(|()| std::fs::create_dir(&theirs)).expect("made");
    std::fs::write(roots.join("file"), "of root").expect("written");
    let journal = open(dir.path());
    for (link, target, path) in
        [("file", "file", "file"), ("directory", "", "directory/new"), ("dangling", "new", "dangling")]
    {
        let (link, path) = (theirs.join(link), theirs.join(path));
        std::os::unix::fs::symlink(roots.join(target), &link).expect("linked");
        journal.plan(path.clone(), FileKind::Certificate, |_| Ok(None)).expect("root's own link");
        std::os::unix::fs::lchown(&link, Some(65_534), Some(65_534)).expect("given away");
        let edit = |_: Option<&str>| unreachable!("it is not even read");
        let planned = journal.plan(path.clone(), FileKind::Certificate, edit).map(drop);
        for refused in [planned, Change::of(path, None).map(drop)] {
            let refused = refused.expect_err("another's").to_string();
            assert!(refused.contains("a link of user 65534"), "{refused}");
        }
    }
}

#[test]
fn a_change_that_cannot_be_applied_takes_the_others_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let (good, bad) = (dir.path().join("good"), dir.path().join("good/below/a/file"));
    let mut journal = open(dir.path());
    let new = dir.path().join("a/new");
    let plan = [&good, &new, &bad].map(|path| planned(&journal, path, "x"));
    journal.apply(&plan).expect_err("a file is no directory");
    assert!(!good.exists() && !dir.path().join("a").exists() && journal.is_empty());
}

#[test]
fn a_files_kind_is_in_the_journal_and_not_in_its_name() {
    let dir = tempfile::tempdir().expect("a directory");
    // By its extension this would be a file of hubcap's own, and be removed.
    let path = dir.path().join("daemon.conf");
    let mut journal = open(dir.path());
    let edit = |_: Option<&str>| Ok(Some("{\"registry-mirrors\": [\"https://127.0.0.1:1\"]}".to_owned()));
    let plan = journal.plan(path.clone(), FileKind::DaemonJson, edit).expect("planned");
    journal.apply(&[plan]).expect("applied");
    std::fs::write(&path, "{\"debug\": true, \"registry-mirrors\": [\"https://127.0.0.1:1\"]}\n")
        .expect("written");
    let mut journal = open(dir.path());
    let changes = journal.plan_undo().expect("readable");
    journal.undo(&changes).expect("undone");
    assert_eq!(std::fs::read_to_string(&path).expect("there"), "{\n  \"debug\": true\n}\n");
}

/// As an earlier hubcap left it: without kinds.
fn older_journal(state: &Path, client: &str, files: &serde_json::Value) -> Journal {
    let dir = state.join("wiring");
    std::fs::create_dir_all(&dir).expect("made");
    let text = serde_json::json!({"host": null, "files": files}).to_string();
    std::fs::write(dir.join(format!("{client}.json")), text).expect("written");
    Journal::open(state, client).expect("an older journal")
}

#[test]
fn an_older_journal_is_undone_to_the_byte() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("etc/daemon.json");
    std::fs::create_dir_all(dir.path().join("etc")).expect("made");
    std::fs::write(&path, "ours").expect("written");
    let files = serde_json::json!([
        {"path": path, "before": null, "after": "ours", "made": [dir.path().join("etc")]}
    ]);
    let mut journal = older_journal(dir.path(), "docker", &files);
    let changes = journal.plan_undo().expect("readable");
    journal.undo(&changes).expect("undone");
    assert!(!dir.path().join("etc").exists() && !dir.path().join("wiring/docker.json").exists());
}

#[test]
fn an_older_journals_files_that_others_changed_lose_hubcaps_part_alone() {
    let block = "# Written by hubcap, which removes it again: hubcap unset\n[host.\"https://127.0.0.1:1\"]\n  \
                 dial_timeout = \"1s\"\n";
    for (client, name, before, after, now, left) in [
        (
            "docker",
            "daemon.json",
            Some("{}\n"),
            "{\n  \"registry-mirrors\": [\"https://127.0.0.1:1\"]\n}\n",
            "{\n  \"debug\": true,\n  \"registry-mirrors\": [\"https://127.0.0.1:1\"]\n}\n".to_owned(),
            Some("{\n  \"debug\": true\n}\n"),
        ),
        ("docker", "hosts.toml", None, block, format!("{block}# theirs\n"), Some("# theirs\n")),
        ("docker", "ca.crt", None, "ours", "theirs".into(), Some("theirs")),
        ("docker", "hubcap-proxy.conf", None, "ours", "changed".into(), None),
        ("containerd", "hosts.toml", None, block, format!("{block}# theirs\n"), Some("# theirs\n")),
        (
            "buildkit",
            "buildkitd.toml",
            Some("debug = true\n"),
            "debug = true\n[registry.\"docker.io\"]\nmirrors = [\"127.0.0.1:1\"]\n",
            "debug = false\n[registry.\"docker.io\"]\nmirrors = [\"127.0.0.1:1\"]\n".into(),
            Some("debug = false\n"),
        ),
        ("podman", "zz-hubcap.conf", None, "ours", "changed".into(), None),
    ] {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(name);
        std::fs::write(&path, &now).expect("written");
        let files = serde_json::json!([{"path": path, "before": before, "after": after, "made": []}]);
        let mut journal = older_journal(dir.path(), client, &files);
        let changes = journal.plan_undo().expect("readable");
        journal.undo(&changes).expect("undone");
        assert_eq!(std::fs::read_to_string(&path).ok().as_deref(), left, "{client} {name}");
    }
}
