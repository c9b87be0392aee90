//! Slot tables that redirects have in common.
//!
//! Redirects that reach the same nodes mostly go through the same changes, so their tables are the same, too. Such
//! redirects hold one book between them: a change is worked out for one and holds for all, and 64 redirects of a pool take
//! the memory of one. A redirect that goes another way gets a book of its own then.

use std::sync::Arc;

use crate::engine::slots::SlotBook;

/// A change that was made to a book that others hold as well.
struct Made<C, R> {
    before: Arc<SlotBook>,
    change: C,
    after: Arc<SlotBook>,
    result: R,
}

/// The changes of one kind that are made at one time. What they depend on beside the book is a `C`.
pub(super) struct Changes<C, R>(Vec<Made<C, R>>);

impl<C: PartialEq, R: Clone> Changes<C, R> {
    /// None yet.
    pub(super) fn new() -> Self {
        Self(Vec::new())
    }

    /// Makes a change, or takes over what another holder of the same book has made by it. What was `made` once must depend
    /// on the book and on `change` alone.
    pub(super) fn make(
        &mut self,
        book: &mut Arc<SlotBook>,
        change: C,
        make: impl FnOnce(&mut SlotBook, &C) -> R,
    ) -> R {
        let made = self.0.iter();
        let same = |made: &&Made<C, R>| Arc::ptr_eq(&made.before, book) && made.change == change;
        if let Some(made) = made.clone().find(same) {
            *book = Arc::clone(&made.after);
            return made.result.clone();
        }
        if let Some(own) = Arc::get_mut(book) {
            return make(own, &change);
        }
        let before = Arc::clone(book);
        let result = make(Arc::make_mut(book), &change);
        self.0.push(Made {
            before,
            change,
            after: Arc::clone(book),
            result: result.clone(),
        });
        result
    }
}

#[cfg(test)]
mod tests {
    use redirector_common::abi::SLOTS;

    use super::*;

    fn retarget(changes: &mut Changes<u16, usize>, book: &mut Arc<SlotBook>, backend: u16) {
        let moved = changes.make(book, backend, |book, backend| {
            book.retarget(&vec![*backend; SLOTS], 20, 0).moved
        });
        assert_eq!(moved, SLOTS);
    }

    #[test]
    fn holders_of_a_book_that_change_alike_hold_one_afterwards_and_others_do_not() {
        let mut changes = Changes::new();
        let book = Arc::new(SlotBook::new([1, 2], [0; 2]));
        let mut books = [(); 4].map(|()| Arc::clone(&book));
        drop(book);
        for (book, backend) in books.iter_mut().zip([1, 2, 1]) {
            retarget(&mut changes, book, backend);
        }
        let owner = |book: &SlotBook| book[77].now;
        let owners: Vec<u16> = books.iter().map(|book| owner(book)).collect();
        assert_eq!(owners, [1, 2, 1, 0], "the last one is left alone");
        assert!(Arc::ptr_eq(&books[0], &books[2]));
        assert!(!Arc::ptr_eq(&books[0], &books[1]));
    }

    #[test]
    fn a_book_that_nobody_else_holds_is_changed_where_it_is() {
        let mut book = Arc::new(SlotBook::new([1, 2], [0; 2]));
        let place = Arc::as_ptr(&book);
        retarget(&mut Changes::new(), &mut book, 1);
        assert_eq!(Arc::as_ptr(&book), place);
    }
}
