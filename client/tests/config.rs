//! Configuration: from text, by name, and what is refused with which words.

use std::{collections::HashSet, sync::Arc, time::Duration};

use bytes::Bytes;
use tikv::{
    Config, ErrorKind,
    config::{
        AddressMap, ApiVersion, Breaker, PdOptions, PemPair, RegionOptions, Role, Timeouts, Tls,
        TlsError, TlsProvider, WireOptions,
    },
    request::{Priority, RequestOptions, RequestSource},
};

fn good() -> Config {
    Config::new(["pd:2379"])
}

#[track_caller]
fn refused(config: &Config, kind: ErrorKind, parts: &[&str]) {
    let error = config.validate().expect_err("it should be refused");
    assert_eq!(error.kind(), kind, "{error}");
    for part in parts {
        assert!(error.to_string().contains(part), "{error}");
    }
    assert!(!error.is_retryable() && !error.is_undetermined());
}

#[track_caller]
fn not_set(name: &str, value: &str, kind: ErrorKind, part: &str) {
    let mut config = good();
    let error = config.set(name, value).expect_err("it should be refused");
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(part), "{error}");
}

fn with(name: &str, value: &str) -> Config {
    let mut config = good();
    config.set(name, value).unwrap_or_else(|e| panic!("{e}"));
    config
}

#[test]
fn addresses_come_as_text_arrays_and_vectors() {
    let expected = ["a:1", "b:2"];
    for config in [
        Config::from("a:1,b:2"),
        Config::from(" a:1 , b:2 ,"),
        Config::from(String::from("a:1,b:2")),
        Config::from(&String::from("a:1,b:2")),
        Config::from(["a:1", "b:2"]),
        Config::from([String::from("a:1"), String::from("b:2")]),
        Config::from(vec!["a:1", "b:2"]),
        Config::new(expected.iter().map(|text| (*text).to_owned())),
        Config::from("tikv://a:1,b:2"),
        Config::from(" TiKV://a:1,b:2/?"),
    ] {
        assert_eq!(config.endpoints, expected);
        config.validate().unwrap();
    }
}

#[test]
fn the_defaults_are_those_of_client_go_where_it_has_them() {
    let config = good();
    assert_eq!(
        (config.wire.connections, config.wire.stream_window),
        (4, 128 << 20)
    );
    assert_eq!(config.wire.keepalive, Duration::from_secs(10));
    assert_eq!(config.wire.keepalive_timeout, Duration::from_secs(3));
    assert_eq!(
        (config.timeouts.pd, config.timeouts.commit),
        (Duration::from_secs(3), Duration::from_secs(41))
    );
    assert_eq!(config.regions.ttl, Duration::from_secs(600));
    assert_eq!(config.regions.stores_refresh, Duration::from_secs(60));
    assert_eq!(config.request.backoff_weight, 2);
    assert!(matches!(config.tls, Tls::Off) && config.keyspace.is_none() && config.api.is_none());
    config.validate().unwrap();
}

#[test]
fn schemes_in_front_of_addresses_are_tolerated() {
    for address in [
        "http://pd:2379",
        "HTTP://pd:2379/",
        "[::1]:2379",
        "127.0.0.1:1",
        "http://[fe80::1]:2379",
    ] {
        Config::new([address]).validate().unwrap();
    }
    let config = Config::new(["https://pd:2379"]);
    // The certificates are bad, and nothing else.
    let tls = Tls::Pem {
        ca: Bytes::new(),
        identity: None,
    };
    refused(
        &config.clone().tls(tls),
        ErrorKind::Tls,
        &["CA certificates"],
    );
    refused(&config, ErrorKind::InvalidConfig, &["https://", "set tls"]);
}

