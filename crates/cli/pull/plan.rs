//! Which of an index's manifests are pulled: a pure choice.

use anyhow::bail;
use hubcap_oci::{Descriptor, Digest, Manifest, Platform};

/// The manifests of an index for these platforms, the first that fits for each. An image that is no index has none.
pub(crate) fn children(top: &Manifest, platforms: &[Platform]) -> anyhow::Result<Vec<Digest>> {
    let manifests = &top.links.manifests;
    if manifests.is_empty() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for wanted in platforms {
        let fits = |one: &&Descriptor| one.platform.as_ref().is_some_and(|offered| wanted.accepts(offered));
        match manifests.iter().find(fits) {
            Some(one) if found.contains(&one.digest) => {}
            Some(one) => found.push(one.digest),
            None => {
                let offered: Vec<String> =
                    manifests.iter().filter_map(|one| Some(one.platform.as_ref()?.to_string())).collect();
                bail!("there is nothing for {wanted}; the image is for {}", offered.join(", "));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hubcap_oci::{Algorithm, media_type};

    #[test]
    fn the_first_manifest_that_fits_is_taken_and_a_missing_platform_is_told() {
        let digest = |n: u8| Digest::of(Algorithm::Sha256, &[n]);
        let entry = |n, platform: &str| {
            let platform = platform.parse::<Platform>().expect("a platform");
            serde_json::json!({"mediaType": media_type::OCI_MANIFEST, "digest": digest(n), "size": 1, "platform": platform})
        };
        let index = serde_json::json!({"manifests": [
            entry(0, "unknown/unknown"), entry(1, "linux/amd64"), entry(2, "linux/arm/v6"), entry(3, "linux/arm/v7"),
            entry(4, "linux/arm64/v8"), entry(5, "linux/amd64"),
        ]});
        let bytes = serde_json::to_vec(&index).expect("json");
        let top = Manifest::parse(Digest::of(Algorithm::Sha256, &bytes), &bytes, None).expect("an index");
        let choose = |platforms: &[&str]| {
            let platforms: Vec<Platform> =
                platforms.iter().map(|one| one.parse().expect("a platform")).collect();
            children(&top, &platforms)
        };
        assert_eq!(choose(&["linux/amd64"]).expect("one"), [digest(1)]);
        assert_eq!(choose(&["linux/arm/v7", "linux/arm64"]).expect("two"), [digest(3), digest(4)]);
        assert_eq!(choose(&["linux/amd64", "linux/amd64"]).expect("one"), [digest(1)]);
        let error = choose(&["linux/s390x"]).expect_err("none").to_string();
        assert!(error.contains("linux/s390x") && error.contains("linux/arm/v7"), "{error}");
    }
}
