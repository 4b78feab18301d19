//! Reading input in large pieces, with bounded memory.

mod source;
mod window;

pub(crate) use source::Source;
pub(crate) use window::{Fill, Window};
