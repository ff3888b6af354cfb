//! Bodies of functions, procedures and `DO` blocks.

use super::cursor::Cursor;
use super::extension::LANGUAGES;
use super::lexer::{Decoded, Kind};
use super::screener::{Place, Screener};
use super::source::Source;
use crate::diagnostic::Code;

/// Languages that are called by their name when they are refused.
const KNOWN_LANGUAGES: [&str; 7] =
    ["c", "internal", "plperl", "plperlu", "plpython3u", "pltcl", "pltclu"];

impl Screener {
    /// Judges `CREATE FUNCTION` and `CREATE PROCEDURE`. A body in the standard's own form is part of
    /// the statement and judged with it.
    pub(super) fn routine(&mut self, cursor: Cursor<'_, '_>, languages: &[String]) {
        let (source, at) = (cursor.source, cursor.place());
        let place = if is_procedure(&cursor) { Place::Procedure } else { Place::Block };
        let bodies = bodies(cursor);
        let language = match languages {
            [] if bodies.is_empty() => "sql",
            [language] => language.as_str(),
            _ => {
                let what = "a routine without one language";
                return self.find(source, Code::UnparsableText, at, what);
            }
        };
        if !LANGUAGES.contains(&language) {
            return self.unknown_language(source, at, language);
        }
        for body in bodies {
            let inner = Source::constant(source, body);
            self.routine_body(|screener| match language {
                "plpgsql" => screener.plpgsql(&inner, place),
                _ => screener.text(&inner),
            });
        }
    }

    /// Judges `DO`, whose language stands before or behind its body.
    pub(super) fn block(&mut self, mut cursor: Cursor<'_, '_>) {
        let (source, at) = (cursor.source, cursor.place());
        cursor.at += 1;
        let mut language = None;
        let mut bodies = Vec::new();
        while !cursor.is_done() {
            if cursor.eat("language") {
                language = cursor.name();
            } else if let Some(body) = source.constant_at(cursor.at) {
                bodies.push(body);
                cursor.at += 1;
            } else {
                cursor.at += 1;
            }
        }
        let language = language.unwrap_or_else(|| "plpgsql".to_owned());
        if language != "plpgsql" {
            return self.unknown_language(source, at, &language);
        }
        for body in bodies {
            let inner = Source::constant(source, body);
            self.plpgsql(&inner, Place::Block);
        }
    }

    /// A language may be given as a string, which is not repeated unless it is one of a kind.
    fn unknown_language(&mut self, source: &Source<'_>, at: usize, language: &str) {
        let known = KNOWN_LANGUAGES.iter().find(|known| **known == language);
        let what = known.map_or_else(
            || "a language that is not known".to_owned(),
            |language| format!("the language `{language}`"),
        );
        self.find(source, Code::UnscreenableLanguage, at, what);
    }
}

fn is_procedure(cursor: &Cursor<'_, '_>) -> bool {
    let mut cursor = cursor.clone();
    cursor.at += 1;
    if cursor.eat("or") {
        cursor.eat("replace");
    }
    cursor.sees("procedure")
}

/// Returns the bodies that are string constants, wherever they stand among the options.
fn bodies<'s>(mut cursor: Cursor<'s, '_>) -> Vec<&'s Decoded> {
    let mut bodies = Vec::new();
    cursor.find(|cursor| cursor.sees_symbol(b'('));
    while cursor.find(|cursor| cursor.sees("as")) {
        cursor.at += 1;
        while cursor.kind() == Some(Kind::Text) {
            bodies.extend(cursor.source.constant_at(cursor.at));
            cursor.at += 1;
            cursor.eat_symbol(b',');
        }
    }
    bodies
}
