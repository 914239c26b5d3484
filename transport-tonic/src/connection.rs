//! One HTTP/2 connection: making it, keeping it alive, noticing its end.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use h2::client::SendRequest;
use tikv_core::{port::BoxFuture, time::Instant};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::oneshot,
};
use tokio_rustls::TlsConnector;

use crate::{Address, BoxIo, Net, WireOptions};

/// Frames of the server up to this size are taken whole, so that an answer up to it is decoded without copying it
/// together.
const MAX_FRAME: u32 = 1 << 20;
/// How much of one stream's data the HTTP/2 library holds before the stream counts as not ready.
const SEND_BUFFER: usize = 1 << 20;
/// Bytes of response headers: a long status message, and some.
const MAX_HEADERS: u32 = 256 << 10;
/// Streams of withdrawn calls that are remembered, so that their late frames are not taken for errors.
const WITHDRAWN: usize = 1 << 12;

/// The half of a connection that calls hold.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) id: u64,
    pub(crate) sender: SendRequest<Bytes>,
    pub(crate) meter: Arc<Meter>,
}

/// What the halves of a connection tell each other.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// Reads that brought something.
    reads: AtomicU64,
    /// Calls and streams ever begun.
    begun: AtomicU64,
    /// Calls and streams under way.
    in_flight: AtomicUsize,
    /// Why the connection ended.
    ended: OnceLock<Arc<str>>,
}

impl Meter {
    pub(crate) fn begin(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn end(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn ended(&self) -> Option<&Arc<str>> {
        self.ended.get()
    }

    pub(crate) fn set_ended(&self, reason: Arc<str>) {
        // Only the connection's own task says it, once.
        let _ = self.ended.set(reason);
    }
}

/// The half that the connection's task drives.
pub(crate) struct Wire {
    connection: h2::client::Connection<Watched, Bytes>,
    ping: Option<h2::PingPong>,
    meter: Arc<Meter>,
}

/// Connects, greets, and waits for the server's greeting. A server that accepts and says nothing, or something that is
/// not HTTP/2, is found out here, before any request is sent to it.
pub(crate) async fn establish(
    net: &dyn Net,
    address: &Address,
    options: &WireOptions,
    tls: Option<TlsConnector>,
) -> Result<(SendRequest<Bytes>, Wire), String> {
    let io = net.connect(address).await.map_err(|e| e.to_string())?;
    let io = match tls {
        None => io,
        Some(connector) => crate::tls::handshake(&connector, address, io).await?,
    };
    let meter = Arc::new(Meter::default());
    let watched = Watched {
        io,
        meter: Arc::clone(&meter),
    };
    let (sender, mut connection) = h2::client::Builder::new()
        .initial_window_size(options.stream_window.min(i32::MAX as u32))
        .initial_connection_window_size(options.connection_window.clamp(65_535, i32::MAX as u32))
        .max_frame_size(MAX_FRAME)
        .max_header_list_size(MAX_HEADERS)
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_reset_streams(WITHDRAWN)
        // The library counts late frames of forgotten streams over a connection's whole life and then closes it. That
        // guards servers against hostile clients; here it would end a healthy connection after enough timeouts.
        .max_local_error_reset_streams(None)
        .enable_push(false)
        // No stream may begin before the server's settings allow one: that is how their arrival shows.
        .initial_max_send_streams(0)
        .handshake(watched)
        .await
        .map_err(|e| format!("HTTP/2: {e}"))?;
    let ping = connection.ping_pong();
    poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
        Poll::Ready(Ok(())) => Poll::Ready(Err(
            "the server closed the connection instead of speaking HTTP/2".into(),
        )),
        Poll::Ready(Err(e)) => Poll::Ready(Err(format!("no HTTP/2 server: {e}"))),
        Poll::Pending if sender.current_max_send_streams() > 0 => Poll::Ready(Ok(())),
        Poll::Pending => Poll::Pending,
    })
    .await?;
    Ok((
        sender,
        Wire {
            connection,
            ping,
            meter,
        },
    ))
}

