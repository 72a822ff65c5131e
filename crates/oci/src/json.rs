//! Documents of others, read as the clients read them, which is as Go's `encoding/json` does: keys are compared without
//! case, of two with the same name the last one counts, and a lone surrogate is a character like any other.
//!
//! A value that is not what it should be is as if it were not there: what can be used of a document is used.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// How often a field of an object is kept: the last ones, since more are there only where somebody repeats it for no good reason.
/// No number of one field pushes out another one.
const MAX_REPEATED: usize = 16;

/// The fields of an object that somebody wants, in their order.
#[derive(Debug, Default)]
pub struct Object<'a>(Vec<(&'static str, &'a RawValue)>);

impl<'a> Object<'a> {
    /// Reads an object's fields of these names; `None` for what is no JSON object.
    pub fn read(text: &'a str, names: &'static [&'static str]) -> Option<Self> {
        let mut json = serde_json::Deserializer::from_str(text);
        let object = json.deserialize_map(Fields(names)).ok()?;
        json.end().ok()?;
        Some(object)
    }

    /// Whether there is a value, and it is not null.
    pub fn has(&self, name: &str) -> bool {
        self.value(name).is_some_and(|value| value.get() != "null")
    }

    /// The value as it was written, null or not.
    pub fn value(&self, name: &str) -> Option<&'a RawValue> {
        self.values(name).next_back()
    }

    /// A string. Bytes of it that are no UTF-8 are replaced.
    pub fn text(&self, name: &str) -> Option<String> {
        self.values(name).rev().find_map(text)
    }

    /// A number without a sign, a point or an exponent.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.values(name).rev().find_map(|value| value.get().parse().ok())
    }

    /// An object, of which these names are wanted. One that comes twice is one, as Go fills a struct twice.
    pub fn object(&self, name: &str, names: &'static [&'static str]) -> Option<Self> {
        let found = self.values(name).filter_map(|value| Self::read(value.get(), names));
        found.reduce(|mut all, next| {
            all.0.extend(next.0);
            all
        })
    }

    /// The first `most` values of an array; none where it is something else.
    pub fn array(&self, name: &str, most: usize) -> Vec<&'a RawValue> {
        let Some(value) = self.value(name) else { return Vec::new() };
        serde_json::Deserializer::from_str(value.get()).deserialize_seq(First(most)).unwrap_or_default()
    }

    fn values(&self, name: &str) -> impl DoubleEndedIterator<Item = &'a RawValue> {
        self.0.iter().filter(move |(one, _)| *one == name).map(|(_, value)| *value)
    }
}

/// The string that a value is.
pub fn text(value: &RawValue) -> Option<String> {
    struct Text;
    impl Visitor<'_> for Text {
        type Value = String;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<String, E> {
            Ok(String::from_utf8_lossy(bytes).into_owned())
        }
    }
    // As bytes, since a string of Rust cannot have a lone surrogate.
    serde_json::Deserializer::from_str(value.get()).deserialize_bytes(Text).ok()
}

struct Fields(&'static [&'static str]);

impl<'a> Visitor<'a> for Fields {
    type Value = Object<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Object<'a>, A::Error> {
        let mut found = Vec::new();
        while let Some(name) = map.next_key_seed(Name(self.0))? {
            let Some(name) = name else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let is_same = |(one, _): &(&str, &RawValue)| *one == name;
            if found.iter().filter(|one| is_same(one)).count() == MAX_REPEATED
                && let Some(first) = found.iter().position(is_same)
            {
                found.remove(first);
            }
            found.push((name, map.next_value()?));
        }
        Ok(Object(found))
    }
}

/// A key: the name that it means, if any.
struct Name(&'static [&'static str]);

impl<'a> DeserializeSeed<'a> for Name {
    type Value = Option<&'static str>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_bytes(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Option<&'static str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_bytes<E: Error>(self, key: &[u8]) -> Result<Self::Value, E> {
        let key = String::from_utf8_lossy(key);
        Ok(self.0.iter().find(|name| key.chars().map(folded).eq(name.chars().map(folded))).copied())
    }
}

