use std::sync::Arc;

use bytes::Bytes;
use tikv::{
    interceptor::{Interceptors, RequestInfo},
    request::{Priority, RequestOptions, RequestOrigin, RequestSource, TraceContext, TraceFlags},
    rpc::Command,
};
use tikv_proto::kvrpcpb;

use crate::stage::{Heard, Scribe, Shared, Stage};

#[tokio::test(start_paused = true)]
async fn every_request_carries_what_the_options_say() {
    let stage = Stage::set(&[]).await;
    let source = RequestSource::default()
        .internal(true)
        .kind(Arc::from(RequestSource::GC))
        .origin(RequestOrigin::TiDb);
    let options = RequestOptions::default()
        .priority(Priority::Low)
        .resource_group(Arc::from("rg"))
        .tag(Bytes::from_static(b"tag"))
        .source(source)
        .task_id(5)
        .session_id(6)
        .trace(TraceContext {
            id: Bytes::from_static(b"trace"),
            flags: TraceFlags::IMMEDIATE_LOG,
        });
    let db = stage.with(options);
    db.get("k").await.unwrap();
    db.batch_put([("k", "v")]).await.unwrap();
    for context in stage.contexts() {
        assert_eq!(context.priority(), kvrpcpb::CommandPri::Low);
        assert_eq!(context.resource_group_tag, "tag");
        assert_eq!(context.request_source, "internal_gc");
        assert_eq!(context.request_origin(), kvrpcpb::RequestOrigin::TiDb);
        assert_eq!((context.task_id, &context.trace_id[..]), (5, &b"trace"[..]));
        assert_eq!(context.trace_control_flags, 1);
        assert!(context.region_id != 0 && context.cluster_id == db.cluster_id());
    }
    stage.db.get("k").await.unwrap();
    let plain = stage.contexts().remove(0);
    assert!(plain.resource_group_tag.is_empty() && plain.trace_id.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_tagger_is_asked_for_every_attempt_unless_there_is_a_tag() {
    let stage = Stage::set(&[]).await;
    stage.db.get("k").await.unwrap();
    stage.sent();
    let heard = Shared::default();
    let options = RequestOptions::default()
        .tagger(|rpc: &RequestInfo| match rpc.command {
            Command::RawDelete => Bytes::new(),
            command => Bytes::from(format!("{command:?} {}", rpc.attempt)),
        })
        .interceptors(Interceptors::new().link(Scribe::new("a", &heard)));
    let db = stage.with(options.clone());
    stage.busy(Command::RawGet, 1);
    db.get("k").await.unwrap();
    db.delete("k").await.unwrap();
    let told: Vec<usize> = heard
        .all()
        .iter()
        .filter_map(|call| match call {
            Heard::Before(_, rpc) => Some(rpc.bytes),
            Heard::After(..) => None,
        })
        .collect();
    let sent = stage.sent();
    let bytes: Vec<usize> = sent.iter().map(tikv_core::rpc::Rpc::encoded_len).collect();
    assert_eq!(told, bytes);
    db.get("k").await.unwrap();
    stage.busy(Command::RawGet, 1);
    db.get("k").await.unwrap();
    db.delete("k").await.unwrap();
    let tags = |stage: &Stage| -> Vec<Bytes> {
        let contexts = stage.contexts().into_iter();
        contexts.map(|context| context.resource_group_tag).collect()
    };
    assert_eq!(tags(&stage), ["RawGet 1", "RawGet 1", "RawGet 2", ""]);

    let tagged = stage.with(options.tag(Bytes::from_static(b"mine")));
    tagged.get("k").await.unwrap();
    assert_eq!(tags(&stage), ["mine"]);
}
