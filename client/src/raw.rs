//! Raw key-value: plain keys and values, without transactions.

mod types;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use tikv_core::{
    backoff::CauseKind,
    raw::{self, KeyPart, PairPart, RangePart},
    region::{CallOptions, KeyCall, KeyRequest, Regroup},
    rpc::{ColumnFamily, fixed_context},
    time::Instant,
};

use crate::{
    Key, KeyRange, KvPair, PdClient, Result, Value,
    config::{Config, Timeouts},
    connect::{Client, connect},
    driver::Hooks,
    error::{Error, ErrorKind},
    op::{Op, Run},
    scan::Scan,
};

pub use types::{Checksum, RawOptions, Swapped, Ttl};

/// A client for raw key-value data.
///
/// One pointer; cheap to clone, and to be shared between tasks. All handles share connections and what is known of the
/// cluster; [`RawClient::with`] makes a handle with other options. When the last handle goes, the client's background
/// tasks end.
///
/// Raw and transactional data must not share keys in one cluster with API V1.
#[derive(Clone, Debug)]
pub struct RawClient {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    client: Client,
    options: RawOptions,
    /// For requests whose store time is limited only by the attempt's own timeout.
    plain: Arc<CallOptions>,
    /// For requests that the store must give up earlier, as client-go has it for deletes, swaps and batches.
    limited: Arc<CallOptions>,
    hooks: Option<Arc<Hooks>>,
}

