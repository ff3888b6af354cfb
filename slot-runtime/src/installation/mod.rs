//! The other programs of this installation: found, started and asked.
//!
//! A program is found in our own directory and nowhere else, must be of our own version, inherits
//! nothing, and ends when we end.

pub mod ask;
pub mod child;
pub mod sibling;
