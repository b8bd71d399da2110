//! Filters and keywords over a snapshot and over later writes: both must say the same, and say what is wrong.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;
use protext_core::JointVector;
use protext_index::store::{restore, verify};
use protext_index::{
    Collection, CollectionBuilder, Filter, FilterFault, HnswParams, IndexError, IndexKind, Keywords,
    KeywordsError, MAX_FILTER_DEPTH, OpenOptions, Record, Store, StoreOptions, Taxonomy, Upsert, Verify,
    View, ViewSearch,
};
use support::{clustered, space};

const DIM: usize = 6;
/// Mammals and a plant, as NCBI has them, with the steps between left out.
const NODES: &str = "1|1|no rank|\n2759|1|domain|\n33208|2759|kingdom|\n7711|33208|phylum|\n40674|7711|class|\n\
    9606|40674|species|\n10090|40674|species|\n3702|2759|species|\n";

fn taxonomy() -> Taxonomy {
    Taxonomy::read(NODES.as_bytes()).unwrap()
}

fn vector(row: usize) -> JointVector {
    let values = (0..DIM).map(|at| ((row * 7 + at * 3) as f32).sin() + 0.01).collect();
    JointVector::normalized(values).unwrap()
}

fn record(id: &str, description: &str, gene: &str, taxon: u32, length: u32) -> Record {
    let organism = match taxon {
        9606 => "Homo sapiens",
        10090 => "Mus musculus",
        _ => "Arabidopsis thaliana",
    };
    Record {
        id: id.into(),
        description: description.into(),
        organism: Some(organism.into()),
        taxon_id: Some(taxon),
        gene: Some(gene.to_owned()).filter(|gene| !gene.is_empty()),
        length,
        source: Some("test.fasta".into()),
        fields: [("pe".to_owned(), (length % 5).to_string())].into(),
        ..Record::default()
    }
}

fn proteins() -> Vec<Record> {
    let mut all = vec![
        record("P07327", "Alcohol dehydrogenase 1A", "ADH1A", 9606, 375),
        record("P00325", "All-trans-retinol dehydrogenase ADH1B", "ADH1B", 9606, 375),
        record("P00329", "Alcohol dehydrogenase 1", "Adh1", 10090, 375),
        record("P06525", "Alcohol dehydrogenase class-P", "ADH1", 3702, 379),
        record("P69905", "Hemoglobin subunit alpha", "HBA1", 9606, 142),
        record("P01942", "Hemoglobin subunit alpha", "Hba", 10090, 142),
        record("P0DP23", "Calmodulin-1", "CALM1", 9606, 149),
        record("Q9XXXX", "Uncharacterized protein", "", 9606, 88),
    ];
    all[6].fields.insert("ec".into(), "2.7.11.17".into());
    all[6].fields.insert("Resolution".into(), "2.50".into());
    all[7].organism = None;
    all[7].taxon_id = None;
    all
}

fn collection(records: &[Record], taxonomy: Option<Taxonomy>) -> Collection {
    let mut builder = CollectionBuilder::new(space(DIM), IndexKind::Exact).unwrap();
    taxonomy.into_iter().for_each(|taxonomy| builder.set_taxonomy(taxonomy));
    for (row, record) in records.iter().enumerate() {
        builder.push(record.clone(), &vector(row)).unwrap();
    }
    builder.build(&mut |_| {}).unwrap()
}

fn upserts(records: &[Record]) -> Vec<Upsert> {
    let upsert =
        |(row, record): (usize, &Record)| Upsert { record: record.clone(), vectors: vec![vector(row)] };
    records.iter().enumerate().map(upsert).collect()
}

fn by_hand() -> StoreOptions {
    StoreOptions { compact_after: None, ..StoreOptions::default() }
}

