//! Generates the committed code of tikv-proto from its .proto files.