#[test]
fn a_bad_address_is_refused_with_what_to_write() {
    for (address, problem) in [
        (
            "pd",
            "`pd` has no port; PD listens on 2379 unless told otherwise: pd:2379",
        ),
        ("http://pd", "has no port"),
        ("[::1]", "has no port"),
        ("::1", "in brackets"),
        ("fe80::1:2379", "in brackets"),
        ("[::1:2379", "bracket"),
        ("[pd]:2379", "not an IPv6 address"),
        ("pd:0", "port 0"),
        ("pd:65536", "not a number up to 65535"),
        ("pd:x", "not a number up to 65535"),
        (":2379", "the host is missing"),
        ("", "an address is empty"),
        ("http://", "an address is empty"),
        ("ftp://pd:2379", "`ftp://` is not known"),
        ("user@pd:2379", "no host has"),
        ("pd:2379/path", "not a number"),
        ("tikv://pd:2379", "give it alone"),
    ] {
        refused(
            &Config::new([address]),
            ErrorKind::InvalidConfig,
            &["endpoints", problem],
        );
    }
    refused(
        &Config::default(),
        ErrorKind::InvalidConfig,
        &["there is no address of PD"],
    );
    refused(
        &Config::from(""),
        ErrorKind::InvalidConfig,
        &["there is no address of PD"],
    );
    refused(
        &Config::new(["a", "b"]),
        ErrorKind::InvalidConfig,
        &["`a` has no port", "`b` has no port"],
    );
}

// client-go: config_test.go, TestParsePath.
#[test]
fn a_url_names_addresses_and_a_keyspace() {
    let config = Config::from_url("tikv://node1:2379,node2:2379").unwrap();
    assert_eq!(
        (config.endpoints, config.keyspace),
        (vec!["node1:2379".into(), "node2:2379".into()], None)
    );
    Config::from_url("tikv://node1:2379").unwrap();
    let config = Config::from_url("tikv://node1:2379?disableGC=true&keyspaceName=DEFAULT").unwrap();
    assert_eq!(config.keyspace.as_deref(), Some("DEFAULT"));
    config.validate().unwrap();
}

#[test]
fn a_url_may_set_every_option() {
    let url = "tikv://a:1/?cluster=1&disableGC=&keyspaceName=my%2Dapp&grpc-connection-count=2&timeouts.point=1m30s";
    for config in [Config::from_url(url).unwrap(), Config::from(url)] {
        assert_eq!(config.keyspace.as_deref(), Some("my-app"));
        assert_eq!(
            (config.wire.connections, config.timeouts.point),
            (2, Duration::from_secs(90))
        );
    }
    let config = Config::from_url("tikv://a:1?pd.caller=my+app&keyspaceName=").unwrap();
    assert_eq!(
        (config.pd.caller.as_deref(), config.keyspace),
        (Some("my app"), None)
    );
}

#[test]
fn a_bad_url_is_refused_when_it_is_read_and_when_it_is_used() {
    for (url, problem) in [
        ("tikv://", "an address is empty"),
        ("tikv://a", "has no port"),
        ("tikv://a:1,", "an address is empty"),
        ("tikv://a:1/db", "remove `/db`"),
        ("tikv://a:1#top", "begins with `#`"),
        ("tikv://a:1?disableGC=yes", "neither true nor false"),
        (
            "tikv://a:1?keyspace_Name=x&colour=red",
            "`colour` is not an option",
        ),
        (
            "tikv://a:1?grpc-connection-count=many",
            "grpc-connection-count: `many` is not a whole number",
        ),
        ("tikv://a:1?keyspaceName=%4", "two hexadecimal digits"),
        ("tikv://a:1?keyspaceName=%FF", "not UTF-8"),
    ] {
        let error = Config::from_url(url).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(error.to_string().contains(problem), "{error}");
        refused(&Config::from(url), ErrorKind::InvalidConfig, &[problem]);
    }
    for (url, problem) in [
        ("http://a:1", "the scheme must be tikv, not http"),
        ("a:1", "not a URL of the form"),
    ] {
        assert!(
            Config::from_url(url)
                .unwrap_err()
                .to_string()
                .contains(problem)
        );
    }
}

