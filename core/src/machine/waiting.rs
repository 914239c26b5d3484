//! The one place where stale answers are told from live ones.

use super::{Event, Tag};

/// What a machine is waiting for, if anything.
///
/// Every machine keeps the [`Waiting`] that [`Cx`](super::Cx) returned when it asked, and acts only on an event that it
/// [takes](Waiting::takes) or [is for](Waiting::is_for): the answer to that very asking.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[must_use = "dropping it makes the answer stale"]
pub struct Waiting(Option<Tag>);

impl Waiting {
    /// Waiting for nothing.
    pub const NOTHING: Self = Self(None);

    pub(super) const fn for_tag(tag: Tag) -> Self {
        Self(Some(tag))
    }

    /// Whether `event` is the answer waited for. Whoever acts on it must replace this value in the same step.
    #[must_use]
    pub fn is_for(&self, event: &Event) -> bool {
        event.tag().is_some() && event.tag() == self.0
    }

    /// Whether this is the stream with that tag. A stream stays waited for until it has ended.
    #[must_use]
    pub fn is_for_stream(&self, tag: Tag) -> bool {
        self.0 == Some(tag)
    }

    pub(super) const fn tag(&self) -> Option<Tag> {
        self.0
    }

    /// Whether `event` is the answer waited for. If it is, nothing is waited for any more.
    pub fn takes(&mut self, event: &Event) -> bool {
        let live = self.is_for(event);
        if live {
            self.0 = None;
        }
        live
    }

    /// Whether something is waited for.
    #[must_use]
    pub const fn is_waiting(&self) -> bool {
        self.0.is_some()
    }

    pub(super) const fn take(&mut self) -> Option<Tag> {
        self.0.take()
    }
}
