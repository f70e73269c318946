//! The types of the WIT interface, generated.

#[cfg(target_arch = "wasm32")]
wit_bindgen::generate!({
    path: "../../wit",
    world: "reader",
});

// Natively, tests read these types from recordings and compare them. `action` holds a resource, which only exists in
// wasm.
#[cfg(not(target_arch = "wasm32"))]
wit_bindgen::generate!({
    path: "../../wit",
    world: "reader",
    additional_derives: [serde::Serialize, serde::Deserialize],
    additional_derives_ignore: ["action"],
});
