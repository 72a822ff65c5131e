//! Numbers and times of headers.

/// From the year 1.
const SECONDS_TO_1970: i64 = 62_135_596_800;

/// A point in time, since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Time {
    /// Whole seconds, rounded down.
    pub(crate) seconds: i64,
    /// What is above them, below 1,000,000,000.
    pub(crate) nanoseconds: u32,
}

impl Time {
    pub(super) const fn at(seconds: i64) -> Self {
        Self { seconds, nanoseconds: 0 }
    }

    /// A time of a PAX record: seconds, and perhaps a fraction, of which nine digits count.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let (whole, fraction) = match text.iter().position(|&byte| byte == b'.') {
            Some(dot) => (&text[..dot], &text[dot + 1..]),
            None => (text, &b""[..]),
        };
        let seconds = decimal(whole)?;
        if !fraction.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let digits = fraction.iter().chain(std::iter::repeat(&b'0')).take(9);
        let nanoseconds = digits.fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
        if whole.first() == Some(&b'-') && nanoseconds > 0 {
            return Some(Self {
                seconds: seconds.saturating_sub(1),
                nanoseconds: 1_000_000_000 - nanoseconds,
            });
        }
        Some(Self { seconds, nanoseconds })
    }

    /// The later of two. As in Go, which counts from the year 1, a time that is too large for that comes before all others.
    pub(crate) fn latest(self, other: Self) -> Self {
        let since_year_1 = |time: Self| (time.seconds.wrapping_add(SECONDS_TO_1970), time.nanoseconds);
        if since_year_1(self) < since_year_1(other) { other } else { self }
    }

    /// This time, or 1970 for one that containerd does not set: before it, or after the year 2262.
    pub(crate) fn bounded(self) -> Self {
        let nanoseconds = i128::from(self.seconds) * 1_000_000_000 + i128::from(self.nanoseconds);
        if (0..=i128::from(i64::MAX)).contains(&nanoseconds) { self } else { Self::at(0) }
    }
}

/// A number of a header: octal, or binary if its first bit is set.
pub(super) fn numeric(field: &[u8]) -> Option<i64> {
    match field.first() {
        Some(first) if first & 0x80 != 0 => binary(field),
        _ => octal(field),
    }
}

/// An octal number between spaces and NULs; nothing is zero.
pub(super) fn octal(field: &[u8]) -> Option<i64> {
    let padding = |byte: &u8| matches!(byte, b' ' | 0);
    let Some(start) = field.iter().position(|byte| !padding(byte)) else { return Some(0) };
    let end = field.iter().rposition(|byte| !padding(byte)).map_or(start, |last| last + 1);
    let mut number = 0_u64;
    for byte in field[start..end].iter().take_while(|&&byte| byte != 0) {
        if !(b'0'..=b'7').contains(byte) {
            return None;
        }
        number = number.checked_mul(8)? | u64::from(byte - b'0');
    }
    Some(number.cast_signed())
}

/// GNU's base 256: two's complement after the first bit, the highest byte first.
fn binary(field: &[u8]) -> Option<i64> {
    let inverted = if field[0] & 0x40 == 0 { 0 } else { 0xff };
    let mut number = 0_u64;
    for (at, byte) in field.iter().enumerate() {
        let byte = byte ^ inverted;
        let byte = if at == 0 { byte & 0x7f } else { byte };
        number = number.checked_mul(256)? | u64::from(byte);
    }
    let number = i64::try_from(number).ok()?;
    Some(if inverted == 0 { number } else { !number })
}

/// A decimal number with or without a sign.
pub(super) fn decimal(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_numbers_are_padded_by_spaces_or_nuls() {
        for (field, number) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   755 \0", Some(0o755)),
            (b"\0\0\0\0", Some(0)),
            (b"12 34\0", None),
            (b"12\x0034\0", Some(0o12)),
            (b"99\0", None),
            (b"77777777777777777777777", None),
        ] {
            assert_eq!(numeric(field), number, "{field:?}");
        }
    }

    #[test]
    fn binary_numbers_may_be_negative() {
        for (field, number) in [
            (&b"\x80\0\0\0\0\0\x01\x00"[..], Some(256)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1)),
            (b"\x80\x7f\xff\xff\xff\xff\xff\xff\xff", Some(i64::MAX)),
            (b"\x80\x80\0\0\0\0\0\0\0", None),
            (b"\x80\x01\0\0\0\0\0\0\0\0\0\0", None),
        ] {
            assert_eq!(numeric(field), number, "{field:?}");
        }
    }

    #[test]
    fn a_time_has_nine_digits_after_its_dot() {
        let time = |seconds, nanoseconds| Some(Time { seconds, nanoseconds });
        for (text, expected) in [
            ("1500000000", time(1_500_000_000, 0)),
            ("1.5", time(1, 500_000_000)),
            ("1.", time(1, 0)),
            ("+1.000000001999", time(1, 1)),
            ("-1.25", time(-2, 750_000_000)),
            ("-0.5", time(-1, 500_000_000)),
            ("", None),
            (".5", None),
            ("1.5x", None),
            ("1.-5", None),
        ] {
            assert_eq!(Time::parse(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn a_time_that_containerd_does_not_set_is_1970() {
        for (seconds, bounded) in
            [(-1, 0), (0, 0), (1, 1), (9_223_372_036, 9_223_372_036), (9_223_372_037, 0)]
        {
            assert_eq!(Time::at(seconds).bounded(), Time::at(bounded));
        }
        assert_eq!(Time::at(i64::MAX).bounded(), Time::at(0));
    }
}
