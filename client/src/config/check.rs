//! What can be wrong with a configuration.

use std::time::Duration;

use super::{ApiVersion, Config, PdOptions, RegionOptions, Timeouts, Tls, WireOptions, address};
use crate::{
    Result,
    error::{Error, ErrorKind},
};

/// client-go's `grpc-keepalive-timeout` has the same limit.
const MIN_KEEPALIVE_TIMEOUT: Duration = Duration::from_millis(50);
/// HTTP/2 starts with windows of this size, and has no larger ones than the other.
const WINDOWS: std::ops::RangeInclusive<u32> = 65_535..=0x7FFF_FFFF;

pub(super) fn invalid(operation: &'static str, text: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidConfig, operation, text)
}

/// Everything that was found, each with the kind of error that it would be alone.
#[derive(Default)]
struct Problems(Vec<(ErrorKind, String)>);

impl Problems {
    /// Expects something of a field.
    fn expect(&mut self, fine: bool, field: &str, problem: impl AsRef<str>) {
        if !fine {
            self.0.push((
                ErrorKind::InvalidConfig,
                format!("{field} {}", problem.as_ref()),
            ));
        }
    }

    fn not_zero(&mut self, time: Duration, field: &str) {
        self.expect(!time.is_zero(), field, "must be more than zero");
    }

    fn not_built(&mut self, wanted: bool, field: &str) {
        if wanted {
            self.0.push((
                ErrorKind::Unsupported,
                format!("{field} is not built yet; leave it unset"),
            ));
        }
    }

    fn into_result(self) -> Result<()> {
        let Some((first, _)) = self.0.first() else {
            return Ok(());
        };
        let alike = self.0.iter().all(|(kind, _)| kind == first);
        let kind = if alike {
            *first
        } else {
            ErrorKind::InvalidConfig
        };
        let texts: Vec<String> = self.0.into_iter().map(|(_, text)| text).collect();
        Err(Error::new(kind, "Config::validate", texts.join("; ")))
    }
}

pub(super) fn validate(config: &Config) -> Result<()> {
    let mut problems = Problems::default();
    endpoints(config, &mut problems);
    api(config, &mut problems);
    timeouts(&config.timeouts, &mut problems);
    pd(&config.pd, &mut problems);
    wire(&config.wire, &mut problems);
    regions(&config.regions, &mut problems);
    let weight = config.request.backoff_weight;
    problems.expect(
        (1..=65_535).contains(&weight),
        "request.backoff_weight",
        "must be from 1 to 65535",
    );
    problems.not_built(config.address_map.is_some(), "address_map");
    tls(&config.tls, &mut problems);
    problems.into_result()
}

fn endpoints(config: &Config, problems: &mut Problems) {
    if let Err(texts) = address::all(&config.endpoints) {
        problems.0.extend(
            texts
                .into_iter()
                .map(|text| (ErrorKind::InvalidConfig, format!("endpoints: {text}"))),
        );
    }
    // Without encryption, `https` would be a promise that is not kept.
    let secure = config
        .endpoints
        .iter()
        .any(|text| address::parse(text).is_ok_and(|endpoint| endpoint.secure));
    let kept = !secure || config.transport.is_some() || !matches!(config.tls, Tls::Off);
    problems.expect(
        kept,
        "endpoints",
        "with https:// need certificates: set tls",
    );
}

fn api(config: &Config, problems: &mut Problems) {
    if config.keyspace.is_some() {
        let v2 = config.api_version() == ApiVersion::V2;
        problems.expect(
            v2,
            "keyspace",
            "exists only in API V2: leave api unset, or remove the keyspace",
        );
    }
}

