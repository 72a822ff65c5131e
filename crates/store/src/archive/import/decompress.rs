//! Compressed archives: `docker save | gzip` is how many are handed on.
//!
//! gzip and zstd are read here. xz and bzip2 are rare, so their own programs are run, as dockerd does for xz.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use flate2::read::MultiGzDecoder;
use hubcap_oci::Compression;

/// How a file is compressed, by its first bytes.
pub(super) fn compression(file: &File) -> std::io::Result<Option<Compression>> {
    let mut start = [0; 6];
    let length = file.read_at(&mut start, 0)?;
    Ok(Compression::of(&start[..length]))
}

/// The file decompressed, in a file in `scratch` that has no name any more, so that it goes when it is closed. It may have `room`
/// bytes.
///
/// # Errors
/// What is wrong with the file, with its disk, or that a program is missing.
pub(super) fn decompressed(
    file: &File,
    compression: Compression,
    scratch: &Path,
    room: u64,
) -> Result<File, String> {
    let name = compression.name();
    let failed =
        |error: std::io::Error| format!("it is compressed by {name}, and cannot be decompressed: {error}");
    let mut out = nameless(scratch).map_err(failed)?;
    let copied = match compression {
        Compression::Gzip => copy(MultiGzDecoder::new(file), &mut out, room),
        Compression::Zstd => zstd::Decoder::new(file).and_then(|decoder| copy(decoder, &mut out, room)),
        Compression::Xz | Compression::Bzip2 => {
            return run(file, &mut out, compression, room).map(|()| out);
        }
    };
    copied.map_err(failed)?;
    Ok(out)
}

fn copy(from: impl Read, to: &mut File, room: u64) -> std::io::Result<()> {
    if std::io::copy(&mut from.take(room.saturating_add(1)), to)? > room {
        return Err(std::io::Error::other(format!("the store has room for {room} bytes, and it has more")));
    }
    Ok(())
}

/// Has the format's own program decompress it.
fn run(file: &File, out: &mut File, compression: Compression, room: u64) -> Result<(), String> {
    let (name, program) = (compression.name(), compression.decompressor());
    let mut pipes = || {
        let mut input = file.try_clone()?;
        input.rewind()?;
        let mut command = Command::new(program);
        command.arg("-c").stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let stdout = child.stdout.take().ok_or(ErrorKind::BrokenPipe)?;
        // With the pipe gone, the program ends.
        let copied = copy(stdout, out, room);
        let output = child.wait_with_output()?;
        copied.map(|()| output)
    };
    match pipes() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!("it is compressed by {name}, and {program} says: {}", said.trim()))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Err(format!(
            "it is compressed by {name}, and {program} is not installed; decompress it with `{name} -d` first"
        )),
        Err(error) => Err(format!("it is compressed by {name}, and {program} cannot be run: {error}")),
    }
}

fn nameless(dir: &Path) -> std::io::Result<File> {
    let path = dir.join(format!("import.{}.tar", std::process::id()));
    let file = File::options().create(true).truncate(true).read(true).write(true).open(&path)?;
    std::fs::remove_file(path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(bytes).expect("written");
        file.rewind().expect("rewound");
        file
    }

    fn read(file: &File) -> Vec<u8> {
        let mut bytes = vec![0; file.metadata().expect("there").len() as usize];
        file.read_exact_at(&mut bytes, 0).expect("read");
        bytes
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).expect("packed");
        encoder.finish().expect("packed")
    }

    #[test]
    fn what_is_compressed_comes_out_and_leaves_no_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let content = vec![7; 100_000];
        let halves = [gzip(&content[..10]), gzip(&content[10..])].concat();
        let zstd = zstd::encode_all(content.as_slice(), 1).expect("packed");
        for packed in [gzip(&content), halves, zstd] {
            let packed = file(&packed);
            let compression = compression(&packed).expect("readable").expect("compressed");
            let out = decompressed(&packed, compression, dir.path(), 100_000).expect("decompressed");
            assert!(read(&out) == content, "{compression:?}");
        }
        assert_eq!(std::fs::read_dir(dir.path()).expect("readable").count(), 0);
    }

    #[test]
    fn what_is_damaged_is_told() {
        let dir = tempfile::tempdir().expect("a directory");
        let packed = gzip(&[7; 1000]);
        let cut = file(&packed[..packed.len() - 4]);
        let error = decompressed(&cut, Compression::Gzip, dir.path(), 1000).expect_err("cut");
        assert!(error.starts_with("it is compressed by gzip, and cannot be decompressed"), "{error}");
    }

    #[test]
    fn what_there_is_no_room_for_is_not_written() {
        let dir = tempfile::tempdir().expect("a directory");
        let packed = file(&gzip(&[7; 1000]));
        let error = decompressed(&packed, Compression::Gzip, dir.path(), 999).expect_err("too much");
        assert!(error.contains("room for 999 bytes"), "{error}");
    }
}
