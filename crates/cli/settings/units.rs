//! Durations and sizes as people write them.

use std::time::Duration;

use anyhow::Context as _;
use bytesize::ByteSize;
use hubcap_cache::Ttl;
use hubcap_store::Limit;

/// `500ms`, `5s`, `5m`, `1h`, `2d`; a fraction is allowed, a bare number is not.
pub(crate) fn duration(text: &str) -> anyhow::Result<Duration> {
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
    Duration::try_from_secs_f64(number * seconds)
        .context("a duration is a number with ms, s, m, h or d, as 30s or 5m")
}

/// A [`duration`], or `immutable`.
pub(crate) fn ttl(text: &str) -> anyhow::Result<Ttl> {
    if text == "immutable" {
        return Ok(Ttl::Immutable);
    }
    duration(text).map(Ttl::For).context("it may also be \"immutable\"")
}

/// `5GiB`, `500MB`, `10%` of the disk; a bare number is bytes.
pub(crate) fn limit(text: &str) -> anyhow::Result<Limit> {
    let form =
        "a size is bytes, a number with kB, MB, GB, KiB, MiB or GiB, or a part of the disk, as 5GiB or 10%";
    if let Some(percent) = text.strip_suffix('%') {
        let percent: f64 = percent.trim().parse().context(form)?;
        anyhow::ensure!((0.0..=100.0).contains(&percent), "{form}");
        return Ok(Limit::Part(percent / 100.0));
    }
    let size: ByteSize = text.parse().map_err(|_| anyhow::anyhow!("{form}"))?;
    Ok(Limit::Bytes(size.as_u64()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_bytes_units_or_a_part_of_the_disk() {
        let read = |text| limit(text).ok();
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
            let _ = (duration(&text), ttl(&text), limit(&text));
        }
    }
}
