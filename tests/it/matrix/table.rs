//! The table of clients in docs/clients.md.

use super::client::Client;
use super::{build, buildkit, containerd, cri, docker, podman};
use crate::support::docs::assert_table;

/// A row: what is tried, and the test that tries it.
struct Row {
    client: &'static Client,
    test: String,
}

/// A row of this client, with the name of its test.
fn row<Test: Fn()>(client: &'static Client, _: Test) -> Row {
    let name = std::any::type_name::<Test>();
    Row { client, test: name.split_once("::").map_or(name, |(_, name)| name).to_owned() }
}

fn rows() -> [Row; 19] {
    [
        row(&docker::DEBIAN_12, docker::dockerd_20_10_is_served),
        row(&docker::OWN_STORE, docker::dockerd_28_with_its_own_store_is_served),
        row(&docker::CONTAINERD_STORE, docker::dockerd_28_with_containerds_store_is_served),
        row(&build::DEBIAN_12, build::docker_build_of_dockerd_20_10_is_served),
        row(&build::OWN_STORE, build::docker_build_of_dockerd_28_is_served),
        row(&build::CONTAINERD_STORE, build::docker_buildx_build_of_dockerd_28_is_served),
        row(&buildkit::PLAYED, buildkit::a_builder_of_buildx_is_served),
        row(&containerd::DEBIAN_12, containerd::containerd_1_6_by_ctr_is_served),
        row(&containerd::DEBIAN_13, containerd::containerd_1_7_by_ctr_is_served),
        row(&containerd::SID, containerd::containerd_2_1_by_ctr_is_served),
        row(&cri::DEBIAN_12, cri::containerd_1_6_by_cri_is_served),
        row(&cri::DEBIAN_13, cri::containerd_1_7_by_cri_is_served),
        row(&cri::SID, cri::containerd_2_1_by_cri_is_served),
        row(&podman::PODMAN_4, podman::podman_4_is_served),
        row(&podman::PODMAN_5, podman::podman_5_is_served),
        row(&podman::BUILDAH_1_28, podman::buildah_1_28_is_served),
        row(&podman::BUILDAH_1_43, podman::buildah_1_43_is_served),
        row(&podman::SKOPEO_1_9, podman::skopeo_1_9_is_served),
        row(&podman::SKOPEO_1_22, podman::skopeo_1_22_is_served),
    ]
}

#[test]
fn the_document_has_a_row_for_each_client() {
    let mut table = String::from(
        "| client | version tried | image store | what uses hubcap | proven | test |\n|---|---|---|---|---|---|\n",
    );
    for Row { client, test } in rows() {
        let Client { title, version, store, .. } = client;
        table.push_str(&format!(
            "| {title} | {version} | {store} | {} | 1 to 5 | `{test}` |\n",
            client.wired()
        ));
    }
    assert_table("clients.md", "clients", &table);
}
