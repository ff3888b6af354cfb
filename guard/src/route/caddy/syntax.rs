//! JSON with the line of every value; a name that stands twice in an object is refused.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Value {
    pub(super) kind: Kind,
    pub(super) line: usize,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// A number, a truth value or nothing, as it is spelt.
    Plain(String),
    Text(String),
    List(Vec<Value>),
    Object(Vec<(String, Value)>),
}

/// What cannot be read, and where.
#[derive(Debug)]
pub(super) struct Unreadable {
    pub(super) line: usize,
    pub(super) why: &'static str,
}

const DEEPEST: usize = 48;

impl Value {
    /// Reads a text.
    pub(super) fn read(text: &str) -> Result<Self, Unreadable> {
        let raw: &RawValue = serde_json::from_str(text)
            .map_err(|error| Unreadable { line: error.line(), why: "it is not JSON" })?;
        let lines = text.match_indices('\n').map(|(at, _)| at).collect();
        Source { start: text.as_ptr() as usize, lines }.value(raw, 0)
    }

    /// Returns a member of an object.
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        self.members().iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// Returns the members of an object; anything else has none.
    pub(super) fn members(&self) -> &[(String, Self)] {
        if let Kind::Object(members) = &self.kind { members } else { &[] }
    }

    /// Returns the elements of a list; anything else has none.
    pub(super) fn elements(&self) -> &[Self] {
        if let Kind::List(elements) = &self.kind { elements } else { &[] }
    }

    /// Returns a text.
    pub(super) fn text(&self) -> Option<&str> {
        if let Kind::Text(text) = &self.kind { Some(text) } else { None }
    }

    /// Returns the value as it may be shown, in few words.
    pub(super) fn shown(&self) -> String {
        match &self.kind {
            Kind::Plain(text) => text.clone(),
            Kind::Text(text) => format!("\"{text}\""),
            Kind::List(elements) => {
                format!("[{}]", elements.iter().map(Self::shown).collect::<Vec<_>>().join(", "))
            }
            Kind::Object(members) => {
                let member =
                    |(key, value): &(String, Self)| format!("\"{key}\": {}", value.shown());
                format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(", "))
            }
        }
    }
}

struct Source {
    start: usize,
    /// Where lines end, as offsets.
    lines: Vec<usize>,
}

impl Source {
    fn value(&self, raw: &RawValue, depth: usize) -> Result<Value, Unreadable> {
        // A raw value is a piece of the text itself.
        let offset = raw.get().as_ptr() as usize - self.start;
        let line = self.lines.partition_point(|end| *end < offset) + 1;
        let fault = |why| Unreadable { line, why };
        if depth > DEEPEST {
            return Err(fault("it is nested too deeply"));
        }
        let text = raw.get();
        let not_json = |_| fault("it is not JSON");
        let kind = match text.as_bytes().first() {
            Some(b'{') => {
                let Members(members) = serde_json::from_str(text).map_err(not_json)?;
                let mut object: Vec<(String, Value)> = Vec::new();
                for (key, value) in members {
                    let value = self.value(value, depth + 1)?;
                    if object.iter().any(|(known, _)| *known == key) {
                        let why = "a name stands twice in an object";
                        return Err(Unreadable { line: value.line, why });
                    }
                    object.push((key, value));
                }
                Kind::Object(object)
            }
            Some(b'[') => {
                let elements: Vec<&RawValue> = serde_json::from_str(text).map_err(not_json)?;
                let values = elements.into_iter().map(|element| self.value(element, depth + 1));
                Kind::List(values.collect::<Result<_, _>>()?)
            }
            Some(b'"') => Kind::Text(serde_json::from_str(text).map_err(not_json)?),
            _ => Kind::Plain(text.to_owned()),
        };
        Ok(Value { kind, line })
    }
}

/// The members of an object in their order.
struct Members<'t>(Vec<(String, &'t RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Members<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry::<String, &'de RawValue>()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_knows_its_line() {
        let value = Value::read("{\n \"a\": [1,\n  \"b\\n\"],\n \"c\": null }").unwrap();
        let a = value.get("a").unwrap();
        assert_eq!((a.line, a.elements()[1].line), (2, 3));
        assert_eq!(a.elements()[1].text(), Some("b\n"));
        assert_eq!(value.get("c").unwrap().line, 4);
    }

    #[test]
    fn what_two_readers_may_read_apart_is_refused() {
        assert_eq!(Value::read("{\"a\":1,\n\"a\":2}").unwrap_err().line, 2);
        for bad in ["", "{", "{} {}", "[1,]", &"[".repeat(100)] {
            assert!(Value::read(bad).is_err(), "{bad}");
        }
    }
}
