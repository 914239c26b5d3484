//! The placement driver, as far as clients ask it themselves.

use std::{sync::Arc, time::Duration};

use crate::{Op, Timestamp, connect::Client, error::Error};

/// A handle to PD over a client's connections. Cheap to clone.
#[derive(Clone, Debug)]
pub struct PdClient {
    client: Client,
}

impl PdClient {
    pub(crate) const fn new(client: Client) -> Self {
        Self { client }
    }

    /// The id of the cluster.
    #[must_use]
    pub fn cluster_id(&self) -> u64 {
        self.client.cluster_id()
    }

    /// The address of the leader, as last learnt.
    #[must_use]
    pub fn leader(&self) -> Option<String> {
        self.client
            .hub()
            .links()
            .facts
            .pd
            .members()
            .leader
            .as_deref()
            .map(str::to_owned)
    }

    /// A timestamp of the cluster: greater than every one that was given to anybody before this call began.
    ///
    /// Questions that come while one is under way share the next request to PD.
    ///
    /// # Errors
    /// `PdUnavailable` or `Deadline` when PD gives none in time.
    ///
    /// # Dropping it
    /// The timestamp is never used.
    pub fn timestamp(&self) -> Op<'_, Timestamp> {
        let client = self.client.clone();
        Op::steps(client.timeouts().timestamp, move |limit| async move {
            let links = client.hub().links();
            let runtime = Arc::clone(&links.runtime);
            let began = runtime.now();
            let end = links
                .mailboxes
                .timestamp(limit.from(began))
                .await
                .and_then(|stamp| stamp);
            end.map(Timestamp::from_u64).map_err(|failure| {
                Error::from_failure(failure, "pd.timestamp", elapsed(&*runtime, began))
            })
        })
    }
}

fn elapsed(runtime: &dyn tikv_core::port::Runtime, began: tikv_core::time::Instant) -> Duration {
    runtime.now() - began
}
