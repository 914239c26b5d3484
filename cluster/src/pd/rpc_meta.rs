//! Calls on the map below PD: meta storage and global configuration.
//!
//! Meta storage asks the leader and does not care for the cluster id; global configuration asks any member.

use bytes::Bytes;
use tikv_proto::{meta_storagepb as meta, pdpb};

use super::{
    Pd,
    etcd::{Change, Keys, Unreadable, Watch},
    header,
    methods::{StreamMethod, StreamReply},
    service::Call,
    streams::StreamId,
};
use crate::status::{Code, Status};

type Answer<T> = Result<T, Status>;

/// What the log takes in one piece.
const MAX_WRITES: usize = 128;
const NO_KEY: &str = "a key is needed";
/// Everything in the global configuration lies below this.
const CONFIG_ROOT: &str = "/global/config/";
/// The one place outside of it that may be loaded.
const CONTROLLER_CONFIG: &str = "resource_group/controller";

impl Pd {
    fn meta_header(&self) -> meta::ResponseHeader {
        meta::ResponseHeader {
            cluster_id: self.options.cluster_id,
            error: None,
            revision: self.etcd.revision(),
        }
    }

    /// Errors come without a revision.
    fn meta_error(&self, kind: meta::ErrorType, text: &str) -> meta::ResponseHeader {
        meta::ResponseHeader {
            cluster_id: self.options.cluster_id,
            error: Some(meta::Error {
                r#type: kind as i32,
                message: text.to_owned(),
            }),
            revision: 0,
        }
    }

    fn check_meta(&self, member: usize) -> Answer<()> {
        if self.members.leader() == Some(member) {
            return Ok(());
        }
        Err(header::not_leader())
    }

    pub(super) fn meta_get(
        &mut self,
        call: Call<'_>,
        request: meta::GetRequest,
    ) -> Answer<meta::GetResponse> {
        self.check_meta(call.member)?;
        let failed = |text: &str| meta::GetResponse {
            header: Some(self.meta_error(meta::ErrorType::Unknown, text)),
            ..Default::default()
        };
        if request.key.is_empty() {
            return Ok(failed(NO_KEY));
        }
        let keys = Keys::new(request.key, request.range_end);
        let limit = usize::try_from(request.limit).unwrap_or(0);
        Ok(match self.etcd.range(&keys, request.revision, limit) {
            Err(Unreadable::Future) => failed("this revision lies in the future"),
            Err(Unreadable::Compacted) => failed("this revision has been compacted"),
            Ok((found, count)) => meta::GetResponse {
                header: Some(self.meta_header()),
                more: found.len() < count,
                count: i64::try_from(count).unwrap_or(i64::MAX),
                kvs: found.into_iter().map(|(k, v)| pair(k, v)).collect(),
            },
        })
    }

    pub(super) fn meta_put(
        &mut self,
        call: Call<'_>,
        request: meta::PutRequest,
    ) -> Answer<meta::PutResponse> {
        self.check_meta(call.member)?;
        let refusal = if request.key.is_empty() {
            Some(NO_KEY)
        } else if request.lease != 0 {
            Some("there is no such lease")
        } else {
            None
        };
        if let Some(text) = refusal {
            return Ok(meta::PutResponse {
                header: Some(self.meta_error(meta::ErrorType::Unknown, text)),
                prev_kv: None,
            });
        }
        let done = self.write_etcd(vec![(request.key, Some(request.value))]);
        let previous = done
            .into_iter()
            .filter(|_| request.prev_kv)
            .find_map(before);
        Ok(meta::PutResponse {
            header: Some(self.meta_header()),
            prev_kv: previous,
        })
    }

    /// One key only, whatever end the request has.
    pub(super) fn meta_delete(
        &mut self,
        call: Call<'_>,
        request: meta::DeleteRequest,
    ) -> Answer<meta::DeleteResponse> {
        self.check_meta(call.member)?;
        if request.key.is_empty() {
            return Ok(meta::DeleteResponse {
                header: Some(self.meta_error(meta::ErrorType::Unknown, NO_KEY)),
                ..Default::default()
            });
        }
        let done = self.write_etcd(vec![(request.key, None)]);
        let previous = done.into_iter().filter(|_| request.prev_kv);
        Ok(meta::DeleteResponse {
            header: Some(self.meta_header()),
            deleted: 0,
            prev_kvs: previous.filter_map(before).collect(),
        })
    }

