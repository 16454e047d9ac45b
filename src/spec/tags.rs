//! The tags of a YAML text (`!!python/tuple`, `!include`), which the YAML crate does not report.
//!
//! Read from the events of libyaml, the parser below that crate, so that both see the same text in the
//! same way: an exclamation mark in a quoted text, a comment or a block of text is no tag.

use std::ffi::CStr;
use std::mem::MaybeUninit;

use unsafe_libyaml::{
    YAML_MAPPING_START_EVENT, YAML_NO_EVENT, YAML_SCALAR_EVENT, YAML_SEQUENCE_START_EVENT,
    YAML_STREAM_END_EVENT, yaml_event_delete, yaml_event_t, yaml_parser_delete,
    yaml_parser_initialize, yaml_parser_parse, yaml_parser_set_input_string, yaml_parser_t,
};

use super::position::Position;

/// The prefix of YAML's own tags, which is written `!!`.
const CORE: &str = "tag:yaml.org,2002:";

/// The first tag of a document, with the place of its value. None where there is none, or where the
/// text is no YAML, which the reader of the document says better.
pub fn first(text: &str) -> Option<(String, Position)> {
    // Parsing twice is for texts in which a tag could be.
    if !text.contains('!') {
        return None;
    }
    let mut parser = MaybeUninit::<yaml_parser_t>::uninit();
    let parser = parser.as_mut_ptr();
    // SAFETY: the parser is initialised before it is used, reads `text`, which outlives it, and is
    // deleted once, behind the last event. Each event is written by a call that succeeded, read while
    // it lasts, and deleted once.
    unsafe {
        if yaml_parser_initialize(parser).fail {
            return None;
        }
        yaml_parser_set_input_string(parser, text.as_ptr(), text.len() as u64);
        let found = first_of(parser);
        yaml_parser_delete(parser);
        found
    }
}

/// # Safety
/// The parser is initialised and has its input.
unsafe fn first_of(parser: *mut yaml_parser_t) -> Option<(String, Position)> {
    loop {
        let mut event = MaybeUninit::<yaml_event_t>::uninit();
        let event = event.as_mut_ptr();
        // SAFETY: of the parser by the caller; the event is there for the parser to write.
        if unsafe { yaml_parser_parse(parser, event) }.fail {
            return None;
        }
        // SAFETY: the call succeeded, so the event is written, and the part that its type names.
        let (kind, tag, mark) = unsafe {
            let kind = (*event).type_;
            let tag = match kind {
                YAML_SCALAR_EVENT => tag_text((*event).data.scalar.tag),
                YAML_SEQUENCE_START_EVENT => tag_text((*event).data.sequence_start.tag),
                YAML_MAPPING_START_EVENT => tag_text((*event).data.mapping_start.tag),
                _ => None,
            };
            let mark = (*event).start_mark;
            yaml_event_delete(event);
            (kind, tag, mark)
        };
        if let Some(tag) = tag {
            let position =
                Position { line: mark.line as usize + 1, column: mark.column as usize + 1 };
            return Some((tag, position));
        }
        if matches!(kind, YAML_STREAM_END_EVENT | YAML_NO_EVENT) {
            return None;
        }
    }
}

/// As it was written.
///
/// # Safety
/// The pointer is null, or to a text that ends in a zero byte.
unsafe fn tag_text(tag: *const u8) -> Option<String> {
    if tag.is_null() {
        return None;
    }
    // SAFETY: by the caller.
    let text = unsafe { CStr::from_ptr(tag.cast()) }.to_string_lossy();
    Some(match text.strip_prefix(CORE) {
        Some(name) => format!("!!{name}"),
        None => text.into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_found_wherever_a_value_stands_and_nowhere_else() {
        for (text, tag, place) in [
            ("seeds: !!python/tuple [0]\n", "!!python/tuple", (1, 8)),
            ("a: 1\nb: !mine {x: 1}\n", "!mine", (2, 4)),
            ("a: [1, !!str 2]\n", "!!str", (1, 8)),
            ("!!map {a: 1}\n", "!!map", (1, 1)),
            ("a:\n- &x !!int 3\n", "!!int", (2, 3)),
            ("a: ! x\n", "!", (1, 4)),
            ("!!str a: 1\n", "!!str", (1, 1)),
            ("a: !<tag:example.org:x> 1\n", "tag:example.org:x", (1, 4)),
        ] {
            let (line, column) = place;
            assert_eq!(first(text), Some((tag.into(), Position { line, column })), "{text}");
        }
        for text in [
            "a: 'x !y'\n",
            "a: \"!x\"\n",
            "# !x\na: b # !y\n",
            "a: |\n  !x\n  !!y\n",
            "a: >-\n  !x\n",
            "a: text\n  !goes on\n",
            "a: wow!\nb!: 1\n",
            "a: [b!, c]\n",
            "a: [\"!\n",
            "",
        ] {
            assert_eq!(first(text), None, "{text}");
        }
    }
}
