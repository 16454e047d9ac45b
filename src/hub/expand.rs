//! Expands `~` and `$NAME` in paths from environment variables, as Hugging Face's tools do: first
//! Python's os.path.expanduser, then os.path.expandvars. A shell would expand them itself, but the
//! variables of a Dockerfile, a service or an `.env` file pass through no shell.

/// Looks up a variable. The value may be empty; None if it is not set.
pub type Variable<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A path with `~` and variables expanded. Unknown users and variables are left unchanged.
pub fn expanded(path: &str, variable: Variable, home_of: Variable) -> String {
    with_variables(&with_home(path, variable, home_of), variable)
}

/// Expands a leading `~` to HOME, and `~name` to the home of that user, which `home_of` looks up.
pub fn with_home(path: &str, variable: Variable, home_of: Variable) -> String {
    let Some(rest) = path.strip_prefix('~') else { return path.to_string() };
    let (user, rest) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let home = if user.is_empty() { variable("HOME") } else { home_of(user) };
    let Some(home) = home else { return path.to_string() };
    match format!("{}{rest}", home.trim_end_matches('/')) {
        root if root.is_empty() => "/".into(),
        path => path,
    }
}

/// Expands `$NAME` (ASCII letters, digits and `_`) and `${anything}`.
fn with_variables(path: &str, variable: Variable) -> String {
    let (mut out, mut rest) = (String::new(), path);
    while let Some((before, after)) = rest.split_once('$') {
        out += before;
        let (name, end) = match after.strip_prefix('{').and_then(|braced| braced.split_once('}')) {
            Some((name, _)) => (name, name.len() + 2),
            None => {
                let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                let end = end.unwrap_or(after.len());
                (&after[..end], end)
            }
        };
        match variable(name) {
            Some(value) if end > 0 => out += &value,
            _ => out += &format!("${}", &after[..end]),
        }
        rest = &after[end..];
    }
    out + rest
}

/// A user's home in a passwd file with lines `name:password:uid:gid:comment:home:shell`.
pub fn home_in_passwd(text: &str, user: &str) -> Option<String> {
    let fields = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let mut homes = fields.filter(|f| f.first() == Some(&user)).filter_map(|f| f.get(5).copied());
    homes.next().map(str::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values: HF_HOME as `huggingface_hub` 2.4.0 expands it, with HOME=/u and root's home
    /// /root.
    #[test]
    fn paths_expand_as_in_huggingface_hub() {
        let variables =
            [("HOME", "/u"), ("A", "1"), ("B", ""), ("D", "~"), ("S", "$A"), ("A B", "q")];
        let variable = |name: &str| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string())
        };
        let home_of =
            |user: &str| home_in_passwd("bin:x:1:1\nroot:x:0:0:root:/root:/bin/sh\n", user);
        for (path, want) in [
            ("$HOME/hf", "/u/hf"),
            ("${HOME}/hf", "/u/hf"),
            ("~", "/u"),
            ("~/hf", "/u/hf"),
            ("~root/hf", "/root/hf"),
            ("~nobody_here/hf", "~nobody_here/hf"),
            ("$NONE/hf", "$NONE/hf"),
            ("${NONE/hf", "${NONE/hf"),
            ("$A-$B/x$", "1-/x$"),
            ("$Ab/x", "$Ab/x"),
            ("/a/~/x", "/a/~/x"),
            ("$D/hub", "~/hub"),
            ("~/h/$S", "/u/h/$A"),
            ("${A}b", "1b"),
            ("$é/x", "$é/x"),
            ("${}/x", "${}/x"),
            ("${A B}/x", "q/x"),
            ("$$A", "$1"),
        ] {
            assert_eq!(expanded(path, &variable, &home_of), want, "{path}");
        }
        let nothing = |_: &str| None;
        assert_eq!(expanded("~/hf", &nothing, &nothing), "~/hf");
        let root = |_: &str| Some("/".to_string());
        assert_eq!(["~", "~/x"].map(|path| expanded(path, &root, &nothing)), ["/", "/x"]);
    }
}
