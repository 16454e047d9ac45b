//! How a spec names a repository of the Hugging Face Hub: `owner/name` or `owner/name@revision`.

/// The expected form, for errors.
pub const HUB_NAME: &str = "`owner/name` or `owner/name@revision`, as in uoft-cs/cifar10@main";

/// The prefix of such a name where a path is also allowed.
pub const HUB_PREFIX: &str = "hub:";

/// A repository and one of its branches, tags or commits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HubName {
    /// `owner/name`, or `name` for the few repositories without an owner.
    pub repository: String,
    /// None stands for `main`.
    pub revision: Option<String>,
}

impl HubName {
    /// None if the text is not a valid name.
    pub fn parse(text: &str) -> Option<HubName> {
        let (repository, revision) = match text.split_once('@') {
            Some((repository, revision)) => (repository, Some(revision)),
            None => (text, None),
        };
        let parts: Vec<&str> = repository.split('/').collect();
        let sound = parts.len() <= 2
            && parts.iter().all(|part| is_part(part))
            && revision.is_none_or(is_revision);
        sound.then(|| HubName {
            repository: repository.into(),
            revision: revision.map(str::to_string),
        })
    }

    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or("main")
    }
}

/// Whether the text is a valid name.
pub fn is_hub_name(text: &str) -> bool {
    HubName::parse(text).is_some()
}

/// The Hub's rule for names: letters, digits, `-`, `_`, `.`; no `--` or `..`, and no `-` or `.` at
/// the ends. The cache's folders have `--` between owner and name.
fn is_part(part: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let end = |c: char| "-.".contains(c);
    !part.is_empty()
        && part.len() <= 96
        && part.chars().all(allowed)
        && !part.contains("--")
        && !part.contains("..")
        && !part.starts_with(end)
        && !part.ends_with(end)
}

/// Whether the text is a branch, tag, `refs/pr/N` or commit that git allows and that is a safe
/// path.
fn is_revision(revision: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_./+".contains(c);
    !revision.is_empty()
        && revision.len() <= 250
        && revision.chars().all(allowed)
        && revision.split('/').all(|part| !part.is_empty() && !part.starts_with('.'))
        && !revision.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_or_refused() {
        let read = |text: &str| HubName::parse(text).map(|n| (n.repository.clone(), n.revision));
        assert_eq!(read("uoft-cs/cifar10"), Some(("uoft-cs/cifar10".into(), None)));
        assert_eq!(read("gpt2@refs/pr/3"), Some(("gpt2".into(), Some("refs/pr/3".into()))));
        for bad in [
            "",
            "/",
            "a/",
            "/a",
            "a/b/c",
            "../a",
            "a/..",
            "a/b--c",
            "a/.b",
            "a b/c",
            "a/b@",
            "a/b@../c",
            "a/b@x//y",
            "a/b@-\n",
            "a/b?x=1",
            "https://huggingface.co/a/b",
            "ä/b",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
