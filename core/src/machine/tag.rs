//! Where an answer belongs.

use std::fmt;

/// How deep machines may nest below an operation: operation, fan-out slot, call.
pub const MAX_DEPTH: usize = 4;

/// The way from an operation's root machine down to one of its parts: one slot number per nesting level.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path {
    slots: [u16; MAX_DEPTH],
    depth: u8,
}

impl Path {
    /// The root machine itself.
    pub const ROOT: Self = Self {
        slots: [0; MAX_DEPTH],
        depth: 0,
    };

    /// The path of the part in `slot` of the machine at this path.
    ///
    /// # Panics
    /// When machines nest deeper than [`MAX_DEPTH`], which is a mistake in how they were put together.
    #[must_use]
    pub fn child(mut self, slot: u16) -> Self {
        self.slots[usize::from(self.depth)] = slot;
        self.depth += 1;
        self
    }

    /// Which slot of the machine at depth `level` this path leads through; `None` when it ends above.
    #[must_use]
    pub fn slot(&self, level: u8) -> Option<u16> {
        (level < self.depth).then(|| self.slots[usize::from(level)])
    }

    /// The number of levels below the root.
    #[must_use]
    pub const fn depth(&self) -> u8 {
        self.depth
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let used = &self.slots[..usize::from(self.depth)];
        f.write_str("/")?;
        for (i, slot) in used.iter().enumerate() {
            write!(f, "{}{slot}", if i == 0 { "" } else { "/" })?;
        }
        Ok(())
    }
}

/// The name of one thing that a machine asked for: who asked ([`Path`]) and which of its askings (`serial`).
///
/// A serial number is used once per operation, so an answer to something that the machine no longer waits for carries
/// a tag that nobody compares equal to: it is stale, and [`Waiting::takes`](super::Waiting::takes) drops it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag {
    path: Path,
    serial: u32,
}

impl Tag {
    pub(super) const fn new(path: Path, serial: u32) -> Self {
        Self { path, serial }
    }

    /// Whose answer it is.
    #[must_use]
    pub const fn path(&self) -> Path {
        self.path
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}#{}", self.path, self.serial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_one_slot_a_level() {
        let path = Path::ROOT.child(3).child(7);
        assert_eq!(
            (path.slot(0), path.slot(1), path.slot(2)),
            (Some(3), Some(7), None)
        );
        assert_eq!(format!("{path:?}"), "/3/7");
        assert_eq!(format!("{:?}", Path::ROOT), "/");
    }
}
