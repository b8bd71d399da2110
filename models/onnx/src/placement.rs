//! Where the runtime has put the nodes of a graph.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char};
use std::ptr;

use ort::AsPointer as _;
use ort::session::Session;
use ort::sys::OrtStatusPtr;

/// Asks a session to remember; without it [`nodes_by_provider`] is empty.
pub(crate) const REMEMBER: &str = "session.record_ep_graph_assignment_info";

/// Nodes of a session by the provider that runs them, or nothing where the runtime does not tell.
pub(crate) fn nodes_by_provider(session: &Session) -> BTreeMap<String, usize> {
    let mut nodes = BTreeMap::new();
    let api = ort::api();
    let (mut parts, mut n_parts) = (ptr::null(), 0);
    // SAFETY: the session is alive, and both places take what the function writes.
    let told =
        unsafe { (api.Session_GetEpGraphAssignmentInfo)(session.ptr(), &raw mut parts, &raw mut n_parts) };
    if !is_done(told) || parts.is_null() {
        return nodes;
    }
    for index in 0..n_parts {
        let (mut name, mut inside, mut n_inside): (*const c_char, _, _) = (ptr::null(), ptr::null(), 0);
        // SAFETY: the runtime gave an array of so many parts, which lives as long as the session.
        let part = unsafe { *parts.add(index) };
        // SAFETY: the part is the runtime's own, and the place takes what the function writes.
        let named = unsafe { (api.EpAssignedSubgraph_GetEpName)(part, &raw mut name) };
        // SAFETY: as above.
        let counted = unsafe { (api.EpAssignedSubgraph_GetNodes)(part, &raw mut inside, &raw mut n_inside) };
        if is_done(named) && is_done(counted) && !name.is_null() {
            // SAFETY: a string of the runtime's that ends in zero and lives as long as the session.
            let name = unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned();
            *nodes.entry(name).or_insert(0) += n_inside;
        }
    }
    nodes
}

/// True if a call succeeded; a status is given back either way.
fn is_done(status: OrtStatusPtr) -> bool {
    let is_done = status.0.is_null();
    if !is_done {
        // SAFETY: the status is the runtime's, and nobody has given it back yet.
        unsafe { (ort::api().ReleaseStatus)(status.0) };
    }
    is_done
}