/// The same records in memory, in a snapshot that is mapped, and as writes over a snapshot of half of them.
fn three_ways(records: &[Record], taxonomy: Option<&Taxonomy>) -> (Vec<tempfile::TempDir>, Vec<Arc<View>>) {
    let held = collection(records, taxonomy.cloned());
    let (stored, written) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    held.save(stored.path()).unwrap();
    let options = OpenOptions { verify: Verify::Lengths, expected_space: None };
    let stored_view = View::from(Collection::open_with(stored.path(), &options).unwrap());
    // The first half is there as it was before, the second half is new; one record is gone.
    let mut early = records[..records.len() / 2].to_vec();
    early.iter_mut().for_each(|record| record.description = "earlier words".into());
    early.push(Record { id: "gone".into(), description: "gone".into(), ..Record::default() });
    collection(&early, taxonomy.cloned()).save(written.path()).unwrap();
    let store = Store::open_with(written.path(), by_hand()).unwrap();
    store.upsert(upserts(records)).unwrap();
    store.delete(["gone"]).unwrap();
    let views = vec![Arc::new(View::from(held)), Arc::new(stored_view), store.view()];
    (vec![stored, written], views)
}

fn selected(view: &View, filter: &str) -> Result<BTreeSet<String>, IndexError> {
    let selection = view.select_where(&Filter::parse(filter)?)?;
    let search = ViewSearch::new(1_000).within(&selection);
    let hits = view.search(&space(DIM), &vector(0), &search)?;
    assert_eq!(hits.len(), selection.count());
    Ok(hits.into_iter().map(|hit| hit.record.id.clone()).collect())
}

#[test]
fn filters_select_what_they_say_in_memory_on_disk_and_in_later_writes() {
    let (_dirs, views) = three_ways(&proteins(), Some(&taxonomy()));
    let table: [(&str, &[&str]); 24] = [
        ("taxon = 9606 and length > 300", &["P07327", "P00325"]),
        ("organism = \"homo SAPIENS\" and not gene in (ADH1A, 'adh1b')", &["P69905", "P0DP23"]),
        ("gene = adh1", &["P00329", "P06525"]),
        ("gene != adh1 and length = 142", &["P69905", "P01942"]),
        ("not gene exists", &["Q9XXXX"]),
        ("organism exists and taxon exists and length < 143", &["P69905", "P01942"]),
        ("length between 140 and 149 and taxon != 10090", &["P69905", "P0DP23"]),
        ("length not between 100 and 400", &["Q9XXXX"]),
        ("length >= 379 or (taxon_id = 9606 and length <= 149 and length > 142)", &["P06525", "P0DP23"]),
        ("taxon under 40674 and length = 142", &["P69905", "P01942"]),
        ("taxon under 2759 and not taxon under 7711", &["P06525"]),
        ("taxon not under 1", &["Q9XXXX"]),
        ("taxon under 9606 and length > 149", &["P07327", "P00325"]),
        ("ec = 2.7.11.17", &["P0DP23"]),
        ("ec exists", &["P0DP23"]),
        ("resolution = 2.5", &["P0DP23"]),
        ("resolution = \"2.5\"", &[]),
        ("RESOLUTION < 3 and resolution between 2 and 2.6", &["P0DP23"]),
        ("pe >= 4 and taxon = 9606", &["P0DP23"]),
        ("id in (P69905, p01942)", &["P69905"]),
        ("name = 'calmodulin-1' and source = TEST.fasta", &["P0DP23"]),
        ("description < b and gene < ADH1B", &["P07327", "P00329", "P06525"]),
        ("gene = \"hba\" or gene == HBA1", &["P01942", "P69905"]),
        ("id = nobody", &[]),
    ];
    for (filter, expected) in table {
        let expected: BTreeSet<String> = expected.iter().map(|&id| id.to_owned()).collect();
        for (way, view) in views.iter().enumerate() {
            assert_eq!(selected(view, filter).unwrap(), expected, "{filter}, way {way}");
            // Asked again, the answer comes from what was kept.
            assert_eq!(selected(view, filter).unwrap(), expected, "{filter}, way {way}");
        }
    }
}