fn timeouts(timeouts: &Timeouts, problems: &mut Problems) {
    let Timeouts {
        connect,
        point,
        batch,
        page,
        lock,
        commit,
        timestamp,
        admin,
        close,
        rpc,
        pd,
    } = timeouts;
    for (time, field) in [
        (connect, "timeouts.connect"),
        (point, "timeouts.point"),
        (batch, "timeouts.batch"),
        (page, "timeouts.page"),
        (lock, "timeouts.lock"),
        (commit, "timeouts.commit"),
        (timestamp, "timeouts.timestamp"),
        (admin, "timeouts.admin"),
        (close, "timeouts.close"),
        (rpc, "timeouts.rpc"),
        (pd, "timeouts.pd"),
    ] {
        problems.not_zero(*time, field);
    }
}

fn pd(pd: &PdOptions, problems: &mut Problems) {
    problems.expect(
        pd.tso_concurrency > 0,
        "pd.tso_concurrency",
        "must be at least 1",
    );
    problems.not_zero(pd.timestamp_refresh, "pd.timestamp_refresh");
    if let Some(breaker) = &pd.breaker {
        let percent = breaker.error_rate_percent;
        problems.expect(
            (1..=100).contains(&percent),
            "pd.breaker.error_rate_percent",
            "must be from 1 to 100",
        );
        problems.not_zero(breaker.window, "pd.breaker.window");
        problems.not_zero(breaker.cool_down, "pd.breaker.cool_down");
    }
    problems.not_built(pd.follower_handle, "pd.follower_handle");
    problems.not_built(pd.tso_follower_proxy, "pd.tso_follower_proxy");
    problems.not_built(pd.breaker.is_some(), "pd.breaker");
}

fn wire(wire: &WireOptions, problems: &mut Problems) {
    problems.expect(
        wire.connections > 0,
        "wire.connections (grpc-connection-count)",
        "must be at least 1",
    );
    problems.expect(
        wire.keepalive_timeout >= MIN_KEEPALIVE_TIMEOUT,
        "wire.keepalive_timeout (grpc-keepalive-timeout)",
        format!(
            "must be at least 0.05 seconds, but is {}",
            wire.keepalive_timeout.as_secs_f64()
        ),
    );
    problems.not_zero(wire.connect_timeout, "wire.connect_timeout");
    for (window, field) in [
        (wire.stream_window, "wire.stream_window"),
        (wire.connection_window, "wire.connection_window"),
    ] {
        problems.expect(
            WINDOWS.contains(&window),
            field,
            format!("must be from 65535 to 2147483647, but is {window}"),
        );
    }
    problems.expect(
        wire.max_in_flight != Some(0),
        "wire.max_in_flight",
        "of 0 would refuse everything: use None",
    );
    problems.expect(
        wire.max_message != Some(0),
        "wire.max_message",
        "of 0 would refuse everything: use None",
    );
}

fn regions(regions: &RegionOptions, problems: &mut Problems) {
    problems.not_zero(regions.ttl, "regions.ttl");
    problems.expect(
        regions.max_regions > 0,
        "regions.max_regions",
        "must be at least 1",
    );
    problems.not_zero(regions.stores_refresh, "regions.stores_refresh");
    problems.not_built(regions.preload, "regions.preload");
    problems.not_built(regions.refresh.is_some(), "regions.refresh");
}

fn tls(tls: &Tls, problems: &mut Problems) {
    let missing = match tls {
        Tls::Files { ca, .. } if ca.as_os_str().is_empty() => {
            Some("the authorities to trust (cluster-ssl-ca)")
        }
        Tls::Files {
            identity: Some((chain, key)),
            ..
        } => {
            let empty = [
                (chain, "the client certificate (cluster-ssl-cert)"),
                (key, "the client key (cluster-ssl-key)"),
            ];
            empty
                .into_iter()
                .find(|(path, _)| path.as_os_str().is_empty())
                .map(|(_, what)| what)
        }
        _ => None,
    };
    if let Some(what) = missing {
        problems
            .0
            .push((ErrorKind::Tls, format!("tls: {what} is missing")));
    } else if let Err(error) = tls.check() {
        problems.0.push((ErrorKind::Tls, error.to_string()));
    }
}
