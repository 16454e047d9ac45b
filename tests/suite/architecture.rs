//! The layout of the source: which room may use which, no circles between the files of a room, and no
//! task, architecture or metric named where the program works with any.
//!
//! The source is read as tokens, so comments do not count. Test modules do not count either: a test
//! has to name something.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use vlora::spec::{Architecture, Task};
use vlora::tasks::definition;

/// The rooms, each above those that it may use. What is not listed are small helpers, which are below
/// all of them.
const ROOMS: [&str; 13] = [
    "cli",
    "report",
    "runner",
    "train",
    "tasks",
    "checkpoints",
    "models",
    "vlora",
    "nn",
    "data",
    "hub",
    "results",
    "spec",
];

/// Rooms that may use fewer than all below them.
const NARROW: [(&str, &[&str]); 1] = [("report", &["results", "spec"])];

/// Rooms that work with any task.
const GENERAL: [&str; 5] = ["cli", "report", "runner", "train", "results"];

/// What one task or architecture is about, besides the names that the program itself lists.
const PARTICULAR: [&str; 10] =
    ["image", "images", "pixel", "pixels", "patch", "patches", "vision", "bert", "gpt", "unigram"];

/// Where such a word means something else: files whose path begins so.
const OTHERWISE: [(&str, &[&str]); 4] = [
    // Every training has a loss, though one task also compares by it.
    ("", &["loss"]),
    // That of a compression.
    ("results/compressed", &["decoder"]),
    // Charts are images of pixels.
    ("report/charts/", &["image", "pixel", "pixels"]),
    // Images are a type of a dataset's columns, whatever is done with them.
    ("cli/data", &["image", "images", "pixels"]),
];

/// Words that are still to go, as `file: word`. The list may only shrink.
const NAMED: &[&str] = &[];

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// An identifier or a keyword.
    Word(String),
    /// The content of a string literal.
    Text(String),
    /// One other character; `::` is two of them.
    Mark(char),
}

impl Token {
    fn word(&self) -> Option<&str> {
        match self {
            Token::Word(word) => Some(word),
            _ => None,
        }
    }

    fn is(&self, mark: char) -> bool {
        *self == Token::Mark(mark)
    }
}

/// Rust source as tokens, without comments, lifetimes, numbers and characters.
fn tokens(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let (mut tokens, mut i) = (Vec::new(), 0);
    while i < chars.len() {
        let c = at(i);
        // r"…", r#"…"#, b"…", br"…"
        let mut raw = i;
        while matches!(at(raw), 'r' | 'b') && raw < i + 2 {
            raw += 1;
        }
        let hashes = (raw..).take_while(|j| at(*j) == '#').count();
        let is_raw = raw > i && at(raw - 1) == 'r' && at(raw + hashes) == '"';
        if c == '/' && at(i + 1) == '/' {
            while i < chars.len() && at(i) != '\n' {
                i += 1;
            }
        } else if c == '/' && at(i + 1) == '*' {
            let mut depth = 0;
            loop {
                match (at(i), at(i + 1)) {
                    ('/', '*') => (depth, i) = (depth + 1, i + 2),
                    ('*', '/') => (depth, i) = (depth - 1, i + 2),
                    _ => i += 1,
                }
                if depth == 0 || i >= chars.len() {
                    break;
                }
            }
        } else if is_raw {
            let start = raw + hashes + 1;
            let ends = |j: usize| at(j) == '"' && (1..=hashes).all(|k| at(j + k) == '#');
            let end = (start..chars.len()).find(|j| ends(*j)).unwrap();
            tokens.push(Token::Text(chars[start..end].iter().collect()));
            i = end + 1 + hashes;
        } else if c == '"' {
            let mut text = String::new();
            i += 1;
            while at(i) != '"' {
                match (at(i), at(i + 1)) {
                    // A literal that goes on in the next line, without the indentation there.
                    ('\\', '\n') => {
                        i += 2;
                        while at(i).is_whitespace() {
                            i += 1;
                        }
                    }
                    ('\\', escaped) => {
                        text.push(if escaped == 'n' { '\n' } else { ' ' });
                        i += 2;
                    }
                    (c, _) => {
                        text.push(c);
                        i += 1;
                    }
                }
            }
            tokens.push(Token::Text(text));
            i += 1;
        } else if c == '\'' {
            // A character, or else a lifetime.
            if at(i + 1) == '\\' {
                i += 3;
                while at(i) != '\'' {
                    i += 1;
                }
                i += 1;
            } else if at(i + 2) == '\'' {
                i += 3;
            } else {
                i += 1;
                while at(i).is_alphanumeric() || at(i) == '_' {
                    i += 1;
                }
            }
        } else if c.is_alphabetic() || c == '_' {
            let start = i;
            while at(i).is_alphanumeric() || at(i) == '_' {
                i += 1;
            }
            tokens.push(Token::Word(chars[start..i].iter().collect()));
        } else if c.is_ascii_digit() {
            while at(i).is_alphanumeric() || at(i) == '_' {
                i += 1;
            }
        } else {
            if !c.is_whitespace() {
                tokens.push(Token::Mark(c));
            }
            i += 1;
        }
    }
    tokens
}

