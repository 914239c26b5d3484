//! What all connections of a transport share.

use std::{
    fmt,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header, uri};
use tikv_core::{rpc::Metadata, time::Instant};
use tokio::sync::Notify;

use crate::{Net, WireOptions, pool::Pool, tls::TlsSource};

/// What all connections of a transport share.
pub(crate) struct Shared {
    pub(crate) net: Arc<dyn Net>,
    pub(crate) options: WireOptions,
    pub(crate) tls: TlsSource,
    /// Tasks that run.
    tasks: AtomicUsize,
    gone: Notify,
}

impl Shared {
    pub(crate) fn new(net: Arc<dyn Net>, options: WireOptions, tls: TlsSource) -> Self {
        Self {
            net,
            options,
            tls,
            tasks: AtomicUsize::new(0),
            gone: Notify::new(),
        }
    }

    pub(crate) fn task_begins(&self) {
        self.tasks.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn task_ends(&self) {
        if self.tasks.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.gone.notify_waiters();
        }
    }

    /// Ready when no task runs.
    pub(crate) async fn tasks_gone(&self) {
        loop {
            let mut gone = pin!(self.gone.notified());
            gone.as_mut().enable();
            if self.tasks.load(Ordering::SeqCst) == 0 {
                return;
            }
            gone.await;
        }
    }

    /// The head of a gRPC call. `None` when the metadata holds a character that no header may have.
    pub(crate) fn head(
        &self,
        pool: &Pool,
        path: &'static str,
        metadata: &Metadata,
        deadline: Instant,
    ) -> Option<Request<()>> {
        let mut parts = uri::Parts::default();
        parts.scheme = Some(if self.tls.is_on() {
            uri::Scheme::HTTPS
        } else {
            uri::Scheme::HTTP
        });
        parts.authority = Some(pool.authority.clone());
        parts.path_and_query = Some(uri::PathAndQuery::from_static(path));
        let mut headers = HeaderMap::with_capacity(6);
        headers.insert(header::TE, const { HeaderValue::from_static("trailers") });
        headers.insert(
            header::CONTENT_TYPE,
            const { HeaderValue::from_static("application/grpc") },
        );
        headers.insert(
            header::USER_AGENT,
            const { HeaderValue::from_static(AGENT) },
        );
        if deadline != Instant::FAR_FUTURE {
            headers.insert(
                const { HeaderName::from_static("grpc-timeout") },
                timeout(deadline - self.net.now()),
            );
        }
        if let Some((name, value)) = metadata.pair() {
            headers.insert(
                HeaderName::from_static(name),
                HeaderValue::from_str(value).ok()?,
            );
        }
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.version_mut() = http::Version::HTTP_2;
        *request.uri_mut() = Uri::from_parts(parts).ok()?;
        *request.headers_mut() = headers;
        Some(request)
    }
}

const AGENT: &str = concat!("tikv-rust/", env!("CARGO_PKG_VERSION"));

/// gRPC writes a time as up to eight digits and a unit.
fn timeout(left: std::time::Duration) -> HeaderValue {
    const MOST: u128 = 99_999_999;
    let (number, unit) = if left.as_micros() <= MOST {
        (left.as_micros().max(1), 'u')
    } else if left.as_millis() <= MOST {
        (left.as_millis(), 'm')
    } else {
        (u128::from(left.as_secs()).min(MOST), 'S')
    };
    let mut text = BytesMut::with_capacity(12);
    let _ = fmt::Write::write_fmt(&mut text, format_args!("{number}{unit}"));
    HeaderValue::from_maybe_shared(text.freeze())
        .unwrap_or(const { HeaderValue::from_static("1S") })
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tasks = self.tasks.load(Ordering::Relaxed);
        f.debug_struct("Shared")
            .field("net", &self.net)
            .field("options", &self.options)
            .field("tasks", &tasks)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn timeouts_fit_eight_digits() {
        for (left, text) in [
            (Duration::ZERO, "1u"),
            (Duration::from_secs(20), "20000000u"),
            (Duration::from_secs(100), "100000m"),
            (Duration::from_secs(200_000), "200000S"),
            (Duration::MAX, "99999999S"),
        ] {
            assert_eq!(timeout(left), text);
        }
    }
}
