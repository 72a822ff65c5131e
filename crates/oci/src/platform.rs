//! Platforms, in the words of `GOOS` and `GOARCH`, and which of them run on which, as containerd's `platforms` has it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ParseError;
use crate::json::Object;

/// The longest word of a platform that is taken, in bytes.
const MAX_WORD: usize = 64;

/// What an image runs on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// `linux`, ...
    pub os: String,
    /// `amd64`, `arm64`, ...
    pub architecture: String,
    /// `v7`, ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// A processor in containerd's words: an architecture, and a variant, which may be empty.
type Processor = (String, String);

impl Platform {
    /// The fields that say a platform, in a descriptor and in an image's configuration alike.
    pub(crate) const FIELDS: &'static [&'static str] = &["os", "architecture", "variant"];

    /// The platform of this machine.
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "aarch64" => ("arm64", None),
            "arm" => ("arm", Some("v7")),
            "x86" => ("386", None),
            "powerpc64" => ("ppc64le", None),
            other => (other, None),
        };
        Self { os: "linux".into(), architecture: architecture.into(), variant: variant.map(Into::into) }
    }

    /// The platform that an object says. `None` for one without an architecture, and for one that is no word: it is as good
    /// as none. One without a system is for Linux, as Docker takes it.
    pub(crate) fn read(object: &Object<'_>) -> Option<Self> {
        let word = |name| object.text(name).filter(|text| !text.is_empty());
        let (os, architecture) = (word("os").unwrap_or_else(|| "linux".into()), word("architecture")?);
        let variant = word("variant");
        let are_words = [&os, &architecture].into_iter().chain(&variant).all(|word| is_word(word));
        are_words.then_some(Self { os, architecture, variant })
    }

    /// The platform that an image's configuration says, if it does.
    pub fn of_config(bytes: &[u8]) -> Option<Self> {
        Self::read(&Object::read(&String::from_utf8_lossy(bytes), Self::FIELDS)?)
    }

    /// How well an image for `offered` runs on this: 0 is best, `None` not at all.
    ///
    /// A processor runs what is for the versions before it: arm/v7 runs v6 and v5, amd64/v3 runs v2 and amd64, arm64 runs
    /// arm, amd64 runs 386. What needs a later version than was asked for does not run, except on arm, where Docker takes
    /// any version for want of a better one.
    pub fn rank(&self, offered: &Self) -> Option<usize> {
        if self.system() != offered.system() {
            return None;
        }
        let (runs, processor) = (runs(self.processor()), offered.processor());
        let fits = runs.iter().position(|one| *one == processor);
        let both_arm = runs[0].0 == "arm" && processor.0 == "arm";
        fits.or_else(|| both_arm.then_some(runs.len()))
    }

    fn system(&self) -> String {
        match self.os.to_ascii_lowercase() {
            os if os == "macos" => "darwin".into(),
            os => os,
        }
    }

    /// One word for each processor, whatever it is called.
    fn processor(&self) -> Processor {
        let architecture = self.architecture.to_ascii_lowercase();
        let variant = self.variant.as_deref().unwrap_or_default().to_ascii_lowercase();
        let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
            ("i386", _) => ("386", String::new()),
            ("amd64" | "x86_64" | "x86-64", "v1") => ("amd64", String::new()),
            ("amd64" | "x86_64" | "x86-64", _) => ("amd64", variant),
            ("arm64" | "aarch64", "" | "8" | "v8" | "v8.0") => ("arm64", "v8".into()),
            ("arm64" | "aarch64", "9" | "9.0" | "v9.0") => ("arm64", "v9".into()),
            ("arm64" | "aarch64", _) => ("arm64", variant),
            ("armhf", _) | ("arm", "" | "7") => ("arm", "v7".into()),
            ("armel", _) => ("arm", "v6".into()),
            ("arm", "5" | "6" | "8") => ("arm", format!("v{variant}")),
            (other, _) => (other, variant),
        };
        (architecture.into(), variant)
    }
}

/// What a processor runs, the best first.
fn runs(processor: Processor) -> Vec<Processor> {
    let (architecture, variant) = processor.clone();
    let mut all = vec![processor];
    let version = variant.trim_start_matches('v');
    match architecture.as_str() {
        "amd64" => {
            let before = version.parse::<u32>().unwrap_or(1).min(9);
            all.extend((2..before).rev().map(|one| ("amd64".into(), format!("v{one}"))));
            if before > 1 {
                all.push(("amd64".into(), String::new()));
            }
            all.push(("386".into(), String::new()));
        }
        "arm" => {
            let before = version.parse::<u32>().unwrap_or(0).min(9);
            all.extend((5..before).rev().map(|one| ("arm".into(), format!("v{one}"))));
        }
        "arm64" => {
            let (major, minor) = version.split_once('.').unwrap_or((version, "0"));
            let mut minor = minor.parse::<u32>().unwrap_or(0).min(9);
            let mut add = |major: &str, minor| all.push(("arm64".into(), minor_version(major, minor)));
            if major == "9" {
                (0..minor).rev().for_each(|one| add("9", one));
                // What runs v9.0 runs v8.5.
                minor += 5;
                add("8", minor);
            }
            if matches!(major, "8" | "9") {
                (0..minor).rev().for_each(|one| add("8", one));
                all.extend(runs(("arm".into(), "v8".into())));
            }
        }
        _ => {}
    }
    all
}

