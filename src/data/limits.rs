//! Limits on a file's size in memory.

use crate::error::{Fault, Result};

/// Columns at most. Each one has a name, a type and a builder, even if it takes few bytes in the
/// file.
const MAX_COLUMNS: usize = 10_000;
/// Values per byte of a file at most. A row of 100 bytes may have 1,600 columns, most of them
/// empty.
const CELLS_PER_BYTE: usize = 16;
/// Values that are always allowed, even in a small file.
const ALWAYS_CELLS: usize = 1_000_000;

/// Errors if a table has too many values for a stored file of `bytes`. Such a file was made to fill
/// the memory, for example by a new key in every line or by pages that repeat one value.
pub fn check_cells(columns: usize, rows: usize, bytes: usize) -> Result<()> {
    if columns > MAX_COLUMNS {
        return Err(Fault::new("there are too many columns")
            .found(columns)
            .expected(format!("at most {MAX_COLUMNS}"))
            .into());
    }
    let most = bytes.saturating_mul(CELLS_PER_BYTE).saturating_add(ALWAYS_CELLS);
    if rows.saturating_mul(columns) > most {
        return Err(Fault::new("there are too many values for the file's size")
            .found(format!("{rows} rows of {columns} columns in {bytes} bytes"))
            .expected(format!("at most {most} values: this is taken for a decompression bomb"))
            .into());
    }
    Ok(())
}

/// Unpacked bytes that the values of a Parquet file of `bytes` may have at most.
pub fn max_unpacked(bytes: usize) -> usize {
    bytes.saturating_mul(1000).saturating_add(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_grow_with_the_file() {
        assert!(check_cells(10_000, 100, 0).is_ok());
        assert!(check_cells(10_001, 0, usize::MAX).is_err());
        assert!(check_cells(100, 10_001, 0).is_err());
        assert!(check_cells(100, 10_001, 7).is_ok());
        assert!(check_cells(2, usize::MAX, usize::MAX / 64).is_err());
        assert_eq!(max_unpacked(usize::MAX), usize::MAX);
    }
}