#[test]
fn what_is_wrong_with_a_filter_is_named_with_its_place() {
    let table = [
        ("", 1, "empty"),
        ("   ", 1, "empty"),
        ("length >", 9, "a value belongs here, not the end"),
        ("length > 3 gene = x", 12, "`and`, `or` or the end belongs here, not \"gene\""),
        ("(length > 3", 12, "`and`, `or` or `)` belongs here, not the end"),
        ("length ! 3", 8, "`!=` or `not`"),
        ("gene = \"ADH", 8, "not closed"),
        ("gene in ADH1", 9, "`(` with values"),
        ("gene in (ADH1 ADH2)", 15, "`,` or `)`"),
        ("gene in ()", 10, "a value"),
        ("length between 3 or 4", 18, "`and` with the upper end"),
        ("and", 1, "a field belongs here, not \"and\""),
        ("\u{e9}\u{e9} = ) ", 6, "a value belongs here, not `)`"),
        ("gene = a\0b", 9, "NUL"),
        ("gene", 5, "`exists` belongs here, not the end"),
        ("not", 4, "a field"),
    ];
    for (filter, at, says) in table {
        let error = Filter::parse(filter).unwrap_err();
        assert!(error.at == at && error.to_string().contains(says), "{filter:?}: {error}");
    }
    let deep = |n: usize| format!("{}length > 1{}", "(".repeat(n), ")".repeat(n));
    assert!(Filter::parse(&deep(MAX_FILTER_DEPTH)).is_ok());
    for filter in [deep(MAX_FILTER_DEPTH + 1), deep(60_000), "not ".repeat(30_000) + "length > 1"] {
        let fault = Filter::parse(&filter).unwrap_err().fault;
        assert!(matches!(fault, FilterFault::TooDeep { .. }), "{fault}");
    }
    let long = Filter::parse(&"x".repeat(200_000)).unwrap_err().fault;
    assert!(matches!(long, FilterFault::TooLong { .. }));
    let many = format!("id in ({}x)", "x,".repeat(21_000));
    assert!(matches!(Filter::parse(&many).unwrap_err().fault, FilterFault::TooMany { .. }));
    // A long chain is no deep one.
    let chain = vec!["length > 1"; 5_000].join(" or ");
    let (_dirs, views) = three_ways(&proteins(), None);
    views.iter().for_each(|view| assert_eq!(selected(view, &chain).unwrap().len(), 8));
}

#[test]
fn fields_values_and_taxa_that_are_not_there_are_named() {
    let (_with, with) = three_ways(&proteins(), Some(&taxonomy()));
    let (_without, without) = three_ways(&proteins(), None);
    let refused = |views: &[Arc<View>], filter: &str| -> Vec<String> {
        let refuse = |view: &Arc<View>| match selected(view, filter) {
            Err(IndexError::Filter(error)) => error.to_string(),
            other => panic!("{filter}: {other:?}"),
        };
        views.iter().map(refuse).collect()
    };
    for said in refused(&with, "length > 3 and organsim = x") {
        assert!(
            said.contains("character 16") && said.contains("\"organsim\"") && said.contains("organism"),
            "{said}"
        );
        assert!(said.contains("ec, pe, resolution"), "{said}");
    }
    for said in refused(&with, "length = long") {
        assert!(said.contains("character 10") && said.contains("length is a number"), "{said}");
    }
    refused(&with, "taxon under 77")
        .iter()
        .for_each(|said| assert!(said.contains("taxon 77 is not in"), "{said}"));
    refused(&with, "taxon under human")
        .iter()
        .for_each(|said| assert!(said.contains("taxon is a number"), "{said}"));
    refused(&with, "gene under 9606")
        .iter()
        .for_each(|said| assert!(said.contains("takes the field taxon"), "{said}"));
    refused(&without, "taxon under 9606")
        .iter()
        .for_each(|said| assert!(said.contains("--taxonomy"), "{said}"));
}

#[test]
fn without_free_fields_the_own_ones_are_listed_and_other_names_are_understood() {
    let view = View::from(support::collection("P", &clustered(9, DIM, 9), IndexKind::Exact));
    assert_eq!(selected(&view, "taxon_id = 9606 and length > 3").unwrap().len(), 3);
    assert_eq!(selected(&view, "name >= alcohol").unwrap().len(), 9);
    let refused = selected(&view, "pe = 1").unwrap_err().to_string();
    assert!(
        refused.ends_with("there is: id, description, organism, taxon, gene, length, source"),
        "{refused}"
    );
}

