//! The table `go_terms.tsv.gz`: one term a line, tab-separated, no quotes.
//!
//! `is_a` is a list with `;` between ids. `status` is `current`, `obsolete`, or `merged:GO:nnnnnnn` for an id that now
//! stands for another term; such a line may lack a namespace. Bioconductor's GO.db puts a parent `all` above the three
//! roots; it is no term and is passed over. Other columns are ignored.

use super::id::GoId;
use super::ontology::{Draft, Status, Term};
use crate::error::TextError;
use crate::table::{Row, Table};

const COLUMNS: [&str; 6] = ["go_id", "namespace", "name", "definition", "is_a", "status"];

/// Reads the rows.
pub(super) fn read(table: &mut Table) -> Result<Draft, TextError> {
    let mut places = [0; COLUMNS.len()];
    for (place, column) in places.iter_mut().zip(COLUMNS) {
        *place = table.needed(&[column])?;
    }
    let mut draft = Draft::default();
    while let Some(row) = table.next_row()? {
        add(&row, places, &mut draft).map_err(|rule| row.bad_row(rule))?;
    }
    Ok(draft)
}

fn add(row: &Row<'_>, places: [usize; COLUMNS.len()], draft: &mut Draft) -> Result<(), String> {
    let [id, namespace, name, definition, is_a, status] = places.map(|place| row.cell(place));
    let parse = |text: &str| text.parse::<GoId>().map_err(|error| error.to_string());
    let id = parse(id)?;
    if let Some(target) = status.strip_prefix("merged:") {
        draft.add_alias(id, parse(target)?);
        return Ok(());
    }
    let status = match status {
        "current" => Status::Current,
        "obsolete" => Status::Obsolete { replaced_by: None },
        other => return Err(format!("status {other:?}; write current, obsolete or merged:GO:nnnnnnn")),
    };
    if name.is_empty() {
        return Err(format!("{id} has no name"));
    }
    let parents = is_a.split(';').map(str::trim).filter(|parent| !matches!(*parent, "" | "all"));
    draft.add_term(Term {
        id,
        namespace: namespace.parse()?,
        name: name.to_owned(),
        definition: definition.to_owned(),
        is_a: parents.map(parse).collect::<Result<_, _>>()?,
        status,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Ontology;
    use super::*;
    use crate::input::tests::gzip;

    const HEADER: &str = "go_id\tnamespace\tname\tdefinition\tis_a\tstatus\tsource\n";
    const ROWS: &str = "GO:0000001\tbiological_process\troot\tTop.\tall\tcurrent\tGO.db\n\
        GO:0000002\tbiological_process\tchild\tBelow.\tGO:0000001\tcurrent\tGO.db\n\
        GO:0000003\tbiological_process\tgrandchild\t\tGO:0000002;GO:0000001\tcurrent\tGO.db\n\
        GO:0000004\t\told\t\t\tmerged:GO:0000005\tgo.obo\n\
        GO:0000005\tmolecular_function\tolder\t\t\tmerged:GO:0000003\tgo.obo\n\
        GO:0000006\tcellular_component\tgone\t\t\tobsolete\tgo.obo\n";

    fn read(rows: &str) -> Result<Ontology, TextError> {
        Ontology::from_table(std::io::Cursor::new(format!("{HEADER}{rows}")), "table")
    }

    fn id(number: u32) -> GoId {
        GoId::new(number).unwrap()
    }

    #[test]
    fn merged_ids_lead_to_their_term_and_ancestors_are_all_above() {
        let bytes = format!("{HEADER}{ROWS}");
        let crlf = bytes.replace('\n', "\r\n");
        for bytes in [bytes.clone().into_bytes(), crlf.into_bytes(), gzip(bytes.as_bytes())] {
            let ontology = Ontology::from_reader(std::io::Cursor::new(bytes), "table").unwrap();
            assert_eq!((ontology.len(), ontology.merged_ids().count()), (4, 2));
            assert_eq!(ontology.get(id(4)).unwrap().name, "grandchild");
            assert_eq!(ontology.ancestors(id(4)), [id(1), id(2)]);
            assert!(ontology.ancestors(id(1)).is_empty() && ontology.ancestors(id(99)).is_empty());
            assert!(ontology.get(id(6)).is_some() && ontology.current(id(6)).is_none());
            assert_eq!(ontology.get(id(99)), None);
        }
    }

    #[test]
    fn bad_rows_are_named_with_their_rule() {
        let cases = [
            ("GO:1\tbiological_process\ta\t\t\tcurrent\tx\n", "seven digits"),
            ("GO:0000001\tplace\ta\t\t\tcurrent\tx\n", "namespace"),
            ("GO:0000001\tbiological_process\ta\t\t\tmaybe\tx\n", "status"),
            ("GO:0000001\tbiological_process\t\t\t\tcurrent\tx\n", "no name"),
            ("GO:0000001\tbiological_process\ta\tcurrent\n", "columns"),
            ("GO:0000001\tbiological_process\ta\t\tGO:x\tcurrent\tx\n", "seven digits"),
        ];
        for (row, rule) in cases {
            let error = read(row).unwrap_err().to_string();
            assert!(error.contains("table, line 2: ") && error.contains(rule), "{error}");
        }
        let wholes = [
            ("", "no term"),
            ("GO:0000001\tbiological_process\ta\t\tGO:0000009\tcurrent\tx\n", "GO:0000001 names GO:0000009"),
        ];
        for (rows, rule) in wholes {
            assert!(read(rows).unwrap_err().to_string().contains(rule), "{rule}");
        }
        let circle = format!(
            "{ROWS}GO:0000007\t\ta\t\t\tmerged:GO:0000008\tx\nGO:0000008\t\ta\t\t\tmerged:GO:0000007\tx\n"
        );
        assert!(read(&circle).unwrap_err().to_string().contains("merged into"));
        assert!(read(&format!("{ROWS}{ROWS}")).unwrap_err().to_string().contains("line 8"));
        let error = Ontology::from_table(&b"go_id\tname\n"[..], "table").unwrap_err();
        assert!(error.to_string().contains("\"namespace\""), "{error}");
        assert!(matches!(
            Ontology::from_reader(&b"id,name\n"[..], "x"),
            Err(TextError::UnknownFormat { .. })
        ));
    }

    #[test]
    fn a_cut_file_is_refused() {
        let whole = gzip(format!("{HEADER}{ROWS}").as_bytes());
        let cut = std::io::Cursor::new(whole[..whole.len() - 9].to_vec());
        assert!(matches!(Ontology::from_reader(cut, "table"), Err(TextError::Read { .. })));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Ontology::from_reader(std::io::Cursor::new(bytes.clone()), "any");
            let _ = Ontology::from_table(std::io::Cursor::new([HEADER.as_bytes(), &bytes].concat()), "any");
        }

        #[test]
        fn any_cells_are_read_or_refused(
            rows in "((GO:000000[1-4]|x)\t(biological_process)?\ta\t\t((GO:000000[1-4];?)*|x)\t(current|obsolete|merged:GO:000000[1-4])\tx\n){0,5}",
        ) {
            if let Ok(ontology) = read(&rows) {
                for id in ontology.merged_ids().chain(ontology.terms().map(|term| term.id)) {
                    prop_assert!(ontology.get(id).is_some());
                    prop_assert!(ontology.ancestors(id).iter().all(|above| ontology.get(*above).is_some()));
                }
            }
        }
    }
}
