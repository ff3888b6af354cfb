//! The syntax of nginx's configuration: words, quotes, blocks and comments.
//!
//! Includes are put in place of the line that names them, from the files that `nginx -T` shows.

use std::collections::BTreeSet;

use super::super::finding::Place;

/// A directive with its arguments and, if it has one, its block.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) args: Vec<String>,
    pub(super) children: Option<Vec<Node>>,
    pub(super) at: Place,
}

impl Node {
    /// Returns whether two directives say the same, wherever they stand; the order within a block
    /// does not count.
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        let alike = |(own, others): (&Vec<Self>, &Vec<Self>)| {
            own.len() == others.len()
                && own.iter().all(|node| others.iter().any(|other| node.says_the_same(other)))
                && others.iter().all(|node| own.iter().any(|other| node.says_the_same(other)))
        };
        self.name == other.name
            && self.args == other.args
            && match (&self.children, &other.children) {
                (None, None) => true,
                (Some(own), Some(others)) => alike((own, others)),
                _ => false,
            }
    }

    /// Returns the directive as it may be shown, without its block.
    pub(super) fn shown(&self) -> String {
        let words: Vec<&str> = std::iter::once(self.name.as_str())
            .chain(self.args.iter().map(String::as_str))
            .collect();
        words.join(" ")
    }
}

/// What cannot be read, and where.
#[derive(Debug)]
pub(super) struct Unreadable {
    pub(super) at: Place,
    pub(super) why: String,
}

/// Deepest nesting of blocks and of includes that is read.
const DEEPEST: usize = 16;

/// Reads a configuration: the text of one file, or what `nginx -T` prints.
pub(super) fn read(text: &str, name: &str) -> Result<Vec<Node>, Unreadable> {
    let files = split(text, name);
    let mut used = BTreeSet::from([0]);
    let nodes = files_content(&files, 0, &mut used, 0)?;
    match (0..files.len()).find(|index| !used.contains(index)) {
        None => Ok(nodes),
        Some(index) => Err(Unreadable {
            at: Place { file: files[index].0.clone(), line: 1 },
            why: "a file that nothing includes".to_owned(),
        }),
    }
}

/// Splits what `nginx -T` prints into its files; each has its name and text.
fn split<'t>(text: &'t str, name: &str) -> Vec<(String, &'t str)> {
    let mut files: Vec<(String, &str)> = Vec::new();
    let mut start = 0;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let marker = line.trim_end().strip_prefix("# configuration file ");
        if let Some(path) = marker.and_then(|rest| rest.strip_suffix(':')) {
            if let Some(last) = files.last_mut() {
                last.1 = &text[start..at];
            }
            start = at + line.len();
            files.push((path.to_owned(), ""));
        }
        at += line.len();
    }
    match files.last_mut() {
        Some(last) => last.1 = &text[start..],
        None => files.push((name.to_owned(), text)),
    }
    files
}

fn files_content(
    files: &[(String, &str)],
    index: usize,
    used: &mut BTreeSet<usize>,
    depth: usize,
) -> Result<Vec<Node>, Unreadable> {
    let (name, text) = &files[index];
    let mut reader = Reader { text: text.as_bytes(), position: 0, line: 1, file: name };
    let nodes = reader.block(0)?;
    expand(nodes, files, used, depth)
}

/// Puts the content of included files in place of `include`.
fn expand(
    nodes: Vec<Node>,
    files: &[(String, &str)],
    used: &mut BTreeSet<usize>,
    depth: usize,
) -> Result<Vec<Node>, Unreadable> {
    let mut expanded = Vec::new();
    for mut node in nodes {
        if node.name != "include" {
            if let Some(children) = node.children.take() {
                node.children = Some(expand(children, files, used, depth)?);
            }
            expanded.push(node);
            continue;
        }
        let unreadable = |why: &str| Unreadable { at: node.at.clone(), why: why.to_owned() };
        let [pattern] = &node.args[..] else {
            return Err(unreadable("an `include` without one path"));
        };
        if depth >= DEEPEST {
            return Err(unreadable("includes nested too deeply"));
        }
        let directory = files[0].0.rsplit_once('/').map_or("", |(directory, _)| directory);
        let pattern = if pattern.starts_with('/') {
            pattern.clone()
        } else {
            format!("{directory}/{pattern}")
        };
        let found: Vec<usize> =
            (1..files.len()).filter(|index| matches(&pattern, &files[*index].0)).collect();
        if found.is_empty() && !pattern.contains('*') {
            return Err(unreadable(
                "an included file that is not shown; use what `nginx -T` prints",
            ));
        }
        for index in found {
            used.insert(index);
            expanded.extend(files_content(files, index, used, depth + 1)?);
        }
    }
    Ok(expanded)
}

/// Matches a path with one `*` at most, which stands for no slash.
fn matches(pattern: &str, path: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == path,
        Some((front, back)) => {
            let middle = path.strip_prefix(front).and_then(|rest| rest.strip_suffix(back));
            middle.is_some_and(|middle| !middle.contains('/')) && !back.contains('*')
        }
    }
}

struct Reader<'t> {
    text: &'t [u8],
    position: usize,
    line: usize,
    file: &'t str,
}

enum Token {
    Word(String),
    Open,
    Close,
    End,
    Eof,
}