    /// Writes, and tells whoever watches.
    fn write_etcd(&mut self, changes: Vec<(Bytes, Option<Bytes>)>) -> Vec<Change> {
        let done = self.etcd.write(changes);
        for method in [StreamMethod::MetaWatch, StreamMethod::WatchGlobalConfig] {
            for id in self.streams.of(method) {
                let Some(watch) = self.streams.watch(id) else {
                    continue;
                };
                let picked = watch.pick(&done);
                let with_previous = watch.with_previous;
                self.send_changes(id, method, picked, with_previous);
            }
        }
        done
    }

    fn send_changes(
        &mut self,
        id: StreamId,
        method: StreamMethod,
        changes: Vec<Change>,
        with_previous: bool,
    ) {
        if changes.is_empty() {
            return;
        }
        let reply = if method == StreamMethod::MetaWatch {
            let events = changes
                .into_iter()
                .map(|change| event(change, with_previous));
            StreamReply::MetaWatch(meta::WatchResponse {
                header: Some(self.meta_header()),
                compact_revision: 0,
                events: events.collect(),
            })
        } else {
            StreamReply::WatchGlobalConfig(pdpb::WatchGlobalConfigResponse {
                changes: changes.into_iter().map(config_change).collect(),
                revision: self.etcd.revision(),
                header: None,
            })
        };
        self.streams.reply(id, reply);
    }

    pub(super) fn meta_watch(&mut self, id: StreamId, request: meta::WatchRequest) -> Answer<()> {
        let member = self.streams.member_of(id);
        self.check_meta(member)?;
        let mut key = request.key;
        if key.is_empty() {
            key = Bytes::from_static(b"\0");
        }
        let watch = Watch {
            keys: Keys::new(key, request.range_end),
            from: request.start_revision,
            with_previous: request.prev_kv,
        };
        self.start_watch(id, StreamMethod::MetaWatch, watch)
    }

    fn start_watch(&mut self, id: StreamId, method: StreamMethod, mut watch: Watch) -> Answer<()> {
        if watch.keys.is_empty() {
            return Err(Status::new(Code::Unknown, "an empty range to watch"));
        }
        let (from, compacted) = (watch.from, self.etcd.compacted());
        if from > 0 && from < compacted {
            self.refuse_watch(id, method, from);
            let text = format!("revision {from} has been compacted");
            return Err(Status::new(Code::Unknown, text));
        }
        let mut missed = Vec::new();
        if from > 0 {
            missed = self.etcd.changes_since(&watch.keys, from);
        } else {
            watch.from = self.etcd.revision() + 1;
        }
        let with_previous = watch.with_previous;
        self.streams.set_watch(id, watch);
        self.send_changes(id, method, missed, with_previous);
        Ok(())
    }

    fn refuse_watch(&mut self, id: StreamId, method: StreamMethod, from: i64) {
        let compacted = self.etcd.compacted();
        let text = format!("revision {from} is before the first one kept, {compacted}");
        let reply = if method == StreamMethod::MetaWatch {
            StreamReply::MetaWatch(meta::WatchResponse {
                header: Some(self.meta_error(meta::ErrorType::DataCompacted, &text)),
                compact_revision: compacted,
                events: Vec::new(),
            })
        } else {
            let header = self.headers().error(pdpb::ErrorType::DataCompacted, text);
            StreamReply::WatchGlobalConfig(pdpb::WatchGlobalConfigResponse {
                header: Some(header),
                ..Default::default()
            })
        };
        self.streams.reply(id, reply);
    }

    pub(super) fn store_global_config(
        &mut self,
        _: Call<'_>,
        request: pdpb::StoreGlobalConfigRequest,
    ) -> Answer<pdpb::StoreGlobalConfigResponse> {
        let path = config_path(&request.config_path)?;
        if request.changes.len() > MAX_WRITES {
            return Err(Status::new(Code::Unknown, "too many changes at once"));
        }
        let mut changes: Vec<(Bytes, Option<Bytes>)> = Vec::new();
        for item in request.changes {
            let key = Bytes::from(config_key(&path, &item.name));
            if changes.iter().any(|(other, _)| *other == key) {
                return Err(Status::new(Code::Unknown, "two changes of one item"));
            }
            let deletes = item.kind() == pdpb::EventType::Delete;
            let value = if item.value.is_empty() {
                item.payload
            } else {
                item.value.into()
            };
            changes.push((key, (!deletes).then_some(value)));
        }
        self.write_etcd(changes);
        Ok(pdpb::StoreGlobalConfigResponse::default())
    }

