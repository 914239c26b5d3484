//! gRPC over hyper's HTTP/2 connections, for any runtime.
