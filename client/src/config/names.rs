//! Options by name.

use std::path::PathBuf;

use super::{ApiVersion, Breaker, Config, Tls, url, value};
use crate::{
    error::{Error, ErrorKind},
    request::Priority,
};

/// Why a value was not taken.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) kind: ErrorKind,
    pub(super) text: String,
}

impl From<String> for Refused {
    fn from(text: String) -> Self {
        Self {
            kind: ErrorKind::InvalidConfig,
            text,
        }
    }
}

type Set = fn(&mut Config, &str) -> Result<(), Refused>;

/// client-go's options: the section of TiDB's file in which it puts them, the name, and what is set.
const CLIENT_GO: &[(&str, &str, Set)] = &[
    ("", "path", set_endpoints),
    ("", "keyspace-name", |c, v| {
        put(&mut c.keyspace, Ok(value::text(v)))
    }),
    ("", "zone-label", |c, v| {
        put(&mut c.zone, Ok(value::text(v)))
    }),
    ("", "stores-refresh-interval", |c, v| {
        put(&mut c.regions.stores_refresh, value::duration(v))
    }),
    ("", "regions-refresh-interval", |c, v| {
        put(&mut c.regions.refresh, value::optional_duration(v))
    }),
    ("", "enable-preload", |c, v| {
        put(&mut c.regions.preload, value::switch(v))
    }),
    ("", "enable-forwarding", |_, v| {
        only(
            !value::switch(v)?,
            "requests to stores are not forwarded by other stores",
        )
    }),
    ("", "txn-scope", |_, v| {
        only(
            ["", "global"].contains(&v),
            "timestamps of one data centre are gone from PD; leave it `global`",
        )
    }),
    ("pd-client", "pd-server-timeout", |c, v| {
        put(&mut c.timeouts.pd, value::duration(v))
    }),
    ("security", "cluster-ssl-ca", |c, v| {
        set_tls(c, |files| files.ca = v.into())
    }),
    ("security", "cluster-ssl-cert", |c, v| {
        set_tls(c, |files| files.chain = v.into())
    }),
    ("security", "cluster-ssl-key", |c, v| {
        set_tls(c, |files| files.key = v.into())
    }),
    ("security", "cluster-verify-cn", |_, v| {
        only(
            ["", "[]"].contains(&v),
            "a server's certificate must have the name of its address",
        )
    }),
    ("tikv-client", "grpc-connection-count", |c, v| {
        put(&mut c.wire.connections, value::whole(v))
    }),
    ("tikv-client", "grpc-keepalive-time", |c, v| {
        put(&mut c.wire.keepalive, value::duration(v))
    }),
    ("tikv-client", "grpc-keepalive-timeout", |c, v| {
        put(&mut c.wire.keepalive_timeout, value::duration(v))
    }),
    ("tikv-client", "grpc-compression-type", set_compression),
    ("tikv-client", "grpc-initial-window-size", |c, v| {
        put(&mut c.wire.stream_window, value::whole(v))
    }),
    ("tikv-client", "grpc-initial-conn-window-size", |c, v| {
        put(&mut c.wire.connection_window, value::whole(v))
    }),
    ("tikv-client", "region-cache-ttl", |c, v| {
        put(&mut c.regions.ttl, value::duration(v))
    }),
    ("tikv-client", "store-limit", |_, v| {
        only(
            value::optional::<u64>(v)?.is_none(),
            "requests are not limited per store; see wire.max_in_flight",
        )
    }),
    ("tikv-client", "max-concurrency-request-limit", |c, v| {
        // client-go's default is the largest number it has: no limit.
        let limit = value::optional(v)?
            .filter(|limit| u64::try_from(*limit).is_ok_and(|l| l < i64::MAX as u64));
        put(&mut c.wire.max_in_flight, Ok(limit))
    }),
];

