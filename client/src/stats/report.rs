//! What was counted.

use std::{collections::BTreeMap, fmt, time::Duration};

use crate::{
    ErrorKind,
    backoff::BackoffKind,
    interceptor::{RequestInfo, RpcOutcome},
    request::Access,
    rpc::{Command, RegionErrorKind},
};

/// What was done under a collector. Plain data; two can be [merged](Report::merge).
///
/// Its `Display` is one line as client-go writes it into TiDB's slow log and `EXPLAIN ANALYZE`:
///
/// ```text
/// RawGet:{num_rpc:3, total_time:4.52ms}, rpc_errors:{not_leader:1},regionScheduling_backoff:{num:1, total_time:2ms}, pd_wait:1.2ms, traffic:{sent:120, received:80}
/// ```
///
/// What is zero is left out, so the line of a report without anything in it is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Requests to stores, each attempt for itself: how many, and how long they took together from sending to answer.
    /// Those without an answer are in it.
    pub rpcs: BTreeMap<Command, (u64, Duration)>,
    /// Requests without an answer, by why: a request that was withdrawn counts as [`ErrorKind::Interrupted`].
    pub rpc_errors: BTreeMap<ErrorKind, u64>,
    /// Requests that a region refused, by why.
    pub region_errors: BTreeMap<RegionErrorKind, u64>,
    /// Pauses before trying again: how many, and their planned length together. An operation that ends during a pause has
    /// it counted in full.
    pub backoff: BTreeMap<BackoffKind, (u64, Duration)>,
    /// Waiting for regions and stores to be looked up at PD. Waits at the same time add up.
    pub pd_wait: Duration,
    /// Waiting for stores: the time of all [`Report::rpcs`]. Waits at the same time add up.
    pub kv_wait: Duration,
    /// Bytes of messages to and from stores.
    pub traffic: Traffic,
}

/// Bytes of request and answer messages, without the framing of gRPC and without compression.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traffic {
    /// Sent to stores.
    pub sent: u64,
    /// Received from stores; fields that this client does not know are not counted.
    pub received: u64,
    /// How much of [`Traffic::sent`] went to another zone. Known only with `Config::zone`.
    pub sent_cross_zone: u64,
    /// How much of [`Traffic::received`] came from another zone. Known only with `Config::zone`.
    pub received_cross_zone: u64,
}

impl Report {
    /// Adds what another report counted.
    pub fn merge(&mut self, other: &Self) {
        for (command, more) in &other.rpcs {
            add(self.rpcs.entry(*command).or_default(), *more);
        }
        for (kind, more) in &other.rpc_errors {
            *self.rpc_errors.entry(*kind).or_default() += more;
        }
        for (kind, more) in &other.region_errors {
            *self.region_errors.entry(*kind).or_default() += more;
        }
        for (kind, more) in &other.backoff {
            add(self.backoff.entry(*kind).or_default(), *more);
        }
        self.pd_wait += other.pd_wait;
        self.kv_wait += other.kv_wait;
        self.traffic.sent += other.traffic.sent;
        self.traffic.received += other.traffic.received;
        self.traffic.sent_cross_zone += other.traffic.sent_cross_zone;
        self.traffic.received_cross_zone += other.traffic.received_cross_zone;
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// A request that was sent has ended.
    pub(crate) fn count_rpc(&mut self, rpc: &RequestInfo, outcome: &RpcOutcome) {
        let entry = self.rpcs.entry(rpc.command).or_default();
        add(entry, (1, outcome.elapsed));
        self.kv_wait += outcome.elapsed;
        if let Some(kind) = outcome.error {
            *self.rpc_errors.entry(kind).or_default() += 1;
        }
        if let Some(kind) = outcome.region_error {
            *self.region_errors.entry(kind).or_default() += 1;
        }
        let (sent, received) = (rpc.bytes as u64, outcome.bytes as u64);
        self.traffic.sent += sent;
        self.traffic.received += received;
        if rpc.access == Access::CrossZone {
            self.traffic.sent_cross_zone += sent;
            self.traffic.received_cross_zone += received;
        }
    }

    /// A pause begins.
    pub(crate) fn count_pause(&mut self, kind: BackoffKind, time: Duration) {
        add(self.backoff.entry(kind).or_default(), (1, time));
    }
}

fn add(sum: &mut (u64, Duration), more: (u64, Duration)) {
    sum.0 += more.0;
    sum.1 += more.1;
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // client-go puts a blank only before the parts that are not numbers with a time.
        let mut line = Line { f, begun: false };
        for (command, (count, time)) in &self.rpcs {
            let name = command.name();
            let time = Short(*time);
            line.part(
                ",",
                format_args!("{name}:{{num_rpc:{count}, total_time:{time}}}"),
            )?;
        }
        if !self.rpc_errors.is_empty() || !self.region_errors.is_empty() {
            line.part(", ", format_args!("rpc_errors:{{{}}}", Errors(self)))?;
        }
        for (kind, (count, time)) in &self.backoff {
            let time = Short(*time);
            line.part(
                ",",
                format_args!("{kind}_backoff:{{num:{count}, total_time:{time}}}"),
            )?;
        }
        if !self.pd_wait.is_zero() {
            line.part(", ", format_args!("pd_wait:{}", Short(self.pd_wait)))?;
        }
        let Traffic { sent, received, .. } = self.traffic;
        if sent > 0 || received > 0 {
            line.part(
                ", ",
                format_args!("traffic:{{sent:{sent}, received:{received}}}"),
            )?;
        }
        Ok(())
    }
}