/// Whether `#[cfg(test)]` begins here; the tokens behind it.
fn behind_cfg_test(tokens: &[Token]) -> Option<usize> {
    const ATTRIBUTE: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let same = |(token, want): (&Token, &&str)| match token {
        Token::Word(word) => word == want,
        Token::Mark(mark) => want.len() == 1 && want.starts_with(*mark),
        Token::Text(_) => false,
    };
    let here = tokens.len() >= 7 && tokens.iter().zip(&ATTRIBUTE).all(same);
    here.then_some(ATTRIBUTE.len())
}

/// The tokens without test modules, and the names of test modules in files of their own.
fn without_tests(tokens: &[Token]) -> (Vec<Token>, Vec<String>) {
    let (mut kept, mut files, mut i) = (Vec::new(), Vec::new(), 0);
    while i < tokens.len() {
        let Some(behind) = behind_cfg_test(&tokens[i..]) else {
            kept.push(tokens[i].clone());
            i += 1;
            continue;
        };
        let rest = &tokens[i + behind..];
        let is_module = rest.first().and_then(Token::word) == Some("mod");
        let name = rest.get(1).and_then(Token::word).unwrap_or_default().to_string();
        match rest.get(2) {
            Some(mark) if is_module && mark.is(';') => {
                files.push(name);
                i += behind + 3;
            }
            Some(mark) if is_module && mark.is('{') => {
                let (mut depth, mut end) = (0, i + behind + 2);
                loop {
                    depth += i32::from(tokens[end].is('{')) - i32::from(tokens[end].is('}'));
                    end += 1;
                    if depth == 0 {
                        break;
                    }
                }
                i = end;
            }
            // Something else that only tests have: it is counted.
            _ => i += behind,
        }
    }
    (kept, files)
}

/// A path as it is written, and whether a `pub use` names it.
struct Written {
    segments: Vec<String>,
    exported: bool,
}

/// The paths in the tokens that a `use` or a qualified name has.
fn paths(tokens: &[Token]) -> Vec<Written> {
    let (mut found, mut i) = (Vec::new(), 0);
    while i < tokens.len() {
        let word = tokens[i].word();
        if word == Some("use") {
            let exported = i > 0 && (tokens[i - 1].word() == Some("pub") || tokens[i - 1].is(')'));
            let end = (i..tokens.len()).find(|j| tokens[*j].is(';')).unwrap_or(tokens.len());
            let mut at = i + 1;
            use_tree(&tokens[..end], &mut at, &[], &mut |segments| {
                found.push(Written { segments, exported });
            });
            i = end;
        } else if matches!(word, Some("crate" | "super" | "self")) && is_path(tokens, i) {
            let mut segments = Vec::new();
            while let Some(word) = tokens.get(i).and_then(Token::word) {
                segments.push(word.to_string());
                if !is_path(tokens, i) {
                    break;
                }
                i += 3;
            }
            found.push(Written { segments, exported: false });
            i += 1;
        } else {
            i += 1;
        }
    }
    found
}

