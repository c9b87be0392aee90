//! Names that our configuration takes.

use std::collections::HashSet;

/// Longest name, in bytes.
const LONGEST: usize = 63;

/// A name that is allowed, as like the written one as can be.
pub(super) fn allowed(written: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':');
    let name: String = written
        .chars()
        .map(|c| if allowed(c) { c } else { '-' })
        .take(LONGEST)
        .collect();
    if name.is_empty() {
        "unnamed".to_owned()
    } else {
        name
    }
}

/// Names of one kind, no two alike.
#[derive(Default)]
pub(super) struct Names(HashSet<String>);

impl Names {
    /// A name that is not taken: the written one if possible, else with `for_whom` behind it.
    pub(super) fn take(&mut self, written: &str, for_whom: &str) -> String {
        let plain = allowed(written);
        if self.0.insert(plain.clone()) {
            return plain;
        }
        let mut count = 1_u32;
        loop {
            let tail = match count {
                1 => format!("-{}", allowed(for_whom)),
                _ => format!("-{}-{count}", allowed(for_whom)),
            };
            let room = LONGEST.saturating_sub(tail.len());
            let name: String = plain.chars().take(room).chain(tail.chars()).collect();
            let name: String = name.chars().rev().take(LONGEST).collect();
            let name: String = name.chars().rev().collect();
            if self.0.insert(name.clone()) {
                return name;
            }
            count += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_where_they_can_be() {
        assert_eq!(allowed("socksservers"), "socksservers");
        assert_eq!(allowed("www é/2"), "www---2");
        assert_eq!(allowed(""), "unnamed");
        assert_eq!(allowed(&"x".repeat(100)).len(), LONGEST);
    }

    #[test]
    fn no_two_are_alike() {
        let mut names = Names::default();
        let taken = [
            names.take("hosts", "www"),
            names.take("hosts", "www"),
            names.take("hosts", "www"),
            names.take("hosts", "dns"),
        ];
        assert_eq!(taken, ["hosts", "hosts-www", "hosts-www-2", "hosts-dns"]);
        let long = "x".repeat(70);
        for _ in 0..20 {
            assert!(names.take(&long, &long).len() <= LONGEST);
        }
    }
}
