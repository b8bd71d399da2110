//! Tables as PyTorch writes them, and pickles that try something else.

use super::*;

/// Puts a pickle together from Python's names for the instructions.
#[derive(Default, Clone)]
struct Pickle(Vec<u8>);

impl Pickle {
    fn op(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    fn text(self, text: &str) -> Self {
        self.op(b"X").op(&(text.len() as u32).to_le_bytes()).op(text.as_bytes())
    }

    fn global(self, module: &str, name: &str) -> Self {
        self.op(format!("c{module}\n{name}\n").as_bytes())
    }

    /// A tensor `[2, 3]` in a storage of six elements.
    fn tensor(self, storage: &str, strides: [u8; 2]) -> Self {
        let id = self.global("torch._utils", "_rebuild_tensor_v2").op(b"((").text("storage");
        let view = id.global("torch", storage).text("0").text("cpu").op(b"K\x06tQ");
        view.op(b"K\x00K\x02K\x03\x86K")
            .op(&strides[..1])
            .op(b"K")
            .op(&strides[1..])
            .op(b"\x86\x89")
            .global("collections", "OrderedDict")
            .op(b")RtR")
    }

    fn table(storage: &str) -> Self {
        Self::default().op(b"\x80\x02}q\x00(").text("weight").tensor(storage, [3, 1]).op(b"u.")
    }
}

fn refusal(pickle: &Pickle) -> PickleError {
    read_tensors(&pickle.0).unwrap_err()
}

#[test]
fn a_table_of_tensors_is_read() {
    let tensors = read_tensors(&Pickle::table("HalfStorage").0).unwrap();
    let expected = PickledTensor {
        storage: PickledStorage { key: "0".into(), element: StoredElement::Float16, n_elements: 6 },
        offset: 0,
        shape: vec![2, 3],
        strides: vec![3, 1],
    };
    assert_eq!(tensors.into_iter().collect::<Vec<_>>(), [("weight".to_owned(), expected)]);
}

#[test]
fn parameters_ordered_dictionaries_and_metadata_are_read() {
    let parameter = Pickle::default()
        .op(b"\x80\x02")
        .global("collections", "OrderedDict")
        .op(b")Rq\x01")
        .text("bias")
        .global("torch._utils", "_rebuild_parameter")
        .tensor("FloatStorage", [3, 1])
        .op(b"\x88}\x87Rs")
        .op(b"}")
        .text("_metadata")
        .op(b"]\x8a\x01\xffasb.");
    assert_eq!(read_tensors(&parameter.0).unwrap()["bias"].shape, [2, 3]);
}

#[test]
fn names_that_tensors_do_not_need_are_refused_by_name() {
    let attacks = [
        ("os", "system"),
        ("posix", "system"),
        ("builtins", "eval"),
        ("__builtin__", "exec"),
        ("torch", "load"),
        ("torch._utils", "_import_dotted_name"),
        ("torch.FloatStorage", "__init__"),
        ("collections", "defaultdict"),
        ("", ""),
    ];
    for (module, name) in attacks {
        let expected = PickleError::Global { name: format!("{module}.{name}") };
        let by_line = Pickle::default().op(b"\x80\x02").global(module, name).text("rm -rf /").op(b"\x85R.");
        assert_eq!(refusal(&by_line), expected);
        let by_stack =
            Pickle::default().op(b"\x80\x04").text(module).text(name).op(b"\x93").text("x").op(b"\x85R.");
        assert_eq!(refusal(&by_stack), expected);
    }
}

#[test]
fn instructions_that_tensors_do_not_need_are_refused() {
    // INST, OBJ, NEWOBJ, NEWOBJ_EX, EXT1, EXT2, EXT4, PERSID, STRING, INT, DUP, POP, and bytes that are none.
    for code in *b"io\x81\x92\x82\x83\x84PSI20\x00\xff" {
        let refused = refusal(&Pickle::default().op(b"\x80\x02").op(&[code]).op(b"os\nsystem\n."));
        assert_eq!(refused, PickleError::Opcode { opcode: code, position: 2 });
    }
}

#[test]
fn calls_on_anything_but_an_allowed_name_are_refused() {
    let cases = [
        Pickle::default().text("system").op(b")R."),
        Pickle::default().global("torch", "FloatStorage").op(b")R."),
        Pickle::default().global("collections", "OrderedDict").text("x").op(b"\x85R."),
        Pickle::default().global("torch._utils", "_rebuild_parameter").text("x").op(b"NN\x87R."),
        Pickle::default().global("torch._utils", "_rebuild_tensor_v2").op(b"(NNNNtR."),
        Pickle::default().text("x").op(b"}b."),
        Pickle::default().text("x").op(b"Q."),
        Pickle::default().op(b"]."),
        Pickle::default().op(b"."),
        Pickle::default().op(b"t."),
        Pickle::default().op(b"(N\x85."),
        Pickle::default().op(b"}(Nu."),
        Pickle::default().op(b"h\x07."),
    ];
    for case in cases {
        assert!(matches!(refusal(&case), PickleError::Malformed { .. }), "{:?}", refusal(&case));
    }
}

#[test]
fn every_truncation_is_refused() {
    let whole = Pickle::table("BFloat16Storage").0;
    for end in 0..whole.len() {
        assert!(read_tensors(&whole[..end]).is_err(), "cut at {end}");
    }
}

#[test]
fn every_changed_byte_is_read_or_refused() {
    let whole = Pickle::table("FloatStorage").0;
    for position in 0..whole.len() {
        for byte in 0..=255 {
            let mut changed = whole.clone();
            changed[position] = byte;
            let _ = read_tensors(&changed);
        }
    }
}

#[test]
fn random_instructions_are_read_or_refused() {
    let codes = b"(.JKM\x8aGN\x88\x89X\x8c)t\x85\x86\x87]ae}sucRbQqr\x94hj\x80\x95\x93\x00\x01\x02\n";
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..20_000 {
        let mut pickle = b"\x80\x02}ccollections\nOrderedDict\n(".to_vec();
        for _ in 0..48 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            pickle.push(codes[(state % codes.len() as u64) as usize]);
        }
        let _ = read_tensors(&pickle);
    }
}

#[test]
fn claims_beyond_the_pickle_take_no_memory() {
    let long_text = Pickle::default().op(b"X\xff\xff\xff\xffabc");
    assert_eq!(refusal(&long_text), PickleError::Truncated { position: 8 });
    let many = Pickle::default().op(&vec![b'N'; MAX_OBJECTS + 1]);
    assert!(matches!(refusal(&many), PickleError::Limit { .. }));
    let deep = Pickle::default().op(&vec![b')'; 1000]).op(&vec![0x85; 200_000]);
    assert!(matches!(refusal(&deep), PickleError::Truncated { .. }));
    assert!(matches!(refusal(&Pickle(vec![b'N'; MAX_BYTES + 1])), PickleError::Limit { .. }));
}

#[test]
fn sizes_must_be_sizes() {
    let negative = Pickle::default().op(b"\x80\x02}(").text("w").tensor("FloatStorage", [3, 1]).op(b"u.");
    let position = negative.0.windows(2).position(|pair| pair == b"K\x02").unwrap();
    let mut bytes = negative.0;
    bytes.splice(position..position + 2, *b"J\xff\xff\xff\xff");
    assert!(matches!(
        read_tensors(&bytes).unwrap_err(),
        PickleError::Malformed { rule: "a size is negative", .. }
    ));
}
