//! A job of a launcher, whichever it is.

/// What a launcher says of a run that it has been given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// As the launcher names it, for its other commands.
    pub name: String,
    /// The number that later jobs can wait for.
    pub number: u64,
    /// In the launcher's words.
    pub state: String,
    /// Why it waits, or where its log is if it has ended; may be empty.
    pub reason: String,
    /// Whether it has ended.
    pub has_ended: bool,
}