fn minor_version(major: &str, minor: u32) -> String {
    if minor == 0 { format!("v{major}") } else { format!("v{major}.{minor}") }
}

fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_WORD
        && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"._-".contains(&c))
}

impl FromStr for Platform {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let parts: Vec<&str> = text.split('/').collect();
        match parts.as_slice() {
            [os, architecture, variant @ ..]
                if variant.len() <= 1 && parts.iter().all(|part| is_word(part)) =>
            {
                Ok(Self {
                    os: (*os).into(),
                    architecture: (*architecture).into(),
                    variant: variant.first().map(|&variant| variant.into()),
                })
            }
            _ => Err(ParseError::new(
                "platform",
                text,
                "it is written os/architecture[/variant], as linux/arm64",
            )),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of what is offered, the best first.
    fn order(wanted: &str, offered: &[&str]) -> String {
        let wanted: Platform = wanted.parse().expect("a platform");
        let mut fits: Vec<_> = offered
            .iter()
            .filter_map(|one| Some((wanted.rank(&one.parse().expect("a platform"))?, *one)))
            .collect();
        fits.sort_by_key(|(rank, _)| *rank);
        fits.into_iter().map(|(_, one)| one.trim_start_matches("linux/")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_processor_runs_what_is_for_those_before_it_the_nearest_first() {
        let arm = ["linux/arm/v5", "linux/arm/v6", "linux/arm/v7", "linux/arm/v8", "linux/arm64"];
        assert_eq!(order("linux/arm/v7", &arm[..3]), "arm/v7 arm/v6 arm/v5");
        assert_eq!(order("linux/arm", &arm[..2]), "arm/v6 arm/v5");
        assert_eq!(order("linux/arm64", &arm), "arm64 arm/v8 arm/v7 arm/v6 arm/v5");
        assert_eq!(order("linux/arm64/v8", &arm), order("linux/arm64", &arm));
        let amd64 = ["linux/amd64/v3", "linux/386", "linux/amd64", "linux/amd64/v2", "linux/amd64/v4"];
        assert_eq!(order("linux/amd64", &amd64), "amd64 386");
        assert_eq!(order("linux/amd64/v1", &amd64), "amd64 386");
        assert_eq!(order("linux/amd64/v3", &amd64), "amd64/v3 amd64/v2 amd64 386");
        assert_eq!(order("linux/386", &amd64), "386");
        let arm64 =
            ["linux/arm64/v8.6", "linux/arm64/v8.5", "linux/arm64", "linux/arm64/v8.2", "linux/arm64/v9"];
        assert_eq!(order("linux/arm64/v9", &arm64), "arm64/v9 arm64/v8.5 arm64/v8.2 arm64");
        assert_eq!(order("linux/arm64/v8.2", &arm64), "arm64/v8.2 arm64");
    }

    #[test]
    fn on_arm_any_version_is_better_than_none() {
        assert_eq!(order("linux/arm/v6", &["linux/arm/v8", "linux/arm/v5"]), "arm/v5 arm/v8");
    }

    #[test]
    fn one_processor_has_several_names() {
        for (one, other) in [
            ("linux/x86_64", "linux/amd64"),
            ("Linux/AMD64", "linux/amd64"),
            ("linux/aarch64", "linux/arm64/v8"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/armel", "linux/arm/v6"),
            ("linux/arm/7", "linux/arm"),
            ("linux/i386", "linux/386"),
            ("macos/arm64", "darwin/arm64"),
        ] {
            let parse = |text: &str| text.parse::<Platform>().expect("a platform");
            assert_eq!(parse(one).rank(&parse(other)), Some(0), "{one}");
            assert_eq!(parse(other).rank(&parse(one)), Some(0), "{one}");
        }
        for other in ["windows/amd64", "linux/s390x", "unknown/unknown"] {
            assert_eq!(order("linux/amd64", &[other]), "");
        }
    }

    #[test]
    fn a_configuration_says_its_platform_or_nothing() {
        let of = |text: &str| Platform::of_config(text.as_bytes()).map(|one| one.to_string());
        assert_eq!(
            of(r#"{"os":"linux","architecture":"arm","variant":"v6","x":[]}"#).as_deref(),
            Some("linux/arm/v6")
        );
        assert_eq!(of(r#"{"architecture":"arm64","variant":null}"#).as_deref(), Some("linux/arm64"));
        for text in [
            r#"{"os":"linux"}"#,
            "{}",
            "",
            r#"{"os":"linux","architecture":"\u001b[31m"}"#,
            r#"{"architecture":7}"#,
        ] {
            assert_eq!(of(text), None, "{text}");
        }
    }
}