#[test]
fn client_go_names_set_what_they_set_there() {
    assert_eq!(with("grpc-connection-count", "16").wire.connections, 16);
    assert_eq!(
        with("grpc-keepalive-time", "20").wire.keepalive,
        Duration::from_secs(20)
    );
    assert_eq!(
        with("grpc-keepalive-timeout", "0.05")
            .wire
            .keepalive_timeout,
        Duration::from_millis(50)
    );
    assert_eq!(
        with("grpc-initial-window-size", "65535").wire.stream_window,
        65_535
    );
    assert_eq!(
        with("grpc-initial-conn-window-size", "1048576")
            .wire
            .connection_window,
        1 << 20
    );
    assert_eq!(
        with("max-concurrency-request-limit", "100")
            .wire
            .max_in_flight,
        Some(100)
    );
    assert_eq!(
        with("max-concurrency-request-limit", "9223372036854775807")
            .wire
            .max_in_flight,
        None
    );
    assert_eq!(
        with("pd-server-timeout", "5").timeouts.pd,
        Duration::from_secs(5)
    );
    assert_eq!(
        with("region-cache-ttl", "60").regions.ttl,
        Duration::from_secs(60)
    );
    assert_eq!(
        with("stores-refresh-interval", "30").regions.stores_refresh,
        Duration::from_secs(30)
    );
    assert_eq!(with("regions-refresh-interval", "0").regions.refresh, None);
    assert_eq!(
        with("regions-refresh-interval", "60").regions.refresh,
        Some(Duration::from_secs(60))
    );
    assert!(with("enable-preload", "true").regions.preload);
    assert_eq!(with("zone-label", "eu-1a").zone.as_deref(), Some("eu-1a"));
    assert_eq!(
        with("keyspace-name", "app").keyspace.as_deref(),
        Some("app")
    );
    assert_eq!(with("keyspace-name", "").keyspace, None);
    assert_eq!(with("path", "a:1,b:2").endpoints, ["a:1", "b:2"]);
    for (name, value) in [
        ("grpc-compression-type", "none"),
        ("store-limit", "0"),
        ("enable-forwarding", "false"),
        ("txn-scope", "global"),
        ("cluster-verify-cn", "[]"),
    ] {
        with(name, value).validate().unwrap();
    }
}

#[test]
fn own_names_are_those_of_the_fields() {
    let mut config = good();
    for (name, value) in [
        ("endpoints", "tikv://a:1?keyspaceName=app"),
        ("api-version", "v2"),
        ("timeouts.connect", "1"),
        ("timeouts.point", "2s"),
        ("timeouts.batch", "3s"),
        ("timeouts.page", "4s"),
        ("timeouts.lock", "5s"),
        ("timeouts.commit", "6s"),
        ("timeouts.timestamp", "7s"),
        ("timeouts.admin", "8s"),
        ("timeouts.close", "9s"),
        ("timeouts.rpc", "10s"),
        ("pd.caller", "orders"),
        ("pd.tso-concurrency", "2"),
        ("pd.tso-max-wait", "1ms"),
        ("pd.breaker.min-qps", "7"),
        ("wire.connect-timeout", "1s"),
        ("wire.idle-timeout", "0"),
        ("wire.max-message", "1048576"),
        ("regions.ttl-jitter", "0"),
        ("regions.max-regions", "10"),
        ("request.priority", "HIGH"),
        ("request.resource-group", "rg"),
        ("request.backoff-weight", "3"),
    ] {
        config.set(name, value).unwrap_or_else(|e| panic!("{e}"));
    }
    assert_eq!(
        (config.endpoints.len(), config.keyspace.as_deref()),
        (1, Some("app"))
    );
    assert_eq!(config.api, Some(ApiVersion::V2));
    let secs = Duration::from_secs;
    let expected = Timeouts::default()
        .connect(secs(1))
        .point(secs(2))
        .batch(secs(3))
        .page(secs(4))
        .lock(secs(5))
        .commit(secs(6))
        .timestamp(secs(7))
        .admin(secs(8))
        .close(secs(9))
        .rpc(secs(10));
    assert_eq!(config.timeouts, expected);
    let expected = PdOptions::default()
        .caller("orders".to_owned())
        .tso_concurrency(2)
        .tso_max_wait(Duration::from_millis(1))
        .breaker(Breaker::default().min_qps(7));
    assert_eq!(config.pd, expected);
    assert_eq!(
        (config.wire.connect_timeout, config.wire.idle_timeout),
        (secs(1), Duration::ZERO)
    );
    assert_eq!(config.wire.max_message, Some(1 << 20));
    assert_eq!(
        config.regions,
        RegionOptions::default()
            .ttl_jitter(Duration::ZERO)
            .max_regions(10)
    );
    assert_eq!(config.request.priority, Priority::High);
    assert_eq!(
        (
            config.request.resource_group.as_deref(),
            config.request.backoff_weight
        ),
        (Some("rg"), 3)
    );
}

