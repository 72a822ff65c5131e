//! Changes of clients' files.

use crate::show::strangers::{print, say};
use hubcap_clients::{Change, InNode};

/// Prints what would be changed, as a diff.
pub(crate) fn print_diff<'a>(changes: impl IntoIterator<Item = &'a Change>) {
    for change in changes {
        print(&change.diff());
    }
}

/// Prints which files were written, changed or removed.
pub(crate) fn print_done<'a>(changes: impl IntoIterator<Item = &'a Change>) {
    for change in changes.into_iter().filter(|change| !change.is_empty()) {
        let did = match (&change.current, &change.wanted) {
            (_, None) => "removed",
            (None, Some(_)) => "wrote",
            (Some(_), Some(_)) => "changed",
        };
        say!("{did} {}", change.path.display());
    }
}

/// Prints what would be changed in a node, as a diff.
pub(crate) fn print_diff_in(InNode { node, changes }: &InNode) {
    say!("# in the node {node}");
    print_diff(changes);
}

/// Prints which files of a node were written, changed or removed.
pub(crate) fn print_done_in(InNode { node, changes }: &InNode) {
    say!("in the node {node}:");
    print_done(changes);
}
