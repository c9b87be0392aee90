//! Reads the keys of one TOML table, and knows afterwards which ones nobody asked for.

use std::ops::Range;

use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Complaint, Findings};
use super::suggest::nearest;

/// A table that is being read.
pub(super) struct Section<'t> {
    what: String,
    at: Range<usize>,
    table: &'t DeTable<'t>,
    asked: Vec<&'static str>,
}

impl<'t> Section<'t> {
    /// `what` is how reports name the table, `at` the place that stands for it.
    pub(super) fn new(what: impl Into<String>, at: Range<usize>, table: &'t DeTable<'t>) -> Self {
        Self {
            what: what.into(),
            at,
            table,
            asked: Vec::new(),
        }
    }

    /// The place that stands for the table.
    pub(super) fn place(&self) -> Range<usize> {
        self.at.clone()
    }

    /// Whether there is such a key.
    /// Whether the key is there and its value is a table.
    pub(super) fn holds_table(&self, key: &str) -> bool {
        let value = self.table.get(key);
        value.is_some_and(|value| matches!(value.get_ref(), DeValue::Table(_)))
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// The value of an optional key.
    pub(super) fn value(&mut self, key: &'static str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.asked.push(key);
        self.table.get(key)
    }

    /// An optional text; `like` is an example for whoever wrote something else.
    pub(super) fn text(
        &mut self,
        key: &'static str,
        like: &str,
        findings: &mut Findings,
    ) -> Option<Spanned<String>> {
        text(self.value(key)?, key, like, findings)
    }

    /// An optional whole number.
    pub(super) fn integer(
        &mut self,
        key: &'static str,
        findings: &mut Findings,
    ) -> Option<Spanned<i64>> {
        let value = self.value(key)?;
        let DeValue::Integer(integer) = value.get_ref() else {
            wrong_type(value, key, "a whole number", findings);
            return None;
        };
        let number = i64::from_str_radix(integer.as_str(), integer.radix())
            .map_err(|_| Complaint::new(format!("`{key}` is too large a number")));
        findings
            .check(value.span(), number)
            .map(|number| Spanned::new(value.span(), number))
    }

    /// An optional `true` or `false`.
    pub(super) fn flag(&mut self, key: &'static str, findings: &mut Findings) -> Option<bool> {
        let value = self.value(key)?;
        let DeValue::Boolean(flag) = value.get_ref() else {
            wrong_type(value, key, "true or false", findings);
            return None;
        };
        Some(*flag)
    }

    /// An optional list.
    pub(super) fn list(
        &mut self,
        key: &'static str,
        like: &str,
        findings: &mut Findings,
    ) -> Option<(Range<usize>, &'t [Spanned<DeValue<'t>>])> {
        let value = self.value(key)?;
        let DeValue::Array(array) = value.get_ref() else {
            wrong_type(value, key, &format!("a list such as {like}"), findings);
            return None;
        };
        Some((value.span(), array))
    }

    /// An optional list of texts.
    pub(super) fn texts(
        &mut self,
        key: &'static str,
        like: &str,
        findings: &mut Findings,
    ) -> Option<Spanned<Vec<Spanned<String>>>> {
        let (at, list) = self.list(key, like, findings)?;
        let texts: Vec<_> = list
            .iter()
            .filter_map(|item| {
                let DeValue::String(text) = item.get_ref() else {
                    let expected = format!("a list of strings such as {like}");
                    wrong_type(item, key, &expected, findings);
                    return None;
                };
                Some(Spanned::new(item.span(), text.to_string()))
            })
            .collect();
        // What was written has been reported; it must not be called empty as well.
        if texts.is_empty() && !list.is_empty() {
            return None;
        }
        Some(Spanned::new(at, texts))
    }

    /// An optional table.
    pub(super) fn section(
        &mut self,
        key: &'static str,
        what: impl Into<String>,
        findings: &mut Findings,
    ) -> Option<Section<'t>> {
        self.asked.push(key);
        let (name, value) = self.table.get_key_value(key)?;
        let DeValue::Table(table) = value.get_ref() else {
            wrong_type(value, key, "a table", findings);
            return None;
        };
        Some(Section::new(what, name.span(), table))
    }

    /// The tables in an optional table of them (`[pool.NAME]`), in the order of the text.
    pub(super) fn sections(
        &mut self,
        key: &'static str,
        findings: &mut Findings,
    ) -> Vec<(Spanned<String>, Section<'t>)> {
        let Some(outer) = self.section(key, key, findings) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for (name, value) in outer.table {
            let text = name.get_ref().to_string();
            let what = format!("[{key}.{text}]");
            if let DeValue::Table(table) = value.get_ref() {
                let section = Section::new(what, name.span(), table);
                found.push((Spanned::new(name.span(), text), section));
            } else {
                let expected = format!("a table, as in [{key}.NAME]");
                wrong_type(value, &format!("{key}.{text}"), &expected, findings);
            }
        }
        found.sort_by_key(|(name, _)| name.span().start);
        found
    }

    /// Reports a key that must be there and is not.
    pub(super) fn require(&self, key: &str, help: &str, findings: &mut Findings) {
        if !self.has(key) {
            let complaint = Complaint::new(format!("`{key}` is missing in {}", self.what));
            findings.add(self.at.clone(), complaint.help(help));
        }
    }

    /// Reports every key that nobody asked for.
    pub(super) fn finish(self, findings: &mut Findings) {
        for key in self.table.keys() {
            let name: &str = key.get_ref();
            if self.asked.contains(&name) {
                continue;
            }
            let help = nearest(name, self.asked.iter().copied()).map_or_else(
                || format!("known here: {}", self.asked.join(", ")),
                |meant| format!("did you mean `{meant}`?"),
            );
            let complaint = Complaint::new(format!("unknown key `{name}` in {}", self.what));
            findings.add(key.span(), complaint.help(help));
        }
    }
}

/// A text, or a report that it is something else.
pub(super) fn text(
    value: &Spanned<DeValue<'_>>,
    key: &str,
    like: &str,
    findings: &mut Findings,
) -> Option<Spanned<String>> {
    if let DeValue::String(text) = value.get_ref() {
        return Some(Spanned::new(value.span(), text.to_string()));
    }
    wrong_type(value, key, &format!("a string such as {like}"), findings);
    None
}

/// Reports a value of another type than the expected one.
pub(super) fn wrong_type(
    value: &Spanned<DeValue<'_>>,
    key: &str,
    expected: &str,
    findings: &mut Findings,
) {
    let found = match value.get_ref() {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    let complaint = Complaint::new(format!("`{key}` must be {expected}; this is {found}"));
    findings.add(value.span(), complaint);
}