/// Whether `::` and a name stand behind the token.
fn is_path(tokens: &[Token], i: usize) -> bool {
    let mark = |j: usize| tokens.get(j).is_some_and(|token| token.is(':'));
    mark(i + 1) && mark(i + 2) && tokens.get(i + 3).and_then(Token::word).is_some()
}

/// The paths of a use tree that begins at `at`.
fn use_tree(
    tokens: &[Token],
    at: &mut usize,
    before: &[String],
    found: &mut dyn FnMut(Vec<String>),
) {
    let mut path = before.to_vec();
    while let Some(token) = tokens.get(*at) {
        match token {
            Token::Word(word) if word == "as" => {
                *at += 2;
                break;
            }
            Token::Word(word) => path.push(word.clone()),
            Token::Mark('*') => path.push("*".into()),
            Token::Mark(':') => {}
            Token::Mark('{') => {
                *at += 1;
                while tokens.get(*at).is_some_and(|token| !token.is('}')) {
                    use_tree(tokens, at, &path, found);
                    if tokens.get(*at).is_some_and(|token| token.is(',')) {
                        *at += 1;
                    }
                }
                *at += 1;
                return;
            }
            _ => break,
        }
        *at += 1;
    }
    found(path);
}

/// A source file.
struct File {
    /// Its module: `tasks`, `start` for src/tasks/start.rs.
    module: Vec<String>,
    tokens: Vec<Token>,
    paths: Vec<Written>,
}

impl File {
    fn room(&self) -> &str {
        self.module.first().map_or("cli", String::as_str)
    }
}

/// The program's source without its tests, by path below src.
fn source() -> BTreeMap<String, File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut names = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root.join(&folder)).unwrap() {
            let name = folder.join(entry.unwrap().file_name());
            if root.join(&name).is_dir() {
                folders.push(name);
            } else if name.extension().is_some_and(|ending| ending == "rs") {
                names.push(name);
            }
        }
    }
    let mut files = BTreeMap::new();
    let mut tests = BTreeSet::new();
    for name in names {
        let text = name.to_str().unwrap().replace('\\', "/");
        let mut module: Vec<String> =
            text.trim_end_matches(".rs").split('/').map(String::from).collect();
        if matches!(module.last().unwrap().as_str(), "mod" | "lib" | "main") {
            module.pop();
        }
        let all = tokens(&fs::read_to_string(root.join(&name)).unwrap());
        let (tokens, test_files) = without_tests(&all);
        for test in test_files {
            tests.insert([module.as_slice(), &[test]].concat());
        }
        let paths = paths(&tokens);
        files.insert(text, File { module, tokens, paths });
    }
    files.retain(|_, file| !(1..=file.module.len()).any(|n| tests.contains(&file.module[..n])));
    files
}

/// Which file a name is of.
struct Modules<'a> {
    files: &'a BTreeMap<String, File>,
    by_module: BTreeMap<Vec<String>, &'a str>,
}