impl Wire {
    pub(crate) const fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// Moves bytes until the connection ends, and gives the reason.
    ///
    /// `retire` is called once when the connection has been idle for long. It gives up the connection's place, after
    /// which the HTTP/2 library says goodbye to the server as soon as no call holds it.
    pub(crate) async fn drive(
        mut self,
        net: &dyn Net,
        options: &WireOptions,
        kill: oneshot::Receiver<Arc<str>>,
        mut retire: impl FnMut(),
    ) -> Arc<str> {
        let mut kill = pin!(kill);
        let mut keeper = Keeper::new(options, net.now());
        let mut timer: BoxFuture<'static, ()> = net.sleep_until(keeper.wake_at);
        let reason = poll_fn(|cx| {
            if let Poll::Ready(reason) = kill.as_mut().poll(cx) {
                return Poll::Ready(reason.unwrap_or_else(|_| Arc::from("the transport is gone")));
            }
            if let Poll::Ready(end) = Pin::new(&mut self.connection).poll(cx) {
                return Poll::Ready(match end {
                    Ok(()) => Arc::from("the connection was closed"),
                    Err(e) => Arc::from(e.to_string()),
                });
            }
            if let Some(ping) = &mut self.ping {
                // What counts is that something arrived; taking the answer only makes way for the next ping.
                let _ = ping.poll_pong(cx);
            }
            loop {
                ready!(timer.as_mut().poll(cx));
                match keeper.tick(net.now(), &self.meter) {
                    Tick::Wait => {}
                    Tick::Probe => {
                        if let Some(ping) = &mut self.ping {
                            // An unanswered ping of before is probe enough.
                            let _ = ping.send_ping(h2::Ping::opaque());
                        }
                        cx.waker().wake_by_ref();
                    }
                    Tick::Retire => retire(),
                    Tick::End(reason) => return Poll::Ready(Arc::from(reason)),
                }
                timer = net.sleep_until(keeper.wake_at);
            }
        })
        .await;
        // Before the streams learn of it from the dropped connection.
        self.meter.set_ended(Arc::clone(&reason));
        reason
    }
}