struct Line<'a, 'f> {
    f: &'a mut fmt::Formatter<'f>,
    begun: bool,
}

impl Line<'_, '_> {
    fn part(&mut self, separator: &str, text: fmt::Arguments<'_>) -> fmt::Result {
        if std::mem::replace(&mut self.begun, true) {
            self.f.write_str(separator)?;
        }
        self.f.write_fmt(text)
    }
}

/// `not_leader:1, store_unavailable:2`.
struct Errors<'a>(&'a Report);

impl fmt::Display for Errors<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = Line { f, begun: false };
        for (kind, count) in &self.0.region_errors {
            line.part(", ", format_args!("{kind}:{count}"))?;
        }
        for (kind, count) in &self.0.rpc_errors {
            let mut name = String::new();
            for c in format!("{kind:?}").chars() {
                if c.is_ascii_uppercase() && !name.is_empty() {
                    name.push('_');
                }
                name.push(c.to_ascii_lowercase());
            }
            line.part(", ", format_args!("{name}:{count}"))?;
        }
        Ok(())
    }
}

/// A duration with two decimals below ten of its unit and one above, as client-go cuts it: `4.52ms`, `12.3µs`, `1m0.5s`.
struct Short(Duration);

const MICRO: u128 = 1_000;
const MILLI: u128 = 1_000 * MICRO;
const SECOND: u128 = 1_000 * MILLI;

const fn unit_of(nanos: u128) -> (u128, &'static str) {
    match nanos {
        0..MICRO => (1, "ns"),
        MICRO..MILLI => (MICRO, "µs"),
        MILLI..SECOND => (MILLI, "ms"),
        _ => (SECOND, "s"),
    }
}

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = self.0.as_nanos();
        if exact == 0 {
            return f.write_str("0s");
        }
        let (unit, _) = unit_of(exact);
        let step = (unit / if exact < 10 * unit { 100 } else { 10 }).max(1);
        let nanos = (exact + step / 2) / step * step;
        // Rounding up may have led to the next unit.
        let (unit, name) = unit_of(nanos);
        let (mut whole, hundredths) = (nanos / unit, nanos % unit * 100 / unit);
        if unit == SECOND && whole >= 60 {
            let minutes = whole / 60;
            whole %= 60;
            if minutes >= 60 {
                write!(f, "{}h", minutes / 60)?;
            }
            write!(f, "{}m", minutes % 60)?;
        }
        match hundredths {
            0 => write!(f, "{whole}{name}"),
            tens if tens % 10 == 0 => write!(f, "{whole}.{}{name}", tens / 10),
            _ => write!(f, "{whole}.{hundredths:02}{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_one_line() {
        let mut report = Report::default();
        assert_eq!(report.to_string(), "");
        assert!(report.is_empty());
        let ms = Duration::from_millis;
        report.rpcs.insert(Command::RawPut, (1, ms(1)));
        assert_eq!(report.to_string(), "RawPut:{num_rpc:1, total_time:1ms}");
        report.rpcs.insert(Command::RawGet, (4, ms(2_001)));
        report.region_errors.insert(RegionErrorKind::NotLeader, 2);
        report.rpc_errors.insert(ErrorKind::StoreUnavailable, 1);
        report.count_pause(BackoffKind::RegionMiss, ms(2));
        report.count_pause(BackoffKind::RegionMiss, ms(4));
        report.count_pause(BackoffKind::TiKvRpc, ms(150));
        report.pd_wait = ms(3);
        report.traffic.sent = 120;
        let mut twice = report.clone();
        assert_eq!(
            report.to_string(),
            "RawGet:{num_rpc:4, total_time:2s},RawPut:{num_rpc:1, total_time:1ms}, \
             rpc_errors:{not_leader:2, store_unavailable:1},tikvRPC_backoff:{num:1, total_time:150ms},\
             regionMiss_backoff:{num:2, total_time:6ms}, pd_wait:3ms, traffic:{sent:120, received:0}"
        );
        twice.merge(&report);
        assert_eq!(twice.rpcs[&Command::RawGet], (8, ms(4_002)));
        assert_eq!(twice.region_errors[&RegionErrorKind::NotLeader], 4);
        assert_eq!(twice.backoff[&BackoffKind::RegionMiss], (4, ms(12)));
        assert_eq!((twice.pd_wait, twice.traffic.sent), (ms(6), 240));
    }

    #[test]
    fn durations_are_cut_as_client_go_cuts_them() {
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (10, "10ns"),
            (999, "999ns"),
            (1_000, "1µs"),
            (1_123, "1.12µs"),
            (1_023, "1.02µs"),
            (1_003, "1µs"),
            (10_456, "10.5µs"),
            (10_956, "11µs"),
            (999_056, "999.1µs"),
            (999_988, "1ms"),
            (1_123_123, "1.12ms"),
            (1_023_456, "1.02ms"),
            (1_003_456, "1ms"),
            (10_456_123, "10.5ms"),
            (999_056_214, "999.1ms"),
            (999_988_214, "1s"),
            (1_123_123_123, "1.12s"),
            (60_500_000_000, "1m0.5s"),
            (3_661_000_000_000, "1h1m1s"),
        ] {
            let printed = Short(Duration::from_nanos(nanos)).to_string();
            assert_eq!(printed, text, "{nanos} ns");
        }
    }
}