#[test]
fn keywords_find_what_was_built_in_and_what_was_written_later() {
    let (_dirs, views) = three_ways(&proteins(), None);
    let found = |view: &View, words: &str, filter: Option<&str>| -> Vec<String> {
        let selection = filter.map(|filter| view.select_where(&Filter::parse(filter).unwrap()).unwrap());
        let hits = view.search_keywords(&Keywords::parse(words).unwrap(), 10, selection.as_ref()).unwrap();
        assert!(
            hits.windows(2).all(|pair| pair[0].score >= pair[1].score)
                && hits.iter().all(|hit| hit.score > 0.0)
        );
        hits.iter().map(|hit| hit.entry.record().unwrap().id.clone()).collect()
    };
    for view in &views {
        let ids = found(view, "alcohol dehydrogenase", None);
        assert_eq!(ids.len(), 4, "{ids:?}");
        assert_eq!(ids[3], "P00325", "the one that holds one of the words comes last");
        assert_eq!(found(view, "HEMOGLOBIN \u{3b1}", Some("taxon = 9606")), ["P69905"]);
        assert_eq!(found(view, "calm1", None), ["P0DP23"], "genes are words, too");
        assert!(
            found(view, "gone earlier nothing", None).is_empty(),
            "replaced and deleted records are not found"
        );
        // Whatever comes is words, never a command.
        for words in [
            "dehydrogenase\" OR \"",
            "dehydrogenase*",
            "NEAR(dehydrogenase)",
            "-dehydrogenase",
            "text:dehydrogenase",
            "dehydrogenase AND NOT",
            "'; DROP TABLE record; -- dehydrogenase",
            "^dehydrogenase + {",
            "dehydrogenase\0",
        ] {
            assert_eq!(found(view, words, None).len(), 4, "{words}");
        }
    }
    assert_eq!(Keywords::parse("\"'();*"), Err(KeywordsError::NoWords));
}

#[test]
fn scores_in_memory_and_in_the_snapshot_are_the_same() {
    let words = ["kinase", "alcohol", "dehydrogenase", "subunit", "zinc", "of", "alpha", "caf\u{e9}"];
    let described = |row: usize| {
        let n_words = 1 + row % 7;
        let word = |at: usize| words[(row * 31 + at * at * 17 + at) % words.len()];
        Record {
            id: format!("P{row}"),
            description: (0..n_words).map(word).collect::<Vec<_>>().join("-"),
            text: row.is_multiple_of(3).then(|| word(row).repeat(2)),
            ..Record::default()
        }
    };
    let records: Vec<_> = (0..200).map(described).collect();
    let held = collection(&records, None);
    let dir = tempfile::tempdir().unwrap();
    held.save(dir.path()).unwrap();
    let (held, stored) = (View::from(held), View::from(Collection::open(dir.path()).unwrap()));
    for query in
        ["kinase", "alcohol of", "zinc subunit alpha caf\u{e9}", "kinasekinase dehydrogenase", "nothing"]
    {
        let keywords = Keywords::parse(query).unwrap();
        let scores = |view: &View| -> Vec<(String, f64)> {
            let hits = view.search_keywords(&keywords, 1_000, None).unwrap();
            hits.iter().map(|hit| (hit.entry.record().unwrap().id.clone(), hit.score)).collect()
        };
        let (in_memory, on_disk) = (scores(&held), scores(&stored));
        assert_eq!(in_memory.len(), on_disk.len(), "{query}");
        let by_id: std::collections::HashMap<_, _> = on_disk.into_iter().collect();
        for (id, score) in in_memory {
            assert!(
                (by_id[&id] - score).abs() < 1e-9 * score.max(1.0),
                "{query}: {id} {score} {}",
                by_id[&id]
            );
        }
    }
}

