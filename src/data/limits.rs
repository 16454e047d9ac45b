//! How much a file may grow to in memory.

/// Every column has a name, a type and a builder, however few bytes it takes in the file.
const MOST_COLUMNS: usize = 10_000;
/// A row of 100 bytes may leave 1,600 columns empty.
const CELLS_A_BYTE: usize = 16;
/// Whatever a file's own size.
const ALWAYS_CELLS: usize = 1_000_000;

/// Refuses a table whose cells a file of `bytes` (as it is stored) cannot hold if it was not made to
/// fill the memory: by a new key in every line, by pages that repeat one value.
pub fn cells(columns: usize, rows: usize, bytes: usize) -> Result<(), String> {
    if columns > MOST_COLUMNS {
        return Err(format!(
            "there are too many columns\n  found:    {columns}\n  expected: at most {MOST_COLUMNS}"
        ));
    }
    let most = bytes.saturating_mul(CELLS_A_BYTE).saturating_add(ALWAYS_CELLS);
    if rows.saturating_mul(columns) > most {
        return Err(format!(
            "there are too many values for the file's size\n  found:    {rows} rows of {columns} \
             columns in {bytes} bytes\n  expected: at most {most} values: this is taken for a \
             decompression bomb"
        ));
    }
    Ok(())
}

/// How many bytes a Parquet file's values may unfold to.
pub fn unfolded(bytes: usize) -> usize {
    bytes.saturating_mul(1000).saturating_add(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_grow_with_their_files() {
        assert!(cells(10_000, 100, 0).is_ok());
        assert!(cells(10_001, 0, usize::MAX).is_err());
        assert!(cells(100, 10_001, 0).is_err());
        assert!(cells(100, 10_001, 7).is_ok());
        assert!(cells(2, usize::MAX, usize::MAX / 64).is_err());
        assert_eq!(unfolded(usize::MAX), usize::MAX);
    }
}
