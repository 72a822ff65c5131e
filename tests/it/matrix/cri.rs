//! containerd as a kubelet uses it: CRI's `ImageService`, called over gRPC, which is HTTP/2 with five bytes before each
//! message. curl speaks it.

use std::time::Instant;

use super::client::{Client, Pull, Pulled};
use super::origins::Image;
use super::{assert_five_sentences, containerd};
use crate::support::PATIENCE;
use crate::support::machine::Machine;
use crate::support::programs::succeed;

pub(crate) const DEBIAN_12: Client = Client {
    title: "Kubernetes' containerd, by CRI",
    process: "containerd",
    start: pulling,
    identity: Image::of_config,
    ..containerd::DEBIAN_12
};

pub(crate) const DEBIAN_13: Client =
    Client { version: containerd::DEBIAN_13.version, programs: containerd::DEBIAN_13.programs, ..DEBIAN_12 };

pub(crate) const SID: Client =
    Client { version: containerd::SID.version, programs: containerd::SID.programs, ..DEBIAN_12 };

/// Calls a method with an image's name, which is field 1 of field 1 of each request; tells field 1 of the answer.
fn call(machine: &Machine, method: &str, image: &str) -> Pulled {
    let spec = field(1, image.as_bytes());
    let message = field(1, &spec);
    let mut framed = vec![0];
    framed.extend(u32::try_from(message.len()).expect("a short one").to_be_bytes());
    framed.extend(message);
    let (request, answer) = (machine.dir("cri").join("request"), machine.dir("cri").join("answer"));
    std::fs::write(&request, framed).expect("written");
    let mut curl = machine.command("curl");
    curl.args(["--silent", "--show-error", "--http2-prior-knowledge", "--unix-socket"]);
    curl.args(["/run/containerd/containerd.sock", "--header", "content-type: application/grpc"]);
    curl.args(["--header", "te: trailers", "--dump-header", "-", "--output"]).arg(&answer);
    curl.arg("--data-binary").arg(format!("@{}", request.display()));
    let head = succeed(curl.arg(format!("http://localhost/runtime.v1.ImageService/{method}")));
    if !head.contains("grpc-status: 0") {
        return Err(head);
    }
    let bytes = std::fs::read(answer).expect("an answer");
    Ok(String::from_utf8_lossy(first_field(bytes.get(5..).unwrap_or_default())).into_owned())
}

/// A field of bytes, as protobuf writes it: number and kind, length, bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).ok().filter(|length| *length < 128).expect("a short one");
    [&[number << 3 | 2, length], bytes].concat()
}

/// Field 1 of a message, if it is its first.
fn first_field(message: &[u8]) -> &[u8] {
    match message {
        [0x0a, length, rest @ ..] => rest.get(..usize::from(*length)).unwrap_or_default(),
        _ => &[],
    }
}

fn pulling(machine: &Machine) -> Pull {
    let running = containerd::start(machine);
    // CRI starts after the rest.
    let end = Instant::now() + PATIENCE;
    while call(machine, "ListImages", "").is_err() {
        assert!(Instant::now() < end, "containerd has no CRI");
    }
    Box::new(move |machine, image| {
        let _ = &running;
        let id = call(machine, "PullImage", &image.name)?;
        assert_eq!(containerd::greeting(machine, "k8s.io", &image.name), image.greeting);
        call(machine, "RemoveImage", &id).expect("removed");
        let end = Instant::now() + PATIENCE;
        while !succeed(&mut containerd::ctr(machine, "k8s.io", &["content", "ls", "--quiet"])).is_empty() {
            assert!(Instant::now() < end, "the contents really go");
        }
        Ok(id)
    })
}

#[test]
pub(super) fn containerd_1_6_by_cri_is_served() {
    assert_five_sentences(&DEBIAN_12);
}

#[test]
pub(super) fn containerd_1_7_by_cri_is_served() {
    assert_five_sentences(&DEBIAN_13);
}

#[test]
pub(super) fn containerd_2_1_by_cri_is_served() {
    assert_five_sentences(&SID);
}
