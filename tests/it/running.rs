//! Commands know the daemon that runs: what they write into clients' files is its address and its CA.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use crate::support::hubcap::{Hubcap, Place, command};
use crate::support::programs::free_port;
use crate::support::user::User;

/// A user's home, with clients' files in it.
struct Home {
    place: Place,
}

impl Home {
    fn new() -> Self {
        Self { place: Place::new() }
    }

    fn path(&self) -> &Path {
        self.place.dir.path()
    }

    /// A daemon with a state directory and a store of this name.
    fn serve(&self, name: &str, more: &[&str]) -> Hubcap {
        let mut command = command(self.path());
        command.args(["serve", "--http-listen", "127.0.0.1:0", "--listen", "127.0.0.1:0"]);
        command.arg("--state").arg(self.state(name)).arg("--store").arg(self.path().join(name).join("store"));
        command.args(["--upstream", "docker.io=http://127.0.0.1:9"]).args(more);
        Hubcap::spawn(command)
    }

    fn state(&self, name: &str) -> PathBuf {
        let dir = self.path().join(name);
        std::fs::create_dir_all(&dir).expect("a directory");
        dir.join("state")
    }

    fn run(&self, words: &[&str]) -> Output {
        command(self.path()).args(words).output().expect("hubcap starts")
    }

    /// `setup containerd` into files of the test's own.
    fn setup(&self, more: &[&str]) -> Output {
        let certs = self.certs();
        let config = self.path().join("config.toml");
        let words = [
            "setup",
            "containerd",
            "--certs-dir",
            &certs,
            "--containerd-config",
            config.to_str().expect("text"),
        ];
        self.run(&[&words[..], more].concat())
    }

    fn certs(&self) -> String {
        self.path().join("certs.d").display().to_string()
    }

