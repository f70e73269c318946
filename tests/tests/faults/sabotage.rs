//! Sabotages the program's own component by inserting a few instructions at the beginning of one of its functions.
//!
//! The component works until that function has been called a given number of times. Then it misbehaves in the middle of
//! a read, with all its memory and state, as it would if it had a bug.

use kinesis_reader::component::COMPONENT;
use wasm_encoder::reencode::{Error, Reencode, ReencodeComponent, component_utils, utils};
use wasm_encoder::{
    BlockType, CodeSection, Component, ConstExpr, Function, GlobalSection, GlobalType, InstructionSink, MemArg, ValType,
};
use wasmparser::{CompositeInnerType, ExternalKind, Parser, Payload, TypeRef};

/// How the component misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// It loops forever.
    Loop,
    /// It grows its memory until that fails, and then traps as an allocator does.
    Grow,
    /// It keeps asking for more memory, whether it gets it or not.
    GrowForever,
    /// It calls itself without end.
    Recurse,
    /// It executes `unreachable`, as a panic does.
    Panic,
    /// It reads beyond its memory.
    Stray,
    /// It returns a string or a list that extends beyond its memory.
    TooLong,
    /// It returns a string or a list whose items are 16 MiB each, all of them the same bytes.
    Amplified,
}

/// Returns the program's component, sabotaged from call number `calls` (from 0) of an export of `reading` on.
pub(crate) fn component(sabotage: Sabotage, export: &str, calls: i32) -> Vec<u8> {
    let export_name = format!("kinesis:reader/reading@0.2.0#{export}");
    let mut saboteur = Saboteur { sabotage, export: export_name, calls, target: None, changed: 0 };
    let mut component = Component::new();
    saboteur.parse_component(&mut component, Parser::new(0), COMPONENT).expect("the component is well formed");
    assert_eq!(saboteur.changed, 1, "no such export: {export}");
    component.finish()
}

struct Saboteur {
    sabotage: Sabotage,
    export: String,
    calls: i32,
    /// The function to change, while its module is being processed.
    target: Option<Target>,
    /// The number of functions changed.
    changed: u32,
}

/// A function to change.
#[derive(Clone, Debug, Default)]
struct Target {
    /// Its index among the functions with a body.
    body: u32,
    /// Its index among all functions.
    index: u32,
    parameters: u32,
    results: u32,
    /// The index of the global that counts calls, which is added after all others.
    counter: u32,
    /// The number of bodies seen so far.
    seen: u32,
}

impl Reencode for Saboteur {
    type Error = std::convert::Infallible;

    fn parse_global_section(
        &mut self,
        globals: &mut GlobalSection,
        section: wasmparser::GlobalSectionReader<'_>,
    ) -> Result<(), Error<Self::Error>> {
        utils::parse_global_section(self, globals, section)?;
        if self.target.is_some() {
            let kind = GlobalType { val_type: ValType::I32, mutable: true, shared: false };
            globals.global(kind, &ConstExpr::i32_const(self.calls));
        }
        Ok(())
    }

    fn parse_function_body(
        &mut self,
        code: &mut CodeSection,
        body: wasmparser::FunctionBody<'_>,
    ) -> Result<(), Error<Self::Error>> {
        let Some(target) = &mut self.target else { return utils::parse_function_body(self, code, body) };
        target.seen += 1;
        if target.seen != target.body + 1 {
            return utils::parse_function_body(self, code, body);
        }
        self.changed += 1;
        let target = target.clone();
        let mut function = self.new_function_with_parsed_locals(&body)?;
        insert(&mut function, self.sabotage, &target);
        let mut reader = body.get_operators_reader()?;
        while !reader.eof() {
            function.instruction(&self.parse_instruction(&mut reader)?);
        }
        code.function(&function);
        Ok(())
    }
}

impl ReencodeComponent for Saboteur {
    fn parse_component_submodule(
        &mut self,
        component: &mut Component,
        parser: Parser,
        module: &[u8],
    ) -> Result<(), Error<Self::Error>> {
        self.target = target(module, &self.export)?;
        component_utils::parse_component_submodule(self, component, parser, module)?;
        self.target = None;
        Ok(())
    }
}

