//! Finds the tags of a YAML text (`!!python/tuple`, `!include`), which the YAML crate does not
//! report.
//!
//! They are read from the events of libyaml, the parser used by that crate, so that both parse the
//! text in the same way. An exclamation mark in a quoted text, a comment or a block scalar is not a
//! tag.

use std::ffi::CStr;
use std::mem::MaybeUninit;

use unsafe_libyaml::{
    YAML_MAPPING_START_EVENT, YAML_NO_EVENT, YAML_SCALAR_EVENT, YAML_SEQUENCE_START_EVENT,
    YAML_STREAM_END_EVENT, yaml_event_delete, yaml_event_t, yaml_parser_delete,
    yaml_parser_initialize, yaml_parser_parse, yaml_parser_set_input_string, yaml_parser_t,
};

use super::position::Position;

/// The prefix of YAML's own tags, abbreviated `!!`.
const CORE: &str = "tag:yaml.org,2002:";

/// The first tag of a document, with the position of its value. None without tags, and for a text
/// that is not YAML, which the document reader reports better.
pub fn first(text: &str) -> Option<(String, Position)> {
    // Only a text that may have a tag is parsed twice.
    if !text.contains('!') {
        return None;
    }
    let mut parser = MaybeUninit::<yaml_parser_t>::uninit();
    let parser = parser.as_mut_ptr();
    // SAFETY: the parser is initialised before use, reads `text`, which outlives it, and is deleted
    // once, after the last event. Each event is written by a successful call, read while it lives,
    // and deleted once.
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
        // SAFETY: the caller guarantees the parser; the event is memory for the parser to write.
        if unsafe { yaml_parser_parse(parser, event) }.fail {
            return None;
        }
        // SAFETY: the call succeeded, so the event and the variant of its type are initialised.
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

/// The tag as it was written.
///
/// # Safety
/// The pointer is null or points to a zero-terminated text.
unsafe fn tag_text(tag: *const u8) -> Option<String> {
    if tag.is_null() {
        return None;
    }
    // SAFETY: guaranteed by the caller.
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
    fn only_tags_of_values_are_found() {
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