/// Decides when to probe, when to give up and when to retire. It looks at counters now and then, so that calls need not
/// read the clock.
#[derive(Debug)]
struct Keeper {
    keepalive: Option<Duration>,
    keepalive_timeout: Duration,
    idle_timeout: Option<Duration>,
    wake_at: Instant,
    /// How many reads there had been, and since when as far as the keeper knows.
    reads: u64,
    quiet_since: Instant,
    /// How many calls had begun, and since when there is none.
    begun: u64,
    idle_since: Instant,
    probing: bool,
    retired: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Tick {
    Wait,
    Probe,
    Retire,
    End(&'static str),
}

impl Keeper {
    fn new(options: &WireOptions, now: Instant) -> Self {
        let some = |d: Duration| (!d.is_zero()).then_some(d);
        let mut keeper = Self {
            keepalive: some(options.keepalive),
            keepalive_timeout: options.keepalive_timeout,
            idle_timeout: some(options.idle_timeout),
            wake_at: now,
            reads: 0,
            quiet_since: now,
            begun: 0,
            idle_since: now,
            probing: false,
            retired: false,
        };
        keeper.wake_at = keeper.next(now);
        keeper
    }

    fn tick(&mut self, now: Instant, meter: &Meter) -> Tick {
        let tick = self.decide(now, meter);
        self.wake_at = self.next(now);
        tick
    }

    fn decide(&mut self, now: Instant, meter: &Meter) -> Tick {
        let (reads, begun) = (
            meter.reads.load(Ordering::Relaxed),
            meter.begun.load(Ordering::Relaxed),
        );
        let in_flight = meter.in_flight.load(Ordering::Relaxed);
        if reads != self.reads || in_flight == 0 {
            (self.reads, self.quiet_since, self.probing) = (reads, now, false);
        }
        if in_flight > 0 || begun != self.begun {
            (self.begun, self.idle_since) = (begun, now);
        }
        if self.probing {
            return Tick::End("the server no longer answers pings");
        }
        if self
            .keepalive
            .is_some_and(|after| now - self.quiet_since >= after)
            && in_flight > 0
        {
            self.probing = true;
            return Tick::Probe;
        }
        if in_flight == 0
            && self
                .idle_timeout
                .is_some_and(|after| now - self.idle_since >= after)
        {
            if self.retired {
                return Tick::End("idle");
            }
            self.retired = true;
            // The goodbye gets as long as another idle period would be.
            self.idle_since = now;
            return Tick::Retire;
        }
        Tick::Wait
    }

    fn next(&self, now: Instant) -> Instant {
        if self.probing {
            return now + self.keepalive_timeout;
        }
        let probe = self.keepalive.map_or(Instant::FAR_FUTURE, |after| {
            (self.quiet_since + after).max(now + after / 4)
        });
        let idle = self.idle_timeout.map_or(Instant::FAR_FUTURE, |after| {
            (self.idle_since + after).max(now + after / 4)
        });
        probe.min(idle)
    }
}

/// A socket that counts the reads that brought something.
struct Watched {
    io: BoxIo,
    meter: Arc<Meter>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.io).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.meter.reads.fetch_add(1, Ordering::Relaxed);
        }
        result
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keeper() -> Keeper {
        Keeper::new(&WireOptions::default(), Instant::ZERO)
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    #[test]
    fn a_quiet_connection_with_calls_is_probed_and_then_given_up() {
        let (mut keeper, meter) = (keeper(), Meter::default());
        meter.begin();
        assert_eq!(keeper.wake_at, at(10));
        assert_eq!(keeper.tick(at(10), &meter), Tick::Probe);
        assert_eq!(keeper.wake_at, at(13));
        assert_eq!(
            keeper.tick(at(13), &meter),
            Tick::End("the server no longer answers pings")
        );
    }

    #[test]
    fn whatever_arrives_answers_the_probe() {
        let (mut keeper, meter) = (keeper(), Meter::default());
        meter.begin();
        assert_eq!(keeper.tick(at(10), &meter), Tick::Probe);
        meter.reads.fetch_add(1, Ordering::Relaxed);
        assert_eq!(keeper.tick(at(13), &meter), Tick::Wait);
        assert_eq!(keeper.wake_at, at(23));
        assert_eq!(keeper.tick(at(23), &meter), Tick::Probe);
        meter.end();
        assert_eq!(
            keeper.tick(at(26), &meter),
            Tick::Wait,
            "nobody waits for it any more"
        );
    }

    #[test]
    fn a_connection_without_calls_is_retired_and_never_probed() {
        let (mut keeper, meter) = (keeper(), Meter::default());
        meter.begin();
        meter.end();
        let mut ticks = Vec::new();
        while keeper.wake_at < at(600) {
            let now = keeper.wake_at;
            match keeper.tick(now, &meter) {
                Tick::Wait => {}
                Tick::End(why) => {
                    ticks.push((now, Tick::End(why)));
                    break;
                }
                tick => ticks.push((now, tick)),
            }
        }
        // The first look, after ten seconds, is the first to see that the call is over.
        assert_eq!(
            ticks,
            [(at(190), Tick::Retire), (at(370), Tick::End("idle"))]
        );
    }

    #[test]
    fn zero_turns_probing_and_retiring_off() {
        let options = WireOptions::default()
            .keepalive(Duration::ZERO)
            .idle_timeout(Duration::ZERO);
        assert_eq!(
            Keeper::new(&options, Instant::ZERO).wake_at,
            Instant::FAR_FUTURE
        );
    }
}
