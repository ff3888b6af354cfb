//! Bodies in PL/pgSQL, read as the language itself reads them.
//!
//! The language knows a few words of its own and hands everything else to the grammar of SQL:
//! statements as they are, with `INTO targets` cut out, and expressions behind a `SELECT`. So do we;
//! whether blocks are closed in the right order is left to the server.

use std::ops::Range;

use super::cursor::Cursor;
use super::lexer::Kind;
use super::screener::{Part, Place, Screener};
use super::source::Source;
use crate::diagnostic::Code;

/// What a `WHEN` belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Block,
    Handlers,
    Case,
    Other,
}

/// One body and where reading it is.
struct Body<'s, 'a> {
    cursor: Cursor<'s, 'a>,
    place: Place,
    open: Vec<Open>,
    /// Whether declarations are being read.
    declares: bool,
}

type Piece<'s, 'a> = Cursor<'s, 'a>;

impl Screener {
    /// Screens a body.
    pub(super) fn plpgsql(&mut self, source: &Source<'_>, place: Place) {
        self.within(source, |screener| {
            let cursor = Cursor::new(source, 0, source.tokens.len());
            let mut body = Body { cursor, place, open: Vec::new(), declares: false };
            // `#variable_conflict use_column` and its kind.
            while body.cursor.sees_symbol(b'#') {
                body.cursor.at += 3;
            }
            while !body.cursor.is_done() {
                let before = body.cursor.at;
                let exempt = screener.open_exemption(source, before);
                body.step(screener);
                screener.close_exemption(exempt);
                if body.cursor.at == before {
                    return screener.unreadable(&body.cursor);
                }
            }
        });
    }

    fn unreadable(&mut self, piece: &Piece<'_, '_>) {
        let what = "a statement of PL/pgSQL that cannot be read";
        self.find(piece.source, Code::UnparsableText, piece.place(), what);
    }

    fn expression(&mut self, piece: &Piece<'_, '_>) {
        self.statement(piece.source, "SELECT ", piece.at, piece.end);
    }

    fn expressions(&mut self, pieces: &Piece<'_, '_>) {
        for piece in pieces.clone().pieces() {
            self.expression(&piece);
        }
    }

    /// A query or a statement as the server gets it, with `INTO targets` cut out.
    fn query(&mut self, prefix: &str, piece: &Piece<'_, '_>) {
        let part = Part {
            source: piece.source,
            prefix,
            start: piece.at,
            end: piece.end,
            cut: into(piece),
        };
        self.part(&part);
    }

    /// `EXECUTE text [INTO …] [USING …]`: the text is screened, and so is what makes it.
    fn dynamic(&mut self, piece: &mut Piece<'_, '_>, at: usize) {
        let clause = |cursor: &Cursor<'_, '_>| cursor.sees_any(&["into", "using"]);
        let text = piece.until(clause);
        self.expression(&text);
        self.executed(Some(text), piece.source, at, "", "EXECUTE");
        while !piece.is_done() {
            let using = piece.sees("using");
            piece.at += 1;
            let part = piece.until(clause);
            if using {
                self.expressions(&part);
            } else if !is_names(&part) {
                self.unreadable(&part);
            }
        }
    }
}

