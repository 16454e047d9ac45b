//! Path patterns of dataset cards, with the rules of fsspec's `glob_translate`.
//!
//! The crate `glob` supports the same patterns but takes exponential time for several `*`. For
//! `**/*a*a*a*a*a*a*a*ab/x` and a path of 40 letters it needs 12 s, and four times as long for each
//! further `*a`. Cards are not trusted, so the time must be bounded.

/// Whether the whole path matches. Within a name, `*` matches any characters and `?` one character.
/// `[ab]` and `[a-z]` match one character of a set, `[!a]` one that is not in it. `**/` matches any
/// folders, and `**` at the end matches everything below.
pub fn matches(pattern: &str, path: &str) -> bool {
    let pattern = pattern.strip_prefix("./").unwrap_or(pattern);
    let (pattern, path): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), path.chars().collect());
    // reached[j]: the pattern so far matches path[..j]. The time is at most the pattern's length
    // times the path's.
    let n = path.len();
    let mut reached = vec![false; n + 1];
    reached[0] = true;
    let mut i = 0;
    while i < pattern.len() {
        let mut next = vec![false; n + 1];
        match pattern[i] {
            '*' if pattern[i..].starts_with(&['*', '*', '/']) => {
                // Zero or more whole folders.
                let mut inside = false;
                for j in 0..=n {
                    next[j] = reached[j] || (inside && j > 0 && path[j - 1] == '/');
                    inside |= reached[j];
                }
                i += 3;
            }
            '*' => {
                let deep = pattern[i..].starts_with(&['*', '*']);
                let mut open = false;
                for j in 0..=n {
                    open = reached[j] || (open && (deep || path[j - 1] != '/'));
                    next[j] = open;
                }
                i += if deep { 2 } else { 1 };
            }
            c => {
                let (one, length) = set(&pattern[i..]).unwrap_or((None, 1));
                for j in 0..n {
                    let same = match (&one, c) {
                        (Some((negated, set)), _) => {
                            let within = set.iter().any(|(a, b)| (*a..=*b).contains(&path[j]));
                            path[j] != '/' && within != *negated
                        }
                        (None, '?') => path[j] != '/',
                        (None, c) => path[j] == c,
                    };
                    next[j + 1] = reached[j] && same;
                }
                i += length;
            }
        }
        reached = next;
    }
    reached[n]
}

type Set = (bool, Vec<(char, char)>);

/// The set at the start of the pattern, and its length there; None if there is no set.
fn set(pattern: &[char]) -> Option<(Option<Set>, usize)> {
    if pattern.first() != Some(&'[') {
        return None;
    }
    let negated = pattern.get(1) == Some(&'!');
    let start = if negated { 2 } else { 1 };
    // A closing bracket directly after the opening one is a member of the set.
    let end = start + 1 + pattern.get(start + 1..)?.iter().position(|c| *c == ']')?;
    let mut ranges = Vec::new();
    let mut i = start;
    while i < end {
        match pattern[i..end] {
            [a, '-', b, ..] => {
                ranges.push((a, b));
                i += 3;
            }
            [a, ..] => {
                ranges.push((a, a));
                i += 1;
            }
            [] => break,
        }
    }
    Some((Some((negated, ranges)), end + 1))
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_whole_paths() {
        for (pattern, path) in [
            ("data/train-*", "data/train-00000-of-00001.parquet"),
            ("./a.csv", "a.csv"),
            ("**/a.csv", "a.csv"),
            ("**/a.csv", "x/y/a.csv"),
            ("train/**", "train/cat/1.png"),
            ("**", "train/cat/1.png"),
            ("train/*/*.png", "train/cat/1.png"),
            ("a?c[0-9].csv", "abc7.csv"),
            ("[!a]*.csv", "b.csv"),
            ("x[]a].csv", "x].csv"),
            ("x[^a].csv", "x^.csv"),
            ("a[.csv", "a[.csv"),
            ("*é*", "café.csv"),
        ] {
            assert!(matches(pattern, path), "{pattern} on {path}");
        }
        for (pattern, path) in [
            ("train-*", "data/train-0.parquet"),
            ("data/*", "data/x/y.csv"),
            ("a.csv", "a.csv.gz"),
            ("**/a.csv", "xa.csv"),
            ("a?c", "a/c"),
            ("[!a].csv", "a.csv"),
            ("", "a"),
        ] {
            assert!(!matches(pattern, path), "{pattern} on {path}");
        }
        // These would take forever with backtracking.
        let hard = format!("**/{}b/x", "*a".repeat(40));
        assert!(!matches(&hard, &format!("{}/c", "a".repeat(200))));
        assert!(!matches(&"*a".repeat(500), &"a".repeat(499)));
    }
}