#[test]
fn compaction_copies_and_restarts_keep_what_is_known_of_records() {
    let dir = tempfile::tempdir().unwrap();
    let all = proteins();
    collection(&all[..4], Some(taxonomy())).save(dir.path()).unwrap();
    let store = Store::open_with(dir.path(), by_hand()).unwrap();
    store.upsert(upserts(&all[4..])).unwrap();
    let expected: Vec<Record> =
        store.view().entries().map(|entry| Record::clone(&entry.record().unwrap())).collect();
    assert_eq!(
        expected[6].fields.get("resolution").map(String::as_str),
        Some("2.50"),
        "names are in lower case"
    );
    let check = |view: &View| {
        let records: Vec<Record> =
            view.entries().map(|entry| Record::clone(&entry.record().unwrap())).collect();
        assert_eq!(records, expected);
        assert_eq!(selected(view, "taxon under 7711 and length < 150").unwrap().len(), 3);
        assert_eq!(
            view.search_keywords(&Keywords::parse("alpha subunit").unwrap(), 9, None).unwrap().len(),
            2
        );
        assert_eq!(view.first_of_gene("calm1").unwrap().unwrap().record().unwrap().id, "P0DP23");
    };
    check(&store.view());
    let copy = tempfile::tempdir().unwrap();
    assert!(store.backup_to(copy.path().join("live")).unwrap().is_sound());
    check(&Store::read(copy.path().join("live"), &OpenOptions::default()).unwrap());
    store.compact(&mut |_| {}).unwrap();
    assert_eq!(store.view().n_changes(), 0);
    check(&store.view());
    drop(store);
    check(&Store::open_with(dir.path(), by_hand()).unwrap().view());
    assert!(restore(dir.path(), copy.path().join("again")).unwrap().is_sound());
    check(&Store::read(copy.path().join("again"), &OpenOptions::default()).unwrap());
    assert!(verify(dir.path()).unwrap().is_sound());
    // Bad fields refuse their batch.
    let store = Store::open_with(dir.path(), by_hand()).unwrap();
    let mut bad = all[0].clone();
    bad.fields.insert("Organism".into(), "x".into());
    let refused = store.upsert(upserts(&[all[1].clone(), bad])).unwrap_err().to_string();
    assert!(refused.contains("record 2") && refused.contains("organism"), "{refused}");
}

/// A text over a few letters, or a number: so that values meet.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        "[aAbB\u{e9}]{0,3}",
        "[aAbBzZ_\u{e9} \"\\\\']{1,4}",
        (-3..4_i32).prop_map(|number| number.to_string()),
        (-3..4_i32).prop_map(|number| format!("{number}.50")),
    ]
}

fn any_record(row: usize) -> impl Strategy<Value = Record> {
    let fields = proptest::collection::btree_map("f[12]", value(), 0..3);
    let taxon = proptest::option::of(prop_oneof![Just(9606_u32), Just(10090), Just(3702), Just(5)]);
    let known = (proptest::option::of(value()), proptest::option::of(value()), value());
    (known, taxon, 0..4_u32, fields).prop_map(
        move |((organism, gene, description), taxon_id, length, fields)| Record {
            id: format!("{}{row}", ["a", "A", "b"][row % 3]),
            description,
            organism,
            gene,
            taxon_id,
            length,
            fields,
            ..Record::default()
        },
    )
}

fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

fn any_condition() -> impl Strategy<Value = String> {
    let text_field =
        prop::sample::select(vec!["id", "organism", "gene", "description", "f1", "f2", "source"]);
    let number_field = prop::sample::select(vec!["length", "taxon", "f1", "f2"]);
    let sign = prop::sample::select(vec!["=", "!=", "<", "<=", ">", ">="]);
    let number =
        prop_oneof![(-3..5_i32).prop_map(|n| n.to_string()), Just("9606".to_owned()), Just("2.5".to_owned())];
    prop_oneof![
        (text_field.clone(), sign.clone(), value())
            .prop_map(|(field, sign, with)| format!("{field} {sign} {}", quoted(&with))),
        (number_field.clone(), sign, number.clone())
            .prop_map(|(field, sign, with)| format!("{field} {sign} {with}")),
        (text_field.clone(), value(), value()).prop_map(|(field, one, other)| format!(
            "{field} in ({}, {})",
            quoted(&one),
            quoted(&other)
        )),
        (text_field.clone(), value(), value()).prop_map(|(field, low, high)| format!(
            "{field} between {} and {}",
            quoted(&low),
            quoted(&high)
        )),
        (number_field, number.clone(), number)
            .prop_map(|(field, low, high)| format!("{field} between {low} and {high}")),
        text_field.prop_map(|field| format!("{field} exists")),
        prop::sample::select(vec![
            "length exists",
            "taxon exists",
            "taxon under 40674",
            "taxon under 3702",
            "taxon under 1"
        ])
        .prop_map(str::to_owned),
    ]
}

