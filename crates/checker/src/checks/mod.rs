//! The checks, one file for those that look at the same thing. Each takes the [`Index`](crate::index::Index) and adds to
//! the [`Report`](crate::Report).

pub(crate) mod ends;
pub(crate) mod liveness;
pub(crate) mod lost;
pub(crate) mod order;
pub(crate) mod polls;
pub(crate) mod reads;
pub(crate) mod rising;
pub(crate) mod values;
