//! UniProt's XML: `<uniprot>` with `<entry>` after `<entry>`.
//!
//! Source: `uniprot.xsd`. Elements are told by their path below `<entry>`; everything else is passed over. Entities
//! other than the five of XML are refused, so a document type cannot make a text grow.

use quick_xml::XmlVersion;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::{Error, Reader};

use super::entry::{Entry, FunctionText, filled};
use crate::error::TextError;
use crate::input::Input;

/// Deepest nesting read; real entries have eight levels.
const MAX_DEPTH: usize = 32;

/// Reads entries.
#[derive(Debug)]
pub(super) struct XmlReader {
    xml: Reader<Input>,
    buffer: Vec<u8>,
    /// Open elements, local names.
    open: Vec<String>,
    /// Whether the outermost element was seen.
    is_begun: bool,
}

/// An entry as far as it was read.
#[derive(Debug, Default)]
struct Draft {
    entry: Entry,
    submitted_name: Option<String>,
    /// Attribute `type` of the open `name`.
    name_kind: String,
    /// Attribute `type` of the open `comment`.
    comment_kind: String,
    molecule: Option<String>,
    texts: Vec<String>,
    text: String,
    stated_len: Option<usize>,
}

impl XmlReader {
    pub(super) fn new(input: Input) -> Self {
        let mut xml = Reader::from_reader(input);
        xml.config_mut().expand_empty_elements = true;
        Self { xml, buffer: Vec::new(), open: Vec::new(), is_begun: false }
    }

    /// The next entry; `None` at the end.
    pub(super) fn read_entry(&mut self) -> Result<Option<Entry>, TextError> {
        self.xml.get_mut().begin_record();
        let mut draft: Option<Draft> = None;
        loop {
            self.buffer.clear();
            let event = self.xml.read_event_into(&mut self.buffer);
            let step = match event {
                Err(error) => return Err(wrong_xml(self.xml.get_mut(), error)),
                Ok(event) => step(event, &mut self.open, &mut draft),
            };
            match step {
                Ok(Step::Next) => self.check_root()?,
                Ok(Step::Done(entry)) => return Ok(Some(*entry)),
                Ok(Step::End) if self.is_begun && self.open.is_empty() => return Ok(None),
                Ok(Step::End) => {
                    let element = self.open.last().map_or("uniprot", String::as_str);
                    let rule = format!("the file ends before </{element}>; fetch it again");
                    return Err(self.xml.get_mut().bad_record(rule));
                }
                Err(Wrong::Xml(error)) => return Err(wrong_xml(self.xml.get_mut(), error)),
                Err(Wrong::Rule(rule)) => return Err(self.xml.get_mut().bad_record(rule)),
            }
        }
    }
}

impl XmlReader {
    /// Pages of other kinds, such as a proxy's HTML, must not pass for a file without entries.
    fn check_root(&mut self) -> Result<(), TextError> {
        let Some(root) = self.open.first().filter(|_| !self.is_begun) else { return Ok(()) };
        if !matches!(root.as_str(), "uniprot" | "entry") {
            let found = format!("<{}>", root.chars().take(40).collect::<String>());
            let input = self.xml.get_mut().name().to_owned();
            let known = "XML whose outermost element is <uniprot>";
            return Err(TextError::UnknownFormat { input, found, known });
        }
        self.is_begun = true;
        Ok(())
    }
}

enum Step {
    Next,
    Done(Box<Entry>),
    End,
}

enum Wrong {
    Xml(Error),
    Rule(String),
}

impl<E: Into<Error>> From<E> for Wrong {
    fn from(error: E) -> Self {
        Self::Xml(error.into())
    }
}

fn wrong_xml(input: &Input, error: Error) -> TextError {
    match error {
        Error::Io(source) => {
            let source = std::sync::Arc::try_unwrap(source);
            input.broken(source.unwrap_or_else(std::io::Error::other))
        }
        error => {
            TextError::Xml { input: input.name().to_owned(), record: input.record(), source: Box::new(error) }
        }
    }
}