fn any_filter() -> impl Strategy<Value = String> {
    any_condition().prop_recursive(4, 12, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|one| format!("not ({one})")),
            (inner.clone(), inner.clone()).prop_map(|(one, other)| format!("({one}) and ({other})")),
            (inner.clone(), inner).prop_map(|(one, other)| format!("{one} or {other}")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn tables_and_records_in_memory_agree_on_every_filter(
        records in (0..14_usize).map(any_record).collect::<Vec<_>>(),
        filters in proptest::collection::vec(any_filter(), 40),
    ) {
        // Both fields are known everywhere, whatever the records have.
        let mut records = records;
        records[0].fields = [("f1".to_owned(), "a".to_owned()), ("f2".to_owned(), "1".to_owned())].into();
        let (_dirs, views) = three_ways(&records, Some(&taxonomy()));
        for filter in &filters {
            let in_memory = selected(&views[0], filter).unwrap();
            for view in &views[1..] {
                prop_assert_eq!(&selected(view, filter).unwrap(), &in_memory, "{}", filter);
            }
        }
    }

    #[test]
    fn no_filter_and_no_keyword_panics(text in "\\PC{0,60}", words in ".{0,60}") {
        let (_dirs, views) = three_ways(&proteins(), None);
        if let Ok(filter) = Filter::parse(&text) {
            views.iter().for_each(|view| drop(view.select_where(&filter)));
        }
        if let Ok(keywords) = Keywords::parse(&words) {
            views.iter().for_each(|view| drop(view.search_keywords(&keywords, 3, None).unwrap()));
        }
    }
}

/// From 5 allowed rows of 20,000 to all of them, by chance and in one corner of the space: what a search under a
/// filter finds is held against comparing with every allowed row.
#[test]
fn filtered_searches_find_what_comparing_finds() {
    let (n, dim) = (20_000, 16);
    let vectors = clustered(n, dim, 5);
    let mut builder = CollectionBuilder::new(space(dim), IndexKind::Hnsw(HnswParams::default())).unwrap();
    for (row, vector) in vectors.iter().enumerate() {
        let fields = [("lot".to_owned(), (row * 7_919 % n).to_string())].into();
        builder.push(Record { fields, ..support::record("P", row) }, vector).unwrap();
    }
    let view = View::from(builder.build(&mut |_| {}).unwrap());
    let queries = clustered(40, dim, 6);
    for n_allowed in [5, 50, 500, 2_000, 5_000, 10_000, 15_000, 20_000] {
        let chosen = view.select_where(&Filter::parse(&format!("lot < {n_allowed}")).unwrap()).unwrap();
        assert_eq!(chosen.count(), n_allowed);
        let (mut n_found, mut n_true) = (0, 0);
        for query in &queries {
            let found = view.nearest(&space(dim), query, &ViewSearch::new(10).within(&chosen)).unwrap();
            let truth =
                view.nearest(&space(dim), query, &ViewSearch::new(10).within(&chosen).exactly()).unwrap();
            assert_eq!(found.len(), n_allowed.min(10));
            // Rows with one cosine are as good as each other.
            let worst = truth.last().unwrap().cosine;
            n_true += truth.len();
            n_found += found.iter().filter(|hit| hit.cosine >= worst).count();
        }
        let recall = n_found as f64 / n_true as f64;
        assert!(recall >= 0.99, "{n_allowed} allowed: recall {recall}");
    }
}
