//! The one place, with [`kinds`](super::kinds), that knows the grammar's library.
//!
//! A statement goes in, in its canonical form, and comes out as a flat list of the nodes that the
//! rules ask about. A later version of the library, or another one, changes these two files only.

use squawk_syntax::ast::{self, AstNode};
use squawk_syntax::{SourceFile, SyntaxKind};

use super::kinds::{self, Shape};

/// A node of the tree.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) shape: Shape,
    pub(super) start: usize,
    pub(super) end: usize,
    parent: usize,
    kind: SyntaxKind,
}

impl Node {
    /// Returns the kind of a statement as people write it, such as `CREATE DATABASE`.
    pub(super) fn label(&self) -> String {
        format!("{:?}", self.kind).replace('_', " ")
    }
}

/// A statement, or several, as the grammar reads them.
#[derive(Debug)]
pub(super) struct Tree {
    /// In the order of the text, parents first.
    pub(super) nodes: Vec<Node>,
    /// Where the grammar does not accept the text, and why.
    pub(super) problem: Option<(usize, String)>,
}

impl Tree {
    /// Returns the shapes around a place, from the innermost one to the root.
    pub(super) fn around(&self, at: usize) -> impl Iterator<Item = Shape> {
        let innermost = self.nodes.iter().rposition(|node| node.start <= at && at < node.end);
        let mut next = innermost;
        std::iter::from_fn(move || {
            let node = &self.nodes[next?];
            next = next.filter(|index| *index > 0).map(|_| node.parent);
            Some(node.shape)
        })
    }
}

/// Parses a canonical text whose first byte lies at `offset` of the whole.
///
/// `prefix` is put in front, as when an expression becomes a `SELECT`; places in it count as the
/// first byte.
pub(super) fn parse(prefix: &str, canonical: &str, offset: usize) -> Tree {
    let joined = if prefix.is_empty() { String::new() } else { format!("{prefix}{canonical}") };
    let parse = SourceFile::parse(if prefix.is_empty() { canonical } else { &joined });
    let place = |at: usize| at.saturating_sub(prefix.len()) + offset;
    let mut nodes: Vec<Node> = Vec::new();
    let mut open = vec![(parse.syntax_node(), 0)];
    while let Some((node, parent)) = open.pop() {
        let (kind, range) = (node.kind(), node.text_range());
        let children: Vec<_> = node.children().collect();
        open.extend(children.into_iter().rev().map(|child| (child, nodes.len())));
        nodes.push(Node {
            shape: kinds::shape(kind, ast::Stmt::can_cast(kind)),
            start: place(range.start().into()),
            end: place(range.end().into()),
            parent,
            kind,
        });
    }
    let problem = parse.errors().into_iter().next();
    let problem =
        problem.map(|error| (place(error.range().start().into()), error.message().to_owned()));
    Tree { nodes, problem }
}
