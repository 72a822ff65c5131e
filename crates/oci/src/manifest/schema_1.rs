//! Docker's first manifest, as far as its digest goes: where it is signed, the digest is of what was signed. The signature
//! says how that comes out of the bytes (libtrust, "JSON signature").

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::IgnoredAny;

use crate::json::Object;
use crate::{Algorithm, Digest};

/// The digest by which registries and clients know a signed manifest of schema 1; `None` for any other document.
pub fn signed_digest(algorithm: Algorithm, bytes: &[u8]) -> Option<Digest> {
    let document = Object::read(std::str::from_utf8(bytes).ok()?, &["fsLayers", "signatures"])?;
    let signature = document.array("signatures", 1).first().filter(|_| document.has("fsLayers"))?.get();
    let protected = Object::read(signature, &["protected"])?.text("protected")?;
    let protected = URL_SAFE_NO_PAD.decode(protected).ok()?;
    let protected = Object::read(std::str::from_utf8(&protected).ok()?, &["formatLength", "formatTail"])?;
    let length = usize::try_from(protected.number("formatLength")?).ok()?;
    let tail = URL_SAFE_NO_PAD.decode(protected.text("formatTail")?).ok()?;
    let (signed, added) = bytes.split_at_checked(length)?;
    let is_end = tail.trim_ascii() == b"}" && is_signature_alone(added);
    is_end.then(|| Digest::of(algorithm, &[signed, &tail].concat()))
}

/// Whether what was added to what was signed is nothing but the signatures: or else any document could say of itself that it is
/// another one, whose bytes it has in its tail.
fn is_signature_alone(added: &[u8]) -> bool {
    let fields = added.trim_ascii_start().strip_prefix(b",");
    let object = fields.map(|fields| [b"{", fields].concat());
    let keys = object.and_then(|object| serde_json::from_slice::<BTreeMap<String, IgnoredAny>>(&object).ok());
    keys.is_some_and(|keys| keys.keys().eq(["signatures"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A document that is signed as distribution does it, and what was signed.
    fn signed() -> (String, String) {
        let payload = "{\n   \"fsLayers\": []\n}";
        let length = payload.len() - 2;
        let protected =
            format!(r#"{{"formatLength":{length},"formatTail":"{}"}}"#, URL_SAFE_NO_PAD.encode("\n}"));
        let signature = format!(r#"{{"protected":"{}"}}"#, URL_SAFE_NO_PAD.encode(protected));
        (format!("{},\n   \"signatures\": [{signature}]\n}}", &payload[..length]), payload.into())
    }

    #[test]
    fn the_digest_is_of_what_was_signed() {
        let (document, payload) = signed();
        let expected = Digest::of(Algorithm::Sha256, payload.as_bytes());
        assert_eq!(signed_digest(Algorithm::Sha256, document.as_bytes()), Some(expected));
    }

    #[test]
    fn no_document_is_another_one_that_it_quotes() {
        let (_, payload) = signed();
        let (start, tail) = payload.split_at(5);
        for (length, start, tail, more) in [
            (0, "{\"layers\":[]", payload.as_str(), ""),
            (5, start, tail, "\"layers\":[],"),
            (payload.len() - 2, &payload[..payload.len() - 2], "\n}", "\"fsLayers\":[{}],"),
        ] {
            let protected =
                format!(r#"{{"formatLength":{length},"formatTail":"{}"}}"#, URL_SAFE_NO_PAD.encode(tail));
            let signatures =
                format!(r#""signatures":[{{"protected":"{}"}}]"#, URL_SAFE_NO_PAD.encode(protected));
            let text = format!("{start},{more}\"fsLayers\":[],{signatures}}}");
            assert_eq!(signed_digest(Algorithm::Sha256, text.as_bytes()), None, "{text}");
            let text = format!("{start},{more}{signatures}}}");
            assert_eq!(signed_digest(Algorithm::Sha256, text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn any_other_document_has_no_such_digest() {
        let (document, payload) = signed();
        for text in [
            payload,
            document.replace("fsLayers", "layers"),
            document.replace("protected", "other"),
            document.replace("\"signatures\": [", "\"signatures\": [7,"),
            String::new(),
        ] {
            assert_eq!(signed_digest(Algorithm::Sha256, text.as_bytes()), None, "{text}");
        }
        let huge = URL_SAFE_NO_PAD.encode(r#"{"formatLength":99999,"formatTail":""}"#);
        let text = format!(r#"{{"fsLayers":[],"signatures":[{{"protected":"{huge}"}}]}}"#);
        assert_eq!(signed_digest(Algorithm::Sha256, text.as_bytes()), None);
    }
}
