//! nginx: the configuration that is made for the slots, and the judgement of one that is there.

mod render;
mod syntax;
mod verify;

pub use render::render;
pub use verify::verify;
