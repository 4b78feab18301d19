//! Generated from `proto/corduroy/v1`.
#![allow(missing_docs, reason = "generated; the .proto files are the documentation")]
#![allow(clippy::all, clippy::pedantic, reason = "generated")]

tonic::include_proto!("corduroy.v1");

/// The compiled `.proto` files, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/corduroy_descriptors.bin"));
