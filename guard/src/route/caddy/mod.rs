//! Caddy: the configuration that is made for the slots, as JSON, and the judgement of one.

mod render;
mod syntax;
mod verify;

pub use render::render;
pub use verify::verify;