impl<'s, 'a> Body<'s, 'a> {
    fn step(&mut self, screener: &mut Screener) {
        if self.cursor.eat_symbol(b';') || self.label() {
            return;
        }
        if self.declares && !self.cursor.sees("begin") {
            return self.declaration(screener);
        }
        if self.is_assignment() {
            return self.assignment(screener);
        }
        let start = self.cursor.clone();
        let word = self
            .cursor
            .source
            .name(self.cursor.at)
            .filter(|_| self.cursor.kind() == Some(Kind::Word));
        self.cursor.at += 1;
        match word.as_deref().unwrap_or_default() {
            "declare" => self.declares = true,
            "begin" => {
                self.declares = false;
                self.open.push(Open::Block);
            }
            "exception" if self.open.last() == Some(&Open::Block) => {
                self.open.pop();
                self.open.push(Open::Handlers);
            }
            "else" | "loop" => {
                if start.sees("loop") {
                    self.open.push(Open::Other);
                }
            }
            "end" => self.end(),
            "if" => {
                self.open.push(Open::Other);
                self.condition(screener, "then");
            }
            "elsif" | "elseif" => self.condition(screener, "then"),
            "while" => {
                self.open.push(Open::Other);
                self.condition(screener, "loop");
            }
            "case" => {
                self.open.push(Open::Case);
                let subject = self.cursor.until(|cursor| cursor.sees("when"));
                screener.expression(&subject);
            }
            "when" => self.when(screener),
            "for" | "foreach" => {
                self.open.push(Open::Other);
                self.loop_head(screener);
            }
            _ => {
                self.cursor = start;
                let mut statement = self.until_semicolon();
                simple(screener, &mut statement, self.place);
            }
        }
    }

    fn until_semicolon(&mut self) -> Piece<'s, 'a> {
        let piece = self.cursor.until(|cursor| cursor.sees_symbol(b';'));
        self.cursor.at += 1;
        piece
    }

    /// `<<label>>`.
    fn label(&mut self) -> bool {
        let is = |ahead, symbol| self.cursor.source.is_symbol(self.cursor.at + ahead, symbol);
        let seen = is(0, b'<') && is(1, b'<') && is(3, b'>') && is(4, b'>');
        self.cursor.at += if seen { 5 } else { 0 };
        seen
    }

    /// `END`, `END IF`, `END LOOP label` and so on.
    fn end(&mut self) {
        self.open.pop();
        self.cursor.eat_any(&["if", "loop", "case"]);
        if !self.cursor.sees_symbol(b';') {
            self.cursor.name();
        }
        self.cursor.eat_symbol(b';');
    }

    fn condition(&mut self, screener: &mut Screener, closing: &str) {
        let condition = self.cursor.until(|cursor| cursor.sees(closing));
        screener.expression(&condition);
        self.cursor.at += 1;
    }

    /// `WHEN` of a `CASE`, or of exception handlers, where names of conditions follow.
    fn when(&mut self, screener: &mut Screener) {
        if self.open.last() != Some(&Open::Handlers) {
            return self.condition(screener, "then");
        }
        let conditions = self.cursor.until(|cursor| cursor.sees("then"));
        self.cursor.at += 1;
        if (conditions.at..conditions.end).any(|index| {
            !matches!(conditions.source.tokens[index].kind, Kind::Word | Kind::Quoted | Kind::Text)
        }) {
            screener.unreadable(&conditions);
        }
    }

    /// What a loop goes over: a range, a query, a text to execute, a cursor or an array.
    fn loop_head(&mut self, screener: &mut Screener) {
        let mut head = self.cursor.until(|cursor| cursor.sees("loop"));
        self.cursor.at += 1;
        let targets = head.until(|cursor| cursor.sees_any(&["in", "slice"]));
        if !is_names(&targets) || head.is_done() {
            return screener.unreadable(&head);
        }
        if head.eat("slice") {
            head.at += 1;
        }
        head.eat("in");
        let at = head.place();
        let is_range = head.clone().find(is_dots);
        if head.eat("execute") {
            screener.dynamic(&mut head, at);
        } else if head.eat("array") {
            screener.expression(&head);
        } else if is_range {
            head.eat("reverse");
            let from = head.until(is_dots);
            head.at += 2;
            let to = head.until(|cursor| cursor.sees("by"));
            head.eat("by");
            [from, to, head].iter().for_each(|piece| screener.expression(piece));
        } else if head.sees_any(&[
            "select", "with", "values", "table", "insert", "update", "delete", "merge", "explain",
            "show", "fetch",
        ]) || head.sees_symbol(b'(')
        {
            screener.query("", &head);
        } else {
            screener.expression(&named_arguments(&head));
        }
    }

