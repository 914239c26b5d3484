//! Scans: a builder that is also the stream.

use std::{
    collections::VecDeque,
    fmt,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_core::Stream;
use tikv_core::{
    raw::{Page, ScanPage, ScanQuery},
    region::CallOptions,
    rpc::ColumnFamily,
};

use crate::{
    Key, KeyRange, KvPair, RawClient, Result, Value,
    connect::Client,
    driver::Hooks,
    error::Error,
    op::{Call as _, Op, Run},
    raw::bounds,
};

/// How many pairs a page holds unless told otherwise: 256, client-go's scan batch size.
const PAGE: usize = 256;

/// A scan over a range.
///
/// It is a builder until the first pair is asked for, and then a [`Stream`] of pairs. Pairs are fetched a page at a time;
/// while one page is given out the next is fetched.
///
/// ```text
///   let mut scan = db.scan("a".."b").limit(1_000);
///   while let Some(pair) = scan.try_next().await? { .. }
/// ```
///
/// Not a snapshot: a scan over raw data sees, page by page, what is there when the page is read.
///
/// # Position
///
/// The position belongs to the scan and not to a call: dropping a [`Scan::try_next`] loses nothing, and after an error the
/// scan goes on where it was when the next pair is asked for. [`Scan::remaining`] is the range that was not given out yet.
#[must_use = "a scan does nothing until a pair is asked for"]
pub struct Scan<'t> {
    source: Source,
    range: Result<(Bytes, Bytes)>,
    limit: Option<usize>,
    reverse: bool,
    keys_only: bool,
    page_size: usize,
    byte_budget: Option<usize>,
    prefetch: bool,
    given: usize,
    ready: VecDeque<(Bytes, Bytes)>,
    /// What lies beyond the pairs that are ready; `None`: nothing.
    rest: Option<(Bytes, Bytes)>,
    begun: bool,
    fetching: Option<Box<Run<ScanPage>>>,
    borrows: PhantomData<&'t ()>,
}

/// Where pages come from.
struct Source {
    client: Client,
    options: Arc<CallOptions>,
    cf: ColumnFamily,
    hooks: Option<Arc<Hooks>>,
}

impl Scan<'static> {
    pub(crate) fn raw(client: &RawClient, range: KeyRange) -> Self {
        let (options, cf) = client.scan_options();
        Self {
            source: Source {
                client: client.client().clone(),
                options,
                cf,
                hooks: client.hooks(),
            },
            range: bounds(range),
            limit: None,
            reverse: false,
            keys_only: false,
            page_size: PAGE,
            byte_budget: None,
            prefetch: true,
            given: 0,
            ready: VecDeque::new(),
            rest: None,
            begun: false,
            fetching: None,
            borrows: PhantomData,
        }
    }
}

impl<'t> Scan<'t> {
    /// Gives out at most so many pairs. Without it: all of the range.
    pub const fn limit(mut self, pairs: usize) -> Self {
        self.limit = Some(pairs);
        self
    }

    /// From the end of the range downwards.
    pub const fn reverse(mut self) -> Self {
        self.reverse = true;
        self
    }

    /// Leaves the values out: they come back empty, and are not sent over the network.
    pub const fn keys_only(mut self) -> Self {
        self.keys_only = true;
        self
    }

    /// Fetches so many pairs at a time: at least 1, at most 10,240 (TiKV clients' common limit). Default 256.
    pub const fn page_size(mut self, pairs: usize) -> Self {
        self.page_size = pairs;
        self
    }

    /// Ends a page early once its keys and values reach so many bytes. TiKV knows no limit in bytes for raw scans, so a
    /// page can go beyond it by one region's answer; choose a smaller page size for large values.
    pub const fn byte_budget(mut self, bytes: usize) -> Self {
        self.byte_budget = Some(bytes);
        self
    }

    /// Whether the next page is fetched while the present one is given out: 0 turns it off, anything else on (one page
    /// is fetched ahead). Default 1.
    pub const fn prefetch(mut self, pages: usize) -> Self {
        self.prefetch = pages > 0;
        self
    }