fn step(event: Event<'_>, open: &mut Vec<String>, draft: &mut Option<Draft>) -> Result<Step, Wrong> {
    match event {
        Event::Start(element) => {
            let name = element.local_name().as_ref().to_owned();
            if open.len() >= MAX_DEPTH {
                return Err(Wrong::Rule(format!("elements are nested deeper than {MAX_DEPTH}")));
            }
            match draft {
                None if name == "entry" => *draft = Some(Draft::default()),
                None => {}
                Some(_) if name == "entry" => return Err(Wrong::Rule("<entry> inside <entry>".to_owned())),
                Some(draft) => {
                    open.push(name);
                    draft.begin(&path(open), &element)?;
                    return Ok(Step::Next);
                }
            }
            open.push(name);
        }
        Event::End(_) => {
            let path = path(open);
            let name = open.pop();
            if name.as_deref() == Some("entry")
                && let Some(draft) = draft.take()
            {
                return Ok(Step::Done(Box::new(draft.finish().map_err(Wrong::Rule)?)));
            }
            if let Some(draft) = draft {
                draft.end(&path).map_err(Wrong::Rule)?;
            }
        }
        Event::Text(text) => push(draft, &text.xml_content(XmlVersion::default())),
        Event::CData(text) => push(draft, &text.xml_content(XmlVersion::default())),
        Event::GeneralRef(reference) => push(draft, &resolved(&reference)?),
        Event::Eof => return Ok(Step::End),
        Event::Empty(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
    }
    Ok(Step::Next)
}

/// Names of the open elements below `<entry>`, with `/` between them.
fn path(open: &[String]) -> String {
    let below = open.iter().position(|name| name == "entry").map_or(open.len(), |at| at + 1);
    open[below..].join("/")
}

fn push(draft: &mut Option<Draft>, text: &str) {
    if let Some(draft) = draft {
        draft.text.push_str(text);
    }
}

fn resolved(reference: &BytesRef<'_>) -> Result<String, Wrong> {
    if let Some(character) = reference.resolve_char_ref()? {
        return Ok(character.to_string());
    }
    let entity = resolve_xml_entity(reference).map(str::to_owned);
    entity.ok_or_else(|| {
        let name: String = reference.chars().take(40).collect();
        Wrong::Rule(format!("entity &{name}; is none of the five that XML has"))
    })
}

fn attribute(element: &BytesStart<'_>, name: &str) -> Result<Option<String>, Wrong> {
    let Some(attribute) = element.try_get_attribute(name)? else { return Ok(None) };
    Ok(Some(attribute.normalized_value(XmlVersion::default())?.into_owned()))
}

impl Draft {
    fn begin(&mut self, path: &str, element: &BytesStart<'_>) -> Result<(), Wrong> {
        self.text.clear();
        match path {
            "comment" => {
                self.comment_kind = attribute(element, "type")?.unwrap_or_default();
                self.molecule = None;
                self.texts.clear();
            }
            "gene/name" | "organism/name" => self.name_kind = attribute(element, "type")?.unwrap_or_default(),
            "dbReference" if attribute(element, "type")?.as_deref() == Some("GO") => {
                let id = attribute(element, "id")?.unwrap_or_default();
                let id = id.parse().map_err(|error: crate::go::GoIdError| Wrong::Rule(error.to_string()))?;
                self.entry.go_terms.push(id);
            }
            "organism/dbReference" if attribute(element, "type")?.as_deref() == Some("NCBI Taxonomy") => {
                let id = attribute(element, "id")?.unwrap_or_default();
                let id =
                    id.parse().map_err(|_| Wrong::Rule("a taxon id is a number below 2^32".to_owned()))?;
                self.entry.taxon_id = Some(id);
            }
            "sequence" => {
                let length = attribute(element, "length")?;
                let length = length.map(|length| length.parse()).transpose();
                self.stated_len =
                    length.map_err(|_| Wrong::Rule("the length of a sequence is a number".to_owned()))?;
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, path: &str) -> Result<(), String> {
        let is_function = self.comment_kind == "function";
        let text = filled(&self.text);
        let entry = &mut self.entry;
        match path {
            "accession" if entry.accession.is_empty() => entry.accession = text.unwrap_or_default(),
            "name" => entry.entry_name = text,
            "protein/recommendedName/fullName" => entry.protein_name = text,
            "protein/submittedName/fullName" => self.submitted_name = self.submitted_name.take().or(text),
            "gene/name" if self.name_kind == "primary" => entry.gene = entry.gene.take().or(text),
            "organism/name" if self.name_kind == "scientific" => entry.organism = text,
            "comment/molecule" => self.molecule = text,
            "comment/text" => self.texts.extend(text),
            "comment" if is_function && !self.texts.is_empty() => {
                let text = std::mem::take(&mut self.texts).join(" ");
                entry.functions.push(FunctionText { molecule: self.molecule.take(), text });
            }
            "sequence" => {
                entry.sequence = Some(self.text.chars().filter(|c| !c.is_whitespace()).collect());
            }
            _ => {}
        }
        self.text.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<Entry, String> {
        self.entry.protein_name = self.entry.protein_name.take().or(self.submitted_name);
        self.entry.check(self.stated_len)?;
        Ok(self.entry)
    }
}
