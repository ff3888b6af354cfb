//! A fuzzer for everything that reads outside text; development only.
//!
//! [`targets`] say what must hold for any input, [`mutation`] makes inputs, [`engine`] puts the two
//! together and keeps what behaves in a new way. It needs no instrumented build, so it runs on the
//! toolchain that the project is built with; what that costs is said in the README.

pub mod cli;
pub mod engine;
pub mod mutation;
pub mod random;
pub mod seeds;
pub mod targets;