/// A character without its case: two letters beyond ASCII are folded into it.
const fn folded(letter: char) -> char {
    match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    }
}

/// The first elements of an array.
struct First(usize);

impl<'a> Visitor<'a> for First {
    type Value = Vec<&'a RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut found = Vec::new();
        while found.len() < self.0 {
            let Some(value) = seq.next_element()? else { return Ok(found) };
            found.push(value);
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &[&str] = &["mediaType", "config", "layers"];

    fn media_type(text: &str) -> Option<String> {
        Object::read(text, NAMES).expect("an object").text("mediaType")
    }

    #[test]
    fn keys_are_compared_without_case_and_the_last_one_counts() {
        assert_eq!(media_type(r#"{"mediaType":"a","MEDIATYPE":"b"}"#).as_deref(), Some("b"));
        assert_eq!(media_type(r#"{"MediaType":"a","mediaType":null}"#).as_deref(), Some("a"));
        assert_eq!(media_type(r#"{"media_type":"a"}"#), None);
        let long_s = Object::read("{\"layer\u{17f}\":[1]}", NAMES).expect("an object");
        assert_eq!(long_s.array("layers", 9).len(), 1);
    }

    #[test]
    fn an_object_that_comes_twice_is_one() {
        let text = r#"{"config":{"mediaType":"a","layers":[1]},"config":{"mediaType":"b"},"config":7}"#;
        let config = Object::read(text, NAMES).and_then(|all| all.object("config", NAMES)).expect("one");
        assert_eq!(config.text("mediaType").as_deref(), Some("b"));
        assert_eq!(config.array("layers", 9).len(), 1);
    }

    #[test]
    fn what_is_not_what_it_should_be_is_as_if_it_were_not_there() {
        let text = r#"{"mediaType":7,"config":[],"layers":{}}"#;
        let object = Object::read(text, NAMES).expect("an object");
        assert_eq!(object.text("mediaType"), None);
        assert!(object.object("config", NAMES).is_none() && object.array("layers", 9).is_empty());
        assert!(object.has("config") && !object.has("other"));
        assert!(!Object::read(r#"{"config":null}"#, NAMES).expect("an object").has("config"));
    }

    #[test]
    fn what_go_reads_is_read() {
        let deep = format!("{{\"x\":{}{},\"mediaType\":\"a\"}}", "[".repeat(5000), "]".repeat(5000));
        assert_eq!(media_type(&deep).as_deref(), Some("a"));
        assert_eq!(media_type(r#"{"\ud800":"\udfff","x":1e999999,"mediaType":"a"}"#).as_deref(), Some("a"));
        let lone = media_type(r#"{"mediaType":"a\ud800b"}"#).expect("a string");
        assert!(lone.starts_with('a') && lone.ends_with('b'));
    }

    #[test]
    fn what_go_does_not_read_is_not_read() {
        for text in
            ["", "[]", "7", "{", "{} x", "\u{feff}{}", r#"{"a":01}"#, "{\"a\":\"\n\"}", r#"{"a":"\x"}"#]
        {
            assert!(Object::read(text, NAMES).is_none(), "{text}");
        }
    }

    #[test]
    fn what_is_repeated_takes_no_room() {
        let text = format!("{{{}\"mediaType\":\"z\"}}", "\"mediaType\":\"a\",".repeat(1000));
        let object = Object::read(&text, NAMES).expect("an object");
        assert_eq!((object.0.len(), object.text("mediaType").as_deref()), (MAX_REPEATED, Some("z")));
        let text = format!("{{\"layers\":[1{}]}}", ",1".repeat(1000));
        assert_eq!(Object::read(&text, NAMES).expect("an object").array("layers", 10).len(), 10);
    }
}
