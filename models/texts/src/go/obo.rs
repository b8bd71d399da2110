//! OBO flat files: stanzas `[Term]` with one `tag: value` a line.
//!
//! Read are `id`, `name`, `namespace`, `def`, `is_a`, `alt_id`, `is_obsolete` and `replaced_by`, and the header's
//! `default-namespace`; other tags and stanzas are passed over. Source: OBO Flat File Format 1.4, as `go-basic.obo`
//! uses it.

use super::id::GoId;
use super::ontology::{Draft, Namespace, Status, Term};
use crate::error::TextError;
use crate::input::Input;

/// Which stanza a line belongs to.
enum Place {
    Header,
    Term(Box<Stanza>),
    Other,
}

/// A `[Term]` as far as it was read.
#[derive(Default)]
struct Stanza {
    id: Option<GoId>,
    name: Option<String>,
    namespace: Option<Namespace>,
    definition: String,
    is_a: Vec<GoId>,
    alt_ids: Vec<GoId>,
    is_obsolete: bool,
    replaced_by: Option<GoId>,
}

/// Reads a file whose first line may have been taken already.
pub(super) fn read(input: &mut Input, first: Option<String>) -> Result<Draft, TextError> {
    let mut draft = Draft::default();
    let mut place = Place::Header;
    let mut default_namespace = None;
    let mut line = first.unwrap_or_default();
    let mut is_read = !line.is_empty();
    loop {
        if !is_read {
            input.begin_record();
            is_read = input.next_line(&mut line)?;
        }
        let text = line.trim();
        if !is_read || text.starts_with('[') {
            if let Place::Term(stanza) = place {
                stanza.finish(default_namespace, &mut draft).map_err(|rule| input.bad_line(rule))?;
            }
            if !is_read {
                return Ok(draft);
            }
            place = if text.starts_with("[Term]") { Place::Term(Box::default()) } else { Place::Other };
        } else if !(text.is_empty() || text.starts_with('!')) {
            let read = match &mut place {
                Place::Header => header(text, &mut default_namespace),
                Place::Term(stanza) => stanza.read(text),
                Place::Other => Ok(()),
            };
            read.map_err(|rule| input.bad_line(rule))?;
        }
        is_read = false;
    }
}

fn header(line: &str, default_namespace: &mut Option<Namespace>) -> Result<(), String> {
    let (tag, value) = split_tag(line)?;
    if tag == "default-namespace" {
        // go-basic.obo says "gene_ontology", which is none of the three and leaves each term to name its own.
        *default_namespace = value.parse().ok();
    }
    Ok(())
}

fn split_tag(line: &str) -> Result<(&str, &str), String> {
    let (tag, value) = line.split_once(':').ok_or("no tag; a line is \"tag: value\"")?;
    Ok((tag.trim(), value.trim()))
}

impl Stanza {
    fn read(&mut self, line: &str) -> Result<(), String> {
        let (tag, value) = split_tag(line)?;
        match tag {
            "id" if self.id.is_some() => return Err("a second id; [Term] is missing before it".to_owned()),
            "id" => self.id = Some(go_id(value)?),
            "name" => self.name = Some(unescaped(before_comment(value))),
            "namespace" => self.namespace = Some(before_comment(value).parse()?),
            "def" => self.definition = quoted(value)?,
            "is_a" => self.is_a.push(go_id(value)?),
            "alt_id" => self.alt_ids.push(go_id(value)?),
            "is_obsolete" => self.is_obsolete = before_comment(value) == "true",
            "replaced_by" => self.replaced_by = self.replaced_by.or(Some(go_id(value)?)),
            _ => {}
        }
        Ok(())
    }

    fn finish(self, default_namespace: Option<Namespace>, draft: &mut Draft) -> Result<(), String> {
        let id = self.id.ok_or("the [Term] that ends here has no id")?;
        let namespace =
            self.namespace.or(default_namespace).ok_or_else(|| format!("{id} has no namespace"))?;
        let name = self.name.filter(|name| !name.is_empty()).ok_or_else(|| format!("{id} has no name"))?;
        for alias in self.alt_ids {
            draft.add_alias(alias, id);
        }
        let status = match self.is_obsolete {
            true => Status::Obsolete { replaced_by: self.replaced_by },
            false => Status::Current,
        };
        draft.add_term(Term { id, namespace, name, definition: self.definition, is_a: self.is_a, status })
    }
}

/// The id before modifiers and comments: `GO:0005739 {source="x"} ! mitochondrion`.
fn go_id(value: &str) -> Result<GoId, String> {
    let id = value.split([' ', '\t', '{', '!']).next().unwrap_or_default();
    id.parse().map_err(|error: super::GoIdError| error.to_string())
}

/// What stands before an unescaped `!`.
fn before_comment(value: &str) -> &str {
    let end = value.match_indices('!').find(|(at, _)| value[..*at].ends_with(' ')).map(|(at, _)| at);
    value[..end.unwrap_or(value.len())].trim_end()
}

/// The text between the first two quotation marks that are not escaped.
fn quoted(value: &str) -> Result<String, String> {
    let text = value.strip_prefix('"').ok_or("a definition starts with a quotation mark")?;
    let mut is_escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            '"' if !is_escaped => return Ok(unescaped(&text[..at])),
            '\\' => is_escaped = !is_escaped,
            _ => is_escaped = false,
        }
    }
    Err("the definition has no closing quotation mark".to_owned())
}