    /// The same pairs, a page at a time.
    pub const fn pages(self) -> Pages<'t> {
        Pages { scan: self }
    }

    /// The next pair; `None` at the end.
    ///
    /// # Dropping it
    /// Loses nothing: the pair comes with the next call.
    pub fn try_next(&mut self) -> Op<'_, Option<KvPair>> {
        let client = self.source.client.clone();
        Op::steps(client.timeouts().page, move |limit| async move {
            within(&client, limit, |cx| self.poll_pair(cx))
                .await?
                .transpose()
        })
    }

    /// All pairs of the range, or the first so many with [`Scan::limit`], in one vector.
    ///
    /// The deadline covers all pages together.
    ///
    /// # Dropping it
    /// Has no effect on data.
    pub fn collect(mut self) -> Op<'t, Vec<KvPair>> {
        let timeout = self.source.client.timeouts().page;
        Op::steps(timeout, move |limit| async move {
            let mut pairs = Vec::new();
            self.until(limit, |pair| pairs.push(pair)).await?;
            Ok(pairs)
        })
    }

    /// How many pairs the range holds. Values are not fetched.
    ///
    /// # Dropping it
    /// Has no effect on data.
    pub fn count(mut self) -> Op<'t, u64> {
        self.keys_only = true;
        let timeout = self.source.client.timeouts().page;
        Op::steps(timeout, move |limit| async move {
            let mut count = 0;
            self.until(limit, |_| count += 1).await?;
            Ok(count)
        })
    }

    /// What was not given out yet.
    #[must_use]
    pub fn remaining(&self) -> KeyRange {
        let (start, end) = match (&self.range, self.begun) {
            (Ok(range), false) => range.clone(),
            (Err(_), _) => (Bytes::new(), Bytes::new()),
            (Ok(_), true) => match (self.ready.front(), &self.rest, self.reverse) {
                (None, Some(rest), _) => rest.clone(),
                (None, None, _) => (Bytes::from_static(&[0]), Bytes::from_static(&[0])),
                (Some((key, _)), Some((_, end)), false) => (key.clone(), end.clone()),
                (Some((key, _)), None, false) => (key.clone(), self.whole_end()),
                (Some((key, _)), Some((start, _)), true) => {
                    (start.clone(), tikv_core::codec::next_key(key))
                }
                (Some((key, _)), None, true) => {
                    (self.whole_start(), tikv_core::codec::next_key(key))
                }
            },
        };
        KeyRange {
            start: Key::from(start),
            end: Key::from(end),
        }
    }

    fn whole_start(&self) -> Bytes {
        self.range
            .as_ref()
            .map(|(start, _)| start.clone())
            .unwrap_or_default()
    }

    fn whole_end(&self) -> Bytes {
        self.range
            .as_ref()
            .map(|(_, end)| end.clone())
            .unwrap_or_default()
    }

    async fn until(
        &mut self,
        limit: crate::driver::Limit,
        mut each: impl FnMut(KvPair),
    ) -> Result<()> {
        let client = self.source.client.clone();
        within(&client, limit, |cx| {
            loop {
                match ready!(self.poll_pair(cx)) {
                    Some(pair) => each(pair?),
                    None => return Poll::Ready(Ok(())),
                }
            }
        })
        .await?
    }

    /// How many pairs may still be given out.
    fn allowance(&self) -> usize {
        self.limit
            .map_or(usize::MAX, |limit| limit.saturating_sub(self.given))
    }

    fn begin(&mut self) -> Result<()> {
        if !self.begun {
            let (start, end) = self.range.clone()?;
            self.begun = true;
            self.rest = (end.is_empty() || start < end).then_some((start, end));
        }
        Ok(())
    }

    /// Begins to fetch the next page, if there is one and it is wanted.
    fn fetch(&mut self) {
        let wanted = self.allowance().saturating_sub(self.ready.len());
        if self.fetching.is_some() || wanted == 0 {
            return;
        }
        let Some((start, end)) = self.rest.clone() else {
            return;
        };
        let pairs = wanted
            .min(self.page_size)
            .clamp(1, tikv_core::raw::MAX_SCAN_LIMIT as usize);
        let query = ScanQuery {
            start,
            end,
            reverse: self.reverse,
            keys_only: self.keys_only,
            pairs: u32::try_from(pairs).unwrap_or(tikv_core::raw::MAX_SCAN_LIMIT),
            bytes: self.byte_budget.unwrap_or(0),
            cf: self.source.cf.clone(),
        };
        let machine = ScanPage::new(query, Arc::clone(&self.source.options));
        let timeout = self.source.client.timeouts().page;
        let run = Run::new(self.source.client.hub(), machine, timeout, "raw.scan");
        self.fetching = Some(Box::new(run.watched(self.source.hooks.as_ref())));
    }

    /// Drives a fetch under way.
    fn poll_fetch(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let Some(fetching) = &mut self.fetching else {
            return Poll::Ready(Ok(()));
        };
        let end: Result<Page> = ready!(fetching.poll_call(cx));
        self.fetching = None;
        let page = end?;
        self.rest = page.rest;
        self.ready.extend(page.pairs);
        Poll::Ready(Ok(()))
    }

    fn poll_pair(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<KvPair>>> {
        if let Err(error) = self.begin() {
            return Poll::Ready(Some(Err(error)));
        }
        loop {
            if self.allowance() == 0 {
                self.fetching = None;
                return Poll::Ready(None);
            }
            if let Some((key, value)) = self.ready.pop_front() {
                self.given += 1;
                if self.prefetch && self.ready.len() < self.page_size / 2 {
                    self.fetch();
                    // What goes wrong with the next page concerns the pair that would be in it.
                    if let Poll::Ready(Err(_)) = self.poll_fetch(cx) {}
                }
                return Poll::Ready(Some(Ok(KvPair {
                    key: Key::from(key),
                    value: Value::from(value),
                })));
            }
            if self.rest.is_none() && self.fetching.is_none() {
                return Poll::Ready(None);
            }
            self.fetch();
            if let Err(error) = ready!(self.poll_fetch(cx)) {
                return Poll::Ready(Some(Err(error)));
            }
        }
    }
}

