//! The wire: generated protobuf types of package `corduroy.v1`, and their conversions to and from domain words.
//!
//! Never: decisions.

mod convert;
mod refusal;
pub mod v1;

pub use convert::{
    InvalidField, acks_from_wire, acks_to_wire, offset_from_wire, topic_id_from_wire, topic_name_from_wire,
};
pub use refusal::{ERROR_DETAIL_KEY, Leader, Refusal};
