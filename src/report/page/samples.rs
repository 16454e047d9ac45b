//! Test examples with the outputs of every arm.

use maud::{Markup, html};

use super::{line, notes};
use crate::report::samples::SampleOutputs;

/// A table for each example. A text is as long as it is, so its lines are wrapped.
const WRAPPED: &str = "white-space: normal; overflow-wrap: anywhere; vertical-align: top";

/// One example below the other.
pub fn samples(samples: &SampleOutputs) -> Markup {
    html! {
        h2 id="samples" { "Sample outputs" }
        (notes(&samples.notes))
        @for sample in &samples.examples {
            section {
                h3 { "Example " (sample.example) }
                table style="width: 100%" {
                    tbody {
                        @for (name, text) in &sample.lines {
                            tr {
                                th style=(format!("{WRAPPED}; width: 12rem; font-weight: normal")) {
                                    (line(name))
                                }
                                // Languages are written in either direction.
                                td dir="auto" style=(WRAPPED) { (line(text)) }
                            }
                        }
                    }
                }
            }
        }
    }
}
