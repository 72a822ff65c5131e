//! Values of other crates' types, and how they are written: in a flag, in a variable and in the file alike.

use std::net::{SocketAddr, SocketAddrV4};
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use hubcap_cache::{OnRemoved, Ttl};
use hubcap_oci::{Pattern, RegistryPattern};
use hubcap_proxy::HostName;
use hubcap_store::Limit;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A value that is written as text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Text<T>(pub(crate) T);

/// How a type's values are written.
pub(crate) trait Written: Sized {
    /// # Errors
    /// Says how such a value is written, without the text.
    fn read(text: &str) -> Result<Self, String>;
    /// The value, to be read again.
    fn write(&self) -> String;
}

impl<T> Text<T> {
    pub(crate) fn into_inner(self) -> T {
        self.0
    }
}

impl<T: Written> FromStr for Text<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        T::read(text).map(Self)
    }
}

impl<'de, T: Written> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|why| de::Error::custom(format_args!("{text:?}: {why}")))
    }
}

impl<T: Written> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.write())
    }
}

impl Written for SocketAddr {
    /// `127.0.0.1:5443`, `[::1]:5443`
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "it is no address and port, as 127.0.0.1:5443".to_owned())
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

impl Written for SocketAddrV4 {
    /// `172.17.0.1:5443`, an address that no other network has too.
    fn read(text: &str) -> Result<Self, String> {
        let address: Option<Self> = text.parse().ok();
        let is_one = |address: &Self| !address.ip().is_unspecified() && !address.ip().is_loopback();
        address
            .filter(is_one)
            .ok_or_else(|| "it is no IPv4 address of a bridge with a port, as 172.17.0.1:5443".to_owned())
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

impl Written for HostName {
    /// `mirror.ci.example`
    fn read(text: &str) -> Result<Self, String> {
        text.parse()
    }

    fn write(&self) -> String {
        self.as_str().to_owned()
    }
}

impl Written for Duration {
    /// `500ms`, `5s`, `5m`, `1h`, `2d`; a fraction is allowed, a bare number is not. (The crate humantime takes no
    /// fraction, and would refuse what is in users' files.)
    fn read(text: &str) -> Result<Self, String> {
        let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(unit_at);
        let seconds = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => f64::NAN,
        };
        let number: f64 = number.parse().unwrap_or(f64::NAN);
        Self::try_from_secs_f64(number * seconds)
            .map_err(|_| "a duration is a number with ms, s, m, h or d, as 30s or 5m".to_owned())
    }

    fn write(&self) -> String {
        format!("{}s", self.as_secs_f64())
    }
}

impl Written for Ttl {
    /// A duration, or `immutable`.
    fn read(text: &str) -> Result<Self, String> {
        match text {
            "immutable" => Ok(Self::Immutable),
            text => Duration::read(text).map(Self::For).map_err(|why| format!("{why}; or it is immutable")),
        }
    }

    fn write(&self) -> String {
        match self {
            Self::For(duration) => duration.write(),
            Self::Immutable => "immutable".to_owned(),
        }
    }
}

impl Written for OnRemoved {
    /// `serve` or `refuse`.
    fn read(text: &str) -> Result<Self, String> {
        match text {
            "serve" => Ok(Self::Serve),
            "refuse" => Ok(Self::Refuse),
            _ => Err("it is neither serve nor refuse".to_owned()),
        }
    }

    fn write(&self) -> String {
        match self {
            Self::Serve => "serve",
            Self::Refuse => "refuse",
        }
        .to_owned()
    }
}

impl Written for Limit {
    /// `5GiB`, `500MB`, `10%` of the disk; a bare number is bytes.
    fn read(text: &str) -> Result<Self, String> {
        let limit = match text.strip_suffix('%') {
            Some(percent) => {
                let percent: Option<f64> = percent.trim().parse().ok();
                percent
                    .filter(|percent| (0.0..=100.0).contains(percent))
                    .map(|percent| Self::Part(percent / 100.0))
            }
            None => text.parse().ok().map(|size: ByteSize| Self::Bytes(size.as_u64())),
        };
        limit.ok_or_else(|| {
            "a size is bytes, a number with kB, MB, GB, KiB, MiB or GiB, or a part of the disk, as 5GiB or 10%".to_owned()
        })
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

impl Written for Pattern {
    /// A whole image name, with `*` and `?`.
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error: hubcap_oci::ParseError| error.why.to_owned())
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

impl Written for RegistryPattern {
    /// A registry's name, or a pattern of them.
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error: hubcap_oci::ParseError| error.why.to_owned())
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

/// `true` or `1`, `false` or `0`.
pub(super) fn switch(text: &str) -> Result<bool, &'static str> {
    match text {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err("it is neither true nor false"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_bytes_units_or_a_part_of_the_disk() {
        let read = |text| Limit::read(text).ok();
        assert_eq!(read("5GiB"), Some(Limit::Bytes(5 << 30)));
        assert_eq!(read("500MB"), Some(Limit::Bytes(500_000_000)));
        assert_eq!(read("0"), Some(Limit::Bytes(0)));
        assert_eq!(read("10%"), Some(Limit::Part(0.1)));
        for text in ["", "much", "-1", "5 parsecs", "101%", "-1%", "NaN%"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parsers_panic(text in ".{0,12}|[0-9.e-]{0,30}(ms|s|m|h|d|GiB|kB|%)?") {
            let _ = (Duration::read(&text), Ttl::read(&text), Limit::read(&text));
        }
    }
}