    fn hosts_toml(&self, registry: &str) -> Option<String> {
        std::fs::read_to_string(Path::new(&self.certs()).join(registry).join("hosts.toml")).ok()
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn succeed(output: &Output) -> String {
    assert!(output.status.success(), "{}", said(output));
    said(output)
}

/// Fails with words that have all of these in them.
fn refuse(output: &Output, words: &[&str]) {
    let said = said(output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
}

#[test]
fn setup_takes_address_ca_and_registries_from_the_daemon_that_runs_elsewhere() {
    let home = Home::new();
    let hubcap = home.serve("elsewhere", &["--upstream", "quay.example=http://127.0.0.1:9"]);
    succeed(&home.setup(&[]));
    for registry in ["docker.io", "quay.example"] {
        let text = home.hosts_toml(registry).expect("written");
        let ca = home.state("elsewhere").join("ca.pem");
        assert!(text.contains(&hubcap.https) && text.contains(&ca.display().to_string()), "{text}");
    }
    // What it wrote is known without --state, too, and where the daemon is gone its --state names it.
    assert!(home.state("elsewhere").join("wiring/containerd.json").exists());
    assert!(!home.path().join(".local").exists(), "no CA is made where no daemon is");
    succeed(&home.run(&["unset", "containerd"]));
    assert_eq!(home.hosts_toml("docker.io"), None);
    hubcap.stop();
    let output = home.setup(&[]);
    refuse(&output, &["hubcap does not run at 127.0.0.1:5443", "hubcap serve", "--unchecked"]);
}

#[test]
fn of_several_daemons_one_is_named_and_none_is_guessed() {
    let home = Home::new();
    let (one, other) = (home.serve("one", &[]), home.serve("other", &[]));
    let states = ["one", "other"].map(|name| home.state(name).display().to_string());
    for words in [&["unset", "containerd"][..], &["doctor"], &["down"], &["setup", "podman"]] {
        let output = home.run(words);
        refuse(&output, &["2 daemons run here", &states[0], &states[1], &one.https[8..], &other.https[8..]]);
    }
    succeed(&home.setup(&["--state", &states[1]]));
    assert!(home.hosts_toml("docker.io").expect("written").contains(&other.https));
    // A store belongs to one daemon.
    let store = home.path().join("one/store").display().to_string();
    succeed(&home.run(&["unset", "containerd", "--state", &states[1]]));
    succeed(&home.setup(&["--store", &store]));
    assert!(home.hosts_toml("docker.io").expect("written").contains(&one.https));
    // A killed daemon does not count.
    one.signal(rustix::process::Signal::KILL);
    one.wait();
    succeed(&home.setup(&[]));
    assert!(home.hosts_toml("docker.io").expect("written").contains(&other.https));
}

#[test]
fn a_setting_that_contradicts_the_running_daemon_is_refused_with_what_the_daemon_has() {
    let home = Home::new();
    let hubcap = home.serve("state", &[]);
    let address = &hubcap.https[8..];
    for (flags, why) in [
        (["--listen", "127.0.0.1:1"], format!("it listens on {address}, not 127.0.0.1:1")),
        (["--store", "/elsewhere"], "/elsewhere (--store)".to_owned()),
        (["--proxy-listen", "127.0.0.1:1"], "no address, not 127.0.0.1:1 (--proxy-listen)".to_owned()),
        (["--upstream", "quay.example=http://q"], "not configured for quay.example".to_owned()),
        (
            ["--upstream", "docker.io=http://q"],
            "docker.io at http://127.0.0.1:9/, not at http://q/".to_owned(),
        ),
        (["--upstream", "*.example"], "not configured for *.example".to_owned()),
    ] {
        let state = home.state("state").display().to_string();
        for command in [&["setup", "podman"][..], &["up"]] {
            let output = home.run(&[command, &["--state", &state], &flags].concat());
            refuse(&output, &["runs with other settings than are given here", &why]);
        }
    }
    succeed(&home.setup(&["--listen", address, "--upstream", "docker.io=http://127.0.0.1:9"]));
    assert!(home.hosts_toml("docker.io").is_some());
}

#[test]
fn nothing_is_written_where_another_server_or_another_ca_answers() {
    let home = Home::new();
    let (hubcap, idle) = (home.serve("one", &[]), home.serve("other", &[]));
    // The state directory of a daemon that has stopped, whose port another one has by now.
    let state = home.state("other").display().to_string();
    idle.stop();
    let output = home.setup(&["--state", &state, "--listen", &hubcap.https[8..]]);
    refuse(&output, &["has a certificate of another CA than", "other/state/ca.pem", "--state"]);
    let plain = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = plain.local_addr().expect("its address").to_string();
    std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        for stream in plain.incoming() {
            let mut stream = stream.expect("a client");
            let _ = stream.read(&mut [0; 512]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    for more in [&[][..], &["--unchecked"]] {
        let output = home.setup(&[&["--state", &state, "--listen", &address], more].concat());
        refuse(&output, &["does not speak TLS"]);
    }
    assert_eq!(home.hosts_toml("docker.io"), None);
}

#[test]
fn a_secret_in_the_place_of_the_ca_goes_into_no_clients_files() {
    let home = Home::new();
    let hubcap = home.serve("one", &[]);
    let (ca, secret) = (home.state("one").join("ca.pem"), home.path().join("secret.pem"));
    // It begins with the certificate that the server has, as a server's secret may.
    let certificate = std::fs::read_to_string(&ca).expect("the certificate");
    std::fs::write(&secret, format!("{certificate}{}", certificate.replace("CERTIFICATE", "PRIVATE KEY")))
        .expect("written");
    std::fs::remove_file(&ca).expect("removed");
    std::os::unix::fs::symlink(&secret, &ca).expect("linked");
    let (state, conf) =
        (home.state("one").display().to_string(), home.path().join("conf.d").display().to_string());
    let certs = home.certs();
    let flags = ["setup", "podman", "--state", &state, "--conf-dir", &conf, "--certs-dir", &certs];
    for more in [&[][..], &["--unchecked"], &["--print"]] {
        let output = home.run(&[&flags[..], more].concat());
        refuse(&output, &["one/state/ca.pem cannot be used: it is not one certificate in PEM"]);
        assert!(!said(&output).contains("PRIVATE KEY") && !Path::new(&certs).exists());
    }
    std::fs::write(&secret, &certificate).expect("written");
    succeed(&home.run(&flags));
    let copy = Path::new(&certs).join(&hubcap.https[8..]).join("hubcap.crt");
    assert_eq!(std::fs::read_to_string(copy).expect("written"), certificate);
}

/// What answers every question as a dockerd does.
const ANY_DOCKERD: &str = r#"
    my $listener = IO::Socket::UNIX->new(Listen => 5, Local => $ARGV[0]) or die;
    $| = 1;
    $SIG{PIPE} = "IGNORE";
    print "listens\n";
    while (my $client = $listener->accept) {
        my $question = "";
        while ($question !~ /\r\n\r\n/ && sysread $client, $question, 4096, length $question) {}
        print $client "HTTP/1.0 200 OK\r\n\r\n{\"ServerVersion\": \"28.5.2\", \"RegistryConfig\": {}}";
        close $client;
    }
"#;

#[test]
fn another_users_dockerd_does_not_say_which_file_is_read_and_changed() {
    let home = Home::new();
    let (other, dir) = (User::new(), home.path().join("of-another"));
    std::fs::create_dir(&dir).expect("a directory");
    other.owns(&dir);
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755)).expect("all may come by");
    let (socket, roots) = (dir.join("docker.sock"), home.path().join("roots.json"));
    std::fs::write(&roots, "{\"of\": \"root\"}").expect("written");
    let mut dockerd = other.command("perl");
    dockerd.args(["-MIO::Socket::UNIX", "-e", ANY_DOCKERD]).arg(&socket).arg("--config-file").arg(&roots);
    let mut dockerd = dockerd.stdout(Stdio::piped()).spawn().expect("it starts");
    let mut line = String::new();
    BufReader::new(dockerd.stdout.take().expect("a pipe")).read_line(&mut line).expect("it listens");
    assert_eq!(line, "listens\n");
    let (state, host) = (home.state("one").display().to_string(), format!("unix://{}", socket.display()));
    let (certs, listen) = (home.certs(), format!("127.0.0.1:{}", free_port()));
    let flags = ["--state", &state, "--listen", &listen, "--docker-host", &host, "--certs-dir", &certs];
    let output = home.run(&[&["setup", "docker", "--print"], &flags[..]].concat());
    refuse(&output, &["is another user's process", "--daemon-json"]);
    assert!(!said(&output).contains("\"of\""), "{}", said(&output));
    dockerd.kill().expect("ended");
    dockerd.wait().expect("its end");
}

#[test]
fn files_can_be_written_before_the_daemon_starts_and_it_then_has_that_ca() {
    let home = Home::new();
    let (state, listen) = (home.state("later").display().to_string(), format!("127.0.0.1:{}", free_port()));
    let flags = ["--state", &state, "--listen", &listen];
    refuse(
        &home.setup(&flags),
        &["hubcap does not run at", &format!("hubcap serve --listen {listen} --state {state}")],
    );
    assert!(!Path::new(&state).exists(), "a refusal makes nothing");
    succeed(&home.setup(&[&flags[..], &["--unchecked"]].concat()));
    let text = home.hosts_toml("docker.io").expect("written");
    let ca = std::fs::read(home.state("later").join("ca.pem")).expect("made");
    assert!(text.contains(&listen), "{text}");
    let hubcap = home.serve("later", &[]);
    assert_eq!(std::fs::read(home.state("later").join("ca.pem")).expect("there"), ca);
    succeed(&home.setup(&["--state", &state]));
    assert!(home.hosts_toml("docker.io").expect("written").contains(&hubcap.https));
}
