//! YAML experiment specs as typed, validated values.
//!
//! A document has a common part (the fields of a run: [`RunSpec`]), `arms` that override
//! it, an optional `sweep` (a grid over any field of a run) and `seeds`. [`load`] reads one
//! into an [`Experiment`]: the variants under comparison, each fully resolved. Every error
//! names the file, the line, the field, what was found and what was expected.

mod adapted;
mod arms;
mod claims;
mod de;
mod document;
mod document_kind;
mod error;
mod expand;
mod experiment;
mod fields;
mod hints;
mod identity;
mod language_tokenizer;
mod load;
mod matching;
mod no_training;
mod node;
mod normalise;
mod origin;
mod position;
mod precision;
mod repository;
mod requested_precision;
mod resolve;
mod schema;
mod slurm;
mod split;
mod sweep;
mod syntax;
mod tags;
mod target;
mod tuning;
mod unused;
mod validate;
mod ways_of_sharing;
mod wording;
mod yaml;
mod yaml_traps;

pub use adapted::{ClassMatch, Conversion, Kept, Resampled, Unnamed};
pub use claims::{CheckKind, ClaimCheck, Claims, Margin, PublishedClaim};
pub use error::{SpecError, nearest};
pub use experiment::{Experiment, Variant, agree};
pub use fields::is_known as is_field;
pub use identity::{
    ChangedField, NUMERICS_VERSION, SpecIdentity, changed_field, comparable_fields, flatten, hex,
    identifying_fields, left_out_at, source_fields,
};
pub use load::{load, load_for, parse, parse_for};
pub use matching::{MatchBy, Matched};
pub use position::Position;
pub use precision::{DeviceKind, Precision};
pub use repository::{HUB_NAME, HUB_PREFIX, HubName};
pub use schema::*;
pub use slurm::{SlurmSpec, TimeLimit, option_fault, time_fault, value_fault};
pub use validate::{EMBEDDED_DATASETS, validate_model};
pub use ways_of_sharing::{WayOfSharing, shares_nothing, ways_of_sharing};
pub use wording::{last_field, shorten};
pub use yaml::yaml_to_json;
