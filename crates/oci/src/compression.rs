//! How layers and archives are compressed: their first bytes, and the media types of layers (image-spec, layer.md).

/// A compressed format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// The `.xz` file format.
    Xz,
    /// What `bzip2` writes.
    Bzip2,
}

impl Compression {
    /// The format of something that begins with `bytes`; `None` for any other. Six bytes tell.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        [Self::Gzip, Self::Zstd, Self::Xz, Self::Bzip2].into_iter().find(|one| bytes.starts_with(one.magic()))
    }

    const fn magic(self) -> &'static [u8] {
        match self {
            Self::Gzip => b"\x1f\x8b",
            Self::Zstd => b"\x28\xb5\x2f\xfd",
            Self::Xz => b"\xfd7zXZ",
            Self::Bzip2 => b"BZh",
        }
    }

    /// The format's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
            Self::Bzip2 => "bzip2",
        }
    }

    /// The usual program that decompresses it.
    pub const fn decompressor(self) -> &'static str {
        match self {
            Self::Gzip => "gunzip",
            Self::Zstd => "unzstd",
            Self::Xz => "unxz",
            Self::Bzip2 => "bunzip2",
        }
    }

    /// The format that the media type of a layer says; `None` for one that is not compressed, or in another way.
    pub fn of_layer(media_type: &str) -> Option<Self> {
        [Self::Gzip, Self::Zstd].into_iter().find(|one| media_type.ends_with(one.name()))
    }

    /// The media type of an OCI layer. The specification knows gzip and zstd.
    pub const fn oci_layer(compression: Option<Self>) -> &'static str {
        match compression {
            Some(Self::Gzip) => "application/vnd.oci.image.layer.v1.tar+gzip",
            Some(Self::Zstd) => "application/vnd.oci.image.layer.v1.tar+zstd",
            None | Some(Self::Xz | Self::Bzip2) => "application/vnd.oci.image.layer.v1.tar",
        }
    }

    /// The media type of a layer in Docker's own manifest, which knows gzip alone.
    pub const fn docker_layer(compression: Option<Self>) -> &'static str {
        match compression {
            Some(Self::Gzip) => "application/vnd.docker.image.rootfs.diff.tar.gzip",
            None | Some(Self::Zstd | Self::Xz | Self::Bzip2) => {
                "application/vnd.docker.image.rootfs.diff.tar"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_known_by_its_first_bytes() {
        assert_eq!(Compression::of(b"\x1f\x8b\x08\0"), Some(Compression::Gzip));
        assert_eq!(Compression::of(b"\xfd7zXZ\0"), Some(Compression::Xz));
        assert_eq!(Compression::of(b"\x28\xb5\x2f"), None);
        assert_eq!(Compression::of(b""), None);
    }

    #[test]
    fn a_layers_media_type_says_how_it_is_compressed() {
        for compression in [None, Some(Compression::Gzip), Some(Compression::Zstd)] {
            assert_eq!(Compression::of_layer(Compression::oci_layer(compression)), compression);
        }
        let gzip = Some(Compression::Gzip);
        assert_eq!(Compression::of_layer(Compression::docker_layer(gzip)), gzip);
    }
}
