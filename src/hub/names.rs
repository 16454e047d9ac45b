//! Names of repositories, commits and files of the Hub.

use crate::spec::HubName;

/// `hub:owner/name@revision`, the name for errors. A commit is shortened to 12 digits.
pub fn label(name: &HubName) -> String {
    let revision = name.revision();
    let short = if is_commit(revision) { &revision[..12] } else { revision };
    format!("hub:{}@{short}", name.repository)
}

/// Whether a text is a full commit id.
pub fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Whether a path of a repository stays within its folder, on any operating system.
pub fn is_safe(path: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && part.len() <= 255
            && part != "."
            && part != ".."
            && !part.contains(|c: char| c == '\\' || c.is_control() || cfg!(windows) && c == ':')
    };
    path.split('/').all(part)
}