impl RawClient {
    /// Connects: finds PD's leader, learns the cluster's id, and for API V2 looks the keyspace up.
    ///
    /// Takes at most `Config::timeouts.connect`. Regions and stores are looked up when they are first needed. Must be
    /// awaited in the runtime that is to be used, or with `Config::runtime` set.
    ///
    /// # Errors
    /// `InvalidConfig` for addresses that cannot be read or options that contradict each other; `PdUnavailable` when no
    /// address answers in time (the error names each address and why); `PdError` when what answers is no PD or refuses;
    /// `ClusterMismatch` when the addresses belong to different clusters.
    ///
    /// # Dropping it
    /// Ends what was begun; nothing stays behind.
    pub fn connect(config: impl Into<Config>) -> Op<'static, Self> {
        let config = config.into();
        Op::steps(config.timeouts.connect, move |limit| async move {
            let request = config.request.clone();
            let client = connect(config, tikv_core::codec::KeyMode::Raw, limit).await?;
            Ok(Self::assemble(
                client,
                RawOptions::default().request(request),
            ))
        })
    }

    /// A handle of the same client with other options.
    #[must_use]
    pub fn with(&self, options: RawOptions) -> Self {
        Self::assemble(self.inner.client.clone(), options)
    }

    /// The options of this handle.
    #[must_use]
    pub fn options(&self) -> &RawOptions {
        &self.inner.options
    }

    fn assemble(client: Client, options: RawOptions) -> Self {
        let fixed = fixed_context(&client.context(&options.request));
        let timeouts = client.timeouts();
        let plain = CallOptions {
            fixed,
            rpc_timeout: timeouts.rpc,
            max_execution: Duration::ZERO,
            backoff_weight: u16::try_from(options.request.backoff_weight).unwrap_or(u16::MAX),
        };
        // client-go: 30 s for the attempt, of which the store may use 20 s.
        let limited = CallOptions {
            max_execution: timeouts.rpc / 3 * 2,
            ..plain.clone()
        };
        Self {
            inner: Arc::new(Inner {
                hooks: client.hooks(&options.request),
                client,
                options,
                plain: Arc::new(plain),
                limited: Arc::new(limited),
            }),
        }
    }

    fn timeouts(&self) -> &Timeouts {
        self.inner.client.timeouts()
    }

    fn cf(&self) -> ColumnFamily {
        self.inner.options.column_family.clone()
    }

    fn key_call<R: KeyRequest>(
        &self,
        request: R,
        limited: bool,
        name: &'static str,
    ) -> Run<KeyCall<R>> {
        let options = if limited {
            &self.inner.limited
        } else {
            &self.inner.plain
        };
        let machine = KeyCall::new(request, Arc::clone(options));
        Run::new(
            self.inner.client.hub(),
            machine,
            self.timeouts().point,
            name,
        )
        .watched(self.inner.hooks.as_ref())
    }

    fn regroup<P: tikv_core::region::Plan>(
        &self,
        plan: P,
        part: Option<P::Part>,
        timeout: Duration,
        name: &'static str,
    ) -> Run<Regroup<P>> {
        let machine = Regroup::new(plan, part, Arc::clone(&self.inner.limited));
        Run::new(self.inner.client.hub(), machine, timeout, name).watched(self.inner.hooks.as_ref())
    }

    /// Reads a key. `None` when there is no such key; an empty value is a value.
    ///
    /// # Dropping it
    /// Has no effect on data.
    pub fn get(&self, key: impl Into<Key>) -> Op<'_, Option<Value>> {
        let request = raw::Get {
            key: key.into().into_bytes(),
            cf: self.cf(),
        };
        Op::get(self.key_call(request, false, "raw.get"), |end| {
            Ok(end?.map(Value::from))
        })
    }

    /// Reads many keys; the result is in the order asked, keys may repeat.
    ///
    /// Not a snapshot: values come from different regions at different times.
    ///
    /// # Dropping it
    /// Has no effect on data.
    pub fn batch_get(
        &self,
        keys: impl IntoIterator<Item = impl Into<Key>>,
    ) -> Op<'_, Vec<Option<Value>>> {
        let keys: Vec<Bytes> = keys
            .into_iter()
            .map(|key| key.into().into_bytes())
            .collect();
        let part = KeyPart::new(keys.iter().cloned());
        let run = self.regroup(
            raw::BatchGet::new(self.cf()),
            part,
            self.timeouts().batch,
            "raw.batch_get",
        );
        Op::machine(run, move |found: Vec<(Bytes, Bytes)>| {
            let value = |key: &Bytes| {
                let at = found.binary_search_by(|(k, _)| k.cmp(key)).ok()?;
                Some(Value::from(found[at].1.clone()))
            };
            Ok(keys.iter().map(value).collect())
        })
    }

    /// Reads how long a key has still to live. `None` when there is no such key.
    ///
    /// # Errors
    /// `Unsupported` from a client of API V1: nothing is sent then, because a TiKV that keeps no times to live ends its
    /// process at this question.
    ///
    /// # Dropping it
    /// Has no effect on data.
    pub fn ttl(&self, key: impl Into<Key>) -> Op<'_, Option<Ttl>> {
        if self.inner.client.keeps_no_ttl() {
            return Op::refused(Error::new(
                ErrorKind::Unsupported,
                "raw.ttl",
                "API V1 keeps no times to live: connect with ApiVersion::V1Ttl or V2, as the cluster is set up",
            ));
        }
        let request = raw::GetTtl {
            key: key.into().into_bytes(),
            cf: self.cf(),
        };
        Op::machine(
            self.key_call(request, false, "raw.ttl"),
            |seconds: Option<u64>| {
                Ok(seconds.map(|s| {
                    if s == 0 {
                        Ttl::Never
                    } else {
                        Ttl::In(Duration::from_secs(s))
                    }
                }))
            },
        )
    }

    /// Writes a value; replaces what is there.
    ///
    /// Repeated until an answer comes: a write whose answer was lost is sent again, which is harmless for one writer. Of
    /// two writers of one key, the one whose answer was lost may win late.
    ///
    /// # Errors
    /// When it fails after something was sent, `is_undetermined()` is true: the write may be there, or appear shortly.
    ///
    /// # Dropping it
    /// The write may or may not be carried out.
    pub fn put(&self, key: impl Into<Key>, value: impl Into<Value>) -> Op<'_, ()> {
        self.put_for(key.into(), value.into(), Ttl::Never)
    }

    /// Writes a value that vanishes after `ttl`, in whole seconds (a fraction counts as a whole one).
    ///
    /// # Errors
    /// As [`RawClient::put`]; `InvalidArgument` for a zero `ttl`; the store's own words when the cluster does not keep
    /// times to live.
    ///
    /// # Dropping it
    /// The write may or may not be carried out.
    pub fn put_with_ttl(
        &self,
        key: impl Into<Key>,
        value: impl Into<Value>,
        ttl: Duration,
    ) -> Op<'_, ()> {
        if ttl.is_zero() {
            return Op::refused(zero_ttl());
        }
        self.put_for(key.into(), value.into(), Ttl::In(ttl))
    }

    fn put_for(&self, key: Key, value: Value, ttl: Ttl) -> Op<'_, ()> {
        let request = raw::Put {
            key: key.into_bytes(),
            value: value.into_bytes(),
            cf: self.cf(),
            ttl: ttl.seconds(),
            atomic: self.inner.options.atomic,
        };
        Op::put(self.key_call(request, false, "raw.put"), |end| end)
    }

    /// Writes a value if there is no such key: [`RawClient::compare_and_swap`] with `None` expected.
    ///
    /// # Errors
    /// As [`RawClient::compare_and_swap`].
    ///
    /// # Dropping it
    /// The write may or may not be carried out.
    pub fn put_if_absent(&self, key: impl Into<Key>, value: impl Into<Value>) -> Op<'_, Swapped> {
        self.compare_and_swap(key, None, value)
    }

    /// Writes many pairs. Of several with the same key the last one counts.
    ///
    /// Atomic per request at best, and requests are cut by region and size: a failure can leave any part written.
    ///
    /// # Errors
    /// As [`RawClient::put`].
    ///
    /// # Dropping it
    /// Any part may or may not be written.
    pub fn batch_put(&self, pairs: impl IntoIterator<Item = impl Into<KvPair>>) -> Op<'_, ()> {
        self.batch_put_with_ttl(pairs.into_iter().map(|pair| (pair, Ttl::Never)))
    }

    /// Writes many pairs, each with its own time to live.
    ///
    /// # Errors
    /// As [`RawClient::put_with_ttl`].
    ///
    /// # Dropping it
    /// Any part may or may not be written.
    pub fn batch_put_with_ttl<P: Into<KvPair>>(
        &self,
        pairs: impl IntoIterator<Item = (P, Ttl)>,
    ) -> Op<'_, ()> {
        let mut refused = false;
        let part = PairPart::new(pairs.into_iter().map(|(pair, ttl)| {
            refused |= ttl == Ttl::In(Duration::ZERO);
            let KvPair { key, value } = pair.into();
            (key.into_bytes(), value.into_bytes(), ttl.seconds())
        }));
        if refused {
            return Op::refused(zero_ttl());
        }
        let plan = raw::BatchPut {
            cf: self.cf(),
            atomic: self.inner.options.atomic,
        };
        Op::machine(
            self.regroup(plan, part, self.timeouts().batch, "raw.batch_put"),
            Ok,
        )
    }

    /// Removes a key. Removing one that is not there is no error.
    ///
    /// # Errors
    /// As [`RawClient::put`].
    ///
    /// # Dropping it
    /// The key may or may not be removed.
    pub fn delete(&self, key: impl Into<Key>) -> Op<'_, ()> {
        let request = raw::Delete {
            key: key.into().into_bytes(),
            cf: self.cf(),
            atomic: self.inner.options.atomic,
        };
        Op::delete(self.key_call(request, true, "raw.delete"), |end| end)
    }

    /// Removes many keys.
    ///
    /// # Errors
    /// As [`RawClient::batch_put`].
    ///
    /// # Dropping it
    /// Any part may or may not be removed.
    pub fn batch_delete(&self, keys: impl IntoIterator<Item = impl Into<Key>>) -> Op<'_, ()> {
        let part = KeyPart::new(keys.into_iter().map(|key| key.into().into_bytes()));
        let plan = raw::BatchDelete {
            cf: self.cf(),
            atomic: self.inner.options.atomic,
        };
        Op::machine(
            self.regroup(plan, part, self.timeouts().batch, "raw.batch_delete"),
            Ok,
        )
    }

    /// Removes all keys of a range, region by region. An empty range is no error.
    ///
    /// Not atomic, also with respect to writers in the range: a failure can leave any part removed.
    ///
    /// # Errors
    /// `InvalidArgument` for a range whose start is after its end; as [`RawClient::put`] otherwise.
    ///
    /// # Dropping it
    /// Any part may or may not be removed.
    pub fn delete_range(&self, range: impl Into<KeyRange>) -> Op<'_, ()> {
        match bounds(range.into()) {
            Ok((start, end)) => {
                let part = RangePart::new(start, end);
                let plan = raw::DeleteRange { cf: self.cf() };
                Op::machine(
                    self.regroup(plan, part, self.timeouts().admin, "raw.delete_range"),
                    Ok,
                )
            }
            Err(error) => Op::refused(error),
        }
    }

    /// Writes `new` if the key's present value is `expected` (`None`: no such key), in one step on the store.
    ///
    /// Needs a handle with [`RawOptions::atomic`], and so does every other writer of such keys: writes without it are not
    /// ordered with swaps.
    ///
    /// # Errors
    /// `InvalidArgument` without `atomic`. When an answer is lost, the swap is *not* sent again, because it could then find
    /// its own write: the error's `is_undetermined()` is true, and reading the key tells what happened.
    ///
    /// # Dropping it
    /// The swap may or may not be carried out.
    pub fn compare_and_swap(
        &self,
        key: impl Into<Key>,
        expected: Option<Value>,
        new: impl Into<Value>,
    ) -> Op<'_, Swapped> {
        if !self.inner.options.atomic {
            return Op::refused(Error::invalid_argument(
                "raw.compare_and_swap",
                "compare_and_swap needs a handle made with RawOptions::atomic(true)",
            ));
        }
        let request = raw::CompareAndSwap {
            key: key.into().into_bytes(),
            expected: expected.map(Value::into_bytes),
            value: new.into().into_bytes(),
            cf: self.cf(),
            ttl: 0,
        };
        Op::machine(
            self.key_call(request, true, "raw.compare_and_swap"),
            |end: raw::Swapped| {
                Ok(Swapped {
                    swapped: end.swapped,
                    previous: end.previous.map(Value::from),
                })
            },
        )
    }

    /// Scans a range, in either direction, as a stream or as a bounded call. See [`Scan`].
    pub fn scan(&self, range: impl Into<KeyRange>) -> Scan<'static> {
        Scan::raw(self, range.into())
    }

    /// The checksum of a range, computed by the stores. It is always of the default column family.
    ///
    /// # Errors
    /// `InvalidArgument` for a range whose start is after its end, or with another column family.
    ///
    /// # Dropping it
    /// Has no effect on data.
    pub fn checksum(&self, range: impl Into<KeyRange>) -> Op<'_, Checksum> {
        if self.cf() != ColumnFamily::Default {
            let text = "TiKV computes checksums of the default column family only";
            return Op::refused(Error::invalid_argument("raw.checksum", text));
        }
        match bounds(range.into()) {
            Ok((start, end)) => {
                let run = self.regroup(
                    raw::Checksum::default(),
                    RangePart::new(start, end),
                    self.timeouts().admin,
                    "raw.checksum",
                );
                Op::machine(run, |sum: raw::ChecksumSum| {
                    Ok(Checksum {
                        crc64_xor: sum.crc64_xor,
                        pairs: sum.pairs,
                        bytes: sum.bytes,
                    })
                })
            }
            Err(error) => Op::refused(error),
        }
    }

    /// The placement driver.
    #[must_use]
    pub fn pd(&self) -> PdClient {
        PdClient::new(self.inner.client.clone())
    }

    /// What made this client's operations try again since it was connected, with counts, by the names that client-go gives
    /// region errors in its metrics.
    #[must_use]
    pub fn retries(&self) -> BTreeMap<&'static str, u64> {
        let retries = &self.inner.client.hub().links().facts.retries;
        let counts = CauseKind::ALL
            .iter()
            .map(|kind| (kind.name(), retries.of(*kind)));
        counts.filter(|(_, count)| *count > 0).collect()
    }

    /// The id of the cluster.
    #[must_use]
    pub fn cluster_id(&self) -> u64 {
        self.inner.client.cluster_id()
    }

    /// What the client was connected with.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        self.inner.client.config()
    }

    /// The client's clock, for [`Op::deadline`].
    #[must_use]
    pub fn now(&self) -> Instant {
        self.inner.client.hub().links().runtime.now()
    }

    /// Whether the client was closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.inner.client.hub().is_closed()
    }

    /// Closes the client for all its handles: refuses new calls, ends the background tasks and closes the connections.
    /// Ready when all is gone, or after `within`.
    ///
    /// Calls under way end with errors. Closing twice is no error.
    ///
    /// # Errors
    /// `Deadline` when something was still open after `within`.
    ///
    /// # Dropping it
    /// The client is closed all the same; only the waiting ends.
    pub fn close(&self, within: Duration) -> Op<'_, ()> {
        let client = self.inner.client.clone();
        Op::steps(
            within,
            move |limit| async move { client.close(limit).await },
        )
    }

    pub(crate) fn client(&self) -> &Client {
        &self.inner.client
    }

    pub(crate) fn scan_options(&self) -> (Arc<CallOptions>, ColumnFamily) {
        (Arc::clone(&self.inner.plain), self.cf())
    }

    pub(crate) fn hooks(&self) -> Option<Arc<Hooks>> {
        self.inner.hooks.clone()
    }
}

fn zero_ttl() -> Error {
    Error::invalid_argument(
        "raw.put",
        "a time to live of zero: use put, or at least one second",
    )
}

/// The ends of a range, for machines. An empty range is fine, an inverted one is a mistake.
pub(crate) fn bounds(range: KeyRange) -> Result<(Bytes, Bytes)> {
    let inverted = range.is_inverted();
    let KeyRange { start, end } = range;
    if inverted {
        return Err(Error::invalid_argument(
            "range",
            "the range's start is after its end",
        ));
    }
    Ok((start.into_bytes(), end.into_bytes()))
}
