//! The programs that interfaces run, by how they are attached.

use aya::programs::{SchedClassifier, Xdp, XdpMode};

use super::{
    super::attach::{Mode, Program},
    Datapath, ForTc, LoadError, PROGRAM, TC_PROGRAM, WATCHED, program,
};

impl Datapath {
    /// Says whether somebody captures, which takes another program. Those that are attached stay what they are.
    pub fn watch(&mut self, watched: bool) {
        self.watched = watched;
    }

    /// The program, to be attached or run.
    ///
    /// # Errors
    ///
    /// The object has no such program; [`load`] has already looked.
    pub fn program(&mut self) -> Result<&mut Xdp, LoadError> {
        program(&mut self.ebpf, if self.watched { WATCHED } else { PROGRAM })
    }

    /// Loads the programs for tc, unless they are. Without them only XDP can be attached.
    ///
    /// # Errors
    ///
    /// The kernel has no links for them, or refuses them; or it is too late.
    pub fn load_tc(&mut self) -> Result<(), LoadError> {
        match self.for_tc {
            ForTc::Loaded => return Ok(()),
            ForTc::TooLate => return Err(LoadError::AfterStart),
            ForTc::Loadable if !self.abilities.tcx => return Err(LoadError::NoTcx),
            ForTc::Loadable => {}
        }
        let directory = self.directory.as_deref();
        self.stages.load_tc(&mut self.ebpf, TC_PROGRAM, directory)?;
        self.for_tc = ForTc::Loaded;
        Ok(())
    }

    /// The program that is attached in a mode.
    pub(in crate::datapath) fn program_of(&mut self, mode: Mode) -> Result<Program<'_>, LoadError> {
        Ok(match mode {
            Mode::Native => Program::Driver(self.program()?, XdpMode::Driver),
            Mode::Generic => Program::Driver(self.program()?, XdpMode::Skb),
            Mode::Tc => {
                self.load_tc()?;
                Program::Kernel(program(&mut self.ebpf, TC_PROGRAM)?)
            }
        })
    }

    /// A program for tc by its name, to be run or looked at.
    ///
    /// # Errors
    ///
    /// There is none, or [`Datapath::load_tc`] fails.
    pub fn tc_program_named(&mut self, name: &str) -> Result<&mut SchedClassifier, LoadError> {
        self.load_tc()?;
        program(&mut self.ebpf, name)
    }

    /// An XDP program by its name, to be looked at.
    ///
    /// # Errors
    ///
    /// The object has no such program.
    pub fn program_named(&mut self, name: &str) -> Result<&mut Xdp, LoadError> {
        program(&mut self.ebpf, name)
    }
}