impl<'a> Modules<'a> {
    fn new(files: &'a BTreeMap<String, File>) -> Modules<'a> {
        let by_module = files
            .iter()
            .filter(|(name, _)| *name != "main.rs")
            .map(|(name, file)| (file.module.clone(), name.as_str()));
        Modules { files, by_module: by_module.collect() }
    }

    /// The file of what a path in a module means; None for what is not of this program.
    fn file_of(&self, module: &[String], path: &[String], depth: usize) -> Option<&'a str> {
        let mut at: Vec<String> = match path.first()?.as_str() {
            "crate" => Vec::new(),
            "self" | "super" => module.to_vec(),
            child => {
                // A module below this one.
                let below = [module, &[child.to_string()]].concat();
                if !self.by_module.contains_key(&below) {
                    return None;
                }
                module.to_vec()
            }
        };
        let mut rest = path.iter().peekable();
        while let Some(segment) = rest.peek() {
            match segment.as_str() {
                "crate" | "self" => {}
                "super" => drop(at.pop()),
                name => {
                    let below = [at.as_slice(), &[name.to_string()]].concat();
                    if !self.by_module.contains_key(&below) {
                        break;
                    }
                    at = below;
                }
            }
            rest.next();
        }
        let file = self.by_module.get(&at).copied()?;
        let Some(item) = rest.next() else { return Some(file) };
        // What the module exports from another file is of that file.
        let exported = self.files[file].paths.iter().filter(|path| path.exported && depth > 0);
        for path in exported {
            let last = path.segments.last().unwrap();
            let inner = self.file_of(&at, &path.segments, depth - 1);
            match inner {
                Some(inner) if last == item => return Some(inner),
                Some(inner) if last == "*" && self.defines(inner, item) => return Some(inner),
                _ => {}
            }
        }
        Some(file)
    }

    /// Whether an item of this name is defined in the file.
    fn defines(&self, file: &str, item: &str) -> bool {
        let kinds = ["struct", "enum", "fn", "trait", "const", "type", "static"];
        self.files[file].tokens.windows(2).any(|pair| {
            let kind = pair[0].word().is_some_and(|word| kinds.contains(&word));
            kind && pair[1].word() == Some(item)
        })
    }
}

#[test]
fn a_room_uses_only_rooms_below_it() {
    let files = source();
    let rank = |room: &str| ROOMS.iter().position(|r| *r == room).unwrap_or(ROOMS.len());
    let mut found = BTreeSet::new();
    for (name, file) in &files {
        // The two roots list every module.
        if file.module.is_empty() {
            continue;
        }
        for path in &file.paths {
            let [first, room, ..] = path.segments.as_slice() else { continue };
            if first != "crate" || room == file.room() {
                continue;
            }
            let narrow = NARROW.iter().find(|(from, _)| *from == file.room());
            let allowed = narrow.is_none_or(|(_, to)| to.contains(&room.as_str()));
            let up = rank(room) < rank(file.room());
            if up || (!allowed && rank(room) < ROOMS.len()) {
                found.insert(format!("{name} → {room}"));
            }
        }
    }
    assert!(found.is_empty(), "arrows that point up:\n{found:#?}");
}

#[test]
fn the_files_of_a_room_are_in_no_circle() {
    let files = source();
    let modules = Modules::new(&files);
    let mut uses: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, file) in files.iter().filter(|(_, file)| !file.module.is_empty()) {
        let own = file.paths.iter().filter(|path| !path.exported);
        let targets = own.filter_map(|path| modules.file_of(&file.module, &path.segments, 8));
        let targets = targets.filter(|to| *to != name && files[*to].room() == file.room());
        uses.insert(name, targets.collect());
    }
    // A file is in a circle if it reaches itself.
    let reaches_itself = |start: &&str| {
        let mut seen = BTreeSet::new();
        let mut open: Vec<&str> = uses[start].iter().copied().collect();
        while let Some(file) = open.pop() {
            if file == *start {
                return true;
            }
            if seen.insert(file) {
                open.extend(&uses[file]);
            }
        }
        false
    };
    let found: Vec<&&str> = uses.keys().filter(|file| reaches_itself(file)).collect();
    assert!(found.is_empty(), "files in a circle:\n{found:#?}");
}