    /// Tells an assignment from a statement: no statement has a name followed by these.
    fn is_assignment(&self) -> bool {
        let mut cursor = self.cursor.clone();
        let is_target = matches!(cursor.kind(), Some(Kind::Word | Kind::Quoted | Kind::Parameter));
        cursor.at += 1;
        is_target
            && (cursor.sees_symbol(b'.') || cursor.sees_symbol(b'[') || cursor.eat_assignment())
    }

    fn assignment(&mut self, screener: &mut Screener) {
        let mut piece = self.until_semicolon();
        piece.at += usize::from(piece.kind() == Some(Kind::Parameter));
        while !piece.is_done() && !piece.clone().eat_assignment() {
            if piece.sees_symbol(b'[') {
                let start = piece.at;
                piece.skip();
                let index = Cursor::new(piece.source, start, piece.at);
                screener.statement(index.source, "SELECT slotguard", index.at, index.end);
            } else if piece.name().is_none() && !piece.eat_symbol(b'.') {
                return screener.unreadable(&piece);
            }
        }
        piece.eat_assignment();
        screener.expression(&piece);
    }

    /// `name [CONSTANT] type … [:= value]`, a cursor with its query, or an alias.
    fn declaration(&mut self, screener: &mut Screener) {
        let mut piece = self.until_semicolon();
        // The word may be repeated before each name.
        piece.eat("declare");
        if piece.name().is_none() {
            return screener.unreadable(&piece);
        }
        screener.unparsed(&piece.clone().until(|cursor| {
            cursor.sees_any(&["for", "is", "default"]) || cursor.clone().eat_assignment()
        }));
        let is_cursor = piece.clone().find(|cursor| cursor.sees("cursor"));
        if is_cursor && piece.clone().find(|cursor| cursor.sees_any(&["for", "is"])) {
            let head = piece.until(|cursor| cursor.sees_any(&["for", "is"]));
            piece.at += 1;
            return if is_type(&head) {
                screener.query("", &piece);
            } else {
                screener.unreadable(&head);
            };
        }
        let head = piece.until(|cursor| cursor.sees("default") || cursor.clone().eat_assignment());
        if !is_type(&head) {
            return screener.unreadable(&head);
        }
        if !piece.eat("default") {
            piece.eat_assignment();
        }
        screener.expression(&piece);
    }
}

/// Judges a statement that ends with a semicolon and holds no other one.
fn simple(screener: &mut Screener, piece: &mut Piece<'_, '_>, place: Place) {
    let (start, at) = (piece.clone(), piece.place());
    let word = piece.source.name(piece.at).filter(|_| piece.kind() == Some(Kind::Word));
    piece.at += 1;
    match word.as_deref().unwrap_or_default() {
        "null" => {}
        "return" => returns(screener, piece, at),
        "raise" => raise(screener, piece),
        "assert" => screener.expressions(piece),
        "perform" => screener.query("SELECT ", piece),
        "execute" => screener.dynamic(piece, at),
        "exit" | "continue" => {
            let label = piece.until(|cursor| cursor.sees("when"));
            piece.eat("when");
            if !is_names(&label) {
                screener.unreadable(&label);
            }
            screener.expression(piece);
        }
        "get" => assignments_only(screener, piece),
        "open" => open(screener, piece),
        "fetch" | "move" | "close" => {
            screener.unparsed(piece);
            if !is_type(piece) {
                screener.unreadable(piece);
            }
        }
        "commit" | "rollback" if place == Place::Procedure => {}
        _ => screener.query("", &start),
    }
}

fn returns(screener: &mut Screener, piece: &mut Piece<'_, '_>, at: usize) {
    if piece.eat("query") {
        if piece.eat("execute") {
            return screener.dynamic(piece, at);
        }
        return screener.query("", piece);
    }
    piece.eat("next");
    screener.expression(piece);
}