/// Finds the function that a module exports under this name.
fn target(module: &[u8], export: &str) -> Result<Option<Target>, wasmparser::BinaryReaderError> {
    let (mut types, mut functions, mut imported, mut globals, mut index) = (Vec::new(), Vec::new(), 0, 0, None);
    for payload in Parser::new(0).parse_all(module) {
        match payload? {
            Payload::TypeSection(section) => {
                for group in section {
                    types.extend(group?.into_types().map(|kind| kind.composite_type.inner));
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    match import?.ty {
                        TypeRef::Func(kind) => {
                            functions.push(kind);
                            imported += 1;
                        }
                        TypeRef::Global(_) => globals += 1,
                        _ => {}
                    }
                }
            }
            Payload::FunctionSection(section) => {
                for kind in section {
                    functions.push(kind?);
                }
            }
            Payload::GlobalSection(section) => globals += section.count(),
            Payload::ExportSection(section) => {
                for found in section {
                    let found = found?;
                    if found.name == export && found.kind == ExternalKind::Func {
                        index = Some(found.index);
                    }
                }
            }
            _ => {}
        }
    }
    let Some(index) = index else { return Ok(None) };
    let Some(CompositeInnerType::Func(kind)) = functions.get(index as usize).and_then(|&kind| types.get(kind as usize))
    else {
        return Ok(None);
    };
    let (parameters, results) = (kind.params().len() as u32, kind.results().len() as u32);
    Ok(Some(Target { body: index - imported, index, parameters, results, counter: globals, seen: 0 }))
}

/// Writes the instructions that come before the function's own.
fn insert(function: &mut Function, sabotage: Sabotage, target: &Target) {
    let mut code = function.instructions();
    code.global_get(target.counter).i32_eqz().if_(BlockType::Empty);
    misbehave(&mut code, sabotage, target);
    code.end();
    code.global_get(target.counter).i32_const(1).i32_sub().global_set(target.counter);
}

fn misbehave(code: &mut InstructionSink<'_>, sabotage: Sabotage, target: &Target) {
    /// In pages of 64 KiB.
    const FORTY_EIGHT_MIB: i32 = 768;
    /// The address of the result.
    const RESULT: i32 = 16;
    let at = |offset| MemArg { offset, align: 2, memory_index: 0 };
    match sabotage {
        Sabotage::Loop => {
            code.loop_(BlockType::Empty).br(0).end();
        }
        Sabotage::Grow => {
            code.loop_(BlockType::Empty).i32_const(16).memory_grow(0).i32_const(-1).i32_ne().br_if(0).end();
            code.unreachable();
        }
        Sabotage::GrowForever => {
            code.loop_(BlockType::Empty).i32_const(16).memory_grow(0).drop().br(0).end();
        }
        Sabotage::Recurse => {
            for parameter in 0..target.parameters {
                code.local_get(parameter);
            }
            code.call(target.index);
            for _ in 0..target.results {
                code.drop();
            }
        }
        Sabotage::Panic => {
            code.unreachable();
        }
        Sabotage::Stray => {
            code.i32_const(-8).i32_load(at(0)).drop();
        }
        Sabotage::TooLong => {
            code.i32_const(RESULT).i32_const(1 << 16).i32_store(at(0));
            code.i32_const(RESULT).i32_const(i32::MAX).i32_store(at(4));
            code.i32_const(RESULT).return_();
        }
        Sabotage::Amplified => {
            // The number 0x01010101 is 16,843,009, which is within 48 MiB both as an address and as a length.
            code.i32_const(FORTY_EIGHT_MIB).memory_grow(0).drop();
            code.i32_const(0).i32_const(1).i32_const(FORTY_EIGHT_MIB << 16).memory_fill(0);
            code.i32_const(RESULT).i32_const(1 << 16).i32_store(at(0));
            code.i32_const(RESULT).i32_const(1000).i32_store(at(4));
            code.i32_const(RESULT).return_();
        }
    }
}
