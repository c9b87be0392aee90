//! Versions of compilers and of the packages that hold them.

use std::fmt;

/// The first two numbers of a version, which are all that decides whether a compiler will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    /// 1 in 1.96.
    pub(crate) major: u32,
    /// 96 in 1.96.
    pub(crate) minor: u32,
}

impl Version {
    /// Reads `1.96.0`, `1.97.0-nightly` or a Debian version such as `1:1.96.0+dfsg1-1`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let upstream = text.split_once(':').map_or(text, |(_epoch, rest)| rest);
        let mut numbers = upstream
            .split(|c: char| !c.is_ascii_digit())
            .map(str::parse::<u32>);
        Some(Self {
            major: numbers.next()?.ok()?,
            minor: numbers.next()?.ok()?,
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compilers_and_packages_tell_the_same_version() {
        let expected = Some(Version {
            major: 1,
            minor: 96,
        });
        for text in [
            "1.96.0",
            "1.96.0-nightly",
            "1.96.0+dfsg1-1~deb12u2",
            "1:1.96.0-2",
        ] {
            assert_eq!(Version::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_not_a_version_is_none() {
        for text in ["", "(none)", "1", "x.1"] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }

    #[test]
    fn minor_versions_are_compared_as_numbers() {
        assert!(Version::parse("1.100.0") > Version::parse("1.88.0"));
    }
}
