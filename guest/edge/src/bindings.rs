//! The interfaces that the component imports, generated.

#[cfg(feature = "keyvalue")]
wit_bindgen::generate!({ path: ["../../../wit", "../wit"], world: "kinesis:edge/edge-keyvalue", generate_all });

#[cfg(feature = "dynamodb")]
wit_bindgen::generate!({ path: ["../../../wit", "../wit"], world: "kinesis:edge/edge-dynamodb", generate_all });

#[cfg(not(any(feature = "keyvalue", feature = "dynamodb")))]
compile_error!("no store selected: use --features keyvalue or --features dynamodb");

#[cfg(all(feature = "keyvalue", feature = "dynamodb"))]
compile_error!("more than one store selected: a component cannot have optional imports");

pub(crate) use kinesis::reader::reading;