/// Lower-case words of an identifier or a text: `ImageData` and `image_data` have the same.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut lower = false;
    for c in text.chars() {
        if !c.is_alphanumeric() || (lower && c.is_uppercase()) {
            words.push(String::new());
        }
        lower = c.is_lowercase();
        if c.is_alphanumeric() {
            words.last_mut().unwrap().extend(c.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn general_rooms_name_no_task_no_architecture_and_no_metric() {
    let tasks = Task::ALL.map(|task| task.name().to_string());
    let architectures = Architecture::ALL.map(|architecture| architecture.name().to_string());
    let metrics = Task::ALL.iter().flat_map(|task| definition(*task).metrics());
    let metrics = metrics.map(|metric| metric.name.to_string());
    let particular = PARTICULAR.map(String::from);
    let names: BTreeSet<String> =
        tasks.into_iter().chain(architectures).chain(metrics).chain(particular).collect();
    let names: Vec<(String, Vec<String>)> =
        names.into_iter().map(|name| (name.clone(), words(&name))).collect();
    let mut found = BTreeSet::new();
    for (name, file) in source().iter().filter(|(_, f)| GENERAL.contains(&f.room())) {
        for token in &file.tokens {
            let (Token::Word(text) | Token::Text(text)) = token else { continue };
            let here = words(text);
            for (particular, words) in &names {
                let otherwise = OTHERWISE.iter().any(|(files, words)| {
                    name.starts_with(files) && words.contains(&particular.as_str())
                });
                let is_here = here.windows(words.len()).any(|part| part == words.as_slice());
                if is_here && !otherwise {
                    found.insert(format!("{name}: {particular}"));
                }
            }
        }
    }
    let known = |one: &String| NAMED.contains(&one.as_str());
    let new: Vec<&String> = found.iter().filter(|one| !known(one)).collect();
    assert!(new.is_empty(), "named where any task may be:\n{new:#?}");
    let gone: Vec<&&str> = NAMED.iter().filter(|one| !found.contains(**one)).collect();
    assert!(gone.is_empty(), "no more named, so take them out of the list:\n{gone:#?}");
}

/// A message that is put together elsewhere would not make text from a dataset printable.
#[test]
fn only_fault_prints_the_parts_of_a_message() {
    let parts = ["found:", "expected:", "where:", "help:"];
    let is_part = |line: &str| parts.iter().any(|part| line.trim_start().starts_with(part));
    let mut found = BTreeSet::new();
    for (name, file) in source().iter().filter(|(name, _)| *name != "error.rs") {
        for token in &file.tokens {
            let Token::Text(text) = token else { continue };
            if let Some(line) = text.split('\n').find(|line| is_part(line)) {
                found.insert(format!("{name}: {line}"));
            }
        }
    }
    assert!(found.is_empty(), "parts of a message that is no `Fault`:\n{found:#?}");
}

/// The test's own reading of Rust.
#[test]
fn source_is_read_as_rust_reads_it() {
    let text = r##"
        // use crate::comment::A;
        /* crate::outer /* crate::inner */ */
        use crate::a::{self, b::C, d::{E, F as G}};
        pub use super::h::*;
        const TEXT: &str = "crate::text \" //";
        const RAW: &str = r#"crate::raw " "#;
        const LINES: &str = "one\n  \
                             two\"";
        fn f<'a>(x: &'a char) -> bool { *x == '"' || *x == '\'' || crate::i::j(x) }
        #[cfg(test)]
        mod tests { use crate::tests::A; fn g() {} }
        #[cfg(test)]
        mod other_tests;
        fn behind() { self::k() }
    "##;
    let (kept, files) = without_tests(&tokens(text));
    assert_eq!(files, ["other_tests"]);
    let found: Vec<String> = paths(&kept)
        .iter()
        .map(|path| {
            format!("{}{}", if path.exported { "pub " } else { "" }, path.segments.join("::"))
        })
        .collect();
    let want = [
        "crate::a::self",
        "crate::a::b::C",
        "crate::a::d::E",
        "crate::a::d::F",
        "pub super::h::*",
        "crate::i::j",
        "self::k",
    ];
    assert_eq!(found, want);
    assert!(kept.contains(&Token::Text("crate::raw \" ".into())));
    assert!(kept.contains(&Token::Text("one\n  two ".into())));
    assert_eq!(words("ImageData::of_vit-b16"), ["image", "data", "of", "vit", "b16"]);
}
