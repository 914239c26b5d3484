//! How many bytes the frequent messages occupy in memory.
//!
//! They are built, moved and dropped for every operation, so their size costs time. A failure here
//! means that a new field or an unboxed member made a frequent message larger: box what is rare in
//! the generator, or raise the bound knowingly.

use std::mem::size_of;

use tikv_proto::{coprocessor, kvrpcpb, metapb, tikvpb};

#[track_caller]
fn at_most<T>(bound: usize) {
    let size = size_of::<T>();
    let name = std::any::type_name::<T>();
    assert!(size <= bound, "{name} has {size} bytes, more than {bound}");
}

#[test]
fn answers_that_carry_a_value_are_small() {
    at_most::<kvrpcpb::RawGetResponse>(72);
    at_most::<kvrpcpb::GetResponse>(72);
    at_most::<kvrpcpb::KvPair>(80);
    at_most::<kvrpcpb::RawBatchGetResponse>(32);
    at_most::<kvrpcpb::BatchGetResponse>(48);
    at_most::<kvrpcpb::ScanResponse>(40);
    at_most::<kvrpcpb::RawScanResponse>(32);
}

#[test]
fn answers_to_writes_are_small() {
    at_most::<kvrpcpb::RawPutResponse>(32);
    at_most::<kvrpcpb::RawDeleteResponse>(32);
    at_most::<kvrpcpb::PrewriteResponse>(56);
    at_most::<kvrpcpb::CommitResponse>(32);
    at_most::<kvrpcpb::PessimisticLockResponse>(152);
}

#[test]
fn an_answer_in_its_envelope_is_hardly_larger_than_the_answer() {
    at_most::<tikvpb::batch_commands_response::response::Cmd>(80);
    at_most::<tikvpb::batch_commands_response::Response>(80);
}

#[test]
fn requests_are_little_more_than_their_context() {
    at_most::<kvrpcpb::Context>(352);
    at_most::<kvrpcpb::RawGetRequest>(408);
    at_most::<kvrpcpb::RawPutRequest>(456);
    at_most::<kvrpcpb::GetRequest>(400);
    at_most::<kvrpcpb::PrewriteRequest>(560);
    at_most::<coprocessor::Request>(576);
}

#[test]
fn a_request_in_its_envelope_is_hardly_larger_than_a_put() {
    at_most::<tikvpb::batch_commands_request::request::Cmd>(464);
    at_most::<tikvpb::batch_commands_request::Request>(464);
}

#[test]
fn regions_are_small() {
    at_most::<metapb::Region>(176);
    at_most::<metapb::Peer>(24);
}