    /// By names: the items, under these names. Without names: all below the path, under their full keys.
    pub(super) fn load_global_config(
        &mut self,
        _: Call<'_>,
        request: pdpb::LoadGlobalConfigRequest,
    ) -> Answer<pdpb::LoadGlobalConfigResponse> {
        let whole = request.names.is_empty();
        let path = if whole && request.config_path == CONTROLLER_CONFIG {
            request.config_path
        } else {
            config_path(&request.config_path)?
        };
        if whole {
            let found = self.etcd.range(&Keys::with_prefix(path.as_bytes()), 0, 0);
            let items = found
                .map(|(found, _)| found)
                .unwrap_or_default()
                .into_iter();
            return Ok(pdpb::LoadGlobalConfigResponse {
                items: items.map(|(key, value)| item(text(&key), value)).collect(),
                revision: self.etcd.revision(),
            });
        }
        let items = request.names.into_iter().map(|name| {
            let key = Keys::new(config_key(&path, &name).into(), Bytes::new());
            let found = self.etcd.range(&key, 0, 0).map(|(found, _)| found);
            match found.unwrap_or_default().into_iter().next() {
                Some((_, value)) => item(name, value),
                None => pdpb::GlobalConfigItem {
                    error: Some(pdpb::Error {
                        r#type: pdpb::ErrorType::GlobalConfigNotFound as i32,
                        message: format!("there is no item {name:?}"),
                    }),
                    name,
                    ..Default::default()
                },
            }
        });
        Ok(pdpb::LoadGlobalConfigResponse {
            items: items.collect(),
            revision: 0,
        })
    }

    pub(super) fn watch_global_config(
        &mut self,
        id: StreamId,
        request: &pdpb::WatchGlobalConfigRequest,
    ) -> Answer<()> {
        let path = config_path(&request.config_path)?;
        let watch = Watch {
            keys: Keys::with_prefix(path.as_bytes()),
            from: request.revision,
            with_previous: true,
        };
        self.start_watch(id, StreamMethod::WatchGlobalConfig, watch)
    }

    /// Forgets what the map below PD (meta storage, global configuration) was before `revision`.
    pub fn compact_meta_storage(&mut self, revision: i64) {
        self.etcd.compact(revision);
    }
}

/// Only key and value, outside of events.
fn pair(key: Bytes, value: Bytes) -> meta::KeyValue {
    meta::KeyValue {
        key,
        value,
        ..Default::default()
    }
}

fn before(change: Change) -> Option<meta::KeyValue> {
    let previous = change.previous?;
    Some(pair(change.key, previous))
}

fn event(change: Change, with_previous: bool) -> meta::Event {
    let kind = if change.is_delete() {
        meta::event::EventType::Delete
    } else {
        meta::event::EventType::Put
    };
    meta::Event {
        r#type: kind as i32,
        kv: Some(meta::KeyValue {
            key: change.key.clone(),
            value: change.value.clone(),
            create_revision: change.create_revision,
            mod_revision: change.revision,
            version: change.version,
            lease: 0,
        }),
        prev_kv: if with_previous { before(change) } else { None },
    }
}

/// A deletion carries the value that was there.
fn config_change(change: Change) -> pdpb::GlobalConfigItem {
    let mut kind = pdpb::EventType::Put;
    let mut value = change.value.clone();
    if change.is_delete() {
        kind = pdpb::EventType::Delete;
        value = change.previous.unwrap_or_default();
    }
    pdpb::GlobalConfigItem {
        kind: kind as i32,
        ..item(text(&change.key), value)
    }
}

fn item(name: String, payload: Bytes) -> pdpb::GlobalConfigItem {
    pdpb::GlobalConfigItem {
        name,
        payload,
        ..Default::default()
    }
}

fn text(key: &[u8]) -> String {
    String::from_utf8_lossy(key).into_owned()
}

/// An empty path means the root; nothing outside of the root is allowed.
fn config_path(path: &str) -> Result<String, Status> {
    if path.is_empty() || path == CONFIG_ROOT.trim_end_matches('/') {
        return Ok(CONFIG_ROOT.to_owned());
    }
    if path.starts_with(CONFIG_ROOT) {
        return Ok(path.to_owned());
    }
    let text = format!("{path:?} is not below {CONFIG_ROOT}");
    Err(Status::new(Code::InvalidArgument, text))
}

fn config_key(path: &str, name: &str) -> String {
    let path = path.strip_suffix('/').unwrap_or(path);
    if name.is_empty() {
        return path.to_owned();
    }
    format!("{path}/{name}")
}
