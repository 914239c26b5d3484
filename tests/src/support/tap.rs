//! Keeps what the client says through `tracing`.

use std::{
    fmt::{self, Write as _},
    sync::{Arc, Mutex, PoisonError},
};

use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

/// A subscriber that takes everything and keeps it as text.
#[derive(Clone, Debug, Default)]
pub struct Tap(Arc<Mutex<String>>);

impl Tap {
    /// All that was said so far.
    #[must_use]
    pub fn text(&self) -> String {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn record(
        &self,
        what: &str,
        metadata: Option<&Metadata<'_>>,
        fields: impl FnOnce(&mut Text<'_>),
    ) {
        let mut text = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        text.push_str(what);
        if let Some(metadata) = metadata {
            let _ = write!(text, " {} {}", metadata.target(), metadata.name());
        }
        fields(&mut Text(&mut text));
        text.push('\n');
    }
}

struct Text<'a>(&'a mut String);

impl Visit for Text<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}

impl Subscriber for Tap {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
        self.record("span", Some(span.metadata()), |text| span.record(text));
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, values: &span::Record<'_>) {
        self.record("record", None, |text| values.record(text));
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        self.record("event", Some(event.metadata()), |text| event.record(text));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}