/// Without backslashes; line breaks and tabs become a space.
fn unescaped(value: &str) -> String {
    let mut plain = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n' | 't' | 'W') => plain.push(' '),
                Some(escaped) => plain.push(escaped),
                None => plain.push('\\'),
            },
            _ => plain.push(c),
        }
    }
    plain.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Ontology;
    use super::*;

    const OBO: &str = r#"format-version: 1.2
data-version: releases/2026-01-01
default-namespace: gene_ontology
! a comment

[Term]
id: GO:0008150
name: biological_process
namespace: biological_process
alt_id: GO:0000004
alt_id: GO:0007582
def: "A \"program\"\, with an end\: \\ and a\nbreak." [GOC:pdt, "http://x"] {comment="c"}
comment: not read

[Term]
id: GO:0000002 ! trailing
name: mitochondrial genome \!maintenance! ! trailing
namespace: biological_process
is_a: GO:0008150 {is_inferred="true"} ! biological_process
relationship: part_of GO:0008150 ! biological_process

[Term]
id: GO:0000005
name: obsolete ribosomal chaperone activity
namespace: molecular_function
def: "" []
is_obsolete: true
replaced_by: GO:0000002

[Term]
id: GO:0000006
name: obsolete for good
namespace: molecular_function
is_obsolete: true

[Typedef]
id: part_of
name: part of
namespace: external
"#;

    fn read(obo: &str) -> Result<Ontology, TextError> {
        Ontology::from_obo(std::io::Cursor::new(obo.to_owned()), "obo")
    }

    fn id(number: u32) -> GoId {
        GoId::new(number).unwrap()
    }

    #[test]
    fn terms_alternative_ids_escapes_and_replacements() {
        for obo in [OBO.to_owned(), OBO.replace('\n', "\r\n")] {
            let ontology = read(&obo).unwrap();
            assert_eq!(ontology.len(), 4);
            assert_eq!(ontology.get(id(4)).unwrap().id, id(8150));
            let root = ontology.get(id(8150)).unwrap();
            assert_eq!(root.definition, "A \"program\", with an end: \\ and a break.");
            assert_eq!(ontology.get(id(2)).unwrap().name, "mitochondrial genome !maintenance!");
            assert_eq!(ontology.ancestors(id(2)), [id(8150)]);
            assert_eq!(ontology.get(id(5)).unwrap().name, "obsolete ribosomal chaperone activity");
            assert_eq!(ontology.current(id(5)).unwrap().id, id(2));
            assert_eq!(ontology.current(id(6)), None);
            assert_eq!(Ontology::from_reader(std::io::Cursor::new(obo), "x").unwrap(), ontology);
        }
    }

    #[test]
    fn broken_stanzas_are_named_with_line_and_rule() {
        let term = "[Term]\nid: GO:0000001\nname: a\nnamespace: biological_process\n";
        let cases = [
            ("[Term]\nname: a\n".to_owned(), "no id"),
            ("[Term]\nid: GO:0000001\nnamespace: biological_process\n".to_owned(), "no name"),
            ("[Term]\nid: GO:0000001\nname: a\n".to_owned(), "no namespace"),
            ("[Term]\nid: CHEBI:1\n".to_owned(), "line 2: \"CHEBI:1\""),
            (format!("{term}def: no quotes\n"), "line 5: a definition"),
            (format!("{term}def: \"open\\\"\n"), "closing"),
            (format!("{term}nonsense\n"), "tag: value"),
            (format!("{term}id: GO:0000002\n"), "second id"),
            (format!("{term}{term}"), "second time"),
            (format!("{term}is_a: GO:0000009\n"), "names GO:0000009"),
            (format!("{term}replaced_by: GO:0000009\nis_obsolete: true\n"), "names GO:0000009"),
            ("format-version: 1.2\n".to_owned(), "no term"),
            (String::new(), "no term"),
        ];
        for (obo, rule) in cases {
            let error = read(&obo).unwrap_err().to_string();
            assert!(error.contains(rule), "{obo}: {error}");
        }
    }

    #[test]
    fn replacements_in_a_circle_end() {
        let one = |id, other| {
            format!(
                "[Term]\nid: {id}\nname: a\nnamespace: biological_process\nis_obsolete: true\nreplaced_by: {other}\n"
            )
        };
        let ontology =
            read(&[one("GO:0000001", "GO:0000002"), one("GO:0000002", "GO:0000001")].concat()).unwrap();
        assert_eq!(ontology.current(id(1)), None);
    }

    proptest! {
        #[test]
        fn any_lines_are_read_or_refused(
            lines in "((\\[Term\\]|id: GO:000000[1-3]|name: (\\\\|!|a)*|def: \"?(\\\\|\"|a)*|is_a: GO:000000[1-3]|alt_id: GO:000000[1-3]|namespace: biological_process|is_obsolete: true|replaced_by: GO:000000[1-3])\n){0,20}",
            noise in "\\PC{0,40}",
        ) {
            let _ = read(&lines);
            let _ = read(&format!("{lines}{noise}"));
        }
    }
}
