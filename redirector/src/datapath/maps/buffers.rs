//! Tables that are replaced as a whole while packets read them.

/// The map that packets read and the one that they don't.
pub(in crate::datapath) struct Buffers<M> {
    pub(in crate::datapath) in_use: Option<M>,
    pub(in crate::datapath) spare: Option<M>,
}

impl<M> Default for Buffers<M> {
    fn default() -> Self {
        Self {
            in_use: None,
            spare: None,
        }
    }
}

impl<M> Buffers<M> {
    /// Has the spare map filled and put in place of the one in use; `make` gives a spare one where there is none.
    ///
    /// # Errors
    ///
    /// That of `make` or `place`. The map in use stays, and so does the spare one: it may be pinned, and there is room for
    /// two pins.
    pub(in crate::datapath) fn exchange<E>(
        &mut self,
        make: impl FnOnce() -> Result<M, E>,
        place: impl FnOnce(&mut M) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut spare = match self.spare.take() {
            Some(spare) => spare,
            None => make()?,
        };
        let placed = place(&mut spare);
        self.spare = match placed {
            Ok(()) => self.in_use.replace(spare),
            Err(_) => Some(spare),
        };
        placed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_maps_take_turns_and_a_failure_loses_none() {
        let mut made = 0;
        let mut buffers: Buffers<u32> = Buffers::default();
        let mut exchange = |buffers: &mut Buffers<u32>, works: bool| {
            buffers.exchange(
                || {
                    made += 1;
                    Ok(made)
                },
                |_| if works { Ok(()) } else { Err("no memory") },
            )
        };
        assert!(exchange(&mut buffers, false).is_err());
        assert_eq!((buffers.in_use, buffers.spare), (None, Some(1)));
        for (works, in_use, spare) in [
            (true, 1, None),
            (true, 2, Some(1)),
            (false, 2, Some(1)),
            (true, 1, Some(2)),
        ] {
            assert_eq!(exchange(&mut buffers, works).is_ok(), works);
            assert_eq!((buffers.in_use, buffers.spare), (Some(in_use), spare));
        }
        assert_eq!(made, 2);
    }
}
