//! Reading `multipart/byteranges` (RFC 9110, section 14.6), strictly.

/// One part: its Content-Type, its Content-Range and its bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) content_type: String,
    pub(crate) range: String,
    pub(crate) bytes: Vec<u8>,
}

/// The parts of a body; `content_type` is the whole body's, with its boundary.
pub(crate) fn parts(content_type: &str, body: &[u8]) -> Vec<Part> {
    let boundary = content_type.strip_prefix("multipart/byteranges; boundary=").expect("several ranges");
    assert!((1..=70).contains(&boundary.len()), "{boundary}");
    let mut left = [b"\r\n", body].concat();
    let mut parts = Vec::new();
    loop {
        let start = format!("\r\n--{boundary}");
        assert!(left.starts_with(start.as_bytes()), "no boundary where one should be");
        left.drain(..start.len());
        if left == b"--\r\n" {
            return parts;
        }
        let end = find(&left, b"\r\n\r\n").expect("the end of a part's headers");
        let head = String::from_utf8(left.drain(..end + 4).collect()).expect("text");
        let header = |name: &str| {
            let line = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            line.unwrap_or_else(|| panic!("no {name} in {head:?}")).to_owned()
        };
        let (content_type, range) = (header("Content-Type"), header("Content-Range"));
        let length = find(&left, start.as_bytes()).expect("a boundary behind the part");
        parts.push(Part { content_type, range, bytes: left.drain(..length).collect() });
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