/// What `poll` gives, unless the limit comes first. The timer is only set when there is something to wait for.
async fn within<T>(
    client: &Client,
    limit: crate::driver::Limit,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Result<T> {
    let runtime = &client.hub().links().runtime;
    let deadline = limit.from(runtime.now());
    let mut late = None;
    std::future::poll_fn(|cx| {
        if let Poll::Ready(end) = poll(cx) {
            return Poll::Ready(Ok(end));
        }
        let late = late.get_or_insert_with(|| runtime.sleep_until(deadline));
        late.as_mut()
            .poll(cx)
            .map(|()| Err(Error::deadline("raw.scan")))
    })
    .await
}

impl Stream for Scan<'_> {
    type Item = Result<KvPair>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_pair(cx)
    }
}

impl fmt::Debug for Scan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan")
            .field("remaining", &self.remaining())
            .field("given", &self.given)
            .field("fetching", &self.fetching.is_some())
            .finish_non_exhaustive()
    }
}

/// A scan's pairs, a page at a time: a [`Stream`] of vectors, none of them empty.
#[derive(Debug)]
#[must_use = "a scan does nothing until a page is asked for"]
pub struct Pages<'t> {
    scan: Scan<'t>,
}

impl Pages<'_> {
    /// The next page; `None` at the end.
    ///
    /// # Dropping it
    /// Loses nothing: the page comes with the next call.
    pub fn try_next(&mut self) -> Op<'_, Option<Vec<KvPair>>> {
        let client = self.scan.source.client.clone();
        Op::steps(client.timeouts().page, move |limit| async move {
            within(&client, limit, |cx| self.poll_page(cx))
                .await?
                .transpose()
        })
    }

    /// What was not given out yet.
    #[must_use]
    pub fn remaining(&self) -> KeyRange {
        self.scan.remaining()
    }

    fn poll_page(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Vec<KvPair>>>> {
        let first = match ready!(self.scan.poll_pair(cx)) {
            None => return Poll::Ready(None),
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            Some(Ok(pair)) => pair,
        };
        let mut page = vec![first];
        while page.len() < self.scan.page_size && !self.scan.ready.is_empty() {
            match self.scan.poll_pair(cx) {
                Poll::Ready(Some(Ok(pair))) => page.push(pair),
                _ => break,
            }
        }
        Poll::Ready(Some(Ok(page)))
    }
}

impl Stream for Pages<'_> {
    type Item = Result<Vec<KvPair>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_page(cx)
    }
}
