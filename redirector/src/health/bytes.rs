//! Parts of bytes that are there whatever their number.

/// The first `count` bytes, or all if there are fewer.
pub(super) fn first(bytes: &[u8], count: usize) -> &[u8] {
    bytes.get(..count).unwrap_or(bytes)
}

/// What comes after the first `count` bytes; nothing if there are no more.
pub(super) fn after(bytes: &[u8], count: usize) -> &[u8] {
    bytes.get(count..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_parts_make_the_whole_at_any_count() {
        let whole = b"SOCKS";
        for count in 0..8 {
            let parts = [first(whole, count), after(whole, count)].concat();
            assert_eq!(parts, whole);
            assert_eq!(first(whole, count).len(), count.min(whole.len()));
        }
        assert!(after(whole, usize::MAX).is_empty());
    }
}
