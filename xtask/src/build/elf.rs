//! Just enough of ELF to see which sections an object has.

use object::{Object as _, ObjectSection as _, read::elf::ElfFile64};

/// Whether a 64-bit ELF object has a section of this name with something in it.
///
/// # Errors
/// If the bytes are not such an object.
pub(super) fn has_section(bytes: &[u8], name: &str) -> Result<bool, object::Error> {
    let object = ElfFile64::<object::Endianness>::parse(bytes)?;
    Ok(object
        .section_by_name(name)
        .is_some_and(|section| section.size() > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn this_program() -> Vec<u8> {
        let path = std::env::current_exe().expect("the test knows its own program");
        std::fs::read(path).expect("the test can read its own program")
    }

    #[test]
    fn a_section_that_is_there_is_found_and_another_is_not() {
        let program = this_program();
        assert!(has_section(&program, ".text").expect("a test is an ELF file"));
        assert!(!has_section(&program, ".BTF").expect("a test is an ELF file"));
    }

    #[test]
    fn what_is_not_an_object_is_an_error() {
        assert!(has_section(b"\x7fELF, but no more", ".text").is_err());
    }
}