/// Options that client-go does not have, or not by name.
const OWN: &[(&str, Set)] = &[
    ("endpoints", set_endpoints),
    ("api-version", set_api),
    ("timeouts.connect", |c, v| {
        put(&mut c.timeouts.connect, value::duration(v))
    }),
    ("timeouts.point", |c, v| {
        put(&mut c.timeouts.point, value::duration(v))
    }),
    ("timeouts.batch", |c, v| {
        put(&mut c.timeouts.batch, value::duration(v))
    }),
    ("timeouts.page", |c, v| {
        put(&mut c.timeouts.page, value::duration(v))
    }),
    ("timeouts.lock", |c, v| {
        put(&mut c.timeouts.lock, value::duration(v))
    }),
    ("timeouts.commit", |c, v| {
        put(&mut c.timeouts.commit, value::duration(v))
    }),
    ("timeouts.timestamp", |c, v| {
        put(&mut c.timeouts.timestamp, value::duration(v))
    }),
    ("timeouts.admin", |c, v| {
        put(&mut c.timeouts.admin, value::duration(v))
    }),
    ("timeouts.close", |c, v| {
        put(&mut c.timeouts.close, value::duration(v))
    }),
    ("timeouts.rpc", |c, v| {
        put(&mut c.timeouts.rpc, value::duration(v))
    }),
    ("pd.forwarding", |c, v| {
        put(&mut c.pd.forwarding, value::switch(v))
    }),
    ("pd.follower-handle", |c, v| {
        put(&mut c.pd.follower_handle, value::switch(v))
    }),
    ("pd.router", |c, v| put(&mut c.pd.router, value::switch(v))),
    ("pd.tso-follower-proxy", |c, v| {
        put(&mut c.pd.tso_follower_proxy, value::switch(v))
    }),
    ("pd.tso-concurrency", |c, v| {
        put(&mut c.pd.tso_concurrency, value::whole(v))
    }),
    ("pd.tso-max-wait", |c, v| {
        put(&mut c.pd.tso_max_wait, value::duration(v))
    }),
    ("pd.timestamp-refresh", |c, v| {
        put(&mut c.pd.timestamp_refresh, value::duration(v))
    }),
    ("pd.caller", |c, v| {
        put(&mut c.pd.caller, Ok(value::text(v)))
    }),
    ("pd.breaker.error-rate-percent", |c, v| {
        put(&mut breaker(c).error_rate_percent, value::whole(v))
    }),
    ("pd.breaker.min-qps", |c, v| {
        put(&mut breaker(c).min_qps, value::whole(v))
    }),
    ("pd.breaker.window", |c, v| {
        put(&mut breaker(c).window, value::duration(v))
    }),
    ("pd.breaker.cool-down", |c, v| {
        put(&mut breaker(c).cool_down, value::duration(v))
    }),
    ("wire.connect-timeout", |c, v| {
        put(&mut c.wire.connect_timeout, value::duration(v))
    }),
    ("wire.idle-timeout", |c, v| {
        put(&mut c.wire.idle_timeout, value::duration(v))
    }),
    ("wire.max-message", |c, v| {
        put(&mut c.wire.max_message, value::optional(v))
    }),
    ("regions.ttl-jitter", |c, v| {
        put(&mut c.regions.ttl_jitter, value::duration(v))
    }),
    ("regions.max-regions", |c, v| {
        put(&mut c.regions.max_regions, value::whole(v))
    }),
    ("request.priority", set_priority),
    ("request.resource-group", |c, v| {
        put(
            &mut c.request.resource_group,
            Ok(value::text(v).map(Into::into)),
        )
    }),
    ("request.backoff-weight", |c, v| {
        put(&mut c.request.backoff_weight, value::whole(v))
    }),
];

/// Names of client-go that are accepted without effect: obsolete ones, those of TiDB and of the Go runtime, and those of
/// what is not built yet and changes no results (command batching, transactions, request units).
const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("", "open-tracing-enable"),
    ("", "enable-async-batch-get"),
    ("", "enable-async-commit"),
    ("", "enable-1pc"),
    ("performance", "committer-concurrency"),
    ("performance", "max-txn-ttl"),
    ("pessimistic-txn", "max-retry-count"),
    ("", "txn-local-latches.enabled"),
    ("", "txn-local-latches.capacity"),
    ("tikv-client", "grpc-shared-buffer-pool"),
    ("tikv-client", "commit-timeout"),
    ("tikv-client", "async-commit.keys-limit"),
    ("tikv-client", "async-commit.total-key-size-limit"),
    ("tikv-client", "async-commit.safe-window"),
    ("tikv-client", "async-commit.allowed-clock-drift"),
    ("tikv-client", "batch-policy"),
    ("tikv-client", "max-batch-size"),
    ("tikv-client", "overload-threshold"),
    ("tikv-client", "max-batch-wait-time"),
    ("tikv-client", "batch-wait-size"),
    ("tikv-client", "enable-chunk-rpc"),
    ("tikv-client", "store-liveness-timeout"),
    ("tikv-client", "copr-cache.capacity-mb"),
    ("tikv-client", "copr-cache.admission-max-ranges"),
    ("tikv-client", "copr-cache.admission-max-result-mb"),
    ("tikv-client", "copr-cache.admission-min-process-ms"),
    ("tikv-client", "copr-req-timeout"),
    ("tikv-client", "ttl-refreshed-txn-size"),
    ("tikv-client", "resolve-lock-lite-threshold"),
    ("tikv-client", "enable-replica-selector-v2"),
    ("tikv-client", "ru-v2.ru-scale"),
    ("tikv-client", "ru-v2.tikv-kv-engine-cache-miss"),
    ("tikv-client", "ru-v2.resource-manager-write-cnt-tikv"),
    ("tikv-client", "ru-v2.executor-inputs"),
    ("tikv-client", "ru-v2.tikv-coprocessor-executor-iterations"),
    ("tikv-client", "ru-v2.tikv-coprocessor-response-bytes"),
    (
        "tikv-client",
        "ru-v2.tikv-raftstore-store-write-trigger-wb-bytes",
    ),
    ("tikv-client", "ru-v2.tikv-storage-processed-keys-batch-get"),
    ("tikv-client", "ru-v2.tikv-storage-processed-keys-get"),
];