impl Reader<'_> {
    fn block(&mut self, depth: usize) -> Result<Vec<Node>, Unreadable> {
        let mut nodes = Vec::new();
        if depth > DEEPEST {
            return Err(self.fault("blocks nested too deeply"));
        }
        loop {
            let name = match self.token()? {
                Token::Word(word) => word,
                Token::Close if depth > 0 => return Ok(nodes),
                Token::Eof if depth == 0 => return Ok(nodes),
                Token::Eof => return Err(self.fault("a block without an end")),
                Token::Open | Token::Close | Token::End => {
                    return Err(self.fault("a `{`, `}` or `;` where a directive was expected"));
                }
            };
            let at = Place { file: self.file.to_owned(), line: self.line };
            let mut args = Vec::new();
            let children = loop {
                match self.token()? {
                    Token::Word(word) => args.push(word),
                    Token::End => break None,
                    Token::Open => break Some(self.block(depth + 1)?),
                    Token::Close | Token::Eof => {
                        return Err(self.fault("a directive without an end"));
                    }
                }
            };
            nodes.push(Node { name, args, children, at });
        }
    }

    fn token(&mut self) -> Result<Token, Unreadable> {
        self.skip_blanks();
        let Some(first) = self.peek() else { return Ok(Token::Eof) };
        let single = match first {
            b'{' => Some(Token::Open),
            b'}' => Some(Token::Close),
            b';' => Some(Token::End),
            _ => None,
        };
        if let Some(token) = single {
            self.position += 1;
            return Ok(token);
        }
        let quote = [b'"', b'\''].contains(&first).then_some(first);
        self.position += usize::from(quote.is_some());
        let mut word = Vec::new();
        loop {
            let Some(byte) = self.peek() else {
                return Err(self.fault("a word without an end"));
            };
            let ends = match quote {
                Some(quote) => byte == quote,
                None => {
                    let variable = byte == b'{' && word.ends_with(b"$");
                    byte.is_ascii_whitespace() || (b"{;".contains(&byte) && !variable)
                }
            };
            if ends {
                break;
            }
            self.position += 1;
            self.line += usize::from(byte == b'\n');
            word.push(byte);
            if byte == b'\\' {
                self.escaped(&mut word)?;
            }
        }
        if quote.is_some() {
            self.position += 1;
            if self
                .peek()
                .is_some_and(|byte| !byte.is_ascii_whitespace() && !b";{)".contains(&byte))
            {
                return Err(self.fault("something right behind a quoted word"));
            }
        }
        String::from_utf8(word).map(Token::Word).map_err(|_| self.fault("bytes that are not UTF-8"))
    }

    /// Reads what stands behind a backslash, as nginx does.
    fn escaped(&mut self, word: &mut Vec<u8>) -> Result<(), Unreadable> {
        let Some(byte) = self.peek() else { return Err(self.fault("a word without an end")) };
        self.position += 1;
        self.line += usize::from(byte == b'\n');
        match byte {
            b'"' | b'\'' | b'\\' => {
                word.pop();
                word.push(byte);
            }
            b't' | b'r' | b'n' => {
                word.pop();
                word.push(match byte {
                    b't' => b'\t',
                    b'r' => b'\r',
                    _ => b'\n',
                });
            }
            other => word.push(other),
        }
        Ok(())
    }

    fn skip_blanks(&mut self) {
        let mut comment = false;
        while let Some(byte) = self.peek() {
            match byte {
                b'\n' => {
                    self.line += 1;
                    comment = false;
                }
                b'#' => comment = true,
                byte if comment || byte.is_ascii_whitespace() => {}
                _ => return,
            }
            self.position += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.position).copied()
    }

    fn fault(&self, why: &str) -> Unreadable {
        let at = Place { file: self.file.to_owned(), line: self.line };
        Unreadable { at, why: why.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn said(text: &str) -> Result<String, usize> {
        fn show(nodes: &[Node]) -> String {
            let one = |node: &Node| match &node.children {
                None => format!("{}@{};", node.shown(), node.at.line),
                Some(children) => {
                    format!("{}@{}{{{}}}", node.shown(), node.at.line, show(children))
                }
            };
            nodes.iter().map(one).collect()
        }
        read(text, "f").map(|nodes| show(&nodes)).map_err(|fault| fault.at.line)
    }

    #[test]
    fn words_quotes_blocks_and_comments_are_read() {
        assert_eq!(
            said("a b 'c d' \"e;\";\n# x {\nf{g ${h};}").unwrap(),
            "a b c d e;@1;f@3{g ${h}@3;}"
        );
        assert_eq!(said(r#"a "\"\\\.";"#).unwrap(), r#"a "\\.@1;"#);
        assert_eq!(said("a b#c;").unwrap(), "a b#c@1;");
        for (bad, line) in
            [("a", 1), ("a {", 1), ("}", 1), ("a;\n;", 2), ("a 'b'c;", 1), ("a \"b", 1), ("{ }", 1)]
        {
            assert_eq!(said(bad), Err(line), "{bad}");
        }
    }

    #[test]
    fn included_files_stand_where_they_are_named() {
        let dump = "# configuration file /e/nginx.conf:\nhttp {\ninclude d/*.conf;\n}\n\
                    # configuration file /e/d/a.conf:\n\nx;\n# configuration file /e/d/b.conf:\ny;\n";
        assert_eq!(said(dump).unwrap(), "http@1{x@2;y@1;}");
        assert!(said(&dump.replace("d/*.conf", "d/a.conf")).is_err());
        assert!(said("include /e/x;").is_err());
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[a{};'\"#\\\\$ \n/*]{0,60}") {
            let _ = read(&text, "f");
        }
    }
}
