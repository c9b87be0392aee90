//! The pinned maps of an agent's data path, read and written behind its back.

use anyhow::{Context as _, Result};
use aya::maps::{Array, ArrayOfMaps, Map, MapData};
use redirector_common::abi::{Backend, SlotTable, map};

use super::agent::Agent;

/// A slot table as the kernel has it: one value, of bytes.
type RawTable = Array<MapData, [u8; size_of::<SlotTable>()]>;

/// Values of this size are moved around on the stack.
const STACK: usize = 32 << 20;

/// The map of backends, as bytes.
pub type RawBackends = Array<MapData, [u8; size_of::<Backend>()]>;

fn data(agent: &Agent, name: &str) -> Result<MapData> {
    let file = agent.pinned(name)?;
    MapData::from_pin(&file).with_context(|| format!("can't open {}", file.display()))
}

/// The map of backends.
///
/// # Errors
/// When it cannot be opened.
pub fn backends(agent: &Agent) -> Result<RawBackends> {
    Ok(Map::Array(data(agent, map::BACKENDS)?).try_into()?)
}

fn open_table(agent: &Agent, redirect: u32) -> Result<RawTable> {
    let outer: ArrayOfMaps<MapData, RawTable> =
        Map::ArrayOfMaps(data(agent, map::SLOT_TABLES)?).try_into()?;
    Ok(outer.get(&redirect, 0)?)
}

fn with_stack<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK);
        let running = thread.spawn_scoped(scope, work)?;
        running
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// The bytes of the slot table that a redirect has at this moment.
///
/// # Errors
/// When it has none.
pub fn slot_table(agent: &Agent, redirect: u32) -> Result<Vec<u8>> {
    with_stack(|| Ok(open_table(agent, redirect)?.get(&0, 0)?.to_vec()))
}

/// Writes over the slot table that a redirect has at this moment.
///
/// # Errors
/// When it has none, or the bytes are not as many as a table has.
pub fn set_slot_table(agent: &Agent, redirect: u32, bytes: &[u8]) -> Result<()> {
    with_stack(|| {
        let bytes: [u8; size_of::<SlotTable>()] = bytes.try_into()?;
        Ok(open_table(agent, redirect)?.set(0, bytes, 0)?)
    })
}
