//! Answers that a tape makes up.
