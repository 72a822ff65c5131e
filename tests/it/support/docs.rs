//! Tables of the documents that a test writes: with HUBCAP_WRITE_DOCS=1 they are written, else compared.

use std::path::Path;

/// The table after the mark `<!-- name -->` in a document of `docs/`, up to `<!-- end -->`, is this one.
pub(crate) fn assert_table(document: &str, name: &str, table: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(document);
    let text = std::fs::read_to_string(&path).expect("the document");
    let mark = format!("<!-- {name} -->\n");
    let (before, rest) = text.split_once(&mark).expect("the table's begin");
    let (documented, after) = rest.split_once("<!-- end -->").expect("the table's end");
    if std::env::var_os("HUBCAP_WRITE_DOCS").is_some() {
        std::fs::write(&path, format!("{before}{mark}{table}<!-- end -->{after}")).expect("written");
    } else {
        assert_eq!(documented, table, "docs/{document} is out of date: run with HUBCAP_WRITE_DOCS=1");
    }
}