/// `RAISE [level] [format, values] [USING option = value, …]`.
fn raise(screener: &mut Screener, piece: &mut Piece<'_, '_>) {
    piece.eat_any(&["exception", "warning", "notice", "info", "log", "debug"]);
    let mut head = piece.until(|cursor| cursor.sees("using"));
    head.eat("sqlstate");
    screener.expressions(&head);
    piece.eat("using");
    for mut option in piece.clone().pieces() {
        option.at += 1;
        if !option.eat_assignment() {
            return screener.unreadable(&option);
        }
        screener.expression(&option);
    }
}

/// `GET DIAGNOSTICS a = ROW_COUNT`: nothing but names.
fn assignments_only(screener: &mut Screener, piece: &Piece<'_, '_>) {
    let plain = |kind| {
        matches!(kind, Kind::Word | Kind::Quoted | Kind::Number)
            || matches!(kind, Kind::Symbol(symbol) if b",.:=[]".contains(&symbol))
    };
    if !piece.source.tokens[piece.at..piece.end].iter().all(|token| plain(token.kind)) {
        screener.unreadable(piece);
    }
}

/// `OPEN cursor [FOR query | FOR EXECUTE text | (arguments)]`.
fn open(screener: &mut Screener, piece: &mut Piece<'_, '_>) {
    let mut head = piece.until(|cursor| cursor.sees("for"));
    let at = piece.place();
    if piece.eat("for") {
        if piece.eat("execute") {
            return screener.dynamic(piece, at);
        }
        return screener.query("", piece);
    }
    head.path();
    if let Some(arguments) = head.bracketed() {
        for argument in arguments.pieces() {
            screener.expression(&named_arguments(&argument));
        }
    }
}

/// Steps over `name :=` in front of an argument.
fn named_arguments<'s, 'a>(piece: &Piece<'s, 'a>) -> Piece<'s, 'a> {
    let mut named = piece.clone();
    named.at += 1;
    if named.at < named.end && named.eat_assignment() { named } else { piece.clone() }
}

fn is_dots(cursor: &Cursor<'_, '_>) -> bool {
    cursor.sees_symbol(b'.') && cursor.source.is_symbol(cursor.at + 1, b'.')
}

/// Says whether a piece is made of names, as targets are; `STRICT` is one.
fn is_names(piece: &Piece<'_, '_>) -> bool {
    piece.source.tokens[piece.at..piece.end].iter().all(|token| match token.kind {
        Kind::Word | Kind::Quoted => true,
        Kind::Symbol(symbol) => b",.".contains(&symbol),
        _ => false,
    })
}

/// Says whether a piece is made of what types are made of, which no call can hide in.
fn is_type(piece: &Piece<'_, '_>) -> bool {
    piece.source.tokens[piece.at..piece.end].iter().all(|token| match token.kind {
        Kind::Word | Kind::Quoted | Kind::Number | Kind::Parameter => true,
        Kind::Symbol(symbol) => b",.%()[]-".contains(&symbol),
        _ => false,
    })
}

/// Returns the bytes of `INTO targets`, if there are any.
///
/// As in the language: the first `INTO` that does not belong to `INSERT`, `MERGE` or `IMPORT`. Only
/// names can be cut out, so nothing can hide in what is cut.
fn into(piece: &Piece<'_, '_>) -> Option<Range<usize>> {
    let source = piece.source;
    let belongs = |index: usize| {
        index > piece.at && ["insert", "merge"].iter().any(|word| source.is_word(index - 1, word))
    };
    if piece.sees("import") {
        return None;
    }
    let at =
        (piece.at..piece.end).find(|index| source.is_word(*index, "into") && !belongs(*index))?;
    let mut targets = Cursor::new(source, at + 1, piece.end);
    targets.eat("strict");
    loop {
        targets.path()?;
        if !targets.eat_symbol(b',') {
            break;
        }
    }
    Some(source.tokens[at].start..source.tokens[targets.at - 1].end)
}
