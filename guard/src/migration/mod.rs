//! Screens the text of a migration for effects that leave the slot's own database.
//!
//! [`screen`] reads a text as the server would and returns every reason to refuse it. It decides by
//! allowlists: a kind of statement, a language or an extension that is not known is refused, and so
//! is a text that the grammar does not accept or a statement whose text nobody can know before it
//! runs. It does not judge how long a statement locks a table, and it cannot see what functions of
//! earlier migrations do, nor what a role may do; the rights of the slot's role stay necessary.
//!
//! The way of a text: [`lexer`] reads tokens and undoes every disguise, [`split`] finds statements,
//! [`grammar`] parses each one, [`screener`] walks over the nodes and asks the rules: [`statements`],
//! [`settings`], [`functions`], [`relations`], [`extension`]. Bodies ([`routine`], [`plpgsql`]) and
//! constant texts that are executed go the same way again, with places that lead back to the file.
//!
//! ```
//! let screening = guard::migration::screen("CREATE TABLE a (id int);");
//! assert_eq!(screening.findings, []);
//! let screening = guard::migration::screen("DO $$ BEGIN EXECUTE 'DROP ' || 'DATABASE b'; END $$;");
//! assert_eq!(screening.findings[0].code.id(), "SG6201");
//! ```

mod constant;
mod cursor;
mod exemption;
mod extension;
mod finding;
mod functions;
mod grammar;
mod kinds;
mod lexer;
mod nesting;
mod pieces;
mod plpgsql;
mod relations;
mod routine;
mod screener;
mod settings;
mod source;
mod split;
mod statements;
mod strings;

pub use finding::{Class, Exempted, Finding, Screening};
pub use pieces::{Piece, pieces};

/// Returns every reason to refuse the text of a migration.
#[must_use]
pub fn screen(text: &str) -> Screening {
    screener::Screener::run(text)
}