#[test]
fn names_may_stand_behind_their_section_and_come_from_the_environment() {
    assert_eq!(
        with("tikv-client.grpc-connection-count", "2")
            .wire
            .connections,
        2
    );
    assert_eq!(
        with("pd-client.pd-server-timeout", "9").timeouts.pd,
        Duration::from_secs(9)
    );
    assert_eq!(with("GRPC_CONNECTION_COUNT", " 2 ").wire.connections, 2);
    not_set(
        "pd-client.grpc-connection-count",
        "2",
        ErrorKind::InvalidConfig,
        "is not an option",
    );
    not_set(
        "point",
        "2",
        ErrorKind::InvalidConfig,
        "`point` is not an option; Config::names() lists all",
    );
    not_set("", "2", ErrorKind::InvalidConfig, "is not an option");
}

#[test]
fn every_name_is_listed_once_and_known() {
    let names = Config::names();
    assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
    for name in names {
        if let Err(error) = good().set(name, "\u{1}") {
            assert!(!error.to_string().contains("is not an option"), "{error}");
        }
    }
    assert!(names.contains(&"grpc-keepalive-timeout") && names.contains(&"timeouts.point"));
}

#[test]
fn names_without_use_here_are_accepted_without_effect() {
    let before = format!("{:?}", good());
    for (name, value) in [
        ("tikv-client.copr-cache.capacity-mb", "1000"),
        ("async-commit.keys-limit", "256"),
        ("batch-policy", "standard"),
        ("tikv-client.ru-v2.ru-scale", "2.1"),
        ("performance.max-txn-ttl", "3600000"),
    ] {
        assert_eq!(format!("{:?}", with(name, value)), before, "{name}");
    }
}

#[test]
fn bad_values_are_refused_by_name_and_change_nothing() {
    for (name, value, problem) in [
        (
            "grpc-connection-count",
            "-1",
            "grpc-connection-count: `-1` is not a whole number",
        ),
        ("grpc-connection-count", "", "`` is not a whole number"),
        (
            "grpc-initial-window-size",
            "4294967296",
            "`4294967296` is too large",
        ),
        (
            "grpc-keepalive-timeout",
            "soon",
            "grpc-keepalive-timeout: `soon` is not a duration",
        ),
        ("pd-server-timeout", "-3", "a duration is not negative"),
        ("enable-preload", "perhaps", "neither true nor false"),
        ("api-version", "v3", "write v1, v1ttl or v2"),
        ("request.priority", "urgent", "write low, normal or high"),
        ("grpc-compression-type", "zstd", "neither none nor gzip"),
        ("path", "tikv://a", "has no port"),
    ] {
        not_set(name, value, ErrorKind::InvalidConfig, problem);
        let mut config = good();
        config.set(name, value).unwrap_err();
        assert_eq!(format!("{config:?}"), format!("{:?}", good()));
    }
}

#[test]
fn what_client_go_can_and_this_client_cannot_is_said() {
    for (name, value) in [
        ("grpc-compression-type", "gzip"),
        ("store-limit", "100"),
        ("enable-forwarding", "true"),
        ("txn-scope", "bj"),
        ("cluster-verify-cn", "tikv"),
    ] {
        not_set(name, value, ErrorKind::Unsupported, name);
    }
}

