//! How calls get to the placement driver that is replayed against.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use tikv_cluster::{
    Status,
    pd::{CallMetadata, MemberId, Pd, PdOptions, StreamEvent, StreamId, StreamMethod},
};
use tikv_core::time::Instant;

/// A placement driver and a way to talk to its members, in bytes.
pub trait PdWire: Sized {
    /// A new one.
    fn start(options: PdOptions) -> Self;
    /// One call of one method.
    ///
    /// # Errors
    /// The gRPC status, if it is not OK.
    fn unary(
        &mut self,
        member: MemberId,
        metadata: &CallMetadata,
        path: &str,
        body: Bytes,
    ) -> Result<Bytes, Status>;
    /// Opens a stream.
    ///
    /// # Errors
    /// The gRPC status, if there is no such method.
    fn open(
        &mut self,
        member: MemberId,
        metadata: CallMetadata,
        path: &str,
    ) -> Result<StreamId, Status>;
    /// Sends a frame.
    ///
    /// # Errors
    /// A text, when the frame is none of this stream's.
    fn send(&mut self, stream: StreamId, frame: Bytes) -> Result<(), String>;
    /// Closes the client's side.
    fn half_close(&mut self, stream: StreamId);
    /// Gives the stream up.
    fn cancel(&mut self, stream: StreamId);
    /// What has arrived on all streams since the last time: frames, and the status of those that ended. Waits as long
    /// as something can be on its way.
    fn received(&mut self) -> Vec<(StreamId, Result<Bytes, Status>)>;
    /// Does something to the placement driver, with the time it is.
    fn drive<R>(&mut self, act: impl FnOnce(&mut Pd, Instant) -> R) -> R;
    /// Lets time pass.
    fn wait(&mut self, time: Duration);
}

/// The placement driver as a value, without any sockets, in virtual time.
#[derive(Debug)]
pub struct PdInProcess {
    pd: Pd,
    now: Instant,
    methods: BTreeMap<StreamId, StreamMethod>,
}

impl PdWire for PdInProcess {
    fn start(options: PdOptions) -> Self {
        Self {
            pd: Pd::new(options),
            now: Instant::from_millis(1000),
            methods: BTreeMap::new(),
        }
    }

    fn unary(
        &mut self,
        member: MemberId,
        metadata: &CallMetadata,
        path: &str,
        body: Bytes,
    ) -> Result<Bytes, Status> {
        let reply = self.pd.call(self.now, member, metadata, path, body)?;
        Ok(reply.into())
    }

    fn open(
        &mut self,
        member: MemberId,
        metadata: CallMetadata,
        path: &str,
    ) -> Result<StreamId, Status> {
        let method = StreamMethod::from_path(path)?;
        let id = self.pd.stream_open(self.now, member, metadata, method);
        self.methods.insert(id, method);
        Ok(id)
    }

    fn send(&mut self, stream: StreamId, frame: Bytes) -> Result<(), String> {
        let method = self.methods.get(&stream).ok_or("no such stream")?;
        let frame = method.decode(frame).map_err(|status| status.to_string())?;
        self.pd.stream_message(self.now, stream, frame);
        Ok(())
    }

    fn half_close(&mut self, stream: StreamId) {
        self.pd.stream_half_close(self.now, stream);
    }

    fn cancel(&mut self, stream: StreamId) {
        self.pd.stream_cancel(self.now, stream);
    }

    fn received(&mut self) -> Vec<(StreamId, Result<Bytes, Status>)> {
        let output = self.pd.take_output().into_iter();
        output
            .map(|(id, event)| match event {
                StreamEvent::Reply(reply) => (id, Ok(reply.encode_to_vec().into())),
                StreamEvent::End(status) => (id, Err(status)),
            })
            .collect()
    }

    fn drive<R>(&mut self, act: impl FnOnce(&mut Pd, Instant) -> R) -> R {
        act(&mut self.pd, self.now)
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.pd.advance(self.now);
    }
}
