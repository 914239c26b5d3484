//! All methods of all services: what a client must know to call them.
//!
//! ```
//! use tikv_proto::methods;
//!
//! assert_eq!(methods::tikv::RAW_GET.path, "/tikvpb.Tikv/RawGet");
//! assert!(methods::tikv::BATCH_COMMANDS.client_streaming);
//! ```

/// One method of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Method {
    /// Full name of the service, `tikvpb.Tikv` for example.
    pub service: &'static str,
    /// Name of the method, `RawGet` for example.
    pub name: &'static str,
    /// Path of the HTTP/2 request, `/tikvpb.Tikv/RawGet` for example.
    pub path: &'static str,
    /// Whether the client sends a stream of requests.
    pub client_streaming: bool,
    /// Whether the server answers with a stream of responses.
    pub server_streaming: bool,
}

include!("generated/methods.rs");
