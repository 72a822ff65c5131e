//! Names, digests, references and patterns: what is understood is written as it was.
#![no_main]

use hubcap_oci::{Digest, ImageRef, Pattern, Platform, Reference, Registry, Repository, Tag, Target};

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string(), text);
    }
    for written in [
        text.parse::<Repository>().map(|one| one.to_string()),
        text.parse::<Tag>().map(|one| one.to_string()),
        text.parse::<Reference>().map(|one| one.to_string()),
    ]
    .into_iter()
    .flatten()
    {
        assert_eq!(written, text);
        // Nothing that can leave its directory, or its header line.
        assert!(!written.split('/').any(|part| part == ".." || part.is_empty()));
        assert!(written.bytes().all(|byte| byte.is_ascii_graphic()));
    }
    if let Ok(image) = text.parse::<ImageRef>() {
        assert_eq!(image.to_string().parse::<ImageRef>().ok(), Some(image));
    }
    let _ = text.parse::<Platform>();
    if let Ok(registry) = text.parse::<Registry>() {
        assert_eq!(registry.to_string().parse::<Registry>().ok(), Some(registry.clone()));
        assert_eq!(
            Registry::from_path_segment(&registry.path_segment()).unwrap_or(registry.clone()),
            registry
        );
    }
    let _ = text.parse::<hubcap_oci::RegistryPattern>();
    if let (Ok(pattern), Ok(repository)) = (text.parse::<Pattern>(), "library/alpine".parse()) {
        let _ = pattern.matches(&Target { registry: Registry::docker_hub(), repository }, None);
    }
});
