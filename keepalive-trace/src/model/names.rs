//! Names that many have in common, kept once.
use std::sync::Arc;

use hashbrown::HashMap;

/// Past so many names no new ones are taken in: whoever makes a cgroup for every request shall not fill our memory.
const MOST: usize = 1 << 16;

/// Numbers for names, from 1 on, so that a million connections take four bytes each for theirs.
#[derive(Debug, Default)]
pub struct Names {
    names: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32>,
}

impl Names {
    /// The name's number: 0 where there is no more room.
    pub fn number(&mut self, name: &Arc<str>) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        if self.names.len() >= MOST {
            return 0;
        }
        self.names.push(Arc::clone(name));
        let number = u32::try_from(self.names.len()).unwrap_or(0);
        self.numbers.insert(Arc::clone(name), number);
        number
    }

    pub fn name(&self, number: u32) -> Option<&Arc<str>> {
        self.names.get(usize::try_from(number).ok()?.checked_sub(1)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_number_and_none_is_0() {
        let mut names = Names::default();
        let (web, db): (Arc<str>, Arc<str>) = ("/web".into(), "/db".into());
        assert_eq!([names.number(&web), names.number(&db), names.number(&web)], [1, 2, 1]);
        assert_eq!((names.name(2), names.name(0), names.name(3)), (Some(&db), None, None));
    }
}
