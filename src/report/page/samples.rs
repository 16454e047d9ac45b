//! Test examples with the outputs of every arm.

use maud::{Markup, html};

use super::{line, notes};
use crate::report::samples::SampleOutputs;

/// Labels are as long as they are, so they are wrapped, as texts are.
const LABEL: &str = "width: 9rem; white-space: normal; overflow-wrap: anywhere";

/// A table for each example, one below the other.
pub fn samples(samples: &SampleOutputs) -> Markup {
    html! {
        h2 id="samples" { "Sample outputs" }
        (notes(&samples.notes))
        @for sample in &samples.examples {
            section {
                h3 { "Example " (sample.example) }
                table class="facts" style="width: 100%" {
                    tbody {
                        @for (name, text) in &sample.lines {
                            tr {
                                th style=(LABEL) { (line(name)) }
                                // Languages are written in either direction.
                                td dir="auto" { (line(text)) }
                            }
                        }
                    }
                }
            }
        }
    }
}