// client-go: config_test.go, TestValidateGRPCKeepAliveTimeout.
#[test]
fn a_keepalive_timeout_is_at_least_50_milliseconds() {
    good().validate().unwrap();
    assert_eq!(good().wire.keepalive_timeout, Duration::from_secs(3));
    with("grpc-keepalive-timeout", "0.05").validate().unwrap();
    let short = with("grpc-keepalive-timeout", "0.04");
    refused(
        &short,
        ErrorKind::InvalidConfig,
        &["(grpc-keepalive-timeout) must be at least 0.05 seconds, but is 0.04"],
    );
}

#[test]
fn a_keyspace_needs_version_2() {
    good().keyspace("app".to_owned()).validate().unwrap();
    good()
        .keyspace("app".to_owned())
        .api(ApiVersion::V2)
        .validate()
        .unwrap();
    good().api(ApiVersion::V2).validate().unwrap();
    for api in [ApiVersion::V1, ApiVersion::V1Ttl] {
        let config = good().keyspace("app".to_owned()).api(api);
        refused(
            &config,
            ErrorKind::InvalidConfig,
            &["keyspace exists only in API V2"],
        );
    }
}

#[test]
fn values_that_would_refuse_everything_are_refused() {
    let timeouts = |timeouts| good().timeouts(timeouts);
    let wire = |wire| good().wire(wire);
    let regions = |regions| good().regions(regions);
    let zero = Duration::ZERO;
    for (config, field) in [
        (
            timeouts(Timeouts::default().connect(zero)),
            "timeouts.connect must be more than zero",
        ),
        (timeouts(Timeouts::default().point(zero)), "timeouts.point"),
        (timeouts(Timeouts::default().rpc(zero)), "timeouts.rpc"),
        (
            wire(WireOptions::default().connections(0_usize)),
            "grpc-connection-count) must be at least 1",
        ),
        (
            wire(WireOptions::default().connect_timeout(zero)),
            "wire.connect_timeout",
        ),
        (
            wire(WireOptions::default().stream_window(1_u32)),
            "wire.stream_window must be from 65535",
        ),
        (
            wire(WireOptions::default().connection_window(u32::MAX)),
            "wire.connection_window",
        ),
        (
            wire(WireOptions::default().max_in_flight(0)),
            "wire.max_in_flight of 0 would refuse everything",
        ),
        (
            wire(WireOptions::default().max_message(0)),
            "wire.max_message",
        ),
        (regions(RegionOptions::default().ttl(zero)), "regions.ttl"),
        (
            regions(RegionOptions::default().max_regions(0)),
            "regions.max_regions",
        ),
        (
            regions(RegionOptions::default().stores_refresh(zero)),
            "regions.stores_refresh",
        ),
        (
            good().pd(PdOptions::default().tso_concurrency(0)),
            "pd.tso_concurrency",
        ),
        (
            good().pd(PdOptions::default().breaker(Breaker::default().error_rate_percent(101))),
            "from 1 to 100",
        ),
        (
            good().request(RequestOptions::default().backoff_weight(0)),
            "request.backoff_weight must be from 1",
        ),
        (
            good().request(RequestOptions::default().backoff_weight(1 << 16)),
            "request.backoff_weight",
        ),
    ] {
        refused(&config, ErrorKind::InvalidConfig, &[field]);
    }
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let config = Config::new(["pd"])
        .timeouts(Timeouts::default().pd(Duration::ZERO))
        .regions(RegionOptions::default().preload(true));
    refused(
        &config,
        ErrorKind::InvalidConfig,
        &[
            "Config::validate: endpoints: ",
            "; timeouts.pd must",
            "regions.preload is not built yet",
        ],
    );
}

struct Nowhere;

impl AddressMap for Nowhere {
    fn map(&self, role: Role, _: &str) -> Option<String> {
        (role == Role::TiKv).then(|| "nowhere:1".into())
    }
}

#[test]
fn what_is_not_built_yet_is_refused_rather_than_ignored() {
    for config in [
        good().regions(RegionOptions::default().preload(true)),
        good().regions(RegionOptions::default().refresh(Duration::from_secs(60))),
        good().pd(PdOptions::default().follower_handle(true)),
        good().pd(PdOptions::default().tso_follower_proxy(true)),
        good().pd(PdOptions::default().breaker(Breaker::default())),
        good().address_map(Nowhere),
    ] {
        refused(&config, ErrorKind::Unsupported, &["is not built yet"]);
    }
}

