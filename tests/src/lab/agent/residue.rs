//! What an agent leaves.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use aya::programs::{SchedClassifier, TcAttachType};

use super::Agent;
use crate::lab::Lab;

/// What programs attached by tcx are called.
const TCX: &str = "a program for tc";

impl Agent {
    /// What it has left in the relay: pinned files and interfaces with a program of either kind.
    ///
    /// # Errors
    /// When that can't be looked up.
    pub fn residue(&self, lab: &Lab) -> Result<Vec<String>> {
        let limit = Instant::now() + Duration::from_secs(2);
        loop {
            let residue = self.residue_now(lab)?;
            let is_linked = residue.iter().any(|one| one.contains("/links/"));
            let is_attached = residue
                .iter()
                .any(|one| one.contains("xdp") || one.starts_with(TCX));
            if is_linked || !is_attached || Instant::now() > limit {
                return Ok(residue);
            }
            // The kernel takes a program off a moment after its link has gone.
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn residue_now(&self, lab: &Lab) -> Result<Vec<String>> {
        let mut residue = Vec::new();
        collect_files(&lab.workspace.bpf(), &mut residue)?;
        // The kernel's own, in the root of every BPF file system.
        residue.retain(|path| {
            !path.ends_with("/bpf/maps.debug") && !path.ends_with("/bpf/progs.debug")
        });
        for line in lab.relay().ip("-o link show")?.lines() {
            if line.contains("xdp") {
                residue.push(line.to_owned());
            }
        }
        for interface in lab.topology().interfaces() {
            // An older kernel has none of these.
            let programs = lab
                .relay()
                .run(|| SchedClassifier::query_tcx(interface, TcAttachType::Ingress))?;
            if programs.is_ok_and(|(_, programs)| !programs.is_empty()) {
                residue.push(format!("{TCX} at {interface}"));
            }
        }
        if self.socket.exists() {
            residue.push(self.socket.display().to_string());
        }
        Ok(residue)
    }
}

pub(super) fn collect_files(directory: &Path, into: &mut Vec<String>) -> Result<()> {
    for entry in
        fs::read_dir(directory).with_context(|| format!("can't read {}", directory.display()))?
    {
        let path = entry
            .with_context(|| format!("can't read {}", directory.display()))?
            .path();
        into.push(path.display().to_string());
        if path.is_dir() {
            collect_files(&path, into)?;
        }
    }
    Ok(())
}
