//! What the service answers.

use std::fmt;

use serde::Deserialize;
use url::Url;

/// An answer to any of the calls. GitHub's own library understands both spellings of the names.
#[derive(Deserialize)]
pub(crate) struct Answer {
    #[serde(default)]
    pub(crate) ok: bool,
    #[serde(default, alias = "matchedKey")]
    pub(crate) matched_key: String,
    #[serde(default, alias = "signedDownloadUrl")]
    pub(crate) signed_download_url: String,
    #[serde(default, alias = "signedUploadUrl")]
    pub(crate) signed_upload_url: String,
    #[serde(default)]
    pub(crate) message: String,
}

/// An error, as Twirp frames it.
#[derive(Default, Deserialize)]
pub(crate) struct Failure {
    #[serde(default)]
    pub(crate) code: String,
    #[serde(default)]
    pub(crate) msg: String,
}

impl Answer {
    /// Reads one. Why it cannot be read is not told: the words would be those of the answer, which has a secret.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid)
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, crate::Error> {
        serde_json::from_slice(bytes).map_err(|_| crate::Error::invalid("an answer of it cannot be read"))
    }

    /// Whether it says no for good.
    pub(crate) fn is_denial(&self) -> bool {
        !self.ok && is_denial(&self.message)
    }
}

impl Failure {
    /// Reads one; whatever is none has no words.
    pub(crate) fn read(bytes: &[u8]) -> Self {
        serde_json::from_slice(bytes).unwrap_or_default()
    }

    /// Whether it says no for good.
    pub(crate) fn is_denial(&self) -> bool {
        is_denial(&self.msg)
    }

    /// Whether the repository has no space left.
    pub(crate) fn is_of_space(&self) -> bool {
        self.msg.contains("insufficient usage")
    }

    /// Whether a key is taken.
    pub(crate) fn is_of_key(&self) -> bool {
        self.code == "already_exists"
    }
}

/// A URL that gives whoever knows it a right, for some minutes. It is shown by nothing.
#[derive(Clone)]
pub(crate) struct SignedUrl(Url);

impl SignedUrl {
    /// A URL that the service gave. What is asked over TLS leads nowhere else.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid)
    pub(crate) fn read(text: &str, service: &Url) -> Result<Self, crate::Error> {
        let is_allowed = |url: &Url| match service.scheme() {
            "http" => matches!(url.scheme(), "http" | "https"),
            _ => url.scheme() == "https",
        };
        let url = Url::parse(text).ok().filter(is_allowed);
        url.map(Self).ok_or_else(|| crate::Error::invalid("it gives a URL that is none"))
    }

    pub(crate) const fn expose(&self) -> &Url {
        &self.0
    }
}

impl fmt::Debug for SignedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Whether the service says no for good, in the words that GitHub's own library knows (`cache write denied:`).
fn is_denial(message: &str) -> bool {
    ["cache read denied:", "cache write denied:"].iter().any(|denial| message.contains(denial))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_out_of_tls_is_not_taken() {
        let read =
            |text: &str, service: &str| SignedUrl::read(text, &service.parse().expect("a URL")).is_ok();
        assert!(read("https://blobs.example/x?sig=1", "https://results.example/"));
        assert!(read("http://127.0.0.1:1/x?sig=1", "http://127.0.0.1:2/"));
        for text in ["http://blobs.example/x?sig=1", "file:///etc/passwd", "", "/x"] {
            assert!(!read(text, "https://results.example/"), "{text}");
        }
    }

    #[test]
    fn both_spellings_of_an_answer_are_read() {
        for text in [
            r#"{"ok":true,"matched_key":"k","signed_download_url":"u"}"#,
            r#"{"ok":true,"matchedKey":"k","signedDownloadUrl":"u","new":1}"#,
        ] {
            let answer = Answer::read(text.as_bytes()).expect("an answer");
            assert_eq!(
                (answer.ok, answer.matched_key.as_str(), answer.signed_download_url.as_str()),
                (true, "k", "u")
            );
        }
        assert!(!Answer::read(b"{}").expect("an answer").ok, "what is false need not be said");
    }

    #[test]
    fn an_answer_that_cannot_be_read_is_not_shown() {
        let error = Answer::read(br#"{"ok":"https://blobs.example/x?sig=s3cret"}"#).err().expect("refused");
        assert!(!format!("{error:?}{error}").contains("s3cret"));
    }
}