#[test]
fn certificates_are_set_file_by_file() {
    let mut config = good();
    config.set("cluster-ssl-key", "key.pem").unwrap();
    refused(&config, ErrorKind::Tls, &["cluster-ssl-ca", "is missing"]);
    config.set("security.cluster-ssl-ca", "ca.pem").unwrap();
    refused(&config, ErrorKind::Tls, &["cluster-ssl-cert", "is missing"]);
    config.set("cluster-ssl-cert", "cert.pem").unwrap();
    let Tls::Files {
        ca,
        identity: Some((chain, key)),
    } = &config.tls
    else {
        panic!("{:?}", config.tls)
    };
    assert_eq!(
        (ca.to_str(), chain.to_str(), key.to_str()),
        (Some("ca.pem"), Some("cert.pem"), Some("key.pem"))
    );
    config.set("cluster-ssl-key", "").unwrap();
    refused(&config, ErrorKind::Tls, &["cluster-ssl-key", "is missing"]);
    config.set("cluster-ssl-cert", "").unwrap();
    assert!(matches!(&config.tls, Tls::Files { identity: None, .. }));
    config.set("cluster-ssl-ca", "").unwrap();
    assert!(matches!(config.tls, Tls::Off));
}

#[test]
fn certificates_are_read_before_they_are_needed() {
    let absent = Tls::Files {
        ca: "/nowhere/ca.pem".into(),
        identity: None,
    };
    refused(&good().tls(absent), ErrorKind::Tls, &["/nowhere/ca.pem"]);
    let empty = Tls::Pem {
        ca: Bytes::new(),
        identity: None,
    };
    refused(
        &good().tls(empty.clone()),
        ErrorKind::Tls,
        &["CA certificates"],
    );
    refused(
        &Config::new(["pd"]).tls(empty),
        ErrorKind::InvalidConfig,
        &["has no port", "CA certificates"],
    );
    refused(
        &good().tls(Tls::Custom(Arc::new(Broken))),
        ErrorKind::Tls,
        &["the vault is shut"],
    );
}

struct Broken;

impl TlsProvider for Broken {
    fn pem(&self) -> Result<(Bytes, Option<PemPair>), TlsError> {
        Err(TlsError::provider("the vault is shut"))
    }
}

#[test]
fn printing_a_configuration_shows_no_keys() {
    let pem = Bytes::from_static(b"-----BEGIN PRIVATE KEY-----");
    let (ca, chain, key) = (pem.clone(), pem.clone(), pem);
    let config = good()
        .tls(Tls::Pem {
            ca,
            identity: Some((chain, key)),
        })
        .address_map(Nowhere);
    let shown = format!("{config:?}");
    assert!(
        !shown.contains("PRIVATE") && !shown.contains("BEGIN"),
        "{shown}"
    );
    assert!(shown.contains("address_map: Some(AddressMap)"));
}

// client-go: util/request_source_test.go, TestGetRequestSource and TestBuildRequestSource.
#[test]
fn a_source_reads_as_client_go_writes_it() {
    let source = |internal, kind: &str, explicit: &str| {
        let word = |text: &str| (!text.is_empty()).then(|| Arc::<str>::from(text));
        RequestSource::default()
            .internal(internal)
            .kind(word(kind))
            .explicit(word(explicit))
            .to_string()
    };
    assert_eq!(source(true, "test", "lightning"), "internal_test_lightning");
    assert_eq!(
        source(false, "test", "lightning"),
        "external_test_lightning"
    );
    assert_eq!(source(false, "test", ""), "external_test");
    assert_eq!(source(false, "", "lightning"), "external_unknown_lightning");
    assert_eq!(source(true, "", ""), "unknown");
    assert_eq!(source(false, "stats", "stats"), "external_stats");
    assert_eq!(RequestSource::default().to_string(), "unknown");
    let empty = RequestSource::default().kind(Arc::<str>::from(""));
    assert!(empty.is_unknown() && empty.to_string() == "unknown");
}