pub(super) fn set(config: &mut Config, name: &str, text: &str) -> crate::Result<()> {
    assign(config, name, text)
        .map_err(|refused| Error::new(refused.kind, "Config::set", refused.text))
}

/// Sets one option. The text of a refusal begins with the name.
pub(super) fn assign(config: &mut Config, name: &str, text: &str) -> Result<(), Refused> {
    let wanted = name.trim().to_ascii_lowercase().replace('_', "-");
    let is = |section: &str, name: &str| {
        wanted == name
            || wanted
                .strip_prefix(section)
                .and_then(|rest| rest.strip_prefix('.'))
                == Some(name)
    };
    let theirs = CLIENT_GO
        .iter()
        .find(|(section, name, _)| is(section, name))
        .map(|(.., set)| set);
    let set = theirs.or_else(|| {
        OWN.iter()
            .find(|(name, _)| wanted == *name)
            .map(|(_, set)| set)
    });
    match set {
        Some(set) => set(config, text.trim()).map_err(|refused| Refused {
            text: format!("{name}: {}", refused.text),
            ..refused
        }),
        None if WITHOUT_EFFECT
            .iter()
            .any(|(section, name)| is(section, name)) =>
        {
            Ok(())
        }
        None => Err(format!("`{name}` is not an option; Config::names() lists all").into()),
    }
}

const COUNT: usize = CLIENT_GO.len() + OWN.len() + WITHOUT_EFFECT.len();

const ALL: [&str; COUNT] = {
    let mut all = [""; COUNT];
    let mut at = 0;
    while at < COUNT {
        all[at] = if at < CLIENT_GO.len() {
            CLIENT_GO[at].1
        } else if at < CLIENT_GO.len() + OWN.len() {
            OWN[at - CLIENT_GO.len()].0
        } else {
            WITHOUT_EFFECT[at - CLIENT_GO.len() - OWN.len()].1
        };
        at += 1;
    }
    all
};

/// Every name, without TiDB's sections.
pub(super) const NAMES: &[&str] = &ALL;

fn put<T>(field: &mut T, value: Result<T, String>) -> Result<(), Refused> {
    *field = value?;
    Ok(())
}

/// For what the client can only do in one way.
fn only(fine: bool, instead: &str) -> Result<(), Refused> {
    if fine {
        Ok(())
    } else {
        Err(Refused {
            kind: ErrorKind::Unsupported,
            text: format!("not supported: {instead}"),
        })
    }
}

fn set_endpoints(config: &mut Config, text: &str) -> Result<(), Refused> {
    if !url::is_one(text) {
        config.endpoints = Config::from(text).endpoints;
        return Ok(());
    }
    let given = url::parse(text)?;
    config.endpoints = given.endpoints;
    config.keyspace = given.keyspace.or_else(|| config.keyspace.take());
    Ok(())
}

fn set_api(config: &mut Config, text: &str) -> Result<(), Refused> {
    config.api = match text.to_ascii_lowercase().as_str() {
        "" => None,
        "v1" | "1" => Some(ApiVersion::V1),
        "v1ttl" => Some(ApiVersion::V1Ttl),
        "v2" | "2" => Some(ApiVersion::V2),
        _ => return Err(format!("`{text}` is not an API version: write v1, v1ttl or v2").into()),
    };
    Ok(())
}

fn set_priority(config: &mut Config, text: &str) -> Result<(), Refused> {
    config.request.priority = match text.to_ascii_lowercase().as_str() {
        "low" => Priority::Low,
        "normal" | "" => Priority::Normal,
        "high" => Priority::High,
        _ => return Err(format!("`{text}` is not a priority: write low, normal or high").into()),
    };
    Ok(())
}

fn set_compression(_: &mut Config, text: &str) -> Result<(), Refused> {
    match text {
        "" | "none" => Ok(()),
        "gzip" => only(false, "messages are not compressed"),
        _ => Err(format!("`{text}` is neither none nor gzip").into()),
    }
}

fn breaker(config: &mut Config) -> &mut Breaker {
    config.pd.breaker.get_or_insert_default()
}

/// The three files of [`Tls::Files`], which are set one by one; empty is not set (yet).
#[derive(Default)]
struct Files {
    ca: PathBuf,
    chain: PathBuf,
    key: PathBuf,
}

fn set_tls(config: &mut Config, change: impl FnOnce(&mut Files)) -> Result<(), Refused> {
    let mut files = match &config.tls {
        Tls::Files { ca, identity } => {
            let (chain, key) = identity.clone().unwrap_or_default();
            Files {
                ca: ca.clone(),
                chain,
                key,
            }
        }
        _ => Files::default(),
    };
    change(&mut files);
    let Files { ca, chain, key } = files;
    let is_set = |path: &PathBuf| !path.as_os_str().is_empty();
    let identity = (is_set(&chain) || is_set(&key)).then_some((chain, key));
    config.tls = if is_set(&ca) || identity.is_some() {
        Tls::Files { ca, identity }
    } else {
        Tls::Off
    };
    Ok(())
}
