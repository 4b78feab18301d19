//! Each rule by hand, and clusters in which anything may go wrong.

mod cluster;
mod rules;
