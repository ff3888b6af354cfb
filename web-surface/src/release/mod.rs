//! The release that is served: found beneath the web root, read whole, answered from memory.
//!
//! Nothing is opened by a path of a request. A release is read once through directory handles,
//! without following a link, and a request only looks up a name in the result.

mod asset;
mod content_type;
mod load;
mod web_root;

pub(crate) use asset::{Asset, Content, Encoding, Variant};
pub(crate) use load::{Found, Release};
pub(crate) use web_root::{Published, WebRoot};
