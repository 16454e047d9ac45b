//! A job of a launcher, whichever it is.

/// What a launcher says of a run that it has been given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// As the launcher names it, for its other commands.
    pub name: String,
    /// In the launcher's words.
    pub state: String,
    /// Why it waits; empty if it does not.
    pub reason: String,
}
